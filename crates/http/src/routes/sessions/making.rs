//! Making sessions, finding them, changing what is said of them, ending them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_platform::Permission;
use reeve_platform::sessions::{AgentInfo, ForkSession, NewSessionWanted, SessionFilter, SessionPatch, Sessions};
use reeve_types::session::{Session, SessionState};
use reeve_types::{Principal, ProblemCode, SessionId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::described::{AgentsShown, ForkWanted, PatchWanted, SessionShown, SessionWanted};
use super::{read, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse};
use crate::idempotency::{Reply, once, request};
use crate::problem::Problem;

/// Most sessions of one batch.
const BATCH_MAX: usize = 50;
/// Most sessions that pages by number reach over; further ones are reached with a cursor.
const SKIPPED_MAX: usize = 10_000;
/// Most rows of one page.
const ROWS_MAX: usize = 200;

/// The agents that a session can be begun with, and the models they can use.
#[utoipa::path(get, path = "/agents/definitions", tag = "sessions", operation_id = "list_agent_definitions",
    responses((status = 200, description = "The agents and models.", body = AgentsShown)))]
pub(crate) async fn definitions(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let agents: Vec<AgentInfo> = sessions.agents(caller.tenant());
    let models: Vec<Value> = sessions
        .models(caller.tenant())
        .into_iter()
        .map(|model| {
            let mut shown = json!({"name": model.name, "kind": model.kind, "is_default": model.is_default});
            if let Some(tokens) = model.context_tokens {
                shown["context_tokens"] = tokens.into();
            }
            shown
        })
        .collect();
    Ok(Json(json!({"agents": agents, "models": models})))
}

/// Makes a session, and begins its first turn when it comes with a prompt.
#[utoipa::path(post, path = "/sessions", tag = "sessions", operation_id = "create_session", request_body = SessionWanted,
    responses((status = 201, description = "The session.", body = SessionShown)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions", "", &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let sessions = service(&own.platform)?;
        made(&own, sessions.create(&who, read::<NewSessionWanted>(body)?).await?)
    })
    .await
}

fn made(app: &App, session: Session) -> Result<Reply, Problem> {
    app.shared.metrics.sessions.created.inc();
    if session.turns > 0 || session.queued > 0 {
        app.shared.metrics.sessions.prompts.inc();
    }
    Ok(Reply::new(StatusCode::CREATED, serde_json::to_value(session).map_err(Problem::internal)?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionBatch {
    /// 1 to 50 sessions to be made.
    #[schema(value_type = Vec<SessionWanted>)]
    sessions: Vec<Value>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBatchDone {
    /// Those that were made, in order.
    #[schema(value_type = Vec<SessionShown>)]
    sessions: Vec<Value>,
    created: usize,
    failed: usize,
    errors: Vec<SessionBatchError>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBatchError {
    /// Which of those that were wanted, from 0.
    index: usize,
    /// The code of the problem.
    code: &'static str,
    message: String,
}

/// Makes several sessions; one that cannot be made does not keep the others from it.
#[utoipa::path(post, path = "/sessions/batch", tag = "sessions", operation_id = "create_sessions", request_body = SessionBatch,
    responses((status = 201, description = "What was made, and what was not and why.", body = SessionBatchDone)))]
pub(crate) async fn batch(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/batch", "", &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let sessions = service(&own.platform)?;
        let wanted: SessionBatch = read(body)?;
        if wanted.sessions.is_empty() || wanted.sessions.len() > BATCH_MAX {
            let detail = format!("`sessions` must hold 1 to {BATCH_MAX} sessions; it holds {}", wanted.sessions.len());
            return Err(Problem::new(ProblemCode::BadRequest, detail));
        }
        let mut done = SessionBatchDone { sessions: Vec::new(), created: 0, failed: 0, errors: Vec::new() };
        for (index, wanted) in wanted.sessions.into_iter().enumerate() {
            match one_of_batch(&own, &sessions, &who, wanted).await {
                Ok(reply) => done.sessions.push(reply.body),
                Err(problem) => {
                    done.errors.push(SessionBatchError { index, code: problem.code.as_str(), message: problem.detail });
                }
            }
        }
        (done.created, done.failed) = (done.sessions.len(), done.errors.len());
        own.shared.metrics.sessions.batches.inc();
        Ok(Reply::new(StatusCode::CREATED, serde_json::to_value(done).map_err(Problem::internal)?))
    })
    .await
}

async fn one_of_batch(app: &App, sessions: &Sessions, who: &Principal, wanted: Value) -> Result<Reply, Problem> {
    made(app, sessions.create(who, read::<NewSessionWanted>(wanted)?).await?)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// In this state: idle, running, waiting, failed or closed.
    state: Option<String>,
    /// The same; `working` and the words that a guide has for waiting are understood, too.
    status: Option<String>,
    /// Of this agent.
    agent: Option<String>,
    /// In this workspace.
    workspace_id: Option<String>,
    /// Forked or spawned from this session.
    parent: Option<String>,
    /// With these words in the title.
    search: Option<String>,
    /// Those that were put away instead of those that were not.
    archived: Option<bool>,
    /// Where the last page ended: its `next_cursor`.
    cursor: Option<String>,
    /// Which page, from 1, instead of a cursor; reaches 10,000 sessions.
    page: Option<usize>,
    /// At most so many, up to 200; 50 unless told otherwise.
    limit: Option<usize>,
}

impl Which {
    fn filter(&self) -> Result<SessionFilter, Problem> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let state = given(&self.state).or_else(|| given(&self.status)).map(|word| state_of(&word)).transpose()?;
        Ok(SessionFilter {
            owner: None,
            state,
            agent: given(&self.agent),
            workspace: given(&self.workspace_id).map(|id| parse::<WorkspaceId>(&id)).transpose()?,
            parent: given(&self.parent).map(|id| parse::<SessionId>(&id)).transpose()?,
            search: given(&self.search).map(|words| words.chars().take(200).collect()),
            archived: self.archived.unwrap_or(false),
            before: given(&self.cursor).map(|id| parse::<SessionId>(&id)).transpose()?,
            limit: self.limit.unwrap_or(50).clamp(1, ROWS_MAX),
        })
    }
}

