//! Tools about sessions: each is one verb of the sessions' service, under the caller's own name.

use reeve_platform::Platform;
use reeve_platform::sessions::{NewSessionWanted, SessionFilter, Sessions};
use reeve_types::session::{PermissionMode, SessionState};
use reeve_types::{ApprovalId, Principal, SessionId, WorkspaceId};
use rmcp::model::CallToolResult;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::{Refused, arguments, data};
use super::session_words::{BATCH_MAX, SessionVerb};
use super::transcript;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct One {
    #[serde(alias = "session_id")]
    session_id: String,
    text: Option<String>,
    command: Option<String>,
    reason: Option<String>,
    #[serde(alias = "approval_id")]
    approval_id: Option<ApprovalId>,
    approved: Option<bool>,
    #[serde(default)]
    remember: bool,
    #[serde(default)]
    force: bool,
    after: Option<u64>,
    since: Option<u64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Which {
    status: Option<SessionState>,
    #[serde(alias = "work_dir")]
    work_dir: Option<WorkspaceId>,
    cursor: Option<SessionId>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct New {
    agent: Option<String>,
    name: Option<String>,
    prompt: Option<String>,
    model: Option<String>,
    #[serde(alias = "workspace_id")]
    workspace_id: Option<WorkspaceId>,
    #[serde(alias = "work_dir")]
    work_dir: Option<String>,
    directory: Option<String>,
    #[serde(default, alias = "mode")]
    permission_mode: PermissionMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    sessions: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Does one thing about sessions.
pub(crate) async fn call(
    platform: &Platform,
    version: &str,
    caller: &Principal,
    verb: SessionVerb,
    given: Map<String, Value>,
) -> Result<CallToolResult, Refused> {
    if verb == SessionVerb::Health {
        let Nothing {} = arguments(given)?;
        return data(&health(platform, version));
    }
    let sessions = platform.sessions().ok_or_else(|| Refused::failed("this server has no sessions"))?;
    match verb {
        SessionVerb::Health => data(&health(platform, version)),
        SessionVerb::Agents => {
            let Nothing {} = arguments(given)?;
            data(&json!({"agents": sessions.agents(&caller.tenant)}))
        }
        SessionVerb::List => {
            let which: Which = arguments(given)?;
            let filter = SessionFilter {
                state: which.status,
                workspace: which.work_dir,
                before: which.cursor,
                limit: which.limit.unwrap_or(50).clamp(1, 200),
                ..SessionFilter::default()
            };
            data(&sessions.list(caller, filter).await?)
        }
        SessionVerb::Create => {
            let wanted = wanted(arguments(given)?)?;
            data(&sessions.create(caller, wanted).await?)
        }
        SessionVerb::CreateBatch => batch(&sessions, caller, arguments(given)?).await,
        _ => about_one(&sessions, caller, verb, arguments(given)?).await,
    }
}

/// What `server_health` and the resource of the same name say.
pub(crate) fn health(platform: &Platform, version: &str) -> Value {
    let recording = platform.store().health().is_ok();
    json!({"status": if recording { "ok" } else { "degraded" }, "version": version, "recording": recording})
}

async fn about_one(
    sessions: &Sessions,
    caller: &Principal,
    verb: SessionVerb,
    one: One,
) -> Result<CallToolResult, Refused> {
    let id = &session_id(&one.session_id)?;
    let reason = one.reason.as_deref().unwrap_or_default();
    let limit = |usual: usize| one.limit.unwrap_or(usual).clamp(1, 500);
    match verb {
        SessionVerb::Status => data(&sessions.get(caller, id).await?),
        SessionVerb::Transcript => data(&transcript::transcript(sessions, caller, id, one.after, limit(50)).await?),
        SessionVerb::Events => {
            let page = sessions.events(caller, id, one.since.unwrap_or(0), limit(100)).await?;
            let next = page.last().map(|(seq, _)| *seq);
            let events: Vec<Value> = page.iter().filter_map(|(_, json)| serde_json::from_str(json).ok()).collect();
            data(&json!({"events": events, "nextSeq": next}))
        }
        SessionVerb::Summary => {
            let session = sessions.get(caller, id).await?;
            let (counts, last) = transcript::counted(sessions, caller, id).await?;
            data(&json!({"session": session, "last_message": last, "counts": counts}))
        }
        SessionVerb::Metrics => {
            let session = sessions.get(caller, id).await?;
            let (counts, _) = transcript::counted(sessions, caller, id).await?;
            let lasting = session.updated_at.duration_since(session.created_at);
            let duration_ms = u64::try_from(lasting.as_millis()).unwrap_or(0);
            data(&json!({
                "session_id": id, "state": session.state, "turns": session.turns, "duration_ms": duration_ms,
                "usage": session.usage, "counts": counts,
            }))
        }
        SessionVerb::Latency => {
            data(&json!({"session_id": id, "aggregated": transcript::timed(sessions, caller, id).await?}))
        }
        SessionVerb::Command => {
            let command = one.command.as_deref().map(|command| command.trim().trim_start_matches('/'));
            let command = command.filter(|command| !command.is_empty());
            let command = command.ok_or_else(|| Refused::failed("`command` is missing: name one"))?;
            data(&sessions.prompt(caller, id, &format!("/{command}")).await?)
        }
        SessionVerb::Send | SessionVerb::Prompt => {
            let text = one.text.ok_or_else(|| Refused::failed("`text` is missing: say something"))?;
            data(&sessions.prompt(caller, id, &text).await?)
        }
        SessionVerb::Approve | SessionVerb::Reject | SessionVerb::Respond => {
            let yes = match verb {
                SessionVerb::Respond => one.approved.ok_or_else(|| Refused::failed("`approved` is missing"))?,
                _ => verb == SessionVerb::Approve,
            };
            let settled = sessions.answer(caller, id, one.approval_id.as_ref(), yes, reason, one.remember).await?;
            data(&json!({
                "approval_id": settled.approval_id, "action_id": settled.action_id, "status": settled.status,
            }))
        }
        SessionVerb::Escape => {
            sessions.cancel(caller, id).await?;
            data(&sessions.get(caller, id).await?)
        }
        SessionVerb::Interrupt => {
            sessions.interrupt(caller, id).await?;
            data(&sessions.get(caller, id).await?)
        }
        SessionVerb::Cancel => {
            if one.force {
                sessions.interrupt(caller, id).await?;
            } else {
                sessions.cancel(caller, id).await?;
            }
            data(&sessions.get(caller, id).await?)
        }
        SessionVerb::Resume => data(&sessions.resume(caller, id).await?),
        SessionVerb::Kill => data(&sessions.kill(caller, id, reason).await?),
        SessionVerb::Health
        | SessionVerb::Agents
        | SessionVerb::List
        | SessionVerb::Create
        | SessionVerb::CreateBatch => Err(Refused::failed("this is about more than one session")),
    }
}

async fn batch(sessions: &Sessions, caller: &Principal, batch: Batch) -> Result<CallToolResult, Refused> {
    if batch.sessions.is_empty() || batch.sessions.len() > BATCH_MAX {
        return Err(Refused::failed(format!("`sessions` must hold 1 to {BATCH_MAX} of them")));
    }
    let (mut begun, mut errors) = (Vec::new(), Vec::new());
    for (index, given) in batch.sessions.into_iter().enumerate() {
        let made = match arguments(given).and_then(wanted) {
            Ok(wanted) => sessions.create(caller, wanted).await.map_err(Refused::from),
            Err(refused) => Err(refused),
        };
        match made {
            Ok(session) => begun.push(session),
            Err(refused) => errors.push(refused.at(index)),
        }
    }
    data(&json!({"created": begun.len(), "failed": errors.len(), "sessions": begun, "errors": errors}))
}

/// The id of a session, or the guide's word for one that is none.
pub(crate) fn session_id(text: &str) -> Result<SessionId, Refused> {
    text.parse().map_err(|error| Refused::new("INVALID_SESSION_ID", format!("`sessionId`: {error}")))
}

fn wanted(new: New) -> Result<NewSessionWanted, Refused> {
    let (mut workspace_id, mut directory) = (new.workspace_id, new.directory.unwrap_or_default());
    let place = new.work_dir.filter(|place| !place.is_empty());
    let (on_host, place) = match place {
        Some(place) if place.starts_with('/') => (Some(place), None),
        other => (None, other),
    };
    if let Some(place) = place {
        let (id, below) = place.split_once('/').unwrap_or((&place, ""));
        let named: WorkspaceId = id.parse().map_err(|_| {
            Refused::failed(
                "`workDir` must name a workspace, `wsp_…` or `wsp_…/directory`, or be the absolute path of a directory of \
                 the host",
            )
        })?;
        if workspace_id.as_ref().is_some_and(|other| *other != named) {
            return Err(Refused::failed("`workDir` and `workspaceId` name two workspaces"));
        }
        workspace_id = Some(named);
        if directory.is_empty() {
            below.clone_into(&mut directory);
        }
    }
    Ok(NewSessionWanted {
        agent: new.agent,
        title: new.name,
        prompt: new.prompt,
        model: new.model,
        workspace_id,
        directory,
        work_dir: on_host,
        mode: new.permission_mode,
        ..NewSessionWanted::default()
    })
}
