//! What sessions look like on the wire, for the API's description. The types themselves are of layers that know nothing of
//! descriptions; a test holds the two against each other.

use std::borrow::Cow;

use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! described {
    ($($(#[$doc:meta])* $name:ident, $shown:literal, $schema:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                // A test reads every schema, so the empty one never shows.
                serde_json::from_str($schema).unwrap_or_else(|_| ObjectBuilder::new().into())
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($shown)
            }
        }
    )*};
}

const SESSION: &str = r#"{
    "type": "object",
    "description": "One conversation between somebody and an agent.",
    "required": ["id", "tenant", "owner", "title", "agent", "mode", "state", "queued", "usage", "turns", "archived",
                 "last_seq", "created_at", "updated_at"],
    "properties": {
        "id": {"type": "string"},
        "tenant": {"type": "string"},
        "owner": {"type": "string", "description": "Who answers for it: `user:alice`."},
        "title": {"type": "string"},
        "agent": {"type": "string", "description": "The agent's definition."},
        "model": {"type": "string", "description": "`provider/model`; the default of the definition or the server when absent."},
        "workspace_id": {"type": "string"},
        "directory": {"type": "string", "description": "In the workspace, from its root."},
        "mode": {"type": "string", "enum": ["ask", "accept_edits", "plan", "auto"]},
        "state": {"type": "string", "enum": ["idle", "running", "waiting", "failed", "closed"]},
        "reason": {"type": "string", "description": "Why it failed or was closed."},
        "queued": {"type": "integer", "description": "Prompts that wait for their turn."},
        "waiting_for": {"type": "array", "items": {"type": "string"}, "description": "Approvals that it waits for, oldest first."},
        "grants": {"type": "array", "items": {"type": "object", "properties": {
            "tool": {"type": "string"}, "kind": {"type": "string"}, "by": {"type": "string"},
            "at": {"type": "string", "format": "date-time"}}}},
        "parent": {"type": "string"},
        "usage": {"type": "object", "properties": {
            "input_tokens": {"type": "integer"}, "output_tokens": {"type": "integer"},
            "cache_read_tokens": {"type": "integer"}, "cache_write_tokens": {"type": "integer"},
            "cost_micro_usd": {"type": "integer"}}},
        "turns": {"type": "integer"},
        "archived": {"type": "boolean"},
        "last_seq": {"type": "integer", "description": "The number of its newest event."},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"}
    }
}"#;

const EVENT: &str = r#"{
    "type": "object",
    "description": "What happened in a session. `event` says which; each has members of its own beside these.",
    "required": ["session_id", "seq", "at", "event"],
    "properties": {
        "session_id": {"type": "string"},
        "seq": {"type": "integer", "description": "From 1, without gaps."},
        "at": {"type": "string", "format": "date-time"},
        "event": {"type": "string", "enum": ["created", "prompt", "prompt_dropped", "turn_started", "delta", "thought",
            "message", "model_asked", "model_retrying", "model_replied", "context_trimmed", "tool_called", "tool_progress",
            "tool_waiting", "tool_answered", "tool_finished", "plan", "commands", "mode", "model", "claim_unproven",
            "granted", "warning", "turn_ended", "renamed", "archived", "closed", "resumed"]}
    }
}"#;

const EVENTS: &str = r##"{
    "type": "object",
    "required": ["events", "next_seq"],
    "properties": {
        "events": {"type": "array", "items": {"$ref": "#/components/schemas/SessionEvent"}},
        "next_seq": {"type": ["integer", "null"], "description": "Goes into `after` of the next request; null when there are no more."}
    }
}"##;

const WANTED: &str = r#"{
    "type": "object",
    "description": "A session to be made.",
    "properties": {
        "agent": {"type": "string", "description": "`general` when absent, `coder` when a workspace is named."},
        "title": {"type": "string", "description": "At most 200 characters; the first words of the prompt when absent."},
        "prompt": {"type": "string", "description": "The first prompt, at most 100,000 bytes."},
        "model": {"type": "string"},
        "workspace_id": {"type": "string"},
        "directory": {"type": "string"},
        "work_dir": {"type": "string", "description": "A directory of the host, absolute, where the operator has switched that on: the session works in a workspace on it, yours if you have one. Also `workDir`."},
        "mode": {"type": "string", "enum": ["ask", "accept_edits", "plan", "auto"]},
        "parent": {"type": "string"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}, "description": "For an external agent."}
    }
}"#;

const FORK: &str = r#"{
    "type": "object",
    "properties": {
        "at": {"type": "integer", "description": "The last event that the new one shares; the newest when absent."},
        "title": {"type": "string"},
        "prompt": {"type": "string"}
    }
}"#;

