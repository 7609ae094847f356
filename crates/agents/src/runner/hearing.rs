//! What an agent tells and asks for, handed to the session: our side of the protocol.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use reeve_platform::sessions::{Choice as Decided, ExternalPeer};
use reeve_types::WorkspacePath;
use reeve_types::session::{Happening, PlanEntry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, without_secrets};
use super::dials::Dials;
use super::spending::Spending;
use super::terminals::Terminals;
use super::words::{cut, plain};
use crate::acp::{
    Answered, Choice, ConfigOption, ConfigValue, ContentBlock, CreateTerminal, NewSession, Peer, PeerError,
    PermissionRequest, PlanPriority, PlanStatus, ProtocolWarning, ReadTextFile, TerminalExit, TerminalOutput,
    TerminalRef, Update, WriteTextFile,
};
use crate::profiles;

/// Most steps of a plan, and most commands, that are told.
const LIST_MAX: usize = 100;
/// Longest piece of words that is told at once, in characters.
const WORDS_CHARS_MAX: usize = 200_000;
/// Most words of one turn, in bytes. What comes after is left out.
const WORDS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most other things that are told in one turn.
const EVENTS_MAX: usize = 20_000;
/// Different complaints of one agent that are told.
const COMPLAINTS_MAX: u8 = 20;

/// Our side of one agent's conversation.
pub(super) struct Hearing {
    session: Arc<dyn ExternalPeer>,
    cwd: WorkspacePath,
    calls: Mutex<Calls>,
    terminals: Terminals,
    /// The agent's own id of the session, once it is known.
    session_id: OnceLock<String>,
    /// What was said before is being told again.
    replaying: AtomicBool,
    /// What was told in this turn: bytes of words, and other things.
    told_bytes: AtomicUsize,
    told_events: AtomicUsize,
    complaints: AtomicU8,
    complained: Mutex<HashSet<String>>,
    /// What of the agent can be set.
    dials: Mutex<Dials>,
    /// What it uses.
    pub(super) spending: Arc<Spending>,
    /// The agent went into a mode in which it asks nobody.
    pub(super) unsafe_mode: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path of the agent's, if it is one of the workspace.
pub(super) fn inside(path: &str) -> Result<WorkspacePath, PeerError> {
    let outside = || PeerError::Outside(format!("`{}` is outside of /workspace", cut(&plain(path), 200)));
    if path != "/workspace" && !path.starts_with("/workspace/") {
        return Err(outside());
    }
    path.parse::<WorkspacePath>().map_err(|_| outside())
}

impl Hearing {
    pub(super) fn new(session: Arc<dyn ExternalPeer>, cwd: WorkspacePath, spending: Arc<Spending>) -> Self {
        Self {
            session,
            cwd,
            calls: Mutex::new(Calls::new(hex::encode(rand::random::<[u8; 3]>()))),
            terminals: Terminals::default(),
            session_id: OnceLock::new(),
            replaying: AtomicBool::new(false),
            told_bytes: AtomicUsize::new(0),
            told_events: AtomicUsize::new(0),
            complaints: AtomicU8::new(0),
            complained: Mutex::default(),
            dials: Mutex::default(),
            spending,
            unsafe_mode: CancellationToken::new(),
        }
    }

    /// Whether what comes now was said before and is not told.
    pub(super) fn replay(&self, replaying: bool) {
        self.replaying.store(replaying, Ordering::SeqCst);
    }

    /// Which of the agent's sessions is this one, and what of it can be set.
    pub(super) fn is_session(&self, session: &NewSession) {
        let _first = self.session_id.set(session.session_id.clone());
        *self.dials() = Dials::of(session);
    }

    /// What of the agent can be set.
    pub(super) fn dials(&self) -> MutexGuard<'_, Dials> {
        lock(&self.dials)
    }

    /// A turn is over, or the agent is gone: nothing it had begun goes on.
    pub(super) async fn settle(&self, reason: &str) {
        let left = lock(&self.calls).settle(reason);
        self.told_bytes.store(0, Ordering::Relaxed);
        self.told_events.store(0, Ordering::Relaxed);
        self.all(left).await;
        self.terminals.release_all();
    }

