//! Making, starting, resting, copying and deleting workspaces: what callers ask for.

use reeve_types::workspace::{Snapshot, WorkspaceUsage};
use reeve_types::{Principal, SnapshotId, Workspace, WorkspaceId, WorkspaceState};
use serde_json::{Value, json};

use super::staging::Content;
use super::{Asker, ForkWanted, NewWorkspace, NotDone, WorkspaceChange, WorkspaceFilter, WorkspacePage, Workspaces};
use crate::Permission;

/// What deleting did.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives per request, and the large variant is the usual one")]
pub enum Deleted {
    /// It is in the trash, and can be restored until it is purged.
    Kept(Workspace),
    /// It is gone for good.
    Purged,
}

impl Workspaces {
    /// The caller's workspaces, newest first; for administrators all of their tenant.
    pub async fn list(&self, who: &Principal, filter: WorkspaceFilter) -> Result<WorkspacePage, NotDone> {
        let limit = filter.limit.unwrap_or(50).clamp(1, 200) as usize;
        let owner = (!Permission::Administer.allows(who)).then(|| who.root().label());
        let rows = self.core.store.workspaces(&who.tenant, owner, filter.state, filter.cursor, limit + 1).await?;
        let more = rows.len() > limit;
        let workspaces: Vec<Workspace> = rows.iter().take(limit).map(|row| self.core.shown(row)).collect();
        let next_cursor = if more { workspaces.last().map(|last| last.id.clone()) } else { None };
        Ok(WorkspacePage { workspaces, next_cursor })
    }

    /// One workspace.
    pub async fn get(&self, who: &Principal, id: &WorkspaceId) -> Result<Workspace, NotDone> {
        Ok(self.core.shown(&self.core.visible(who, id).await?))
    }

    /// Makes a workspace, and starts it when that is wanted.
    pub async fn create(&self, asker: &Asker, wanted: NewWorkspace) -> Result<Workspace, NotDone> {
        self.ask(asker, "workspace_create", json!(wanted)).await
    }

    /// Changes its words, or how long it may be idle.
    pub async fn patch(&self, asker: &Asker, id: &WorkspaceId, change: WorkspaceChange) -> Result<Workspace, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(change);
        arguments["workspace_id"] = json!(id);
        self.ask(asker, "workspace_change", arguments).await
    }

    /// Starts it; one that runs already is answered as it is.
    pub async fn start(&self, asker: &Asker, id: &WorkspaceId) -> Result<Workspace, NotDone> {
        let row = self.core.visible(&asker.principal, id).await?;
        if row.workspace.state == WorkspaceState::Running {
            return Ok(self.core.shown(&row));
        }
        self.ask(asker, "workspace_start", json!({ "workspace_id": id })).await
    }

    /// Ends its processes; its files stay.
    pub async fn suspend(&self, asker: &Asker, id: &WorkspaceId) -> Result<Workspace, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        self.ask(asker, "workspace_suspend", json!({ "workspace_id": id })).await
    }

    /// Puts it into the trash or, with `force`, removes it for good.
    pub async fn delete(&self, asker: &Asker, id: &WorkspaceId, force: bool) -> Result<Deleted, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let arguments = json!({ "workspace_id": id, "force": force });
        if force {
            self.ask::<Value>(asker, "workspace_delete", arguments).await?;
            return Ok(Deleted::Purged);
        }
        Ok(Deleted::Kept(self.ask(asker, "workspace_delete", arguments).await?))
    }

    /// Takes it back from the trash; it is stopped then.
    pub async fn restore(&self, asker: &Asker, id: &WorkspaceId) -> Result<Workspace, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        self.ask(asker, "workspace_restore", json!({ "workspace_id": id })).await
    }

    /// What it uses at this moment. Looking at it is no use of it.
    pub async fn usage(&self, who: &Principal, id: &WorkspaceId) -> Result<WorkspaceUsage, NotDone> {
        let row = self.core.visible(who, id).await?;
        Ok(self.core.driver(row.workspace.driver)?.usage(id).await?)
    }

    /// Its snapshots, oldest first.
    pub async fn snapshots(&self, who: &Principal, id: &WorkspaceId) -> Result<Vec<Snapshot>, NotDone> {
        self.core.visible(who, id).await?;
        Ok(self.core.store.snapshots(&who.tenant, id, false).await?)
    }

    /// Copies its files aside.
    pub async fn snapshot(&self, asker: &Asker, id: &WorkspaceId, name: &str) -> Result<Snapshot, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        self.ask(asker, "workspace_snapshot", json!({ "workspace_id": id, "name": name })).await
    }

    /// Puts its files back as they were in a snapshot. It must not run.
    pub async fn roll_back(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        snapshot: &SnapshotId,
    ) -> Result<Workspace, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        self.ask(asker, "workspace_roll_back", json!({ "workspace_id": id, "snapshot_id": snapshot })).await
    }

    /// Removes a snapshot.
    pub async fn drop_snapshot(&self, asker: &Asker, id: &WorkspaceId, snapshot: &SnapshotId) -> Result<(), NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let arguments = json!({ "workspace_id": id, "snapshot_id": snapshot });
        self.ask::<Value>(asker, "workspace_drop_snapshot", arguments).await.map(|_| ())
    }

    /// Makes a new workspace with the files of another.
    pub async fn fork(&self, asker: &Asker, id: &WorkspaceId, wanted: ForkWanted) -> Result<Workspace, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(wanted);
        arguments["workspace_id"] = json!(id);
        self.ask(asker, "workspace_fork", arguments).await
    }

    /// All its files as an uncompressed tar stream, for backups.
    pub async fn export(&self, asker: &Asker, id: &WorkspaceId) -> Result<reeve_gate::workspace::ByteStream, NotDone> {
        let row = self.core.visible(&asker.principal, id).await?;
        let leave = self.core.leave(asker, id).await?;
        Ok(self.core.driver(row.workspace.driver)?.export(&leave).await?)
    }

    /// How large an export may be that a workspace is made of: as large as the largest disk, and what can be put aside.
    pub fn import_bytes_max(&self) -> u64 {
        self.core.options.limits_max.disk_bytes.min(self.core.options.staging_disk_bytes)
    }

    /// Makes a workspace with the files of such a stream.
    pub async fn import(&self, asker: &Asker, wanted: NewWorkspace, files: Content) -> Result<Workspace, NotDone> {
        self.with_content(asker, "workspace_import", json!(wanted), files, None).await
    }
}
