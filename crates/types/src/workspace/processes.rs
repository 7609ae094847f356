//! Programs, terminals and ports of a workspace: what is asked of them and what is answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::WorkspacePath;
use crate::{ExecutionId, SessionId, TerminalId};

/// How long a program may run unless told otherwise, in milliseconds.
pub const EXECUTION_TIMEOUT_MS: u64 = 30_000;
/// How long any program may be allowed to run, in milliseconds; an installation's settings say less.
pub const EXECUTION_TIMEOUT_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long a program may be allowed to run whose answer somebody awaits whole, in milliseconds.
pub const EXECUTION_WHOLE_TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;
/// How much of each stream is kept in a whole answer, in bytes: head and tail, the middle left out.
pub const EXECUTION_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Longest argument, in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// How much of what a program with pipes writes to standard error is kept from the end, in bytes.
pub const PIPE_ERRORS_BYTES: usize = 64 * 1024;
/// How much may be on its way to the standard input of a program with pipes, in bytes.
pub const PIPE_WINDOW_BYTES: u32 = 256 * 1024;
/// How many terminals a workspace may have.
pub const TERMINALS_MAX: usize = 8;
/// How many of them one session's agent may have open: people have room, too.
pub const TERMINALS_OF_SESSION_MAX: usize = 4;
/// Most that is typed into a terminal by one act, in bytes.
pub const TYPED_BYTES_MAX: usize = 16 * 1024;
/// How much output a terminal remembers for whoever attaches again, in bytes.
pub const TERMINAL_HISTORY_BYTES: usize = 1024 * 1024;

/// A program to run: its arguments, or a file that the extension names a program for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExecRequest {
    /// The program and its arguments. No shell reads them; who wants one says `["bash", "-c", "…"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// Instead of `argv`: a file to run as its extension says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Object>))]
    pub file: Option<WorkspacePath>,
    /// With `file`: arguments for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// With `file`: the language, if not the one of its extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Where it starts; `/workspace` unless told otherwise.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub cwd: WorkspacePath,
    /// Added to the workspace's environment.
    pub env: std::collections::BTreeMap<String, String>,
    /// What it reads from standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// How long it may run, in milliseconds; 30,000 unless told otherwise. The installation's rules say how long at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Which step of a run something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ExecPhase {
    /// The compiler.
    Compile,
    /// The program.
    Run,
}

/// What a run tells, in order: `start`, any `output`, and `exit` last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ExecEvent {
    /// A step begins.
    Start {
        /// The run.
        id: ExecutionId,
        /// Which step.
        phase: ExecPhase,
        /// What is run.
        argv: Vec<String>,
    },
    /// Bytes that were written.
    Output {
        /// Where.
        stream: OutputStream,
        /// The bytes, base64 on the wire.
        #[serde(with = "base64_bytes")]
        data: Vec<u8>,
    },
    /// The run has ended.
    Exit(ExecOutcome),
}

/// Where a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExecOutcome {
    /// The exit code; 124 after a time-out, 128 plus the signal's number when a signal ended it, 127 when it could not be
    /// started.
    pub exit_code: i32,
    /// The signal that ended it: `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The step that ended it: a failing compiler is no failing program.
    pub phase: ExecPhase,
    /// Whether time ran out.
    #[serde(default)]
    pub timed_out: bool,
    /// Whether somebody cancelled it.
    #[serde(default)]
    pub cancelled: bool,
    /// Whether memory ran out.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Whether output was left out.
    #[serde(default)]
    pub truncated: bool,
    /// From start to end, in milliseconds.
    pub duration_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that its largest process had, in bytes.
    pub max_rss_bytes: u64,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExecResult {
    /// The run.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: ExecutionId,
    /// What was run, the last step.
    pub argv: Vec<String>,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error; bytes that are no UTF-8 are replaced.
    pub stderr: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: ExecOutcome,
}

/// A language that files can be run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Language {
    /// `python`, `node`, `rust`.
    pub id: String,
    /// The extensions, without the dot.
    pub extensions: Vec<String>,
    /// The programs it takes, all of which must be there.
    pub programs: Vec<String>,
    /// Whether this workspace has them.
    pub available: bool,
}

/// A program to talk with over its standard input and output, as long as the connection to it lasts.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenPipe {
    /// The program and its arguments. No shell reads them.
    pub argv: Vec<String>,
    /// Where it starts; `/workspace` unless told otherwise.
    pub cwd: WorkspacePath,
    /// Added to the workspace's environment. Values may be secrets.
    pub env: std::collections::BTreeMap<String, String>,
}

