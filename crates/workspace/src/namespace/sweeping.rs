//! Looking after boxes in the background: one whose disk has no end set by the kernel is measured now and then, and
//! suspended when it has grown too large.

use std::sync::Arc;
use std::time::Duration;

use reeve_types::WorkspaceId;

use super::Inner;
use super::boxes::Held;

/// How long a box that was just started has, so that its owner can make room.
const TIME_TO_TIDY: Duration = Duration::from_secs(5 * 60);
/// A box that is this many times too large is not waited for.
const FAR_TOO_LARGE: u64 = 2;

/// Begins looking, until the driver is closed or gone.
pub(super) fn begin(inner: &Arc<Inner>) {
    let (weak, closing, every) = (Arc::downgrade(inner), inner.background.clone(), inner.options.measure_every);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            for (workspace, held) in inner.boxes.all() {
                look_at(&inner, &workspace, &held).await;
            }
        }
    });
}

async fn look_at(inner: &Inner, workspace: &WorkspaceId, held: &Held) {
    let record = held.record();
    let Some(spec) = record.spec.filter(|_| !record.image && record.started) else { return };
    if held.running().is_none() {
        return;
    }
    let Some(bytes) = inner.disk_usage(held).await else { return };
    let limit = spec.limits.disk_bytes;
    // What was there when it was started is what its owner is about to tidy; what came since is not.
    let bearable = limit.saturating_mul(FAR_TOO_LARGE).max(held.size_at_start().saturating_add(limit));
    let may_tidy = held.running_for().is_some_and(|time| time < TIME_TO_TIDY) && bytes < bearable;
    if bytes <= limit || may_tidy {
        return;
    }
    tracing::warn!(%workspace, bytes, limit, "a workspace takes more disk than it may and is suspended");
    let _busy = held.busy.lock().await;
    if let Err(error) = inner.end(held, true).await {
        tracing::warn!(%workspace, %error, "it cannot be suspended");
    }
}
