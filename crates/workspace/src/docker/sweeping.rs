//! Looking after workspaces in the background: what an earlier server left half done is taken away, and a workspace whose
//! volume has no end set by the kernel is measured now and then, and suspended when it has grown too large.

use std::sync::Arc;
use std::time::Duration;

use reeve_types::{WorkspaceError, WorkspaceId};

use super::engine::Known;
use super::labels::{self, Role};
use super::{Inner, chores};

/// How long a workspace that was just started has, so that its owner can make room.
const TIME_TO_TIDY: Duration = Duration::from_secs(5 * 60);
/// One that is this many times too large is not waited for.
const FAR_TOO_LARGE: u64 = 2;

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
            let every = inner.options.measure_every;
            drop(inner);
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    });
}

async fn look(inner: &Inner) -> Result<(), WorkspaceError> {
    let known = inner.engine.reach().await?;
    for seen in inner.list(&known, &[(labels::ROLE, Role::Workspace.as_str())]).await? {
        if let (true, Some(workspace), Some(limit)) = (seen.running, seen.workspace, seen.disk_limit) {
            look_at(inner, &known, &workspace, limit).await?;
        }
    }
    Ok(())
}

async fn look_at(inner: &Inner, known: &Known, workspace: &WorkspaceId, limit: u64) -> Result<(), WorkspaceError> {
    let Some(files) = inner.find_files(known, workspace).await?.filter(|files| files.disk == "swept") else {
        return Ok(());
    };
    let held = inner.workspaces.get(workspace);
    let Some(bytes) = inner.disk_usage(known, workspace, &held, &files).await else { return Ok(()) };
    let may_tidy =
        held.running_for().is_some_and(|time| time < TIME_TO_TIDY) && bytes < limit.saturating_mul(FAR_TOO_LARGE);
    if bytes <= limit || may_tidy {
        return Ok(());
    }
    tracing::warn!(%workspace, bytes, limit, "a workspace takes more disk than it may and is suspended");
    let _busy = held.busy.lock().await;
    inner.end(&held, workspace).await
}
