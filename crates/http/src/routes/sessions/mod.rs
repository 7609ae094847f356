//! Sessions: making them, speaking in them, watching them, and letting others watch.
//!
//! Whose a session is, the service knows; whoever may not see one is told that there is none.

pub(crate) mod answering;
pub(crate) mod described;
pub(crate) mod finding;
pub(crate) mod following;
pub(crate) mod making;
pub(crate) mod messages;
pub(crate) mod prompting;
pub(crate) mod reading;
pub(crate) mod sharing;
pub(crate) mod socket;
pub(crate) mod standing;

use reeve_platform::sessions::{SessionError, Sessions};
use reeve_platform::{Permission, Platform};
use reeve_types::ProblemCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa_axum::routes;

use super::workspaces::undone::problem_of as of_workspaces;
use crate::declare::Routes;
use crate::problem::Problem;
use crate::socket::Knock;

/// What all routes of sessions need.
pub(crate) const USE: Permission = Permission::UseSessions;

/// Registers every route of sessions.
pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = made(routes);
    let routes = steered(routes);
    watched(routes)
}

fn made(routes: Routes) -> Routes {
    routes
        .api(USE, routes!(finding::definitions))
        .api(USE, routes!(finding::check_models))
        .api(USE, routes!(finding::list))
        .api(USE, routes!(making::create))
        .api(USE, routes!(making::batch, standing::end_many))
        .api(USE, routes!(finding::stats))
        .api(USE, routes!(standing::history))
        .api(USE, routes!(standing::health_of_all))
        .api(USE, routes!(making::show))
        .api(USE, routes!(making::change))
        .api(USE, routes!(making::end))
        .api(USE, routes!(making::kill))
        .also(USE, "/sessions/{id}/terminate", routes!(making::kill))
        .also(USE, "/sessions/{id}/stop", routes!(making::kill))
        .api(USE, routes!(making::resume))
        .api(USE, routes!(making::fork))
        .api(USE, routes!(making::spawn))
        .api(USE, routes!(finding::children))
}

fn steered(routes: Routes) -> Routes {
    routes
        .api(USE, routes!(prompting::prompt))
        .api(USE, routes!(prompting::send))
        .also(USE, "/sessions/{id}/input", routes!(prompting::send))
        .api(USE, routes!(prompting::command))
        .api(USE, routes!(prompting::take_back))
        .api(USE, routes!(prompting::cancel))
        .also(USE, "/sessions/{id}/escape", routes!(prompting::cancel))
        .api(USE, routes!(prompting::interrupt))
        .api(USE, routes!(answering::approve))
        .api(USE, routes!(answering::reject))
        .also(USE, "/sessions/{id}/approval/approve", routes!(answering::approve))
        .also(USE, "/sessions/{id}/approval/reject", routes!(answering::reject))
        .api(USE, routes!(answering::pending))
        .api(USE, routes!(answering::revoke))
}

fn watched(routes: Routes) -> Routes {
    routes
        .stream(USE, routes!(following::events))
        .stream(USE, routes!(following::stream))
        .stream(USE, routes!(following::all))
        .api(USE, routes!(following::replay))
        .api(USE, routes!(following::ticket))
        .socket(USE, Knock::Session, routes!(socket::open))
        .api(USE, routes!(standing::status))
        .api(USE, routes!(standing::health))
        .api(USE, routes!(standing::tools))
        .api(USE, routes!(standing::latency))
        .api(USE, routes!(reading::text))
        .api(USE, routes!(reading::transcript))
        .api(USE, routes!(reading::transcript_before))
        .api(USE, routes!(reading::summary))
        .api(USE, routes!(reading::metrics))
        .api(USE, routes!(reading::cost))
        .api(USE, routes!(reading::export))
        .api(USE, routes!(sharing::share))
        .api(USE, routes!(sharing::unshare))
        .api(Permission::Public, routes!(sharing::shared))
        .api(Permission::Public, routes!(sharing::shared_events))
}

/// The service, when this server has sessions.
pub(crate) fn service(platform: &Platform) -> Result<Sessions, Problem> {
    platform.sessions().ok_or_else(|| Problem::new(ProblemCode::Unavailable, "sessions are not set up on this server"))
}

/// What a body holds, or a problem that names the field.
fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NoSuchSession(_) => Self::new(ProblemCode::NotFound, error.to_string()),
            SessionError::Problem { code, message } => Self::new(code, message),
            SessionError::Platform(error) => error.into(),
            SessionError::Workspace(undone) => of_workspaces(undone),
            SessionError::Store(error) => error.into(),
        }
    }
}
