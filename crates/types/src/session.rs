//! A session: one conversation between a principal and an agent, as an append-only stream of events.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Reply, Usage};
use crate::{ActionId, ApprovalId, Digest, EventId, PromptId, SessionId, TenantId, WorkspaceId};

/// Longest prompt, in bytes.
pub const PROMPT_BYTES_MAX: usize = 100_000;
/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// Most prompts that may wait in one session.
pub const QUEUE_MAX: usize = 32;
/// Most bytes of a tool's answer that an event holds; the rest is kept outside and referenced.
pub const INLINE_RESULT_BYTES_MAX: usize = 16 * 1024;

/// What a session is doing.
///
/// ```text
/// idle ─▶ running ⇄ waiting        a turn in flight; waiting for people while it is
///   ▲        │
///   └────────┴──▶ failed           the agent could not go on; a prompt or `resume` tries again
/// any ──▶ closed ──▶ idle          killed; `resume` takes it up again
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Nothing is in flight; a prompt begins a turn.
    Idle,
    /// A turn is in flight.
    Running,
    /// A turn is in flight and waits for people.
    Waiting,
    /// The last turn could not go on.
    Failed,
    /// It was ended.
    Closed,
}

impl SessionState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Running, Self::Waiting, Self::Failed, Self::Closed];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }

    /// Whether a turn is in flight.
    pub fn in_turn(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for SessionState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("`{text}` is not a state of a session: {}", known.join(", "))
        })
    }
}

/// What an agent must ask the one it works for. Policy stands above all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// Before it changes a file or runs a program.
    #[default]
    #[serde(alias = "default")]
    Ask,
    /// Before it runs a program; files it changes without asking.
    #[serde(alias = "acceptEdits")]
    AcceptEdits,
    /// It only looks: changes and programs are refused.
    Plan,
    /// Nothing; policy alone decides.
    Auto,
}

impl PermissionMode {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::AcceptEdits => "accept_edits",
            Self::Plan => "plan",
            Self::Auto => "auto",
        }
    }

    /// Whether the one an agent works for is asked before a change of this kind (`edit`, `move`, `execute` …).
    pub fn asks(self, kind: &str) -> bool {
        match self {
            Self::Ask | Self::Plan => true,
            Self::AcceptEdits => !matches!(kind, "edit" | "move"),
            Self::Auto => false,
        }
    }
}

/// A session as those see it who may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose tenant.
    pub tenant: TenantId,
    /// Who answers for it: `user:alice`.
    pub owner: String,
    /// What people call it; the first words of the first prompt when nobody named it.
    pub title: String,
    /// The agent's definition.
    pub agent: String,
    /// The model, `provider/model`; the default of the definition or of the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The place that the agent works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// The directory in the workspace that it works in, from its root; empty for the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// What the agent must ask the one it works for.
    #[serde(default)]
    pub mode: PermissionMode,
    /// What it is doing.
    pub state: SessionState,
    /// Why it failed or was closed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Prompts that wait for their turn.
    pub queued: usize,
    /// What it waits for people to say, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<ApprovalId>,
    /// Acts that the owner has allowed for as long as this session lasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The session that it was forked or spawned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// What it has used.
    pub usage: Usage,
    /// Turns begun so far.
    pub turns: u64,
    /// Hidden from lists unless they ask for it.
    pub archived: bool,
    /// The sequence number of its newest event.
    pub last_seq: u64,
    /// When it began.
    pub created_at: Timestamp,
    /// When its newest event happened.
    pub updated_at: Timestamp,
}

/// Acts of one kind that need not be asked about again in one session. A grant never stands above a policy that denies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The tool.
    pub tool: String,
    /// What the tool may be used on without asking: the external agent's kind of call (`edit`, `execute`), or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// The agent had said what it had to say.
    Completed,
    /// Somebody cancelled it.
    Cancelled,
    /// A limit of its definition was reached: tokens, time, steps, or the same call again and again.
    LimitReached,
    /// The model or the agent would not go on.
    Refused,
    /// It broke off.
    Failed,
}

