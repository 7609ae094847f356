//! How sessions stand, as a guide's clients ask: one by one, all at once, and those that have ended; and ending many.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use reeve_platform::sessions::{SessionError, Sessions, Timing};
use reeve_store::SessionFilter;
use reeve_types::session::{Happening, Session, SessionState};
use reeve_types::{ProblemCode, SessionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::reading::Events;
use super::service;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query};
use crate::problem::Problem;

/// Most sessions that are ended at once.
const ENDED_MAX: usize = 100;
/// Most sessions of one answer.
const ROWS_MAX: usize = 200;

/// How a session is, in the guide's words.
fn health_of(session: &Session, now: jiff::Timestamp) -> Value {
    let age = |since: jiff::Timestamp| now.duration_since(since).as_millis().max(0);
    let alive = !matches!(session.state, SessionState::Closed | SessionState::Failed);
    let details = match session.state {
        SessionState::Waiting => format!("it waits for {} answers", session.waiting_for.len()),
        _ if session.reason.is_empty() => format!("it is {}", session.state),
        _ => session.reason.clone(),
    };
    let mut health = json!({
        "alive": alive, "status": session.state, "hasTranscript": session.last_seq > 0,
        "lastActivity": session.updated_at.as_millisecond(), "lastActivityAgo": age(session.updated_at),
        "sessionAge": age(session.created_at), "details": details,
    });
    if session.state == SessionState::Waiting {
        let hint = |verb: &str, words: &str| json!({"method": "POST", "url": format!("/v1/sessions/{}/{verb}", session.id), "description": words});
        health["actionHints"] = json!({
            "approve": hint("approve", "says yes to the oldest question"),
            "reject": hint("reject", "says no to the oldest question"),
        });
    }
    health
}

/// How a session is.
#[utoipa::path(get, path = "/sessions/{id}/health", tag = "sessions", operation_id = "session_health",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"alive\": true, \"status\": …, \"lastActivityAgo\": 1200, \"sessionAge\": …, \"details\": …}`, times in milliseconds; with `actionHints` while it waits.", body = Value)))]
pub(crate) async fn health(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let session = service(&app.platform)?.get(&caller.principal, &id).await?;
    Ok(Json(health_of(&session, app.platform.clock().now())))
}

/// How each session is that has not been put away, newest first; at most 200.
#[utoipa::path(get, path = "/sessions/health", tag = "sessions", operation_id = "sessions_health",
    responses((status = 200, description = "The health of each, by its id.", body = Value)))]
pub(crate) async fn health_of_all(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let filter = SessionFilter { limit: ROWS_MAX, ..SessionFilter::default() };
    let page = service(&app.platform)?.list(&caller.principal, filter).await?;
    let now = app.platform.clock().now();
    let each: Map<String, Value> =
        page.sessions.iter().map(|session| (session.id.to_string(), health_of(session, now))).collect();
    Ok(Json(Value::Object(each)))
}

/// A session's state alone.
#[utoipa::path(get, path = "/sessions/{id}/status", tag = "sessions", operation_id = "session_status",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"sessionId\": …, \"status\": …, \"reason\": …, \"queued\": 0, \"lastSeq\": 17, \"updatedAt\": …}`.", body = Value)))]
pub(crate) async fn status(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let session = service(&app.platform)?.get(&caller.principal, &id).await?;
    Ok(Json(json!({
        "sessionId": session.id, "status": session.state, "reason": session.reason, "queued": session.queued,
        "waitingFor": session.waiting_for, "lastSeq": session.last_seq, "updatedAt": session.updated_at,
    })))
}

/// Which tools a session's agent has called, and how often.
#[utoipa::path(get, path = "/sessions/{id}/tools", tag = "sessions", operation_id = "session_tools",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"sessionId\": …, \"tools\": [{\"name\": …, \"count\": 3, \"failed\": 1}], \"totalCalls\": 3}`, the most called first.", body = Value)))]
pub(crate) async fn tools(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let (mut counts, mut names) = (BTreeMap::<String, (u64, u64)>::new(), HashMap::new());
    let take = |event: &reeve_types::session::SessionEvent| match &event.what {
        Happening::ToolCalled { call_id, tool, .. } => {
            names.insert(call_id.clone(), tool.clone());
            counts.entry(tool.clone()).or_default().0 += 1;
        }
        Happening::ToolFinished { call_id, is_error: true, .. } => {
            if let Some(count) = names.get(call_id).and_then(|tool| counts.get_mut(tool)) {
                count.1 += 1;
            }
        }
        _ => {}
    };
    Events::of(&sessions, &caller, &id).each(take).await?;
    let total: u64 = counts.values().map(|(count, _)| count).sum();
    let mut tools: Vec<_> = counts.into_iter().collect();
    tools.sort_by(|(a, (x, _)), (b, (y, _))| y.cmp(x).then(a.cmp(b)));
    let tools: Vec<Value> = tools
        .into_iter()
        .map(|(name, (count, failed))| json!({"name": name, "count": count, "failed": failed}))
        .collect();
    Ok(Json(json!({"sessionId": id, "tools": tools, "totalCalls": total})))
}

