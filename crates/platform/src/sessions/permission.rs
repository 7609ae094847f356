//! The question that an agent asks of the one it works for: may I do this?
//!
//! It is an act like any other, so policy comes first and people after, in the same inbox with the same verbs. It differs
//! in one thing: the one it works for may answer it, as long as policy names no other approvers. Whatever is done then
//! goes through the gate by itself.

use futures_util::future::BoxFuture;
use reeve_gate::{Permitted, ProbeVerdict, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{
    ActionClass, Approval, Arguments, Principal, PrincipalKind, ResourceKind, Reversibility, ToolOutput, ToolSpec,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The tool's name.
pub(crate) const PERMISSION_TOOL: &str = "agent_permission";

struct PermissionTool {
    spec: ToolSpec,
}

/// The tool that stands for such a question; to be registered with the gate.
pub fn permission_tool() -> Arc<dyn Tool> {
    let text = json!({"type": "string"});
    let input_schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["agent", "session_id", "call_id", "tool", "kind", "title"],
        "properties": {
            "agent": text, "session_id": text, "call_id": text, "tool": text, "title": text, "detail": text,
            "kind": {"enum": ["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]},
        },
    });
    Arc::new(PermissionTool {
        spec: ToolSpec {
            name: PERMISSION_TOOL.to_owned(),
            agent: "sessions".to_owned(),
            description: "Asks the one an agent works for whether the agent may do something.".to_owned(),
            input_schema,
            action_class: ActionClass::Write,
            resource_kind: ResourceKind::Agent,
            target_argument: Some("agent".to_owned()),
            reversibility: Reversibility::Partial {
                description: "what the agent does then has a record of its own".to_owned(),
            },
            capabilities: vec!["sessions".to_owned()],
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: 10_000,
        },
    })
}

impl Tool for PermissionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class_of(&self, arguments: &Arguments) -> ActionClass {
        match arguments.get("kind").and_then(Value::as_str) {
            Some("read" | "search" | "think") => ActionClass::Read,
            Some("delete") => ActionClass::Destructive,
            _ => ActionClass::Write,
        }
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        let (call, _) = call.open();
        let title = call.arguments.get("title").and_then(Value::as_str).unwrap_or_default();
        let answer = ToolOutput::text(format!("allowed: {title}"));
        Box::pin(async move { Ok(answer) })
    }

    fn probe<'a>(&'a self, _: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        Box::pin(async { ProbeVerdict::Happened("the permission was given; giving it changes nothing".to_owned()) })
    }
}

/// Whether a question is one that the one the agent works for may answer.
pub(crate) fn is_owners_question(approval: &Approval) -> bool {
    approval.tool_name == PERMISSION_TOOL
        && approval.requester.kind == PrincipalKind::Agent
        && approval.approver_roles.is_empty()
        && approval.quorum <= 1
}

/// Whether a caller is the one that the asking agent works for, with no agent in between.
pub(crate) fn is_asked(caller: &Principal, approval: &Approval) -> bool {
    is_owners_question(approval)
        && caller.kind != PrincipalKind::Agent
        && caller.on_behalf_of.is_none()
        && approval.requester.on_behalf_of.as_deref().is_some_and(|owner| owner.is_same_party(caller))
}