    /// Tells people something that they should know.
    pub(super) async fn warn(&self, message: &str) {
        let message = cut(&without_secrets(&plain(message)), 2000);
        self.session.happened(Happening::Warning { message }).await;
    }

    /// The same, once for each thing to be told, and not for ever.
    pub(super) async fn complain(&self, about: &str, message: &str) {
        let is_first = {
            let mut complained = lock(&self.complained);
            complained.len() < usize::from(COMPLAINTS_MAX) && complained.insert(cut(about, 100))
        };
        if is_first {
            self.warn(message).await;
        }
    }

    async fn all(&self, happened: Vec<Happening>) {
        for what in happened {
            self.tell(what).await;
        }
    }

    /// Tells what happened, unless there is no end to it.
    pub(super) async fn tell(&self, what: Happening) {
        if self.told_events.fetch_add(1, Ordering::Relaxed) < EVENTS_MAX {
            self.session.happened(what).await;
        } else {
            let said = format!("the agent tells of more than {EVENTS_MAX} things in one turn; the rest is left out");
            self.complain("too many events", &said).await;
        }
    }

    /// Words, unless there is no end to them.
    async fn words(&self, content: &ContentBlock) -> Option<String> {
        let words = words(content);
        if self.told_bytes.fetch_add(words.len(), Ordering::Relaxed) < WORDS_BYTES_MAX {
            return Some(words);
        }
        let said = format!("the agent says more than {} MiB in one turn; the rest is left out", WORDS_BYTES_MAX >> 20);
        self.complain("too many words", &said).await;
        None
    }

    async fn mode(&self, mode: &str) {
        if let Err(refused) = profiles::check_mode(mode) {
            self.warn(&format!("the turn is cancelled: {refused}")).await;
            self.unsafe_mode.cancel();
            return;
        }
        if self.dials().hear_mode(mode) {
            self.tell(Happening::Mode { mode: cut(&plain(mode), 100) }).await;
        }
    }

    /// The agent's settings are these.
    pub(super) async fn settings(&self, options: Vec<ConfigOption>) {
        for option in options.iter().filter(|option| option.category.as_deref() == Some("mode")) {
            if let ConfigValue::Select { current, .. } = &option.value
                && profiles::check_mode(current).is_err()
            {
                self.mode(current).await;
            }
        }
        let news = {
            let mut dials = self.dials();
            dials.hear_options(options).then(|| dials.models()).flatten()
        };
        if let Some((model, offered)) = news {
            self.tell(Happening::Model { model, offered }).await;
        }
    }

    async fn told(&self, update: Update) {
        match update {
            Update::AgentMessage { content, .. } => {
                if let Some(words) = self.words(&content).await {
                    self.session.said(words).await;
                }
            }
            Update::AgentThought { content, .. } => {
                if let Some(words) = self.words(&content).await {
                    self.session.thought(words).await;
                }
            }
            Update::ToolCall(call) => {
                let happened = lock(&self.calls).begin(call);
                self.all(happened).await;
            }
            Update::ToolCallUpdate(change) => {
                let happened = lock(&self.calls).change(change);
                self.all(happened).await;
            }
            Update::Plan { entries, .. } => {
                let entries = entries.into_iter().take(LIST_MAX).map(step).collect();
                self.tell(Happening::Plan { turn: 0, entries }).await;
            }
            Update::PlanText { markdown: Some(text), .. } => {
                let text = cut(&without_secrets(&text), 4000);
                let entry = PlanEntry { content: text, priority: "medium".into(), status: "pending".into() };
                self.tell(Happening::Plan { turn: 0, entries: vec![entry] }).await;
            }
            Update::Commands { commands } => {
                let short = |text: &str, most| cut(&plain(text), most);
                let commands = commands.iter().take(LIST_MAX);
                let commands = commands.map(|one| (short(&one.name, 100), short(&one.description, 300))).collect();
                self.tell(Happening::Commands { commands }).await;
            }
            Update::Mode { id } => self.mode(&id).await,
            Update::ConfigOptions { options } => self.settings(options).await,
            Update::Usage { cost: Some(cost), .. } => self.spending.costs(&cost),
            Update::Notice { title, description, .. } => {
                let said = match description {
                    Some(description) => format!("the agent says: {title}: {description}"),
                    None => format!("the agent says: {title}"),
                };
                self.complain(&said, &said).await;
            }
            Update::Compaction { status, error, .. } if status != "in_progress" => {
                let said = match error {
                    None => "the agent has shortened what it remembers of this session".to_owned(),
                    Some(error) => format!("the agent could not shorten what it remembers: {error}"),
                };
                self.tell(Happening::Warning { message: cut(&without_secrets(&plain(&said)), 2000) }).await;
            }
            Update::Unsupported { kind } => {
                let said = format!("the agent told `{kind}`, which Reeve does not know; nothing is shown of it");
                self.complain(&format!("unsupported {kind}"), &said).await;
            }
            Update::Malformed { kind, reason } => {
                let kind = kind.unwrap_or_else(|| "something".to_owned());
                let said = format!("the agent told `{kind}` in a way that cannot be read: {reason}");
                self.complain(&format!("malformed {kind}"), &said).await;
            }
            // Nothing that a session tells.
            Update::UserMessage { .. }
            | Update::PlanText { markdown: None, .. }
            | Update::PlanRemoved { .. }
            | Update::SessionInfo { .. }
            | Update::Usage { cost: None, .. }
            | Update::Compaction { .. }
            | Update::CompactionSummary { .. } => {}
        }
    }
}

