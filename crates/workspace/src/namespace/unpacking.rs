//! A tar stream becomes the files of a new workspace and its home directory. What comes in is hostile: every name is
//! resolved beneath a handle without following anything.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use tar::EntryType;

use super::failure::cannot;
use super::packing::open_directory;
use crate::archive::{HOME, XATTR_KEY};

/// Most entries of a stream that comes in.
const ENTRIES_MAX: u64 = 5_000_000;

/// Unpacks a stream into the directories of a box, for their owner. It must not hold more than there is `room` for.
pub(super) fn unpack(inside: &Path, stream: impl Read, owner: Option<u32>, room: u64) -> Result<(), WorkspaceError> {
    let tree = |name: &str| {
        let top = open_directory(&inside.join(name));
        let top = top.map_err(|error| cannot("open the files of a new workspace", &error.into()))?;
        let is_home = name == "home";
        Ok::<_, WorkspaceError>(Tree { top, is_home, owner, made: BTreeSet::new(), dressed_last: Vec::new() })
    };
    let mut unpacking = Unpacking { files: tree("files")?, home: tree("home")?, home_dress: None, left: room };
    let mut archive = tar::Archive::new(stream);
    let entries = archive.entries().map_err(|error| unreadable(&error))?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        if count as u64 >= ENTRIES_MAX {
            return Err(hostile("it holds more than 5,000,000 entries"));
        }
        unpacking.entry(&mut entry)?;
    }
    unpacking.finish()
}

struct Unpacking {
    files: Tree,
    home: Tree,
    /// Permissions and time of the home directory itself.
    home_dress: Option<(Mode, u64)>,
    /// How many bytes of content there is room for.
    left: u64,
}

impl Unpacking {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), WorkspaceError> {
        let path = WorkspacePath::from_bytes(&relative(&entry.path_bytes()))?;
        if path.is_root() {
            return Ok(());
        }
        let (mode, time) = (
            Mode::from_raw_mode(entry.header().mode().unwrap_or(0o644) & 0o1777),
            entry.header().mtime().unwrap_or_default(),
        );
        let Some(below) = below_home(&path)? else {
            return self.files.entry(entry, &path, (mode, time), &mut self.left);
        };
        if !below.is_root() {
            return self.home.entry(entry, &below, (mode, time), &mut self.left);
        }
        if entry.header().entry_type() != EntryType::Directory {
            return Err(hostile(&format!("`{HOME}` in it is no directory")));
        }
        self.home_dress = Some((mode | Mode::RWXU, time));
        Ok(())
    }

    fn finish(self) -> Result<(), WorkspaceError> {
        self.files.dress_directories()?;
        self.home.dress_directories()?;
        let Some((mode, time)) = self.home_dress else { return Ok(()) };
        dress_directory(&self.home.top, mode, time).map_err(|error| cannot("unpack the home directory", &error))
    }
}

/// The rest of a path that begins with the home directory.
fn below_home(path: &WorkspacePath) -> Result<Option<WorkspacePath>, WorkspaceError> {
    let mut names = path.names();
    if names.next() != Some(HOME.as_bytes()) {
        return Ok(None);
    }
    let mut below = WorkspacePath::root();
    for name in names {
        below = below.join(name)?;
    }
    Ok(Some(below))
}

/// One directory that is unpacked into.
struct Tree {
    top: OwnedFd,
    is_home: bool,
    owner: Option<u32>,
    made: BTreeSet<Vec<u8>>,
    /// Directories get their permissions and times when nothing is put into them any more.
    dressed_last: Vec<(WorkspacePath, Mode, u64)>,
}

