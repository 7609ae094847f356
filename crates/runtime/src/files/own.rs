//! What Reeve keeps for itself in a workspace: the trash, half-arrived uploads, half-written files.
//!
//! All of it lies in one hidden directory that no path of a caller leads into.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;

use reeve_types::WorkspacePath;
use reeve_types::workspace::files::TRASH_DIR;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::beneath::{Root, names_in};
use super::locked;
use super::remove::remove;

/// How a half-written file is called where it cannot be written into the hidden directory: on another filesystem.
pub(super) const SAVE_PREFIX: &[u8] = b".reeve-save-";

const STAGING: &str = "staging";

/// Whether a path is Reeve's own, so that it does not exist for anybody else.
pub(super) fn is_own(path: &WorkspacePath) -> bool {
    path.names().next() == Some(TRASH_DIR.as_bytes()) || path.names().any(|name| name.starts_with(SAVE_PREFIX))
}

/// Whether a name in a directory is Reeve's own.
pub(super) fn is_own_name(in_root: bool, name: &[u8]) -> bool {
    name.starts_with(SAVE_PREFIX) || (in_root && name == TRASH_DIR.as_bytes())
}

/// A directory of Reeve's own, made if it is not there.
pub(super) fn area(root: &Root, name: &str) -> Result<OwnedFd, Errno> {
    let own = area_dir(root.fd(), TRASH_DIR.as_bytes())?;
    area_dir(own.as_fd(), name.as_bytes())
}

/// A directory of Reeve's own, made if it is not there, and made usable again if a program of the workspace put
/// something else in its place or took its permissions away: what is Reeve's may be spoilt, and must not keep a workspace
/// from opening.
fn area_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    match make_dir(&parent, name) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            make_dir(&parent, name)
        }
        Err(Errno::ACCESS) => {
            allow_owner(&parent, name)?;
            make_dir(&parent, name)
        }
        Ok(dir) if writable(&dir)? => Ok(dir),
        Ok(dir) => {
            rustix::fs::fchmod(&dir, Mode::RWXU)?;
            Ok(dir)
        }
        Err(errno) => Err(errno),
    }
}

fn writable(dir: &OwnedFd) -> Result<bool, Errno> {
    Ok(Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode).contains(Mode::RWXU))
}

/// Through the handle, since a handle that reads cannot be had.
fn allow_owner(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", dir.as_raw_fd()), Mode::RWXU)
}

/// Opens a directory by one name, made if it is not there; never follows a link.
pub(super) fn make_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    open_own(parent, name)
}

fn open_own(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Where this process keeps half-done things. It is locked while the process lives, so that the next one can tell what
/// was left behind.
pub(super) struct Staging {
    held: Mutex<Option<OwnedFd>>,
}

impl Staging {
    /// Sweeps what was left behind. On a disk that is full there is no directory yet: files can be looked at and removed,
    /// and it is made once there is room.
    pub(super) fn open(root: &Root) -> Self {
        let held = area(root, STAGING).and_then(|area| {
            sweep(&area)?;
            make_staging(&area)
        });
        Self { held: Mutex::new(held.ok()) }
    }

    /// The directory. It is made again if somebody removed it.
    pub(super) fn dir(&self, root: &Root) -> Result<OwnedFd, Errno> {
        let mut held = locked(&self.held);
        let there = held.take().filter(|dir| rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_nlink > 0));
        let dir = match there {
            Some(dir) => dir,
            None => make_staging(&area(root, STAGING)?)?,
        };
        rustix::io::fcntl_dupfd_cloexec(held.insert(dir), 0)
    }
}

fn make_staging(area: &OwnedFd) -> Result<OwnedFd, Errno> {
    let dir = make_dir(area, fresh_name().as_bytes())?;
    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
    Ok(dir)
}

/// Removes what processes that are gone have left.
fn sweep(area: &OwnedFd) -> Result<(), Errno> {
    for (name, _) in names_in(area)? {
        if let Ok(dir) = open_own(area, &name)
            && rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            continue;
        }
        // What cannot be removed, because a program took its permissions away, stays hidden where it is.
        let _ = remove(area.as_fd(), &name);
    }
    Ok(())
}

/// A name that nothing has.
pub(super) fn fresh_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}
