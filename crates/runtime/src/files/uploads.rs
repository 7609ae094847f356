//! Uploads that arrive in pieces and survive a restart.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reeve_types::workspace::files::{SaveFile, Saved, Upload};
use reeve_types::{ProblemCode, UploadId, WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::Files;
use super::beneath::{names_in, open_child_file};
use super::failure::{Outcome, failed, failed_io};
use super::own::area;
use super::save::{Draft, same_filesystem};

const UPLOADS: &str = "uploads";
/// How long an upload may rest before it is given up.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest description of an upload, in bytes.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

impl Files {
    /// Begins an upload. What arrives is held against this save when it is finished.
    ///
    /// # Errors
    /// As for [`Files::begin_save`].
    pub fn begin_upload(&self, save: SaveFile) -> Outcome<Upload> {
        self.place_to_save(&save)?;
        let dir = self.uploads(&save.path)?;
        let id = UploadId::new(Timestamp::now(), rand::random());
        let wrong = |error: std::io::Error| failed_io("upload", &save.path, &error);
        make(&dir, &part_name(&id)).map_err(wrong)?;
        let mut note = make(&dir, &note_name(&id)).map_err(wrong)?;
        note.write_all(&serde_json::to_vec(&save).map_err(|error| wrong(error.into()))?).map_err(wrong)?;
        note.sync_all().map_err(wrong)?;
        Ok(Upload { id, path: save.path, size: save.size, offset: 0 })
    }

    /// Adds bytes at the upload's offset. May be called many times for one request, with the offset moving along.
    ///
    /// # Errors
    /// `conflict` when the offset is not what has arrived, `bad_request` for more bytes than were announced.
    pub fn append_upload(&self, id: &UploadId, offset: u64, bytes: &[u8]) -> Outcome<Upload> {
        let (_, save, part) = self.find_upload(id)?;
        let wrong = |error: std::io::Error| failed_io("upload", &save.path, &error);
        rustix::fs::flock(&part, FlockOperation::LockExclusive).map_err(|errno| wrong(errno.into()))?;
        let arrived = part.metadata().map_err(wrong)?.len();
        if offset != arrived {
            let message = format!("{arrived} bytes of `{}` have arrived, not {offset}; go on from there", save.path);
            return Err(WorkspaceError::new(ProblemCode::Conflict, message));
        }
        let end = arrived + bytes.len() as u64;
        if end > save.size {
            let message =
                format!("`{}` was announced with {} bytes and more arrive; begin again", save.path, save.size);
            return Err(WorkspaceError::new(ProblemCode::BadRequest, message));
        }
        if let Err(error) = part.write_all_at(bytes, arrived) {
            // Half a piece is no piece: the offset stays what was told.
            let _ = part.set_len(arrived);
            return Err(wrong(error));
        }
        Ok(Upload { id: id.clone(), path: save.path, size: save.size, offset: end })
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// `not_found`.
    pub fn upload(&self, id: &UploadId) -> Outcome<Upload> {
        let (_, save, part) = self.find_upload(id)?;
        let offset = part.metadata().map_err(|error| failed_io("upload", &save.path, &error))?.len();
        Ok(Upload { id: id.clone(), path: save.path, size: save.size, offset })
    }

    /// Puts a complete upload in its place. On failure it stays, and can be gone on with.
    ///
    /// # Errors
    /// As for [`super::PendingSave::finish`].
    pub fn finish_upload(&self, id: &UploadId) -> Outcome<Saved> {
        let (dir, save, part) = self.find_upload(id)?;
        let wrong = |error: std::io::Error| failed_io("upload", &save.path, &error);
        rustix::fs::flock(&part, FlockOperation::LockExclusive).map_err(|errno| wrong(errno.into()))?;
        let place = self.place_to_save(&save)?;
        let saved = if same_filesystem(&dir, &place.dir).map_err(|errno| wrong(errno.into()))? {
            let held = rustix::io::fcntl_dupfd_cloexec(&dir, 0).map_err(|errno| wrong(errno.into()))?;
            let draft = Draft::of_existing(held, part_name(id).into_bytes(), part.try_clone().map_err(wrong)?);
            let mut pending = self.pending(save.clone(), place, draft);
            pending.count_draft()?;
            pending.finish()?
        } else {
            self.copy_upload(&save, &part)?
        };
        self.forget(&dir, id);
        Ok(saved)
    }

    fn copy_upload(&self, save: &SaveFile, part: &File) -> Outcome<Saved> {
        let mut pending = self.begin_save(save.clone())?;
        let mut buffer = vec![0; 256 * 1024];
        let mut at = 0;
        loop {
            match part.read_at(&mut buffer, at).map_err(|error| failed_io("upload", &save.path, &error))? {
                0 => return pending.finish(),
                read => {
                    pending.write(buffer.get(..read).unwrap_or_default())?;
                    at += read as u64;
                }
            }
        }
    }

    /// Gives an upload up and removes what has arrived.
    ///
    /// # Errors
    /// `not_found`.
    pub fn abandon_upload(&self, id: &UploadId) -> Outcome<()> {
        let (dir, _, _) = self.find_upload(id)?;
        self.forget(&dir, id);
        Ok(())
    }

    /// Gives up the uploads that nobody has gone on with for a day. Answers how many.
    ///
    /// # Errors
    /// When the directory of uploads cannot be read.
    pub fn sweep_uploads(&self, now: SystemTime) -> Outcome<u64> {
        let here = WorkspacePath::root();
        let dir = self.uploads(&here)?;
        let mut swept = 0;
        for (name, _) in names_in(&dir).map_err(|errno| failed("sweep uploads of", &here, errno))? {
            let Some(id) = id_of_part(&name) else { continue };
            let Ok((fd, _)) = open_child_file(&dir, &name) else { continue };
            let touched = File::from(fd).metadata().and_then(|data| data.modified());
            if touched.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > STALE)) {
                self.forget(&dir, &id);
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn uploads(&self, path: &WorkspacePath) -> Outcome<OwnedFd> {
        area(self.root(), UPLOADS).map_err(|errno| failed("upload", path, errno))
    }

    fn find_upload(&self, id: &UploadId) -> Outcome<(OwnedFd, SaveFile, File)> {
        let missing = || {
            let message = format!("there is no upload `{id}`; it was finished or given up, so begin again");
            WorkspaceError::new(ProblemCode::NotFound, message)
        };
        let dir = self.uploads(&WorkspacePath::root())?;
        let (note, _) = open_child_file(&dir, note_name(id).as_bytes()).map_err(|_| missing())?;
        let mut text = Vec::new();
        File::from(note).take(NOTE_BYTES_MAX).read_to_end(&mut text).map_err(|_| missing())?;
        let save = serde_json::from_slice(&text).map_err(|_| missing())?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let part = rustix::fs::openat(&dir, part_name(id), flags, Mode::empty()).map_err(|_| missing())?;
        Ok((dir, save, File::from(part)))
    }

    /// The note goes first: without it nobody finds the rest, which a later sweep removes.
    fn forget(&self, dir: &OwnedFd, id: &UploadId) {
        for name in [note_name(id), part_name(id)] {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
}

fn make(dir: &OwnedFd, name: &str) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?))
}

fn part_name(id: &UploadId) -> String {
    format!("{id}.part")
}

fn note_name(id: &UploadId) -> String {
    format!("{id}.json")
}

fn id_of_part(name: &[u8]) -> Option<UploadId> {
    std::str::from_utf8(name).ok()?.strip_suffix(".part")?.parse().ok()
}
