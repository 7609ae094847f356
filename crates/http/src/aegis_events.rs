//! Events of sessions in the shape that clients of the Aegis guide read: `?format=aegis` on the streams.
//!
//! A frame of theirs is `{event, sessionId, timestamp, data, emittedAt, id}`. The numbers are the same as in Reeve's own
//! shape, so a client resumes in either. What their vocabulary has no word for (pieces of an answer that comes whole a
//! moment later, plans, calls of models) is left out.

use reeve_types::session::{Happening, Session, SessionEvent, SessionState, TurnEnd};
use serde::Deserialize;
use serde_json::{Value, json};

/// How much of a tool's result a frame holds, in characters.
const RESULT_CHARS_MAX: usize = 500;

/// The shape of a stream's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Reeve's own.
    #[default]
    Reeve,
    /// The Aegis guide's.
    Aegis,
}

impl Format {
    /// What a stream says last when the server stops.
    pub(crate) fn shutdown(self) -> &'static str {
        match self {
            Self::Reeve => r#"{"event":"shutdown"}"#,
            Self::Aegis => r#"{"event":"shutdown","sessionId":"","data":{}}"#,
        }
    }
}

/// What a stream of one session says first.
pub(crate) fn connected(session: &Session, now: jiff::Timestamp) -> Value {
    json!({"event": "connected", "sessionId": session.id, "timestamp": now})
}

/// What the stream of all sessions says first.
pub(crate) fn connected_to_all(active: u64, now: jiff::Timestamp) -> Value {
    json!({"event": "connected", "timestamp": now, "data": {"activeSessions": active}})
}

/// One event of a session, as it is stored; nothing where the guide has no word for it.
pub(crate) fn of_session(stored: &str) -> Option<String> {
    let told: SessionEvent = serde_json::from_str(stored).ok()?;
    let (event, data) = told_of(&told.what)?;
    let emitted = told.at.as_millisecond();
    Some(
        json!({
            "event": event, "sessionId": told.session_id, "timestamp": told.at, "data": data, "emittedAt": emitted,
            "id": told.seq,
        })
        .to_string(),
    )
}

fn told_of(what: &Happening) -> Option<(&'static str, Value)> {
    let said = |role: &str, kind: &str, text: &str| json!({"role": role, "contentType": kind, "text": text});
    Some(match what {
        Happening::Created { .. } | Happening::Resumed { .. } => ("status", json!({"status": "idle"})),
        Happening::Prompt { text, .. } => ("message", said("user", "text", text)),
        Happening::TurnStarted { .. } => ("status", json!({"status": "working"})),
        Happening::Message { text, .. } => ("message", said("assistant", "text", text)),
        Happening::Thought { text, .. } => ("message", said("assistant", "thinking", text)),
        Happening::ToolCalled { call_id, tool, title, .. } => {
            let mut data = said("assistant", "tool_use", title);
            data["tool_name"] = json!(tool);
            data["tool_id"] = json!(call_id);
            ("message", data)
        }
        Happening::ToolFinished { call_id, is_error, content, .. } => {
            let begin: String = content.chars().take(RESULT_CHARS_MAX).collect();
            let mut data = said("user", if *is_error { "tool_error" } else { "tool_result" }, &begin);
            data["tool_id"] = json!(call_id);
            ("message", data)
        }
        Happening::ToolWaiting { approval_id, call_id, question, .. } => {
            ("approval", json!({"prompt": question, "approvalId": approval_id, "tool_id": call_id}))
        }
        Happening::ToolAnswered { status, .. } if status == "approved" => ("status", json!({"status": "working"})),
        Happening::ToolAnswered { call_id, status, reason, .. } => {
            let reason = if reason.is_empty() { status } else { reason };
            ("permission_denied", json!({"reason": reason, "tool_id": call_id}))
        }
        Happening::Warning { message } => {
            let mut data = said("system", "text", message);
            data["isSystem"] = json!(true);
            ("system", data)
        }
        Happening::TurnEnded { end, reason, .. } => {
            let status = if *end == TurnEnd::Failed { "error" } else { "idle" };
            let detail = if reason.is_empty() { json!(end) } else { json!(reason) };
            ("status", json!({"status": status, "detail": detail}))
        }
        Happening::Closed { reason, .. } => ("ended", json!({"reason": reason})),
        _ => return None,
    })
}

/// What happened in one of all sessions; nothing where the guide has no word for it. `kind` is the word of [`Happening`].
pub(crate) fn of_all(id: u64, kind: &str, session: &Session) -> Option<String> {
    let (event, data) = match kind {
        "created" => ("session_created", json!({"name": session.title, "workDir": session.directory})),
        "prompt" => ("session_message", json!({"role": "user"})),
        "message" => ("session_message", json!({"role": "assistant"})),
        "tool_waiting" => ("session_approval", json!({"approvalIds": session.waiting_for})),
        "closed" => ("session_ended", json!({"reason": session.reason})),
        "turn_started" | "turn_ended" | "tool_answered" | "resumed" => {
            ("session_status_change", json!({"status": status(session.state), "detail": session.reason}))
        }
        _ => return None,
    };
    let at = session.updated_at;
    Some(json!({"event": event, "sessionId": session.id, "timestamp": at, "data": data, "id": id}).to_string())
}

/// The guide's word for a state.
fn status(state: SessionState) -> &'static str {
    match state {
        SessionState::Running => "working",
        SessionState::Waiting => "permission_prompt",
        SessionState::Failed => "error",
        SessionState::Idle | SessionState::Closed => "idle",
    }
}
