//! What is asked for, and how far it has come.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much harm a tool could do. Policy rules are written in these three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionClass {
    /// Looks and changes nothing.
    Read,
    /// Changes something that can be changed back or does no lasting harm.
    Write,
    /// Ends, removes or loses something.
    Destructive,
}

impl ActionClass {
    /// All classes, mildest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Destructive];

    /// The word of policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }

    /// Whether the class may change the world.
    pub fn mutates(self) -> bool {
        self != Self::Read
    }
}

impl fmt::Display for ActionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no action class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action class: use read, write or destructive")]
pub struct UnknownClass(pub String);

impl FromStr for ActionClass {
    type Err = UnknownClass;
    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| UnknownClass(text.to_owned()))
    }
}

/// By which way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person or program called one tool by name.
    DirectTool,
    /// An agent called it while answering.
    Agent,
    /// The platform itself (routing, monitors, schedules).
    Gateway,
}

/// How far one action has come. A closed set; each transition is one transaction that names the state it expects.
///
/// ```text
/// awaiting_approval ─▶ approved ─▶ running ─▶ succeeded | failed | unknown
///        └────────────▶ denied | cancelled | expired | stale
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// People have been asked.
    AwaitingApproval,
    /// Enough people said yes; it has not begun.
    Approved,
    /// The intent is durable and the tool may be touching the world.
    Running,
    /// The tool reported success.
    Succeeded,
    /// The tool reported failure.
    Failed,
    /// It began and nobody knows how it ended. It is never repeated by itself.
    Unknown,
    /// Someone said no.
    Denied,
    /// Taken back before it began.
    Cancelled,
    /// Nobody answered in time.
    Expired,
    /// Something that the approval was bound to has changed since.
    Stale,
}

impl ActionState {
    /// The word of the API and of the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }

    /// The state that a word of the database names.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::AwaitingApproval,
            Self::Approved,
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Unknown,
            Self::Denied,
            Self::Cancelled,
            Self::Expired,
            Self::Stale,
        ]
        .into_iter()
        .find(|s| s.as_str() == text)
    }

    /// Whether nothing will change it any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::AwaitingApproval | Self::Approved | Self::Running)
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
