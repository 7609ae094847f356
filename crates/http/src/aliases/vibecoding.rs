//! The paths of the generation before, for old clients: the same workspaces, with credentials.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use reeve_platform::workspaces::{Content, NewWorkspace, SaveWanted};
use reeve_store::EventFilter;
use reeve_types::{EventType, ProblemCode, WorkspaceId};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use super::vibecode::{self, session, template};
use super::vibecode_auth::is_oneself;
use super::vibecode_files::{content, entries, node, with_content};
use super::vibecode_run::{at as terminal_at, wanted};
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::{Id, parse};
use crate::problem::Problem;
use crate::routes::workspaces::knock::Knock;
use crate::routes::workspaces::wire::bad_path;
use crate::routes::workspaces::{USE, Undone, asker, service};

/// Most runs of a history.
const HISTORY_MAX: u64 = 500;

pub(crate) fn declare(routes: Routes) -> Routes {
    let at = |rest: &str| format!("/api/vibecoding{rest}");
    routes
        .alias(USE, &at("/container/create"), routes!(create))
        .alias(USE, &at("/container/execute"), routes!(execute))
        .alias(USE, &at("/container/files/list"), routes!(list))
        .alias(USE, &at("/container/files/tree"), routes!(tree))
        .alias(USE, &at("/container/files/read"), routes!(read))
        .alias(USE, &at("/container/files/write"), with_content(routes!(write)))
        .alias(USE, &at("/files"), routes!(files_of))
        .alias(USE, &at("/files"), with_content(routes!(work_on_files)))
        .alias(USE, &at("/container/cleanup"), routes!(clean_up))
        .alias(USE, &at("/container/{id}"), routes!(remove))
        .alias(USE, &at("/container/{id}/status"), routes!(vibecode::container_status))
        .socket_alias(USE, &at("/container/{id}/terminal"), routes!(terminal))
        .alias(USE, &at("/sessions"), routes!(make))
        .alias(USE, &at("/sessions/create"), routes!(make))
        .alias(USE, &at("/sessions/{id}"), routes!(sessions))
        .alias(USE, &at("/sessions/{id}/history"), routes!(history))
        .alias(USE, &at("/sessions/{id}/files"), routes!(files))
}

/// Starts a session's container, and makes the session when none is named.
#[utoipa::path(post, path = "/api/vibecoding/container/create", responses((status = 200, description = "The session.")))]
async fn create(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    let made = match given.text("session_id") {
        Some(id) => workspaces.start(&asker, &parse(id)?).await?,
        None => {
            let template = template(workspaces, given.text("template").unwrap_or_default());
            workspaces.create(&asker, NewWorkspace::named(name(&given), template)).await?
        }
    };
    Ok(Json(session(&made, app.platform.clock().now())))
}

fn name(given: &Given) -> String {
    let named = given.text("project_name").or_else(|| given.text("name")).filter(|name| !name.trim().is_empty());
    named.unwrap_or("Untitled Project").to_owned()
}

/// Makes a session.
#[utoipa::path(post, path = "/api/vibecoding/sessions/create", responses((status = 200, description = "The session.")))]
async fn make(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let workspaces = service(&app.platform)?;
    let template = template(workspaces, given.text("template").unwrap_or_default());
    let description = given.text("description").unwrap_or_default().to_owned();
    let wanted = NewWorkspace { description, start: false, ..NewWorkspace::named(name(&given), template) };
    let made = workspaces.create(&asker(&app, &caller)?, wanted).await?;
    Ok(Json(session(&made, app.platform.clock().now())))
}

/// Runs a line in a shell.
#[utoipa::path(post, path = "/api/vibecoding/container/execute", responses((status = 200, description = "How it ended.")))]
async fn execute(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let result = service(&app.platform)?
        .execute_whole(&asker(&app, &caller)?, &given.session()?, &wanted(&app, &given)?)
        .await?;
    Ok(Json(json!({
        "command": given.text("command").or_else(|| given.text("cmd")),
        "exit_code": result.outcome.exit_code,
        "output": format!("{}{}", result.stdout, result.stderr),
        "success": result.outcome.exit_code == 0,
        "execution_time_ms": result.outcome.duration_ms,
    })))
}

/// The names in a directory.
#[utoipa::path(post, path = "/api/vibecoding/container/files/list", responses((status = 200, description = "The entries.")))]
async fn list(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let query = reeve_types::workspace::files::TreeQuery {
        path: given.path_or_root("path")?,
        ..reeve_types::workspace::files::TreeQuery::default()
    };
    let page = service(&app.platform)?.tree(&asker(&app, &caller)?, &given.session()?, &query).await?;
    Ok(Json(shown(&page.entries, &query.path)))
}

fn shown(entries: &[reeve_types::workspace::files::FileEntry], path: &reeve_types::WorkspacePath) -> Value {
    json!({"files": entries.iter().map(node).collect::<Vec<_>>(), "path": path.to_string()})
}

/// The names below a directory.
#[utoipa::path(post, path = "/api/vibecoding/container/files/tree", responses((status = 200, description = "The entries.")))]
async fn tree(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (found, _) = entries(&app, &caller, &given.session()?, &given).await?;
    Ok(Json(shown(&found, &given.path_or_root("path")?)))
}

fn file_key(given: &Given) -> &'static str {
    if given.text("file_path").is_none() && given.text("path").is_some() { "path" } else { "file_path" }
}

