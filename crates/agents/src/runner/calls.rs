//! What an agent tells of its tools, as events of a session: secrets taken out, and everything within bounds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use reeve_platform::difference::unified;
use reeve_platform::sessions::PermissionAsked;
use reeve_types::WorkspacePath;
use reeve_types::session::{FileDiff, Happening};
use serde_json::{Value, json};

use super::words::{cut, plain};
use crate::acp::{ToolCall, ToolCallChange, ToolContent, ToolKind, ToolStatus};
use crate::redact;

/// Calls that are remembered at once.
const CALLS_MAX: usize = 512;
/// Longest arguments that are kept as they are, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Longest text of a file in a diff, in bytes. A diff with more is told in words.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// Most diffs of one call.
const DIFFS_MAX: usize = 50;
/// Longest content of a call, in characters.
const CONTENT_CHARS_MAX: usize = 200_000;
/// Longest piece of progress, in characters.
const PROGRESS_CHARS_MAX: usize = 4000;
/// How often progress of one call is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Longest detail of a question, in characters.
const DETAIL_CHARS_MAX: usize = 8000;

/// The calls of one agent.
pub(super) struct Calls {
    /// Makes ids of calls unique in a session that outlives agents.
    mark: String,
    known: HashMap<String, Known>,
    order: VecDeque<String>,
    begun: u64,
}

/// What is known of one call.
#[derive(Default)]
struct Known {
    our_id: String,
    title: String,
    tool: String,
    kind: Option<ToolKind>,
    input: Option<Value>,
    content: Vec<ToolContent>,
    /// The files that it says it is about.
    files: Vec<String>,
    output: Option<Value>,
    finished: bool,
    told_at: Option<Instant>,
    last_told: String,
}

impl Calls {
    pub(super) fn new(mark: String) -> Self {
        Self { mark, known: HashMap::new(), order: VecDeque::new(), begun: 0 }
    }

    /// A call begins, or is told again as a whole.
    pub(super) fn begin(&mut self, call: ToolCall) -> Vec<Happening> {
        let change = ToolCallChange {
            id: call.id,
            title: Some(call.title),
            name: call.name,
            kind: Some(call.kind),
            status: Some(call.status),
            content: Some(call.content),
            locations: Some(call.locations),
            input: call.input,
            output: call.output,
        };
        if self.known.get(&change.id).is_some_and(|known| known.finished) {
            // The agent counts anew; it is another call.
            self.forget(&change.id.clone());
        }
        self.change(change)
    }

    /// Something about a call has changed; it begins when nobody has heard of it.
    pub(super) fn change(&mut self, change: ToolCallChange) -> Vec<Happening> {
        let id = change.id.clone();
        let mut happened = Vec::new();
        let is_new = !self.known.contains_key(&id);
        if is_new {
            self.remember(&id);
        }
        let Some(known) = self.known.get_mut(&id) else { return happened };
        if known.finished {
            return happened;
        }
        let status = change.status;
        known.take(change);
        if is_new {
            happened.push(known.called());
        }
        match status {
            Some(ToolStatus::Completed | ToolStatus::Failed) => {
                known.finished = true;
                happened.push(known.ended(status == Some(ToolStatus::Failed)));
                // What is over need not be kept, only its id.
                (known.input, known.output) = (None, None);
                known.content = Vec::new();
            }
            _ if !is_new => happened.extend(known.progress()),
            _ => {}
        }
        happened
    }

    /// A question about a call, which begins when nobody has heard of it.
    pub(super) fn asked(&mut self, change: ToolCallChange) -> (Vec<Happening>, PermissionAsked) {
        let id = change.id.clone();
        let happened = self.change(ToolCallChange { status: None, ..change });
        let asked = match self.known.get(&id) {
            Some(known) => known.asked(),
            None => Known::default().asked(),
        };
        (happened, asked)
    }

