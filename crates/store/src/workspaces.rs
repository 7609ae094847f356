//! Workspaces and their snapshots. Each transition is one transaction that looks at the present row first.

use reeve_types::workspace::Snapshot;
use reeve_types::{SnapshotId, TenantId, Workspace, WorkspaceId, WorkspaceState};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, micros, parse_json, to_json};

/// A workspace with what only the platform needs to know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredWorkspace {
    /// As its owner sees it.
    pub workspace: Workspace,
    /// Whose it is, unmistakably: `user:alice`. A spare that waits to be claimed is nobody's: empty.
    pub owner: String,
    /// The state that it should come to.
    pub desired: WorkspaceState,
    /// Environment variables of every process in it.
    pub environment: Vec<(String, String)>,
    /// Whether its files have been laid out; before that nobody sees it.
    pub made: bool,
    /// Whether the operator made it, whose directories of the host are held against no tenant's.
    #[serde(default)]
    pub by_operator: bool,
}

impl StoredWorkspace {
    /// Whether it waits, started, for somebody who makes a workspace. Nobody sees it and no quota counts it.
    pub fn is_spare(&self) -> bool {
        self.owner.is_empty()
    }
}

/// How much one owner, or one tenant, may have. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Workspaces that are not deleted.
    pub workspaces: u32,
    /// Workspaces that run at the same time.
    pub running: u32,
    /// The disk limits of all workspaces together, deleted ones included until they are purged, in bytes.
    pub disk_bytes: u64,
}

/// The quotas that a transaction holds.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// Of the owner.
    pub owner: Quota,
    /// Of the whole tenant.
    pub tenant: Quota,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives per change, and the large variant is the usual one")]
pub enum Altered {
    /// It was made.
    Done(StoredWorkspace),
    /// There is no such workspace.
    Gone,
    /// It is in a state from which this does not lead on.
    Elsewhere(WorkspaceState),
    /// A quota is used up; in words.
    Full(String),
}

fn stored(db: &Connection, tenant: &str, id: &str) -> Result<Option<StoredWorkspace>, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM workspaces WHERE workspace_id = ?1 AND tenant = ?2")?
        .query_row(params![id, tenant], |row| row.get(0))
        .optional()?;
    body.map(|body| parse_json(id, &body)).transpose()
}

/// One workspace, whoever's it is: for the platform's own spares.
fn any(db: &Connection, id: &str) -> Result<Option<StoredWorkspace>, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM workspaces WHERE workspace_id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    body.map(|body| parse_json(id, &body)).transpose()
}

/// What no change of state or of words touches.
fn keep_identity(before: &StoredWorkspace, after: &mut StoredWorkspace) {
    after.owner.clone_from(&before.owner);
    after.workspace.id = before.workspace.id.clone();
    after.workspace.tenant = before.workspace.tenant.clone();
    after.workspace.created_at = before.workspace.created_at;
}

fn put(db: &Connection, row: &StoredWorkspace) -> Result<(), StoreError> {
    let seen = &row.workspace;
    db.execute(
        "INSERT INTO workspaces (workspace_id, tenant, owner, state, disk_bytes, made, created_us, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (workspace_id) DO UPDATE SET
             tenant = ?2, owner = ?3, state = ?4, disk_bytes = ?5, made = ?6, created_us = ?7, body = ?8",
        params![
            seen.id.as_str(),
            seen.tenant.as_str(),
            row.owner,
            seen.state.as_str(),
            i64::try_from(seen.limits.disk_bytes).unwrap_or(i64::MAX),
            row.made,
            micros(seen.created_at),
            to_json(seen.id.as_str(), row)?,
        ],
    )?;
    Ok(())
}

