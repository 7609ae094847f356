//! Making, starting, resting and deleting workspaces.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use reeve_platform::workspaces::{Asker, Deleted, NewWorkspace, WorkspaceChange, WorkspaceFilter, Workspaces};
use reeve_types::workspace::WorkspaceUsage;
use reeve_types::{Workspace, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::wire::{ChangeWorkspace, CreateWorkspace, WorkspaceDriver, WorkspaceRules, WorkspaceTemplate, read};
use super::{Acting, Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;

#[derive(Serialize, ToSchema)]
pub(crate) struct Templates {
    templates: Vec<WorkspaceTemplate>,
    /// What they can be made with, the usual one first.
    drivers: Vec<WorkspaceDriver>,
    rules: WorkspaceRules,
}

/// What workspaces can be made from, and what holds for all of them here.
#[utoipa::path(get, path = "/workspace-templates", tag = "workspaces", operation_id = "list_workspace_templates",
    responses((status = 200, description = "The templates.", body = Templates)))]
pub(crate) async fn templates(State(app): State<App>, _caller: Caller) -> Result<Json<Templates>, Problem> {
    let workspaces = service(&app.platform)?;
    let options = workspaces.options();
    let shown = |template| WorkspaceTemplate::of(template, options.limits);
    let templates = workspaces.templates().iter().map(shown).collect();
    let drivers = workspaces.drivers().into_iter().map(WorkspaceDriver::from).collect();
    Ok(Json(Templates { templates, drivers, rules: WorkspaceRules::from(options) }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only those in this state: stopped, starting, running, suspending, suspended, error, deleting or deleted. All but
    /// deleted ones unless told otherwise.
    state: Option<String>,
    /// At most so many, up to 200.
    limit: Option<u32>,
    /// Where the last page ended.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WorkspaceList {
    workspaces: Vec<Workspace>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// One's own workspaces, newest first; administrators see all of their tenant.
#[utoipa::path(get, path = "/workspaces", tag = "workspaces", operation_id = "list_workspaces", params(Which),
    responses((status = 200, description = "The workspaces.", body = WorkspaceList)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<WorkspaceList>, Undone> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = WorkspaceFilter {
        state: given(which.state).as_deref().map(parse).transpose()?,
        limit: which.limit,
        cursor: given(which.cursor).as_deref().map(parse).transpose()?,
    };
    let page = service(&app.platform)?.list(&caller.principal, filter).await?;
    Ok(Json(WorkspaceList { workspaces: page.workspaces, next_cursor: page.next_cursor.map(|id| id.to_string()) }))
}

/// Makes a workspace, and starts it unless told otherwise.
#[utoipa::path(post, path = "/workspaces", tag = "workspaces", operation_id = "create_workspace",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    request_body = CreateWorkspace,
    responses((status = 201, description = "It is there.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn create(acting: Acting, Body(body): Body<Value>) -> Result<Response, Problem> {
    let what = idempotency::request("create_workspace", "", &body);
    let wanted: NewWorkspace = read::<CreateWorkspace>(body)?.into();
    let create = |workspaces: Workspaces, asker: Asker| async move {
        Ok(Reply::new(StatusCode::CREATED, json!(workspaces.create(&asker, wanted).await?)))
    };
    acting.once(what, create).await
}

/// One workspace.
#[utoipa::path(get, path = "/workspaces/{id}", tag = "workspaces", operation_id = "show_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Workspace>, Undone> {
    Ok(Json(service(&app.platform)?.get(&caller.principal, &id).await?))
}

/// Changes a workspace's words, or how long it may be idle.
#[utoipa::path(patch, path = "/workspaces/{id}", tag = "workspaces", operation_id = "change_workspace",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = ChangeWorkspace,
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<ChangeWorkspace>,
) -> Result<Json<Workspace>, Undone> {
    let change: WorkspaceChange = body.into();
    Ok(Json(service(&app.platform)?.patch(&asker(&app, &caller)?, &id, change).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowDeleted {
    /// Remove it for good, with its files and snapshots.
    #[serde(default)]
    force: bool,
}

/// Puts a workspace into the trash; with `force`, removes it for good.
#[utoipa::path(delete, path = "/workspaces/{id}", tag = "workspaces", operation_id = "delete_workspace",
    params(("id" = String, Path, description = "The workspace's id."), HowDeleted),
    responses((status = 200, description = "The workspace in state `deleted`, or `{\"purged\": true}`.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(how): Query<HowDeleted>,
) -> Result<Json<Value>, Undone> {
    match service(&app.platform)?.delete(&asker(&app, &caller)?, &id, how.force).await? {
        Deleted::Kept(workspace) => Ok(Json(json!(workspace))),
        Deleted::Purged => Ok(Json(json!({"purged": true}))),
    }
}

/// Starts a workspace that is stopped or suspended; one that runs is answered as it is.
#[utoipa::path(post, path = "/workspaces/{id}/start", tag = "workspaces", operation_id = "start_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Workspace>, Undone> {
    Ok(Json(service(&app.platform)?.start(&asker(&app, &caller)?, &id).await?))
}

/// The same as starting.
#[utoipa::path(post, path = "/workspaces/{id}/resume", tag = "workspaces", operation_id = "resume_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn resume(app: State<App>, caller: Caller, id: Id<WorkspaceId>) -> Result<Json<Workspace>, Undone> {
    start(app, caller, id).await
}

/// Ends a workspace's processes; its files stay.
#[utoipa::path(post, path = "/workspaces/{id}/suspend", tag = "workspaces", operation_id = "suspend_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn suspend(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Workspace>, Undone> {
    Ok(Json(service(&app.platform)?.suspend(&asker(&app, &caller)?, &id).await?))
}

/// Takes a workspace back from the trash; it is stopped then.
#[utoipa::path(post, path = "/workspaces/{id}/restore", tag = "workspaces", operation_id = "restore_workspace",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The workspace.", body = Workspace),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Workspace>, Undone> {
    Ok(Json(service(&app.platform)?.restore(&asker(&app, &caller)?, &id).await?))
}

/// What a workspace uses at this moment. Looking at it is no use of it.
#[utoipa::path(get, path = "/workspaces/{id}/usage", tag = "workspaces", operation_id = "workspace_usage",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "What it uses.", body = WorkspaceUsage)))]
pub(crate) async fn usage(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<WorkspaceUsage>, Undone> {
    Ok(Json(service(&app.platform)?.usage(&caller.principal, &id).await?))
}
