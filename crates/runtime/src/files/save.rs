//! Saving a file: all of it or nothing, and only over what the saver has seen.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use reeve_types::workspace::files::{CONTENT_ETAG_BYTES_MAX, FILE_BYTES_MAX, SaveFile, Saved};
use reeve_types::{Digest, ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::beneath::{Place, open_child_file};
use super::content::Echo;
use super::entry::modified_at;
use super::failure::{Outcome, failed, failed_io, missing};
use super::history::Replaced;
use super::own::{SAVE_PREFIX, fresh_name, is_own};
use super::{Files, locked};

/// A save whose bytes are still arriving. Dropping it leaves everything as it was.
pub struct PendingSave {
    files: Files,
    save: SaveFile,
    place: Place,
    draft: Draft,
    hasher: Sha256,
    written: u64,
}

/// The file that will take the place of the other. Dropping it removes it, unless it has moved.
pub(super) struct Draft {
    dir: OwnedFd,
    name: Vec<u8>,
    file: File,
    placed: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            // What cannot be removed now is swept at the next start.
            let _ = rustix::fs::unlinkat(&self.dir, self.name.as_slice(), AtFlags::empty());
        }
    }
}

impl Draft {
    /// A file that is there already: the data of an upload. It stays where it is if the save fails.
    pub(super) fn of_existing(dir: OwnedFd, name: Vec<u8>, file: File) -> Self {
        Self { dir, name, file, placed: true }
    }

    fn new(dir: OwnedFd, name: Vec<u8>) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, name.as_slice(), flags, Mode::from_raw_mode(0o666))?;
        Ok(Self { dir, name, file: File::from(file), placed: false })
    }
}

impl Files {
    /// Begins to save a file. The bytes follow through [`PendingSave::write`]; [`PendingSave::finish`] puts them in place.
    ///
    /// # Errors
    /// `path_escape`, `not_found` without its directory, `wrong_file_type`, `too_large`, `disk_full`.
    pub fn begin_save(&self, save: SaveFile) -> Outcome<PendingSave> {
        let place = self.place_to_save(&save)?;
        let draft = self.draft_for(&place).map_err(|errno| failed("save", &save.path, errno))?;
        Ok(self.pending(save, place, draft))
    }

    pub(super) fn pending(&self, save: SaveFile, place: Place, draft: Draft) -> PendingSave {
        PendingSave { files: self.clone(), save, place, draft, hasher: Sha256::new(), written: 0 }
    }

    /// Where the bytes will be: through a link inside the workspace, to the file that it names.
    pub(super) fn place_to_save(&self, save: &SaveFile) -> Outcome<Place> {
        if save.size > FILE_BYTES_MAX {
            let message = format!("`{}` would have {} bytes; a file has at most 1 GiB", save.path, save.size);
            return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
        }
        let place = if save.create_parents {
            self.root().place_with_parents("save", &save.path)?.0
        } else {
            self.root().place("save", &save.path)?
        };
        match place.stat().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Err(Errno::NOENT) | Ok(FileType::RegularFile) => Ok(place),
            Ok(FileType::Symlink) => self.place_behind_link(&save.path),
            Ok(FileType::Directory) => Err(failed("save", &save.path, Errno::ISDIR)),
            Ok(_) => Err(failed("save", &save.path, Errno::NXIO)),
            Err(errno) => Err(failed("save", &save.path, errno)),
        }
    }

    fn place_behind_link(&self, path: &WorkspacePath) -> Outcome<Place> {
        let target = self.root().open_at(path, OFlags::PATH).map_err(|errno| failed("save", path, errno))?;
        let found = self.root().true_path(&target).filter(|found| !is_own(found)).ok_or_else(|| missing(path))?;
        let place = self.root().place("save", &found)?;
        match place.stat().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Ok(place),
            Ok(FileType::Directory) => Err(failed("save", path, Errno::ISDIR)),
            Ok(FileType::Symlink) | Err(Errno::NOENT) => Err(failed("save", path, Errno::AGAIN)),
            Ok(_) => Err(failed("save", path, Errno::NXIO)),
            Err(errno) => Err(failed("save", path, errno)),
        }
    }

    fn draft_for(&self, place: &Place) -> Result<Draft, Errno> {
        let staging = self.inner.staging.dir(self.root())?;
        if same_filesystem(&staging, &place.dir)? {
            return Draft::new(staging, fresh_name().into_bytes());
        }
        let beside = rustix::io::fcntl_dupfd_cloexec(&place.dir, 0)?;
        Draft::new(beside, [SAVE_PREFIX, fresh_name().as_bytes()].concat())
    }
}

