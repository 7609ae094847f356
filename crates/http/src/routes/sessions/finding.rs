//! Finding sessions, and what one can be begun with.

use axum::Json;
use axum::extract::State;
use reeve_platform::Permission;
use reeve_platform::sessions::{AgentInfo, SessionFilter};
use reeve_platform::workspaces::Workspaces;
use reeve_types::session::{Session, SessionState};
use reeve_types::{ProblemCode, SessionId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::described::{AgentsShown, SessionShown};
use super::service;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query, parse};
use crate::problem::Problem;

/// Most sessions that pages by number reach over; further ones are reached with a cursor.
const SKIPPED_MAX: usize = 10_000;
/// Most rows of one page.
const ROWS_MAX: usize = 200;

/// The agents that a session can be begun with, the models they can use, and whether one may work in a directory of the host.
#[utoipa::path(get, path = "/agents/definitions", tag = "sessions", operation_id = "list_agent_definitions",
    responses((status = 200, description = "What a session can be begun with.", body = AgentsShown)))]
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
    let host_directories = app.platform.workspaces().is_some_and(Workspaces::host_directories);
    Ok(Json(json!({"agents": agents, "models": models, "host_directories": host_directories})))
}

/// Asks each configured model for one word, and says how long that took or why none came.
#[utoipa::path(post, path = "/models/check", tag = "sessions", operation_id = "check_models",
    responses((status = 200, description = "The models.", body = Value)))]
pub(crate) async fn check_models(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let found = service(&app.platform)?.check_models(caller.tenant()).await;
    let models: Vec<Value> = found
        .into_iter()
        .map(|model| match model.answer {
            Ok(took) => json!({"name": model.name, "first_word_ms": took.as_millis()}),
            Err(trouble) => json!({"name": model.name, "trouble": trouble}),
        })
        .collect();
    Ok(Json(json!({ "models": models })))
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
pub(super) fn state_of(word: &str) -> Result<SessionState, Problem> {
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
#[utoipa::path(get, path = "/sessions", tag = "sessions", operation_id = "list_agent_sessions", params(Which),
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
    let counted = counted(&app, &caller).await?;
    let by_state: Map<String, Value> =
        counted.iter().map(|(state, count)| (state.to_string(), (*count).into())).collect();
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    Ok(Json(json!({"active": active(&counted), "by_state": by_state, "total": total})))
}

/// How many sessions of each state somebody may see.
pub(super) async fn counted(
    app: &App,
    caller: &Caller,
) -> Result<[(SessionState, u64); SessionState::ALL.len()], Problem> {
    let sessions = service(&app.platform)?;
    let mut counts = SessionState::ALL.map(|state| (state, 0));
    let place = |word: &str| SessionState::ALL.iter().position(|state| state.as_str() == word);
    if Permission::Administer.allows(&caller.principal) {
        for (word, count) in app.platform.store().session_counts(caller.tenant()).await? {
            if let Some(slot) = place(&word).and_then(|at| counts.get_mut(at)) {
                slot.1 = count;
            }
        }
    } else {
        for archived in [false, true] {
            let mut filter = SessionFilter { archived, limit: ROWS_MAX, ..SessionFilter::default() };
            for _ in 0..SKIPPED_MAX / ROWS_MAX {
                let page = sessions.list(&caller.principal, filter.clone()).await?;
                for session in &page.sessions {
                    if let Some(slot) = place(session.state.as_str()).and_then(|at| counts.get_mut(at)) {
                        slot.1 += 1;
                    }
                }
                match page.next_cursor {
                    Some(next) => filter.before = Some(next),
                    None => break,
                }
            }
        }
    }
    Ok(counts)
}

/// How many of them have a turn in flight.
pub(super) fn active(counted: &[(SessionState, u64)]) -> u64 {
    counted.iter().filter(|(state, _)| state.in_turn()).map(|(_, count)| count).sum()
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
