//! A tool of the gate, called over MCP: the same act, the same policy, the same record as by any other way.

use reeve_gate::{Completed, StoredAction, Submission};
use reeve_platform::Platform;
use reeve_types::{Approval, Arguments, Origin, ToolOutput, ToolSpec};
use rmcp::model::CallToolResult;
use serde_json::{Map, Value, json};

use super::answers::{Refused, internal, of_failure, worded};
use super::asker::Asker;

/// Asks the gate for one call.
pub(crate) async fn call(
    platform: &Platform,
    asker: Asker,
    spec: &ToolSpec,
    arguments: Arguments,
) -> Result<CallToolResult, Refused> {
    let trace_id = asker.trace_id.unwrap_or_else(|| platform.new_trace("mcp"));
    let (platform, tool, purpose) = (platform.clone(), spec.name.clone(), asker.purpose);
    // On a task of its own: a client that goes away does not leave an act half done.
    let task = tokio::spawn(async move {
        let principal = &asker.principal;
        platform.run_tool(principal, &tool, arguments, purpose, "", trace_id, Origin::DirectTool, "").await
    });
    match task.await.map_err(internal)?? {
        Submission::Done(completed) => done(completed),
        Submission::AwaitingApproval { approval, joined } => Ok(awaiting(&approval, joined)),
        Submission::InProgress(action) => Ok(in_progress(&action)),
    }
}

fn done(completed: Completed) -> Result<CallToolResult, Refused> {
    let ids = [
        ("action_id", Value::from(completed.action_id.as_str())),
        ("trace_id", Value::from(completed.trace_id.as_str())),
        ("event_id", completed.event_id.as_ref().map_or(Value::Null, |id| id.as_str().into())),
    ];
    match completed.outcome {
        Ok(output) => {
            let mut body = body_of(&output);
            body.insert("state".to_owned(), "completed".into());
            body.extend(ids.map(|(key, value)| (key.to_owned(), value)));
            Ok(worded(output.output, Value::Object(body)))
        }
        Err(failure) => {
            Err(ids.into_iter().fold(of_failure(&failure), |refused, (key, value)| refused.with(key, value)))
        }
    }
}

/// What a tool gave back besides its words.
pub(crate) fn body_of(output: &ToolOutput) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    put("data", output.data.clone());
    put("verify_status", output.verify_status.map(|status| json!(status)));
    put("retry_count", output.retry_count.map(Value::from));
    put("affected", output.affected.map(Value::from));
    body
}

fn awaiting(approval: &Approval, joined: bool) -> CallToolResult {
    let who = match (approval.quorum, approval.approver_roles.as_slice()) {
        (1, []) => "someone else".to_owned(),
        (n, []) => format!("{n} other people"),
        (1, roles) => format!("someone else with the role {}", roles.join(" or ")),
        (n, roles) => format!("{n} other people with the role {}", roles.join(" or ")),
    };
    let already = if joined { "This act is already waiting for approval" } else { "This act needs approval" };
    let text = format!(
        "{already}: {who} must answer {id}. Nothing has been done yet. It begins by itself when they say yes; call \
         `wait_for_action` with action_id `{action}` to wait for the result, or `get_action` to look how it stands.",
        id = approval.approval_id,
        action = approval.action_id,
    );
    let body = json!({
        "state": "awaiting_approval",
        "approval_id": approval.approval_id,
        "action_id": approval.action_id,
        "trace_id": approval.trace_id,
        "expires_at": approval.expires_at,
        "quorum": approval.quorum,
        "approver_roles": approval.approver_roles,
        "joined": joined,
        "message": text,
    });
    worded(text, body)
}

fn in_progress(action: &StoredAction) -> CallToolResult {
    let text = format!(
        "The same act is running at this moment; `wait_for_action` with action_id `{}` waits for its end.",
        action.action_id
    );
    let body = json!({
        "state": "in_progress",
        "action_id": action.action_id,
        "trace_id": action.trace_id,
        "approval_id": action.approval_id,
        "message": text,
    });
    worded(text, body)
}
