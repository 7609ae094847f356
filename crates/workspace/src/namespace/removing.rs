//! Removing a tree that a workspace has made: as deep, as wide and as closed as it likes.
//!
//! Everything is done beneath handles of directories and nothing is followed. A level too deep is moved up first, so
//! the number of open handles has a bound.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How many levels are held open at once.
const DEPTH_MAX: usize = 128;

/// Removes a directory with everything in it. One that is not there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the root cannot be removed"));
    };
    match open(rustix::fs::CWD, parent.as_os_str()) {
        Ok(parent) => Ok(remove_entry(&parent, &name_of(name)?)?),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Empties a directory.
pub(super) fn empty(path: &Path) -> io::Result<()> {
    let directory = open(rustix::fs::CWD, path.as_os_str())?;
    Ok(empty_beneath(&directory)?)
}

fn remove_entry(parent: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let directory = open_wide(parent, name)?;
    empty_beneath(&directory)?;
    remove_directory(parent, name)
}

/// Empties a directory without recursion: a stack of open directories, and what lies too deep is moved up to the top.
fn empty_beneath(top: &OwnedFd) -> rustix::io::Result<()> {
    let mut stack: Vec<(OwnedFd, CString)> = Vec::new();
    let mut moved = 0_u64;
    loop {
        let here = stack.last().map_or(top, |(directory, _)| directory);
        match remove_plain_entries(here)? {
            Some(name) if stack.len() >= DEPTH_MAX => {
                moved += 1;
                let fresh = name_of(OsStr::new(&format!(".reeve-removing-{moved}"))).map_err(|_| Errno::INVAL)?;
                // Whatever had that name is removed under another one, in its turn.
                match rustix::fs::renameat_with(here, &name, top, &fresh, rustix::fs::RenameFlags::NOREPLACE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
            }
            Some(name) => {
                let directory = open_wide(here, &name)?;
                stack.push((directory, name));
            }
            None => {
                let Some((done, name)) = stack.pop() else { return Ok(()) };
                drop(done);
                let above = stack.last().map_or(top, |(directory, _)| directory);
                remove_directory(above, &name)?;
            }
        }
    }
}

/// Removes everything in a directory that is no directory; gives the name of one that is, if any.
fn remove_plain_entries(directory: &OwnedFd) -> rustix::io::Result<Option<CString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            return Ok(Some(name.to_owned()));
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn remove_directory(parent: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a directory for removing, also one that its owner has closed.
fn open_wide(parent: &OwnedFd, name: &CString) -> rustix::io::Result<OwnedFd> {
    let directory = match open(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open(parent, name)?
        }
        other => other?,
    };
    if !rustix::process::geteuid().is_root() {
        // A directory of one's own may be closed for writing; nothing in it could be removed then.
        let _not_ours = rustix::fs::fchmod(&directory, Mode::RWXU);
    }
    Ok(directory)
}

fn name_of(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_very_deep_goes_and_its_neighbour_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let (gone, kept) = (directory.path().join("gone"), directory.path().join("kept"));
        std::fs::create_dir(&kept).expect("a directory");
        std::fs::write(kept.join("file"), "x").expect("a file");
        std::fs::create_dir(&gone).expect("a directory");
        std::os::unix::fs::symlink(&kept, gone.join("link")).expect("a link");
        let mut here = open(rustix::fs::CWD, gone.as_os_str()).expect("open");
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).expect("a level");
            here = open(&here, "d").expect("open");
        }
        remove(&gone).expect("removed");
        assert!(!gone.exists());
        assert!(kept.join("file").exists());
        remove(&gone).expect("nothing to remove is fine");
    }

    #[test]
    fn a_directory_closed_by_its_owner_goes_too() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let closed = directory.path().join("a/closed");
        std::fs::create_dir_all(closed.join("below")).expect("directories");
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).expect("closed");
        remove(&directory.path().join("a")).expect("removed");
        assert!(!directory.path().join("a").exists());
    }
}