    /// Calls that nobody will end any more are ended: the turn is over.
    pub(super) fn settle(&mut self, reason: &str) -> Vec<Happening> {
        let mut happened = Vec::new();
        for id in std::mem::take(&mut self.order) {
            if let Some(known) = self.known.remove(&id).filter(|known| !known.finished) {
                let content = reason.to_owned();
                happened.push(finished(known.our_id, true, content, Vec::new()));
            }
        }
        happened
    }

    fn remember(&mut self, id: &str) {
        if self.order.len() >= CALLS_MAX
            && let Some(oldest) = self.order.front().cloned()
        {
            self.forget(&oldest);
        }
        self.begun += 1;
        let our_id = format!("{}-{}-{}", self.mark, self.begun, cut(id, 100));
        self.known.insert(id.to_owned(), Known { our_id, ..Known::default() });
        self.order.push_back(id.to_owned());
    }

    fn forget(&mut self, id: &str) {
        self.known.remove(id);
        self.order.retain(|kept| kept != id);
    }
}

impl Known {
    fn take(&mut self, change: ToolCallChange) {
        if let Some(title) = change.title {
            self.title = cut(&without_secrets(&plain(&title)), 300);
        }
        if let Some(name) = change.name {
            self.tool = cut(&plain(&name), 100);
        }
        self.kind = change.kind.or(self.kind);
        if let Some(input) = change.input.filter(|input| !input.is_null()) {
            self.input = Some(input);
        }
        if let Some(content) = change.content {
            self.content = content;
        }
        if let Some(places) = change.locations {
            self.files = places.iter().take(DIFFS_MAX).map(|place| from_root(&place.path)).collect();
        }
        self.output = change.output.or(self.output.take());
    }

