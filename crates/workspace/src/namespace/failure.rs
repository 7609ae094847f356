//! Failures of the driver in words, and work that would hold up others done aside.

use std::fmt::Display;
use std::io;

use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

/// Something on this machine failed. `what` ends a sentence that begins with "cannot".
pub(super) fn cannot(what: impl Display, error: &io::Error) -> WorkspaceError {
    let code = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => ProblemCode::DiskFull,
        _ => ProblemCode::Internal,
    };
    WorkspaceError::new(code, format!("cannot {what}: {error}"))
}

/// There is no such workspace here.
pub(super) fn unknown(workspace: &WorkspaceId) -> WorkspaceError {
    let said = format!("the driver `namespace` has no workspace {workspace}; create it first");
    WorkspaceError::new(ProblemCode::NotFound, said)
}

/// The workspace does not run.
pub(super) fn resting(workspace: &WorkspaceId) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::NotRunning, format!("{workspace} is not running; start it first"))
}

/// The workspace must not run for this.
pub(super) fn running(workspace: &WorkspaceId, what: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Conflict, format!("{workspace} is running; suspend it before {what}"))
}

/// Does work that waits for the disk on a thread of its own.
pub(super) async fn aside<T, F>(work: F) -> Result<T, WorkspaceError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(WorkspaceError::new(ProblemCode::Internal, "work on the workspace's files was broken off")),
    }
}
