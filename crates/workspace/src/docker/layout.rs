//! What lies on this machine beside the engine.
//!
//! ```text
//! <root>/<workspace>/complete             its files were laid out to the end
//! <root>/<workspace>/snapshots/<id>       that copy was made to the end; how many bytes it takes
//! <root>/<workspace>/sockets/             /run/reeve of the workspace: the sockets of the program inside
//! ```
//!
//! Nobody but the server may walk into `<root>`, so what is below may be as open as the workspace's user needs it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use reeve_types::{Digest, SnapshotId, WorkspaceError, WorkspaceId};

use super::failure::cannot;

#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn prepare(root: &Path) -> Result<Self, WorkspaceError> {
        let prepare = || -> io::Result<PathBuf> {
            make_private(root)?;
            root.canonicalize()
        };
        let root = prepare().map_err(|error| cannot(format!("prepare {}", root.display()), &error))?;
        Ok(Self { root })
    }

    /// A short name for this installation: what is made on the engine carries it.
    pub(super) fn installation(&self) -> String {
        let digest = Digest::of(self.root.as_os_str().as_encoded_bytes()).to_string();
        let hex = digest.rsplit(':').next().unwrap_or_default();
        hex.chars().take(16).collect()
    }

    pub(super) fn own(&self, workspace: &WorkspaceId) -> PathBuf {
        self.root.join(workspace.as_str())
    }

    pub(super) fn sockets(&self, workspace: &WorkspaceId) -> PathBuf {
        self.own(workspace).join("sockets")
    }

    fn complete(&self, workspace: &WorkspaceId) -> PathBuf {
        self.own(workspace).join("complete")
    }

    fn snapshot(&self, workspace: &WorkspaceId, snapshot: &SnapshotId) -> PathBuf {
        self.own(workspace).join("snapshots").join(snapshot.as_str())
    }

    /// Whether the files were laid out to the end.
    pub(super) fn is_complete(&self, workspace: &WorkspaceId) -> bool {
        self.complete(workspace).is_file()
    }

    /// Remembers that the files were laid out to the end.
    pub(super) fn mark_complete(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        mark(&self.complete(workspace), "").map_err(|error| cannot("note that a workspace is complete", &error))
    }

    /// How many bytes a snapshot takes, if it was made to the end.
    pub(super) fn snapshot_bytes(&self, workspace: &WorkspaceId, snapshot: &SnapshotId) -> Option<u64> {
        std::fs::read_to_string(self.snapshot(workspace, snapshot)).ok()?.trim().parse().ok()
    }

    /// Remembers that a snapshot was made to the end.
    pub(super) fn mark_snapshot(
        &self,
        workspace: &WorkspaceId,
        snapshot: &SnapshotId,
        bytes: u64,
    ) -> Result<(), WorkspaceError> {
        mark(&self.snapshot(workspace, snapshot), &bytes.to_string())
            .map_err(|error| cannot("note that a snapshot is complete", &error))
    }

    /// Forgets a snapshot.
    pub(super) fn unmark_snapshot(&self, workspace: &WorkspaceId, snapshot: &SnapshotId) -> Result<(), WorkspaceError> {
        gone(std::fs::remove_file(self.snapshot(workspace, snapshot)))
            .map_err(|error| cannot("forget a snapshot", &error))
    }

    /// Forgets that a workspace is complete; what is left of it is to be removed.
    pub(super) fn unmark_complete(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        gone(std::fs::remove_file(self.complete(workspace))).map_err(|error| cannot("forget a workspace", &error))
    }

    /// Removes everything of a workspace on this machine. Its sockets must be unmounted.
    pub(super) fn remove(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        gone(std::fs::remove_dir_all(self.own(workspace))).map_err(|error| cannot("remove a workspace", &error))
    }

    /// The workspaces that have something here.
    pub(super) fn workspaces(&self) -> Vec<WorkspaceId> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

/// A directory that nobody else may walk into.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// A file that is there whole or not at all, also after the power went.
fn mark(path: &Path, content: &str) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make_private(parent)?;
    let draft = path.with_extension("draft");
    std::fs::write(&draft, content)?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(parent)?.sync_all()
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
