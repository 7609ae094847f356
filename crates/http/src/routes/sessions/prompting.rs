//! Saying something to an agent, and stopping it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_platform::sessions::Accepted;
use reeve_types::{Principal, PromptId, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::described::AcceptedShown;
use super::{read, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::idempotency::{Reply, once, request};
use crate::problem::Problem;
use crate::routes::workspaces::Ids;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptWords {
    /// 1 to 100,000 bytes.
    text: String,
}

/// Hands words to the service, and counts them.
pub(super) async fn say(app: &App, who: &Principal, id: &SessionId, text: &str) -> Result<Accepted, Problem> {
    let counters = &app.shared.metrics.sessions;
    match service(&app.platform)?.prompt(who, id, text).await {
        Ok(accepted) => {
            counters.prompts.inc();
            Ok(accepted)
        }
        Err(error) => {
            counters.prompts_refused.inc();
            Err(error.into())
        }
    }
}

/// Says something to the agent. It is answered by events, after what was said before.
#[utoipa::path(post, path = "/sessions/{id}/prompts", tag = "sessions", operation_id = "prompt_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = PromptWords,
    responses((status = 202, description = "It was taken in.", body = AcceptedShown)))]
pub(crate) async fn prompt(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/{id}/prompts", id.as_str(), &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let accepted = say(&own, &who, &id, &read::<PromptWords>(body)?.text).await?;
        Ok(Reply::new(StatusCode::ACCEPTED, json!(accepted)))
    })
    .await
}

/// The same as a guide's clients read it: `{"ok": true, "delivered": true, "attempts": 1, …}`.
#[utoipa::path(post, path = "/sessions/{id}/send", tag = "sessions", operation_id = "send_to_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = PromptWords,
    responses((status = 200, description = "It was taken in.", body = Value)))]
pub(crate) async fn send(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/{id}/send", id.as_str(), &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let accepted = say(&own, &who, &id, &read::<PromptWords>(body)?.text).await?;
        Ok(Reply::new(StatusCode::OK, told(&accepted)))
    })
    .await
}

/// That something was taken in, in the guide's words.
fn told(accepted: &Accepted) -> Value {
    json!({
        "ok": true, "delivered": true, "attempts": 1,
        "prompt_id": accepted.prompt_id, "position": accepted.position,
    })
}

/// A command of the agent's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandWords {
    /// The command, with or without its `/`.
    command: String,
}

/// Says a command of the agent's own, such as `/compact`: the words with a `/` before them.
#[utoipa::path(post, path = "/sessions/{id}/command", tag = "sessions", operation_id = "command_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = CommandWords,
    responses((status = 200, description = "It was taken in.", body = Value)))]
pub(crate) async fn command(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/{id}/command", id.as_str(), &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let words = read::<CommandWords>(body)?.command;
        let accepted = say(&own, &who, &id, &format!("/{}", words.trim().trim_start_matches('/'))).await?;
        Ok(Reply::new(StatusCode::OK, told(&accepted)))
    })
    .await
}

/// Takes back a prompt that waits.
#[utoipa::path(delete, path = "/sessions/{id}/prompts/{prompt_id}", tag = "sessions", operation_id = "drop_prompt",
    params(("id" = String, Path, description = "The session's id."), ("prompt_id" = String, Path, description = "The prompt's id.")),
    responses((status = 200, description = "`{\"dropped\": true}`.", body = Value)))]
pub(crate) async fn take_back(
    State(app): State<App>,
    caller: Caller,
    Ids(id, prompt): Ids<SessionId, PromptId>,
) -> Result<Json<Value>, Problem> {
    service(&app.platform)?.drop_prompt(&caller.principal, &id, &prompt).await?;
    Ok(Json(json!({"dropped": true})))
}

/// Ends the turn in flight. What waits after it begins.
#[utoipa::path(post, path = "/sessions/{id}/cancel", tag = "sessions", operation_id = "cancel_turn",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"ok\": true}`; the turn's end is told as an event.", body = Value)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    service(&app.platform)?.cancel(&caller.principal, &id).await?;
    Ok(Json(json!({"ok": true})))
}

/// Ends the turn in flight and drops every prompt that waits.
#[utoipa::path(post, path = "/sessions/{id}/interrupt", tag = "sessions", operation_id = "interrupt_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"ok\": true}`; the turn's end is told as an event.", body = Value)))]
pub(crate) async fn interrupt(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    service(&app.platform)?.interrupt(&caller.principal, &id).await?;
    Ok(Json(json!({"ok": true})))
}
