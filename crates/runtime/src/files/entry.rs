//! One name in a workspace, as it is told to others.

use std::ops::ControlFlow;
use std::os::fd::AsFd;

use jiff::Timestamp;
use reeve_types::WorkspacePath;
use reeve_types::workspace::files::{FileEntry, FileType as Kind};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Files;
use super::beneath::{each_name, open_child_dir};
use super::failure::{Outcome, failed};
use super::own::is_own_name;
use super::rules::Rules;

impl Files {
    /// What a path names. A symbolic link is told as such, and not followed.
    ///
    /// # Errors
    /// `not_found`; `path_escape` when a link on the way leads out.
    pub fn stat(&self, path: &WorkspacePath) -> Outcome<FileEntry> {
        if path.is_root() {
            let stat = rustix::fs::fstat(self.root().fd()).map_err(|errno| failed("look at", path, errno))?;
            let mut entry = described(path.clone(), &stat);
            entry.has_children = has_children(self.root().fd(), true);
            return Ok(entry);
        }
        let place = self.root().place("look at", path)?;
        let rules = Rules::down_to(self.root(), &path.parent());
        entry_at(&place.dir, path.clone(), &rules).map_err(|errno| failed("look at", path, errno))
    }
}

/// The entry of a path's last name in the directory that holds it.
pub(super) fn entry_at(dir: impl AsFd, path: WorkspacePath, rules: &Rules) -> Result<FileEntry, Errno> {
    let name = path.name().unwrap_or_default();
    let stat = rustix::fs::statat(&dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = kind_of(&stat);
    let target = match kind {
        Kind::Symlink => rustix::fs::readlinkat(&dir, name, Vec::new()).ok().map(|link| shown(link.as_bytes())),
        _ => None,
    };
    let has_children = match kind {
        Kind::Directory => open_child_dir(&dir, name).ok().and_then(|inside| has_children(inside, false)),
        _ => None,
    };
    let ignored = rules.ignores(&path, kind == Kind::Directory);
    Ok(FileEntry { target, has_children, ignored, ..described(path, &stat) })
}

/// What the kernel's record says.
pub(super) fn described(path: WorkspacePath, stat: &Stat) -> FileEntry {
    let kind = kind_of(stat);
    FileEntry {
        name: path.name().map_or_else(|| "workspace".to_owned(), shown),
        path,
        kind,
        size: if kind == Kind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
        modified_at: modified_at(stat),
        mode: stat.st_mode & 0o7777,
        target: None,
        ignored: false,
        has_children: None,
    }
}

pub(super) fn kind_of(stat: &Stat) -> Kind {
    kind_named(FileType::from_raw_mode(stat.st_mode))
}

pub(super) fn kind_named(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}

pub(super) fn modified_at(stat: &Stat) -> Timestamp {
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Bytes for people: what is no UTF-8 is shown as `\xNN`.
pub(super) fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

fn has_children(dir: impl AsFd, in_root: bool) -> Option<bool> {
    let mut found = false;
    let looked = each_name(dir, |name, _| {
        if is_own_name(in_root, name) {
            return ControlFlow::Continue(());
        }
        found = true;
        ControlFlow::Break(())
    });
    looked.is_ok().then_some(found)
}
