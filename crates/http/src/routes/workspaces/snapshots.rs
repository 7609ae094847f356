//! Snapshots of a workspace's files, and copies of workspaces.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use reeve_platform::workspaces::{Asker, Workspaces};
use reeve_types::workspace::Snapshot;
use reeve_types::{SnapshotId, Workspace, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{ForkWorkspace, read};
use super::{Acting, Ids, Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;

#[derive(Serialize, ToSchema)]
pub(crate) struct Snapshots {
    snapshots: Vec<Snapshot>,
}

/// The snapshots of a workspace, oldest first.
#[utoipa::path(get, path = "/workspaces/{id}/snapshots", tag = "workspaces", operation_id = "list_snapshots",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The snapshots.", body = Snapshots)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Snapshots>, Undone> {
    Ok(Json(Snapshots { snapshots: service(&app.platform)?.snapshots(&caller.principal, &id).await? }))
}

/// A snapshot to be taken.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeSnapshot {
    /// What to call it.
    name: String,
}

/// Copies a workspace's files aside.
#[utoipa::path(post, path = "/workspaces/{id}/snapshots", tag = "workspaces", operation_id = "take_snapshot",
    params(("id" = String, Path, description = "The workspace's id."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body = TakeSnapshot,
    responses((status = 201, description = "The snapshot.", body = Snapshot),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn take(
    acting: Acting,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = idempotency::request("take_snapshot", id.as_str(), &body);
    let wanted: TakeSnapshot = read(body)?;
    let take = |workspaces: Workspaces, asker: Asker| async move {
        let taken = workspaces.snapshot(&asker, &id, &wanted.name).await?;
        Ok(Reply::new(StatusCode::CREATED, json!(taken)))
    };
    acting.once(what, take).await
}

/// Puts a workspace's files back as they were in a snapshot. It must not run.
#[utoipa::path(post, path = "/workspaces/{id}/snapshots/{sid}/roll-back", tag = "workspaces", operation_id = "roll_back_workspace",
    params(("id" = String, Path, description = "The workspace's id."), ("sid" = String, Path, description = "The snapshot's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn roll_back(
    State(app): State<App>,
    caller: Caller,
    Ids(id, snapshot): Ids<WorkspaceId, SnapshotId>,
) -> Result<Json<Workspace>, Undone> {
    Ok(Json(service(&app.platform)?.roll_back(&asker(&app, &caller)?, &id, &snapshot).await?))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/workspaces/{id}/snapshots/{sid}", tag = "workspaces", operation_id = "remove_snapshot",
    params(("id" = String, Path, description = "The workspace's id."), ("sid" = String, Path, description = "The snapshot's id.")),
    responses((status = 200, description = "It is gone: `{\"removed\": true}`.", body = Value),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Ids(id, snapshot): Ids<WorkspaceId, SnapshotId>,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.drop_snapshot(&asker(&app, &caller)?, &id, &snapshot).await?;
    Ok(Json(json!({"removed": true})))
}

/// Makes a new workspace with the files of this one.
#[utoipa::path(post, path = "/workspaces/{id}/fork", tag = "workspaces", operation_id = "fork_workspace",
    params(("id" = String, Path, description = "The workspace's id."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body = ForkWorkspace,
    responses((status = 201, description = "The new workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn fork(
    acting: Acting,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = idempotency::request("fork_workspace", id.as_str(), &body);
    let wanted = read::<ForkWorkspace>(body)?.wanted()?;
    let fork = |workspaces: Workspaces, asker: Asker| async move {
        Ok(Reply::new(StatusCode::CREATED, json!(workspaces.fork(&asker, &id, wanted).await?)))
    };
    acting.once(what, fork).await
}
