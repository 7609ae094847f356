//! Copies of a workspace's files: set aside, put back, and as the beginning of another workspace.

use std::io;
use std::path::{Path, PathBuf};

use reeve_gate::workspace::{ForkWorkspace, TakeSnapshot};
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceId};

use super::boxes::Held;
use super::failure::{aside, cannot, running, unknown};
use super::{Inner, copying, disk, layout, removing};

impl Inner {
    /// Copies the files aside; answers how many bytes the copy takes.
    pub(super) async fn take_snapshot(&self, what: TakeSnapshot) -> Result<u64, WorkspaceError> {
        let held = self.boxes.get(&what.workspace).ok_or_else(|| unknown(&what.workspace))?;
        let _busy = held.busy.lock().await;
        let target = self.layout.snapshot(&held.key, &what.snapshot);
        self.with_files(&held, move |files| {
            if target.exists() {
                return disk::measure(&target);
            }
            let draft = target.with_extension("draft");
            removing::remove(&draft)?;
            layout::make_private(&draft)?;
            if let Err(error) = copying::copy_tree(&files, &draft, None) {
                removing::remove(&draft)?;
                return Err(error);
            }
            let bytes = disk::measure(&draft)?;
            std::fs::rename(&draft, &target)?;
            Ok(bytes)
        })
        .await
    }

    /// Puts the files back. What was there is gone only when everything of the snapshot is there.
    pub(super) async fn roll_back(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let held = self.boxes.get(&what.workspace).ok_or_else(|| unknown(&what.workspace))?;
        let _busy = held.busy.lock().await;
        if held.running().is_some() && held.record().started {
            return Err(running(&what.workspace, "it is rolled back"));
        }
        self.end(&held, false).await?;
        let source = self.snapshot_of(&held, &what.workspace, &what.snapshot)?;
        let owner = held.record().uid;
        self.with_files(&held, move |files| put_back(&source, &files, owner)).await
    }

    /// Removes a snapshot. One that is not there is fine.
    pub(super) async fn drop_snapshot(&self, what: TakeSnapshot) -> Result<(), WorkspaceError> {
        let Some(held) = self.boxes.get(&what.workspace) else { return Ok(()) };
        let _busy = held.busy.lock().await;
        let target = self.layout.snapshot(&held.key, &what.snapshot);
        aside(move || removing::remove(&target).map_err(|error| cannot("remove a snapshot", &error))).await
    }

    /// A new box with the files of another.
    pub(super) async fn fork(&self, what: ForkWorkspace) -> Result<(), WorkspaceError> {
        let from = self.boxes.get(&what.from).ok_or_else(|| unknown(&what.from))?;
        of_its_own(&from)?;
        let fill = |held: std::sync::Arc<Held>| async move {
            let _busy = from.busy.lock().await;
            let (target, owner) = (self.layout.inside(&held.key).join("files"), held.record().uid);
            match &what.snapshot {
                None => self.with_files(&from, move |files| copying::copy_tree(&files, &target, owner)).await,
                Some(snapshot) => {
                    let source = self.snapshot_of(&from, &what.from, snapshot)?;
                    aside(move || {
                        copying::copy_tree(&source, &target, owner)
                            .map_err(|error| cannot("copy the files of a snapshot", &error))
                    })
                    .await
                }
            }
        };
        self.new_box(what.spec, None, fill).await
    }

    fn snapshot_of(
        &self,
        held: &Held,
        workspace: &WorkspaceId,
        snapshot: &SnapshotId,
    ) -> Result<PathBuf, WorkspaceError> {
        let path = self.layout.snapshot(&held.key, snapshot);
        if path.is_dir() {
            return Ok(path);
        }
        let said = format!("{workspace} has no snapshot {snapshot}; list its snapshots to see which there are");
        Err(WorkspaceError::new(ProblemCode::NotFound, said))
    }

    /// Does something with the files of a box, which are reachable meanwhile. The box must be kept busy.
    pub(super) async fn with_files<T: Send + 'static>(
        &self,
        held: &Held,
        work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        of_its_own(held)?;
        self.attach(held).await?;
        let files = self.layout.inside(&held.key).join("files");
        let done =
            aside(move || work(files).map_err(|error| cannot("work on the files of the workspace", &error))).await;
        if held.running().is_none() {
            self.detach(held).await?;
        }
        done
    }
}

/// Refuses to copy what is nobody's but the host's: it has no end that Reeve knows, and whoever has it can copy it.
pub(super) fn of_its_own(held: &Held) -> Result<(), WorkspaceError> {
    let Some(directory) = held.record().spec.and_then(|spec| spec.directory) else { return Ok(()) };
    let said = format!("the files of the workspace are the host's, in `{}`; copy them there", directory.path);
    Err(WorkspaceError::new(ProblemCode::BadRequest, said))
}

fn put_back(source: &Path, files: &Path, owner: Option<u32>) -> io::Result<()> {
    let (fresh, old) = (files.with_extension("fresh"), files.with_extension("old"));
    removing::remove(&fresh)?;
    removing::remove(&old)?;
    layout::make_private(&fresh)?;
    if let Err(error) = copying::copy_tree(source, &fresh, owner) {
        removing::remove(&fresh)?;
        if error.raw_os_error() != Some(libc::ENOSPC) {
            return Err(error);
        }
        // There is no room for both. The snapshot is kept elsewhere, so the present files can go first.
        removing::empty(files)?;
        return copying::copy_tree(source, files, owner);
    }
    std::fs::rename(files, &old)?;
    std::fs::rename(&fresh, files)?;
    removing::remove(&old)
}