/// A state by our word or by one of the guide's.
fn state_of(word: &str) -> Result<SessionState, Problem> {
    Ok(match word {
        "working" | "compacting" => SessionState::Running,
        "waiting_for_input" | "permission_prompt" | "ask_question" | "bash_approval" => SessionState::Waiting,
        "error" | "crashed" => SessionState::Failed,
        "killed" | "completed" => SessionState::Closed,
        word => parse(word)?,
    })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionList {
    #[schema(value_type = Vec<SessionShown>)]
    sessions: Vec<Session>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next_cursor: Option<SessionId>,
    pagination: SessionPagination,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionPagination {
    page: usize,
    limit: usize,
}

/// Sessions, newest first: one's own, and for administrators those of everybody in the tenant.
#[utoipa::path(get, path = "/sessions", tag = "sessions", operation_id = "list_sessions", params(Which),
    responses((status = 200, description = "The sessions.", body = SessionList)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<SessionList>, Problem> {
    let sessions = service(&app.platform)?;
    let mut filter = which.filter()?;
    let (page, limit) = (which.page.unwrap_or(1).max(1), filter.limit);
    let mut skip = (page - 1).saturating_mul(limit);
    if skip > SKIPPED_MAX {
        let detail = format!("pages by number reach {SKIPPED_MAX} sessions; go on with `cursor`");
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    while skip > 0 {
        filter.limit = skip.min(ROWS_MAX);
        let passed = sessions.list(&caller.principal, filter.clone()).await?;
        let Some(next) = passed.next_cursor else {
            return Ok(Json(SessionList {
                sessions: Vec::new(),
                next_cursor: None,
                pagination: SessionPagination { page, limit },
            }));
        };
        (filter.before, skip) = (Some(next), skip - filter.limit);
    }
    filter.limit = limit;
    let found = sessions.list(&caller.principal, filter).await?;
    Ok(Json(SessionList {
        sessions: found.sessions,
        next_cursor: found.next_cursor,
        pagination: SessionPagination { page, limit },
    }))
}

/// How many sessions there are, by state.
#[utoipa::path(get, path = "/sessions/stats", tag = "sessions", operation_id = "session_stats",
    responses((status = 200, description = "`{\"active\": 1, \"by_state\": {\"running\": 1, …}, \"total\": 4}`.", body = Value)))]
pub(crate) async fn stats(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let mut counts = [0u64; SessionState::ALL.len()];
    let place = |word: &str| SessionState::ALL.iter().position(|state| state.as_str() == word);
    if Permission::Administer.allows(&caller.principal) {
        for (word, count) in app.platform.store().session_counts(caller.tenant()).await? {
            if let Some(slot) = place(&word).and_then(|at| counts.get_mut(at)) {
                *slot = count;
            }
        }
    } else {
        for archived in [false, true] {
            let mut filter = SessionFilter { archived, limit: ROWS_MAX, ..SessionFilter::default() };
            for _ in 0..SKIPPED_MAX / ROWS_MAX {
                let page = sessions.list(&caller.principal, filter.clone()).await?;
                for session in &page.sessions {
                    if let Some(slot) = place(session.state.as_str()).and_then(|at| counts.get_mut(at)) {
                        *slot += 1;
                    }
                }
                match page.next_cursor {
                    Some(next) => filter.before = Some(next),
                    None => break,
                }
            }
        }
    }
    let counted = SessionState::ALL.iter().zip(counts);
    let active: u64 = counted.clone().filter(|(state, _)| state.in_turn()).map(|(_, count)| count).sum();
    let by_state: Map<String, Value> = counted.map(|(state, count)| (state.to_string(), count.into())).collect();
    Ok(Json(json!({"active": active, "by_state": by_state, "total": counts.iter().sum::<u64>()})))
}

/// One session.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", operation_id = "get_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "The session.", body = SessionShown)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.get(&caller.principal, &id).await?))
}

/// Says other things of a session: its title, whether it is put away, its model, what its agent must ask.
#[utoipa::path(patch, path = "/sessions/{id}", tag = "sessions", operation_id = "change_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = PatchWanted,
    responses((status = 200, description = "The session.", body = SessionShown)))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(patch): Body<SessionPatch>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.patch(&caller.principal, &id, patch).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct EndReason {
    /// In words; at most 500 characters are kept.
    reason: String,
}

