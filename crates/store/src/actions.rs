//! Actions, as tables.

use reeve_gate::StoredAction;
use reeve_types::{ActionId, ActionState, Arguments, Digest, Principal, Purpose, Resource, TenantId, ToolOutput};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use crate::project::as_json;
use crate::{Store, StoreError, micros, moment, parse_json};

/// What of an action never changes; kept as one JSON column.
#[derive(Serialize, Deserialize)]
struct Body {
    tool: String,
    action_class: reeve_types::ActionClass,
    arguments: Arguments,
    resource: Resource,
    requester: Principal,
    purpose: Option<Purpose>,
}

/// Which actions a list should show.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// Those in this state.
    pub state: Option<ActionState>,
    /// At most so many, newest first.
    pub limit: usize,
}

const COLUMNS: &str =
    "action_id, trace_id, state, act_digest, approval_id, created_us, updated_us, collected_us, body, result, error";

struct RawRow {
    action_id: String,
    trace_id: String,
    state: String,
    act_digest: String,
    approval_id: Option<String>,
    created_us: i64,
    updated_us: i64,
    collected_us: Option<i64>,
    body: String,
    result: Option<String>,
    error: Option<String>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawRow> {
    Ok(RawRow {
        action_id: row.get(0)?,
        trace_id: row.get(1)?,
        state: row.get(2)?,
        act_digest: row.get(3)?,
        approval_id: row.get(4)?,
        created_us: row.get(5)?,
        updated_us: row.get(6)?,
        collected_us: row.get(7)?,
        body: row.get(8)?,
        result: row.get(9)?,
        error: row.get(10)?,
    })
}

fn action(raw: RawRow) -> Result<StoredAction, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { what: raw.action_id.clone(), reason };
    let body: Body = parse_json(&raw.action_id, &raw.body)?;
    let state = ActionState::parse(&raw.state).ok_or_else(|| corrupt(format!("unknown state `{}`", raw.state)))?;
    Ok(StoredAction {
        action_id: raw.action_id.parse().map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()))?,
        trace_id: raw.trace_id.parse().map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()))?,
        state,
        tool: body.tool,
        action_class: body.action_class,
        arguments: body.arguments,
        resource: body.resource,
        requester: body.requester,
        purpose: body.purpose,
        act_digest: raw.act_digest.parse().map_err(|e: reeve_types::canonical::NotADigest| corrupt(e.to_string()))?,
        approval_id: raw
            .approval_id
            .map(|id| id.parse())
            .transpose()
            .map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()))?,
        created_at: moment(raw.created_us),
        updated_at: moment(raw.updated_us),
        result: raw.result.map(|text| parse_json(&raw.action_id, &text)).transpose()?,
        error: raw.error,
        collected_at: raw.collected_us.map(moment),
    })
}

pub(crate) fn insert(state: &Connection, action: &StoredAction) -> Result<(), StoreError> {
    let id = action.action_id.as_str();
    let body = Body {
        tool: action.tool.clone(),
        action_class: action.action_class,
        arguments: action.arguments.clone(),
        resource: action.resource.clone(),
        requester: action.requester.clone(),
        purpose: action.purpose,
    };
    state
        .prepare_cached(
            "INSERT OR IGNORE INTO actions (action_id, tenant, trace_id, state, act_digest, approval_id, created_us, updated_us, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id,
            action.requester.tenant.as_str(),
            action.trace_id.as_str(),
            action.state.as_str(),
            action.act_digest.to_string(),
            action.approval_id.as_ref().map(reeve_types::ApprovalId::as_str),
            micros(action.created_at),
            micros(action.updated_at),
            as_json(id, &body)?,
        ])?;
    Ok(())
}

