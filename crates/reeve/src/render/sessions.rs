//! Sessions for people: lists, and what happens in one as it happens.

use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use serde_json::Value;

use super::{Table, clean, field, moment, one_line, pairs, shorten};
use crate::term::{Look, Tone};

pub(crate) fn list(sessions: &[Value], look: Look) -> String {
    let mut table = Table::new(&["SESSION", "TITLE", "AGENT", "STATE", "OWNER", "LAST EVENT"]);
    for session in sessions {
        table.row([
            field(session, "id"),
            shorten(&one_line(&field(session, "title")), 48),
            field(session, "agent"),
            field(session, "state"),
            field(session, "owner"),
            moment(&field(session, "updated_at")),
        ]);
    }
    table.text(look, "No sessions. `reeve chat` begins one.")
}

pub(crate) fn one(session: &Value, look: Look) -> String {
    let mut lines = vec![
        ("session", field(session, "id")),
        ("title", one_line(&field(session, "title"))),
        ("agent", field(session, "agent")),
        ("state", field(session, "state")),
        ("reason", one_line(&field(session, "reason"))),
        ("model", field(session, "model")),
        ("workspace", field(session, "workspace_id")),
        ("mode", field(session, "mode")),
        ("owner", field(session, "owner")),
        ("turns", field(session, "turns")),
        ("tokens", format!("{} in, {} out", number(session, "input_tokens"), number(session, "output_tokens"))),
        ("begun", moment(&field(session, "created_at"))),
    ];
    let waiting: Vec<&str> =
        session.get("waiting_for").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        lines.push(("waits for", waiting.join(", ")));
    }
    let granted = session.get("grants").and_then(Value::as_array).into_iter().flatten();
    let granted: Vec<String> = granted
        .map(|grant| format!("{} ({}), by {}", field(grant, "tool"), field(grant, "kind"), field(grant, "by")))
        .collect();
    if !granted.is_empty() {
        lines.push(("allowed", granted.join("; ")));
    }
    lines.retain(|(_, value)| !value.is_empty());
    pairs(look, &lines)
}

fn number(session: &Value, key: &str) -> u64 {
    session.get("usage").and_then(|usage| usage.get(key)).and_then(Value::as_u64).unwrap_or(0)
}

pub(crate) fn agents(agents: &[Value], look: Look) -> String {
    let mut table = Table::new(&["AGENT", "KIND", "READY", "WHAT IT IS FOR"]);
    for agent in agents {
        let trouble = field(agent, "unavailable");
        let ready = if trouble.is_empty() { "yes".to_owned() } else { "no".to_owned() };
        let words = if trouble.is_empty() { field(agent, "description") } else { trouble };
        table.row([field(agent, "name"), field(agent, "kind"), ready, shorten(&one_line(&words), 100)]);
    }
    table.text(look, "No agents.")
}

/// What an agent wants to do, as it asks: a change line by line, a command as it is typed.
pub(crate) fn proposal(detail: &str, look: Look) -> String {
    let mut text = String::new();
    for line in clean(detail).lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Some(Tone::Good),
            Some(b'-') => Some(Tone::Critical),
            Some(b'@') => Some(Tone::Faint),
            _ => None,
        };
        let line = tone.map_or_else(|| line.to_owned(), |tone| look.paint(tone, line));
        text.push_str(&format!("    {line}\n"));
    }
    text
}

/// Tells events one after another, as a person reads a conversation.
pub(crate) struct Telling {
    look: Look,
    /// Whether the last text ended within a line.
    midline: bool,
    /// Whether words of the present message have been told piece by piece.
    told: bool,
}

impl Telling {
    pub(crate) fn new(look: Look) -> Self {
        Self { look, midline: false, told: false }
    }

    /// What is shown of an event; empty for what people need not see.
    pub(crate) fn tell(&mut self, event: &SessionEvent) -> String {
        let faint = |text: String| self.look.paint(Tone::Faint, &text);
        let line = match &event.what {
            Happening::Delta { text, .. } => {
                let text = clean(text);
                self.midline = !text.ends_with('\n');
                self.told = true;
                return text;
            }
            Happening::Message { text, .. } => {
                let whole = if std::mem::take(&mut self.told) { String::new() } else { clean(text) };
                let out = format!("{whole}{}", if self.midline || !whole.is_empty() { "\n" } else { "" });
                self.midline = false;
                return out;
            }
            Happening::ModelRetrying { attempt, reason, .. } => {
                self.told = false;
                faint(format!("… attempt {attempt}: {}", one_line(reason)))
            }
            Happening::Prompt { text, by, .. } => {
                format!("{} {}", self.look.paint(Tone::Strong, &format!("{by}:")), clean(text))
            }
            Happening::ToolCalled { title, .. } => faint(format!("▸ {}", one_line(title))),
            Happening::ToolWaiting { question, approval_id, .. } => {
                self.look.paint(Tone::Warning, &format!("? {} ({approval_id})", one_line(question)))
            }
            Happening::ToolAnswered { status, by, reason, .. } => {
                let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
                let reason = if reason.is_empty() { String::new() } else { format!(": {}", one_line(reason)) };
                faint(format!("  {status}{by}{reason}"))
            }
            Happening::ToolFinished { is_error: true, content, .. } => {
                self.look.paint(Tone::Critical, &format!("  failed: {}", shorten(&one_line(content), 160)))
            }
            Happening::ToolFinished { content, diffs, .. } if diffs.is_empty() => {
                faint(format!("  {}", shorten(&one_line(content), 120)))
            }
            Happening::ToolFinished { diffs, .. } => {
                let files: Vec<&str> = diffs.iter().map(|diff| diff.path.as_str()).collect();
                faint(format!("  changed {}", files.join(", ")))
            }
            Happening::Plan { entries, .. } => {
                let step = |status: &str| match status {
                    "completed" => "[x]",
                    "in_progress" => "[~]",
                    _ => "[ ]",
                };
                let lines: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("  {} {}", step(&entry.status), one_line(&entry.content)))
                    .collect();
                faint(lines.join("\n"))
            }
            Happening::ClaimUnproven { claim, reason, .. } => {
                let text = format!("! not borne out by any record: “{}” ({})", one_line(claim), one_line(reason));
                self.look.paint(Tone::Warning, &text)
            }
            Happening::Warning { message } => self.look.paint(Tone::Warning, &format!("! {}", one_line(message))),
            Happening::TurnEnded { end: TurnEnd::Completed, usage, .. } => {
                faint(format!("— {} tokens in, {} out", usage.input_tokens, usage.output_tokens))
            }
            Happening::TurnEnded { end, reason, .. } => {
                let word = match end {
                    TurnEnd::Completed => "done",
                    TurnEnd::Cancelled => "cancelled",
                    TurnEnd::LimitReached => "a limit was reached",
                    TurnEnd::Refused => "refused",
                    TurnEnd::Failed => "failed",
                };
                let text =
                    if reason.is_empty() { format!("— {word}") } else { format!("— {word}: {}", clean(reason)) };
                let tone = if matches!(end, TurnEnd::Failed) { Tone::Critical } else { Tone::Faint };
                self.look.paint(tone, &text)
            }
            Happening::Closed { by, reason } => faint(format!("— closed by {by}: {}", one_line(reason))),
            _ => return String::new(),
        };
        let start = if std::mem::take(&mut self.midline) { "\n" } else { "" };
        format!("{start}{line}\n")
    }
}
