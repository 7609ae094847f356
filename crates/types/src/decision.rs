//! What policy is asked and what it says.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ActionClass, Digest, Principal, Purpose, Resource};

/// What policy says of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Go on.
    Allow,
    /// No.
    Deny,
    /// Ask people first.
    RequireApproval,
}

impl Effect {
    /// The word of policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::RequireApproval => "require_approval",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an effect: use allow, deny or require_approval")]
pub struct UnknownEffect(pub String);

impl FromStr for Effect {
    type Err = UnknownEffect;
    fn from_str(text: &str) -> Result<Self, UnknownEffect> {
        [Self::Allow, Self::Deny, Self::RequireApproval]
            .into_iter()
            .find(|e| e.as_str() == text)
            .ok_or_else(|| UnknownEffect(text.to_owned()))
    }
}

/// What is known about the size of an action before it runs. Zero means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Rows it would change.
    #[serde(default)]
    pub rows_affected: u64,
    /// Pods it would change.
    #[serde(default)]
    pub pods_affected: u64,
    /// Age of the transaction that it would end, in seconds.
    #[serde(default)]
    pub xact_age_secs: u64,
}

/// Everything policy may look at. Building one reads no clock: the time is a field.
#[derive(Debug, Clone)]
pub struct PolicyRequest<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Declared reason; absent fails every `allowed_purposes`.
    pub purpose: Option<Purpose>,
    /// On what.
    pub resource: &'a Resource,
    /// How much harm the tool could do.
    pub class: ActionClass,
    /// The tool's name; empty for a bare check.
    pub tool: &'a str,
    /// Sizes known so far.
    pub measured: Measured,
    /// The moment that schedules are held against.
    pub at: Timestamp,
}

/// What the executor must respect although the action is allowed. Zero means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Obligations {
    /// Most rows that may change; a statement that would change more is rolled back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_rows_affected: u64,
    /// Most pods that may change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_pods_affected: u64,
    /// Oldest transaction that may be ended, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_xact_age_secs: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One condition that was held against the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionResult {
    /// `require_approval`, `max_rows_affected`, `allowed_purposes`, …
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// What was compared, in words.
    pub detail: String,
}

/// One rule of a policy in the trace of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrace {
    /// Its place in the policy, from 0.
    pub index: usize,
    /// The classes it speaks of.
    pub actions: Vec<ActionClass>,
    /// What it would say.
    pub effect: Effect,
    /// Whether it decided.
    pub matched: bool,
    /// Why it did not: `action_mismatch`, `schedule_inactive`, `not_reached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<String>,
    /// Conditions, in the order they were held.
    #[serde(default)]
    pub conditions: Vec<ConditionResult>,
}

/// One policy in the trace of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTrace {
    /// Its name.
    pub policy_name: String,
    /// Whether it decided.
    pub matched: bool,
    /// Why it did not: `disabled`, `principal_mismatch`, `resource_mismatch`, `no_rule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<String>,
    /// Tag sets of which any one would have matched, when the resource did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_tags: Vec<Vec<String>>,
    /// Its rules, as far as they were looked at.
    #[serde(default)]
    pub rules: Vec<RuleTrace>,
}

/// What policy says of an action, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The answer.
    pub effect: Effect,
    /// The policy that decided; `default` when none did.
    pub policy_name: String,
    /// The rule that decided, from 0; -1 when none did.
    pub rule_index: i64,
    /// What its author wants people to read.
    pub message: String,
    /// The conditions of the deciding rule.
    pub conditions: Vec<ConditionResult>,
    /// Whether people must be asked; the same as `effect == require_approval`.
    pub requires_approval: bool,
    /// How many people must say yes, at least 1.
    pub approval_quorum: u32,
    /// Roles of which an approver needs one; empty means those that may approve anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approver_roles: Vec<String>,
    /// Limits that the executor must hold.
    #[serde(default)]
    pub obligations: Obligations,
    /// Digest of the policy set that was in force.
    pub policy_digest: Digest,
    /// Every policy that was looked at.
    pub policies_evaluated: Vec<PolicyTrace>,
    /// Whether nothing matched and the default decided.
    pub default_applied: bool,
    /// Evaluation errors; any of them means deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}
