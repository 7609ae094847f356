//! Our side of the conversation: what an agent may ask for, and who answers.

use agent_client_protocol_schema::v1 as wire;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::{PeerError, ToolCallChange, Update};

/// What a peer answers.
pub type Answered<'a, T> = BoxFuture<'a, Result<T, PeerError>>;

/// Whoever answers an agent. Updates come one after another, and what follows waits for them; requests come at once, each
/// in a task of its own. A future that is dropped was withdrawn: the turn was cancelled, or the agent is gone.
pub trait Peer: Send + Sync + 'static {
    /// The agent tells something. `raw` is its own wording, with whatever secrets it holds.
    fn update<'a>(&'a self, session_id: &'a str, update: Update, raw: Value) -> BoxFuture<'a, ()>;

    /// The agent asks before it acts. Takes as long as people take.
    fn request_permission(&self, request: PermissionRequest) -> BoxFuture<'_, Choice>;

    /// The agent reads a file.
    fn read_text_file(&self, request: ReadTextFile) -> Answered<'_, String>;

    /// The agent writes a file.
    fn write_text_file(&self, request: WriteTextFile) -> Answered<'_, ()>;

    /// The agent starts a command. Answers the terminal's id.
    fn terminal_create(&self, request: CreateTerminal) -> Answered<'_, String>;

    /// What a command has written so far.
    fn terminal_output(&self, terminal: TerminalRef) -> Answered<'_, TerminalOutput>;

    /// Waits for a command's end.
    fn terminal_wait_for_exit(&self, terminal: TerminalRef) -> Answered<'_, TerminalExit>;

    /// Ends a command; its output can still be asked for.
    fn terminal_kill(&self, terminal: TerminalRef) -> Answered<'_, ()>;

    /// Ends a command and forgets it.
    fn terminal_release(&self, terminal: TerminalRef) -> Answered<'_, ()>;

    /// The agent does not keep to the protocol. Told once of each kind; [`super::Connection::counts`] has the numbers.
    fn protocol_warning(&self, warning: ProtocolWarning);
}

/// A question before an act.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionRequest {
    /// Which session.
    pub session_id: String,
    /// What is to be done.
    pub tool_call: ToolCallChange,
    /// What can be answered.
    pub options: Vec<PermissionOption>,
    /// The question in the agent's own wording, with whatever secrets it holds.
    pub raw: Value,
}

/// One possible answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PermissionOption {
    /// What the agent calls it.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it means.
    pub kind: PermissionKind,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// Yes, this time.
    AllowOnce,
    /// Yes, and do not ask again.
    AllowAlways,
    /// No, this time.
    RejectOnce,
    /// No, and do not ask again.
    RejectAlways,
    /// Something that is not known here, and never chosen.
    Unknown,
}

/// What is decided, whatever the agent calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Yes, this time.
    AllowOnce,
    /// Yes, and it need not ask again; yes this time, when it does not offer that.
    AllowAlways,
    /// No, this time.
    RejectOnce,
    /// No, and it need not ask again; no this time, when it does not offer that.
    RejectAlways,
    /// Nobody decides any more.
    Cancelled,
}

/// What the agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionOutcome {
    /// One of the options that it offered.
    Selected(String),
    /// The question is void.
    Cancelled,
}

impl Choice {
    /// The offered option that says this. A yes never becomes a wider yes, and an id is never made up: when nothing fits,
    /// the question is void.
    pub fn among(self, options: &[PermissionOption]) -> PermissionOutcome {
        let wanted: &[PermissionKind] = match self {
            Self::AllowOnce => &[PermissionKind::AllowOnce],
            Self::AllowAlways => &[PermissionKind::AllowAlways, PermissionKind::AllowOnce],
            Self::RejectOnce => &[PermissionKind::RejectOnce],
            Self::RejectAlways => &[PermissionKind::RejectAlways, PermissionKind::RejectOnce],
            Self::Cancelled => &[],
        };
        let found = wanted.iter().find_map(|kind| options.iter().find(|option| option.kind == *kind));
        found.map_or(PermissionOutcome::Cancelled, |option| PermissionOutcome::Selected(option.id.clone()))
    }
}

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTextFile {
    /// Which session.
    pub session_id: String,
    /// Its absolute path, as the agent sees it.
    pub path: String,
    /// From which line on, counted from 1.
    pub line: Option<u32>,
    /// How many lines.
    pub limit: Option<u32>,
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteTextFile {
    /// Which session.
    pub session_id: String,
    /// Its absolute path, as the agent sees it.
    pub path: String,
    /// Its whole text.
    pub content: String,
}

/// A command to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTerminal {
    /// Which session.
    pub session_id: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to its environment.
    pub env: Vec<(String, String)>,
    /// Where it starts, as the agent sees it; in the session's directory when absent.
    pub cwd: Option<String>,
    /// How much of its output is kept, in bytes, from the end.
    pub output_byte_limit: Option<u64>,
}

