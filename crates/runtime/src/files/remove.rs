//! Removing a directory with all it holds, however deep it is.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::beneath::{names_in, open_child_dir};
use super::own::fresh_name;

/// How deep the walk goes with one open directory for each level; what is deeper is lifted up first.
const LEVELS: u32 = 64;

/// Removes a name, and everything below it when it is a directory. Links are removed, not followed. Answers how many
/// files and directories are gone; that it is gone already is fine.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<u64, Errno> {
    let mut lifted = vec![name.to_vec()];
    let mut gone = 0;
    while let Some(name) = lifted.pop() {
        gone += remove_level(dir, dir, &name, 0, &mut lifted)?;
    }
    Ok(gone)
}

fn remove_level(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &[u8],
    level: u32,
    lifted: &mut Vec<Vec<u8>>,
) -> Result<u64, Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    if level >= LEVELS {
        let up = format!(".reeve-save-{}", fresh_name()).into_bytes();
        rustix::fs::renameat(dir, name, top, up.as_slice())?;
        lifted.push(up);
        return Ok(0);
    }
    let inside = open_child_dir(dir, name)?;
    let mut gone = 1;
    for (child, kind) in names_in(&inside)? {
        gone += match kind {
            FileType::Directory => remove_level(top, inside.as_fd(), &child, level + 1, lifted)?,
            _ => match rustix::fs::unlinkat(&inside, child.as_slice(), AtFlags::empty()) {
                Ok(()) => 1,
                Err(Errno::NOENT) => 0,
                Err(errno) => return Err(errno),
            },
        };
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(gone)
}
