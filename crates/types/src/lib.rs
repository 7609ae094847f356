//! The words of Reeve as types.
//!
//! Every other crate speaks in these: who asks ([`Principal`]), for what purpose ([`Purpose`]), on what
//! ([`Resource`]), with which tool ([`ToolSpec`]), what policy said ([`Decision`]) and what was recorded ([`Event`]).
//! This crate does no I/O and reads neither a clock nor a source of randomness; both come in as values.

pub mod action;
pub mod approval;
pub mod canonical;
pub mod decision;
pub mod event;
pub mod finding;
pub mod id;
pub mod limits;
pub mod model;
pub mod principal;
pub mod problem;
pub mod purpose;
pub mod resource;
pub mod secret;
pub mod session;
pub mod tool;
pub mod workspace;

pub use action::{ActionClass, ActionState, Origin};
pub use approval::{Approval, ApprovalStatus, Vote, VoteChoice};
pub use canonical::{Digest, canonical_json};
pub use decision::{Decision, Effect, Measured, Obligations, PolicyRequest};
pub use event::{Event, EventType};
pub use finding::{Diagnosis, Evidence, Finding, NotChecked, Remedy, Severity};
pub use id::{
    AccountId, ActionId, ApprovalId, EventId, ExecutionId, KeyId, LoginId, PromptId, RequestId, SessionId, SnapshotId,
    TerminalId, TraceId, TrashId, UploadId, VersionId, WorkspaceId,
};
pub use principal::{AuthMethod, Principal, PrincipalKind, TenantId};
pub use problem::ProblemCode;
pub use purpose::Purpose;
pub use resource::{Resource, ResourceKind};
pub use secret::mask_dsn;
pub use tool::{Arguments, Reversibility, ToolOutput, ToolSpec, VerifyStatus};
pub use workspace::{Workspace, WorkspaceError, WorkspaceLimits, WorkspacePath, WorkspaceState};