impl std::fmt::Debug for OpenPipe {
    /// Without the values of its environment.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("OpenPipe").field("argv", &self.argv).field("cwd", &self.cwd).field("env", &names).finish()
    }
}

/// What the runtime says of a program with pipes, besides what the program writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PipeWord {
    /// It runs.
    Started,
    /// It is not started. Nothing follows.
    Refused {
        /// Why.
        error: crate::WorkspaceError,
    },
    /// It has read so many more bytes: how whoever writes knows not to run ahead.
    Taken {
        /// Bytes.
        bytes: u32,
    },
    /// So many bytes of its standard error were left out here, since they came faster than they were read.
    ErrorsLost {
        /// Bytes.
        bytes: u64,
    },
    /// It has ended, with all that it started. Nothing follows.
    Exit(PipeExit),
}

/// How a program with pipes ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeExit {
    /// The exit code; 128 plus the signal's number when a signal ended it.
    pub exit_code: i32,
    /// The signal that ended it: `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// From start to end, in milliseconds.
    pub duration_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that its largest process had, in bytes.
    pub max_rss_bytes: u64,
}

/// A terminal to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenTerminal {
    /// Columns, 2 to 500.
    pub cols: u16,
    /// Rows, 1 to 300.
    pub rows: u16,
    /// The program; the workspace's shell, as a login shell, when empty.
    pub argv: Vec<String>,
    /// Where it starts.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub cwd: WorkspacePath,
    /// The session that it is for: its agent may use the terminal, and it is closed when the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub session: Option<SessionId>,
}

impl Default for OpenTerminal {
    fn default() -> Self {
        Self { cols: 80, rows: 24, argv: Vec::new(), cwd: WorkspacePath::root(), session: None }
    }
}

/// A terminal of a workspace. It lives until its program ends, whoever looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Terminal {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: TerminalId,
    /// The program in front, for the tab.
    pub title: String,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// How many look at it now.
    pub attached: u32,
    /// When it was opened.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub opened_at: Timestamp,
    /// The session that it is for, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub session: Option<SessionId>,
}

/// What was typed into a terminal by one act has been taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// Into which.
    pub terminal_id: TerminalId,
    /// Where the terminal's output was then: whatever it answers comes after.
    pub at: u64,
}

/// What a client says to a terminal besides keystrokes; text frames of the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalInput {
    /// The window has another size.
    Resize {
        /// Columns, 2 to 500.
        cols: u16,
        /// Rows, 1 to 300.
        rows: u16,
    },
    /// A signal for the program in front: `SIGINT`, `SIGTERM`, `SIGKILL`, `SIGQUIT`, `SIGHUP`.
    Signal {
        /// Its name.
        name: String,
    },
    /// This many more bytes of output were shown: how the server knows not to run ahead.
    Ack {
        /// Bytes.
        bytes: u64,
    },
    /// Are you there?
    Ping {
        /// Comes back as it is.
        #[serde(default)]
        t: u64,
    },
}

/// What a terminal says besides output; text frames of the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalOutput {
    /// The first frame; what the terminal remembers follows as output.
    Ready {
        /// Which terminal.
        terminal_id: TerminalId,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// Whether it was there before this client.
        resumed: bool,
        /// How many bytes of what follows are what it remembers; the rest is new.
        #[serde(default)]
        remembered: u64,
        /// Where what follows begins, in bytes since the terminal was opened.
        #[serde(default)]
        at: u64,
        /// The session that it is for, if it is one's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    /// The program has ended.
    Exit {
        /// Its exit code, 128 plus the signal's number when a signal ended it.
        code: i32,
    },
    /// Something is wrong.
    Error {
        /// The code that clients compare.
        code: String,
        /// In words.
        message: String,
    },
    /// I am here.
    Pong {
        /// What the ping brought.
        #[serde(default)]
        t: u64,
    },
}

/// A port on which a program of the workspace listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListeningPort {
    /// Its number.
    pub port: u16,
    /// The address it is bound to, inside the workspace.
    pub address: String,
    /// The program, when it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Its process inside the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

mod base64_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::workspace::files::base64(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::workspace::files::from_base64(&text).ok_or_else(|| serde::de::Error::custom("not base64"))
    }
}
