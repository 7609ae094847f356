//! What became of an act: looking, and waiting for it.

use std::time::Duration;

use reeve_gate::StoredAction;
use reeve_platform::{Permission, Platform};
use reeve_types::{ActionClass, ActionId, ActionState, Principal};
use rmcp::RoleServer;
use rmcp::model::{CallToolResult, ProgressNotificationParam};
use rmcp::service::RequestContext;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::answers::{Refused, arguments, refused, worded};
use super::asker::Asker;
use super::catalog::OwnTool;
use super::gate_tools::body_of;

/// How long one call may wait.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long one call waits when nobody says otherwise.
const WAIT_USUAL: Duration = Duration::from_secs(60);
/// How often a waiting client is told that there is no news, if it wants to hear that.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What can be asked about an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionVerb {
    Get,
    Wait,
}

impl ActionVerb {
    pub(crate) const ALL: [Self; 2] = [Self::Get, Self::Wait];

    pub(crate) fn words(self) -> OwnTool {
        let id = json!({"type": "string", "description": "The action's id, `act_…`, from the answer to a call."});
        let (name, description, properties) = match self {
            Self::Get => (
                "get_action",
                "Says how an act stands, and gives its result once it has ended.",
                json!({"action_id": id}),
            ),
            Self::Wait => (
                "wait_for_action",
                "Waits until an act has ended, at most timeout_seconds, and then says the same as get_action. An act \
                 that waits for approval begins by itself when people say yes.",
                json!({
                    "action_id": id,
                    "timeout_seconds": {"type": "integer", "minimum": 1, "maximum": WAIT_MAX.as_secs(), "default": WAIT_USUAL.as_secs()},
                }),
            ),
        };
        OwnTool {
            name,
            description,
            properties,
            required: &["action_id"],
            permission: Permission::Look,
            class: ActionClass::Read,
            idempotent: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(alias = "actionId")]
    action_id: String,
    #[serde(alias = "timeoutSeconds")]
    timeout_seconds: Option<u64>,
}

/// Looks at an act, or waits for it.
pub(crate) async fn call(
    platform: &Platform,
    asker: Asker,
    verb: ActionVerb,
    given: Map<String, Value>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, Refused> {
    let which: Which = arguments(given)?;
    let id: ActionId = which.action_id.parse().map_err(|error| Refused::failed(format!("`action_id`: {error}")))?;
    let action = match verb {
        ActionVerb::Get => platform.action(&asker.principal, &id).await?,
        ActionVerb::Wait => {
            let limit = which.timeout_seconds.map_or(WAIT_USUAL, Duration::from_secs).min(WAIT_MAX);
            wait(platform, &asker.principal, &id, limit, context).await?
        }
    };
    Ok(told(platform, &asker.principal, &action))
}

async fn wait(
    platform: &Platform,
    caller: &Principal,
    id: &ActionId,
    limit: Duration,
    context: &RequestContext<RoleServer>,
) -> Result<StoredAction, Refused> {
    let deadline = tokio::time::Instant::now() + limit;
    let wants_progress = context.meta.get_progress_token();
    let mut news = tokio::time::interval(PROGRESS_EVERY);
    news.tick().await;
    let mut told = 0.0;
    // Listening comes first, so that nothing falls between looking and waiting.
    let mut records = platform.store().subscribe();
    loop {
        let action = platform.action(caller, id).await?;
        if action.state.is_final() {
            return Ok(action);
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Ok(platform.action(caller, id).await?),
                () = context.ct.cancelled() => return Ok(action),
                record = records.recv() => match record {
                    Ok(record) if record.event.action_id.as_ref() != Some(id) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(action),
                },
                _ = news.tick() => {
                    let Some(token) = &wants_progress else { continue };
                    told += 1.0;
                    let progress = ProgressNotificationParam::new(token.clone(), told)
                        .with_message(format!("the act is {}", action.state.as_str()));
                    // A client that cannot hear it will hear the result.
                    let _ = context.peer.notify_progress(progress).await;
                }
            }
        }
    }
}

fn told(platform: &Platform, caller: &Principal, action: &StoredAction) -> CallToolResult {
    let target = platform.gate().spec(&action.tool).and_then(|spec| spec.target_argument.as_deref());
    let readable = platform.may_read_result(caller, action);
    let output = action.result.as_ref().filter(|_| readable);
    let mut body = output.map(body_of).unwrap_or_default();
    let about = json!({
        "action_id": action.action_id,
        "trace_id": action.trace_id,
        "state": action.state.as_str(),
        "tool": action.tool,
        "action_class": action.action_class.as_str(),
        "resource": action.resource.label(),
        "arguments": reeve_gate::masked_arguments(&action.arguments, target),
        "requested_by": action.requester.label(),
        "approval_id": action.approval_id,
        "created_at": action.created_at,
        "updated_at": action.updated_at,
        "error": action.error,
    });
    if let Value::Object(about) = about {
        body.extend(about.into_iter().filter(|(_, value)| !value.is_null()));
    }
    let text = match (output, &action.error) {
        (Some(output), _) => output.output.clone(),
        (None, Some(error)) => format!("{} is {}: {error}", action.action_id, action.state.as_str()),
        (None, None) if action.state == ActionState::AwaitingApproval => format!(
            "{} still waits for people to answer {}.",
            action.action_id,
            action.approval_id.as_ref().map_or_else(String::new, ToString::to_string)
        ),
        (None, None) => format!("{} is {}.", action.action_id, action.state.as_str()),
    };
    if matches!(action.state, ActionState::Failed | ActionState::Unknown) {
        let refusal = Refused::failed(text);
        return refused(body.into_iter().fold(refusal, |refusal, (key, value)| refusal.with(&key, value)));
    }
    worded(text, Value::Object(body))
}
