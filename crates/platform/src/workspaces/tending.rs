//! Tending: what is idle is suspended, what a crash left is put right, what is deleted long enough is purged.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use reeve_store::StoredWorkspace;
use reeve_types::{WorkspaceId, WorkspaceState};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{NotDone, Workspaces, lock};

/// How often idle workspaces are looked for.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// How often the database is held against the machine.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);
/// How often a use is written down at most.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// The pause before the platform asks again for what it was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What the tending remembers from one round to the next.
#[derive(Default)]
pub(super) struct Seen {
    unknown: HashMap<WorkspaceId, Timestamp>,
    refused: HashMap<(WorkspaceId, &'static str), Timestamp>,
}

fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

impl Workspaces {
    /// Tends workspaces until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut idle = tokio::time::interval(IDLE_EVERY);
        let mut reconcile = tokio::time::interval(RECONCILE_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = reconcile.tick() => self.reconcile().await,
                _ = idle.tick() => self.suspend_idle().await,
            }
        }
        self.write_uses(Duration::ZERO).await;
    }

    async fn every(&self) -> Vec<StoredWorkspace> {
        match self.core.store.every_workspace().await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!("workspaces could not be read: {}", error.chain());
                Vec::new()
            }
        }
    }

    /// Suspends what nobody has used for its idle time, by an act of the platform's own.
    pub async fn suspend_idle(&self) {
        self.write_uses(WRITE_EVERY).await;
        let now = self.core.clock.now();
        for row in self.every().await {
            let seen = self.core.shown(&row);
            let busy = lock(&self.core.uses).get(&seen.id).is_some_and(|uses| uses.busy > 0);
            if !busy && seen.suspends_at.is_some_and(|at| at <= now) {
                self.by_itself(&row, "workspace_suspend", json!({}), "nobody has used it for its idle time").await;
            }
        }
    }

    async fn write_uses(&self, every: Duration) {
        let now = self.core.clock.now();
        let due: Vec<_> = lock(&self.core.uses)
            .iter()
            .filter(|(_, uses)| uses.last > uses.written && since(now, uses.written) >= every)
            .map(|(id, uses)| (id.clone(), *uses))
            .collect();
        if due.is_empty() {
            return;
        }
        let rows: HashMap<WorkspaceId, StoredWorkspace> =
            self.every().await.into_iter().map(|row| (row.workspace.id.clone(), row)).collect();
        for (id, uses) in due {
            let Some(row) = rows.get(&id) else {
                lock(&self.core.uses).remove(&id);
                continue;
            };
            if self.core.note_use(row, uses.last, uses.because).await
                && let Some(kept) = lock(&self.core.uses).get_mut(&id)
            {
                kept.written = now;
            }
        }
    }

    /// Holds the database against what the drivers find, and puts right what differs.
    pub async fn reconcile(&self) {
        self.core.staging.sweep();
        let now = self.core.clock.now();
        for driver in self.core.drivers.values() {
            // The machine first: what is made after this look is not missed in it.
            let found = match driver.found().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!("the driver `{}` cannot say what there is: {error}", driver.kind());
                    continue;
                }
            };
            let rows = self.every().await;
            let rows: Vec<_> = rows.iter().filter(|row| row.workspace.driver == driver.kind()).collect();
            for row in &rows {
                let there = found.iter().find(|found| found.workspace == row.workspace.id);
                self.put_right(row, there.is_some_and(|found| found.running), now).await;
            }
            for left in found {
                if rows.iter().any(|row| row.workspace.id == left.workspace) {
                    lock(&self.core.tending).unknown.remove(&left.workspace);
                    continue;
                }
                let first = *lock(&self.core.tending).unknown.entry(left.workspace.clone()).or_insert(now);
                if since(now, first) >= self.core.options.sweep_grace {
                    match driver.sweep(&left.workspace).await {
                        Ok(()) => {
                            lock(&self.core.tending).unknown.remove(&left.workspace);
                        }
                        Err(error) => tracing::warn!(workspace.id = %left.workspace, "it could not be swept: {error}"),
                    }
                }
            }
        }
    }

    async fn put_right(&self, row: &StoredWorkspace, runs: bool, now: Timestamp) {
        use WorkspaceState as S;
        let id = &row.workspace.id;
        if lock(&self.core.in_hand).contains_key(id) {
            return;
        }
        // The row was read before: what was in hand then has moved on since.
        match self.core.store.workspace(&row.workspace.tenant, id).await {
            Ok(Some(present)) if present == *row => {}
            _ => return,
        }
        if !row.made {
            if let Err(error) = self.core.forget_unmade(row).await {
                tracing::warn!(workspace.id = %id, "what a crash left half made could not be removed: {error}");
            }
            return;
        }
        let for_good = row.desired == S::Deleting;
        match (row.workspace.state, runs) {
            (S::Starting, true) => self.core.found_in(row, &[S::Running], None).await,
            (S::Starting, false) => {
                let why = "the server ended while the workspace was being started; start it again".to_owned();
                self.core.found_in(row, &[S::Error], Some(why)).await;
            }
            (S::Running, false) => self.core.found_in(row, &[S::Suspending, S::Suspended], None).await,
            (S::Suspending, false) => self.core.found_in(row, &[S::Suspended], None).await,
            (S::Suspending, true) => {
                self.by_itself(row, "workspace_suspend", json!({}), "the server ended while it was suspended").await;
            }
            (S::Deleting, _) => {
                let arguments = json!({ "force": for_good });
                self.by_itself(row, "workspace_delete", arguments, "the server ended while it was deleted").await;
            }
            (S::Deleted, _) if row.workspace.purged_at.is_some_and(|at| at <= now) => {
                let why = "it was deleted long enough ago";
                self.by_itself(row, "workspace_delete", json!({ "force": true }), why).await;
            }
            _ => {}
        }
    }

    /// Asks the gate in the platform's own name. What it is refused it does not ask for again at once.
    async fn by_itself(&self, row: &StoredWorkspace, tool: &'static str, mut arguments: Value, why: &str) {
        let (id, now) = (row.workspace.id.clone(), self.core.clock.now());
        let key = (id.clone(), tool);
        if lock(&self.core.tending).refused.get(&key).is_some_and(|at| since(now, *at) < REFUSED_PAUSE) {
            return;
        }
        arguments["workspace_id"] = json!(id);
        let asker = self.core.itself(&row.workspace.tenant, why);
        match self.ask::<Value>(&asker, tool, arguments).await {
            Ok(_) => {
                lock(&self.core.tending).refused.remove(&key);
            }
            Err(error) => {
                if !matches!(error, NotDone::InProgress(_)) {
                    lock(&self.core.tending).refused.insert(key, now);
                }
                tracing::warn!(workspace.id = %id, "`{tool}` in the platform's own name: {error}");
            }
        }
    }
}
