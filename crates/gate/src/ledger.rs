//! What the gate needs of the store: a durable, ordered, append-only record, and the actions that it implies.
//!
//! The audit log is the authority. Approvals and actions are what its records say; the store keeps them in tables for
//! speed and rebuilds what a crash cut off from the records themselves.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_types::{
    ActionClass, ActionId, ActionState, Approval, ApprovalId, Arguments, Digest, Event, Principal, Purpose, Resource,
    ToolOutput, TraceId,
};

/// One record to append, with what belongs beside it but not inside the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The record.
    pub event: Event,
    /// The whole result of an action, kept for its requester; the record holds an excerpt.
    pub result: Option<ToolOutput>,
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        Self { event, result: None }
    }
}

/// A record's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its sequence number, from 0.
    pub seq: u64,
    /// Its hash.
    pub event_hash: Digest,
}

/// A state that must hold for records to be appended; checked and appended in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// The action stands like this.
    ActionIn(ActionId, ActionState),
    /// No action of this requester with the same act is waiting, running or uncollected at this moment; a question
    /// whose time is over does not wait, whether or not its expiry has been recorded.
    NoLiveAct {
        /// Digest of the act.
        act_digest: Digest,
        /// The moment that expiries are held against.
        at: Timestamp,
    },
    /// The approval is pending and not past its expiry at this moment.
    ApprovalPending(ApprovalId, Timestamp),
    /// The approval is pending, whatever the time.
    ApprovalUnsettled(ApprovalId),
    /// This being has not yet answered the question.
    NotVoted(ApprovalId, String),
}

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// An expectation did not hold.
    #[error("{0}")]
    Conflict(String),
    /// The log cannot commit (disk full, read-only, broken).
    #[error("the audit log cannot commit: {0}")]
    Unavailable(String),
}

/// How an act that is asked for again stands already.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Nobody has asked for it, or it has been settled and collected.
    New,
    /// It waits, runs, or has ended and nobody has collected the result.
    Known(Box<StoredAction>),
}

/// An act that waits for people, as it is stored.
#[derive(Debug, Clone)]
pub struct PendingAct {
    /// The question.
    pub approval: Approval,
    /// The arguments, exact.
    pub arguments: Arguments,
}

/// One action as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAction {
    /// Its id.
    pub action_id: ActionId,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// How far it has come.
    pub state: ActionState,
    /// The tool.
    pub tool: String,
    /// How much harm it could do.
    pub action_class: ActionClass,
    /// Its arguments; exact when people were asked, masked otherwise.
    pub arguments: Arguments,
    /// On what.
    pub resource: Resource,
    /// Who asked.
    pub requester: Principal,
    /// Why.
    pub purpose: Option<Purpose>,
    /// Digest of the act.
    pub act_digest: Digest,
    /// The question to people, when one was asked.
    pub approval_id: Option<ApprovalId>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it gave back.
    pub result: Option<ToolOutput>,
    /// Why it failed, was refused, or is unknown.
    pub error: Option<String>,
    /// When the requester took the result.
    pub collected_at: Option<Timestamp>,
}

/// An action that a crash or a restart left between two states.
#[derive(Debug, Clone)]
pub struct ResumableAct {
    /// The action.
    pub action: StoredAction,
    /// Its question, when people were asked.
    pub approval: Option<Approval>,
}

/// The durable record.
pub trait Ledger: Send + Sync {
    /// Appends records in order, all or none, and answers only after they are on disk.
    fn record<'a>(
        &'a self,
        expect: Vec<Expectation>,
        entries: Vec<Entry>,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, LedgerError>>;

    /// How an act of this requester stands already.
    fn find_act<'a>(&'a self, act_digest: Digest) -> BoxFuture<'a, Result<Admission, LedgerError>>;

    /// One action with its question.
    fn action<'a>(&'a self, id: &'a ActionId) -> BoxFuture<'a, Result<Option<ResumableAct>, LedgerError>>;

    /// Marks the result of an ended action as taken by its requester. Returns whether this call was the first.
    fn collect<'a>(&'a self, id: &'a ActionId, at: Timestamp) -> BoxFuture<'a, Result<bool, LedgerError>>;
}
