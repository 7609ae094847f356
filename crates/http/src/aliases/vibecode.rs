//! The session and container paths of the guide to VibeCode. A session is a workspace; its container is there while the
//! workspace runs.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Redirect;
use jiff::SignedDuration;
use reeve_platform::Permission;
use reeve_platform::workspaces::{
    Deleted, ForkWanted, NewWorkspace, NotDone, WorkspaceChange, WorkspaceFilter, Workspaces,
};
use reeve_types::{ProblemCode, Workspace, WorkspaceId, WorkspaceState};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use super::vibecode_auth::is_oneself;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::Id;
use crate::preview::Place;
use crate::problem::Problem;
use crate::routes::workspaces::{USE, Undone, asker, lifecycle, ports, service, snapshots};
use crate::routes::{health, pages};

/// Longest part of an owner's name in the name of a container.
const OWNER_CHARS_MAX: usize = 40;

/// What the guide answers with 400 where the rest has 422, and what is for everybody.
pub(crate) fn open_and_public(routes: Routes) -> Routes {
    routes
        .alias(USE, "/api/vibecode/sessions/open", routes!(open))
        .alias(Permission::Public, "/api/openapi.json", routes!(pages::description))
        .alias(Permission::Public, "/livez", routes!(health::health))
}

pub(crate) fn declare(routes: Routes) -> Routes {
    let at = |rest: &str| format!("/api/vibecode/sessions{rest}");
    let routes = routes
        .alias(USE, &at("/create"), routes!(create))
        .alias(USE, &at(""), routes!(list))
        .alias(USE, &at("/suspend"), routes!(suspend))
        .alias(USE, &at("/delete"), routes!(delete))
        .alias(USE, &at("/{id}"), routes!(show))
        .alias(USE, &at("/{id}"), routes!(rename))
        .alias(USE, &at("/{id}"), routes!(lifecycle::delete))
        .alias(USE, &at("/{id}/restore"), routes!(restore))
        .alias(USE, &at("/{id}/duplicate"), routes!(duplicate))
        .alias(USE, &at("/{id}/snapshots"), routes!(snapshots::list))
        .alias(USE, &at("/{id}/snapshots"), routes!(snapshots::take))
        .alias(USE, &at("/{id}/ports"), routes!(ports::list))
        .alias(USE, &at("/{id}/preview"), routes!(ports::preview));
    routes
        .alias(USE, &at("/{id}/proxy"), routes!(proxy))
        .alias(USE, &at("/{id}/proxy/"), routes!(proxy))
        .alias(USE, "/api/vibecode/container/create", routes!(create_container))
        .alias(USE, "/api/vibecode/container/{id}/status", routes!(container_status))
        .alias(USE, "/api/vibecode/container/{id}/start", routes!(start_container))
        .alias(USE, "/api/vibecode/container/{id}/stop", routes!(stop_container))
}

/// A session as every version of the guide's clients reads it.
pub(super) fn session(seen: &Workspace, now: jiff::Timestamp) -> Value {
    let idle = now.duration_since(seen.last_active_at);
    let activity = match idle {
        idle if idle < SignedDuration::from_hours(1) => "active",
        idle if idle < SignedDuration::from_hours(24) => "recent",
        _ => "inactive",
    };
    json!({
        "session_id": seen.id, "id": seen.id, "name": seen.name, "project_name": seen.name,
        "description": seen.description, "template": seen.template,
        "status": seen.state, "container_status": container_status_of(seen),
        "container_id": container_id(seen), "container_name": container_name(seen), "volume_name": volume_name(seen),
        "created_at": seen.created_at, "updated_at": seen.updated_at, "last_activity": seen.last_active_at,
        "activity_status": activity, "file_count": Value::Null, "problem": seen.problem,
    })
}

fn container_id(seen: &Workspace) -> Value {
    if seen.state == WorkspaceState::Running { json!(container_name(seen)) } else { Value::Null }
}

/// What the driver for Docker calls a workspace's container, so that the guide's commands find it.
fn container_name(seen: &Workspace) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let owner: String = seen.owner.chars().take(OWNER_CHARS_MAX).map(fits).collect();
    format!("vibecode-{owner}-{}", seen.id)
}

fn volume_name(seen: &Workspace) -> String {
    format!("{}-ws", container_name(seen))
}

fn container_status_of(seen: &Workspace) -> &'static str {
    match seen.state {
        WorkspaceState::Suspending => "stopping",
        WorkspaceState::Stopped | WorkspaceState::Suspended => "stopped",
        other => other.as_str(),
    }
}

