//! Who asks for something in a workspace, and why they may not get it.

use reeve_gate::{Completed, FailureKind, Refusal, StoredAction};
use reeve_store::StoreError;
use reeve_types::event::SessionPart;
use reeve_types::{ActionId, Approval, Origin, Principal, ProblemCode, Purpose, TraceId, WorkspaceError, WorkspaceId};

/// Who asks, and what their request brings along. Every act in a workspace is asked for by one.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub principal: Principal,
    /// Declared reason.
    pub purpose: Option<Purpose>,
    /// In their words.
    pub purpose_note: String,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// By which way it came.
    pub origin: Origin,
    /// The conversation it belongs to.
    pub session: SessionPart,
    /// The id that the act is to have, where it was written down before; good for one act.
    pub action_id: Option<ActionId>,
}

/// Why something was not done, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The gate refused: policy, arguments, a log that cannot be written.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// People have been asked. The act begins by itself when enough of them say yes, and the same request sent again
    /// then gives its result.
    #[error("this needs approval: `{}` is waiting for an answer", .approval.approval_id)]
    Awaiting {
        /// The question.
        approval: Box<Approval>,
        /// Whether the same act was already waiting.
        joined: bool,
    },
    /// The same act is running at this moment.
    #[error("the same act is running at this moment: action `{}`", .0.action_id)]
    InProgress(Box<StoredAction>),
    /// There is no such workspace for this caller.
    #[error("there is no workspace `{0}`")]
    NoSuchWorkspace(WorkspaceId),
    /// The workspace, its driver or the platform said why.
    #[error(transparent)]
    Problem(#[from] WorkspaceError),
    /// The act ran and failed, and only its record says why.
    #[error("{}", .0.outcome.as_ref().err().map_or("it failed", |failure| failure.message.as_str()))]
    Failed(Box<Completed>),
    /// The store failed.
    #[error("the store failed: {}", .0.chain())]
    Store(#[from] StoreError),
}

impl NotDone {
    /// The code that clients compare. For [`NotDone::Awaiting`] and [`NotDone::InProgress`], which are answered with
    /// 202, it is `conflict`.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Refused(refusal) => code_of_refusal(refusal),
            Self::Awaiting { .. } | Self::InProgress(_) => ProblemCode::Conflict,
            Self::NoSuchWorkspace(_) => ProblemCode::NotFound,
            Self::Problem(problem) => problem.code,
            Self::Failed(completed) => {
                completed.outcome.as_ref().err().map_or(ProblemCode::ToolFailed, |failure| code_of(failure.kind))
            }
            Self::Store(StoreError::Unavailable(_)) => ProblemCode::RecordUnavailable,
            Self::Store(StoreError::Closed) => ProblemCode::Unavailable,
            Self::Store(_) => ProblemCode::Internal,
        }
    }

    /// A problem in one sentence.
    pub(crate) fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self::Problem(WorkspaceError::new(code, message))
    }
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn code_of_refusal(refusal: &Refusal) -> ProblemCode {
    match refusal {
        Refusal::UnknownTool { .. } => ProblemCode::NotFound,
        Refusal::InvalidArguments { .. } | Refusal::SecretInArguments { .. } => ProblemCode::InvalidArguments,
        Refusal::UnknownTarget(_) => ProblemCode::UnknownTarget,
        Refusal::Denied { .. } => ProblemCode::PolicyDenied,
        Refusal::RecordUnavailable(_) => ProblemCode::RecordUnavailable,
        Refusal::Conflict(_) => ProblemCode::Conflict,
        Refusal::Stale(_) => ProblemCode::Stale,
        Refusal::ShuttingDown => ProblemCode::Unavailable,
    }
}

fn code_of(kind: FailureKind) -> ProblemCode {
    match kind {
        FailureKind::Unreachable => ProblemCode::Unavailable,
        FailureKind::Failed | FailureKind::Unknown => ProblemCode::ToolFailed,
        FailureKind::LimitExceeded => ProblemCode::QuotaReached,
        FailureKind::Invalid => ProblemCode::BadRequest,
        FailureKind::Timeout => ProblemCode::Timeout,
    }
}