/// A command that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalRef {
    /// Which session.
    pub session_id: String,
    /// Which terminal.
    pub terminal_id: String,
}

/// What a command has written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TerminalOutput {
    /// It.
    pub output: String,
    /// Whether the beginning is missing.
    pub truncated: bool,
    /// How it ended, when it has.
    pub exit: Option<TerminalExit>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TerminalExit {
    /// Its exit code.
    pub exit_code: Option<u32>,
    /// The signal that ended it.
    pub signal: Option<String>,
}

/// How an agent does not keep to the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolWarning {
    /// It writes something else than messages.
    #[error("the agent writes lines that are no messages of the protocol ({0}); they are skipped")]
    Garbage(String),
    /// It answers what nobody asked.
    #[error("the agent answers a request with id {0}, which nobody made; the answer is ignored")]
    UnknownAnswer(String),
    /// It answers again.
    #[error("the agent answers request {0} again; only the first answer counts")]
    RepeatedAnswer(u64),
    /// It asks for too much at once.
    #[error("the agent has as many requests open as it may, {0} or too large ones, and makes more; those are refused")]
    TooManyRequests(usize),
    /// It tells something that is not known here.
    #[error("the agent sends a notification `{0}`, which is not known here; it is ignored")]
    UnknownNotification(String),
}

impl From<wire::PermissionOption> for PermissionOption {
    fn from(option: wire::PermissionOption) -> Self {
        let kind = match option.kind {
            wire::PermissionOptionKind::AllowOnce => PermissionKind::AllowOnce,
            wire::PermissionOptionKind::AllowAlways => PermissionKind::AllowAlways,
            wire::PermissionOptionKind::RejectOnce => PermissionKind::RejectOnce,
            wire::PermissionOptionKind::RejectAlways => PermissionKind::RejectAlways,
            _ => PermissionKind::Unknown,
        };
        Self { id: option.option_id.0.to_string(), name: option.name, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_takes_an_offered_option_of_its_kind_and_never_a_wider_one() {
        use PermissionKind as K;
        let offer = |kinds: &[K]| -> Vec<PermissionOption> {
            let option = |kind: &K| PermissionOption { id: format!("{kind:?}-id"), name: String::new(), kind: *kind };
            kinds.iter().map(option).collect()
        };
        let all = [K::AllowAlways, K::AllowOnce, K::RejectAlways, K::RejectOnce];
        let table: [(Choice, &[K], Option<&str>); 10] = [
            (Choice::AllowOnce, &all, Some("AllowOnce-id")),
            (Choice::AllowAlways, &all, Some("AllowAlways-id")),
            (Choice::RejectOnce, &all, Some("RejectOnce-id")),
            (Choice::RejectAlways, &all, Some("RejectAlways-id")),
            (Choice::Cancelled, &all, None),
            (Choice::AllowAlways, &[K::AllowOnce], Some("AllowOnce-id")),
            (Choice::AllowOnce, &[K::AllowAlways], None),
            (Choice::RejectAlways, &[K::RejectOnce], Some("RejectOnce-id")),
            (Choice::RejectOnce, &[K::AllowOnce], None),
            (Choice::AllowOnce, &[K::Unknown], None),
        ];
        for (choice, kinds, expected) in table {
            let expected = expected.map_or(PermissionOutcome::Cancelled, |id| PermissionOutcome::Selected(id.into()));
            assert_eq!(choice.among(&offer(kinds)), expected, "{choice:?} of {kinds:?}");
        }
    }
}
