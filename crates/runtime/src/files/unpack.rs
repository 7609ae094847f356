//! Unpacking an archive that somebody sent: hostile until shown otherwise.
//!
//! Everything is unpacked out of sight first, by names in directories that are held open. Only a whole archive is moved
//! into place, and nothing that is there is replaced.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use flate2::read::MultiGzDecoder;
use reeve_types::workspace::files::{ArchiveFormat, Extracted, SaveFile};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Files;
use super::beneath::{Place, names_in, open_child_dir};
use super::content::hash_of;
use super::copy::LEVELS_MAX;
use super::failure::{Outcome, failed, failed_io};
use super::operate::rename_free;
use super::own::{is_own, make_dir};
use super::remove::remove;

/// Most files and directories in an archive.
const ENTRIES_MAX: u64 = 100_000;
/// How many times its own size an archive may hold, once it holds more than [`RATIO_FROM`] bytes.
const RATIO_MAX: u64 = 200;
/// Up to this many bytes, how well an archive is packed does not matter.
const RATIO_FROM: u64 = 64 * 1024 * 1024;

impl Files {
    /// Unpacks an archive into the directory that the save names; digest and size are the archive's. Directories that
    /// are there are filled; a file that is there makes the whole archive fail.
    ///
    /// # Errors
    /// `hostile_archive` for links, devices, absolute paths, `..`, names twice, too many entries or too much in too
    /// little; `already_exists`, `bad_request` for an archive that is damaged or not what was announced, `disk_full`.
    pub fn extract(&self, save: &SaveFile, format: ArchiveFormat, mut archive: File) -> Outcome<Extracted> {
        let io_failed = |error: io::Error| failed_io("unpack into", &save.path, &error);
        self.check_announced(save, &archive).map_err(io_failed)??;
        let target = self.directory_for(save)?;
        archive.seek(SeekFrom::Start(0)).map_err(io_failed)?;
        let wrong = |errno| failed("unpack into", &save.path, errno);
        let draft = self.draft_place(&target).map_err(wrong)?;
        let unpacked = make_dir(&draft.dir, &draft.name).map_err(wrong).and_then(|dir| {
            let mut unpacking = Unpacking::new(save, &dir);
            match format {
                ArchiveFormat::TarGz => unpacking.tar(archive)?,
                ArchiveFormat::Zip => unpacking.zip(archive)?,
            }
            merge(save, &dir, &target)?;
            Ok(Extracted { files: unpacking.files, bytes: unpacking.bytes })
        });
        // What cannot be removed now is swept at the next start.
        let _ = remove(draft.dir.as_fd(), &draft.name);
        unpacked
    }

    fn check_announced(&self, save: &SaveFile, archive: &File) -> io::Result<Outcome<()>> {
        let fits = archive.metadata()?.len() == save.size && hash_of(archive)? == hex::encode(save.sha256.as_bytes());
        Ok(if fits { Ok(()) } else { Err(damaged("it is not what was announced")) })
    }

    fn directory_for(&self, save: &SaveFile) -> Outcome<OwnedFd> {
        if save.create_parents && !save.path.is_root() {
            let (place, _) = self.root().place_with_parents("unpack into", &save.path)?;
            match rustix::fs::mkdirat(&place.dir, place.name.as_slice(), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("unpack into", &save.path, errno)),
            }
        }
        self.root().open_dir(&save.path).map_err(|errno| failed("unpack into", &save.path, errno))
    }
}

struct Unpacking<'a> {
    save: &'a SaveFile,
    dir: &'a OwnedFd,
    seen: HashSet<WorkspacePath>,
    entries: u64,
    files: u64,
    bytes: u64,
}

impl<'a> Unpacking<'a> {
    fn new(save: &'a SaveFile, dir: &'a OwnedFd) -> Self {
        Self { save, dir, seen: HashSet::new(), entries: 0, files: 0, bytes: 0 }
    }

