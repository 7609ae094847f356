//! A session's events as the messages of a conversation, the way the guide's clients read it.

use std::fmt::Write as _;

use jiff::Timestamp;
use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use serde::Serialize;

/// Longest text of a tool's result in a message, in characters; the event holds more.
const RESULT_CHARS_MAX: usize = 500;
/// Longest thought in one message, in bytes.
const THOUGHT_BYTES_MAX: usize = 256 * 1024;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    /// `user`, `assistant` or `system`.
    pub(super) role: &'static str,
    /// `text`, `thinking`, `tool_use`, `tool_result`, `tool_error` or `permission_request`.
    pub(super) content_type: &'static str,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_use_id: Option<String>,
    pub(super) timestamp: Timestamp,
    /// The number of the event that it is; stable, and grows.
    #[serde(rename = "_cursor_id")]
    pub(super) seq: u64,
}

impl Shown {
    fn new(event: &SessionEvent, role: &'static str, content_type: &'static str, text: String) -> Self {
        Self { role, content_type, text, tool_name: None, tool_use_id: None, timestamp: event.at, seq: event.seq }
    }

    fn of_call(mut self, call: &str, tool: Option<&str>) -> Self {
        self.tool_use_id = Some(call.to_owned());
        self.tool_name = tool.map(str::to_owned);
        self
    }
}

/// Reads events in order and gives the messages that they are. It keeps no more than a thought that is not at its end.
#[derive(Default)]
pub(super) struct Reader {
    thought: Option<Shown>,
}

impl Reader {
    /// Takes one event in, and gives what is a message by now.
    pub(super) fn take(&mut self, event: &SessionEvent, mut give: impl FnMut(Shown)) {
        if let Happening::Thought { text, .. } = &event.what {
            let thought = self.thought.get_or_insert_with(|| Shown::new(event, "assistant", "thinking", String::new()));
            if thought.text.len() + text.len() <= THOUGHT_BYTES_MAX {
                thought.text.push_str(text);
            }
            return;
        }
        // A retried call thinks anew.
        if let Happening::ModelRetrying { .. } = event.what {
            self.thought = None;
        }
        let shown = message_of(event);
        if shown.is_some() {
            self.finish(&mut give);
        }
        if let Some(shown) = shown {
            give(shown);
        }
    }

    /// Gives what was not at its end when the events were.
    pub(super) fn finish(&mut self, mut give: impl FnMut(Shown)) {
        if let Some(thought) = self.thought.take() {
            give(thought);
        }
    }
}

fn message_of(event: &SessionEvent) -> Option<Shown> {
    let shown = |role, kind, text: &str| Shown::new(event, role, kind, text.to_owned());
    Some(match &event.what {
        Happening::Prompt { text, .. } => shown("user", "text", text),
        Happening::Message { text, .. } => shown("assistant", "text", text),
        Happening::ToolCalled { call_id, tool, title, .. } => {
            shown("assistant", "tool_use", title).of_call(call_id, Some(tool))
        }
        Happening::ToolFinished { call_id, is_error, content, .. } => {
            let kind = if *is_error { "tool_error" } else { "tool_result" };
            shown("user", kind, &cut(content, RESULT_CHARS_MAX)).of_call(call_id, None)
        }
        Happening::ToolWaiting { call_id, question, .. } => {
            shown("system", "permission_request", question).of_call(call_id, None)
        }
        Happening::ClaimUnproven { claim, reason, .. } => {
            shown("system", "text", &format!("Not proved: {claim} ({reason})"))
        }
        Happening::Warning { message } => shown("system", "text", message),
        Happening::TurnEnded { end, reason, .. } if *end != TurnEnd::Completed && !reason.is_empty() => {
            shown("system", "text", reason)
        }
        Happening::Closed { by, reason } => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            shown("system", "text", &format!("Ended by {by}{why}"))
        }
        _ => return None,
    })
}

/// The first characters of a text.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A message as a part of a page in Markdown.
pub(super) fn markdown(shown: &Shown, page: &mut String) {
    let heading = match (shown.role, shown.content_type) {
        (_, "thinking") => "Thought",
        (_, "tool_use") => "Tool call",
        (_, "tool_result") => "Tool result",
        (_, "tool_error") => "Tool failure",
        (_, "permission_request") => "Question",
        ("user", _) => "User",
        ("assistant", _) => "Agent",
        _ => "Note",
    };
    // Writing to a text cannot fail.
    let _ = write!(page, "## {heading}\n\n_{}_\n\n", shown.timestamp);
    match shown.content_type {
        "tool_use" => {
            let tool = shown.tool_name.as_deref().unwrap_or_default();
            let _ = write!(page, "`{tool}`: {}\n\n", shown.text);
        }
        // A fence longer than any inside, so that what a tool printed cannot end it.
        "tool_result" | "tool_error" => {
            let longest = shown.text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            let _ = write!(page, "{fence}\n{}\n{fence}\n\n", shown.text);
        }
        _ => {
            let _ = write!(page, "{}\n\n", shown.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, what: Happening) -> SessionEvent {
        let id = "ses_00000000000000000000000000".parse().unwrap();
        SessionEvent { session_id: id, seq, at: Timestamp::UNIX_EPOCH, what }
    }

    #[test]
    fn pieces_of_a_thought_are_one_message_before_what_follows_it() {
        let thought = |text: &str| Happening::Thought { turn: 1, text: text.to_owned() };
        let said = Happening::Message { turn: 1, text: "Four.".to_owned() };
        let mut reader = Reader::default();
        let mut given = Vec::new();
        for (seq, what) in [(1, thought("two and ")), (2, thought("two")), (3, said), (4, thought("hm"))] {
            reader.take(&event(seq, what), |shown| given.push(shown));
        }
        reader.finish(|shown| given.push(shown));
        let seen: Vec<_> = given.iter().map(|m| (m.seq, m.content_type, m.text.as_str())).collect();
        assert_eq!(seen, [(1, "thinking", "two and two"), (3, "text", "Four."), (4, "thinking", "hm")]);
    }

    #[test]
    fn what_a_tool_printed_stays_within_its_fence() {
        let what = Happening::ToolFinished {
            call_id: "c".to_owned(),
            is_error: false,
            content: "a\n```\n# not a heading".to_owned(),
            whole: None,
            record: None,
            diffs: Vec::new(),
        };
        let mut page = String::new();
        Reader::default().take(&event(1, what), |shown| markdown(&shown, &mut page));
        assert!(page.contains("````\na\n```\n# not a heading\n````"), "{page}");
    }

    #[test]
    fn long_results_are_cut_at_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
