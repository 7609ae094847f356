//! The tools about sessions, in words: the guide's, and a few that it lacks.

use reeve_platform::Permission;
use reeve_types::ActionClass;
use serde_json::{Value, json};

use super::catalog::{OwnTool, SESSIONS};

/// Most sessions that one call begins.
pub(crate) const BATCH_MAX: usize = 50;

/// What can be done about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionVerb {
    Health,
    Agents,
    List,
    Status,
    Transcript,
    Summary,
    Metrics,
    Latency,
    Events,
    Create,
    CreateBatch,
    Send,
    Prompt,
    Command,
    Approve,
    Reject,
    Respond,
    Escape,
    Interrupt,
    Cancel,
    Resume,
    Kill,
}

impl SessionVerb {
    pub(crate) const ALL: [Self; 22] = [
        Self::Health,
        Self::Agents,
        Self::List,
        Self::Status,
        Self::Transcript,
        Self::Summary,
        Self::Metrics,
        Self::Latency,
        Self::Events,
        Self::Create,
        Self::CreateBatch,
        Self::Send,
        Self::Prompt,
        Self::Command,
        Self::Approve,
        Self::Reject,
        Self::Respond,
        Self::Escape,
        Self::Interrupt,
        Self::Cancel,
        Self::Resume,
        Self::Kill,
    ];

    pub(crate) fn words(self) -> OwnTool {
        let (name, description, properties, required) = self.shape();
        let class = match self {
            Self::Health | Self::Agents | Self::List | Self::Status => ActionClass::Read,
            Self::Transcript | Self::Summary | Self::Metrics | Self::Latency | Self::Events => ActionClass::Read,
            Self::Kill => ActionClass::Destructive,
            _ => ActionClass::Write,
        };
        let permission = match self {
            Self::Health => Permission::Look,
            // Whose they are, the service knows.
            _ => SESSIONS,
        };
        let idempotent = class == ActionClass::Read || matches!(self, Self::Kill | Self::Cancel | Self::Interrupt);
        OwnTool { name, description, properties, required, permission, class, idempotent }
    }

