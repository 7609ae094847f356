//! A session's conversation, folded from its events.

use std::collections::VecDeque;

use reeve_platform::sessions::{SessionError, Sessions, Timing};
use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{Principal, SessionId};
use serde::Serialize;

/// Events read at once.
const PAGE: usize = 1000;
/// Most events that one answer is folded from; older ones are reached with `after`.
const EVENTS_MAX: usize = 50_000;
/// Longest text of one entry, in characters; `acp_get_events` has the whole of it.
const ENTRY_CHARS_MAX: usize = 8_000;

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// The event that it comes from.
    pub(crate) seq: u64,
    /// `user`, `assistant`, `tool` or `system`.
    pub(crate) role: &'static str,
    pub(crate) text: String,
    pub(crate) timestamp: jiff::Timestamp,
}

/// Part of a conversation.
#[derive(Debug, Serialize)]
pub(crate) struct Transcript {
    pub(crate) session_id: SessionId,
    pub(crate) entries: Vec<Entry>,
    /// Whether there are entries before the first one.
    pub(crate) has_earlier: bool,
    /// Give this as `after` for what follows.
    pub(crate) next_after: u64,
}

/// What has happened, counted.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) prompts: u64,
    pub(crate) messages: u64,
    pub(crate) tool_calls: u64,
    pub(crate) failed_tool_calls: u64,
    pub(crate) questions: u64,
    pub(crate) model_calls: u64,
    pub(crate) warnings: u64,
    pub(crate) unproven_claims: u64,
    pub(crate) files_changed: Vec<String>,
}

/// The newest entries, or those after an event.
pub(crate) async fn transcript(
    sessions: &Sessions,
    caller: &Principal,
    id: &SessionId,
    after: Option<u64>,
    limit: usize,
) -> Result<Transcript, SessionError> {
    let mut kept: VecDeque<Entry> = VecDeque::new();
    let (mut has_earlier, mut next_after) = (after.is_some_and(|after| after > 0), after.unwrap_or(0));
    walk(sessions, caller, id, after.unwrap_or(0), |event| {
        let forward_is_full = after.is_some() && kept.len() == limit;
        if forward_is_full {
            return false;
        }
        next_after = event.seq;
        if let Some(entry) = entry(event) {
            kept.push_back(entry);
            if kept.len() > limit {
                kept.pop_front();
                has_earlier = true;
            }
        }
        true
    })
    .await?;
    Ok(Transcript { session_id: id.clone(), entries: kept.into(), has_earlier, next_after })
}

/// What has happened in a session, counted, and its last words.
pub(crate) async fn counted(
    sessions: &Sessions,
    caller: &Principal,
    id: &SessionId,
) -> Result<(Counts, Option<Entry>), SessionError> {
    let (mut counts, mut last) = (Counts::default(), None);
    walk(sessions, caller, id, 0, |event| {
        counts.events += 1;
        match &event.what {
            Happening::Prompt { .. } => counts.prompts += 1,
            Happening::Message { .. } => {
                counts.messages += 1;
                last = entry(event);
            }
            Happening::ToolCalled { .. } => counts.tool_calls += 1,
            Happening::ToolFinished { is_error, diffs, .. } => {
                counts.failed_tool_calls += u64::from(*is_error);
                for diff in diffs {
                    if counts.files_changed.len() < 500 && !counts.files_changed.contains(&diff.path) {
                        counts.files_changed.push(diff.path.clone());
                    }
                }
            }
            Happening::ToolWaiting { .. } => counts.questions += 1,
            Happening::ModelReplied { .. } => counts.model_calls += 1,
            Happening::Warning { .. } => counts.warnings += 1,
            Happening::ClaimUnproven { .. } => counts.unproven_claims += 1,
            _ => {}
        }
        true
    })
    .await?;
    Ok((counts, last))
}

/// How long things took in a session.
pub(crate) async fn timed(
    sessions: &Sessions,
    caller: &Principal,
    id: &SessionId,
) -> Result<serde_json::Value, SessionError> {
    let mut timing = Timing::default();
    walk(sessions, caller, id, 0, |event| {
        timing.take(event);
        true
    })
    .await?;
    Ok(timing.told())
}

async fn walk(
    sessions: &Sessions,
    caller: &Principal,
    id: &SessionId,
    after: u64,
    mut each: impl FnMut(&SessionEvent) -> bool,
) -> Result<(), SessionError> {
    let (mut at, mut seen) = (after, 0);
    while seen < EVENTS_MAX {
        let page = sessions.events(caller, id, at, PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        for (seq, json) in page {
            (at, seen) = (seq, seen + 1);
            match serde_json::from_str::<SessionEvent>(&json) {
                Ok(event) if !each(&event) => return Ok(()),
                Ok(_) => {}
                Err(error) => tracing::warn!(session.id = %id, seq, "an event cannot be read: {error}"),
            }
        }
    }
    Ok(())
}

fn entry(event: &SessionEvent) -> Option<Entry> {
    let (role, text) = match &event.what {
        Happening::Prompt { text, .. } => ("user", text.clone()),
        Happening::Message { text, .. } => ("assistant", text.clone()),
        Happening::ToolCalled { tool, title, arguments, .. } => ("tool", format!("{tool}: {title}\n{arguments}")),
        Happening::ToolWaiting { approval_id, question, .. } => {
            ("system", format!("waits for {approval_id}: {question}"))
        }
        Happening::ToolAnswered { approval_id, status, by, reason, .. } => {
            ("system", format!("{approval_id} {status} by {by} {reason}").trim_end().to_owned())
        }
        Happening::ToolFinished { is_error, content, .. } => {
            ("tool", if *is_error { format!("failed: {content}") } else { content.clone() })
        }
        Happening::Warning { message } => ("system", message.clone()),
        Happening::ClaimUnproven { claim, reason, .. } => ("system", format!("unproven: {claim} ({reason})")),
        Happening::TurnEnded { reason, .. } if !reason.is_empty() => ("system", reason.clone()),
        Happening::Closed { by, reason } => ("system", format!("ended by {by}: {reason}")),
        _ => return None,
    };
    let mut cut: String = text.chars().take(ENTRY_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push_str(&format!("\n[cut; acp_get_events since {} has the whole]", event.seq.saturating_sub(1)));
    }
    Some(Entry { seq: event.seq, role, text: cut, timestamp: event.at })
}
