//! What agents tell while they work: every kind of `session/update`, as a closed set.
//!
//! A kind that is not known and an update that cannot be read are told as such, and end nothing.

use agent_client_protocol_schema::MaybeUndefined;
use agent_client_protocol_schema::v1 as wire;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::error::sentence;
use super::session::ConfigOption;
use super::{ContentBlock, ToolCall, ToolCallChange};

/// The kinds that are read. What else comes is [`Update::Unsupported`].
const KINDS: [&str; 16] = [
    "agent_message_chunk",
    "agent_thought_chunk",
    "user_message_chunk",
    "tool_call",
    "tool_call_update",
    "plan",
    "plan_update",
    "plan_removed",
    "available_commands_update",
    "current_mode_update",
    "config_option_update",
    "session_info_update",
    "usage_update",
    "notice",
    "compaction_update",
    "compaction_summary_chunk",
];

/// One thing that an agent told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "update", rename_all = "snake_case")]
pub enum Update {
    /// A piece of what the agent says.
    AgentMessage {
        /// The piece.
        content: ContentBlock,
        /// Of which message.
        message_id: Option<String>,
    },
    /// A piece of what it thinks.
    AgentThought {
        /// The piece.
        content: ContentBlock,
        /// Of which message.
        message_id: Option<String>,
    },
    /// A piece of what its user said, told again when a session is loaded.
    UserMessage {
        /// The piece.
        content: ContentBlock,
        /// Of which message.
        message_id: Option<String>,
    },
    /// A tool is called.
    ToolCall(ToolCall),
    /// Something about a call has changed.
    ToolCallUpdate(ToolCallChange),
    /// What it means to do, instead of the plan before.
    Plan {
        /// Which plan, for agents that have several.
        id: Option<String>,
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// A plan that is a text.
    PlanText {
        /// Which.
        id: String,
        /// In Markdown; none when it is in a file.
        markdown: Option<String>,
        /// The file's address.
        uri: Option<String>,
    },
    /// A plan was given up.
    PlanRemoved {
        /// Which.
        id: String,
    },
    /// What can be called by `/name` now.
    Commands {
        /// All of them.
        commands: Vec<Command>,
    },
    /// The session is in another mode; `profiles::check_mode` says whether the agent still asks in it.
    Mode {
        /// Which.
        id: String,
    },
    /// The settings are these now.
    ConfigOptions {
        /// All of them.
        options: Vec<ConfigOption>,
    },
    /// The session has another title, or was changed.
    SessionInfo {
        /// Its title.
        title: TextChange,
        /// When it was last changed, in the agent's words.
        updated_at: TextChange,
    },
    /// How much of the context is used, and what it has cost.
    Usage {
        /// Tokens in the context.
        used: u64,
        /// How many fit.
        size: u64,
        /// What the session has cost so far.
        cost: Option<Cost>,
    },
    /// Something its user should know.
    Notice {
        /// `info`, `warning`, `error`, or a word of the agent's.
        severity: String,
        /// In short.
        title: String,
        /// In full.
        description: Option<String>,
    },
    /// The context is being shortened.
    Compaction {
        /// Which time.
        id: String,
        /// `in_progress`, `completed`, `failed`, `cancelled`, or a word of the agent's.
        status: String,
        /// What is kept.
        summary: Option<Vec<ContentBlock>>,
        /// Why it failed.
        error: Option<String>,
    },
    /// A piece of what is kept of the context.
    CompactionSummary {
        /// Which time.
        id: String,
        /// The piece.
        content: ContentBlock,
    },
    /// Of a kind that is not known here.
    Unsupported {
        /// Its name.
        kind: String,
    },
    /// It cannot be read.
    Malformed {
        /// Which kind it says to be.
        kind: Option<String>,
        /// What is wrong.
        reason: String,
    },
}

/// A text that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextChange {
    /// As it was.
    Unchanged,
    /// There is none any more.
    Removed,
    /// It is this.
    Set(String),
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// How much it matters.
    pub priority: PlanPriority,
    /// How far it is.
    pub status: PlanStatus,
}

/// How much a step matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanPriority {
    /// Much.
    High,
    /// Some.
    Medium,
    /// Little.
    Low,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Not begun.
    Pending,
    /// Begun.
    InProgress,
    /// Done.
    Completed,
}

/// Something that can be called by `/name` in a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its name, without the slash.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What may follow it, when something may.
    pub hint: Option<String>,
}

/// Money.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// How much.
    pub amount: f64,
    /// Of what: `USD`.
    pub currency: String,
}

impl Update {
    /// Reads the `update` of a `session/update`.
    pub(super) fn read(update: &Value) -> Self {
        let Some(kind) = update.get("sessionUpdate").and_then(Value::as_str) else {
            return Self::Malformed { kind: None, reason: "it does not say of which kind it is".to_owned() };
        };
        if !KINDS.contains(&kind) {
            return Self::Unsupported { kind: sentence(kind) };
        }
        match wire::SessionUpdate::deserialize(update) {
            Ok(read) => Self::from(read),
            Err(error) => Self::Malformed { kind: Some(kind.to_owned()), reason: sentence(&error.to_string()) },
        }
    }

