//! YAML rules to Cedar.
//!
//! Each rule becomes one layer: a small Cedar policy set of its own.
//!
//! * A rule that allows or asks for approval is a `permit`; a rule that denies is a `forbid`.
//! * Each limit and each list of purposes is a `forbid` beside it, under the same scope: Cedar lets a `forbid` win, so
//!   a rule that permits 1000 rows denies 1001.
//! * Principals are `principal in Role::"…"`, resources are attributes, tools and sizes are the context.
//! * A glob of `*` alone is Cedar's `like`. Any other glob, and every schedule, is computed beforehand and put into
//!   the context as a set of names (`context.globs`, `context.schedules`), which the rule then tests.

use std::fmt::Write as _;

use cedar_policy::{Policy as CedarPolicy, PolicyId, PolicySet};
use reeve_types::{ActionClass, Effect, Purpose};

use crate::engine::Needs;
use crate::model::{Party, Pattern, Policy, Rule, Target};

/// What one Cedar policy of a layer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Rule,
    Rows,
    Pods,
    Age,
    AllowedPurposes,
    BlockedPurposes,
}

impl Part {
    /// The condition's name in files, decisions and traces.
    pub(crate) fn condition_name(self) -> &'static str {
        match self {
            Self::Rule => "require_approval",
            Self::Rows => "max_rows_affected",
            Self::Pods => "max_pods_affected",
            Self::Age => "max_xact_age_secs",
            Self::AllowedPurposes => "allowed_purposes",
            Self::BlockedPurposes => "blocked_purposes",
        }
    }
}

/// The Cedar form of one rule.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) set: PolicySet,
    pub(crate) parts: Vec<(PolicyId, Part)>,
    pub(crate) needs: Needs,
    pub(crate) text: String,
}

/// A rule that has no Cedar form. It means a defect of the compiler, not of the file.
#[derive(Debug, thiserror::Error)]
#[error("rule {rule} of policy `{policy}` has no Cedar form: {reason}")]
pub(crate) struct CompileError {
    policy: String,
    rule: usize,
    reason: String,
}

/// Compiles one rule.
pub(crate) fn layer(policy: &Policy, index: usize, rule: &Rule) -> Result<Layer, CompileError> {
    let mut needs = Needs::default();
    let scope = scope(policy, rule, &mut needs);
    let head = annotations(policy, index, rule);
    let keyword = if rule.effect == Effect::Deny { "forbid" } else { "permit" };
    let mut pieces = vec![(Part::Rule, format!("{head}{keyword} {scope};\n"))];
    if rule.effect != Effect::Deny {
        for (part, violated) in violations(rule, &mut needs) {
            let text = format!(
                "@policy({})\n@rule(\"{index}\")\n@holds({})\nforbid {scope}\nwhen {{ {violated} }};\n",
                quoted(policy.shown_name(index)),
                quoted(part.condition_name()),
            );
            pieces.push((part, text));
        }
    }
    let fail = |reason: String| CompileError { policy: policy.name.clone(), rule: index, reason };
    let mut layer = Layer { set: PolicySet::new(), parts: Vec::new(), needs, text: String::new() };
    for (part, text) in pieces {
        let id = PolicyId::new(match part {
            Part::Rule => format!("{}#{index}", policy.name),
            condition => format!("{}#{index}/{}", policy.name, condition.condition_name()),
        });
        let parsed = CedarPolicy::parse(Some(id.clone()), &text).map_err(|e| fail(e.to_string()))?;
        layer.set.add(parsed).map_err(|e| fail(e.to_string()))?;
        layer.parts.push((id, part));
        layer.text.push_str(&text);
    }
    Ok(layer)
}

fn annotations(policy: &Policy, index: usize, rule: &Rule) -> String {
    let mut text = format!(
        "@policy({})\n@rule(\"{index}\")\n@priority(\"{}\")\n",
        quoted(policy.shown_name(index)),
        policy.priority
    );
    if rule.says() == Effect::RequireApproval {
        let _ = write!(text, "@effect(\"require_approval\")\n@quorum(\"{}\")\n", rule.quorum());
        if !rule.conditions.approver_roles.is_empty() {
            let _ = writeln!(text, "@approver_roles({})", quoted(&rule.conditions.approver_roles.join(",")));
        }
    }
    if !rule.message.is_empty() {
        let _ = writeln!(text, "@message({})", quoted(&rule.message));
    }
    text
}

/// Head and conditions that all Cedar policies of a rule share.
fn scope(policy: &Policy, rule: &Rule, needs: &mut Needs) -> String {
    let actions: Vec<String> = ActionClass::ALL
        .into_iter()
        .filter(|class| rule.actions.contains(class))
        .map(|class| format!("Action::{}", quoted(class.as_str())))
        .collect();
    let mut text = match actions.as_slice() {
        [one] => format!("(principal, action == {one}, resource)"),
        several => format!("(principal, action in [{}], resource)", several.join(", ")),
    };
    if let Some(expression) = principals(&policy.principals) {
        needs.principal = true;
        let _ = write!(text, "\nwhen {{ {expression} }}");
    }
    if let Some(expression) = targets(policy.targets_of(rule), needs) {
        let _ = write!(text, "\nwhen {{ {expression} }}");
    }
    if let Some(schedule) = &rule.conditions.schedule {
        needs.schedules = true;
        let _ = write!(text, "\nwhen {{ context.schedules.contains({}) }}", quoted(schedule.key()));
    }
    text
}

