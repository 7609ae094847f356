//! Changes of names: making, renaming, moving, copying, removing. Nothing is ever replaced.

use std::os::fd::AsFd;

use reeve_types::workspace::files::{FileChanged, FileOperation, FileType};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Files;
use super::beneath::Place;
use super::copy::{copy, measure};
use super::entry::kind_of;
use super::failure::{Outcome, failed, failed_io, missing};
use super::own::{fresh_name, is_own};
use super::remove::remove;
use super::save::same_filesystem;

impl Files {
    /// Does what is asked, whole or not at all.
    ///
    /// # Errors
    /// `not_found`, `already_exists`, `invalid_move`, `bad_name`, `path_escape`, `forbidden`, `disk_full`.
    pub fn operate(&self, operation: &FileOperation) -> Outcome<FileChanged> {
        match operation {
            FileOperation::CreateDirectory { path } => self.create_directory(path),
            FileOperation::CreateFile { path } => self.create_file(path),
            FileOperation::Rename { path, new_name } => self.rename(path, new_name),
            FileOperation::Move { from, to } => self.relocate("move", from, to),
            FileOperation::Copy { from, to } => self.copy(from, to),
            FileOperation::Trash { path } => self.put_in_trash(path),
            FileOperation::Restore { id, to } => self.restore(id, to.as_ref()),
            FileOperation::Purge { id } => self.purge(id.as_ref()),
            FileOperation::Delete { path } => self.delete(path),
            FileOperation::ForgetHistory { path } => self.forget_history(path.as_ref()),
        }
    }

    fn create_directory(&self, path: &WorkspacePath) -> Outcome<FileChanged> {
        let (place, made) = self.root().place_with_parents("create", path)?;
        rustix::fs::mkdirat(&place.dir, place.name.as_slice(), Mode::from_raw_mode(0o777))
            .map_err(|errno| failed("create", path, errno))?;
        self.there_now(path, made + 1)
    }

    fn create_file(&self, path: &WorkspacePath) -> Outcome<FileChanged> {
        let (place, made) = self.root().place_with_parents("create", path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&place.dir, place.name.as_slice(), flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| failed("create", path, errno))?;
        self.there_now(path, made + 1)
    }

    fn rename(&self, path: &WorkspacePath, new_name: &str) -> Outcome<FileChanged> {
        let to = path.clone().below_root()?.parent().join(new_name.as_bytes())?;
        if is_own(&to) {
            let message = format!("`{new_name}` is a name that Reeve keeps for itself; choose another");
            return Err(WorkspaceError::new(ProblemCode::BadName, message));
        }
        self.relocate("rename", path, &to)
    }

    fn relocate(&self, doing: &str, from: &WorkspacePath, to: &WorkspacePath) -> Outcome<FileChanged> {
        let source = self.root().place(doing, from)?;
        let stat = source.stat().map_err(|errno| failed(doing, from, errno))?;
        let target = self.root().place(doing, to)?;
        self.shift(doing, (from, &source), (to, &target))?;
        if let (Some(from), Some(to)) = (self.whole_path(&source), self.whole_path(&target)) {
            self.rename_history(&from, &to, kind_of(&stat) == FileType::Directory);
        }
        self.there_now(to, 1)
    }

