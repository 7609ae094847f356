//! The files of a backup, back into the workspace that the restored database knows.

use reeve_store::StoredWorkspace;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceState};

use super::{Call, Done, inside, of_its_own, told};
use crate::workspaces::access::is_platform;
use crate::workspaces::{Core, lock};

impl Core {
    pub(super) async fn put_back(&self, call: Call, row: &StoredWorkspace) -> Done {
        use WorkspaceState as S;
        if !is_platform(&call.call().principal) {
            let message = "only the platform itself puts the files of a backup back, with `reeve restore`";
            return Err(WorkspaceError::new(ProblemCode::Forbidden, message));
        }
        let seen = &row.workspace;
        of_its_own(row)?;
        let driver = self.driver(seen.driver)?;
        if driver.found().await?.iter().any(|found| found.workspace == seen.id && found.files) {
            let message = format!("the workspace `{}` has its files; nothing was put back", seen.name);
            return Err(WorkspaceError::new(ProblemCode::Conflict, message));
        }
        let Some(files) = lock(&self.arriving).remove(&seen.id) else {
            let message = "the files that were to be put back are no longer here; begin again";
            return Err(WorkspaceError::new(ProblemCode::Conflict, message));
        };
        // What ran when the backup was taken does not run here.
        let rests: &[S] = match seen.state {
            S::Starting => &[S::Error],
            S::Running => &[S::Suspending, S::Suspended],
            S::Suspending => &[S::Suspended],
            S::Deleting => &[S::Deleted],
            _ => &[],
        };
        if !self.found_in(row, rests, seen.problem.clone()).await {
            return Err(WorkspaceError::new(ProblemCode::Conflict, "the workspace changed meanwhile; begin again"));
        }
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(self.spec_of(row)))?;
        driver.import(permit, files).await?;
        // Frozen copies are no part of a backup.
        for snapshot in self.store.snapshots(&seen.tenant, &seen.id, true).await.map_err(inside)? {
            self.store.remove_snapshot(&seen.tenant, &snapshot.id).await.map_err(inside)?;
        }
        let now = self.store.workspace(&seen.tenant, &seen.id).await.map_err(inside)?;
        told(format!("put the files of `{}` back", seen.name), &self.shown(&now.unwrap_or_else(|| row.clone())))
    }
}
