//! Questions to people: reading them, waiting for them, answering them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_platform::approvals::WAIT_MAX;
use reeve_store::ApprovalFilter;
use reeve_types::{ApprovalId, ApprovalStatus, EventType, ProblemCode, VoteChoice};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::limit;
use super::tools::to_value;
use crate::app::App;
use crate::auth::{Caller, answering};
use crate::extract::{Body, Id, Query, parse_duration};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;
use crate::server::Stopping;
use crate::stream::{self, Begin};

/// Where the next page of a list begins.
pub(crate) const X_NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
/// How long a long poll waits unless told otherwise.
const WAIT_USUAL: Duration = Duration::from_secs(30);

#[derive(Serialize, ToSchema)]
pub(crate) struct Vote {
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// `approve` or `deny`.
    choice: &'static str,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    at: jiff::Timestamp,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RequestContext {
    /// What would run, secrets masked.
    #[schema(value_type = Object)]
    arguments: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    purpose_note: String,
    /// What the policy's author wants people to read.
    message: String,
}

/// A question to people about exactly one act.
#[derive(Serialize, ToSchema)]
pub(crate) struct Approval {
    approval_id: String,
    action_id: String,
    trace_id: String,
    /// `pending`, `approved`, `denied`, `cancelled`, `expired` or `stale`.
    status: &'static str,
    action_class: &'static str,
    tool_name: String,
    agent_name: String,
    resource_type: &'static str,
    resource_name: String,
    /// The bare name of who asked.
    requested_by: String,
    /// The same with its kind: `user:alice`, and for whom it acts.
    requester: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: jiff::Timestamp,
    request_context: RequestContext,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    resolution_reason: String,
    /// From this moment on it can no longer be answered.
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
    /// When an approved act must have begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    approval_valid_until: Option<jiff::Timestamp>,
    policy_name: String,
    /// The roles of which an approver needs one, with commas between them.
    approver_role: String,
    approver_roles: Vec<String>,
    /// How many people must say yes.
    quorum: u32,
    votes: Vec<Vote>,
    /// Names the act: tool, arguments, resource, policies and requester.
    act_digest: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: jiff::Timestamp,
}

impl From<reeve_types::Approval> for Approval {
    fn from(found: reeve_types::Approval) -> Self {
        let newest_vote = found.votes.iter().map(|vote| vote.at).max();
        let updated_at = found.resolved_at.or(newest_vote).unwrap_or(found.requested_at);
        let requester = match &found.requester.on_behalf_of {
            None => found.requester.label(),
            Some(_) => format!("{} for {}", found.requester.label(), found.requester.root().label()),
        };
        Self {
            approval_id: found.approval_id.to_string(),
            action_id: found.action_id.to_string(),
            trace_id: found.trace_id.to_string(),
            status: found.status.as_str(),
            action_class: found.action_class.as_str(),
            tool_name: found.tool_name,
            agent_name: found.agent_name,
            resource_type: found.resource.kind.as_str(),
            resource_name: found.resource.name,
            requested_by: found.requester.root().id.clone(),
            requester,
            requested_at: found.requested_at,
            request_context: RequestContext {
                arguments: found.arguments,
                purpose: found.purpose.map(reeve_types::Purpose::as_str),
                purpose_note: found.purpose_note,
                message: found.message,
            },
            resolved_by: found.resolved_by,
            resolved_at: found.resolved_at,
            resolution_reason: found.resolution_reason,
            expires_at: found.expires_at,
            approval_valid_until: found.approval_valid_until,
            policy_name: found.policy_name,
            approver_role: found.approver_roles.join(","),
            approver_roles: found.approver_roles,
            quorum: found.quorum,
            votes: found.votes.into_iter().map(Vote::from).collect(),
            act_digest: found.act_digest.to_string(),
            created_at: found.requested_at,
            updated_at,
        }
    }
}

impl From<reeve_types::Vote> for Vote {
    fn from(vote: reeve_types::Vote) -> Self {
        let choice = match vote.choice {
            VoteChoice::Approve => "approve",
            VoteChoice::Deny => "deny",
        };
        Self { by: vote.by, role: vote.role, choice, reason: vote.reason, at: vote.at }
    }
}

#[derive(Deserialize, Default, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those that stand so: pending, approved, denied, cancelled, expired or stale.
    status: Option<String>,
    /// About tools of this agent.
    agent: Option<String>,
    /// Of this journey.
    trace_id: Option<String>,
    /// Asked for by this principal: `user:alice`, or the bare name.
    requested_by: Option<String>,
    /// About this tool.
    tool_name: Option<String>,
    /// At most so many; 100 unless told otherwise.
    limit: Option<usize>,
    /// Where the last page ended: its header `X-Next-Cursor`.
    cursor: Option<String>,
}

