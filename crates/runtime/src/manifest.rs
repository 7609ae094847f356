//! Every file below a directory, for those who keep a copy of the workspace.
//!
//! Links are told and never followed; directories are entered through handles, so nothing outside is ever listed.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use reeve_types::workspace::files::TRASH_DIR;
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use serde::Serialize;

use crate::place::Place;

/// The most entries that are told.
const ENTRIES_MAX: usize = 200_000;
/// How deep directories may lie in one another.
const DEPTH_MAX: usize = 128;
/// Directories that nobody keeps copies of.
const LEFT_OUT: [&[u8]; 2] = [b".git", b"node_modules"];

/// One thing in the workspace.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// Relative to the root.
    pub(crate) path: String,
    /// `file`, `dir` or `symlink`.
    pub(crate) kind: &'static str,
    /// Bytes, of files.
    size: Option<u64>,
    /// When its content last changed, in nanoseconds since 1970.
    mtime_ns: i128,
    /// The permission bits.
    mode: u32,
    /// Where a link points, as it is written.
    link_target: Option<String>,
}

/// Lists a directory with all below it, sorted by path. Hidden names are left out unless wanted; `.git` and
/// `node_modules` always are.
pub(crate) fn list(place: &Place, below: &WorkspacePath, hidden: bool) -> Result<Vec<Entry>, WorkspaceError> {
    let top = place.open_beneath(below, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut listing = Listing { hidden, entries: Vec::new() };
    let prefix = String::from_utf8_lossy(below.as_bytes()).into_owned();
    listing.directory(&top, &prefix, below.is_root(), 0)?;
    listing.entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(listing.entries)
}

struct Listing {
    hidden: bool,
    entries: Vec<Entry>,
}

impl Listing {
    fn directory(&mut self, dir: &OwnedFd, prefix: &str, root: bool, depth: usize) -> Result<(), WorkspaceError> {
        let Ok(names) = Dir::read_from(dir) else { return Ok(()) };
        for found in names {
            let Ok(found) = found else { break };
            let name = found.file_name().to_bytes();
            if matches!(name, b"." | b"..") || self.leaves_out(name, root) {
                continue;
            }
            // What is gone by now, or may not be looked at, is not told.
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.entry(dir, name, prefix, &stat, depth)?;
        }
        Ok(())
    }

    fn leaves_out(&self, name: &[u8], root: bool) -> bool {
        let own = root && name == TRASH_DIR.as_bytes() || name.starts_with(b".reeve-save-");
        own || LEFT_OUT.contains(&name) || !self.hidden && name.starts_with(b".")
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        prefix: &str,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), WorkspaceError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => "file",
            FileType::Directory => "dir",
            FileType::Symlink => "symlink",
            _ => return Ok(()),
        };
        if self.entries.len() >= ENTRIES_MAX || depth >= DEPTH_MAX {
            let message =
                format!("there are more than {ENTRIES_MAX} files here, or they lie too deep; name a directory below");
            return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
        }
        let shown = OsStr::from_bytes(name).to_string_lossy();
        let path = if prefix.is_empty() { shown.into_owned() } else { format!("{prefix}/{shown}") };
        let seconds = i128::from(stat.st_mtime);
        self.entries.push(Entry {
            path: path.clone(),
            kind,
            size: (kind == "file").then(|| u64::try_from(stat.st_size).unwrap_or(0)),
            mtime_ns: seconds * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            mode: stat.st_mode & 0o777,
            link_target: (kind == "symlink").then(|| target(dir, name)).flatten(),
        });
        if kind == "dir" {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(below) = rustix::fs::openat(dir, name, flags, Mode::empty()) {
                self.directory(&below, &path, false, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn target(dir: &OwnedFd, name: &[u8]) -> Option<String> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).ok()?;
    Some(target.to_string_lossy().into_owned())
}