/// Ends a session: what is in flight is cancelled, what waits is dropped. Its events stay.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", operation_id = "end_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "The session, closed.", body = SessionShown)))]
pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.kill(&caller.principal, &id, "").await?))
}

/// Ends a session and says why.
#[utoipa::path(post, path = "/sessions/{id}/kill", tag = "sessions", operation_id = "kill_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = EndReason,
    responses((status = 200, description = "The session, closed.", body = SessionShown)))]
pub(crate) async fn kill(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(why): Body<EndReason>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.kill(&caller.principal, &id, &why.reason).await?))
}

/// Takes a closed or failed session up again.
#[utoipa::path(post, path = "/sessions/{id}/resume", tag = "sessions", operation_id = "resume_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "The session, idle.", body = SessionShown)))]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.resume(&caller.principal, &id).await?))
}

/// A new session that shares another's events up to one of them.
#[utoipa::path(post, path = "/sessions/{id}/fork", tag = "sessions", operation_id = "fork_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = ForkWanted,
    responses((status = 201, description = "The new session.", body = SessionShown)))]
pub(crate) async fn fork(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/{id}/fork", id.as_str(), &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let sessions = service(&own.platform)?;
        made(&own, sessions.fork(&who, &id, read::<ForkSession>(body)?).await?)
    })
    .await
}

/// A new session that belongs to another; its agent, workspace and directory where nothing else is said.
#[utoipa::path(post, path = "/sessions/{id}/spawn", tag = "sessions", operation_id = "spawn_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = SessionWanted,
    responses((status = 201, description = "The new session.", body = SessionShown)))]
pub(crate) async fn spawn(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let what = request("POST /sessions/{id}/spawn", id.as_str(), &body);
    let (own, who) = (app.clone(), caller.principal.clone());
    once(&app, &caller, &headers, what, async move {
        let sessions = service(&own.platform)?;
        let above = sessions.get(&who, &id).await?;
        let mut wanted: NewSessionWanted = read(body)?;
        wanted.parent = Some(above.id);
        wanted.agent = wanted.agent.filter(|name| !name.is_empty()).or(Some(above.agent));
        if wanted.workspace_id.is_none() {
            wanted.workspace_id = above.workspace_id;
            if wanted.directory.is_empty() {
                wanted.directory = above.directory;
            }
        }
        made(&own, sessions.create(&who, wanted).await?)
    })
    .await
}

/// Sessions that were forked or spawned from one, newest first; at most 200.
#[utoipa::path(get, path = "/sessions/{id}/children", tag = "sessions", operation_id = "session_children",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"children\": [{\"id\": …, \"title\": …, \"state\": …, \"createdAt\": …}]}`.", body = Value)))]
pub(crate) async fn children(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    sessions.get(&caller.principal, &id).await?;
    let filter = SessionFilter { parent: Some(id), limit: ROWS_MAX, ..SessionFilter::default() };
    let found = sessions.list(&caller.principal, filter).await?.sessions;
    let children: Vec<Value> = found
        .iter()
        .map(|child| {
            json!({
                "id": child.id, "title": child.title, "displayName": child.title, "agent": child.agent,
                "state": child.state, "status": child.state, "createdAt": child.created_at.as_millisecond(),
            })
        })
        .collect();
    Ok(Json(json!({"children": children})))
}