    fn kind_word(&self) -> &'static str {
        match self.kind {
            Some(ToolKind::Read) => "read",
            Some(ToolKind::Edit) => "edit",
            Some(ToolKind::Delete) => "delete",
            Some(ToolKind::Move) => "move",
            Some(ToolKind::Search) => "search",
            Some(ToolKind::Execute) => "execute",
            Some(ToolKind::Think) => "think",
            Some(ToolKind::Fetch) => "fetch",
            Some(ToolKind::SwitchMode | ToolKind::Other) | None => "other",
        }
    }

    fn tool_word(&self) -> String {
        if self.tool.is_empty() { self.kind_word().to_owned() } else { self.tool.clone() }
    }

    fn arguments(&self) -> Value {
        let Some(mut arguments) = self.input.clone() else { return json!({}) };
        redact(&mut arguments);
        let text = arguments.to_string();
        if text.len() > ARGUMENTS_BYTES_MAX {
            return json!({ "shortened": cut(&text, ARGUMENTS_BYTES_MAX / 4) });
        }
        arguments
    }

    fn called(&mut self) -> Happening {
        self.last_told = self.progress_text();
        Happening::ToolCalled {
            turn: 0,
            call_id: self.our_id.clone(),
            tool: self.tool_word(),
            title: if self.title.is_empty() { self.tool_word() } else { self.title.clone() },
            kind: self.kind_word().to_owned(),
            arguments: self.arguments(),
            action_id: None,
        }
    }

    /// The title, what is run, and what it has shown so far.
    fn progress_text(&self) -> String {
        let command = self.command().filter(|command| *command != self.title);
        let parts = [Some(self.title.clone()), command, Some(self.text())];
        let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
        cut(&parts.join("\n"), PROGRESS_CHARS_MAX)
    }

    fn progress(&mut self) -> Option<Happening> {
        let content = self.progress_text();
        let is_soon = self.told_at.is_some_and(|at| at.elapsed() < PROGRESS_EVERY);
        if is_soon || content.is_empty() || content == self.last_told {
            return None;
        }
        self.told_at = Some(Instant::now());
        self.last_told.clone_from(&content);
        Some(Happening::ToolProgress { call_id: self.our_id.clone(), content })
    }

    /// The words of what it has shown.
    fn text(&self) -> String {
        let mut all = String::new();
        for content in &self.content {
            let piece = match content {
                ToolContent::Content { content } => content.as_text().unwrap_or("[something that is no text]"),
                ToolContent::Diff { .. } | ToolContent::Terminal { .. } | ToolContent::Unknown => continue,
            };
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(&cut(piece, CONTENT_CHARS_MAX.saturating_sub(all.len())));
        }
        without_secrets(&all)
    }

    fn ended(&self, is_error: bool) -> Happening {
        let (diffs, left_out) = self.diffs();
        let mut content = self.text();
        if content.is_empty()
            && diffs.is_empty()
            && let Some(mut output) = self.output.clone()
        {
            redact(&mut output);
            content = match output {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
        }
        if left_out > 0 {
            content = format!("{content}\n[{left_out} changes of files are too large to be shown]").trim().to_owned();
        }
        // What failed or was refused has changed nothing.
        let diffs = if is_error { Vec::new() } else { diffs };
        finished(self.our_id.clone(), is_error, cut(&content, CONTENT_CHARS_MAX), diffs)
    }

    /// What it changed in files, and how many changes are too large.
    fn diffs(&self) -> (Vec<FileDiff>, usize) {
        let (mut diffs, mut left_out) = (Vec::new(), 0);
        for content in &self.content {
            let ToolContent::Diff { path, old_text, new_text } = content else { continue };
            let bytes = new_text.len().max(old_text.as_ref().map_or(0, String::len));
            if bytes > FILE_BYTES_MAX || diffs.len() >= DIFFS_MAX {
                left_out += 1;
                continue;
            }
            diffs.push(FileDiff {
                path: from_root(path),
                old: old_text.as_deref().map(without_secrets),
                new: without_secrets(new_text),
            });
        }
        (diffs, left_out)
    }

    /// The command, when it runs one.
    fn command(&self) -> Option<String> {
        let words = match self.input.as_ref()?.get("command")? {
            Value::String(command) => command.clone(),
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            _ => return None,
        };
        Some(without_secrets(&words))
    }

    fn asked(&self) -> PermissionAsked {
        let (diffs, _) = self.diffs();
        let detail = if !diffs.is_empty() {
            diffs.iter().map(unified).collect::<Vec<_>>().join("\n")
        } else if let Some(command) = self.command() {
            command
        } else {
            match self.arguments() {
                Value::Object(fields) if fields.is_empty() => self.text(),
                arguments => serde_json::to_string_pretty(&arguments).unwrap_or_default(),
            }
        };
        PermissionAsked {
            call_id: self.our_id.clone(),
            tool: self.tool_word(),
            title: if self.title.is_empty() { self.tool_word() } else { self.title.clone() },
            kind: self.kind_word().to_owned(),
            detail: cut(&detail, DETAIL_CHARS_MAX),
            files: self.files.iter().cloned().chain(diffs.into_iter().map(|diff| diff.path)).collect(),
            command: self.command(),
        }
    }
}

fn finished(call_id: String, is_error: bool, content: String, diffs: Vec<FileDiff>) -> Happening {
    Happening::ToolFinished { call_id, is_error, content, whole: None, record: None, diffs }
}

/// A path as events write it: from the root of the workspace, where it is one of the workspace.
fn from_root(path: &str) -> String {
    match path.parse::<WorkspacePath>() {
        Ok(inside) => inside.to_str().map_or_else(|| cut(path, 1000), str::to_owned),
        Err(_) => cut(&plain(path), 1000),
    }
}

