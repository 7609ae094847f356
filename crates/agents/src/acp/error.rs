//! How a conversation with an agent goes wrong, in sentences.

use std::time::Duration;

/// Longest sentence of an agent's that is repeated, in characters.
const SENTENCE_CHARS_MAX: usize = 2000;

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The agent's output ended.
    #[error("the agent has ended or closed its output")]
    Closed,
    /// A message was longer than any may be.
    #[error("the agent sent a message of more than {bytes_max} bytes")]
    FrameTooLarge {
        /// How long one may be.
        bytes_max: usize,
    },
    /// What it sends is mostly no protocol.
    #[error("the agent sent {lines} lines that are no messages of the protocol; the last: {last}")]
    Garbage {
        /// How many.
        lines: u64,
        /// What was wrong with the last.
        last: String,
    },
    /// It does not read what it is sent.
    #[error("the agent has read nothing for {} s", .0.as_secs())]
    NotReading(Duration),
    /// A stream broke.
    #[error("the connection to the agent broke: {0}")]
    Broken(String),
    /// This side is through.
    #[error("the connection to the agent was given up")]
    GivenUp,
}

/// Why something asked of an agent was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AcpError {
    /// The connection is over, or ended while the answer was waited for.
    #[error("{why}; start the agent again")]
    Ended {
        /// Why.
        why: End,
    },
    /// No answer came in time.
    #[error("the agent did not answer `{method}` within {} s; cancel the turn, or start the agent again", .after.as_secs())]
    TimedOut {
        /// What was asked.
        method: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The agent wants somebody to sign in first.
    #[error("the agent wants its user to be signed in: {message}; give it a key, or call one of its ways to sign in")]
    SignInNeeded {
        /// In its words.
        message: String,
    },
    /// The agent refused.
    #[error("the agent refused `{method}` with error {code}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its code.
        code: i64,
        /// In its words, shortened.
        message: String,
        /// What came with it.
        data: Option<serde_json::Value>,
    },
    /// Its answer makes no sense.
    #[error("what the agent answered to `{method}` cannot be used: {reason}")]
    Malformed {
        /// What was asked.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It speaks another version of the protocol.
    #[error(
        "the agent speaks version {offered} of the protocol, and this needs version 1; install another version of it"
    )]
    WrongVersion {
        /// Which.
        offered: u16,
    },
    /// The agent cannot do that.
    #[error("this agent cannot do that: {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// What should be sent is longer than any message may be.
    #[error("what `{method}` would send has {bytes} bytes, and a message has at most {bytes_max}; send less")]
    TooLarge {
        /// What was to be sent.
        method: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The setting would let the agent act without asking.
    #[error(transparent)]
    Unsafe(#[from] crate::profiles::UnsafeSetting),
}

/// Why a request of the agent's is not served. Each has the code that agents know it by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// What it asks makes no sense.
    #[error("{0}")]
    BadParameters(String),
    /// The path leads out of the session's directory.
    #[error("{0}")]
    Outside(String),
    /// Reading, writing or running failed.
    #[error("{0}")]
    Failed(String),
    /// This is not served here.
    #[error("{0}")]
    NotServed(String),
}

impl PeerError {
    /// The code of JSON-RPC.
    pub fn code(&self) -> i64 {
        match self {
            Self::BadParameters(_) => -32602,
            Self::Outside(_) => -32001,
            Self::Failed(_) => -32002,
            Self::NotServed(_) => -32601,
        }
    }
}

/// An agent's words, fit to be shown: shortened, without control characters.
pub(super) fn sentence(text: &str) -> String {
    text.chars().take(SENTENCE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
