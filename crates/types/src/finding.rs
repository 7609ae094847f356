//! What a diagnosis says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ActionClass;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Users are hit, or data is at risk, now or within hours.
    Critical,
    /// It will hurt if nothing is done.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One fact that a finding rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The fact in words, with its numbers.
    pub fact: String,
    /// Where it was read: a view, a setting, an error.
    pub source: String,
    /// The same as data: pids, relations, numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// What could be done about a finding: a tool call that is ready to be submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    /// The tool.
    pub tool: String,
    /// Its arguments, complete.
    pub arguments: serde_json::Map<String, Value>,
    /// How much harm the tool could do.
    pub action_class: ActionClass,
    /// Whether it can be undone.
    pub reversible: bool,
    /// What it does here and what it costs, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// One diagnosed fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, `snake_case`: `lock_chain`, `idle_in_transaction`, …
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Why it is so, as a DBA would say it; names the root cause.
    pub cause: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What could be done, best first.
    pub remedies: Vec<Remedy>,
    /// Advice that no tool carries out (a setting to change, a query to rewrite).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// The code of the finding that explains this one, when another does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<String>,
}

/// A check that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotChecked {
    /// The check.
    pub check: String,
    /// Why it could not be made, and what would make it possible.
    pub reason: String,
}

/// The answer of `reeve diagnose`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The target as it was named, secrets masked.
    pub target: String,
    /// `PostgreSQL 15.18`, or absent when nobody answered.
    pub server_version: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// Findings, worst first; explained ones after what explains them.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub not_checked: Vec<NotChecked>,
    /// Whether the target could be looked at at all.
    #[serde(default)]
    pub reachable: bool,
    /// How many checks were made.
    #[serde(default)]
    pub checks_run: u32,
}
