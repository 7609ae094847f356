//! How the program ends: the codes that scripts read, and the words that people read.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// Everything went well.
pub(crate) const DONE: u8 = 0;
/// It worked, and the answer is bad: findings, a failed tool, a broken log, failed expectations.
pub(crate) const BAD_NEWS: u8 = 1;
/// It could not be done: the server or the target cannot be reached, a file cannot be read.
pub(crate) const COULD_NOT: u8 = 2;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 3;
/// Policy said no.
pub(crate) const DENIED: u8 = 4;
/// People have been asked.
pub(crate) const AWAITING_APPROVAL: u8 = 5;

/// The codes in words, for `--help`.
pub(crate) const CODES_HELP: &str = "\
Exit codes:
  0  done
  1  done, and the answer is bad news: findings, a failed tool, a broken log
  2  could not be done: server, target or file out of reach
  3  wrong usage or configuration
  4  denied by policy
  5  waiting for an approval";

/// Why a command ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code for scripts.
    pub(crate) code: u8,
    /// What failed, on what; empty when everything has been said already.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    /// Something could not be done.
    pub(crate) fn could_not(message: impl fmt::Display) -> Self {
        Self { code: COULD_NOT, message: message.to_string(), hint: String::new() }
    }

    /// The command line or a file it names is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, ..Self::could_not(message) }
    }

    /// Nothing more to say: standard output was closed by its reader.
    pub(crate) fn closed() -> Self {
        Self { code: DONE, message: String::new(), hint: String::new() }
    }

    /// The same with a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = hint.to_string();
        self
    }

    /// The same with another code.
    #[must_use]
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The code for the system.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let many = errors.0.len() > 1;
        let message = if many { format!("the configuration is wrong:\n{errors}") } else { errors.to_string() };
        Self { code: USAGE, message, hint: String::new() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::closed();
        }
        Self::could_not(format!("cannot write the output: {error}"))
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<u8, Failure>;