/// A text without what has the shape of a secret.
pub(super) fn without_secrets(text: &str) -> String {
    let mut value = Value::String(text.to_owned());
    redact(&mut value);
    match value {
        Value::String(text) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acp::ContentBlock;

    fn call(id: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            title: "Run it".to_owned(),
            name: None,
            kind: ToolKind::Execute,
            status: ToolStatus::Pending,
            content: Vec::new(),
            locations: Vec::new(),
            input: Some(json!({"command": "make all", "token": "abc"})),
            output: None,
        }
    }

    fn text(text: &str) -> ToolContent {
        ToolContent::Content { content: ContentBlock::text(text) }
    }

    fn change(id: &str, status: ToolStatus, content: Vec<ToolContent>) -> ToolCallChange {
        ToolCallChange { id: id.to_owned(), status: Some(status), content: Some(content), ..ToolCallChange::default() }
    }

    #[test]
    fn a_call_is_told_from_its_beginning_to_its_end_once() {
        let mut calls = Calls::new("m".to_owned());
        let begun = calls.begin(call("t"));
        let [Happening::ToolCalled { call_id, tool, arguments, .. }] = begun.as_slice() else { panic!("{begun:?}") };
        assert_eq!((call_id.as_str(), tool.as_str()), ("m-1-t", "execute"));
        assert_eq!(*arguments, json!({"command": "make all", "token": "[REDACTED:token]"}));
        let on = calls.change(change("t", ToolStatus::InProgress, vec![text("cc main.c")]));
        assert!(
            matches!(on.as_slice(), [Happening::ToolProgress { content, .. }] if content.contains("cc main.c")),
            "{on:?}"
        );
        assert!(calls.change(change("t", ToolStatus::InProgress, vec![text("more")])).is_empty(), "too soon");
        let ended = calls.change(change("t", ToolStatus::Completed, vec![text("one"), text("two")]));
        let [Happening::ToolFinished { content, is_error: false, .. }] = ended.as_slice() else { panic!("{ended:?}") };
        assert_eq!(content, "one\ntwo");
        assert!(calls.change(change("t", ToolStatus::Failed, Vec::new())).is_empty(), "it is over");
        let again = calls.begin(call("t"));
        assert!(matches!(again.as_slice(), [Happening::ToolCalled { call_id, .. }] if call_id == "m-2-t"), "{again:?}");
    }

    #[test]
    fn changes_of_files_are_told_from_the_root_and_large_ones_in_words() {
        let diff = |path: &str, new_text: String| ToolContent::Diff {
            path: path.to_owned(),
            old_text: Some("a\n".to_owned()),
            new_text,
        };
        let mut calls = Calls::new("m".to_owned());
        let large = "x".repeat(FILE_BYTES_MAX + 1);
        let all = vec![diff("/workspace/src/a.rs", "b\n".to_owned()), diff("/workspace/big", large)];
        let told = calls.change(change("t", ToolStatus::Completed, all));
        let [Happening::ToolCalled { .. }, Happening::ToolFinished { content, diffs, .. }] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(
            diffs.as_slice(),
            [FileDiff { path: "src/a.rs".into(), old: Some("a\n".into()), new: "b\n".into() }]
        );
        assert!(content.contains("1 changes of files are too large"), "{content}");
    }

    #[test]
    fn a_question_shows_what_will_happen() {
        let mut calls = Calls::new("m".to_owned());
        calls.begin(call("t"));
        let (told, asked) = calls.asked(ToolCallChange { id: "t".to_owned(), ..ToolCallChange::default() });
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(
            (asked.kind.as_str(), asked.detail.as_str(), asked.title.as_str()),
            ("execute", "make all", "Run it")
        );
        let content = ToolContent::Diff { path: "/workspace/a".to_owned(), old_text: None, new_text: "b\n".to_owned() };
        let unheard = ToolCallChange {
            id: "u".to_owned(),
            kind: Some(ToolKind::Edit),
            content: Some(vec![content]),
            ..ToolCallChange::default()
        };
        let (told, asked) = calls.asked(unheard);
        assert!(matches!(told.as_slice(), [Happening::ToolCalled { call_id, .. }] if *call_id == asked.call_id));
        assert!(asked.detail.contains("+b"), "{}", asked.detail);
        let left = calls.settle("over");
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn an_agent_with_calls_without_end_is_bounded() {
        let mut calls = Calls::new("m".to_owned());
        for number in 0..CALLS_MAX * 2 {
            calls.begin(call(&number.to_string()));
        }
        assert_eq!((calls.known.len(), calls.order.len()), (CALLS_MAX, CALLS_MAX));
    }
}
