//! Whole workspaces out and in, as one stream.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use reeve_platform::workspaces::NewWorkspace;
use reeve_types::{Workspace, WorkspaceId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query};
use crate::routes::tools::Awaiting;

/// All files of a workspace as an uncompressed tar stream, with owners, modes and extended attributes.
#[utoipa::path(get, path = "/workspaces/{id}/export", tag = "workspaces", operation_id = "export_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The stream.", body = String, content_type = "application/x-tar")))]
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, Undone> {
    let bytes = service(&app.platform)?.export(&asker(&app, &caller)?, &id).await?;
    let mut response = bodies::raw(bytes, "application/x-tar");
    bodies::name(&mut response, "attachment", format!("{id}.tar").as_bytes());
    Ok(response)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Imported {
    /// The name of the new workspace.
    name: String,
    /// What it counts as made from; `base` unless told otherwise.
    template: Option<String>,
    /// Whether it is started as well.
    #[serde(default)]
    start: bool,
}

/// Makes a workspace with the files of such a stream.
#[utoipa::path(post, path = "/workspaces/import", tag = "workspaces", operation_id = "import_workspace",
    params(Imported), request_body(content = String, content_type = "application/x-tar", description = "The stream."),
    responses((status = 201, description = "The new workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn import(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<Imported>,
    request: Request,
) -> Result<(StatusCode, Json<Workspace>), Undone> {
    let (parts, body) = request.into_parts();
    let template = wanted.template.unwrap_or_else(|| "base".to_owned());
    let wanted = NewWorkspace { start: wanted.start, ..NewWorkspace::named(wanted.name, template) };
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    let files = bodies::content_up_to(&parts.headers, body, workspaces.import_bytes_max()).await?;
    Ok((StatusCode::CREATED, Json(workspaces.import(&asker, wanted, files).await?)))
}