/// The template that a name of the guide's dialogs means: its own, or the language that it stands for.
pub(super) fn template(workspaces: &Workspaces, name: &str) -> String {
    let known = |name: &str| workspaces.templates().iter().any(|template| template.name == name);
    let language = match name {
        "" => "base",
        "python-data" | "django" | "flask" | "fastapi" => "python",
        "web" | "react" | "nextjs" | "vue" | "angular" => "node",
        other => other,
    };
    if !name.is_empty() && known(name) { name.to_owned() } else { language.to_owned() }
}

/// Makes a session; nothing runs yet.
#[utoipa::path(post, path = "/api/vibecode/sessions/create", responses((status = 200, description = "The session.")))]
async fn create(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let workspaces = service(&app.platform)?;
    let template = template(workspaces, given.text("template").unwrap_or_default());
    let description = given.text("description").unwrap_or_default().to_owned();
    let wanted =
        NewWorkspace { description, start: false, ..NewWorkspace::named(given.need("name")?.to_owned(), template) };
    let made = workspaces.create(&asker(&app, &caller)?, wanted).await?;
    let session = session(&made, app.platform.clock().now());
    let mut reply = session.clone();
    reply["session"] = session;
    Ok(Json(reply))
}

/// One's own sessions, the one that was used last first.
#[utoipa::path(get, path = "/api/vibecode/sessions", responses((status = 200, description = "The sessions.")))]
async fn list(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    Ok(Json(listed(&app, &caller, given.flag("active_only", false)).await?))
}

pub(super) async fn listed(app: &App, caller: &Caller, active_only: bool) -> Result<Value, Undone> {
    let (workspaces, now) = (service(&app.platform)?, app.platform.clock().now());
    let mut found: Vec<Workspace> = Vec::new();
    let mut cursor = None;
    loop {
        let filter = WorkspaceFilter { state: None, limit: Some(200), cursor };
        let page = workspaces.list(&caller.principal, filter).await?;
        found.extend(page.workspaces);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    found.retain(|seen| !active_only || seen.state != WorkspaceState::Stopped);
    found.sort_by_key(|seen| std::cmp::Reverse(seen.last_active_at));
    let sessions: Vec<Value> = found.iter().map(|seen| session(seen, now)).collect();
    let total = sessions.len();
    Ok(json!({"sessions": sessions, "total": total}))
}

/// Starts a session.
#[utoipa::path(post, path = "/api/vibecode/sessions/open", responses((status = 200, description = "The session and its container.")))]
async fn open(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let started = service(&app.platform)?.start(&asker(&app, &caller)?, &given.session()?).await?;
    Ok(Json(json!({
        "message": "the session is open",
        "session": session(&started, app.platform.clock().now()),
        "container": {"id": started.id, "status": started.state},
    })))
}

/// Ends a session's processes; its files stay.
#[utoipa::path(post, path = "/api/vibecode/sessions/suspend", responses((status = 200, description = "It is suspended.")))]
async fn suspend(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.suspend(&asker(&app, &caller)?, &given.session()?).await?;
    Ok(Json(json!({"message": "the session is suspended", "success": true})))
}

/// Puts a session into the trash; with `force`, removes it for good.
#[utoipa::path(post, path = "/api/vibecode/sessions/delete", responses((status = 200, description = "It is deleted.")))]
async fn delete(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (id, force) = (given.session()?, given.flag("force", false));
    let message = match service(&app.platform)?.delete(&asker(&app, &caller)?, &id, force).await? {
        Deleted::Kept(_) => "the session is deleted, and can be restored",
        Deleted::Purged => "the session is gone for good",
    };
    Ok(Json(json!({"message": message, "success": true})))
}

/// One session.
#[utoipa::path(get, path = "/api/vibecode/sessions/{id}", responses((status = 200, description = "The session.")))]
async fn show(State(app): State<App>, caller: Caller, Id(id): Id<WorkspaceId>) -> Result<Json<Value>, Undone> {
    let seen = service(&app.platform)?.get(&caller.principal, &id).await?;
    Ok(Json(session(&seen, app.platform.clock().now())))
}

/// Other words for a session.
#[utoipa::path(patch, path = "/api/vibecode/sessions/{id}", responses((status = 200, description = "The session.")))]
async fn rename(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    let words = |key: &str| given.text(key).map(str::to_owned);
    let change = WorkspaceChange { name: words("name"), description: words("description"), idle_timeout_ms: None };
    let changed = service(&app.platform)?.patch(&asker(&app, &caller)?, &id, change).await?;
    Ok(Json(session(&changed, app.platform.clock().now())))
}

/// Takes a session back from the trash.
#[utoipa::path(post, path = "/api/vibecode/sessions/{id}/restore", responses((status = 200, description = "The session.")))]
async fn restore(State(app): State<App>, caller: Caller, Id(id): Id<WorkspaceId>) -> Result<Json<Value>, Undone> {
    let back = service(&app.platform)?.restore(&asker(&app, &caller)?, &id).await?;
    Ok(Json(session(&back, app.platform.clock().now())))
}

/// Makes a new session with the files of this one.
#[utoipa::path(post, path = "/api/vibecode/sessions/{id}/duplicate", responses((status = 200, description = "The new session.")))]
async fn duplicate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    let workspaces = service(&app.platform)?;
    let name = match given.text("name") {
        Some(name) => name.to_owned(),
        None => format!("{} copy", workspaces.get(&caller.principal, &id).await?.name),
    };
    let wanted = ForkWanted { name, snapshot_id: None, start: false };
    let made = workspaces.fork(&asker(&app, &caller)?, &id, wanted).await?;
    Ok(Json(session(&made, app.platform.clock().now())))
}

