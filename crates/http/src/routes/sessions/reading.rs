//! Reading a session back: its conversation, what it cost, and all of it as a file.

use std::collections::VecDeque;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use reeve_platform::sessions::Sessions;
use reeve_types::model::Usage;
use reeve_types::session::{Happening, Session, SessionEvent, SessionState, TurnEnd};
use reeve_types::{Digest, Principal, ProblemCode, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::messages::{Reader, Shown, cut, markdown};
use super::service;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query};
use crate::problem::Problem;
use crate::routes::workspaces::Ids;

/// Events read at once.
const PAGE: usize = 500;
/// Most messages of one answer.
const MESSAGES_MAX: usize = 200;
/// Messages in a summary, and the length of each.
const SUMMARY: (usize, usize) = (20, 500);
/// Most changes of state that are told, the newest.
const CHANGES_MAX: usize = 1000;

/// A session's events, read in order, a page at a time.
pub(super) struct Events {
    sessions: Sessions,
    who: Principal,
    id: SessionId,
    after: u64,
}

impl Events {
    pub(super) fn of(sessions: &Sessions, caller: &Caller, id: &SessionId) -> Self {
        Self { sessions: sessions.clone(), who: caller.principal.clone(), id: id.clone(), after: 0 }
    }

    async fn texts(&mut self) -> Result<Vec<String>, Problem> {
        let page = self.sessions.events(&self.who, &self.id, self.after, PAGE).await?;
        if let Some((seq, _)) = page.last() {
            self.after = *seq;
        }
        Ok(page.into_iter().map(|(_, text)| text).collect())
    }

    async fn page(&mut self) -> Result<Vec<SessionEvent>, Problem> {
        let texts = self.texts().await?;
        texts.iter().map(|text| serde_json::from_str(text).map_err(Problem::internal)).collect()
    }

    pub(super) async fn each(mut self, mut take: impl FnMut(&SessionEvent)) -> Result<(), Problem> {
        loop {
            let page = self.page().await?;
            if page.is_empty() {
                return Ok(());
            }
            page.iter().for_each(&mut take);
        }
    }

    async fn messages(self, mut take: impl FnMut(Shown)) -> Result<(), Problem> {
        let mut reader = Reader::default();
        self.each(|event| reader.take(event, &mut take)).await?;
        reader.finish(take);
        Ok(())
    }
}

/// A text that an event refers to because it was too long for it.
#[utoipa::path(get, path = "/sessions/{id}/texts/{digest}", tag = "sessions", operation_id = "session_text",
    params(("id" = String, Path, description = "The session's id."), ("digest" = String, Path, description = "The member `whole` of the event.")),
    responses((status = 200, description = "The whole text.", body = String, content_type = "text/plain")))]
pub(crate) async fn text(
    State(app): State<App>,
    caller: Caller,
    Ids(id, digest): Ids<SessionId, Digest>,
) -> Result<Response, Problem> {
    let text = service(&app.platform)?.kept_text(&caller.principal, &id, digest).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByPage {
    /// Which page, from 1, which begins with the oldest.
    page: Option<usize>,
    /// At most so many, up to 200; 50 unless told otherwise.
    limit: Option<usize>,
    /// Of this role: user, assistant or system.
    role: Option<String>,
}

/// The conversation as messages, oldest first.
#[utoipa::path(get, path = "/sessions/{id}/transcript", tag = "sessions", operation_id = "session_transcript",
    params(("id" = String, Path, description = "The session's id."), ByPage),
    responses((status = 200, description = "`{\"messages\": […], \"total\": 12, \"page\": 1, \"limit\": 50, \"hasMore\": false}`.", body = Value)))]
pub(crate) async fn transcript(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Query(by): Query<ByPage>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let role = role(by.role)?;
    let (page, limit) = (by.page.unwrap_or(1).max(1), by.limit.unwrap_or(50).clamp(1, MESSAGES_MAX));
    let skipped = (page - 1).saturating_mul(limit);
    let (mut total, mut messages) = (0usize, Vec::new());
    let events = Events::of(&sessions, &caller, &id);
    events
        .messages(|shown| {
            if role.as_ref().is_none_or(|role| shown.role == role) {
                if total >= skipped && messages.len() < limit {
                    messages.push(shown);
                }
                total += 1;
            }
        })
        .await?;
    let has_more = skipped.saturating_add(messages.len()) < total;
    Ok(Json(json!({"messages": messages, "total": total, "page": page, "limit": limit, "hasMore": has_more})))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByCursor {
    /// Before the message with this `_cursor_id`; the newest when absent.
    before_id: Option<u64>,
    /// At most so many, up to 200; 50 unless told otherwise.
    limit: Option<usize>,
    /// Of this role: user, assistant or system.
    role: Option<String>,
}

/// The newest messages before one of them, oldest first.
#[utoipa::path(get, path = "/sessions/{id}/transcript/cursor", tag = "sessions", operation_id = "session_transcript_before",
    params(("id" = String, Path, description = "The session's id."), ByCursor),
    responses((status = 200, description = "`{\"messages\": […], \"has_more\": true, \"oldest_id\": 17, \"newest_id\": 80}`.", body = Value)))]
