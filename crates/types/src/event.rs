//! One entry of the audit log, in the shape that the guides' clients read.
//!
//! Fields that do not apply are left out. `seq`, `prev_hash` and `event_hash` are assigned by the log, never by the
//! caller. Everything except `event_hash` is covered by the hash.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decision::ConditionResult;
use crate::{
    ActionClass, ActionId, ApprovalId, Decision, Digest, Effect, EventId, Origin, Principal, Purpose, Resource,
    TenantId, TraceId, VerifyStatus,
};

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $prefix:literal;)*) => {
        /// What a record is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum EventType { $($(#[$doc])* $name,)* }

        impl EventType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            /// The word of the API and of the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
            /// The prefix of ids of such events.
            pub fn id_prefix(self) -> &'static str {
                match self { $(Self::$name => $prefix,)* }
            }
            /// The type that a word names.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|t| t.as_str() == text)
            }
        }
    };
}

event_types! {
    /// A question was routed to an agent and a playbook.
    DelegationDecision = "delegation_decision", "evt";
    /// A request came in that starts a journey.
    GatewayRequest = "gateway_request", "gw";
    /// A tool was asked for, before any check.
    ToolInvoked = "tool_invoked", "inv";
    /// What policy said.
    PolicyDecision = "policy_decision", "pol";
    /// A change is about to be carried out; durable before it begins.
    EffectIntent = "effect_intent", "int";
    /// A tool ran and ended.
    ToolExecution = "tool_execution", "tool";
    /// A re-check after a change was repeated.
    ToolRetry = "tool_retry", "rty";
    /// A re-check after a change was not satisfied.
    VerificationOutcome = "verification_outcome", "vfy";
    /// What an agent says that it did was held against the record.
    DelegationVerification = "delegation_verification", "gv";
    /// People were asked.
    ApprovalRequested = "approval_requested", "apq";
    /// One person answered, and it is not settled yet.
    ApprovalVote = "approval_vote", "apv";
    /// A question was settled: approved, denied, cancelled, expired or stale.
    ApprovalResolved = "approval_resolved", "aps";
    /// A key, a user or a role was changed.
    IdentityChanged = "identity_changed", "idn";
    /// Policies, inventory or users were loaded, or could not be.
    ConfigurationChanged = "configuration_changed", "cfg";
    /// Someone was refused before policy was asked (no credentials, no permission, another tenant).
    AccessDenied = "access_denied", "acc";
    /// A rule of operation was broken.
    GovernanceViolation = "governance_violation", "gov";
    /// The server started or stopped.
    Lifecycle = "lifecycle", "lif";
    /// A record brought by another program.
    External = "external", "ext";
}

/// The conversation or process that a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionPart {
    /// Its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The agent that holds it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent_name: String,
}

/// What was asked, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputPart {
    /// The question.
    #[serde(default)]
    pub user_query: String,
}

/// The tool that a record is about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolPart {
    /// Its name.
    pub name: String,
    /// The agent that it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Its arguments, secrets masked.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
    /// The statement or command that ran, secrets masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw_command: String,
    /// What it gave back, cut to 500 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_state: Option<Value>,
    /// What the re-check after the change found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_status: Option<VerifyStatus>,
    /// Rows or connections that were affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected: Option<u64>,
}

/// What policy said, as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyPart {
    /// `database`, `kubernetes`, …
    pub resource_type: String,
    /// The resource's name.
    pub resource_name: String,
    /// The class that was asked for.
    pub action: ActionClass,
    /// Tags at that moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Sensitivity at that moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<String>,
    /// The answer.
    pub effect: Effect,
    /// The deciding policy.
    pub policy_name: String,
    /// The deciding rule, from 0; -1 when none did.
    pub rule_index: i64,
    /// What its author wants people to read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The conditions that were held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionResult>,
    /// Digest of the policy set.
    pub policy_digest: Digest,
    /// What was known of the size.
    #[serde(default)]
    pub measured: crate::Measured,
}

/// The question to people that a record is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalPart {
    /// Its id.
    pub approval_id: ApprovalId,
    /// `pending`, `approved`, …
    pub status: crate::ApprovalStatus,
    /// The policy that asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_name: String,
    /// Digest of the act it is bound to.
    pub act_digest: Digest,
    /// Who asked for the action.
    pub requested_by: String,
    /// Who answered, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<crate::Vote>,
    /// Until when it can be answered.
    pub expires_at: Timestamp,
    /// Until when an approved act must have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// The whole question, in the record that asks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Box<crate::Approval>>,
    /// Why it was settled as it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomePart {
    /// `success`, `error`, `denied`, `require_approval`, `unknown`, `verified_warning`, …
    pub status: String,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_message: String,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// How a question was routed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DelegationPart {
    /// The chosen agent.
    pub agent: String,
    /// `locks`, `replication`, …
    #[serde(default)]
    pub request_category: String,
    /// From 0 to 1.
    pub confidence: f64,
    /// What the person seems to want.
    #[serde(default)]
    pub user_intent: String,
    /// Why, step by step.
    #[serde(default)]
    pub reasoning_chain: Vec<String>,
}