/// A step of a plan that an agent follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// What.
    pub content: String,
    /// `high`, `medium` or `low`.
    pub priority: String,
    /// `pending`, `in_progress` or `completed`.
    pub status: String,
}

/// A change to one file, shown as a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// The file, from the root of the workspace.
    pub path: String,
    /// What it held before; absent for a new file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it holds now.
    pub new: String,
}

/// What happened in a session. The word in `event` is what clients compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// It began.
    Created {
        /// The agent's definition.
        agent: String,
        /// What people call it.
        title: String,
        /// The session that it continues from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<SessionId>,
    },
    /// Somebody said something; it waits for its turn.
    Prompt {
        /// Its id.
        prompt_id: PromptId,
        /// The words.
        text: String,
        /// Who said it.
        by: String,
    },
    /// A prompt that waited was taken back.
    PromptDropped {
        /// Which.
        prompt_id: PromptId,
    },
    /// A turn begins.
    TurnStarted {
        /// Its number, from 1.
        turn: u64,
        /// Which prompt it answers.
        prompt_id: PromptId,
    },
    /// More words of the agent while they come; [`Happening::Message`] holds them whole.
    Delta {
        /// The turn.
        turn: u64,
        /// The words.
        text: String,
    },
    /// More of a thought of the agent.
    Thought {
        /// The turn.
        turn: u64,
        /// The words.
        text: String,
    },
    /// What the agent said, whole.
    Message {
        /// The turn.
        turn: u64,
        /// The words, Markdown.
        text: String,
    },
    /// A model is asked. When no [`Happening::ModelReplied`] follows, the call was cut off.
    ModelAsked {
        /// The turn.
        turn: u64,
        /// The number of the call within the session, from 1.
        call: u64,
        /// The digest of what was sent.
        digest: Digest,
    },
    /// A call of a model failed and is tried again; its [`Happening::Delta`]s so far are void.
    ModelRetrying {
        /// The call.
        call: u64,
        /// Which attempt comes.
        attempt: u32,
        /// Why, in words.
        reason: String,
    },
    /// A model has answered: the journal that keeps a crash from buying the same answer twice.
    ModelReplied {
        /// The turn.
        turn: u64,
        /// The call.
        call: u64,
        /// The answer.
        reply: Reply,
    },
    /// What was kept outside or left out so that the conversation fits the model, in words.
    ContextTrimmed {
        /// The turn.
        turn: u64,
        /// How many results were shortened.
        results: usize,
        /// How many messages were left out.
        messages: usize,
    },
    /// The agent uses a tool.
    ToolCalled {
        /// The turn.
        turn: u64,
        /// The call's id, unique in the session.
        call_id: String,
        /// The tool.
        tool: String,
        /// In words, for people.
        title: String,
        /// `read`, `edit`, `execute`, `search`, `fetch`, `think` or `other`.
        kind: String,
        /// Its arguments, secrets masked.
        arguments: Value,
        /// The action that it is; absent where the tool is the agent's own and no act of Reeve's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<ActionId>,
    },
    /// A call goes on: more of an external agent's tool.
    ToolProgress {
        /// The call.
        call_id: String,
        /// In words.
        content: String,
    },
    /// A call waits for people.
    ToolWaiting {
        /// The call.
        call_id: String,
        /// The question.
        approval_id: ApprovalId,
        /// The act that it is about.
        action_id: ActionId,
        /// What is asked, in words.
        question: String,
    },
    /// People have answered.
    ToolAnswered {
        /// The call.
        call_id: String,
        /// The question.
        approval_id: ApprovalId,
        /// `approved`, `denied`, `cancelled`, `expired` or `stale`.
        status: String,
        /// Who answered.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A call has ended.
    ToolFinished {
        /// The call.
        call_id: String,
        /// Whether it failed or was refused.
        is_error: bool,
        /// What came back, cut to [`INLINE_RESULT_BYTES_MAX`].
        content: String,
        /// Where the whole of it is kept when it was cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole: Option<Digest>,
        /// The record of the outcome.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<EventId>,
        /// What it changed in files.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diffs: Vec<FileDiff>,
    },
    /// The agent's plan, whole.
    Plan {
        /// The turn.
        turn: u64,
        /// Its steps.
        entries: Vec<PlanEntry>,
    },
    /// The commands that an external agent offers.
    Commands {
        /// Name and meaning of each.
        commands: Vec<(String, String)>,
    },
    /// The owner changed what the agent must ask, or an external agent changed its own mode.
    Mode {
        /// Its id.
        mode: String,
    },
    /// Another model answers from now on: the owner chose it, or an external agent told which one it uses.
    Model {
        /// Which; empty for the one that answers when nobody chooses.
        model: String,
        /// Those that an external agent can be given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        offered: Vec<String>,
    },
    /// The agent's answer says that something was done, and no record shows it.
    ClaimUnproven {
        /// The turn.
        turn: u64,
        /// The sentence.
        claim: String,
        /// What is missing, in words.
        reason: String,
        /// Whether the agent stated it, entry by entry; otherwise its words were taken for a claim.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stated: bool,
        /// The record of the verification.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<EventId>,
    },
    /// The owner allowed acts of one kind for this session, or took that back.
    Granted {
        /// What.
        grant: Grant,
        /// Whether it was taken back.
        #[serde(default)]
        revoked: bool,
    },
    /// Something that people should know: an agent's complaint, a protocol that is not kept.
    Warning {
        /// In words.
        message: String,
    },
    /// A turn has ended.
    TurnEnded {
        /// The turn.
        turn: u64,
        /// How.
        end: TurnEnd,
        /// Why, in words; empty when there is nothing to say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it used.
        usage: Usage,
    },
    /// It was given another title.
    Renamed {
        /// The new one.
        title: String,
    },
    /// It was put away, or taken out again.
    Archived {
        /// Which of the two.
        archived: bool,
    },
    /// It was ended.
    Closed {
        /// Who ended it.
        by: String,
        /// Why, in words.
        reason: String,
    },
    /// It was taken up again.
    Resumed {
        /// Who did.
        by: String,
    },
}

