//! Looking after workspaces in the background: what an earlier server left half done is taken away, and a workspace whose
//! volume has no end set by the kernel is measured now and then, and suspended when it has grown too large.

use std::sync::Arc;
use std::time::Duration;

use reeve_types::{WorkspaceError, WorkspaceId};

use super::labels::{self, Role};
use super::{Inner, chores};

/// How often workspaces are looked at.
const EVERY: Duration = Duration::from_secs(30);

/// Begins looking, until the driver is closed or gone.
pub(super) fn begin(inner: &Arc<Inner>) {
    let (weak, closing) = (Arc::downgrade(inner), inner.background.clone());
    tokio::spawn(async move {
        let mut left = true;
        loop {
            let Some(inner) = weak.upgrade() else { return };
            if left {
                // An engine that does not answer yet is asked again next time.
                left = chores::remove_left(&inner).await.is_err();
            } else if let Err(error) = look(&inner).await {
                tracing::debug!(%error, "workspaces cannot be looked at");
            }
            drop(inner);
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

async fn look(inner: &Inner) -> Result<(), WorkspaceError> {
    let known = inner.engine.reach().await?;
    for seen in inner.list(&known, &[(labels::ROLE, Role::Workspace.as_str())]).await? {
        if let Some(workspace) = seen.workspace.filter(|_| seen.running) {
            look_at(inner, &workspace).await?;
        }
    }
    Ok(())
}

async fn look_at(inner: &Inner, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
    let known = inner.engine.reach().await?;
    let Some(files) = inner.find_files(&known, workspace).await?.filter(|files| files.disk == "swept") else {
        return Ok(());
    };
    let held = inner.workspaces.get(workspace);
    let bytes = inner.disk_usage(&known, workspace, &held, &files).await;
    let (Some(bytes), Some(limit)) = (bytes, files.limit) else { return Ok(()) };
    if bytes <= limit {
        return Ok(());
    }
    tracing::warn!(%workspace, bytes, limit, "a workspace takes more disk than it may and is suspended");
    let _busy = held.busy.lock().await;
    inner.end(&held, workspace).await
}