/// How long a session's turns, calls and answers took.
#[utoipa::path(get, path = "/sessions/{id}/latency", tag = "sessions", operation_id = "session_latency",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"sessionId\": …, \"aggregated\": {\"turn_ms\": {\"count\", \"min\", \"max\", \"avg\"}, \"first_word_ms\": …, \"tool_call_ms\": …, \"permission_response_ms\": …}}`.", body = Value)))]
pub(crate) async fn latency(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let mut timing = Timing::default();
    Events::of(&sessions, &caller, &id).each(|event| timing.take(event)).await?;
    Ok(Json(json!({"sessionId": id, "aggregated": timing.told()})))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Past {
    /// Which page, from 1.
    page: Option<usize>,
    /// At most so many, up to 200; 50 unless told otherwise.
    limit: Option<usize>,
    /// Only those that are `active` or have been `killed`.
    status: Option<String>,
}

/// Sessions that are and that were, newest first: nothing of a session is ever removed.
#[utoipa::path(get, path = "/sessions/history", tag = "sessions", operation_id = "session_history", params(Past),
    responses((status = 200, description = "`{\"records\": [{\"id\", \"title\", \"agent\", \"owner\", \"createdAt\", \"endedAt\", \"lastSeenAt\", \"finalStatus\"}], \"pagination\": {\"page\", \"limit\", \"total\", \"totalPages\"}}`.", body = Value)))]
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Query(past): Query<Past>,
) -> Result<Json<Value>, Problem> {
    let wants_closed = match past.status.as_deref() {
        None | Some("") => None,
        Some("active") => Some(false),
        Some("killed" | "closed") => Some(true),
        Some(_) => return Err(Problem::new(ProblemCode::BadRequest, "`status` must be active or killed")),
    };
    let (page, limit) = (past.page.unwrap_or(1).max(1), past.limit.unwrap_or(50).clamp(1, ROWS_MAX));
    let first = (page - 1).saturating_mul(limit);
    let (mut total, mut records) = (0usize, Vec::new());
    for_each(&service(&app.platform)?, &caller, |session| {
        let closed = session.state == SessionState::Closed;
        if wants_closed.is_some_and(|wanted| wanted != closed) {
            return;
        }
        if total >= first && records.len() < limit {
            records.push(json!({
                "id": session.id, "title": session.title, "agent": session.agent, "owner": session.owner,
                "createdAt": session.created_at.as_millisecond(), "lastSeenAt": session.updated_at.as_millisecond(),
                "endedAt": closed.then(|| session.updated_at.as_millisecond()),
                "finalStatus": if closed { "killed" } else { "active" }, "archived": session.archived,
            }));
        }
        total += 1;
    })
    .await?;
    let pages = total.div_ceil(limit);
    Ok(Json(json!({
        "records": records, "pagination": {"page": page, "limit": limit, "total": total, "totalPages": pages},
    })))
}

/// Looks at every session that the caller may see: those in use first, then those that were put away.
async fn for_each(sessions: &Sessions, caller: &Caller, mut look: impl FnMut(&Session)) -> Result<(), Problem> {
    for archived in [false, true] {
        let mut filter = SessionFilter { archived, limit: ROWS_MAX, ..SessionFilter::default() };
        loop {
            let page = sessions.list(&caller.principal, filter.clone()).await?;
            page.sessions.iter().for_each(&mut look);
            match page.next_cursor {
                Some(next) => filter.before = Some(next),
                None => break,
            }
        }
    }
    Ok(())
}

/// Which sessions are to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionsEnded {
    /// These, at most 100.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ids: Vec<SessionId>,
    /// Or one's own in this state, at most 100 of them.
    #[serde(default)]
    status: Option<String>,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// Ends several sessions. Those that are closed already count as ended; those that are not there are named.
#[utoipa::path(delete, path = "/sessions/batch", tag = "sessions", operation_id = "end_sessions", request_body = SessionsEnded,
    responses((status = 200, description = "`{\"deleted\": 2, \"notFound\": [\"ses_…\"], \"errors\": [{\"id\", \"message\"}]}`.", body = Value)))]
pub(crate) async fn end_many(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<SessionsEnded>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let mut ids = wanted.ids;
    if let Some(word) = wanted.status.as_deref().filter(|word| !word.is_empty()) {
        let state = super::finding::state_of(word)?;
        let owner = Some(caller.principal.root().label());
        let filter = SessionFilter { state: Some(state), owner, limit: ENDED_MAX, ..SessionFilter::default() };
        ids.extend(sessions.list(&caller.principal, filter).await?.sessions.into_iter().map(|session| session.id));
    } else if ids.is_empty() {
        return Err(Problem::new(ProblemCode::BadRequest, "name sessions in `ids`, or a `status`"));
    }
    if ids.len() > ENDED_MAX {
        let detail = format!("at most {ENDED_MAX} sessions are ended at once; these are {}", ids.len());
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    let (mut deleted, mut not_found, mut errors) = (0, Vec::new(), Vec::new());
    for id in ids {
        match sessions.kill(&caller.principal, &id, &wanted.reason).await {
            Ok(_) => deleted += 1,
            Err(SessionError::Problem { code: ProblemCode::Conflict, .. }) => deleted += 1,
            Err(SessionError::NoSuchSession(id)) => not_found.push(id),
            Err(error) => errors.push(json!({"id": id, "message": error.to_string()})),
        }
    }
    Ok(Json(json!({"deleted": deleted, "notFound": not_found, "errors": errors})))
}
