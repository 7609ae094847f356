//! What the runtime and a supervisor say to each other.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest order, in bytes: as much as the kernel takes for arguments and environment.
pub(crate) const ORDER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long programs may take to end when they are asked to, in milliseconds.
pub(crate) const GRACE_MS: u64 = 500;
/// How long programs may take that are asked patiently, in milliseconds.
pub(crate) const PATIENCE_MS: u64 = 2000;

/// Whether the program gets the terminal on its standard streams as controlling terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControllingTerminal {
    /// A terminal's shell.
    Yes,
    /// A program with pipes.
    No,
}

/// What to run. File handles travel beside it: the directory to start in, then the terminal, or the three streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// Its whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Whether it gets a controlling terminal.
    pub(crate) terminal: ControllingTerminal,
}

impl Order {
    /// Where a program lies: the name itself when it holds a `/`, else the first of the `PATH` of the environment.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
        find_program(program, path)
    }
}

/// Where a program lies on a search path.
pub(crate) fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    if program.is_empty() {
        return None;
    }
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(program))
        .find(|candidate| runs(candidate))
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The file handles of an order.
pub(super) struct Streams {
    pub(super) directory: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Streams {
    pub(super) fn from_handles(terminal: ControllingTerminal, handles: Vec<OwnedFd>) -> Option<Self> {
        let mut handles = handles.into_iter();
        let (directory, stdin) = (handles.next()?, handles.next()?);
        let (stdout, stderr) = match terminal {
            ControllingTerminal::Yes => (stdin.try_clone().ok()?, stdin.try_clone().ok()?),
            ControllingTerminal::No => (handles.next()?, handles.next()?),
        };
        Some(Self { directory, stdin, stdout, stderr })
    }
}

/// What a supervisor reports, one JSON document a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The program runs.
    Started {
        /// Its process.
        pid: i32,
    },
    /// It could not be started. Nothing follows.
    Failed(Failure),
    /// The program ended; what it started may still run.
    Exited {
        /// Its exit code.
        code: Option<i32>,
        /// The number of the signal that ended it.
        signal: Option<i32>,
    },
    /// Nothing of it is left. Nothing follows.
    Ended(Ended),
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// In the kernel's words.
    pub(crate) message: String,
}

impl Failure {
    pub(super) fn new(error: &io::Error) -> Self {
        Self { message: error.to_string() }
    }
}

/// What a program and all it started used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Processor time, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// The most memory that the largest process had, in bytes.
    pub(crate) max_rss_bytes: u64,
}

/// How a tree is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `SIGTERM`, then after a grace period `SIGKILL`.
    Ask,
    /// The same with a longer grace period, for programs that have something to write down.
    AskPatiently,
    /// `SIGHUP` and `SIGCONT`, as when a terminal is closed, then after a grace period `SIGKILL`.
    HangUp,
    /// `SIGKILL`.
    Kill,
}

impl Stop {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Ask => b'T',
            Self::AskPatiently => b'P',
            Self::HangUp => b'H',
            Self::Kill => b'K',
        }
    }

    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            b'T' => Self::Ask,
            b'P' => Self::AskPatiently,
            b'H' => Self::HangUp,
            _ => Self::Kill,
        }
    }
}