fn words(content: &ContentBlock) -> String {
    match content {
        ContentBlock::Text { text } => without_secrets(&cut(text, WORDS_CHARS_MAX)),
        ContentBlock::Link { uri, name, .. } => without_secrets(&format!("[{}]({})", cut(name, 200), cut(uri, 1000))),
        ContentBlock::Document { text, .. } => without_secrets(&cut(text, WORDS_CHARS_MAX)),
        ContentBlock::Image { .. } => "[a picture]".to_owned(),
        ContentBlock::Audio { .. } => "[a sound]".to_owned(),
        ContentBlock::Blob { .. } | ContentBlock::Unknown => "[something that is no text]".to_owned(),
    }
}

fn step(entry: crate::acp::PlanEntry) -> PlanEntry {
    let priority = match entry.priority {
        PlanPriority::High => "high",
        PlanPriority::Medium => "medium",
        PlanPriority::Low => "low",
    };
    let status = match entry.status {
        PlanStatus::Pending => "pending",
        PlanStatus::InProgress => "in_progress",
        PlanStatus::Completed => "completed",
    };
    let content = cut(&without_secrets(&entry.content), 1000);
    PlanEntry { content, priority: priority.to_owned(), status: status.to_owned() }
}

/// Lines of a text, counted from 1.
fn lines(text: String, line: Option<u32>, limit: Option<u32>) -> String {
    if line.is_none() && limit.is_none() {
        return text;
    }
    let skipped = line.map_or(0, |line| usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX));
    let most = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    text.split_inclusive('\n').skip(skipped).take(most).collect()
}

