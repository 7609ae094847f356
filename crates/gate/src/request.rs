//! What goes into the gate and what comes out of it.

use std::time::Duration;

use reeve_types::event::SessionPart;
use reeve_types::{ActionId, Approval, Arguments, Decision, EventId, Origin, Principal, Purpose, ToolOutput, TraceId};
use serde_json::Value;

use crate::{StoredAction, ToolFailure, UnknownTarget};

/// What the whole installation may do, whatever policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatingMode {
    /// Policy alone decides.
    #[default]
    Normal,
    /// Nothing that changes anything, whatever policy says.
    ReadOnlyGoverned,
    /// Changes are expected; the start-up check insists on policy, audit and approvals.
    Fix,
}

impl OperatingMode {
    /// The mode that a configuration word names.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "normal" | "readonly" => Some(Self::Normal),
            "readonly-governed" => Some(Self::ReadOnlyGoverned),
            "fix" => Some(Self::Fix),
            _ => None,
        }
    }
}

/// Settings of the gate.
#[derive(Debug, Clone, Copy)]
pub struct GateOptions {
    /// What the whole installation may do.
    pub mode: OperatingMode,
    /// Whether acts on `pii` and `critical` resources need a declared purpose.
    pub purpose_for_sensitive: bool,
    /// How long people have to answer.
    pub approval_expiry: Duration,
    /// How long an approved act may wait before it must have begun.
    pub approval_valid_for: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self {
            mode: OperatingMode::Normal,
            purpose_for_sensitive: false,
            approval_expiry: Duration::from_secs(reeve_types::limits::APPROVAL_EXPIRY_SECS),
            approval_valid_for: Duration::from_secs(10 * 60),
        }
    }
}

/// One act, asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The action that it becomes, for a requester that must find it again after a crash: a new id, used once. The gate
    /// makes one up when absent. A request that joins an act which already waits keeps that act's id.
    pub action_id: Option<ActionId>,
    /// Who asks.
    pub principal: Principal,
    /// Which tool.
    pub tool: String,
    /// With which arguments.
    pub arguments: Arguments,
    /// Declared reason.
    pub purpose: Option<Purpose>,
    /// In the requester's words.
    pub purpose_note: String,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// By which way it came.
    pub origin: Origin,
    /// The conversation it belongs to.
    pub session: SessionPart,
    /// The question that led to it, in words.
    pub user_query: String,
}

/// An act that has run.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The action.
    pub action_id: ActionId,
    /// The journey.
    pub trace_id: TraceId,
    /// The record of the outcome; absent when it could not be recorded (reads only).
    pub event_id: Option<EventId>,
    /// What it gave back, or why it failed.
    pub outcome: Result<ToolOutput, ToolFailure>,
}

/// What became of a request.
#[expect(clippy::large_enum_variant, reason = "one lives per request, and the large variant is the usual one")]
#[derive(Debug, Clone)]
pub enum Submission {
    /// It ran.
    Done(Completed),
    /// People were asked; the act runs when enough of them say yes.
    AwaitingApproval {
        /// The question.
        approval: Box<Approval>,
        /// Whether the same act was already waiting and this request joined it.
        joined: bool,
    },
    /// The same act is running at this moment.
    InProgress(Box<StoredAction>),
}

/// Why a request was not even begun.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// There is no such tool.
    #[error("there is no tool named `{name}`{}", did_you_mean(.similar))]
    UnknownTool {
        /// The name as given.
        name: String,
        /// A tool whose name is close.
        similar: Option<String>,
    },
    /// The arguments do not fit the tool's schema.
    #[error("the arguments do not fit `{tool}`: {}", .reasons.join("; "))]
    InvalidArguments {
        /// The tool.
        tool: String,
        /// What is wrong, one sentence each.
        reasons: Vec<String>,
    },
    /// The target is not in the inventory.
    #[error(transparent)]
    UnknownTarget(UnknownTarget),
    /// Policy says no.
    #[error("policy denied: {explanation}")]
    Denied {
        /// The decision with its whole trace.
        decision: Box<Decision>,
        /// The same in words.
        explanation: String,
        /// The record of the decision.
        event_id: EventId,
        /// The journey.
        trace_id: TraceId,
    },
    /// People would have to be asked, but the target holds a password that must not be stored.
    #[error(
        "`{tool}` needs approval, and an act with a password inside its connection string is never stored; name the target by its inventory id, or keep the password in a pgpass file"
    )]
    SecretInArguments {
        /// The tool.
        tool: String,
    },
    /// Nothing can be recorded, so nothing is done.
    #[error("{0}; nothing was done, because what cannot be recorded is not carried out")]
    RecordUnavailable(String),
    /// The action is not in a state in which it can begin.
    #[error("{0}")]
    Conflict(String),
    /// The approval no longer fits the act.
    #[error("the approval no longer fits the act: {0}")]
    Stale(String),
    /// The server is stopping.
    #[error("the server is shutting down; ask again when it is back")]
    ShuttingDown,
}

fn did_you_mean(similar: &Option<String>) -> String {
    similar.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// How policy would decide, or did decide, in words and as data.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The decision with its whole trace.
    pub decision: Decision,
    /// The stable text.
    pub text: String,
    /// The stable JSON.
    pub json: Value,
}
