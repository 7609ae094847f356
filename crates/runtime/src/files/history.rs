//! What files were before they were saved over.
//!
//! Just before new content takes a file's place, the old file gets a second name in a hidden directory: a version costs
//! one link and no copy. Keeping a version never fails a save; what cannot be kept is not kept. Programs of the workspace
//! can write in there, so what is found is looked at through handles, bounded, and believed in nothing but its bytes.

mod pruning;

use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reeve_types::workspace::files::{FileHead, FileVersion, VERSION_BYTES_MAX, VERSIONS_MAX};
use reeve_types::{Digest, ProblemCode, VersionId, WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Place, each_name, open_child_dir, open_child_file};
use super::entry::{described, modified_at};
use super::failure::{Outcome, failed, failed_io, missing};
use super::own::{area, is_own, make_dir};
use super::read::is_binary;
use super::{Files, locked};

pub(super) use pruning::Load;

const HISTORY: &str = "history";
/// The file that says whose versions a directory holds.
const NOTE: &str = "path";
/// Longest note that is read, in bytes: a path.
const NOTE_BYTES_MAX: u64 = 8 * 1024;
/// Saves of one saver that follow one another this fast leave one version.
const MERGED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// Most names that are looked at among the versions of one file.
const NAMES_MAX: usize = 1000;

/// A file that is about to be saved over, and by what.
pub(super) struct Replaced<'a> {
    pub(super) place: &'a Place,
    pub(super) file: &'a File,
    pub(super) stat: &'a Stat,
    pub(super) origin: Option<&'a str>,
    /// Bytes that it will have.
    pub(super) new_size: u64,
}

/// A version that was kept just now.
pub(super) struct Kept {
    dir: OwnedFd,
    id: VersionId,
}

impl Kept {
    /// The save did not happen after all.
    pub(super) fn take_back(self) {
        let _ = rustix::fs::unlinkat(&self.dir, self.id.as_str(), AtFlags::empty());
    }
}

impl Files {
    /// Keeps what a file is, before it is saved over. Of files that are empty or large nothing is kept.
    pub(super) fn keep_version(&self, replaced: &Replaced<'_>) -> Option<Kept> {
        let size = u64::try_from(replaced.stat.st_size).unwrap_or(0);
        if size == 0 || size > VERSION_BYTES_MAX {
            return None;
        }
        let path = self.root().true_path(&replaced.place.dir)?.join(&replaced.place.name).ok()?;
        let dir = self.versions_dir(&path).ok()?;
        let mut ids = ids_in(&dir).ok()?;
        let now = Timestamp::now();
        if self.is_passing(replaced, ids.last(), now) {
            return None;
        }
        let id = VersionId::new(after(ids.last(), now), rand::random());
        second_name(replaced, &dir, &id).ok()?;
        locked(&self.inner.kept).add(size);
        while ids.len() >= VERSIONS_MAX {
            let _ = rustix::fs::unlinkat(&dir, ids.remove(0).as_str(), AtFlags::empty());
        }
        Some(Kept { dir, id })
    }

    /// Whether nobody would miss what is there: it stood for a moment between two saves of the same saver, soon after a
    /// version that is kept, and most of it stays.
    fn is_passing(&self, replaced: &Replaced<'_>, newest: Option<&VersionId>, now: Timestamp) -> bool {
        let recent = |at: Timestamp| (SignedDuration::ZERO..MERGED_WITHIN).contains(&now.duration_since(at));
        let same_saver = locked(&self.inner.echoes)
            .find(replaced.stat)
            .is_some_and(|echo| echo.origin.is_some() && echo.origin.as_deref() == replaced.origin);
        let size = u64::try_from(replaced.stat.st_size).unwrap_or(0);
        same_saver
            && recent(modified_at(replaced.stat))
            && newest.and_then(VersionId::made_at).is_some_and(recent)
            && replaced.new_size.saturating_mul(2) >= size
    }

    /// What a file was before it was saved over, the latest first. A file that is gone has its history still.
    ///
    /// # Errors
    /// `path_escape`, `wrong_file_type` for a directory.
    pub fn history(&self, path: &WorkspacePath) -> Outcome<Vec<FileVersion>> {
        let Some(dir) = self.versions_of(path)? else { return Ok(Vec::new()) };
        let ids = ids_in(&dir).map_err(|errno| failed("list the history of", path, errno))?;
        Ok(ids.iter().rev().take(VERSIONS_MAX).filter_map(|id| self.version(&dir, id)).collect())
    }

    fn version(&self, dir: &OwnedFd, id: &VersionId) -> Option<FileVersion> {
        let (file, stat) = kept_file(dir, id)?;
        Some(FileVersion {
            id: id.clone(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            etag: self.etag(&file).ok()?,
            modified_at: modified_at(&stat),
            replaced_at: id.made_at()?,
        })
    }

    /// Opens an earlier content of a file.
    ///
    /// # Errors
    /// `not_found` when it is not kept (any more).
    pub fn open_version(&self, path: &WorkspacePath, id: &VersionId) -> Outcome<(FileHead, File)> {
        let gone = || {
            let message = format!("there is no version `{id}` of `{path}`; list its history to see what is kept");
            WorkspaceError::new(ProblemCode::NotFound, message)
        };
        let dir = self.versions_of(path)?.ok_or_else(gone)?;
        let (file, stat) = kept_file(&dir, id).ok_or_else(gone)?;
        let wrong = |error| failed_io("read", path, &error);
        let (etag, binary) = (self.etag(&file).map_err(wrong)?, is_binary(&file).map_err(wrong)?);
        let entry = described(path.clone(), &stat);
        let size = entry.size;
        Ok((FileHead { entry, etag, binary, size, start: 0, end: size }, file))
    }

    /// The directory of a file's versions, if there are any.
    fn versions_of(&self, path: &WorkspacePath) -> Outcome<Option<OwnedFd>> {
        let found = self.standing_for(path)?;
        let wrong = |errno| failed("list the history of", path, errno);
        let history = area(self.root(), HISTORY).map_err(wrong)?;
        match open_child_dir(&history, key_of(&found).as_bytes()) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(wrong(errno)),
        }
    }