impl Tree {
    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &WorkspacePath,
        (mode, time): (Mode, u64),
        left: &mut u64,
    ) -> Result<(), WorkspaceError> {
        let parent = self.parent(path)?;
        let name = path.name().ok_or_else(|| hostile("an entry has no name"))?;
        let name = CString::new(name).map_err(|_| hostile("a name holds a NUL"))?;
        let wrong = |error: io::Error| cannot(format!("unpack {path}"), &error);
        match entry.header().entry_type() {
            EntryType::Directory => {
                let directory = self.directory(path)?;
                note(entry, &directory).map_err(wrong)?;
                self.dressed_last.push((path.clone(), mode, time));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                *left = left.checked_sub(size).ok_or_else(|| wrong(io::Error::from_raw_os_error(libc::ENOSPC)))?;
                self.file(entry, &parent, &name, mode, time).map_err(wrong)?;
            }
            EntryType::Symlink => {
                let leads_to = entry.link_name_bytes().ok_or_else(|| hostile("a link leads nowhere"))?;
                let leads_to = CString::new(leads_to.into_owned()).map_err(|_| hostile("a link holds a NUL"))?;
                rustix::fs::symlinkat(&leads_to, &parent, &name).map_err(|error| wrong(error.into()))?;
                self.dress(&parent, &name, time).map_err(wrong)?;
            }
            EntryType::Link => {
                let first = self.of_second_name(entry)?;
                let from = self.parent(&first)?;
                let first =
                    CString::new(first.name().unwrap_or_default()).map_err(|_| hostile("a link holds a NUL"))?;
                rustix::fs::linkat(&from, &first, &parent, &name, AtFlags::empty())
                    .map_err(|error| wrong(error.into()))?;
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(&parent, &name, FileType::Fifo, mode, 0).map_err(|error| wrong(error.into()))?;
                self.dress(&parent, &name, time).map_err(wrong)?;
            }
            EntryType::XGlobalHeader => {}
            other => return Err(hostile(&format!("`{path}` is of a kind that is not unpacked ({other:?})"))),
        }
        Ok(())
    }

    /// The file that an entry is a second name of; it must be in the same tree.
    fn of_second_name<R: Read>(&self, entry: &tar::Entry<'_, R>) -> Result<WorkspacePath, WorkspaceError> {
        let leads_to = entry.link_name_bytes().ok_or_else(|| hostile("a link leads nowhere"))?;
        let first = WorkspacePath::from_bytes(&relative(&leads_to))?;
        match (below_home(&first)?, self.is_home) {
            (Some(below), true) => Ok(below),
            (None, false) => Ok(first),
            _ => Err(hostile("a file has one name in the home directory and one outside")),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &CString,
        mode: Mode,
        time: u64,
    ) -> io::Result<()> {
        let size = entry.size();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(&mut entry.take(size), &mut file)?;
        note(entry, &file)?;
        if let Some(uid) = self.owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
        }
        rustix::fs::fchmod(&file, mode)?;
        Ok(rustix::fs::futimens(&file, &times(time))?)
    }

    /// The directory above a path, made if it is missing.
    fn parent(&mut self, path: &WorkspacePath) -> Result<OwnedFd, WorkspaceError> {
        let parent = path.parent();
        if parent.is_root() {
            return self.top.try_clone().map_err(|error| cannot("open the files of a new workspace", &error));
        }
        self.directory(&parent)
    }

    /// A directory beneath the top, made with those above it. Links are not followed: a link where a directory should be
    /// is a trap.
    fn directory(&mut self, path: &WorkspacePath) -> Result<OwnedFd, WorkspaceError> {
        let mut so_far = Vec::new();
        for name in path.names() {
            if !so_far.is_empty() {
                so_far.push(b'/');
            }
            so_far.extend_from_slice(name);
            if !self.made.insert(so_far.clone()) {
                continue;
            }
            let here = CString::new(so_far.clone()).map_err(|_| hostile("a name holds a NUL"))?;
            let (above, last) = match so_far.iter().rposition(|byte| *byte == b'/') {
                Some(at) => {
                    (self.beneath(so_far.get(..at).unwrap_or_default())?, so_far.get(at + 1..).unwrap_or_default())
                }
                None => (self.beneath(b".")?, so_far.as_slice()),
            };
            let last = CString::new(last).map_err(|_| hostile("a name holds a NUL"))?;
            match rustix::fs::mkdirat(&above, &last, Mode::RWXU) {
                Ok(()) => self.own(&above, &last).map_err(|error| cannot("unpack a directory", &error))?,
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(cannot(format!("unpack {}", here.to_string_lossy()), &error.into())),
            }
        }
        self.beneath(path.as_bytes())
    }

    fn beneath(&self, path: &[u8]) -> Result<OwnedFd, WorkspaceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.top, path, flags, Mode::empty(), resolve)
            .map_err(|error| hostile(&format!("`{}` is no directory of it ({error})", String::from_utf8_lossy(path))))
    }

    fn own(&self, parent: &OwnedFd, name: &CString) -> io::Result<()> {
        let Some(uid) = self.owner else { return Ok(()) };
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
        Ok(rustix::fs::chownat(parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Owner and time of what cannot be opened to be given them.
    fn dress(&self, parent: &OwnedFd, name: &CString, time: u64) -> io::Result<()> {
        self.own(parent, name)?;
        Ok(rustix::fs::utimensat(parent, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn dress_directories(&self) -> Result<(), WorkspaceError> {
        for (path, mode, time) in self.dressed_last.iter().rev() {
            let directory = self.beneath(path.as_bytes())?;
            dress_directory(&directory, *mode, *time).map_err(|error| cannot(format!("unpack {path}"), &error))?;
        }
        Ok(())
    }
}

/// Gives a file or a directory what programs had noted with it.
fn note<R: Read>(entry: &mut tar::Entry<'_, R>, file: impl AsFd) -> io::Result<()> {
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR_KEY)) else { continue };
        if key.starts_with("user.") {
            rustix::fs::fsetxattr(&file, key, extension.value_bytes(), XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn dress_directory(directory: &OwnedFd, mode: Mode, time: u64) -> io::Result<()> {
    rustix::fs::fchmod(directory, mode)?;
    Ok(rustix::fs::futimens(directory, &times(time))?)
}

/// Names in archives begin with `./` or `/` now and then; both mean the top.
fn relative(name: &[u8]) -> Vec<u8> {
    let begin = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
    name.get(begin..).unwrap_or_default().to_vec()
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or_default(), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn unreadable(error: &io::Error) -> WorkspaceError {
    let said = format!("the stream is no tar archive, or was cut off: {error}");
    WorkspaceError::new(ProblemCode::BadRequest, said)
}

fn hostile(what: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::HostileArchive, format!("the archive is refused: {what}"))
}
