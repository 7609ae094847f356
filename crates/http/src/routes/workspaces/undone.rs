//! What is said when something in a workspace was not done, or not yet.

use axum::response::{IntoResponse, Response};
use reeve_platform::workspaces::NotDone;
use reeve_types::{ProblemCode, WorkspaceError};

use crate::idempotency::Reply;
use crate::problem::{self, Problem};
use crate::routes::tools;

/// Not done: a problem; or people were asked, which is answered with 202.
pub(crate) enum Undone {
    /// It was not done.
    Problem(Problem),
    /// It will be, when people say yes or the same act has ended.
    Later(Reply),
}

impl From<Problem> for Undone {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<WorkspaceError> for Undone {
    fn from(error: WorkspaceError) -> Self {
        Self::Problem(of_workspace(error))
    }
}

impl From<NotDone> for Undone {
    fn from(undone: NotDone) -> Self {
        let (code, said) = (undone.code(), undone.to_string());
        match undone {
            NotDone::Awaiting { approval, joined } => Self::Later(tools::awaiting(&approval, joined)),
            NotDone::InProgress(action) => Self::Later(tools::in_progress("workspace", &action)),
            NotDone::Refused(refusal) => Self::Problem((*refusal).into()),
            NotDone::NoSuchWorkspace(_) => Self::Problem(Problem::new(ProblemCode::NotFound, said)),
            NotDone::Problem(error) => Self::Problem(of_workspace(error)),
            NotDone::Failed(completed) => Self::Problem(match &completed.outcome {
                Err(failure) => {
                    let mut problem = problem::of_failure("workspace", &completed, failure);
                    problem.code = code;
                    problem
                }
                Ok(_) => Problem::internal("an act that succeeded was taken for one that failed"),
            }),
            NotDone::Store(error) => Self::Problem(error.into()),
        }
    }
}

impl IntoResponse for Undone {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Later(reply) => reply.into_response(),
        }
    }
}

/// A problem that the workspace, its driver or the platform told. What it says of the server's inside goes to the log.
pub(crate) fn of_workspace(error: WorkspaceError) -> Problem {
    if error.code == ProblemCode::Internal {
        return Problem::internal(error.message);
    }
    let problem = Problem::new(error.code, error.message);
    let problem = if error.code == ProblemCode::Unavailable { problem.retry_after(2) } else { problem };
    match error.current_etag {
        Some(etag) => problem.with("current_etag", etag),
        None => problem,
    }
}

/// The same as a problem alone, for whoever cannot be answered later.
pub(crate) fn problem_of(undone: NotDone) -> Problem {
    let (code, said) = (undone.code(), undone.to_string());
    match Undone::from(undone) {
        Undone::Problem(problem) => problem,
        Undone::Later(_) => Problem::new(code, said),
    }
}
