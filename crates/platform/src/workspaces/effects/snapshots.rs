//! Frozen copies of a workspace's files.

use reeve_gate::workspace::TakeSnapshot;
use reeve_store::StoredWorkspace;
use reeve_types::workspace::Snapshot;
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceState};
use serde_json::json;

use super::{Call, Done, elsewhere, inside, of_its_own, part, told};
use crate::workspaces::Core;
use crate::workspaces::tools::Act;
use crate::workspaces::wanted::checked_name;

impl Core {
    pub(super) async fn snapshot(&self, call: Call, row: &StoredWorkspace) -> Done {
        let seen = &row.workspace;
        of_its_own(row)?;
        let name = checked_name(&part::<String>(&call.call().arguments, "name")?)?.to_owned();
        let known = self.store.snapshots(&seen.tenant, &seen.id, true).await.map_err(inside)?;
        if known.len() >= self.options.snapshots_max as usize {
            let message = format!("the workspace has {} snapshots, as many as it may; drop one first", known.len());
            return Err(WorkspaceError::new(ProblemCode::QuotaReached, message));
        }
        if matches!(seen.state, WorkspaceState::Deleting | WorkspaceState::Deleted) {
            return Err(elsewhere(seen.state, "copied"));
        }
        let now = self.clock.now();
        let id = SnapshotId::new(now, self.clock.random());
        let mut snapshot =
            Snapshot { id: id.clone(), workspace_id: seen.id.clone(), name, created_at: now, disk_bytes: 0 };
        self.store.put_snapshot(&seen.tenant, snapshot.clone(), false).await.map_err(inside)?;
        let what = TakeSnapshot { workspace: seen.id.clone(), snapshot: id.clone() };
        match self.driver(seen.driver)?.snapshot(call.narrow(|_| Ok::<_, WorkspaceError>(what))?).await {
            Ok(bytes) => snapshot.disk_bytes = bytes,
            Err(error) => {
                self.store.remove_snapshot(&seen.tenant, &id).await.map_err(inside)?;
                return Err(error);
            }
        }
        self.store.put_snapshot(&seen.tenant, snapshot.clone(), true).await.map_err(inside)?;
        told(format!("took the snapshot `{}` of `{}`", snapshot.name, seen.name), &snapshot)
    }

    pub(super) async fn use_snapshot(&self, act: Act, call: Call, row: &StoredWorkspace) -> Done {
        let seen = &row.workspace;
        let id: SnapshotId = part(&call.call().arguments, "snapshot_id")?;
        // One that a crash left unfinished can be dropped, and nothing else.
        let known = self.store.snapshots(&seen.tenant, &seen.id, act == Act::DropSnapshot).await.map_err(inside)?;
        let Some(snapshot) = known.into_iter().find(|snapshot| snapshot.id == id) else {
            return Err(WorkspaceError::new(ProblemCode::NotFound, format!("the workspace has no snapshot `{id}`")));
        };
        let what = TakeSnapshot { workspace: seen.id.clone(), snapshot: id.clone() };
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(what))?;
        let driver = self.driver(seen.driver)?;
        if act == Act::DropSnapshot {
            // From here on nobody counts on it, whatever a crash leaves of it.
            self.store.put_snapshot(&seen.tenant, snapshot, false).await.map_err(inside)?;
            driver.drop_snapshot(permit).await?;
            self.store.remove_snapshot(&seen.tenant, &id).await.map_err(inside)?;
            return told(format!("dropped a snapshot of `{}`", seen.name), &json!({ "dropped": id }));
        }
        let rests = matches!(seen.state, WorkspaceState::Stopped | WorkspaceState::Suspended | WorkspaceState::Error);
        if !rests {
            return Err(elsewhere(seen.state, "rolled back; suspend it first"));
        }
        driver.roll_back(permit).await?;
        told(format!("rolled `{}` back", seen.name), &self.tell(row))
    }
}