/// Says which quota the present rows exceed, the changed one included.
fn exceeded(
    db: &Connection,
    row: &StoredWorkspace,
    quotas: &Quotas,
    starts: bool,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE state <> 'deleted'),
                      count(*) FILTER (WHERE state IN ('starting', 'running', 'suspending')),
                      coalesce(sum(disk_bytes), 0)
               FROM workspaces WHERE tenant = ?1 AND owner <> '' AND (?2 IS NULL OR owner = ?2)";
    let tenant = row.workspace.tenant.as_str();
    for (quota, owner, whose) in [(quotas.owner, Some(&row.owner), "you"), (quotas.tenant, None, "this tenant")] {
        let (all, running, disk): (i64, i64, i64) = db
            .prepare_cached(sql)?
            .query_row(params![tenant, owner], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let over = |limit: u64, found: i64| limit != 0 && u64::try_from(found).unwrap_or(0) > limit;
        if starts && over(u64::from(quota.running), running) {
            let limit = quota.running;
            return Ok(Some(format!("{whose} may run {limit} workspaces at the same time; suspend one first")));
        }
        if !starts && over(u64::from(quota.workspaces), all) {
            let limit = quota.workspaces;
            return Ok(Some(format!("{whose} may have {limit} workspaces; delete one first")));
        }
        if !starts && over(quota.disk_bytes, disk) {
            let limit = quota.disk_bytes;
            return Ok(Some(format!(
                "the disk limits of all workspaces together may be {limit} bytes for {whose}; delete or purge one first"
            )));
        }
    }
    Ok(None)
}

impl Store {
    /// Keeps a new workspace, unless a quota is used up; then says which. A spare has no quota.
    pub async fn add_workspace(&self, row: StoredWorkspace, quotas: Quotas) -> Result<Option<String>, StoreError> {
        self.write(move |db| {
            put(db, &row)?;
            let full = if row.is_spare() { None } else { exceeded(db, &row, &quotas, false)? };
            if full.is_some() {
                db.execute("DELETE FROM workspaces WHERE workspace_id = ?1", [row.workspace.id.as_str()])?;
            }
            Ok(full)
        })
        .await
    }

    /// One workspace of a tenant.
    pub async fn workspace(&self, tenant: &TenantId, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.read(move |db| stored(db, tenant.as_str(), id.as_str())).await
    }