pub(crate) async fn transcript_before(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Query(by): Query<ByCursor>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let role = role(by.role)?;
    let limit = by.limit.unwrap_or(50).clamp(1, MESSAGES_MAX);
    let (mut messages, mut has_more) = (VecDeque::new(), false);
    Events::of(&sessions, &caller, &id)
        .messages(|shown| {
            let before = by.before_id.is_none_or(|before| shown.seq < before);
            if before && role.as_ref().is_none_or(|role| shown.role == role) {
                if messages.len() == limit {
                    messages.pop_front();
                    has_more = true;
                }
                messages.push_back(shown);
            }
        })
        .await?;
    let (oldest, newest) = (messages.front().map(|m| m.seq), messages.back().map(|m| m.seq));
    Ok(Json(json!({"messages": messages, "has_more": has_more, "oldest_id": oldest, "newest_id": newest})))
}

fn role(asked: Option<String>) -> Result<Option<String>, Problem> {
    match asked.as_deref() {
        None | Some("") => Ok(None),
        Some("user" | "assistant" | "system") => Ok(asked),
        Some(_) => Err(Problem::new(ProblemCode::BadRequest, "`role` must be user, assistant or system")),
    }
}

/// How a session stands, in its last twenty messages.
#[utoipa::path(get, path = "/sessions/{id}/summary", tag = "sessions", operation_id = "session_summary",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"sessionId\": …, \"status\": …, \"totalMessages\": 12, \"messages\": [{\"role\": …, \"contentType\": …, \"text\": …}], …}`.", body = Value)))]
pub(crate) async fn summary(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let sessions = service(&app.platform)?;
    let session = sessions.get(&caller.principal, &id).await?;
    let (mut total, mut last) = (0usize, VecDeque::new());
    Events::of(&sessions, &caller, &id)
        .messages(|shown| {
            total += 1;
            if last.len() == SUMMARY.0 {
                last.pop_front();
            }
            let text = cut(&shown.text, SUMMARY.1);
            last.push_back(json!({"role": shown.role, "contentType": shown.content_type, "text": text}));
        })
        .await?;
    Ok(Json(json!({
        "sessionId": session.id, "displayName": session.title, "status": session.state, "totalMessages": total,
        "messages": last, "createdAt": session.created_at.as_millisecond(),
        "lastActivity": session.updated_at.as_millisecond(), "permissionMode": session.mode,
    })))
}

/// What happened in a session, counted.
#[derive(Default)]
struct Counted {
    messages: u64,
    tool_calls: u64,
    approvals: u64,
    auto_approvals: u64,
    changes: VecDeque<Value>,
    turns: Vec<Value>,
}

impl Counted {
    fn take(&mut self, event: &SessionEvent) {
        let state = match &event.what {
            Happening::Prompt { .. } | Happening::Message { .. } => {
                self.messages += 1;
                return;
            }
            Happening::ToolCalled { .. } => {
                self.tool_calls += 1;
                return;
            }
            Happening::ToolAnswered { status, reason, .. } => {
                if status == "approved" {
                    self.approvals += 1;
                    self.auto_approvals += u64::from(reeve_platform::sessions::stood_before(reason));
                }
                SessionState::Running
            }
            Happening::TurnStarted { .. } => SessionState::Running,
            Happening::ToolWaiting { .. } => SessionState::Waiting,
            Happening::TurnEnded { turn, end, usage, .. } => {
                // Turns without number would make the answer as long as the session.
                if self.turns.len() < CHANGES_MAX {
                    self.turns.push(json!({"turn": turn, "end": end, "usage": usage}));
                }
                if *end == TurnEnd::Failed { SessionState::Failed } else { SessionState::Idle }
            }
            Happening::Closed { .. } => SessionState::Closed,
            Happening::Created { .. } | Happening::Resumed { .. } => SessionState::Idle,
            _ => return,
        };
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(json!({"status": state, "at": event.at}));
    }
}

async fn counted(app: &App, caller: &Caller, id: &SessionId) -> Result<(Session, Counted), Problem> {
    let sessions = service(&app.platform)?;
    let session = sessions.get(&caller.principal, id).await?;
    let mut counted = Counted::default();
    Events::of(&sessions, caller, id).each(|event| counted.take(event)).await?;
    Ok((session, counted))
}

