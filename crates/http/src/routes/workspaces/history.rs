//! What files were before they were saved over: listed, read, and saved again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use reeve_platform::workspaces::SaveWanted;
use reeve_types::workspace::files::{FileVersion, Saved};
use reeve_types::{VersionId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::content::{answered, described, media_type};
use super::wire::{PathQuery, path_of, read, tag};
use super::{Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse};
use crate::routes::tools::Awaiting;

#[derive(Serialize, ToSchema)]
pub(crate) struct History {
    versions: Vec<FileVersion>,
}

/// What a file was before it was saved over, the latest first. A file that is gone has its history still.
#[utoipa::path(get, path = "/workspaces/{id}/files/history", tag = "files", operation_id = "list_file_history",
    params(("id" = String, Path, description = "The workspace's id."), PathQuery),
    responses((status = 200, description = "The versions that are kept.", body = History)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<PathQuery>,
) -> Result<Json<History>, Undone> {
    let versions = service(&app.platform)?.history(&asker(&app, &caller)?, &id, &which.path()?).await?;
    Ok(Json(History { versions }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichVersion {
    /// Relative to /workspace, or absolute below it.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// The version's id.
    version: String,
}

/// The bytes of an earlier version of a file.
#[utoipa::path(get, path = "/workspaces/{id}/files/history/content", tag = "files", operation_id = "read_file_version",
    params(("id" = String, Path, description = "The workspace's id."), WhichVersion),
    responses((status = 200, description = "The bytes; headers ETag, Last-Modified, X-File-Binary.", body = String, content_type = "application/octet-stream")))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<WhichVersion>,
) -> Result<Response, Undone> {
    let path = path_of(which.path.as_deref(), which.path_b64.as_deref())?;
    let version: VersionId = parse(&which.version)?;
    let open = service(&app.platform)?.version(&asker(&app, &caller)?, &id, &path, &version).await?;
    let mut response = bodies::raw(open.content, media_type(&path, open.head.binary));
    bodies::name(&mut response, "inline", path.name().unwrap_or_default());
    described(&mut response, &open.head);
    Ok(response)
}

/// A version to be saved again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreVersion {
    /// Which file: a path, or `{"b64": …}`.
    #[schema(value_type = Object)]
    path: reeve_types::WorkspacePath,
    /// The version's id.
    #[schema(value_type = String)]
    version: VersionId,
    /// Only if the file has this entity tag.
    #[serde(default)]
    if_match: Option<String>,
    /// Comes back as `origin` of the file's event.
    #[serde(default)]
    client_id: Option<String>,
}

/// Saves a version over the file as it is now. It is a save as any other: admitted, recorded, and what it replaces is kept.
#[utoipa::path(post, path = "/workspaces/{id}/files/history/restore", tag = "files", operation_id = "restore_file_version",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = RestoreVersion,
    responses((status = 200, description = "It is saved; the header ETag names the new version.", body = Saved),
              (status = 201, description = "It is saved, and the file is there again.", body = Saved),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Undone> {
    let wanted: RestoreVersion = read(body)?;
    let save = SaveWanted {
        path: wanted.path.below_root().map_err(super::wire::bad_path)?,
        if_match: wanted.if_match.map(|text| tag(&text)),
        create_parents: true,
        origin: wanted.client_id.map(|id| id.chars().take(80).collect()),
        ..SaveWanted::default()
    };
    let workspaces = service(&app.platform)?;
    let saved = workspaces.restore_version(&asker(&app, &caller)?, &id, &wanted.version, save).await?;
    Ok(answered(if saved.created { StatusCode::CREATED } else { StatusCode::OK }, saved))
}
