//! Opening things beneath the workspace's directory, and nowhere else.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use reeve_types::{WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::failure::{Outcome, failed, missing};
use super::own::{is_own, is_own_name};

/// How often a resolution is tried again when directories are renamed under it.
const TRIES: u32 = 64;

/// The workspace's directory.
pub(super) struct Root {
    fd: OwnedFd,
}

/// A name in a directory that is held open: what changes are made by.
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) name: Vec<u8>,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let root = Self { fd };
        root.resolve(b".", OFlags::PATH, ResolveFlags::empty())?;
        Ok(root)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn resolve(&self, path: &[u8], flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        let mut tried = 0;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tried < TRIES => tried += 1,
                answer => return answer,
            }
        }
    }

    /// Opens what the path leads to. Links inside are followed, links that lead out are refused, and Reeve's own
    /// directories are not there, by whatever way one comes.
    pub(super) fn open_at(&self, path: &WorkspacePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        if is_own(path) {
            return Err(Errno::NOENT);
        }
        let fd = self.resolve(path.as_bytes(), flags, ResolveFlags::empty())?;
        match self.true_path(&fd) {
            Some(found) if is_own(&found) => Err(Errno::NOENT),
            _ => Ok(fd),
        }
    }

    pub(super) fn open_dir(&self, path: &WorkspacePath) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Where an open directory or file is now, as far as the kernel tells.
    pub(super) fn true_path(&self, fd: impl AsFd) -> Option<WorkspacePath> {
        let base = link_of(self.fd())?;
        let path = link_of(fd.as_fd())?;
        let below = if base == b"/" { path.as_slice() } else { path.strip_prefix(base.as_slice())? };
        WorkspacePath::from_bytes(below.strip_prefix(b"/").unwrap_or(below)).ok()
    }

    /// The place of a path: the directory that holds it, opened, and its name.
    pub(super) fn place(&self, doing: &str, path: &WorkspacePath) -> Outcome<Place> {
        let name = self.name_of(path)?;
        let dir = self.open_dir(&path.parent()).map_err(|errno| failed(doing, path, errno))?;
        Ok(Place { dir, name })
    }

    /// The same; missing directories are made. Answers how many.
    pub(super) fn place_with_parents(&self, doing: &str, path: &WorkspacePath) -> Outcome<(Place, u64)> {
        let name = self.name_of(path)?;
        let (dir, made) = self.make_dirs(&path.parent()).map_err(|errno| failed(doing, path, errno))?;
        Ok((Place { dir, name }, made))
    }

    fn name_of(&self, path: &WorkspacePath) -> Outcome<Vec<u8>> {
        if is_own(path) {
            return Err(missing(path));
        }
        let path = path.clone().below_root().map_err(WorkspaceError::from)?;
        Ok(path.name().unwrap_or_default().to_vec())
    }

    fn make_dirs(&self, path: &WorkspacePath) -> Result<(OwnedFd, u64), Errno> {
        match self.open_dir(path) {
            Err(Errno::NOENT) if !path.is_root() && !is_own(path) => {}
            answer => return answer.map(|dir| (dir, 0)),
        }
        let (parent, made) = self.make_dirs(&path.parent())?;
        match rustix::fs::mkdirat(&parent, path.name().unwrap_or_default(), Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok((self.open_dir(path)?, made + 1)),
            Err(Errno::EXIST) => Ok((self.open_dir(path)?, made)),
            Err(errno) => Err(errno),
        }
    }
}

impl Place {
    /// What is there; a link is not followed.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.dir, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn link_of(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).ok()?;
    Some(link.into_bytes())
}

/// Opens a directory by one name in another; never follows a link.
pub(super) fn open_child_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens a regular file by one name; never follows a link, never waits for a pipe.
pub(super) fn open_child_file(dir: impl AsFd, name: &[u8]) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((fd, stat)),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::NXIO),
    }
}

/// Every name in a directory with its type, in no order.
pub(super) fn each_name(
    dir: impl AsFd,
    mut visit: impl FnMut(&[u8], FileType) -> std::ops::ControlFlow<()>,
) -> Result<(), Errno> {
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => continue,
            },
            known => known,
        };
        if visit(name, kind).is_break() {
            break;
        }
    }
    Ok(())
}

/// All of them at once.
pub(super) fn names_in(dir: impl AsFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut names = Vec::new();
    each_name(dir, |name, kind| {
        names.push((name.to_vec(), kind));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// Those that others may see, sorted by their bytes.
pub(super) fn visible_names(dir: impl AsFd, in_root: bool) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut names = names_in(dir)?;
    names.retain(|(name, _)| !is_own_name(in_root, name));
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}