fn tokens(usage: &Usage) -> Value {
    json!({
        "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens,
        "cacheCreationTokens": usage.cache_write_tokens, "cacheReadTokens": usage.cache_read_tokens,
        "estimatedCostUsd": dollars(usage),
    })
}

#[expect(clippy::cast_precision_loss, reason = "an estimate in dollars needs no more than a double holds")]
fn dollars(usage: &Usage) -> Option<f64> {
    usage.cost_micro_usd.map(|micros| micros as f64 / 1_000_000.0)
}

/// What happened in a session, in numbers.
#[utoipa::path(get, path = "/sessions/{id}/metrics", tag = "sessions", operation_id = "session_metrics",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"durationSec\": 60, \"messages\": 4, \"toolCalls\": 2, \"approvals\": 1, \"autoApprovals\": 0, \"statusChanges\": […], \"tokenUsage\": {…}}`.", body = Value)))]
pub(crate) async fn metrics(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let (session, counted) = counted(&app, &caller, &id).await?;
    Ok(Json(json!({
        "durationSec": session.updated_at.duration_since(session.created_at).as_secs(),
        "messages": counted.messages, "toolCalls": counted.tool_calls, "approvals": counted.approvals,
        "autoApprovals": counted.auto_approvals, "statusChanges": counted.changes,
        "tokenUsage": tokens(&session.usage),
    })))
}

/// What a session cost, turn by turn.
#[utoipa::path(get, path = "/sessions/{id}/cost", tag = "sessions", operation_id = "session_cost",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "`{\"sessionId\": …, \"model\": …, \"usage\": {…}, \"estimatedCostUsd\": 0.12, \"turns\": [{\"turn\": 1, \"end\": …, \"usage\": {…}}]}`; the cost is null where the model's price is not known.", body = Value)))]
pub(crate) async fn cost(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let (session, counted) = counted(&app, &caller, &id).await?;
    Ok(Json(json!({
        "sessionId": session.id, "model": session.model, "usage": session.usage,
        "estimatedCostUsd": dollars(&session.usage), "turns": counted.turns,
    })))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Form {
    /// `jsonl`, one event a line, or `markdown`; jsonl unless told otherwise.
    format: Option<String>,
}

/// A whole session as a file.
#[utoipa::path(get, path = "/sessions/{id}/export", tag = "sessions", operation_id = "export_session",
    params(("id" = String, Path, description = "The session's id."), Form),
    responses((status = 200, description = "Every event so far, one a line; or the conversation.",
        content((String = "application/x-ndjson"), (String = "text/markdown")))))]
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Query(form): Query<Form>,
) -> Result<Response, Problem> {
    let as_markdown = match form.format.as_deref() {
        None | Some("" | "jsonl") => false,
        Some("markdown" | "md") => true,
        Some(_) => return Err(Problem::new(ProblemCode::BadRequest, "`format` must be jsonl or markdown")),
    };
    let sessions = service(&app.platform)?;
    let session = sessions.get(&caller.principal, &id).await?;
    let (kind, ending) =
        if as_markdown { ("text/markdown; charset=utf-8", "md") } else { ("application/x-ndjson", "jsonl") };
    let title = as_markdown.then(|| format!("# {}\n\n", session.title.replace('\n', " ")));
    let export = Export {
        events: Events::of(&sessions, &caller, &id),
        reader: as_markdown.then(Reader::default),
        title,
        ended: false,
    };
    let pieces = stream::try_unfold(export, |mut export| async move {
        let piece = export.next().await.map_err(|problem| std::io::Error::other(problem.detail))?;
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, export)))
    });
    let mut response = (StatusCode::OK, [(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response();
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.{ending}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// A file as it is written, a page of events at a time.
struct Export {
    events: Events,
    /// What makes messages of events; absent where events are written as they are.
    reader: Option<Reader>,
    title: Option<String>,
    ended: bool,
}

impl Export {
    async fn next(&mut self) -> Result<Option<String>, Problem> {
        if let Some(title) = self.title.take() {
            return Ok(Some(title));
        }
        if self.ended {
            return Ok(None);
        }
        let Some(reader) = &mut self.reader else {
            let texts = self.events.texts().await?;
            return Ok((!texts.is_empty()).then(|| texts.join("\n") + "\n"));
        };
        let page = self.events.page().await?;
        let mut piece = String::new();
        for event in &page {
            reader.take(event, |shown| markdown(&shown, &mut piece));
        }
        if page.is_empty() {
            self.ended = true;
            reader.finish(|shown| markdown(&shown, &mut piece));
        }
        Ok(Some(piece))
    }
}
