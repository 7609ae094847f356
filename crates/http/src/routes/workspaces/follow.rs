//! Following along: what happens to workspaces, and to the files of one.

use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use reeve_types::WorkspaceId;
use reeve_types::workspace::files::FileEvent;

use super::told::told;
use super::{Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::Id;
use crate::problem::Problem;
use crate::server::Stopping;

/// Each change of one's workspaces, from now on.
#[utoipa::path(get, path = "/workspaces/events", tag = "workspaces", operation_id = "follow_workspaces",
    responses((status = 200, description = "Server-sent events; `data` is `{\"event\": \"hello\"}` first, then `{\"event\": \"workspace\", \"workspace\": …}`, `{\"event\": \"gone\", \"id\": …}` or `{\"event\": \"resync\"}`.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn workspaces(State(app): State<App>, caller: Caller, stop: Stopping) -> Result<Response, Problem> {
    let events = service(&app.platform)?.events(&caller.principal);
    Ok(told(events.map(Ok), stop))
}

/// What happens to a workspace's files, from now on.
#[utoipa::path(get, path = "/workspaces/{id}/files/events", tag = "files", operation_id = "follow_files",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "Server-sent events; `data` is one of these, `hello` the first.", body = FileEvent, content_type = "text/event-stream")))]
pub(crate) async fn files(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, Undone> {
    Ok(told(service(&app.platform)?.watch(&asker(&app, &caller)?, &id).await?, stop))
}