    fn plan(plan: wire::PlanUpdateContent) -> Self {
        match plan {
            wire::PlanUpdateContent::Items(plan) => {
                Self::Plan { id: Some(plan.plan_id.0.to_string()), entries: steps(plan.entries) }
            }
            wire::PlanUpdateContent::File(plan) => {
                Self::PlanText { id: plan.plan_id.0.to_string(), markdown: None, uri: Some(plan.uri) }
            }
            wire::PlanUpdateContent::Markdown(plan) => {
                Self::PlanText { id: plan.plan_id.0.to_string(), markdown: Some(plan.content), uri: None }
            }
            _ => Self::Unsupported { kind: "plan_update".to_owned() },
        }
    }
}

impl From<wire::SessionUpdate> for Update {
    fn from(update: wire::SessionUpdate) -> Self {
        use wire::SessionUpdate as Told;
        let message = |chunk: &wire::ContentChunk| chunk.message_id.as_ref().map(|id| id.0.to_string());
        match update {
            Told::AgentMessageChunk(chunk) => {
                Self::AgentMessage { message_id: message(&chunk), content: chunk.content.into() }
            }
            Told::AgentThoughtChunk(chunk) => {
                Self::AgentThought { message_id: message(&chunk), content: chunk.content.into() }
            }
            Told::UserMessageChunk(chunk) => {
                Self::UserMessage { message_id: message(&chunk), content: chunk.content.into() }
            }
            Told::ToolCall(call) => Self::ToolCall(call.into()),
            Told::ToolCallUpdate(change) => Self::ToolCallUpdate(change.into()),
            Told::Plan(plan) => Self::Plan { id: None, entries: steps(plan.entries) },
            Told::PlanUpdate(update) => Self::plan(update.plan),
            Told::PlanRemoved(removed) => Self::PlanRemoved { id: removed.plan_id.0.to_string() },
            Told::AvailableCommandsUpdate(update) => {
                Self::Commands { commands: update.available_commands.into_iter().map(Command::from).collect() }
            }
            Told::CurrentModeUpdate(update) => Self::Mode { id: update.current_mode_id.0.to_string() },
            Told::ConfigOptionUpdate(update) => {
                Self::ConfigOptions { options: update.config_options.into_iter().map(ConfigOption::from).collect() }
            }
            Told::SessionInfoUpdate(info) => {
                Self::SessionInfo { title: info.title.into(), updated_at: info.updated_at.into() }
            }
            Told::UsageUpdate(usage) => Self::Usage {
                used: usage.used,
                size: usage.size,
                cost: usage.cost.map(|cost| Cost { amount: cost.amount, currency: cost.currency }),
            },
            Told::Notice(notice) => {
                Self::Notice { severity: word(&notice.severity), title: notice.title, description: notice.description }
            }
            Told::CompactionUpdate(update) => Self::Compaction {
                id: update.compaction_id.0.to_string(),
                status: word(&update.status),
                summary: value(update.summary).map(|blocks| blocks.into_iter().map(ContentBlock::from).collect()),
                error: value(update.error),
            },
            Told::CompactionSummaryChunk(chunk) => {
                Self::CompactionSummary { id: chunk.compaction_id.0.to_string(), content: chunk.content.into() }
            }
            _ => Self::Unsupported { kind: "unknown".to_owned() },
        }
    }
}

impl From<MaybeUndefined<String>> for TextChange {
    fn from(text: MaybeUndefined<String>) -> Self {
        match text {
            MaybeUndefined::Undefined => Self::Unchanged,
            MaybeUndefined::Null => Self::Removed,
            MaybeUndefined::Value(text) => Self::Set(text),
        }
    }
}

impl From<wire::AvailableCommand> for Command {
    fn from(command: wire::AvailableCommand) -> Self {
        let hint = match command.input {
            Some(wire::AvailableCommandInput::Unstructured(input)) => Some(input.hint),
            _ => None,
        };
        Self { name: command.name, description: command.description, hint }
    }
}

fn steps(entries: Vec<wire::PlanEntry>) -> Vec<PlanEntry> {
    let step = |entry: wire::PlanEntry| PlanEntry {
        content: entry.content,
        priority: match entry.priority {
            wire::PlanEntryPriority::High => PlanPriority::High,
            wire::PlanEntryPriority::Low => PlanPriority::Low,
            _ => PlanPriority::Medium,
        },
        status: match entry.status {
            wire::PlanEntryStatus::InProgress => PlanStatus::InProgress,
            wire::PlanEntryStatus::Completed => PlanStatus::Completed,
            _ => PlanStatus::Pending,
        },
    };
    entries.into_iter().map(step).collect()
}

fn value<T>(value: MaybeUndefined<T>) -> Option<T> {
    match value {
        MaybeUndefined::Value(value) => Some(value),
        MaybeUndefined::Undefined | MaybeUndefined::Null => None,
    }
}

/// The word of the wire for something that is written as one.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => sentence(&word),
        _ => "unknown".to_owned(),
    }
}