/// `None` means everybody. However many are named, the expression stays flat.
fn principals(parties: &[Party]) -> Option<String> {
    let (mut users, mut services, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for party in parties {
        match party {
            Party::Any => return None,
            Party::User(id) => users.push(format!("User::{}", quoted(id))),
            Party::Service(id) => services.push(format!("Service::{}", quoted(id))),
            Party::Role(role) => roles.push(format!("Role::{}", quoted(role))),
        }
    }
    let any_of: Vec<String> = [roles, users, services]
        .iter()
        .filter_map(|named| match named.as_slice() {
            [] => None,
            [one] => Some(format!("principal in {one}")),
            several => Some(format!("principal in [{}]", several.join(", "))),
        })
        .collect();
    if any_of.is_empty() { None } else { Some(any_of.join(" || ")) }
}

/// `None` means everything.
fn targets(targets: &[Target], needs: &mut Needs) -> Option<String> {
    let mut own = *needs;
    let mut any_of = Vec::new();
    for target in targets {
        let all_of = criteria(target, &mut own);
        if all_of.is_empty() {
            return None;
        }
        any_of.push(all_of.join(" && "));
    }
    *needs = own;
    if any_of.is_empty() { None } else { Some(either(&any_of)) }
}

/// Expressions of which one must hold, as a balanced tree: a long chain would nest as deeply as it is long.
fn either(any_of: &[String]) -> String {
    match any_of {
        [] => "false".to_owned(),
        [one] => one.clone(),
        several => {
            let (left, right) = several.split_at(several.len() / 2);
            format!("({}) || ({})", either(left), either(right))
        }
    }
}

fn criteria(target: &Target, needs: &mut Needs) -> Vec<String> {
    let mut all_of = Vec::new();
    if let Some(kind) = target.kind {
        needs.kind = true;
        all_of.push(format!("resource.kind == {}", quoted(kind.as_str())));
    }
    if let Some(name) = &target.name {
        needs.name = true;
        all_of.push(format!("resource.name == {}", quoted(name)));
    }
    if let Some(pattern) = &target.name_pattern {
        all_of.push(glob("resource.name", "name", pattern, &mut needs.name, &mut needs.globs));
    }
    if !target.tags.is_empty() {
        needs.tags = true;
        all_of.push(format!("resource.tags.containsAll({})", set(target.tags.iter().map(String::as_str))));
    }
    if !target.sensitivity.is_empty() {
        needs.sensitivity = true;
        all_of
            .push(format!("resource.sensitivity.containsAll({})", set(target.sensitivity.iter().map(String::as_str))));
    }
    if let Some(namespace) = &target.namespace {
        needs.namespace = true;
        all_of.push(format!("resource has namespace && resource.namespace == {}", quoted(namespace)));
    }
    if let Some(tool) = &target.tool {
        needs.tool = true;
        all_of.push(format!("context.tool == {}", quoted(tool)));
    }
    if let Some(pattern) = &target.tool_pattern {
        all_of.push(glob("context.tool", "tool", pattern, &mut needs.tool, &mut needs.globs));
    }
    all_of
}

fn glob(subject: &str, prefix: &str, pattern: &Pattern, subject_needed: &mut bool, globs_needed: &mut bool) -> String {
    if pattern.is_plain() {
        *subject_needed = true;
        format!("{subject} like {}", quoted(pattern.text()))
    } else {
        *globs_needed = true;
        format!("context.globs.contains({})", quoted(&glob_name(prefix, pattern)))
    }
}

/// The name by which the context says that a glob fits.
pub(crate) fn glob_name(prefix: &str, pattern: &Pattern) -> String {
    format!("{prefix}:{}", pattern.text())
}

/// What violates the conditions of a rule, in the order in which they are held.
fn violations(rule: &Rule, needs: &mut Needs) -> Vec<(Part, String)> {
    let conditions = &rule.conditions;
    let limits = [
        (Part::Rows, "rows", conditions.limits.max_rows_affected, &mut needs.rows),
        (Part::Pods, "pods", conditions.limits.max_pods_affected, &mut needs.pods),
        (Part::Age, "xact_age_secs", conditions.limits.max_xact_age_secs, &mut needs.age),
    ];
    let mut found = Vec::new();
    for (part, measure, limit, needed) in limits {
        if limit > 0 {
            *needed = true;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            found.push((part, format!("context.{measure} > {limit}")));
        }
    }
    if !conditions.allowed_purposes.is_empty() {
        needs.purpose = true;
        let set = purposes(&conditions.allowed_purposes);
        found.push((Part::AllowedPurposes, format!("!(context has purpose && {set}.contains(context.purpose))")));
    }
    if !conditions.blocked_purposes.is_empty() {
        needs.purpose = true;
        let set = purposes(&conditions.blocked_purposes);
        found.push((Part::BlockedPurposes, format!("context has purpose && {set}.contains(context.purpose)")));
    }
    found
}

fn purposes(list: &[Purpose]) -> String {
    set(list.iter().map(|p| p.as_str()))
}

fn set<'s>(values: impl Iterator<Item = &'s str>) -> String {
    let values: Vec<String> = values.map(quoted).collect();
    format!("[{}]", values.join(", "))
}

/// A Cedar string literal. In a `like` pattern only `*` means more than itself, and a plain pattern escapes nothing.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