/// A file's content.
#[utoipa::path(post, path = "/api/vibecoding/container/files/read", responses((status = 200, description = "The content.")))]
async fn read(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    Ok(Json(content(&app, &caller, &given.session()?, given.path(file_key(&given))?).await?))
}

/// Saves a file.
#[utoipa::path(post, path = "/api/vibecoding/container/files/write", responses((status = 200, description = "It is saved.")))]
async fn write(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let path = given.path(file_key(&given))?.below_root().map_err(bad_path)?;
    let bytes = bytes::Bytes::copy_from_slice(given.need("content")?.as_bytes());
    let wanted = SaveWanted { path, create_parents: true, ..SaveWanted::default() };
    let (asker, id) = (asker(&app, &caller)?, given.session()?);
    let saved = service(&app.platform)?.save(&asker, &id, wanted, Content::Bytes(bytes)).await?;
    Ok(Json(json!({"success": true, "file_path": saved.path.to_string(), "etag": saved.etag})))
}

/// Lets the idle rest now; they would have rested soon by themselves.
#[utoipa::path(post, path = "/api/vibecoding/container/cleanup", responses((status = 200, description = "It is done.")))]
async fn clean_up(State(app): State<App>, _: Caller) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.suspend_idle().await;
    Ok(Json(json!({"success": true, "message": "what nobody used for long enough is suspended"})))
}

/// Puts a session into the trash.
#[utoipa::path(delete, path = "/api/vibecoding/container/{id}", responses((status = 200, description = "It is deleted.")))]
async fn remove(State(app): State<App>, caller: Caller, Id(id): Id<WorkspaceId>) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.delete(&asker(&app, &caller)?, &id, false).await?;
    Ok(Json(json!({"success": true, "session_id": id})))
}

/// One's own sessions. Somebody else's are nobody's business.
#[utoipa::path(get, path = "/api/vibecoding/sessions/{id}", responses((status = 200, description = "The sessions.")))]
async fn sessions(
    State(app): State<App>,
    caller: Caller,
    Id(user): Id<String>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    if !is_oneself(&app, &caller, &user).await? {
        return Err(Problem::new(ProblemCode::Forbidden, "these are somebody else's sessions").into());
    }
    Ok(Json(vibecode::listed(&app, &caller, given.flag("active_only", false)).await?))
}

/// What was run in a session, out of the records.
#[utoipa::path(get, path = "/api/vibecoding/sessions/{id}/history", responses((status = 200, description = "The runs.")))]
async fn history(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.get(&caller.principal, &id).await?;
    let limit = usize::try_from(given.number("limit").unwrap_or(50).min(HISTORY_MAX)).unwrap_or(50);
    let filter = EventFilter {
        types: vec![EventType::ToolExecution],
        tool_name: Some("workspace_execute".to_owned()),
        limit: usize::try_from(HISTORY_MAX).unwrap_or(500),
        ..EventFilter::default()
    };
    let found = app.platform.store().events(caller.tenant(), filter).await.map_err(Problem::from)?;
    let mut history = Vec::new();
    for stored in found.events {
        let record: Value = serde_json::from_str(&stored.json).map_err(Problem::internal)?;
        let parameters = &record["tool"]["parameters"];
        if parameters["workspace_id"] == json!(id) && history.len() < limit {
            history.push(json!({
                "command": command(parameters), "status": record["outcome"]["status"],
                "executed_at": record["timestamp"], "execution_time_ms": record["outcome"]["duration_ms"],
                "working_directory": "/workspace",
            }));
        }
    }
    Ok(Json(json!({"history": history, "session_id": id})))
}

fn command(parameters: &Value) -> String {
    let words: Vec<&str> = parameters["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match words.as_slice() {
        ["bash", "-lc", line] => (*line).to_owned(),
        [] => parameters["file"].as_str().unwrap_or_default().to_owned(),
        words => words.join(" "),
    }
}

/// The files of a session.
#[utoipa::path(get, path = "/api/vibecoding/sessions/{id}/files", responses((status = 200, description = "The entries.")))]
async fn files(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    let (found, _) = entries(&app, &caller, &id, &given).await?;
    Ok(Json(shown(&found, &given.path_or_root("path")?)))
}

/// A terminal of a session.
#[utoipa::path(get, path = "/api/vibecoding/container/{id}/terminal", responses((status = 101, description = "A WebSocket.")))]
async fn terminal(
    State(app): State<App>,
    Id(id): Id<WorkspaceId>,
    uri: Uri,
    knock: Knock,
) -> Result<Response, Problem> {
    terminal_at(app, Ok(id), &uri, knock).await
}

/// The names in a directory of a session.
#[utoipa::path(get, path = "/api/vibecoding/files", responses((status = 200, description = "The entries.")))]
async fn files_of(state: State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    list(state, caller, given).await
}

/// Whatever `action` says: list, tree, read, write or execute.
#[utoipa::path(post, path = "/api/vibecoding/files", responses((status = 200, description = "As the action's own path.")))]
async fn work_on_files(state: State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    match given.need("action")? {
        "list" => list(state, caller, given).await,
        "tree" => tree(state, caller, given).await,
        "read" => read(state, caller, given).await,
        "write" => write(state, caller, given).await,
        "execute" => execute(state, caller, given).await,
        _ => Err(Problem::new(ProblemCode::BadRequest, "`action` must be list, tree, read, write or execute").into()),
    }
}