    fn shape(self) -> (&'static str, &'static str, Value, &'static [&'static str]) {
        let id = json!({"type": "string", "description": "The session's id, `ses_…`."});
        let only_id = json!({"sessionId": id});
        let reason = json!({"type": "string", "maxLength": 500});
        let count = |most: u64, usual: u64| json!({"type": "integer", "minimum": 1, "maximum": most, "default": usual});
        match self {
            Self::Health => ("server_health", "Says whether the server answers, and its version.", json!({}), &[]),
            Self::Agents => (
                "list_agents",
                "Lists the agents that sessions can be begun with, and why some cannot be now.",
                json!({}),
                &[],
            ),
            Self::List => (
                "list_sessions",
                "Lists your sessions, newest first (for administrators, those of the tenant).",
                json!({
                    "status": {"type": "string", "enum": ["idle", "running", "waiting", "failed", "closed"]},
                    "workDir": {"type": "string", "description": "Only those of this workspace, `wsp_…`."},
                    "cursor": {"type": "string"},
                    "limit": count(200, 50),
                }),
                &[],
            ),
            Self::Status => {
                ("get_status", "Says what a session is doing and what it waits for.", only_id, &["sessionId"])
            }
            Self::Transcript => (
                "get_transcript",
                "Gives the conversation of a session: prompts, answers, tool calls. The newest entries, or with \
                 `after` those that follow an event.",
                json!({"sessionId": id, "after": {"type": "integer", "minimum": 0}, "limit": count(500, 50)}),
                &["sessionId"],
            ),
            Self::Summary => (
                "get_session_summary",
                "Gives a session's state, its last words, and what it has done, in one object.",
                only_id,
                &["sessionId"],
            ),
            Self::Metrics => (
                "get_session_metrics",
                "Counts of a session: turns, messages, tool calls, approvals, tokens, cost, time.",
                only_id,
                &["sessionId"],
            ),
            Self::Latency => (
                "get_session_latency",
                "How long a session's turns, first words, tool calls and answers of people took, in milliseconds.",
                only_id,
                &["sessionId"],
            ),
            Self::Events => (
                "acp_get_events",
                "Gives the raw events of a session after a sequence number, oldest first.",
                json!({"sessionId": id, "since": {"type": "integer", "minimum": 0}, "limit": count(500, 100)}),
                &["sessionId"],
            ),
            Self::Create => (
                "create_session",
                "Begins a session with an agent, and its first turn when it comes with a prompt.",
                new_session(),
                &[],
            ),
            Self::CreateBatch => (
                "batch_create_sessions",
                "Begins several sessions. What cannot be begun is listed with the reason; the others begin all the same.",
                json!({"sessions": {
                    "type": "array", "minItems": 1, "maxItems": BATCH_MAX,
                    "items": {"type": "object", "properties": new_session(), "additionalProperties": false},
                }}),
                &["sessions"],
            ),
            Self::Send | Self::Prompt => (
                if self == Self::Send { "send_message" } else { "acp_send_prompt" },
                "Says something to a session's agent. It is taken in at once and waits while a turn is in flight; \
                 `get_transcript` shows the answer.",
                json!({"sessionId": id, "text": {"type": "string", "minLength": 1}}),
                &["sessionId", "text"],
            ),
            Self::Command => (
                "send_command",
                "Says a command of the agent's own, such as `/compact`; the `/` may be left out. It is taken in like a message.",
                json!({"sessionId": id, "command": {"type": "string", "minLength": 1}}),
                &["sessionId", "command"],
            ),
            Self::Approve | Self::Reject => (
                if self == Self::Approve { "approve_permission" } else { "reject_permission" },
                if self == Self::Approve {
                    "Answers yes to what a session waits for: the oldest question, or the one named."
                } else {
                    "Answers no to what a session waits for: the oldest question, or the one named."
                },
                json!({
                    "sessionId": id, "reason": reason,
                    "approvalId": {"type": "string"},
                    "remember": {"type": "boolean", "description": "Allow the same for as long as the session lasts."},
                }),
                &["sessionId"],
            ),
            Self::Respond => (
                "acp_respond_approval",
                "Answers the oldest question that a session waits for.",
                json!({"sessionId": id, "approved": {"type": "boolean"}, "reason": reason, "approvalId": {"type": "string"}}),
                &["sessionId", "approved"],
            ),
            Self::Escape => {
                ("escape_session", "Ends the turn in flight; what waits after it begins.", only_id, &["sessionId"])
            }
            Self::Interrupt => (
                "interrupt_session",
                "Ends the turn in flight and drops every prompt that waits.",
                only_id,
                &["sessionId"],
            ),
            Self::Cancel => (
                "acp_cancel_session",
                "Ends the turn in flight; with `force`, drops every prompt that waits too.",
                json!({"sessionId": id, "force": {"type": "boolean"}}),
                &["sessionId"],
            ),
            Self::Resume => {
                ("acp_resume_session", "Takes a closed or failed session up again.", only_id, &["sessionId"])
            }
            Self::Kill => (
                "kill_session",
                "Ends a session: what is in flight is cancelled, what waits is dropped, its program is stopped.",
                json!({"sessionId": id, "reason": reason}),
                &["sessionId"],
            ),
        }
    }
}

fn new_session() -> Value {
    json!({
        "agent": {"type": "string", "description": "One of list_agents; `coder` in a workspace, `general` otherwise."},
        "name": {"type": "string", "maxLength": 200},
        "prompt": {"type": "string"},
        "model": {"type": "string"},
        "workspaceId": {"type": "string", "description": "The workspace that it works in, `wsp_…`."},
        "workDir": {"type": "string", "description": "The workspace and a directory in it: `wsp_…` or `wsp_…/src`."},
        "directory": {"type": "string", "description": "The directory in the workspace."},
        "permissionMode": {"type": "string", "enum": ["ask", "default", "accept_edits", "acceptEdits", "plan", "auto"]},
    })
}
