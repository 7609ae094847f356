//! What a tool is and what it gives back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ActionClass, ResourceKind};

/// The arguments of a tool call: a JSON object.
pub type Arguments = serde_json::Map<String, Value>;

/// Whether what a tool does can be undone, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reversibility {
    /// Nothing changes.
    NotNeeded,
    /// Another tool undoes it.
    Inverse {
        /// The tool that undoes it.
        tool: String,
        /// What undoing means here, in words.
        description: String,
    },
    /// It undoes itself, or whoever was hit simply comes back.
    Partial {
        /// What comes back by itself and what does not.
        description: String,
    },
    /// It cannot be undone.
    Irreversible {
        /// Why, in words.
        reason: String,
    },
}

impl Reversibility {
    /// `yes`, `partial` or `no`: the word of the API.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotNeeded | Self::Inverse { .. } => "yes",
            Self::Partial { .. } => "partial",
            Self::Irreversible { .. } => "no",
        }
    }
}

/// A typed capability: its name, what it takes, how much harm it could do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Unique name, `snake_case`.
    pub name: String,
    /// The agent it belongs to: `database`, `k8s`, `host`, …
    pub agent: String,
    /// One sentence for people and models.
    pub description: String,
    /// JSON Schema (2020-12) of the arguments object.
    pub input_schema: Value,
    /// How much harm it could do.
    pub action_class: ActionClass,
    /// On what kind of thing it acts.
    pub resource_kind: ResourceKind,
    /// The argument that names the target (`connection_string` for databases); absent when the tool acts on Reeve.
    pub target_argument: Option<String>,
    /// Whether it can be undone.
    pub reversibility: Reversibility,
    /// Words that routing looks for (`locks`, `replication`, …).
    pub capabilities: Vec<String>,
    /// Tools whose answer is contained in this one's.
    pub supersedes: Vec<String>,
    /// Whether a fleet job may run it on many targets.
    pub fleet_eligible: bool,
    /// Whether it may run as the automatic remedy of a playbook.
    pub auto_remediation_eligible: bool,
    /// How long one call may take at most, in milliseconds.
    pub timeout_ms: u64,
}

/// What the re-check after a change found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyStatus {
    /// The change took effect.
    Ok,
    /// It cannot be told for sure.
    Warning,
    /// The change did not take effect.
    Failed,
    /// It did not take effect and a stronger act or a person is needed.
    EscalationRequired,
}

/// What a tool gives back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolOutput {
    /// The answer as text for people and models.
    pub output: String,
    /// The same answer as data, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// What the re-check after a change found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_status: Option<VerifyStatus>,
    /// How often the re-check was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<u32>,
    /// Rows, connections or objects that were affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected: Option<u64>,
    /// What was there before the change, as far as it matters for undoing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_state: Option<Value>,
}

impl ToolOutput {
    /// An answer in words only.
    pub fn text(output: impl Into<String>) -> Self {
        Self { output: output.into(), ..Self::default() }
    }

    /// An answer in words and data.
    pub fn with_data(output: impl Into<String>, data: Value) -> Self {
        Self { output: output.into(), data: Some(data), ..Self::default() }
    }
}
