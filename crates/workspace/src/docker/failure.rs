//! Failures of the driver and of the engine in words, and work that would hold up others done aside.

use std::fmt::Display;
use std::io;

use bollard::errors::Error;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};

/// Longest sentence of the engine that is passed on, in characters.
const SENTENCE_CHARS_MAX: usize = 500;

/// The status that the engine answered with, if it answered at all.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What was asked for is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Not there is as good as removed.
pub(super) fn unless_missing(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

/// The engine did not do something. `what` ends a sentence that begins with "cannot".
pub(super) fn engine(address: &str, what: impl Display, error: &Error) -> WorkspaceError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            let said = shortened(message);
            let code = match status_code {
                _ if no_space(message) => ProblemCode::DiskFull,
                404 => ProblemCode::NotFound,
                409 => ProblemCode::Conflict,
                _ => ProblemCode::Unavailable,
            };
            WorkspaceError::new(code, format!("cannot {what}: the engine of containers says: {said}"))
        }
        Error::RequestTimeoutError => {
            let said =
                format!("cannot {what}: the engine of containers on {address} did not answer in time; try again");
            WorkspaceError::new(ProblemCode::Timeout, said)
        }
        other => unreachable(address, what, &chain(other)),
    }
}

/// Nobody answers on the engine's socket.
pub(super) fn unreachable(address: &str, what: impl Display, why: &str) -> WorkspaceError {
    let said = format!(
        "cannot {what}: no engine of containers answers on {address} ({why}); start Docker or Podman and try again"
    );
    WorkspaceError::new(ProblemCode::Unavailable, said)
}

fn no_space(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    shortened(&said)
}

/// One line of bounded length.
pub(super) fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(SENTENCE_CHARS_MAX).map(plain).collect()
}

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
    let said = format!("the driver `docker` has no workspace {workspace}; create it first");
    WorkspaceError::new(ProblemCode::NotFound, said)
}

/// The workspace does not run.
pub(super) fn resting(workspace: &WorkspaceId) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::NotRunning, format!("{workspace} is not running; start it first"))
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