pub(crate) fn advance(
    state: &Connection,
    id: &ActionId,
    next: ActionState,
    at_us: i64,
    result: Option<&ToolOutput>,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let result = result.map(|output| as_json(id.as_str(), output)).transpose()?;
    state
        .prepare_cached(
            "UPDATE actions SET state = ?2, updated_us = ?3, result = coalesce(?4, result), error = coalesce(?5, error)
             WHERE action_id = ?1",
        )?
        .execute(params![id.as_str(), next.as_str(), at_us, result, error])?;
    Ok(())
}

pub(crate) fn state_of(state: &Connection, id: &ActionId) -> Result<Option<ActionState>, StoreError> {
    let text: Option<String> = state
        .prepare_cached("SELECT state FROM actions WHERE action_id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(text.as_deref().and_then(ActionState::parse))
}

pub(crate) fn get(db: &Connection, id: &ActionId) -> Result<Option<StoredAction>, StoreError> {
    let row = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM actions WHERE action_id = ?1"))?
        .query_row([id.as_str()], raw)
        .optional()?;
    row.map(action).transpose()
}

/// How long an ended act waits for its requester to ask again and collect the result. After that the same request is
/// a new act: somebody who looked at the result in another way must not get last week's.
const COLLECT_WITHIN_US: i64 = 15 * 60 * 1_000_000;

/// The act of this digest that waits, runs, or has ended lately and was not collected. With `expiring`, an act whose
/// question has expired by now does not wait.
pub(crate) fn find_live(
    db: &Connection,
    digest: Digest,
    now_us: i64,
    expiring: bool,
) -> Result<Option<StoredAction>, StoreError> {
    let expired_us = expiring.then_some(now_us);
    let sql = format!(
        "SELECT {COLUMNS} FROM actions WHERE act_digest = ?1 AND (state IN ('approved', 'running')
           OR (state = 'awaiting_approval' AND NOT EXISTS (
                 SELECT 1 FROM approvals a WHERE a.approval_id = actions.approval_id AND (a.status <> 'pending' OR a.expires_us <= ?2)))
           OR (state IN ('succeeded', 'failed', 'unknown') AND collected_us IS NULL AND updated_us > ?3))
         ORDER BY created_us DESC LIMIT 1"
    );
    let row = db
        .prepare_cached(&sql)?
        .query_row(params![digest.to_string(), expired_us, now_us - COLLECT_WITHIN_US], raw)
        .optional()?;
    row.map(action).transpose()
}

impl Store {
    /// One action of a tenant.
    pub async fn action_of(&self, tenant: &TenantId, id: &ActionId) -> Result<Option<StoredAction>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.read(move |db| Ok(get(db, &id)?.filter(|action| action.requester.tenant == tenant))).await
    }

    /// Actions of a tenant, newest first.
    pub async fn actions(&self, tenant: &TenantId, filter: ActionFilter) -> Result<Vec<StoredAction>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM actions WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2)
                 ORDER BY created_us DESC LIMIT ?3"
            );
            let limit = i64::try_from(filter.limit).unwrap_or(100);
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map(params![tenant, filter.state.map(ActionState::as_str), limit], raw)?;
            rows.map(|row| action(row?)).collect()
        })
        .await
    }

    /// Actions of all tenants that a stopped process left between two states: running, or approved and not begun.
    pub async fn interrupted_actions(&self) -> Result<Vec<StoredAction>, StoreError> {
        self.actions_in("'approved', 'running'").await
    }

    /// Actions of all tenants that may still come to run, or run: what they need must stay.
    pub async fn unsettled_actions(&self) -> Result<Vec<StoredAction>, StoreError> {
        self.actions_in("'awaiting_approval', 'approved', 'running'").await
    }

    async fn actions_in(&self, states: &'static str) -> Result<Vec<StoredAction>, StoreError> {
        self.read(move |db| {
            let sql = format!("SELECT {COLUMNS} FROM actions WHERE state IN ({states}) ORDER BY created_us");
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map([], raw)?;
            rows.map(|row| action(row?)).collect()
        })
        .await
    }
}
