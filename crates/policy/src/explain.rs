//! Why a decision is what it is: the trace, the text that people read, and the JSON that programs read.
//!
//! The trace is taken without the index in front of the engine: every rule of every policy down to the deciding
//! priority is put to Cedar, and its answer compared with the direct matcher. A difference would be a defect, and the
//! explained decision is then a denial that names it.

use std::fmt::Write as _;

use reeve_types::decision::{PolicyTrace, RuleTrace};
use reeve_types::{Decision, Effect, PolicyRequest};

use crate::compile::Part;
use crate::decide::{Failure, Voice, condition_results};
use crate::engine::{Engine, Needs, Question};
use crate::files::FilePolicy;
use crate::matching;
use crate::model::{Policy, Rule};
use crate::set::PolicySet;

/// A trace, and on the way to it what the engine said otherwise than the matcher.
struct Walk<'a> {
    request: &'a PolicyRequest<'a>,
    engine: &'a Engine,
    question: Question,
    differences: Vec<String>,
}

impl PolicySet {
    /// Decides like [`PolicySet::decide`] and fills `policies_evaluated`: every policy that was looked at, in order.
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Decision {
        let mut decision = self.decide(request);
        let Some(engine) = &self.engine else { return decision };
        if !decision.errors.is_empty() {
            return decision;
        }
        let voices: Vec<Voice> = match self.answers(request) {
            Ok(answers) => answers.iter().map(|a| a.voice).collect(),
            Err(failure) => return self.failed(failure),
        };
        let question = match self.question(engine, Needs::ALL, None, request) {
            Ok(question) => question,
            Err(failure) => return self.failed(failure),
        };
        let mut walk = Walk { request, engine, question, differences: Vec::new() };
        let mut traces: Vec<PolicyTrace> = self
            .files
            .iter()
            .enumerate()
            .map(|(at, p)| file_trace(p, request, voices.contains(&Voice::File(at))))
            .collect();
        let floor = self.deciding_priority(&voices);
        // A forbid of a Cedar file decides before any YAML policy is looked at.
        let forbidden = decision.effect == Effect::Deny && matches!(voices.first(), Some(Voice::File(_)));
        let looked_at = self
            .policies
            .iter()
            .enumerate()
            .filter(|_| !forbidden)
            .take_while(|(_, policy)| floor.is_none_or(|floor| policy.priority >= floor));
        for (at, policy) in looked_at {
            match self.policy_trace(&mut walk, at, policy, &decision) {
                Ok(found) => traces.extend(found),
                Err(failure) => return self.failed(failure),
            }
        }
        if !walk.differences.is_empty() {
            return Decision { policies_evaluated: traces, ..self.failed(Failure::differing(walk.differences)) };
        }
        decision.policies_evaluated = traces;
        decision
    }

    fn deciding_priority(&self, voices: &[Voice]) -> Option<i64> {
        voices.iter().find_map(|voice| match voice {
            Voice::Rule { policy, .. } => self.policies.get(*policy).map(|p| p.priority),
            Voice::File(at) => self.files.get(*at).map(|p| p.priority),
        })
    }

    /// One trace for a policy of the full form, one for each rule of the short form.
    fn policy_trace(
        &self,
        walk: &mut Walk<'_>,
        at: usize,
        policy: &Policy,
        decision: &Decision,
    ) -> Result<Vec<PolicyTrace>, Failure> {
        let skip = skip_reason(policy, walk.request);
        let mut rules = Vec::new();
        let mut decided = false;
        for (rule_at, rule) in policy.rules.iter().enumerate() {
            let expected = skip.is_none() && rule_skip_reason(policy, rule, walk.request).is_none();
            let verdict = self.rule_verdict(walk.engine, (at, rule_at), walk.request, Some(&walk.question))?;
            if policy.enabled && verdict.is_some() != expected {
                walk.differences.push(format!(
                    "policy `{}`: the engine and the matcher differ on rule {rule_at}",
                    policy.shown_name(rule_at)
                ));
            }
            let reason = match rule_skip_reason(policy, rule, walk.request) {
                _ if decided => Some("not_reached"),
                reason => reason,
            };
            let matched = skip.is_none() && reason.is_none();
            decided |= matched;
            rules.push(rule_trace(rule, rule_at, matched, reason, verdict.as_deref(), walk.request));
        }
        if policy.short_form {
            return Ok(short_form_traces(policy, rules));
        }
        let no_rule = (skip.is_none() && !decided).then_some("no_rule");
        Ok(vec![PolicyTrace {
            policy_name: policy.name.clone(),
            matched: decided,
            skip_reason: skip.or(no_rule).map(str::to_owned),
            required_tags: if skip == Some("resource_mismatch") && decision.default_applied {
                tags_that_would_help(policy, walk.request)
            } else {
                Vec::new()
            },
            rules: if skip.is_some() { Vec::new() } else { rules },
        }])
    }
}

