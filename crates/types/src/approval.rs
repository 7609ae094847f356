//! A durable question to people about exactly one action.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ActionClass, ActionId, ApprovalId, Digest, Principal, Purpose, Resource, TraceId};

/// How a question stands. Only `pending` may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalStatus {
    /// Nobody, or not enough people, have answered.
    Pending,
    /// Enough people said yes.
    Approved,
    /// Someone said no.
    Denied,
    /// Taken back.
    Cancelled,
    /// Nobody answered in time.
    Expired,
    /// What it was bound to has changed.
    Stale,
}

impl ApprovalStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Approved, Self::Denied, Self::Cancelled, Self::Expired, Self::Stale];

    /// The word of the API and of the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }

    /// The status that a word names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for ApprovalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VoteChoice {
    /// Yes.
    Approve,
    /// No; one is enough.
    Deny,
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who answered.
    pub by: String,
    /// The role in which they may answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Yes or no.
    pub choice: VoteChoice,
    /// In their words.
    #[serde(default)]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A question to people, bound to one act: this tool, these arguments, this resource, this policy set, this requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub approval_id: ApprovalId,
    /// The action it is about.
    pub action_id: ActionId,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// How it stands.
    pub status: ApprovalStatus,
    /// The tool that would run.
    pub tool_name: String,
    /// The agent that the tool belongs to.
    pub agent_name: String,
    /// How much harm the tool could do.
    pub action_class: ActionClass,
    /// On what.
    pub resource: Resource,
    /// The arguments, secrets masked; what a person reads before answering.
    pub arguments: serde_json::Value,
    /// Digest of tool, arguments, resource, policy set and requester: the act itself.
    pub act_digest: Digest,
    /// The policy set in force when it was asked.
    pub policy_digest: Digest,
    /// The policy that asked.
    pub policy_name: String,
    /// What that policy's author wants people to read.
    #[serde(default)]
    pub message: String,
    /// Who asked for the action.
    pub requester: Principal,
    /// Declared reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// In the requester's words.
    #[serde(default)]
    pub purpose_note: String,
    /// How many people must say yes.
    pub quorum: u32,
    /// Roles of which an approver needs one; empty means those that may approve anyway.
    #[serde(default)]
    pub approver_roles: Vec<String>,
    /// The answers so far.
    #[serde(default)]
    pub votes: Vec<Vote>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// From this moment on it can no longer be approved.
    pub expires_at: Timestamp,
    /// When an approved act must have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_valid_until: Option<Timestamp>,
    /// Who settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// In the words of whoever settled it.
    #[serde(default)]
    pub resolution_reason: String,
}

impl Approval {
    /// How it stands at a moment: a pending question past its time has expired, whether or not anyone has swept it.
    pub fn status_at(&self, now: Timestamp) -> ApprovalStatus {
        if self.status == ApprovalStatus::Pending && now >= self.expires_at {
            ApprovalStatus::Expired
        } else {
            self.status
        }
    }
}
