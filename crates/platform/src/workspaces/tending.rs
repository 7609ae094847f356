//! Tending: what is idle is suspended, what a crash left is put right, what is deleted long enough is purged.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::workspace::{Found, WorkspaceDriver};
use reeve_store::StoredWorkspace;
use reeve_types::workspace::DriverKind;
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
        self.reconcile().await;
        let tend = async {
            let mut idle = tokio::time::interval(IDLE_EVERY);
            let mut reconcile =
                tokio::time::interval_at(tokio::time::Instant::now() + RECONCILE_EVERY, RECONCILE_EVERY);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = reconcile.tick() => self.reconcile().await,
                    _ = idle.tick() => self.suspend_idle().await,
                }
            }
            self.write_uses(Duration::ZERO).await;
        };
        tokio::join!(tend, self.keep_spares(&stop), self.core.sweep_staging_on_time(&stop));
        self.drop_spares().await;
    }

    pub(super) async fn every(&self) -> Vec<StoredWorkspace> {
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
        self.core.sweep_staging().await;
        let now = self.core.clock.now();
        for driver in self.core.drivers.values() {
            // The database first: what changes after this look is found to have changed, and left alone.
            let before = self.every().await;
            let found = match driver.found().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!("the driver `{}` cannot say what there is: {error}", driver.kind());
                    continue;
                }
            };
            for row in before.iter().filter(|row| row.workspace.driver == driver.kind()) {
                let there = found.iter().find(|found| found.workspace == row.workspace.id);
                self.put_right(row, there.is_some_and(|found| found.running), now).await;
            }
            self.drop_unfinished(&before, driver.kind()).await;
            self.sweep_unknown(driver.as_ref(), &found, now).await;
        }
    }

    /// Removes what a driver has and the database does not know, once it has not been known for a while.
    async fn sweep_unknown(&self, driver: &dyn WorkspaceDriver, found: &[Found], now: Timestamp) {
        let Ok(rows) = self.core.store.every_workspace().await else { return };
        let known: HashSet<&WorkspaceId> = rows.iter().map(|row| &row.workspace.id).collect();
        for left in found {
            let id = &left.workspace;
            if known.contains(id) {
                lock(&self.core.tending).unknown.remove(id);
                continue;
            }
            let first = *lock(&self.core.tending).unknown.entry(id.clone()).or_insert(now);
            if since(now, first) < self.core.options.sweep_grace {
                continue;
            }
            match driver.sweep(id).await {
                Ok(()) => _ = lock(&self.core.tending).unknown.remove(id),
                Err(error) => tracing::warn!(workspace.id = %id, "it could not be swept: {error}"),
            }
        }
    }

    /// Drops snapshots that a crash left unfinished: nobody sees them, and they take room.
    async fn drop_unfinished(&self, rows: &[StoredWorkspace], driver: DriverKind) {
        let Ok(unfinished) = self.core.store.unfinished_snapshots().await else { return };
        for snapshot in unfinished {
            let of =
                rows.iter().find(|row| row.workspace.id == snapshot.workspace_id && row.workspace.driver == driver);
            let Some(row) = of.filter(|row| !lock(&self.core.in_hand).contains_key(&row.workspace.id)) else {
                continue;
            };
            let why = "the server ended while the snapshot was taken";
            self.by_itself(row, "workspace_drop_snapshot", json!({ "snapshot_id": snapshot.id }), why).await;
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
        if row.is_spare() {
            self.core.tend_spare(row, runs).await;
            return;
        }
        if !row.made {
            if let Err(error) = self.core.forget_unmade(row).await {
                tracing::warn!(workspace.id = %id, "what a crash left half made could not be removed: {error}");
            }
            return;
        }
        match (row.workspace.state, runs) {
            (S::Starting, _) => self.start_again(row).await,
            (S::Running, false) => _ = self.core.found_in(row, &[S::Suspending, S::Suspended], None).await,
            (S::Suspending, false) => _ = self.core.found_in(row, &[S::Suspended], None).await,
            (S::Suspending, true) => {
                self.by_itself(row, "workspace_suspend", json!({}), "the server ended while it was suspended").await;
            }
            (S::Stopped | S::Suspended, true) => {
                let why = "it was found running although it rests";
                if self.core.found_in(row, &[S::Starting, S::Running], None).await {
                    self.by_itself(row, "workspace_suspend", json!({}), why).await;
                }
            }
            (S::Deleting, _) => {
                let arguments = json!({ "force": row.desired == S::Deleting });
                self.by_itself(row, "workspace_delete", arguments, "the server ended while it was deleted").await;
            }
            (S::Deleted, _) if row.workspace.purged_at.is_some_and(|at| at <= now) => {
                let why = "it was deleted long enough ago";
                self.by_itself(row, "workspace_delete", json!({ "force": true }), why).await;
            }
            (S::Deleted, true) => {
                let why = "it was found running although it is deleted";
                self.by_itself(row, "workspace_delete", json!({ "force": false }), why).await;
            }
            _ => {}
        }
    }

    /// One that was being started when the server ended: somebody wanted it to run.
    async fn start_again(&self, row: &StoredWorkspace) {
        let why = "the server ended while the workspace was being started; start it again".to_owned();
        if self.core.found_in(row, &[WorkspaceState::Error], Some(why)).await && row.desired == WorkspaceState::Running
        {
            self.by_itself(row, "workspace_start", json!({}), "the server ended while it was started").await;
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