/// The span of distributed tracing in which a record was written, in the hexadecimal form of W3C Trace Context. It leads
/// from the record to the traces of a collector and to log lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanPart {
    /// The trace, 32 digits. Not to be mistaken for the journey, which is `trace_id` of the record itself.
    pub trace_id: String,
    /// The span, 16 digits.
    pub span_id: String,
}

/// One thing that an agent says it did, held against the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClaimPart {
    /// In the agent's words.
    pub claim: String,
    /// The tool that it names, or that the act which it names was a call of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// What it says the act was about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How it says the act came out; empty where only its words were looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// The act that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_id: Option<ActionId>,
    /// The record of that act's outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<EventId>,
    /// Whether the act bears it out.
    pub borne_out: bool,
    /// What is missing, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What an agent says it did in a turn, held against the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerificationPart {
    /// The agent.
    pub agent: String,
    /// The gravest class of what it says it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_class: Option<ActionClass>,
    /// `statement` where the agent stated it entry by entry, `words` where only its words could be looked at.
    pub by: String,
    /// Tools whose calls bear out what it says.
    pub tools_confirmed: Vec<String>,
    /// Those among the calls of the turn that changed something.
    pub write_confirmed: Vec<String>,
    /// Those that were destructive.
    pub destructive_confirmed: Vec<String>,
    /// Whether something is not borne out.
    pub mismatch: bool,
    /// What, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mismatch_reason: String,
    /// Each claim.
    pub claims: Vec<ClaimPart>,
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Version of this shape and of the hash over it.
    pub v: u32,
    /// Its id.
    pub event_id: EventId,
    /// When it was recorded.
    pub timestamp: Timestamp,
    /// What it is about.
    pub event_type: EventType,
    /// Whose it is.
    pub tenant: TenantId,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// The record that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<EventId>,
    /// The action it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_id: Option<ActionId>,
    /// By which way the request came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How much harm the tool could do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_class: Option<ActionClass>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Declared reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The requester's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose_note: String,
    /// What is acted on, as the inventory described it at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// The conversation it belongs to.
    #[serde(default)]
    pub session: SessionPart,
    /// What was asked.
    #[serde(default)]
    pub input: InputPart,
    /// The tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolPart>,
    /// What policy said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_decision: Option<PolicyPart>,
    /// The question to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPart>,
    /// How a question was routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DelegationPart>,
    /// What an agent says it did, held against the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_verification: Option<Box<VerificationPart>>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomePart>,
    /// Anything else, in words (life-cycle, configuration, identity).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Where traces are sent, the span it was written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanPart>,
}

/// The version of the shape written today.
pub const EVENT_VERSION: u32 = 2;

impl Event {
    /// An event with only what every event has.
    pub fn new(event_type: EventType, tenant: TenantId, trace_id: TraceId, timestamp: Timestamp, random: u128) -> Self {
        Self {
            v: EVENT_VERSION,
            event_id: EventId::new(event_type, timestamp, random),
            timestamp,
            event_type,
            tenant,
            trace_id,
            parent_id: None,
            action_id: None,
            origin: None,
            action_class: None,
            principal: None,
            purpose: None,
            purpose_note: String::new(),
            resource: None,
            session: SessionPart::default(),
            input: InputPart::default(),
            tool: None,
            policy_decision: None,
            approval: None,
            decision: None,
            delegation_verification: None,
            outcome: None,
            note: String::new(),
            span: None,
        }
    }
}

impl PolicyPart {
    /// What is recorded of a decision.
    pub fn of(request: &crate::PolicyRequest<'_>, decision: &Decision) -> Self {
        Self {
            resource_type: request.resource.kind.as_str().to_owned(),
            resource_name: request.resource.name.clone(),
            action: request.class,
            tags: request.resource.tags.iter().cloned().collect(),
            sensitivity: request.resource.sensitivity.iter().cloned().collect(),
            effect: decision.effect,
            policy_name: decision.policy_name.clone(),
            rule_index: decision.rule_index,
            message: decision.message.clone(),
            conditions: decision.conditions.clone(),
            policy_digest: decision.policy_digest,
            measured: request.measured,
        }
    }
}
