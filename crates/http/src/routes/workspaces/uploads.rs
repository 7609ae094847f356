//! Large files in pieces: begun, filled from where it stands, finished or given up.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_types::workspace::files::{FILE_BYTES_MAX, SaveFile, Saved, Upload};
use reeve_types::{ProblemCode, UploadId, WorkspaceId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{read, tag};
use super::{Ids, Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, parse};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// An upload to be begun.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginUpload {
    /// Where the file will be: a path, or `{"b64": …}`.
    #[schema(value_type = Object)]
    path: reeve_types::WorkspacePath,
    /// How many bytes it will have.
    size: u64,
    /// SHA-256 of them, in hexadecimal.
    sha256: String,
    /// Only if the file has this entity tag when the upload is finished.
    #[serde(default)]
    if_match: Option<String>,
    /// Only if there is no such file when the upload is finished.
    #[serde(default)]
    if_none_match: bool,
    /// Make the directories above it.
    #[serde(default)]
    create_parents: bool,
    /// Comes back as `origin` of the file's event.
    #[serde(default)]
    client_id: Option<String>,
}

/// Begins an upload in pieces. What is admitted here is checked against what has arrived when it is finished.
#[utoipa::path(post, path = "/workspaces/{id}/files/uploads", tag = "files", operation_id = "begin_upload",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = BeginUpload,
    responses((status = 201, description = "It is begun.", body = Upload),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn begin(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Undone> {
    let wanted: BeginUpload = read(body)?;
    if wanted.size > FILE_BYTES_MAX {
        let detail = format!("a file may have {FILE_BYTES_MAX} bytes, and this one would have {}", wanted.size);
        return Err(Problem::new(ProblemCode::TooLarge, detail).into());
    }
    let file = SaveFile {
        path: wanted.path.below_root().map_err(super::wire::bad_path)?,
        sha256: parse(&wanted.sha256)?,
        size: wanted.size,
        if_match: wanted.if_match.map(|text| tag(&text)),
        if_none_match: wanted.if_none_match,
        create_parents: wanted.create_parents,
        origin: wanted.client_id.map(|id| id.chars().take(80).collect()),
    };
    let upload = service(&app.platform)?.begin_upload(&asker(&app, &caller)?, &id, &file).await?;
    Ok(shown(StatusCode::CREATED, upload))
}

fn shown(status: StatusCode, upload: Upload) -> Response {
    let offset = HeaderValue::from(upload.offset);
    let mut response = (status, Json(upload)).into_response();
    response.headers_mut().insert(UPLOAD_OFFSET, offset);
    response
}

/// Adds to an upload at its offset. When the connection breaks, what has arrived is kept; ask how far it is, and go on.
#[utoipa::path(patch, path = "/workspaces/{id}/files/uploads/{uid}", tag = "files", operation_id = "continue_upload",
    params(("id" = String, Path, description = "The workspace's id."), ("uid" = String, Path, description = "The upload's id."),
           ("Upload-Offset" = u64, Header, description = "Where these bytes begin: as many as have arrived.")),
    request_body(content = String, content_type = "application/octet-stream", description = "The next bytes."),
    responses((status = 200, description = "How far it is now.", body = Upload)))]
pub(crate) async fn go_on(
    State(app): State<App>,
    caller: Caller,
    Ids(id, upload): Ids<WorkspaceId, UploadId>,
    request: Request,
) -> Result<Response, Undone> {
    let (parts, body) = request.into_parts();
    let offset = parts.headers.get(UPLOAD_OFFSET).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let offset: u64 = offset.ok_or_else(|| {
        Problem::new(ProblemCode::BadRequest, "the header Upload-Offset must say how many bytes have arrived before")
    })?;
    let workspaces = service(&app.platform)?;
    let content = bodies::pieces(body);
    let upload = workspaces.continue_upload(&caller.principal, &id, &upload, offset, content).await?;
    Ok(shown(StatusCode::OK, upload))
}

/// How far an upload is.
#[utoipa::path(get, path = "/workspaces/{id}/files/uploads/{uid}", tag = "files", operation_id = "show_file_upload",
    params(("id" = String, Path, description = "The workspace's id."), ("uid" = String, Path, description = "The upload's id.")),
    responses((status = 200, description = "How far it is.", body = Upload)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Ids(id, upload): Ids<WorkspaceId, UploadId>,
) -> Result<Response, Undone> {
    Ok(shown(StatusCode::OK, service(&app.platform)?.upload(&caller.principal, &id, &upload).await?))
}

/// Puts a complete upload in its place, all or nothing.
#[utoipa::path(post, path = "/workspaces/{id}/files/uploads/{uid}/finish", tag = "files", operation_id = "finish_upload",
    params(("id" = String, Path, description = "The workspace's id."), ("uid" = String, Path, description = "The upload's id.")),
    responses((status = 200, description = "It is saved.", body = Saved)))]
pub(crate) async fn finish(
    State(app): State<App>,
    caller: Caller,
    Ids(id, upload): Ids<WorkspaceId, UploadId>,
) -> Result<Json<Saved>, Undone> {
    Ok(Json(service(&app.platform)?.finish_upload(&caller.principal, &id, &upload).await?))
}

/// Gives an upload up.
#[utoipa::path(delete, path = "/workspaces/{id}/files/uploads/{uid}", tag = "files", operation_id = "abandon_upload",
    params(("id" = String, Path, description = "The workspace's id."), ("uid" = String, Path, description = "The upload's id.")),
    responses((status = 200, description = "It is gone: `{\"removed\": true}`.", body = Value)))]
pub(crate) async fn give_up(
    State(app): State<App>,
    caller: Caller,
    Ids(id, upload): Ids<WorkspaceId, UploadId>,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.abandon_upload(&caller.principal, &id, &upload).await?;
    Ok(Json(json!({"removed": true})))
}