    /// The path under which versions are kept: where the links of a path lead to; the path itself when nothing is there.
    fn standing_for(&self, path: &WorkspacePath) -> Outcome<WorkspacePath> {
        let path = &path.clone().below_root().map_err(WorkspaceError::from)?;
        if is_own(path) {
            return Err(missing(path));
        }
        match self.root().open_at(path, OFlags::PATH) {
            Ok(there) => {
                let stat = rustix::fs::fstat(&there).map_err(|errno| failed("look at", path, errno))?;
                if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
                    return Err(failed("list the history of", path, Errno::ISDIR));
                }
                Ok(self.root().true_path(&there).unwrap_or_else(|| path.clone()))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let above = self.root().open_dir(&path.parent()).ok().and_then(|dir| self.root().true_path(&dir));
                let found = above.and_then(|above| above.join(path.name().unwrap_or_default()).ok());
                Ok(found.unwrap_or_else(|| path.clone()))
            }
            Err(errno) => Err(failed("list the history of", path, errno)),
        }
    }

    /// The directory for a file's versions, made if it is not there.
    fn versions_dir(&self, path: &WorkspacePath) -> Result<OwnedFd, Errno> {
        let history = area(self.root(), HISTORY)?;
        let key = key_of(path);
        match open_child_dir(&history, key.as_bytes()) {
            Err(Errno::NOENT) => {}
            answer => return answer,
        }
        let dir = make_dir(history.as_fd(), key.as_bytes())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(note) = rustix::fs::openat(&dir, NOTE, flags, Mode::from_raw_mode(0o600)) {
            rustix::io::write(&note, path.as_bytes())?;
        }
        Ok(dir)
    }
}

/// The time of the next version: a little later than the one before, where both fall into one millisecond.
fn after(newest: Option<&VersionId>, now: Timestamp) -> Timestamp {
    let newest = newest.and_then(VersionId::made_at);
    let same = newest.filter(|made| made.duration_since(now).abs() < SignedDuration::from_millis(1000));
    let next = same.and_then(|made| made.checked_add(SignedDuration::from_millis(1)).ok());
    next.map_or(now, |next| next.max(now))
}

/// How the directory of a file's versions is called: no name of a file is too long or too odd for it.
fn key_of(path: &WorkspacePath) -> String {
    let mut key = Digest::of(path.as_bytes()).to_string();
    key.truncate(40);
    key
}

/// Whose versions a directory holds, as its note says and its name proves.
fn noted_path(dir: &OwnedFd, key: &[u8]) -> Option<WorkspacePath> {
    let (note, _) = open_child_file(dir, NOTE.as_bytes()).ok()?;
    let mut text = Vec::new();
    File::from(note).take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
    WorkspacePath::from_bytes(&text).ok().filter(|path| key_of(path).as_bytes() == key)
}

/// The versions in a directory, the oldest first.
fn ids_in(dir: &OwnedFd) -> Result<Vec<VersionId>, Errno> {
    let (mut ids, mut seen) = (Vec::new(), 0);
    each_name(dir, |name, _| {
        seen += 1;
        let id = std::str::from_utf8(name).ok().and_then(|name| name.parse::<VersionId>().ok());
        ids.extend(id.filter(|id| id.made_at().is_some()));
        if seen < NAMES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    ids.sort_unstable();
    Ok(ids)
}

/// A version, if it is a file that Reeve could have kept.
fn kept_file(dir: &OwnedFd, id: &VersionId) -> Option<(File, Stat)> {
    let (fd, stat) = open_child_file(dir, id.as_str().as_bytes()).ok()?;
    u64::try_from(stat.st_size).is_ok_and(|size| size <= VERSION_BYTES_MAX).then(|| (File::from(fd), stat))
}

/// Gives the old file a second name; copies it where the kernel gives none.
fn second_name(replaced: &Replaced<'_>, dir: &OwnedFd, id: &VersionId) -> Result<(), Errno> {
    let place = replaced.place;
    match rustix::fs::linkat(&place.dir, place.name.as_slice(), dir, id.as_str(), AtFlags::empty()) {
        Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::OPNOTSUPP) => {
            let copied = copied(replaced, dir, id);
            if copied.is_err() {
                let _ = rustix::fs::unlinkat(dir, id.as_str(), AtFlags::empty());
            }
            copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        linked => linked,
    }
}

fn copied(replaced: &Replaced<'_>, dir: &OwnedFd, id: &VersionId) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(dir, id.as_str(), flags, Mode::from_raw_mode(0o600))?);
    std::io::copy(&mut replaced.file.take(VERSION_BYTES_MAX), &mut copy)?;
    let written = Duration::try_from(modified_at(replaced.stat).duration_since(Timestamp::UNIX_EPOCH));
    copy.set_modified(std::time::SystemTime::UNIX_EPOCH + written.unwrap_or_default())
}
