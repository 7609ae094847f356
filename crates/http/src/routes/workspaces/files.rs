//! Looking through a workspace's files, and changing their names.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use reeve_platform::workspaces::{Asker, Workspaces};
use reeve_types::workspace::files::{
    ArchiveFormat, Extracted, FileChanged, FileEntry, FileOperation, SearchEvent, SearchQuery, TrashEntry, TreePage,
    TreeQuery,
};
use reeve_types::{ProblemCode, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::told::told;
use super::wire::{PathQuery, path_of, read};
use super::{Acting, Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;
use crate::server::Stopping;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichPart {
    /// The directory; the root unless told otherwise.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// How many levels below it, from 1 to 10; 1 unless told otherwise.
    depth: Option<u32>,
    /// Whether entries that ignore rules name are listed (and marked); yes unless told otherwise.
    ignored: Option<bool>,
    /// At most so many entries, up to 5,000.
    limit: Option<u32>,
    /// Where the last page ended.
    cursor: Option<String>,
}

/// Part of the tree of files: depth first, directories before files, then by name.
#[utoipa::path(get, path = "/workspaces/{id}/tree", tag = "files", operation_id = "list_tree",
    params(("id" = String, Path, description = "The workspace's id."), WhichPart),
    responses((status = 200, description = "The entries.", body = TreePage)))]
pub(crate) async fn tree(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<WhichPart>,
) -> Result<Json<TreePage>, Undone> {
    let usual = TreeQuery::default();
    let query = TreeQuery {
        path: path_of(which.path.as_deref(), which.path_b64.as_deref())?,
        depth: which.depth.unwrap_or(usual.depth).clamp(1, 10),
        ignored: which.ignored.unwrap_or(usual.ignored),
        limit: which.limit.unwrap_or(usual.limit).clamp(1, 5000),
        cursor: which.cursor.filter(|cursor| !cursor.is_empty()),
    };
    Ok(Json(service(&app.platform)?.tree(&asker(&app, &caller)?, &id, &query).await?))
}

/// What a path names.
#[utoipa::path(get, path = "/workspaces/{id}/files/stat", tag = "files", operation_id = "stat_file",
    params(("id" = String, Path, description = "The workspace's id."), PathQuery),
    responses((status = 200, description = "The entry.", body = FileEntry)))]
pub(crate) async fn stat(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<PathQuery>,
) -> Result<Json<FileEntry>, Undone> {
    Ok(Json(service(&app.platform)?.stat(&asker(&app, &caller)?, &id, &which.path()?).await?))
}

/// Creates, renames, moves, copies, trashes, restores or deletes. Nothing that is there is ever replaced.
#[utoipa::path(post, path = "/workspaces/{id}/files/operations", tag = "files", operation_id = "change_files",
    params(("id" = String, Path, description = "The workspace's id."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body = FileOperation,
    responses((status = 200, description = "What it did.", body = FileChanged),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn operate(
    acting: Acting,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = idempotency::request("change_files", id.as_str(), &body);
    let operation: FileOperation = read(body)?;
    let operate = |workspaces: Workspaces, asker: Asker| async move {
        Ok(Reply::new(StatusCode::OK, json!(workspaces.operate(&asker, &id, &operation).await?)))
    };
    acting.once(what, operate).await
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Trash {
    entries: Vec<TrashEntry>,
}

/// What is in the trash of a workspace's files.
#[utoipa::path(get, path = "/workspaces/{id}/files/trash", tag = "files", operation_id = "list_trash",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The things in it.", body = Trash)))]
pub(crate) async fn trash(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Trash>, Undone> {
    Ok(Json(Trash { entries: service(&app.platform)?.trash(&asker(&app, &caller)?, &id).await? }))
}

/// Searches names or contents. What is found comes as it is found; closing the connection ends the search.
#[utoipa::path(post, path = "/workspaces/{id}/files/search", tag = "files", operation_id = "search_files",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = SearchQuery,
    responses((status = 200, description = "Server-sent events; `data` is one of these, `done` the last.", body = SearchEvent, content_type = "text/event-stream")))]
pub(crate) async fn search(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    Id(id): Id<WorkspaceId>,
    Body(query): Body<SearchQuery>,
) -> Result<Response, Undone> {
    if query.text.is_empty() {
        return Err(Problem::new(ProblemCode::BadRequest, "`text` is empty: say what to search for").into());
    }
    Ok(told(service(&app.platform)?.search(&asker(&app, &caller)?, &id, query).await?, stop))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Packed {
    /// The file or directory; the root unless told otherwise.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// `zip` or `tar_gz`; `zip` unless told otherwise.
    #[param(inline)]
    format: Option<ArchiveFormat>,
}

/// A file or directory, packed.
#[utoipa::path(get, path = "/workspaces/{id}/files/archive", tag = "files", operation_id = "pack_files",
    params(("id" = String, Path, description = "The workspace's id."), Packed),
    responses((status = 200, description = "The archive, as it is made.", body = String, content_type = "application/octet-stream")))]
pub(crate) async fn archive(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<Packed>,
) -> Result<Response, Undone> {
    let path = path_of(which.path.as_deref(), which.path_b64.as_deref())?;
    let format = which.format.unwrap_or(ArchiveFormat::Zip);
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    // What cannot be packed is told before the answer begins; later it could only break off.
    workspaces.stat(&asker, &id, &path).await?;
    let bytes = workspaces.archive(&asker, &id, &path, format).await?;
    let (kind, extension) = match format {
        ArchiveFormat::Zip => ("application/zip", ".zip"),
        ArchiveFormat::TarGz => ("application/gzip", ".tar.gz"),
    };
    let mut response = bodies::raw(bytes, kind);
    let name = [path.name().unwrap_or(b"workspace"), extension.as_bytes()].concat();
    bodies::name(&mut response, "attachment", &name);
    Ok(response)
}

/// Unpacks an archive into a directory. Archives with paths or links that lead out are refused.
#[utoipa::path(post, path = "/workspaces/{id}/files/extract", tag = "files", operation_id = "unpack_files",
    params(("id" = String, Path, description = "The workspace's id."), Packed),
    request_body(content = String, content_type = "application/octet-stream", description = "The archive."),
    responses((status = 200, description = "What was written.", body = Extracted),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn extract(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<Packed>,
    request: Request,
) -> Result<Json<Extracted>, Undone> {
    let path = path_of(which.path.as_deref(), which.path_b64.as_deref())?;
    let format = which.format.unwrap_or(ArchiveFormat::Zip);
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    // Who may not see the workspace does not get to send a gigabyte to it.
    workspaces.get(&caller.principal, &id).await?;
    let (parts, body) = request.into_parts();
    let archive = bodies::content(&parts.headers, body).await?;
    Ok(Json(workspaces.extract(&asker, &id, &path, format, archive).await?))
}