    /// Moves a name to another place that must be free, across filesystems too.
    pub(super) fn shift(
        &self,
        doing: &str,
        (from, source): (&WorkspacePath, &Place),
        (to, target): (&WorkspacePath, &Place),
    ) -> Outcome<()> {
        match rename_free(source, target) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL) => Err(into_itself(from)),
            Err(Errno::EXIST) => Err(failed(doing, to, Errno::EXIST)),
            Err(Errno::XDEV) => {
                self.copy_whole(doing, source, (to, target))?;
                remove(source.dir.as_fd(), &source.name).map_err(|errno| failed(doing, from, errno))?;
                Ok(())
            }
            Err(errno) => Err(failed(doing, from, errno)),
        }
    }

    fn copy(&self, from: &WorkspacePath, to: &WorkspacePath) -> Outcome<FileChanged> {
        let source = self.root().place("copy", from)?;
        source.stat().map_err(|errno| failed("copy", from, errno))?;
        let target = self.root().place("copy", to)?;
        if self.lies_within(&target, &source) {
            return Err(into_itself(from));
        }
        match target.stat() {
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(failed("copy", to, Errno::EXIST)),
            Err(errno) => return Err(failed("copy", to, errno)),
        }
        let count = self.copy_whole("copy", &source, (to, &target))?;
        self.there_now(to, count)
    }

    /// Whether a place lies in the directory that another names.
    fn lies_within(&self, place: &Place, dir: &Place) -> bool {
        match (self.whole_path(place), self.whole_path(dir)) {
            (Some(place), Some(dir)) => place != dir && place.is_within(&dir),
            _ => false,
        }
    }

    fn whole_path(&self, place: &Place) -> Option<WorkspacePath> {
        self.root().true_path(&place.dir)?.join(&place.name).ok()
    }

    /// Copies out of sight, then moves the copy into its place.
    fn copy_whole(&self, doing: &str, source: &Place, (to, target): (&WorkspacePath, &Place)) -> Outcome<u64> {
        let draft = self.draft_place(&target.dir).map_err(|errno| failed(doing, to, errno))?;
        let copied = copy(&source.dir, &source.name, &draft.dir, &draft.name, 0)
            .map_err(|error| failed_io(doing, to, &error))
            .and_then(|count| match count {
                0 => Err(failed(doing, to, Errno::NXIO)),
                count => rename_free(&draft, target).map(|()| count).map_err(|errno| failed(doing, to, errno)),
            });
        if copied.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = remove(draft.dir.as_fd(), &draft.name);
        }
        copied
    }

    /// A free name on the filesystem of a directory, out of sight.
    pub(super) fn draft_place(&self, near: impl AsFd) -> Result<Place, Errno> {
        let staging = self.inner.staging.dir(self.root())?;
        if same_filesystem(&staging, &near)? {
            return Ok(Place { dir: staging, name: fresh_name().into_bytes() });
        }
        let name = [super::own::SAVE_PREFIX, fresh_name().as_bytes()].concat();
        Ok(Place { dir: rustix::io::fcntl_dupfd_cloexec(near, 0)?, name })
    }

    fn delete(&self, path: &WorkspacePath) -> Outcome<FileChanged> {
        let place = self.root().place("delete", path)?;
        let stat = place.stat().map_err(|errno| failed("delete", path, errno))?;
        let wrong = |errno| failed("delete", path, errno);
        let whole = self.whole_path(&place);
        let gone = match self.draft_place(&place.dir).and_then(|aside| rename_free(&place, &aside).map(|()| aside)) {
            Ok(aside) => aside,
            // A full disk has no room for another name either; then it goes where it lies, piece by piece.
            Err(Errno::NOSPC | Errno::DQUOT) => place,
            Err(errno) => return Err(wrong(errno)),
        };
        let count = remove(gone.dir.as_fd(), &gone.name).map_err(wrong)?;
        if let Some(path) = whole {
            self.drop_history(&path, kind_of(&stat) == FileType::Directory);
        }
        Ok(FileChanged { entry: None, trash_id: None, count })
    }

    pub(super) fn there_now(&self, path: &WorkspacePath, count: u64) -> Outcome<FileChanged> {
        Ok(FileChanged { entry: Some(self.stat(path)?), trash_id: None, count })
    }

    /// How many files and directories a place holds, and their bytes.
    pub(super) fn measured(&self, path: &WorkspacePath, place: &Place) -> Outcome<(u64, u64)> {
        measure(&place.dir, &place.name, 0).map_err(|errno| match errno {
            Errno::NOENT => missing(path),
            errno => failed("look at", path, errno),
        })
    }
}

pub(super) fn rename_free(from: &Place, to: &Place) -> Result<(), Errno> {
    let (old, new) = (from.name.as_slice(), to.name.as_slice());
    rustix::fs::renameat_with(&from.dir, old, &to.dir, new, RenameFlags::NOREPLACE)
}

fn into_itself(path: &WorkspacePath) -> WorkspaceError {
    let message = format!("`{path}` cannot be put into itself; choose a place outside of it");
    WorkspaceError::new(ProblemCode::InvalidMove, message)
}