impl Failure {
    fn differing(errors: Vec<String>) -> Self {
        Self::of("default", errors)
    }
}

fn skip_reason(policy: &Policy, request: &PolicyRequest<'_>) -> Option<&'static str> {
    if !policy.enabled {
        Some("disabled")
    } else if !matching::principal_fits(&policy.principals, request.principal) {
        Some("principal_mismatch")
    } else if !policy.short_form && !policy.resources.iter().any(|t| matching::target_fits(t, request)) {
        Some("resource_mismatch")
    } else {
        None
    }
}

fn rule_skip_reason(policy: &Policy, rule: &Rule, request: &PolicyRequest<'_>) -> Option<&'static str> {
    if policy.short_form && !rule.targets.iter().any(|t| matching::target_fits(t, request)) {
        Some("resource_mismatch")
    } else if !rule.actions.contains(&request.class) {
        Some("action_mismatch")
    } else if !matching::schedule_is_active(rule, request) {
        Some("schedule_inactive")
    } else {
        None
    }
}

fn rule_trace(
    rule: &Rule,
    index: usize,
    matched: bool,
    reason: Option<&str>,
    violated: Option<&[Part]>,
    request: &PolicyRequest<'_>,
) -> RuleTrace {
    RuleTrace {
        index,
        actions: rule.actions.clone(),
        effect: rule.effect,
        matched,
        skip_reason: reason.map(str::to_owned),
        conditions: match violated {
            Some(violated) if matched => condition_results(rule, request, violated),
            _ => Vec::new(),
        },
    }
}

fn short_form_traces(policy: &Policy, rules: Vec<RuleTrace>) -> Vec<PolicyTrace> {
    let one = |rule: RuleTrace| PolicyTrace {
        policy_name: policy.shown_name(rule.index).to_owned(),
        matched: rule.matched,
        skip_reason: rule.skip_reason.clone(),
        required_tags: Vec::new(),
        rules: if rule.matched { vec![rule] } else { Vec::new() },
    };
    rules.into_iter().map(one).collect()
}

fn file_trace(policy: &FilePolicy, request: &PolicyRequest<'_>, decided: bool) -> PolicyTrace {
    let reason = if decided {
        None
    } else if policy.actions.contains(&request.class) {
        Some("not_decisive")
    } else {
        Some("action_mismatch")
    };
    PolicyTrace {
        policy_name: policy.name.clone(),
        matched: decided,
        skip_reason: reason.map(str::to_owned),
        required_tags: Vec::new(),
        rules: if decided {
            vec![RuleTrace {
                index: 0,
                actions: policy.actions.clone(),
                effect: policy.effect,
                matched: true,
                skip_reason: None,
                conditions: Vec::new(),
            }]
        } else {
            Vec::new()
        },
    }
}

/// The tag sets of which any one would make a policy fit, when it then would not just deny.
fn tags_that_would_help(policy: &Policy, request: &PolicyRequest<'_>) -> Vec<Vec<String>> {
    let helps = |rule: &Rule| rule.effect != Effect::Deny && rule.actions.contains(&request.class);
    if !policy.rules.iter().any(helps) {
        return Vec::new();
    }
    let targets = policy.resources.iter();
    let near = targets.filter(|t| !t.tags.is_empty() && matching::all_but_tags_fit(t, request));
    near.map(|t| t.tags.iter().cloned().collect()).collect()
}

/// The explanation that people read. Its form is stable: command line, events and errors show it.
///
/// Give it what [`PolicySet::explain`] returned; a decision without a trace is explained without its policies.
pub fn explain_text(request: &PolicyRequest<'_>, decision: &Decision) -> String {
    let resource = request.resource;
    let mut text = format!("Access to {} {}", resource.kind, resource.name);
    if !resource.tags.is_empty() {
        let _ = write!(text, " (tags: {})", joined(&resource.tags));
    }
    let _ = write!(text, " for {}: {}\n\n", request.class, outcome(decision.effect));
    if decision.default_applied {
        default_body(&mut text, request, decision);
    } else {
        for policy in &decision.policies_evaluated {
            policy_body(&mut text, policy, decision);
        }
        for error in &decision.errors {
            let _ = writeln!(text, "Error: {error}\n");
        }
    }
    text.push_str(&footer(decision));
    text
}

fn outcome(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "ALLOWED",
        Effect::Deny => "DENIED",
        Effect::RequireApproval => "REQUIRES APPROVAL",
    }
}

fn joined<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn policy_body(text: &mut String, policy: &PolicyTrace, decision: &Decision) {
    let name = &policy.policy_name;
    if !policy.matched {
        let reason = policy.skip_reason.as_deref().unwrap_or("no_rule");
        let _ = writeln!(text, "Policy \"{name}\": skipped ({reason})");
    } else {
        let _ = writeln!(text, "Policy \"{name}\" matched:");
    }
    for rule in &policy.rules {
        rule_body(text, rule);
    }
    if policy.matched {
        if *name == decision.policy_name {
            let _ = writeln!(text, "  → {}", outcome(decision.effect));
        } else {
            let _ = writeln!(text, "  → \"{}\" of the same priority is stricter", decision.policy_name);
        }
    }
    text.push('\n');
}

fn rule_body(text: &mut String, rule: &RuleTrace) {
    let actions: Vec<&str> = rule.actions.iter().map(|a| a.as_str()).collect();
    let label = format!("{} → {}", actions.join("|"), rule.effect);
    let state = match rule.skip_reason.as_deref() {
        Some(reason) => format!("skipped — {reason}"),
        None => "matched".to_owned(),
    };
    let _ = writeln!(text, "  Rule {:<3} {label:<28}  {state}", rule.index);
    for condition in &rule.conditions {
        let mark = if condition.passed { '✓' } else { '✗' };
        let _ = writeln!(text, "    {mark} {}: {}", condition.name, condition.detail);
    }
}

fn default_body(text: &mut String, request: &PolicyRequest<'_>, decision: &Decision) {
    text.push_str("No policy matched this resource — default effect is deny.\n");
    let near = decision.policies_evaluated.iter().filter(|p| p.skip_reason.as_deref() == Some("no_rule"));
    for policy in near {
        let _ = writeln!(text, "\nPolicy \"{}\": skipped (no_rule)", policy.policy_name);
        for rule in &policy.rules {
            rule_body(text, rule);
        }
    }
    if request.resource.tags.is_empty() {
        let label = request.resource.label();
        let _ = writeln!(
            text,
            "\nThe resource has no tags. If {label} is missing in the inventory, put it with its tags into the file that \
             HELPDESK_INFRA_CONFIG names."
        );
        let helpful: Vec<_> = decision.policies_evaluated.iter().filter(|p| !p.required_tags.is_empty()).collect();
        if !helpful.is_empty() {
            text.push_str("Tags that would match a policy:\n");
        }
        for policy in helpful {
            for tags in &policy.required_tags {
                let _ = writeln!(text, "  • tags: [{}]  → enables policy \"{}\"", joined(tags), policy.policy_name);
            }
        }
    }
    text.push('\n');
}

fn footer(decision: &Decision) -> String {
    match decision.effect {
        Effect::Allow => "The request is permitted to proceed.\n".to_owned(),
        Effect::Deny if decision.message.is_empty() => {
            format!("Reason: policy \"{}\" denies it\n", decision.policy_name)
        }
        Effect::Deny => format!("Reason: {}\n", decision.message),
        Effect::RequireApproval => {
            let needed = crate::decide::approval_words(decision.approval_quorum, &decision.approver_roles);
            let mut text = format!("Needs {needed} before it can proceed: see `approvals list`.\n");
            if !decision.message.is_empty() {
                let _ = writeln!(text, "Reason: {}", decision.message);
            }
            text
        }
    }
}

/// The trace that programs read: `decision`, `policies_evaluated`, `default_applied` and the same `explanation`.
///
/// Give it what [`PolicySet::explain`] returned.
pub fn explain_json(request: &PolicyRequest<'_>, decision: &Decision) -> serde_json::Value {
    serde_json::json!({
        "decision": {
            "effect": decision.effect,
            "policy_name": decision.policy_name,
            "rule_index": decision.rule_index,
            "message": decision.message,
            "conditions": decision.conditions,
            "requires_approval": decision.requires_approval,
            "approval_quorum": decision.approval_quorum,
            "approver_roles": decision.approver_roles,
            "obligations": decision.obligations,
            "policy_digest": decision.policy_digest,
            "errors": decision.errors,
        },
        "policies_evaluated": decision.policies_evaluated,
        "default_applied": decision.default_applied,
        "explanation": explain_text(request, decision),
    })
}