/// Questions, newest first.
#[utoipa::path(get, path = "/approvals", tag = "approvals", operation_id = "list_approvals", params(Which),
    responses((status = 200, description = "The questions. The header X-Next-Cursor is there when there are more.", body = [Approval])))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let status = which.status.as_deref().filter(|word| !word.is_empty()).map(status_of).transpose()?;
    let limit = limit(which.limit, 100);
    let before_us = which.cursor.as_deref().map(cursor).transpose()?;
    let filter = ApprovalFilter {
        status,
        agent: which.agent,
        trace_id: which.trace_id,
        requested_by: which.requested_by,
        tool_name: which.tool_name,
        limit,
        before_us,
    };
    let found = app.platform.approvals(caller.tenant(), filter).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.requested_at.as_microsecond().to_string());
    let body: Vec<Approval> = found.into_iter().map(Approval::from).collect();
    Ok(page(Json(body), next))
}

fn status_of(word: &str) -> Result<ApprovalStatus, Problem> {
    ApprovalStatus::parse(word).ok_or_else(|| {
        let known: Vec<&str> = ApprovalStatus::ALL.into_iter().map(ApprovalStatus::as_str).collect();
        let word: String = word.chars().take(40).collect();
        Problem::new(ProblemCode::BadRequest, format!("`{word}` is not a status: use {}", known.join(", ")))
    })
}

fn cursor<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::new(ProblemCode::BadRequest, "`cursor` must be the header X-Next-Cursor of the page before")
    })
}

/// A list with the header that says where the next page begins.
pub(crate) fn page(body: impl IntoResponse, next: Option<String>) -> Response {
    let mut response = body.into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(X_NEXT_CURSOR, next);
    }
    response
}

/// Questions that wait for an answer, newest first.
#[utoipa::path(get, path = "/approvals/pending", tag = "approvals", operation_id = "pending_approvals",
    responses((status = 200, description = "The questions.", body = [Approval])))]
pub(crate) async fn pending(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Approval>>, Problem> {
    let filter =
        ApprovalFilter { status: Some(ApprovalStatus::Pending), limit: limit(None, 1000), ..ApprovalFilter::default() };
    let found = app.platform.approvals(caller.tenant(), filter).await?;
    Ok(Json(found.into_iter().map(Approval::from).collect()))
}

/// One question.
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals", operation_id = "show_approval",
    params(("id" = String, Path, description = "The approval's id, `apr_…`.")),
    responses((status = 200, description = "The question.", body = Approval)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(app.platform.approval(caller.tenant(), &id).await?.into()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowLong {
    /// Seconds, or a time span such as `30s`; 30 s unless told otherwise, at most 120 s.
    timeout: Option<String>,
}

/// Waits until a question is settled, and says how it stands then.
#[utoipa::path(get, path = "/approvals/{id}/wait", tag = "approvals", operation_id = "wait_for_approval",
    params(("id" = String, Path, description = "The approval's id, `apr_…`."), HowLong),
    responses((status = 200, description = "The question, settled or as it stood when the time was over.", body = Approval)))]
pub(crate) async fn wait(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    Id(id): Id<ApprovalId>,
    Query(how_long): Query<HowLong>,
) -> Result<Json<Approval>, Problem> {
    let limit = match how_long.timeout.as_deref() {
        None | Some("") => WAIT_USUAL,
        Some(text) => parse_duration(text).ok_or_else(|| {
            Problem::new(ProblemCode::BadRequest, "`timeout` must be seconds or a time span such as 30s")
        })?,
    };
    let waited = app.platform.wait_for_approval(caller.tenant(), &id, limit.min(WAIT_MAX));
    tokio::select! {
        found = waited => Ok(Json(found?.into())),
        () = stop.0.cancelled() => Ok(Json(app.platform.approval(caller.tenant(), &id).await?.into())),
    }
}

/// An answer to a question. The name in it counts only where the server takes callers at their word.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default)]
    approved_by: Option<String>,
    #[serde(default)]
    denied_by: Option<String>,
    #[serde(default)]
    cancelled_by: Option<String>,
    /// In your words.
    #[serde(default)]
    reason: String,
    /// How long an approved act may wait before it must have begun.
    #[serde(default)]
    valid_for_minutes: Option<u32>,
}

/// Answers yes. With enough yeses the act begins by itself.
#[utoipa::path(post, path = "/approvals/{id}/approve", tag = "approvals", operation_id = "approve", request_body = Answer,
    params(("id" = String, Path, description = "The approval's id, `apr_…`."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    responses((status = 200, description = "How the question stands now.", body = Approval)))]
