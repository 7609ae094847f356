//! What is probably not meant: rules that can never decide, labels that nothing carries, conditions without effect.

use std::collections::BTreeSet;
use std::fmt;

use reeve_types::{ActionClass, Effect, ResourceKind};
use serde::Serialize;

use crate::model::{Party, Pattern, Policy, Rule, Target};
use crate::set::PolicySet;
use crate::source::Place;

/// What is known of the world that policies speak of. An empty set means that nothing is known of that, and it is not
/// checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryFacts {
    /// Every tag of every resource.
    pub tags: BTreeSet<String>,
    /// Every sensitivity of every resource.
    pub sensitivities: BTreeSet<String>,
    /// The name of every resource.
    pub names: BTreeSet<String>,
    /// The name of every tool.
    pub tools: BTreeSet<String>,
    /// Every role that somebody has.
    pub roles: BTreeSet<String>,
}

/// How much a lint finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LintSeverity {
    /// Worth knowing.
    Info,
    /// Most likely not what was meant.
    Warning,
}

/// What kind of thing a lint finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LintCode {
    /// Other rules decide everything that the rule could.
    UnreachableRule,
    /// Other rules decide some of the actions that the rule names.
    PartlyUnreachableRule,
    /// No resource has these tags.
    UnknownTag,
    /// No resource has this sensitivity.
    UnknownSensitivity,
    /// No resource has such a name.
    UnknownName,
    /// No tool has such a name.
    UnknownTool,
    /// Nobody has this role.
    UnknownRole,
    /// Another policy of the same priority could answer the same request; the stricter one then decides.
    SamePriority,
    /// The schedule holds at every hour.
    ScheduleAlwaysActive,
    /// Every allowed purpose is also blocked.
    ContradictoryPurposes,
    /// Purposes are blocked, but declaring none at all passes.
    PurposeMayBeOmitted,
    /// A number of approvals or roles for them, where nothing asks for approval.
    ApprovalWithoutEffect,
    /// Conditions of a rule that denies anyway.
    ConditionsOnDeny,
    /// The policy is switched off.
    Disabled,
    /// The type checker warns of a Cedar policy.
    CedarWarning,
}

