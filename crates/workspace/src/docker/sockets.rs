//! The directory that a workspace sees as `/run/reeve`.
//!
//! The workspace may write there, and what it writes would lie on this machine's disk without an end. So a server that is
//! root mounts a file system of a few kilobytes in memory; a server that is not uses a plain directory.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use reeve_types::WorkspaceError;
use rustix::mount::{MountFlags, UnmountFlags};

use super::failure::cannot;
use super::layout::make_private;

/// What the file system in memory may hold: sockets, and nothing that matters.
const OPTIONS: &std::ffi::CStr = c"size=64k,nr_inodes=64,mode=0777";

/// An empty directory for sockets, whatever was there before.
pub(super) fn prepare(path: &Path) -> Result<(), WorkspaceError> {
    let prepare = || -> io::Result<()> {
        clear(path)?;
        path.parent().map_or(Ok(()), make_private)?;
        std::fs::create_dir(path)?;
        if rustix::process::geteuid().is_root() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            match rustix::mount::mount("reeve", path, "tmpfs", flags, OPTIONS) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the sockets of a workspace lie in a plain directory, which has no end");
                }
            }
        }
        // The directory above lets nobody through, so this is open to the workspace alone.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
    };
    prepare().map_err(|error| cannot("prepare the sockets of a workspace", &error))
}

/// Takes the directory away. One that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), WorkspaceError> {
    clear(path).map_err(|error| cannot("remove the sockets of a workspace", &error))
}

fn clear(path: &Path) -> io::Result<()> {
    while is_mount(path)? {
        rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_mount(path: &Path) -> io::Result<bool> {
    let device = |path: &Path| path.symlink_metadata().map(|meta| meta.dev());
    match device(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        here => Ok(here? != device(path.parent().unwrap_or(Path::new("/")))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_leaves_nothing_behind() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("wsp_1/sockets");
        prepare(&path).expect("prepared");
        std::fs::write(path.join("left"), "x").expect("a file");
        prepare(&path).expect("prepared again");
        assert_eq!(std::fs::read_dir(&path).expect("a directory").count(), 0);
        remove(&path).expect("removed");
        remove(&path).expect("nothing to remove is fine");
        assert!(!path.exists());
    }

    #[test]
    fn a_workspace_cannot_fill_the_disk_through_its_sockets() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("wsp_1/sockets");
        prepare(&path).expect("prepared");
        let full = std::fs::write(path.join("much"), vec![0; 1 << 20]);
        remove(&path).expect("removed");
        assert_eq!(full.expect_err("it is full").raw_os_error(), Some(libc::ENOSPC));
    }
}
