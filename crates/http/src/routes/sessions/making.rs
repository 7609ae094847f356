//! Making sessions, changing what is said of them, ending them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_platform::sessions::{ForkSession, NewSessionWanted, SessionPatch, Sessions};
use reeve_types::session::Session;
use reeve_types::{Principal, ProblemCode, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::described::{ForkWanted, PatchWanted, SessionShown, SessionWanted};
use super::{read, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::idempotency::{Reply, once, request};
use crate::problem::Problem;

/// Most sessions of one batch.
const BATCH_MAX: usize = 50;

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
        make(&own, &sessions, &who, read(body)?).await
    })
    .await
}

/// Counts a session that was made, and its prompt if it came with one.
fn made(app: &App, session: Session, prompted: bool) -> Result<Reply, Problem> {
    app.shared.metrics.sessions.created.inc();
    if prompted {
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
            let outcome = match read(wanted) {
                Ok(wanted) => make(&own, &sessions, &who, wanted).await,
                Err(problem) => Err(problem),
            };
            match outcome {
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

async fn make(app: &App, sessions: &Sessions, who: &Principal, wanted: NewSessionWanted) -> Result<Reply, Problem> {
    let prompted = wanted.prompt.is_some();
    made(app, sessions.create(who, wanted).await?, prompted)
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
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", operation_id = "end_agent_session",
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
        let wanted: ForkSession = read(body)?;
        let prompted = wanted.prompt.is_some();
        made(&own, sessions.fork(&who, &id, wanted).await?, prompted)
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
        if wanted.workspace_id.is_none() && wanted.work_dir.is_none() {
            wanted.workspace_id = above.workspace_id;
            if wanted.directory.is_empty() {
                wanted.directory = above.directory;
            }
        }
        make(&own, &sessions, &who, wanted).await
    })
    .await
}