pub(super) fn same_filesystem(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstat(one)?.st_dev == rustix::fs::fstat(other)?.st_dev)
}

impl PendingSave {
    /// Adds bytes.
    ///
    /// # Errors
    /// `bad_request` for more bytes than were announced, `disk_full`.
    pub fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.count(bytes)?;
        self.draft.file.write_all(bytes).map_err(|error| failed_io("save", &self.save.path, &error))
    }

    fn count(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.written += bytes.len() as u64;
        if self.written > self.save.size {
            return Err(self.differs());
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Takes the bytes that the draft holds already as those that were written.
    pub(super) fn count_draft(&mut self) -> Outcome<()> {
        use std::os::unix::fs::FileExt as _;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = self.draft.file.read_at(&mut buffer, self.written);
            match read.map_err(|error| failed_io("save", &self.save.path, &error))? {
                0 => return Ok(()),
                read => self.count(buffer.get(..read).unwrap_or_default())?,
            }
        }
    }

    fn differs(&self) -> WorkspaceError {
        let message = format!(
            "what arrived for `{}` is not what was announced ({} bytes with another digest or size); send it again",
            self.save.path, self.written
        );
        WorkspaceError::new(ProblemCode::BadRequest, message)
    }

    /// Puts what was written in place, if it is what was announced and the file is what the saver has seen. When this
    /// returns, the bytes are on disk.
    ///
    /// # Errors
    /// `bad_request` when digest or size differ, `edit_conflict` with the present tag, `disk_full`.
    pub fn finish(mut self) -> Outcome<Saved> {
        let digest = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if digest != self.save.sha256 || self.written != self.save.size {
            return Err(self.differs());
        }
        let files = self.files.clone();
        let _lock = locked(files.lock_of(&self.place).map_err(|errno| failed("save", &self.save.path, errno))?);
        let present = self.present()?;
        self.admit(present.as_ref())?;
        self.put(present, digest)
    }

    /// What is there now, with its tag.
    fn present(&self) -> Outcome<Option<(File, Stat, String)>> {
        match open_child_file(&self.place.dir, &self.place.name) {
            Ok((fd, stat)) => {
                let file = File::from(fd);
                let tag = self.files.etag(&file).map_err(|error| failed_io("save", &self.save.path, &error))?;
                Ok(Some((file, stat, tag)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(failed("save", &self.save.path, Errno::AGAIN)),
            Err(errno) => Err(failed("save", &self.save.path, errno)),
        }
    }

    fn admit(&self, present: Option<&(File, Stat, String)>) -> Outcome<()> {
        let tag = present.map(|(_, _, tag)| tag.as_str());
        let unexpected = match (&self.save.if_match, tag) {
            (Some(wanted), Some(tag)) if wanted == "*" || wanted == tag => false,
            (Some(_), _) => true,
            (None, _) => false,
        };
        if unexpected || (self.save.if_none_match && tag.is_some()) {
            return Err(self.conflict(tag));
        }
        Ok(())
    }

    fn conflict(&self, tag: Option<&str>) -> WorkspaceError {
        let what = match tag {
            Some(_) => "was changed meanwhile; look at what is there now, then save over it or elsewhere",
            None => "is no longer there; save it as a new file",
        };
        let mut error = WorkspaceError::new(ProblemCode::EditConflict, format!("`{}` {what}", self.save.path));
        error.current_etag = tag.map(str::to_owned);
        error
    }

    fn put(mut self, present: Option<(File, Stat, String)>, digest: Digest) -> Outcome<Saved> {
        let path = self.save.path.clone();
        let wrong = |errno| failed("save", &path, errno);
        let created = present.is_none();
        if let Some((file, stat, _)) = &present {
            keep_attributes(file, stat, &self.draft.file).map_err(wrong)?;
        }
        rustix::fs::fsync(&self.draft.file).map_err(wrong)?;
        let stat = rustix::fs::fstat(&self.draft.file).map_err(wrong)?;
        let etag = self.new_tag(digest).map_err(|error| failed_io("save", &path, &error))?;
        let echo = Echo { etag: etag.clone(), origin: self.save.origin.clone(), created };
        locked(&self.files.inner.echoes).remember(&stat, echo);
        let kept = present.as_ref().filter(|(_, _, tag)| *tag != etag).and_then(|(file, stat, _)| {
            let (place, origin) = (&self.place, self.save.origin.as_deref());
            self.files.keep_version(&Replaced { place, file, stat, origin, new_size: self.written })
        });
        if let Err(error) = self.rename(created) {
            if let Some(kept) = kept {
                kept.take_back();
            }
            return Err(error);
        }
        if kept.is_some() {
            self.files.limit_history();
        }
        rustix::fs::fsync(&self.place.dir).map_err(wrong)?;
        Ok(Saved { path: self.save.path.clone(), etag, size: self.written, modified_at: modified_at(&stat), created })
    }

    fn new_tag(&self, digest: Digest) -> std::io::Result<String> {
        if self.written > CONTENT_ETAG_BYTES_MAX {
            return self.files.etag(&self.draft.file);
        }
        Ok(hex::encode(digest.as_bytes()))
    }

    fn rename(&mut self, created: bool) -> Outcome<()> {
        let flags = if created { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        let draft = &mut self.draft;
        let from = draft.name.as_slice();
        match rustix::fs::renameat_with(&draft.dir, from, &self.place.dir, self.place.name.as_slice(), flags) {
            Ok(()) => {
                draft.placed = true;
                Ok(())
            }
            Err(Errno::EXIST) => Err(self.conflict(self.present()?.as_ref().map(|(_, _, tag)| tag.as_str()))),
            Err(errno) => Err(failed("save", &self.save.path, errno)),
        }
    }
}

impl Files {
    /// The lock that all savers of one file share.
    fn lock_of(&self, place: &Place) -> Result<&std::sync::Mutex<()>, Errno> {
        let stat = rustix::fs::fstat(&place.dir)?;
        let mut hasher = DefaultHasher::new();
        (stat.st_dev, stat.st_ino, &place.name).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % super::LOCKS as u64).unwrap_or(0);
        self.inner.locks.get(at).ok_or(Errno::INVAL)
    }
}

/// Mode, owner and extended attributes of the old file go over to the new one. Those that may not be set are left.
pub(super) fn keep_attributes(from: &File, stat: &Stat, to: &File) -> Result<(), Errno> {
    let own = rustix::fs::fstat(to)?;
    if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
        let owner = rustix::fs::Uid::from_raw(stat.st_uid);
        let group = rustix::fs::Gid::from_raw(stat.st_gid);
        let _ = rustix::fs::fchown(to, Some(owner), Some(group));
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0u8; 64 * 1024];
    let Ok(length) = rustix::fs::flistxattr(from, names.as_mut_slice()) else { return Ok(()) };
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 * 1024];
        if let Ok(length) = rustix::fs::fgetxattr(from, name, value.as_mut_slice()) {
            let _ = rustix::fs::fsetxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty());
        }
    }
    Ok(())
}
