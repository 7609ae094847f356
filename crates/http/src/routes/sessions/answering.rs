//! Answering what a session waits for.

use axum::Json;
use axum::extract::State;
use reeve_types::session::Session;
use reeve_types::{ApprovalId, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::described::SessionShown;
use super::service;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse};
use crate::problem::Problem;
use crate::routes::approvals::Approval;

/// An answer to a question.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionAnswer {
    /// Which question; the oldest when absent.
    #[serde(alias = "approvalId")]
    approval_id: Option<String>,
    /// In words.
    reason: String,
    /// Whether acts of this kind are allowed for as long as the session lasts.
    remember: bool,
}

impl SessionAnswer {
    async fn give(self, app: &App, caller: &Caller, id: &SessionId, yes: bool) -> Result<Json<Approval>, Problem> {
        let question = self.approval_id.filter(|id| !id.is_empty());
        let question: Option<ApprovalId> = question.as_deref().map(parse).transpose()?;
        let sessions = service(&app.platform)?;
        let settled =
            sessions.answer(&caller.principal, id, question.as_ref(), yes, &self.reason, self.remember).await?;
        Ok(Json(settled.into()))
    }
}

/// Says yes to what a session waits for.
#[utoipa::path(post, path = "/sessions/{id}/approve", tag = "sessions", operation_id = "approve_in_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = SessionAnswer,
    responses((status = 200, description = "The question, as it stands now.", body = Approval)))]
pub(crate) async fn approve(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(answer): Body<SessionAnswer>,
) -> Result<Json<Approval>, Problem> {
    answer.give(&app, &caller, &id, true).await
}

/// Says no to what a session waits for.
#[utoipa::path(post, path = "/sessions/{id}/reject", tag = "sessions", operation_id = "reject_in_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = SessionAnswer,
    responses((status = 200, description = "The question, settled.", body = Approval)))]
pub(crate) async fn reject(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(answer): Body<SessionAnswer>,
) -> Result<Json<Approval>, Problem> {
    answer.give(&app, &caller, &id, false).await
}

/// The oldest question that a session waits for.
#[utoipa::path(get, path = "/sessions/{id}/approval/pending", tag = "sessions", operation_id = "pending_in_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"pending\": {\"approvalId\": …, \"sessionId\": …, \"tool\": {\"toolName\": …, \"description\": …, \"input\": …}, \"requestedAt\": …}}`, or `{\"pending\": null}`.", body = Value)))]
pub(crate) async fn pending(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let session = service(&app.platform)?.get(&caller.principal, &id).await?;
    let Some(question) = session.waiting_for.first() else { return Ok(Json(json!({"pending": null}))) };
    let asked = app.platform.approval(caller.tenant(), question).await?;
    // What an agent asks of the one it works for is about a call of its own; that is what people want to see.
    let text = |key: &str| asked.arguments.get(key).and_then(Value::as_str);
    let (name, description) = match (text("tool"), text("title")) {
        (Some(tool), Some(title)) if asked.tool_name == "agent_permission" => (tool, title.to_owned()),
        _ if asked.message.is_empty() => (asked.tool_name.as_str(), asked.resource.name.clone()),
        _ => (asked.tool_name.as_str(), asked.message.clone()),
    };
    Ok(Json(json!({"pending": {
        "approvalId": asked.approval_id, "sessionId": session.id, "requestedAt": asked.requested_at,
        "tool": {"toolName": name, "description": description, "input": asked.arguments},
    }})))
}

/// Which grant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Granted {
    /// For this tool.
    tool: String,
    /// For this kind of call; empty for any.
    #[serde(default)]
    kind: String,
}

/// Takes back that acts of one kind need not be asked about.
#[utoipa::path(delete, path = "/sessions/{id}/grants", tag = "sessions", operation_id = "revoke_grant",
    params(("id" = String, Path, description = "The session's id."), Granted),
    responses((status = 200, description = "The session.", body = SessionShown)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Query(which): Query<Granted>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.revoke(&caller.principal, &id, &which.tool, &which.kind).await?))
}