fn container(seen: &Workspace) -> Value {
    json!({
        "session_id": seen.id, "container_id": container_id(seen), "container_name": container_name(seen),
        "status": container_status_of(seen), "volume_name": volume_name(seen), "workspace_path": "/workspace",
        "created_at": seen.created_at,
    })
}

/// Starts a session's container.
#[utoipa::path(post, path = "/api/vibecode/container/create", responses((status = 200, description = "The container.")))]
async fn create_container(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    if let Some(user) = given.written("user_id")
        && !is_oneself(&app, &caller, &user).await?
    {
        return Err(Problem::new(ProblemCode::Forbidden, "`user_id` is somebody else").into());
    }
    let started = service(&app.platform)?.start(&asker(&app, &caller)?, &given.session()?).await?;
    Ok(Json(container(&started)))
}

/// How a session's container is.
#[utoipa::path(get, path = "/api/vibecode/container/{id}/status", responses((status = 200, description = "The container.")))]
pub(super) async fn container_status(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Value>, Undone> {
    let seen = match service(&app.platform)?.get(&caller.principal, &id).await {
        // The guide's clients ask before there is anything, and are told so.
        Err(NotDone::NoSuchWorkspace(_)) => {
            let message = "there is no such session, so it has no container";
            return Ok(Json(json!({"session_id": id, "status": "not_created", "message": message})));
        }
        seen => seen?,
    };
    let mut reply = container(&seen);
    if seen.state == WorkspaceState::Deleted {
        reply["status"] = json!("not_created");
        reply["message"] = json!("the session is deleted");
    }
    Ok(Json(reply))
}

/// Starts a session's container.
#[utoipa::path(post, path = "/api/vibecode/container/{id}/start", responses((status = 200, description = "It runs.")))]
async fn start_container(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Value>, Undone> {
    let started = service(&app.platform)?.start(&asker(&app, &caller)?, &id).await?;
    Ok(Json(json!({"session_id": id, "status": started.state, "message": "the container runs"})))
}

/// Stops a session's container.
#[utoipa::path(post, path = "/api/vibecode/container/{id}/stop", responses((status = 200, description = "It is stopped.")))]
async fn stop_container(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.suspend(&asker(&app, &caller)?, &id).await?;
    Ok(Json(json!({"session_id": id, "status": "stopped", "message": "the container is stopped"})))
}

/// Leads to the preview of the port that a program of the session listens on, the lowest unless `port` says which. With
/// the port in the path, `…/proxy/{port}/…`, the preview answers by itself, sockets and all.
#[utoipa::path(get, path = "/api/vibecode/sessions/{id}/proxy", responses((status = 307, description = "Where it is.")))]
async fn proxy(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    request: Request,
) -> Result<Redirect, Undone> {
    let ports = service(&app.platform)?.ports(&asker(&app, &caller)?, &id).await?;
    let named = crate::socket::parameter(request.uri(), "port").and_then(|port| port.parse::<u16>().ok());
    let port = named.or_else(|| ports.iter().map(|port| port.port).min()).ok_or_else(|| {
        let detail = "no program of this session listens on a port; start one, and ask again";
        Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
    })?;
    let place = Place { workspace: id, port };
    Ok(Redirect::temporary(&ports::entrance(&app, caller, &request, place)?))
}
