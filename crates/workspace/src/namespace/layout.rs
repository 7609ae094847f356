//! Where things are on this machine.
//!
//! ```text
//! <root>/boxes/<key>/record.json      what the driver remembers         (server only)
//! <root>/boxes/<key>/disk.img         the files as a file system        (where images are used)
//! <root>/boxes/<key>/inside/          the files as a directory          (where they are not)
//! <root>/boxes/<key>/snapshots/<id>/  copies                            (server only)
//! <root>/blank-<size>.img             an empty file system to copy
//! <reach>/<key>/inside/{files,home,run}   what the workspace sees, mounted here when the server is root
//! <reach>/etc, <reach>/bin                what every workspace sees
//! <reach>/of                              which data directory all this is of  (server only)
//! ```
//!
//! The user of a workspace must be able to walk to what it sees, and a data directory is often closed to others. So a
//! server that is root mounts it in a place of its own (`<reach>`) where others may walk through and see nothing.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use reeve_types::SnapshotId;

use super::claims::Claim;
use super::system;

/// Where the places of all data directories are, when the server is root.
const REACHES: &str = "/run/reeve-workspaces";

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) reach: PathBuf,
    pub(super) as_root: bool,
}

impl Layout {
    /// Makes the directories that everything else is in, and claims them.
    pub(super) fn prepare(root: &Path, reach: Option<&Path>, as_root: bool) -> io::Result<(Self, Claim)> {
        make_private(root)?;
        let root = root.canonicalize()?;
        let reach = match (reach, as_root) {
            (Some(own), _) => own.to_path_buf(),
            (None, true) => Path::new(REACHES).join(name_of(&root)),
            (None, false) => root.join("reach"),
        };
        make_private(&root.join("boxes"))?;
        loop {
            for directory in [reach.clone(), reach.join(system::ETC), reach.join(system::PROGRAMS)] {
                make_walkable(&directory)?;
            }
            // Whoever swept it, because the data directory was not there a moment ago, is through when this waits no more.
            if let Some(claim) = Claim::lay(&reach, &root)? {
                return Ok((Self { root, reach, as_root }, claim));
            }
        }
    }

    /// A short name for this installation.
    pub(super) fn installation(&self) -> String {
        installation(&name_of(&self.root))
    }

    pub(super) fn boxes(&self) -> PathBuf {
        self.root.join("boxes")
    }

    pub(super) fn own(&self, key: &str) -> PathBuf {
        self.boxes().join(key)
    }

    pub(super) fn record(&self, key: &str) -> PathBuf {
        self.own(key).join("record.json")
    }

    pub(super) fn image(&self, key: &str) -> PathBuf {
        self.own(key).join("disk.img")
    }

    pub(super) fn blank(&self, bytes: u64) -> PathBuf {
        self.root.join(format!("blank-{bytes}.img"))
    }

    /// The files where they lie when they are in no image.
    pub(super) fn plain(&self, key: &str) -> PathBuf {
        self.own(key).join("inside")
    }

    pub(super) fn snapshot(&self, key: &str, snapshot: &SnapshotId) -> PathBuf {
        self.own(key).join("snapshots").join(snapshot.as_str())
    }

    pub(super) fn reached(&self, key: &str) -> PathBuf {
        self.reach.join(key)
    }

    /// Where files, home and sockets are reached.
    pub(super) fn inside(&self, key: &str) -> PathBuf {
        if self.as_root { self.reached(key).join("inside") } else { self.plain(key) }
    }

    /// The directories of a new box.
    pub(super) fn make_box(&self, key: &str) -> io::Result<()> {
        make_private(&self.own(key))?;
        make_private(&self.own(key).join("snapshots"))?;
        self.make_reachable(key)
    }

    /// The directories of a box that a restart of the machine takes away.
    pub(super) fn make_reachable(&self, key: &str) -> io::Result<()> {
        make_walkable(&self.reached(key))?;
        make_walkable(&self.inside(key))
    }

    /// Takes those directories away again. Only when nothing is in them: a mount that stayed keeps them.
    pub(super) fn unmake_reachable(&self, key: &str) {
        for directory in [self.inside(key), self.reached(key)] {
            let _kept = std::fs::remove_dir(directory);
        }
    }
}

/// The name of what an installation has on this machine, from that of its place.
pub(super) fn installation(place: &str) -> String {
    format!("reeve-{place}")
}

/// A directory for the server only.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory that others may walk through, and not list.
fn make_walkable(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o711))
}

/// Eight characters that stand for a path (FNV-1a).
fn name_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}