const PATCH: &str = r#"{
    "type": "object",
    "description": "What is absent stays.",
    "properties": {
        "title": {"type": "string"},
        "archived": {"type": "boolean"},
        "model": {"type": "string", "description": "From the next turn on; empty for the default."},
        "mode": {"type": "string", "enum": ["ask", "accept_edits", "plan", "auto"]}
    }
}"#;

const ACCEPTED: &str = r#"{
    "type": "object",
    "required": ["prompt_id", "position"],
    "properties": {
        "prompt_id": {"type": "string"},
        "position": {"type": "integer", "description": "How many prompts are answered before it."}
    }
}"#;

const AGENTS: &str = r#"{
    "type": "object",
    "required": ["agents", "models", "host_directories"],
    "properties": {
        "agents": {"type": "array", "items": {"type": "object",
            "required": ["name", "kind", "description", "needs_workspace"],
            "properties": {
                "name": {"type": "string"},
                "kind": {"type": "string", "enum": ["own", "external"]},
                "description": {"type": "string"},
                "needs_workspace": {"type": "boolean"},
                "unavailable": {"type": "string", "description": "Why it cannot be used now, and what to do."}}}},
        "models": {"type": "array", "items": {"type": "object",
            "required": ["name", "kind", "is_default"],
            "properties": {
                "name": {"type": "string"},
                "kind": {"type": "string"},
                "context_tokens": {"type": "integer"},
                "is_default": {"type": "boolean"}}}},
        "host_directories": {"type": "boolean", "description": "Whether a session may name a directory of the host to work in."}
    }
}"#;

described! {
    /// A session.
    SessionShown, "Session", SESSION;
    /// An event of a session.
    EventShown, "SessionEvent", EVENT;
    /// A page of events.
    EventsShown, "SessionEvents", EVENTS;
    /// A session to be made.
    SessionWanted, "SessionWanted", WANTED;
    /// Where a session is continued from.
    ForkWanted, "SessionFork", FORK;
    /// What is to be said differently of a session.
    PatchWanted, "SessionPatch", PATCH;
    /// A prompt that was taken in.
    AcceptedShown, "PromptAccepted", ACCEPTED;
    /// Agents and models.
    AgentsShown, "AgentDefinitions", AGENTS;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use reeve_platform::sessions::{ForkSession, NewSessionWanted, SessionPatch};
    use reeve_types::model::Usage;
    use reeve_types::session::{Grant, PermissionMode, Session, SessionState};
    use serde_json::{Value, json};

    fn members(schema: &str) -> BTreeSet<String> {
        let schema: Value = serde_json::from_str(schema).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_schema_can_be_read() {
        for schema in [SESSION, EVENT, EVENTS, WANTED, FORK, PATCH, ACCEPTED, AGENTS] {
            serde_json::from_str::<RefOr<Schema>>(schema).unwrap();
        }
    }

    #[test]
    fn a_session_is_what_is_described() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let id = |prefix: &str| format!("{prefix}_00000000000000000000000000");
        let session = Session {
            id: id("ses").parse().unwrap(),
            tenant: reeve_types::TenantId::default_tenant(),
            owner: "user:alice".to_owned(),
            title: "t".to_owned(),
            agent: "general".to_owned(),
            model: Some("m".to_owned()),
            workspace_id: Some(id("wsp").parse().unwrap()),
            directory: "d".to_owned(),
            mode: PermissionMode::Ask,
            state: SessionState::Idle,
            reason: "r".to_owned(),
            queued: 0,
            waiting_for: vec![id("apr").parse().unwrap()],
            grants: vec![Grant { tool: "t".to_owned(), kind: "edit".to_owned(), by: "b".to_owned(), at: now }],
            parent: Some(id("ses").parse().unwrap()),
            usage: Usage { cost_micro_usd: Some(1), ..Usage::default() },
            turns: 0,
            archived: false,
            last_seq: 0,
            created_at: now,
            updated_at: now,
        };
        let shown = json!(session);
        let schema: Value = serde_json::from_str(SESSION).unwrap();
        assert_eq!(keys(&shown), members(SESSION));
        assert_eq!(keys(&shown["usage"]), keys(&schema["properties"]["usage"]["properties"]));
        assert_eq!(keys(&shown["grants"][0]), keys(&schema["properties"]["grants"]["items"]["properties"]));
        let states: Vec<_> = SessionState::ALL.iter().map(|state| json!(state)).collect();
        assert_eq!(schema["properties"]["state"]["enum"], json!(states));
    }

    #[test]
    fn what_is_wanted_is_what_is_described() {
        assert_eq!(keys(&json!(NewSessionWanted::default())), members(WANTED));
        assert_eq!(keys(&json!(ForkSession::default())), members(FORK));
        assert_eq!(keys(&json!(SessionPatch::default())), members(PATCH));
    }
}
