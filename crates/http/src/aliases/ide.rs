//! The assistant of the guide's IDE: chat beside a file, proposed changes, what may follow at the cursor.
//!
//! Each asks a model by an act of its own, and none changes anything: saving a proposal is the guide's `diff/apply`, a
//! save like any other.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use reeve_gate::model::{ModelEvent, ModelStream};
use reeve_platform::Permission;
use reeve_platform::difference::difference;
use reeve_platform::workspaces::AskedFor;
use reeve_types::workspace::files::EDITOR_BYTES_MAX;
use reeve_types::{Digest, ProblemCode, WorkspaceError, WorkspaceId, WorkspacePath};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::completion;
use super::given::Given;
use super::proposal::{ChangeWanted, draft_of};
use super::question::{Question, bounded, whole_answer};
use super::vibecode_files::with_content;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::problem::Problem;
use crate::routes::workspaces::content::whole as whole_file;
use crate::routes::workspaces::wire::bad_path;
use crate::routes::workspaces::{USE, Undone, asker, service, told};
use crate::server::Stopping;

pub(crate) fn declare(routes: Routes) -> Routes {
    routes
        .alias(Permission::Look, "/api/ide/providers", routes!(providers))
        .alias(USE, "/api/ide/chat/send", with_content(routes!(send)))
        .alias(USE, "/api/ide/chat/propose-diff", with_content(routes!(propose)))
        .alias(USE, "/api/ide/diff/propose", with_content(routes!(propose)))
        .alias(USE, "/api/ide/copilot/suggest", with_content(routes!(completion::suggest)))
}

/// The models that can be asked for.
#[utoipa::path(get, path = "/api/ide/providers", responses((status = 200, description = "The models.")))]
async fn providers(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let models = service(&app.platform)?.models(caller.tenant());
    let shown: Vec<Value> = models
        .iter()
        .map(|info| {
            let capabilities = ["chat", "completion", "code"];
            json!({"id": info.name, "label": info.name, "type": "cloud", "capabilities": capabilities, "default": info.is_default})
        })
        .collect();
    Ok(Json(json!({"providers": shown})))
}

/// Answers in words, as they come: `{"token": …}`, and `{"done": true}` or `{"error": …}` last.
#[utoipa::path(post, path = "/api/ide/chat/send", responses((status = 200, description = "Server-sent events.")))]
async fn send(State(app): State<App>, caller: Caller, stop: Stopping, given: Given) -> Result<Response, Undone> {
    let question = Question::chat(&app, &caller, &given, "selected_file").await?;
    let answer = question.ask(&app, &caller, given.text("model")).await?;
    Ok(told::told(spoken(answer), stop))
}

fn spoken(answer: ModelStream) -> impl Stream<Item = Result<Value, WorkspaceError>> + Send + 'static {
    let told = answer.filter_map(|event| {
        let frame = match event {
            Ok(ModelEvent::Text(text)) => Some(json!({"token": text})),
            Ok(ModelEvent::Finished(reply)) => Some(json!({"done": true, "model": reply.model, "usage": reply.usage})),
            // What came so far is void; pages that do not know the word show both attempts.
            Ok(ModelEvent::Retrying { reason, .. }) => Some(json!({"reset": true, "reason": reason})),
            Ok(ModelEvent::Thinking(_) | ModelEvent::ToolUse { .. }) => None,
            Err(failure) => Some(json!({"error": failure.message})),
        };
        std::future::ready(frame.map(Ok))
    });
    told.boxed()
}

/// Which lines somebody has marked.
#[derive(Deserialize)]
struct Selection {
    start_line: u64,
    end_line: u64,
}

/// A proposed change of a file. Nothing is written.
#[utoipa::path(post, path = "/api/ide/diff/propose", responses((status = 200, description = "The draft and its difference.")))]
async fn propose(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (id, path) = (given.session()?, given.path("filepath")?.below_root().map_err(bad_path)?);
    let instructions = bounded("instructions", given.need("instructions")?)?;
    let whole_draft = match given.text("mode").unwrap_or("draft") {
        "draft" => true,
        "unified_diff" => false,
        _ => return Err(Problem::new(ProblemCode::BadRequest, "`mode` must be draft or unified_diff").into()),
    };
    let (base, etag) = base_of(&app, &caller, &id, &path, given.text("base_content")).await?;
    let selection: Option<Selection> = given.read("selection")?;
    let name = path.to_string();
    let name = name.strip_prefix("/workspace/").unwrap_or(&name);
    let wanted = ChangeWanted {
        path: name,
        base: base.as_deref().unwrap_or_default(),
        instructions,
        selection: selection.map(|lines| (lines.start_line, lines.end_line)),
    };
    let question = Question { id, what_for: AskedFor::Change, prompt: wanted.prompt() };
    let reply = whole_answer(question.ask(&app, &caller, given.text("model")).await?).await?;
    let draft = draft_of(&reply, wanted.base)?;
    if draft.len() as u64 > EDITOR_BYTES_MAX {
        let detail = format!("the model proposed a file larger than {EDITOR_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemCode::ModelFailed, detail).into());
    }
    let difference = difference(name, base.as_deref(), &draft);
    let stats =
        json!({"lines_added": difference.added, "lines_removed": difference.removed, "hunks": difference.hunks});
    let draft = if whole_draft { json!(draft) } else { Value::Null };
    Ok(Json(json!({
        "draft_content": draft, "diff": difference.text, "stats": stats, "base_etag": etag, "model": reply.model,
        "filepath": path.to_string(),
    })))
}

/// What a change is proposed for: what the client has, or what is there; a file that is not there is new.
async fn base_of(
    app: &App,
    caller: &Caller,
    id: &WorkspaceId,
    path: &WorkspacePath,
    given: Option<&str>,
) -> Result<(Option<String>, Value), Undone> {
    if let Some(content) = given {
        if content.len() as u64 > EDITOR_BYTES_MAX {
            let detail = format!("`base_content` is larger than {EDITOR_BYTES_MAX} bytes");
            return Err(Problem::new(ProblemCode::TooLarge, detail).into());
        }
        return Ok((Some(content.to_owned()), json!(Digest::of(content.as_bytes()))));
    }
    let (workspaces, asker) = (service(&app.platform)?, asker(app, caller)?);
    workspaces.get(&caller.principal, id).await?;
    match whole_file(workspaces, &asker, id, path).await {
        Ok((bytes, etag)) => {
            let text = String::from_utf8(bytes).map_err(|_| {
                Problem::new(ProblemCode::WrongFileType, "the file holds no text, so no change of it can be proposed")
            })?;
            Ok((Some(text), json!(etag)))
        }
        Err(Undone::Problem(problem)) if problem.code == ProblemCode::NotFound => Ok((None, Value::Null)),
        Err(undone) => Err(undone),
    }
}
