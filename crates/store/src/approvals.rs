//! Questions to people, as tables.

use reeve_types::{Approval, ApprovalId, ApprovalStatus, TenantId};
use rusqlite::{Connection, params, params_from_iter, types::Value};

use crate::project::{as_json, json_row};
use crate::{Store, StoreError, micros, parse_json};

/// Which approvals a list should show. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Those that stand so at `now`.
    pub status: Option<ApprovalStatus>,
    /// Of tools of this agent.
    pub agent: Option<String>,
    /// Of this journey.
    pub trace_id: Option<String>,
    /// Asked for by this principal (`user:alice`, or the bare name).
    pub requested_by: Option<String>,
    /// About this tool.
    pub tool_name: Option<String>,
    /// At most so many, newest first.
    pub limit: usize,
    /// Only those asked before this moment (the cursor).
    pub before_us: Option<i64>,
}

const COLUMNS: &str =
    "approval_id, action_id, tenant, status, requested_us, expires_us, trace_id, tool, agent, requester, body";

pub(crate) fn insert(state: &Connection, approval: &Approval) -> Result<(), StoreError> {
    let id = approval.approval_id.as_str();
    state
        .prepare_cached(&format!(
            "INSERT OR IGNORE INTO approvals ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
        ))?
        .execute(params![
            id,
            approval.action_id.as_str(),
            approval.requester.tenant.as_str(),
            approval.status.as_str(),
            micros(approval.requested_at),
            micros(approval.expires_at),
            approval.trace_id.as_str(),
            approval.tool_name,
            approval.agent_name,
            approval.requester.label(),
            as_json(id, approval)?,
        ])?;
    Ok(())
}

pub(crate) fn get(state: &Connection, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
    json_row(state, "SELECT body FROM approvals WHERE approval_id = ?1", id.as_str())
}

pub(crate) fn change(state: &Connection, id: &ApprovalId, edit: impl FnOnce(&mut Approval)) -> Result<(), StoreError> {
    let Some(mut approval) = get(state, id)? else { return Ok(()) };
    edit(&mut approval);
    state.prepare_cached("UPDATE approvals SET status = ?2, body = ?3 WHERE approval_id = ?1")?.execute(params![
        id.as_str(),
        approval.status.as_str(),
        as_json(id.as_str(), &approval)?
    ])?;
    Ok(())
}

impl Store {
    /// One approval of a tenant.
    pub async fn approval(&self, tenant: &TenantId, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.read(move |db| Ok(get(db, &id)?.filter(|approval| approval.requester.tenant == tenant))).await
    }

    /// Approvals of a tenant, newest first. `now` decides which pending ones have expired.
    pub async fn approvals(
        &self,
        tenant: &TenantId,
        filter: ApprovalFilter,
        now: jiff::Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| list(db, &tenant, &filter, micros(now))).await
    }

    /// Pending approvals of all tenants whose time is over.
    pub async fn overdue_approvals(&self, now: jiff::Timestamp) -> Result<Vec<Approval>, StoreError> {
        self.read(move |db| {
            let sql = "SELECT body FROM approvals WHERE status = 'pending' AND expires_us <= ?1 ORDER BY expires_us LIMIT 200";
            rows(db, sql, vec![Value::Integer(micros(now))])
        })
        .await
    }

    /// How many questions of all tenants wait for people.
    pub async fn pending_approvals(&self, now: jiff::Timestamp) -> Result<u64, StoreError> {
        self.read(move |db| {
            let sql = "SELECT count(*) FROM approvals WHERE status = 'pending' AND expires_us > ?1";
            let count: i64 = db.query_row(sql, [micros(now)], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
        .await
    }

    /// The moment at which the next pending approval expires.
    pub async fn next_expiry(&self) -> Result<Option<jiff::Timestamp>, StoreError> {
        self.read(|db| {
            let us: Option<i64> =
                db.query_row("SELECT min(expires_us) FROM approvals WHERE status = 'pending'", [], |row| row.get(0))?;
            Ok(us.map(crate::moment))
        })
        .await
    }
}

fn list(db: &Connection, tenant: &str, filter: &ApprovalFilter, now_us: i64) -> Result<Vec<Approval>, StoreError> {
    let mut sql = "SELECT body FROM approvals WHERE tenant = ?".to_owned();
    let mut values = vec![Value::Text(tenant.to_owned())];
    match filter.status {
        None => {}
        Some(ApprovalStatus::Pending) => {
            sql.push_str(" AND status = 'pending' AND expires_us > ?");
            values.push(Value::Integer(now_us));
        }
        Some(ApprovalStatus::Expired) => {
            sql.push_str(" AND (status = 'expired' OR (status = 'pending' AND expires_us <= ?))");
            values.push(Value::Integer(now_us));
        }
        Some(status) => {
            sql.push_str(" AND status = ?");
            values.push(Value::Text(status.as_str().to_owned()));
        }
    }
    for (column, wanted) in [("agent", &filter.agent), ("trace_id", &filter.trace_id), ("tool", &filter.tool_name)] {
        if let Some(wanted) = wanted {
            sql.push_str(&format!(" AND {column} = ?"));
            values.push(Value::Text(wanted.clone()));
        }
    }
    if let Some(by) = &filter.requested_by {
        sql.push_str(" AND (requester = ? OR requester LIKE '%:' || ?)");
        values.extend([Value::Text(by.clone()), Value::Text(by.clone())]);
    }
    if let Some(before) = filter.before_us {
        sql.push_str(" AND requested_us < ?");
        values.push(Value::Integer(before));
    }
    sql.push_str(" ORDER BY requested_us DESC, approval_id DESC LIMIT ?");
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(100)));
    rows(db, &sql, values)
}

fn rows(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Approval>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let bodies = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(0))?;
    bodies.map(|body| parse_json("approval", &body?)).collect()
}