/// One thing that is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// How much it matters.
    pub severity: LintSeverity,
    /// What kind of thing it is.
    pub code: LintCode,
    /// The policy.
    pub policy: String,
    /// The rule, from 0, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// What is the matter, in words.
    pub message: String,
    /// The file; empty when it is not known.
    pub file: String,
    /// Where in the file.
    #[serde(skip)]
    pub place: Place,
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            LintSeverity::Info => "info",
            LintSeverity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: policy \"{}\"", self.file, self.place, self.policy)?;
        if let Some(rule) = self.rule {
            write!(f, " rule {rule}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Looks for what is probably not meant. Findings come in the order of decision.
pub fn lint(set: &PolicySet, inventory: Option<&InventoryFacts>) -> Vec<LintFinding> {
    let mut found = Vec::new();
    for (at, policy) in set.policies.iter().enumerate() {
        if !policy.enabled {
            let message = "is disabled, so it decides nothing".to_owned();
            found.push(finding(policy, None, LintSeverity::Info, LintCode::Disabled, message));
            continue;
        }
        same_priority(set, at, policy, &mut found);
        for (index, rule) in policy.rules.iter().enumerate() {
            reachability(set, at, index, &mut found);
            conditions(policy, index, rule, &mut found);
        }
        if let Some(facts) = inventory {
            unknown_labels(policy, facts, &mut found);
        }
    }
    found.extend(set.warnings.iter().map(|warning| LintFinding {
        severity: LintSeverity::Warning,
        code: LintCode::CedarWarning,
        policy: warning.split('`').nth(1).unwrap_or_default().to_owned(),
        rule: None,
        message: warning.clone(),
        file: String::new(),
        place: Place::default(),
    }));
    found
}

fn finding(
    policy: &Policy,
    rule: Option<usize>,
    severity: LintSeverity,
    code: LintCode,
    message: String,
) -> LintFinding {
    LintFinding {
        severity,
        code,
        policy: rule.map_or(policy.name.as_str(), |at| policy.shown_name(at)).to_owned(),
        rule,
        message,
        file: policy.file.clone(),
        place: rule.and_then(|at| policy.rules.get(at)).map_or(policy.place, |r| r.place),
    }
}

/// Whether rules that are asked earlier leave anything to one rule.
fn reachability(set: &PolicySet, policy_at: usize, rule_at: usize, found: &mut Vec<LintFinding>) {
    let Some(policy) = set.policies.get(policy_at) else { return };
    let Some(rule) = policy.rules.get(rule_at) else { return };
    let mut dead = Vec::new();
    let mut by = BTreeSet::new();
    for class in &rule.actions {
        let earlier: Vec<(&Policy, usize, &Rule)> = set
            .policies
            .iter()
            .take(policy_at + 1)
            .filter(|p| p.enabled && (p.priority > policy.priority || p.name == policy.name))
            .flat_map(|p| p.rules.iter().enumerate().map(move |(at, r)| (p, at, r)))
            .filter(|(p, at, r)| (p.name != policy.name || *at < rule_at) && r.actions.contains(class))
            .filter(|(_, _, r)| always_when(r, rule))
            .collect();
        if let Some(coverers) = covered(policy, rule, &earlier) {
            dead.push(*class);
            by.extend(coverers);
        }
    }
    if dead.is_empty() {
        return;
    }
    let by: Vec<String> = by.into_iter().collect();
    let by = by.join(", ");
    let whole = dead.len() == rule.actions.len();
    let (code, message) = if whole {
        (LintCode::UnreachableRule, format!("can never decide: everything that it names is decided before by {by}"))
    } else {
        let classes: Vec<&str> = dead.iter().map(|c| c.as_str()).collect();
        let message = format!("can never decide {}: that is decided before by {by}", classes.join(" and "));
        (LintCode::PartlyUnreachableRule, message)
    };
    found.push(finding(policy, Some(rule_at), LintSeverity::Warning, code, message));
}

/// Whether the schedule of `earlier` holds whenever that of `later` does.
fn always_when(earlier: &Rule, later: &Rule) -> bool {
    match (&earlier.conditions.schedule, &later.conditions.schedule) {
        (None, _) => true,
        (Some(schedule), _) if schedule.is_always() => true,
        (Some(a), Some(b)) => a.key() == b.key(),
        (Some(_), None) => false,
    }
}

/// The rules that together decide everything that a rule could; `None` when something is left to it.
fn covered(policy: &Policy, rule: &Rule, earlier: &[(&Policy, usize, &Rule)]) -> Option<Vec<String>> {
    let everybody = [Party::Any];
    let parties = if policy.principals.is_empty() { &everybody[..] } else { &policy.principals };
    let mut by = Vec::new();
    for party in parties {
        for target in policy.targets_of(rule) {
            for kind in target.kind.map_or_else(|| ResourceKind::ALL.to_vec(), |kind| vec![kind]) {
                let narrowed = Target { kind: Some(kind), ..target.clone() };
                let (p, at, _) = earlier.iter().find(|(p, _, r)| {
                    parties_include(&p.principals, party)
                        && p.targets_of(r).iter().any(|t| target_includes(t, &narrowed))
                })?;
                let name = p.shown_name(*at);
                by.push(if p.short_form { format!("\"{name}\"") } else { format!("\"{name}\" rule {at}") });
            }
        }
    }
    Some(by)
}

fn parties_include(wide: &[Party], narrow: &Party) -> bool {
    wide.is_empty() || wide.iter().any(|party| *party == Party::Any || party == narrow)
}

/// Whether everything that `narrow` fits is also fitted by `wide`.
fn target_includes(wide: &Target, narrow: &Target) -> bool {
    wide.kind.is_none_or(|kind| Some(kind) == narrow.kind)
        && wide.tags.is_subset(&narrow.tags)
        && wide.sensitivity.is_subset(&narrow.sensitivity)
        && (wide.namespace.is_none() || wide.namespace == narrow.namespace)
        && (wide.name.is_none() || wide.name == narrow.name)
        && (wide.tool.is_none() || wide.tool == narrow.tool)
        && pattern_includes(wide.name_pattern.as_ref(), narrow.name_pattern.as_ref(), narrow.name.as_deref())
        && pattern_includes(wide.tool_pattern.as_ref(), narrow.tool_pattern.as_ref(), narrow.tool.as_deref())
}

fn pattern_includes(wide: Option<&Pattern>, narrow: Option<&Pattern>, exact: Option<&str>) -> bool {
    wide.is_none_or(|wide| {
        wide.text() == "*"
            || narrow.is_some_and(|narrow| narrow.text() == wide.text())
            || exact.is_some_and(|exact| wide.matches(exact))
    })
}

fn same_priority(set: &PolicySet, at: usize, policy: &Policy, found: &mut Vec<LintFinding>) {
    let others = set.policies.iter().skip(at + 1).filter(|p| p.enabled && p.priority == policy.priority);
    for other in others.filter(|other| overlap(policy, other)) {
        let message = format!(
            "has priority {}, as \"{}\" has; where both answer, the stricter decides",
            policy.priority, other.name
        );
        found.push(finding(policy, None, LintSeverity::Info, LintCode::SamePriority, message));
    }
}

/// Whether two policies could answer the same request, as far as kinds, actions, roles and names tell.
fn overlap(a: &Policy, b: &Policy) -> bool {
    let rules_meet = |x: &Rule, y: &Rule| {
        x.actions.iter().any(|class| y.actions.contains(class))
            && a.targets_of(x).iter().any(|s| b.targets_of(y).iter().any(|t| targets_meet(s, t)))
    };
    a.rules.iter().any(|x| b.rules.iter().any(|y| rules_meet(x, y)))
}

fn targets_meet(a: &Target, b: &Target) -> bool {
    fn differ<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
        matches!((a, b), (Some(a), Some(b)) if a != b)
    }
    !differ(a.kind.as_ref(), b.kind.as_ref())
        && !differ(a.name.as_ref(), b.name.as_ref())
        && !differ(a.namespace.as_ref(), b.namespace.as_ref())
        && !differ(a.tool.as_ref(), b.tool.as_ref())
}

fn conditions(policy: &Policy, index: usize, rule: &Rule, found: &mut Vec<LintFinding>) {
    let mut add = |severity, code, message: &str| {
        found.push(finding(policy, Some(index), severity, code, message.to_owned()));
    };
    let conditions = &rule.conditions;
    let limits = conditions.limits;
    let limited = limits != reeve_types::Obligations::default();
    let purposes = !conditions.allowed_purposes.is_empty() || !conditions.blocked_purposes.is_empty();
    if rule.effect == Effect::Deny && (limited || purposes || conditions.require_approval) {
        let message = "denies anyway, so its limits, purposes and approval never matter; only a schedule does";
        add(LintSeverity::Warning, LintCode::ConditionsOnDeny, message);
    }
    let asks = rule.says() == Effect::RequireApproval;
    if !asks && (conditions.approval_quorum.is_some() || !conditions.approver_roles.is_empty()) {
        let message = "names a quorum or approver roles, but asks for no approval";
        add(LintSeverity::Warning, LintCode::ApprovalWithoutEffect, message);
    }
    if conditions.schedule.as_ref().is_some_and(crate::model::Schedule::is_always) {
        add(
            LintSeverity::Warning,
            LintCode::ScheduleAlwaysActive,
            "has a schedule that holds at every hour of the week",
        );
    }
    let allowed = &conditions.allowed_purposes;
    if !allowed.is_empty() && allowed.iter().all(|p| conditions.blocked_purposes.contains(p)) {
        let message = "blocks every purpose that it allows, so it always denies";
        add(LintSeverity::Warning, LintCode::ContradictoryPurposes, message);
    }
    let mutates = rule.actions.iter().any(|class: &ActionClass| class.mutates());
    if rule.says() == Effect::Allow && mutates && allowed.is_empty() && !conditions.blocked_purposes.is_empty() {
        let message = "allows changes to whoever declares no purpose; use `allowed_purposes` instead of blocking some";
        add(LintSeverity::Warning, LintCode::PurposeMayBeOmitted, message);
    }
}

fn unknown_labels(policy: &Policy, facts: &InventoryFacts, found: &mut Vec<LintFinding>) {
    let mut add = |rule: Option<usize>, code, message: String| {
        found.push(finding(policy, rule, LintSeverity::Warning, code, message));
    };
    let own = policy.resources.iter().map(|t| (None, t));
    let of_rules = policy.rules.iter().enumerate().flat_map(|(at, r)| r.targets.iter().map(move |t| (Some(at), t)));
    for (rule, target) in own.chain(of_rules) {
        for tag in unknown(&target.tags, &facts.tags) {
            add(rule, LintCode::UnknownTag, format!("no resource has the tag `{tag}`"));
        }
        for word in unknown(&target.sensitivity, &facts.sensitivities) {
            add(rule, LintCode::UnknownSensitivity, format!("no resource has the sensitivity `{word}`"));
        }
        if let Some(name) = unmatched(target.name.as_ref(), target.name_pattern.as_ref(), &facts.names) {
            add(rule, LintCode::UnknownName, format!("no resource has a name like `{name}`"));
        }
        if let Some(name) = unmatched(target.tool.as_ref(), target.tool_pattern.as_ref(), &facts.tools) {
            add(rule, LintCode::UnknownTool, format!("no tool has a name like `{name}`"));
        }
    }
    let roles =
        policy.principals.iter().filter_map(|p| if let Party::Role(role) = p { Some((None, role)) } else { None });
    let approvers = policy
        .rules
        .iter()
        .enumerate()
        .flat_map(|(at, r)| r.conditions.approver_roles.iter().map(move |r| (Some(at), r)));
    for (rule, role) in roles.chain(approvers) {
        if !facts.roles.is_empty() && !facts.roles.contains(role) {
            add(rule, LintCode::UnknownRole, format!("nobody has the role `{role}`"));
        }
    }
}

fn unknown<'a>(wanted: &'a BTreeSet<String>, known: &'a BTreeSet<String>) -> Vec<&'a String> {
    if known.is_empty() { Vec::new() } else { wanted.difference(known).collect() }
}

/// The name or pattern that fits none of the known names.
fn unmatched<'a>(exact: Option<&'a String>, pattern: Option<&'a Pattern>, known: &BTreeSet<String>) -> Option<&'a str> {
    if known.is_empty() {
        return None;
    }
    let exact = exact.filter(|name| !known.contains(*name)).map(String::as_str);
    exact.or_else(|| pattern.filter(|p| !known.iter().any(|name| p.matches(name))).map(Pattern::text))
}