impl Peer for Hearing {
    fn update<'a>(&'a self, session_id: &'a str, update: Update, _raw: Value) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let of_another = self.session_id.get().is_some_and(|own| own != session_id && !session_id.is_empty());
            let stands =
                matches!(&update, Update::Mode { .. } | Update::ConfigOptions { .. } | Update::Commands { .. });
            if of_another || (self.replaying.load(Ordering::SeqCst) && !stands) {
                return;
            }
            self.told(update).await;
        })
    }

    fn request_permission(&self, request: PermissionRequest) -> BoxFuture<'_, Choice> {
        Box::pin(async move {
            let (happened, asked) = lock(&self.calls).asked(request.tool_call);
            self.all(happened).await;
            match self.session.permission(asked).await {
                Decided::Allow => Choice::AllowOnce,
                Decided::Reject => Choice::RejectOnce,
                Decided::Cancelled => Choice::Cancelled,
            }
        })
    }

    fn read_text_file(&self, request: ReadTextFile) -> Answered<'_, String> {
        Box::pin(async move {
            inside(&request.path)?;
            let text = self.session.read_file(request.path).await.map_err(PeerError::Failed)?;
            Ok(lines(text, request.line, request.limit))
        })
    }

    fn write_text_file(&self, request: WriteTextFile) -> Answered<'_, ()> {
        Box::pin(async move {
            inside(&request.path)?.below_root().map_err(|problem| PeerError::BadParameters(problem.to_string()))?;
            self.session.write_file(request.path, request.content).await.map_err(PeerError::Failed)
        })
    }

    fn terminal_create(&self, request: CreateTerminal) -> Answered<'_, String> {
        Box::pin(async move { self.terminals.create(request, &self.cwd, &self.session) })
    }

    fn terminal_output(&self, terminal: TerminalRef) -> Answered<'_, TerminalOutput> {
        Box::pin(async move { self.terminals.output(&terminal) })
    }

    fn terminal_wait_for_exit(&self, terminal: TerminalRef) -> Answered<'_, TerminalExit> {
        Box::pin(async move { self.terminals.wait(&terminal).await })
    }

    fn terminal_kill(&self, terminal: TerminalRef) -> Answered<'_, ()> {
        Box::pin(async move { self.terminals.kill(&terminal) })
    }

    fn terminal_release(&self, terminal: TerminalRef) -> Answered<'_, ()> {
        Box::pin(async move { self.terminals.release(&terminal) })
    }

    fn protocol_warning(&self, warning: ProtocolWarning) {
        if self.complaints.fetch_add(1, Ordering::Relaxed) >= COMPLAINTS_MAX {
            return;
        }
        let session = Arc::clone(&self.session);
        let message = cut(&without_secrets(&plain(&warning.to_string())), 2000);
        tokio::spawn(async move { session.happened(Happening::Warning { message }).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::runner::notebook::{self, Notebook};

    fn message(text: &str) -> Update {
        Update::AgentMessage { content: ContentBlock::text(text), message_id: None }
    }

    #[tokio::test]
    async fn an_agent_without_end_is_heard_up_to_a_bound_and_again_in_the_next_turn() {
        let notebook = Arc::new(Notebook::default());
        let hearing = notebook.hearing();
        let piece = "word ".repeat(20_000);
        for _ in 0..200 {
            hearing.update("s", message(&piece), Value::Null).await;
        }
        for _ in 0..EVENTS_MAX + 10 {
            hearing.update("s", Update::Plan { id: None, entries: Vec::new() }, Value::Null).await;
        }
        assert!(*lock(&notebook.said) <= WORDS_BYTES_MAX + piece.len());
        let told = lock(&notebook.happened).len();
        assert_eq!(told, EVENTS_MAX + 2, "the plans, and a warning about each flood");
        hearing.settle("over").await;
        let before = *lock(&notebook.said);
        hearing.update("s", message("again"), Value::Null).await;
        assert_eq!(*lock(&notebook.said), before + 5);
    }

    #[tokio::test]
    async fn what_is_told_again_or_of_another_session_is_not_told_on() {
        let notebook = Arc::new(Notebook::default());
        let hearing = notebook.hearing();
        hearing.is_session(&notebook::session(json!({})));
        hearing.replay(true);
        hearing.update("s", message("old"), Value::Null).await;
        hearing.replay(false);
        hearing.update("t", message("another's"), Value::Null).await;
        assert_eq!(*lock(&notebook.said), 0);
        hearing.update("s", Update::Mode { id: "bypassPermissions".to_owned() }, Value::Null).await;
        assert!(hearing.unsafe_mode.is_cancelled());
        assert!(matches!(lock(&notebook.happened).as_slice(), [Happening::Warning { .. }]));
    }

    #[test]
    fn paths_outside_of_the_workspace_are_no_paths_of_it() {
        for path in
            ["/etc/passwd", "/workspacefoo/a", "/workspace/../etc/passwd", "relative", "/", "/workspace/a/../../b"]
        {
            assert!(matches!(inside(path), Err(PeerError::Outside(_))), "{path}");
        }
        for path in ["/workspace", "/workspace/", "/workspace/a/b"] {
            inside(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }

    #[test]
    fn a_part_of_a_file_is_counted_in_lines_from_one() {
        let text = || "a\nb\nc".to_owned();
        assert_eq!(lines(text(), None, None), "a\nb\nc");
        assert_eq!(lines(text(), Some(2), Some(1)), "b\n");
        assert_eq!(lines(text(), Some(3), None), "c");
        assert_eq!(lines(text(), Some(0), Some(1)), "a\n");
        assert_eq!(lines(text(), Some(9), None), "");
    }
}
