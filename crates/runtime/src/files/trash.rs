//! The trash: things that were removed and can come back, each with a note of where it was.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use reeve_types::workspace::files::{FileChanged, TRASH_DAYS, TrashEntry};
use reeve_types::{ProblemCode, TrashId, WorkspaceError, WorkspacePath};
use rustix::fs::{Mode, OFlags};

use super::Files;
use super::beneath::{Place, names_in, open_child_dir, open_child_file};
use super::entry::kind_of;
use super::failure::{Outcome, failed};
use super::own::{area, make_dir};
use super::remove::remove;

const ITEMS: &str = "items";
const NOTE: &str = "note.json";
const THING: &str = "thing";
/// Longest note that is read, in bytes: a path and a few words.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

impl Files {
    /// What is in the trash, the latest first. What is damaged is left out.
    ///
    /// # Errors
    /// When the trash cannot be read.
    pub fn trash(&self) -> Outcome<Vec<TrashEntry>> {
        let items = self.items()?;
        let names = names_in(&items).map_err(|errno| failed("list", &here(), errno))?;
        let mut entries: Vec<TrashEntry> = names.iter().filter_map(|(name, _)| note_of(&items, name)).collect();
        entries.sort_by(|a, b| b.deleted_at.cmp(&a.deleted_at).then_with(|| b.id.cmp(&a.id)));
        Ok(entries)
    }

    /// Removes for good what has been in the trash for longer than it is kept. Answers how many things.
    ///
    /// # Errors
    /// When the trash cannot be read or something in it cannot be removed.
    pub fn sweep_trash(&self, now: Timestamp) -> Outcome<u64> {
        let kept = jiff::SignedDuration::from_hours(24 * i64::from(TRASH_DAYS));
        let mut swept = 0;
        for entry in self.trash()?.into_iter().filter(|entry| now.duration_since(entry.deleted_at) > kept) {
            self.purge(Some(&entry.id))?;
            swept += 1;
        }
        Ok(swept)
    }

    pub(super) fn put_in_trash(&self, path: &WorkspacePath) -> Outcome<FileChanged> {
        let place = self.root().place("trash", path)?;
        let stat = place.stat().map_err(|errno| failed("trash", path, errno))?;
        let (count, size) = self.measured(path, &place)?;
        let now = Timestamp::now();
        let id = TrashId::new(now, rand::random());
        let entry = TrashEntry { id: id.clone(), path: path.clone(), kind: kind_of(&stat), size, deleted_at: now };
        let items = self.items()?;
        let moved = self.lay_down(&items, &entry, &place);
        if moved.is_err() {
            // A note without its thing is left out of every list.
            let _ = remove(items.as_fd(), id.as_str().as_bytes());
        }
        moved?;
        Ok(FileChanged { entry: None, trash_id: Some(id), count })
    }

    fn lay_down(&self, items: &OwnedFd, entry: &TrashEntry, place: &Place) -> Outcome<()> {
        let wrong = |errno| failed("trash", &entry.path, errno);
        let dir = make_dir(items, entry.id.as_str().as_bytes()).map_err(wrong)?;
        write_note(&dir, entry).map_err(|error| super::failure::failed_io("trash", &entry.path, &error))?;
        let target = Place { dir, name: THING.into() };
        self.shift("trash", (&entry.path, place), (&entry.path, &target))
    }

    pub(super) fn restore(&self, id: &TrashId, to: Option<&WorkspacePath>) -> Outcome<FileChanged> {
        let items = self.items()?;
        let entry = note_of(&items, id.as_str().as_bytes()).ok_or_else(|| not_in_trash(id))?;
        let path = to.unwrap_or(&entry.path);
        let wrong = |errno| failed("restore", path, errno);
        let dir = open_child_dir(&items, id.as_str().as_bytes()).map_err(wrong)?;
        let thing = Place { dir, name: THING.into() };
        let (count, _) = self.measured(path, &thing)?;
        let (target, _) = self.root().place_with_parents("restore", path)?;
        self.shift("restore", (path, &thing), (path, &target))?;
        remove(items.as_fd(), id.as_str().as_bytes()).map_err(wrong)?;
        self.there_now(path, count)
    }

    pub(super) fn purge(&self, id: Option<&TrashId>) -> Outcome<FileChanged> {
        let items = self.items()?;
        let names = match id {
            Some(id) => {
                note_of(&items, id.as_str().as_bytes()).ok_or_else(|| not_in_trash(id))?;
                vec![id.as_str().as_bytes().to_vec()]
            }
            None => {
                let all = names_in(&items).map_err(|errno| failed("purge", &here(), errno))?;
                all.into_iter().map(|(name, _)| name).collect()
            }
        };
        let mut count = 0;
        for name in names {
            let gone = remove(items.as_fd(), &name).map_err(|errno| failed("purge", &here(), errno))?;
            // The note and the directory around the thing are none of the user's files.
            count += gone.saturating_sub(2);
        }
        Ok(FileChanged { entry: None, trash_id: None, count })
    }

    fn items(&self) -> Outcome<OwnedFd> {
        area(self.root(), ITEMS).map_err(|errno| failed("open the trash of", &here(), errno))
    }
}

fn here() -> WorkspacePath {
    WorkspacePath::root()
}

fn not_in_trash(id: &TrashId) -> WorkspaceError {
    WorkspaceError::new(
        ProblemCode::NotFound,
        format!("there is no `{id}` in the trash; list the trash to see what is"),
    )
}

fn write_note(dir: &OwnedFd, entry: &TrashEntry) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::openat(dir, NOTE, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(&serde_json::to_vec(entry)?)?;
    file.sync_all()
}

/// The note of one thing, if both are there and the note is its own.
fn note_of(items: &OwnedFd, name: &[u8]) -> Option<TrashEntry> {
    let dir = open_child_dir(items, name).ok()?;
    let thing = Place { dir, name: THING.into() };
    thing.stat().ok()?;
    let (fd, _) = open_child_file(&thing.dir, NOTE.as_bytes()).ok()?;
    let mut text = Vec::new();
    std::fs::File::from(fd).take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
    let entry: TrashEntry = serde_json::from_slice(&text).ok()?;
    (entry.id.as_str().as_bytes() == name).then_some(entry)
}