    fn tar(&mut self, archive: File) -> Outcome<()> {
        // The decoder is capped too: headers and padding are no files, and can be a bomb all the same.
        let cap = RATIO_FROM.max(self.save.size.saturating_mul(RATIO_MAX)).saturating_add(ENTRIES_MAX * 1024);
        let mut reader = tar::Archive::new(MultiGzDecoder::new(io::BufReader::new(archive)).take(cap));
        for entry in reader.entries().map_err(|error| damaged(&error.to_string()))? {
            let mut entry = entry.map_err(|error| damaged(&error.to_string()))?;
            let name = entry.path_bytes().into_owned();
            let mode = entry.header().mode().unwrap_or(0o644);
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => self.file(&name, mode, &mut entry)?,
                tar::EntryType::Directory => self.directory(&name)?,
                tar::EntryType::XGlobalHeader => self.one_more()?,
                other => return Err(hostile(&name, &format!("is neither file nor directory ({other:?})"))),
            }
        }
        Ok(())
    }

    fn zip(&mut self, archive: File) -> Outcome<()> {
        let mut reader = zip::ZipArchive::new(archive).map_err(|error| damaged(&error.to_string()))?;
        for index in 0..reader.len() {
            let mut entry = reader.by_index(index).map_err(|error| damaged(&error.to_string()))?;
            let name = entry.name_raw().to_vec();
            let mode = entry.unix_mode().unwrap_or(0o644);
            match FileType::from_raw_mode(mode) {
                _ if entry.is_dir() => self.directory(&name)?,
                FileType::RegularFile | FileType::Unknown => self.file(&name, mode, &mut entry)?,
                other => return Err(hostile(&name, &format!("is neither file nor directory ({other:?})"))),
            }
        }
        Ok(())
    }

    fn one_more(&mut self) -> Outcome<()> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(refused(format!("the archive holds more than {ENTRIES_MAX} entries")));
        }
        Ok(())
    }

    fn directory(&mut self, name: &[u8]) -> Outcome<()> {
        self.one_more()?;
        let path = checked(name)?;
        self.dirs(&path).map(drop)
    }

    fn file(&mut self, name: &[u8], mode: u32, content: &mut dyn Read) -> Outcome<()> {
        self.one_more()?;
        let path = checked(name)?.below_root().map_err(|_| hostile(name, "names no file"))?;
        if !self.seen.insert(path.clone()) {
            return Err(hostile(name, "is there twice"));
        }
        let parent = self.dirs(&path.parent())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode((mode & 0o777) | 0o600);
        let made = rustix::fs::openat(&parent, path.name().unwrap_or_default(), flags, mode);
        let mut file = File::from(made.map_err(|errno| match errno {
            Errno::EXIST | Errno::ISDIR => hostile(name, "is there twice"),
            errno => failed("unpack into", &self.save.path, errno),
        })?);
        self.files += 1;
        self.fill(name, content, &mut file)
    }

    fn fill(&mut self, name: &[u8], content: &mut dyn Read, file: &mut File) -> Outcome<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = content.read(&mut buffer).map_err(|error| damaged(&error.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += read as u64;
            if self.bytes > RATIO_FROM && self.bytes > self.save.size.saturating_mul(RATIO_MAX) {
                return Err(hostile(name, "swells the archive to more than 200 times its size"));
            }
            file.write_all(buffer.get(..read).unwrap_or_default())
                .map_err(|error| failed_io("unpack into", &self.save.path, &error))?;
        }
    }

    /// The directory of that path in the draft, made as far as it is missing.
    fn dirs(&self, path: &WorkspacePath) -> Outcome<OwnedFd> {
        let wrong = |errno| match errno {
            Errno::NOTDIR | Errno::LOOP => hostile(path.as_bytes(), "is a file and a directory"),
            errno => failed("unpack into", &self.save.path, errno),
        };
        let mut dir = rustix::io::fcntl_dupfd_cloexec(self.dir, 0).map_err(wrong)?;
        for name in path.names() {
            match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(wrong(errno)),
            }
            dir = open_child_dir(&dir, name).map_err(wrong)?;
        }
        Ok(dir)
    }
}

/// A name of an archive as a path below where it is unpacked.
fn checked(name: &[u8]) -> Outcome<WorkspacePath> {
    if name.starts_with(b"/") || name.contains(&b'\\') {
        return Err(hostile(name, "is no relative path"));
    }
    let path = WorkspacePath::from_bytes(name).map_err(|problem| hostile(name, &problem.to_string()))?;
    if is_own(&path) {
        return Err(hostile(name, "is a name that Reeve keeps for itself"));
    }
    if path.names().count() > LEVELS_MAX as usize {
        return Err(hostile(name, "lies too deep"));
    }
    Ok(path)
}

fn hostile(name: &[u8], why: &str) -> WorkspaceError {
    let shown: String = super::entry::shown(name).chars().take(120).collect();
    refused(format!("`{shown}` {why}; nothing was unpacked"))
}

fn refused(message: String) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::HostileArchive, message)
}

fn damaged(why: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, format!("the archive cannot be read: {why}; nothing was unpacked"))
}

/// Moves everything into place. A first pass finds what is in the way; if something appears after that, what was moved
/// is taken back.
fn merge(save: &SaveFile, from: &OwnedFd, to: &OwnedFd) -> Outcome<()> {
    let wrong = |errno| failed("unpack into", &save.path, errno);
    in_the_way(&save.path, from, to)?;
    let mut moved = Vec::new();
    let result = move_all(from, to, &mut moved);
    if result.is_err() {
        for place in moved.iter().rev() {
            // It was ours a moment ago; what cannot be removed now stays, and the answer says that it failed.
            let _ = remove(place.dir.as_fd(), &place.name);
        }
    }
    result.map_err(wrong)
}

fn in_the_way(path: &WorkspacePath, from: &OwnedFd, to: &OwnedFd) -> Outcome<()> {
    let wrong = |errno| failed("unpack into", path, errno);
    for (name, kind) in names_in(from).map_err(wrong)? {
        let child = path.join(&name)?;
        let there = rustix::fs::statat(to, name.as_slice(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        match there.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(wrong(errno)),
            Ok(FileType::Directory) if kind == FileType::Directory => {
                let source = open_child_dir(from, &name).map_err(wrong)?;
                let target = open_child_dir(to, &name).map_err(wrong)?;
                in_the_way(&child, &source, &target)?;
            }
            Ok(_) => return Err(failed("unpack", &child, Errno::EXIST)),
        }
    }
    Ok(())
}

fn move_all(from: &OwnedFd, to: &OwnedFd, moved: &mut Vec<Place>) -> Result<(), Errno> {
    for (name, kind) in names_in(from)? {
        let source = Place { dir: rustix::io::fcntl_dupfd_cloexec(from, 0)?, name: name.clone() };
        let target = Place { dir: rustix::io::fcntl_dupfd_cloexec(to, 0)?, name: name.clone() };
        match rename_free(&source, &target) {
            Ok(()) => moved.push(target),
            Err(Errno::EXIST) if kind == FileType::Directory => {
                move_all(&open_child_dir(from, &name)?, &open_child_dir(to, &name)?, moved)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
