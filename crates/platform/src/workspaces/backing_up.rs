//! The files of every workspace, out into a backup and back in.
//!
//! The database and the audit log are the store's to copy (`Store::backup_to`); which workspaces there are stands in its
//! summary. Each export is a look that is recorded, each putting back an act of its own.

use futures_util::{Stream, StreamExt as _};
use reeve_gate::workspace::ByteStream;
use reeve_store::BackedUpWorkspace;
use reeve_types::{TenantId, Workspace, WorkspaceId};
use serde_json::json;

use super::{NotDone, Workspaces, lock};

impl Workspaces {
    /// The files of each workspace that a backup knows, one after another, as uncompressed tar streams; whether it runs,
    /// rests or is in the trash. Read one to its end before the next is asked for. One that is gone meanwhile, or cannot
    /// be read, is an error in its place, and the others follow.
    pub fn export_all(
        &self,
        which: Vec<BackedUpWorkspace>,
    ) -> impl Stream<Item = (BackedUpWorkspace, Result<ByteStream, NotDone>)> + Send + use<> {
        let this = self.clone();
        futures_util::stream::iter(which).then(move |one| {
            let this = this.clone();
            async move {
                let asker = this.core.itself(&one.tenant, "a backup");
                let files = this.export(&asker, &one.id).await;
                (one, files)
            }
        })
    }

    /// Puts the files of a backup back into a workspace that the restored database knows and the machine does not. It
    /// rests then; its snapshots are gone, because a backup has none.
    ///
    /// # Errors
    ///
    /// There is no such workspace, it has its files, or the stream is none of a backup.
    pub async fn put_back(&self, tenant: &TenantId, id: &WorkspaceId, files: ByteStream) -> Result<Workspace, NotDone> {
        let asker = self.core.itself(tenant, "a backup is restored");
        self.core.visible(&asker.principal, id).await?;
        lock(&self.core.arriving).insert(id.clone(), files);
        let done = self.ask(&asker, "workspace_put_back", json!({ "workspace_id": id })).await;
        lock(&self.core.arriving).remove(id);
        done
    }
}
