//! What agents tell of the tools they use.

use agent_client_protocol_schema::v1 as wire;
use serde::Serialize;
use serde_json::Value;

use super::ContentBlock;

/// A call that begins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// The agent's id of it.
    pub id: String,
    /// For people.
    pub title: String,
    /// The tool's own name, where the agent tells it.
    pub name: Option<String>,
    /// What it does.
    pub kind: ToolKind,
    /// How far it is.
    pub status: ToolStatus,
    /// What it has shown.
    pub content: Vec<ToolContent>,
    /// Which files it is about.
    pub locations: Vec<Location>,
    /// What it was called with, as the agent tells it.
    pub input: Option<Value>,
    /// What it gave back, as the agent tells it.
    pub output: Option<Value>,
}

/// A call of which something has changed. What is absent is as it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ToolCallChange {
    /// The agent's id of it.
    pub id: String,
    /// For people.
    pub title: Option<String>,
    /// The tool's own name.
    pub name: Option<String>,
    /// What it does.
    pub kind: Option<ToolKind>,
    /// How far it is.
    pub status: Option<ToolStatus>,
    /// What it has shown, instead of what was there.
    pub content: Option<Vec<ToolContent>>,
    /// Which files it is about, instead of what was there.
    pub locations: Option<Vec<Location>>,
    /// What it was called with.
    pub input: Option<Value>,
    /// What it gave back.
    pub output: Option<Value>,
}

/// What a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// Reads files or data.
    Read,
    /// Changes files.
    Edit,
    /// Removes files.
    Delete,
    /// Moves files.
    Move,
    /// Searches.
    Search,
    /// Runs commands.
    Execute,
    /// Thinks.
    Think,
    /// Fetches from elsewhere.
    Fetch,
    /// Changes the session's mode.
    SwitchMode,
    /// Anything else.
    Other,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It has not begun.
    Pending,
    /// It runs.
    InProgress,
    /// It is done.
    Completed,
    /// It failed.
    Failed,
}

/// What a call shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolContent {
    /// Content.
    Content {
        /// It.
        content: ContentBlock,
    },
    /// A change of a file.
    Diff {
        /// Which file.
        path: String,
        /// Its text before; none when the file is new.
        old_text: Option<String>,
        /// Its text after.
        new_text: String,
    },
    /// A terminal that the agent had made.
    Terminal {
        /// Which.
        terminal_id: String,
    },
    /// Of a kind that this version of the protocol has not.
    Unknown,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Which file.
    pub path: String,
    /// Which line.
    pub line: Option<u32>,
}

impl From<wire::ToolCall> for ToolCall {
    fn from(call: wire::ToolCall) -> Self {
        Self {
            id: call.tool_call_id.0.to_string(),
            title: call.title,
            name: call.name,
            kind: call.kind.into(),
            status: call.status.into(),
            content: all(call.content),
            locations: all(call.locations),
            input: call.raw_input,
            output: call.raw_output,
        }
    }
}

impl From<wire::ToolCallUpdate> for ToolCallChange {
    fn from(change: wire::ToolCallUpdate) -> Self {
        let fields = change.fields;
        Self {
            id: change.tool_call_id.0.to_string(),
            title: fields.title,
            name: fields.name,
            kind: fields.kind.map(Into::into),
            status: fields.status.map(Into::into),
            content: fields.content.map(all),
            locations: fields.locations.map(all),
            input: fields.raw_input,
            output: fields.raw_output,
        }
    }
}

impl From<wire::ToolKind> for ToolKind {
    fn from(kind: wire::ToolKind) -> Self {
        match kind {
            wire::ToolKind::Read => Self::Read,
            wire::ToolKind::Edit => Self::Edit,
            wire::ToolKind::Delete => Self::Delete,
            wire::ToolKind::Move => Self::Move,
            wire::ToolKind::Search => Self::Search,
            wire::ToolKind::Execute => Self::Execute,
            wire::ToolKind::Think => Self::Think,
            wire::ToolKind::Fetch => Self::Fetch,
            wire::ToolKind::SwitchMode => Self::SwitchMode,
            _ => Self::Other,
        }
    }
}

impl From<wire::ToolCallStatus> for ToolStatus {
    fn from(status: wire::ToolCallStatus) -> Self {
        match status {
            wire::ToolCallStatus::InProgress => Self::InProgress,
            wire::ToolCallStatus::Completed => Self::Completed,
            wire::ToolCallStatus::Failed => Self::Failed,
            _ => Self::Pending,
        }
    }
}

impl From<wire::ToolCallContent> for ToolContent {
    fn from(content: wire::ToolCallContent) -> Self {
        match content {
            wire::ToolCallContent::Content(content) => Self::Content { content: content.content.into() },
            wire::ToolCallContent::Diff(diff) => Self::Diff {
                path: diff.path.to_string_lossy().into_owned(),
                old_text: diff.old_text,
                new_text: diff.new_text,
            },
            wire::ToolCallContent::Terminal(terminal) => {
                Self::Terminal { terminal_id: terminal.terminal_id.0.to_string() }
            }
            _ => Self::Unknown,
        }
    }
}

impl From<wire::ToolCallLocation> for Location {
    fn from(location: wire::ToolCallLocation) -> Self {
        Self { path: location.path.to_string_lossy().into_owned(), line: location.line }
    }
}

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}