    /// Gives a spare that runs to somebody, with everything that makes it theirs, in one transaction that holds the
    /// quotas. The state stays `running`.
    pub async fn claim_workspace(
        &self,
        id: &WorkspaceId,
        quotas: Quotas,
        whose: impl FnOnce(&mut StoredWorkspace) + Send + 'static,
    ) -> Result<Altered, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let Some(before) = any(db, id.as_str())?.filter(|row| row.is_spare() && row.made) else {
                return Ok(Altered::Gone);
            };
            if before.workspace.state != WorkspaceState::Running {
                return Ok(Altered::Elsewhere(before.workspace.state));
            }
            let mut after = before.clone();
            whose(&mut after);
            (after.workspace.id, after.workspace.state) = (before.workspace.id.clone(), before.workspace.state);
            if after.is_spare() {
                return Ok(Altered::Elsewhere(before.workspace.state));
            }
            put(db, &after)?;
            for starts in [false, true] {
                if let Some(full) = exceeded(db, &after, &quotas, starts)? {
                    put(db, &before)?;
                    return Ok(Altered::Full(full));
                }
            }
            Ok(Altered::Done(after))
        })
        .await
    }

    /// Takes a spare out of use, so that nobody can claim it any more. Returns whether it still was a spare.
    pub async fn discard_spare(&self, id: &WorkspaceId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let Some(mut row) = any(db, id.as_str())?.filter(StoredWorkspace::is_spare) else { return Ok(false) };
            (row.made, row.workspace.state) = (false, WorkspaceState::Deleting);
            put(db, &row)?;
            Ok(true)
        })
        .await
    }

    /// Workspaces of a tenant that have been made, newest first: those of one owner, or all; in one state, or all that are
    /// not deleted. Spares are nobody's and in no list.
    pub async fn workspaces(
        &self,
        tenant: &TenantId,
        owner: Option<String>,
        state: Option<WorkspaceState>,
        before: Option<WorkspaceId>,
        limit: usize,
    ) -> Result<Vec<StoredWorkspace>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| {
            // A claimed spare is as new as its claim, whatever its id says.
            let mut statement = db.prepare_cached(
                "SELECT body FROM workspaces AS w WHERE tenant = ?1 AND made AND owner <> ''
                 AND (?2 IS NULL OR owner = ?2) AND ((?3 IS NULL AND state <> 'deleted') OR state = ?3)
                 AND (?4 IS NULL OR (created_us, workspace_id) < (
                     coalesce((SELECT created_us FROM workspaces WHERE workspace_id = ?4), w.created_us), ?4))
                 ORDER BY created_us DESC, workspace_id DESC LIMIT ?5",
            )?;
            let values = params![
                tenant.as_str(),
                owner,
                state.map(WorkspaceState::as_str),
                before.as_ref().map(WorkspaceId::as_str),
                i64::try_from(limit).unwrap_or(100)
            ];
            let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("workspace", &body?)).collect()
        })
        .await
    }

    /// Every workspace of every tenant: for the platform's own tending.
    pub async fn every_workspace(&self) -> Result<Vec<StoredWorkspace>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT body FROM workspaces ORDER BY workspace_id")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("workspace", &body?)).collect()
        })
        .await
    }

    /// Moves a workspace to another state in one transaction, if its present state leads there and, with quotas, if
    /// there is room for one more that runs.
    pub async fn move_workspace(
        &self,
        tenant: &TenantId,
        id: &WorkspaceId,
        to: WorkspaceState,
        quotas: Option<Quotas>,
        also: impl FnOnce(&mut StoredWorkspace) + Send + 'static,
    ) -> Result<Altered, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.write(move |db| {
            let Some(before) = stored(db, tenant.as_str(), id.as_str())? else { return Ok(Altered::Gone) };
            if !before.workspace.state.may_become(to) {
                return Ok(Altered::Elsewhere(before.workspace.state));
            }
            let mut after = before.clone();
            also(&mut after);
            keep_identity(&before, &mut after);
            after.workspace.state = to;
            put(db, &after)?;
            if let Some(quotas) = quotas.filter(|_| !after.is_spare())
                && let Some(full) = exceeded(db, &after, &quotas, true)?
            {
                put(db, &before)?;
                return Ok(Altered::Full(full));
            }
            Ok(Altered::Done(after))
        })
        .await
    }

    /// Changes what is said of a workspace, and never its state.
    pub async fn alter_workspace(
        &self,
        tenant: &TenantId,
        id: &WorkspaceId,
        how: impl FnOnce(&mut StoredWorkspace) + Send + 'static,
    ) -> Result<Altered, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.write(move |db| {
            let Some(before) = stored(db, tenant.as_str(), id.as_str())? else { return Ok(Altered::Gone) };
            let mut row = before.clone();
            how(&mut row);
            keep_identity(&before, &mut row);
            row.workspace.state = before.workspace.state;
            put(db, &row)?;
            Ok(Altered::Done(row))
        })
        .await
    }

    /// Forgets a workspace with its snapshots.
    pub async fn remove_workspace(&self, tenant: &TenantId, id: &WorkspaceId) -> Result<(), StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.write(move |db| {
            for table in ["workspace_snapshots", "workspaces"] {
                let sql = format!("DELETE FROM {table} WHERE workspace_id = ?1 AND tenant = ?2");
                db.execute(&sql, params![id.as_str(), tenant.as_str()])?;
            }
            Ok(())
        })
        .await
    }

    /// Keeps a snapshot; again, once it is known how large it is. `made` says whether its files are there.
    pub async fn put_snapshot(&self, tenant: &TenantId, snapshot: Snapshot, made: bool) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.write(move |db| {
            db.execute(
                "INSERT INTO workspace_snapshots (snapshot_id, workspace_id, tenant, made, body) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (snapshot_id) DO UPDATE SET made = ?4, body = ?5",
                params![
                    snapshot.id.as_str(),
                    snapshot.workspace_id.as_str(),
                    tenant.as_str(),
                    made,
                    to_json("snapshot", &snapshot)?
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// The snapshots of a workspace, oldest first; with those that were never finished when `all`.
    pub async fn snapshots(&self, tenant: &TenantId, id: &WorkspaceId, all: bool) -> Result<Vec<Snapshot>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT body FROM workspace_snapshots WHERE workspace_id = ?1 AND tenant = ?2 AND (made OR ?3)
                 ORDER BY snapshot_id",
            )?;
            let rows =
                statement.query_map(params![id.as_str(), tenant.as_str(), all], |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("snapshot", &body?)).collect()
        })
        .await
    }

    /// Snapshots of all tenants that were begun and not finished: for the platform's own tending.
    pub async fn unfinished_snapshots(&self) -> Result<Vec<Snapshot>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT body FROM workspace_snapshots WHERE NOT made")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|body| parse_json("snapshot", &body?)).collect()
        })
        .await
    }

    /// Forgets a snapshot.
    pub async fn remove_snapshot(&self, tenant: &TenantId, id: &SnapshotId) -> Result<(), StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.write(move |db| {
            db.execute(
                "DELETE FROM workspace_snapshots WHERE snapshot_id = ?1 AND tenant = ?2",
                params![id.as_str(), tenant.as_str()],
            )?;
            Ok(())
        })
        .await
    }
}