pub(crate) async fn approve(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<ApprovalId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let answer: Answer = answer(&body)?;
    let who = answering(&app, &caller, answer.approved_by.as_deref()).await?;
    let valid_for = match answer.valid_for_minutes {
        None | Some(0) => None,
        Some(minutes) => Some(Duration::from_secs(u64::from(minutes) * 60)),
    };
    let platform = app.platform.clone();
    let what = idempotency::request("approve", id.as_str(), &body);
    let work = async move { settled(platform.approve(&who, &id, &answer.reason, valid_for).await?) };
    idempotency::once(&app, &caller, &headers, what, work).await
}

/// Answers no. One is enough.
#[utoipa::path(post, path = "/approvals/{id}/deny", tag = "approvals", operation_id = "deny", request_body = Answer,
    params(("id" = String, Path, description = "The approval's id, `apr_…`."),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way and nothing is done twice.")),
    responses((status = 200, description = "How the question stands now.", body = Approval)))]
pub(crate) async fn deny(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<ApprovalId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let answer: Answer = answer(&body)?;
    let who = answering(&app, &caller, answer.denied_by.as_deref()).await?;
    let platform = app.platform.clone();
    let what = idempotency::request("deny", id.as_str(), &body);
    let work = async move { settled(platform.deny(&who, &id, &answer.reason).await?) };
    idempotency::once(&app, &caller, &headers, what, work).await
}

/// Takes a question back: whoever asked, or an administrator.
#[utoipa::path(post, path = "/approvals/{id}/cancel", tag = "approvals", operation_id = "cancel", request_body = Answer,
    params(("id" = String, Path, description = "The approval's id, `apr_…`.")),
    responses((status = 200, description = "How the question stands now.", body = Approval)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ApprovalId>,
    Body(answer): Body<Answer>,
) -> Result<Json<Approval>, Problem> {
    let who = answering(&app, &caller, answer.cancelled_by.as_deref()).await?;
    Ok(Json(app.platform.cancel(&who, &id, &answer.reason).await?.into()))
}

fn answer(body: &Value) -> Result<Answer, Problem> {
    Answer::deserialize(body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))
}

fn settled(approval: reeve_types::Approval) -> Result<Reply, Problem> {
    Ok(Reply::new(StatusCode::OK, to_value(&Approval::from(approval))?))
}

/// Always refused: a question arises from an act that somebody asks for, never by itself.
#[utoipa::path(post, path = "/approvals", tag = "approvals", operation_id = "create_approval",
    responses((status = 405, description = "Questions arise from acts only.", body = Value, content_type = "application/problem+json")))]
pub(crate) async fn create() -> Problem {
    let detail = "a question to people arises only from an act that needs one: ask for the act itself with POST /api/v1/tools/{name}/run";
    Problem::new(ProblemCode::MethodNotAllowed, detail)
        .header(axum::http::header::ALLOW, HeaderValue::from_static("GET,HEAD"))
}

/// A stream of what happens to questions: asked, answered, settled.
#[utoipa::path(get, path = "/approvals/stream", tag = "approvals", operation_id = "stream_approvals", params(Begin),
    responses((status = 200, description = "Server-sent events; `data` is `{\"event\": …, \"seq\": …, \"approval\": …}`.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    stop: Stopping,
    Query(begin): Query<Begin>,
) -> Result<Response, Problem> {
    let live = app.platform.store().subscribe();
    let from = stream::begin(&app, &headers, begin.from).await?;
    let tenant = caller.tenant().clone();
    let show: stream::Show = Arc::new(move |event, seq, _| {
        let about = matches!(
            event.event_type,
            EventType::ApprovalRequested | EventType::ApprovalVote | EventType::ApprovalResolved
        );
        if !about || event.tenant != tenant {
            return None;
        }
        let mut data = json!({
            "event": event.event_type.as_str(), "seq": seq, "event_id": event.event_id, "timestamp": event.timestamp,
            "trace_id": event.trace_id, "approval": event.approval,
        });
        if let (Some(question), Some(members)) =
            (event.approval.as_ref().and_then(|part| part.question.as_deref()), data.as_object_mut())
        {
            members.insert(
                "question".to_owned(),
                serde_json::to_value(Approval::from(question.clone())).unwrap_or(Value::Null),
            );
            if let Some(part) = members.get_mut("approval").and_then(Value::as_object_mut) {
                part.remove("question");
            }
        }
        Some(data.to_string())
    });
    Ok(stream::records(&app, live, from, stop, show))
}