impl Happening {
    /// The word in `event`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Prompt { .. } => "prompt",
            Self::PromptDropped { .. } => "prompt_dropped",
            Self::TurnStarted { .. } => "turn_started",
            Self::Delta { .. } => "delta",
            Self::Thought { .. } => "thought",
            Self::Message { .. } => "message",
            Self::ModelAsked { .. } => "model_asked",
            Self::ModelRetrying { .. } => "model_retrying",
            Self::ModelReplied { .. } => "model_replied",
            Self::ContextTrimmed { .. } => "context_trimmed",
            Self::ToolCalled { .. } => "tool_called",
            Self::ToolProgress { .. } => "tool_progress",
            Self::ToolWaiting { .. } => "tool_waiting",
            Self::ToolAnswered { .. } => "tool_answered",
            Self::ToolFinished { .. } => "tool_finished",
            Self::Plan { .. } => "plan",
            Self::Commands { .. } => "commands",
            Self::Mode { .. } => "mode",
            Self::Model { .. } => "model",
            Self::ClaimUnproven { .. } => "claim_unproven",
            Self::Granted { .. } => "granted",
            Self::Warning { .. } => "warning",
            Self::TurnEnded { .. } => "turn_ended",
            Self::Renamed { .. } => "renamed",
            Self::Archived { .. } => "archived",
            Self::Closed { .. } => "closed",
            Self::Resumed { .. } => "resumed",
        }
    }
}

/// One event of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// The session.
    pub session_id: SessionId,
    /// Its place in the stream, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}
