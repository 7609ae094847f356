//! The files of a workspace as a tar stream, out and in: for backups, and for moving one to another machine.
//!
//! Owners in the stream are those inside (1000), so it fits wherever it is unpacked. What comes in is hostile: every name
//! is resolved beneath a handle without following anything.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId, WorkspacePath};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use tar::EntryType;
use tokio::sync::mpsc;

use super::boxes::Held;
use super::failure::{aside, cannot, unknown};
use super::jail::INSIDE_UID;
use super::snapshots::of_its_own;
use super::{Inner, copying};

/// Pieces that wait between the disk and the network.
const PIECES_WAITING: usize = 8;
/// Size of one piece, in bytes.
const PIECE_BYTES: usize = 128 * 1024;
/// Most entries of a stream that comes in.
const ENTRIES_MAX: u64 = 5_000_000;
/// Deepest tree that is packed.
const DEPTH_MAX: usize = 400;
/// How extended attributes are named in a stream.
const XATTR_KEY: &str = "SCHILY.xattr.";

impl Inner {
    /// All files as a stream. Whether the workspace runs or not.
    pub(super) async fn export(&self, workspace: &WorkspaceId) -> Result<ByteStream, WorkspaceError> {
        let held = self.boxes.get(workspace).ok_or_else(|| unknown(workspace))?;
        let _busy = held.busy.lock().await;
        of_its_own(&held)?;
        self.attach(&held).await?;
        let files = self.layout.inside(&held.key).join("files");
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        // The handle keeps the files reachable to the end, even when the workspace is suspended meanwhile.
        let top =
            aside(move || open_directory(&files).map_err(|error| cannot("open the files", &error.into()))).await?;
        if held.running().is_none() {
            self.detach(&held).await?;
        }
        tokio::task::spawn_blocking(move || {
            let mut out = ToChannel { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            let packed = pack(&top, &mut out).and_then(|()| out.flush());
            if let Err(error) = packed {
                // Nobody listening any more is no failure, and a listener must hear that the stream is not whole.
                let _nobody = out.sender.blocking_send(Err(error));
            }
        });
        Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        })))
    }

    /// A new box with the files of a stream.
    pub(super) async fn import(&self, spec: WorkspaceSpec, files: ByteStream) -> Result<(), WorkspaceError> {
        self.template(&spec.template)?;
        if spec.directory.is_some() {
            let said = "a workspace on a directory of the host brings no files along; leave `directory` out";
            return Err(WorkspaceError::new(ProblemCode::BadRequest, said));
        }
        if self.boxes.get(&spec.id).is_some() {
            let said = format!("{} is there already; import into a new workspace", spec.id);
            return Err(WorkspaceError::new(ProblemCode::AlreadyExists, said));
        }
        let room = spec.limits.disk_bytes;
        let fill = |held: std::sync::Arc<Held>| async move {
            let (sender, receiver) = mpsc::channel(PIECES_WAITING);
            let feeding = tokio::spawn(feed(files, sender));
            let (target, owner) = (self.layout.inside(&held.key).join("files"), held.record().uid);
            let unpacked = aside(move || unpack(&target, FromChannel::new(receiver), owner, room)).await;
            feeding.abort();
            unpacked
        };
        self.new_box(spec, None, fill).await
    }
}

async fn feed(mut files: ByteStream, sender: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(piece) = files.next().await {
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

struct ToChannel {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for ToChannel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

struct FromChannel {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl FromChannel {
    fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, piece: Bytes::new() }
    }
}

impl Read for FromChannel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    beneath(rustix::fs::CWD, path)
}

fn beneath(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn pack(top: &OwnedFd, out: &mut impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.sparse(false);
    let mut stack = vec![(top.try_clone()?, PathBuf::new())];
    while let Some((directory, below)) = stack.pop() {
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = below.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            match pack_entry(&mut builder, &directory, name, &path) {
                Ok(Some(inner)) if path.components().count() < DEPTH_MAX => stack.push((inner, path)),
                Ok(_) => {}
                // Gone meanwhile, or something else by now.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    builder.finish()
}

/// Packs one name; gives the directory if it is one.
fn pack_entry<W: Write>(
    builder: &mut tar::Builder<W>,
    directory: &OwnedFd,
    name: &std::ffi::CStr,
    path: &Path,
) -> io::Result<Option<OwnedFd>> {
    let mut stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut header = tar::Header::new_gnu();
    let kind = FileType::from_raw_mode(stat.st_mode);
    let opened = match kind {
        FileType::Directory => Some(beneath(directory, name)?),
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            stat = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(None);
            }
            Some(file)
        }
        _ => None,
    };
    header.set_uid(INSIDE_UID.into());
    header.set_gid(INSIDE_UID.into());
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    if let Some(file) = &opened {
        let kept = copying::attributes(file.as_fd())?;
        let named: Vec<(String, Vec<u8>)> = kept
            .into_iter()
            .filter_map(|(name, value)| Some((format!("{XATTR_KEY}{}", name.into_string().ok()?), value)))
            .collect();
        if !named.is_empty() {
            builder.append_pax_extensions(named.iter().map(|(name, value)| (name.as_str(), value.as_slice())))?;
        }
    }
    match (kind, opened) {
        (FileType::Directory, Some(inner)) => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, path, io::empty())?;
            Ok(Some(inner))
        }
        (FileType::RegularFile, Some(file)) => {
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            // A file that shrinks while it is read is filled up: the stream must keep its word about sizes.
            let whole = File::from(file).chain(io::repeat(0)).take(size);
            builder.append_data(&mut header, path, whole)?;
            Ok(None)
        }
        (FileType::Symlink, _) => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, Path::new(std::ffi::OsStr::from_bytes(target.as_bytes())))?;
            Ok(None)
        }
        (FileType::Fifo, _) => {
            header.set_entry_type(EntryType::Fifo);
            builder.append_data(&mut header, path, io::empty())?;
            Ok(None)
        }
        _ => Ok(None),
    }
}

fn unpack(target: &Path, stream: impl Read, owner: Option<u32>, room: u64) -> Result<(), WorkspaceError> {
    let top = open_directory(target).map_err(|error| cannot("open the files of a new workspace", &error.into()))?;
    let mut unpacking = Unpacking { top, owner, left: room, made: BTreeSet::new(), dressed_last: Vec::new() };
    let mut archive = tar::Archive::new(stream);
    let entries = archive.entries().map_err(|error| unreadable(&error))?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        if count as u64 >= ENTRIES_MAX {
            return Err(hostile("it holds more than 5,000,000 entries"));
        }
        unpacking.entry(&mut entry)?;
    }
    unpacking.dress_directories()
}

struct Unpacking {
    top: OwnedFd,
    owner: Option<u32>,
    left: u64,
    made: BTreeSet<Vec<u8>>,
    /// Directories get their permissions and times when nothing is put into them any more.
    dressed_last: Vec<(WorkspacePath, Mode, u64)>,
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
        let parent = self.parent(&path)?;
        let name = path.name().ok_or_else(|| hostile("an entry has no name"))?;
        let name = CString::new(name).map_err(|_| hostile("a name holds a NUL"))?;
        let shown = path.to_string();
        let wrong = |error: io::Error| cannot(format!("unpack {shown}"), &error);
        match entry.header().entry_type() {
            EntryType::Directory => {
                self.directory(&path)?;
                self.dressed_last.push((path, mode, time));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, &name, mode, time).map_err(wrong)?;
            }
            EntryType::Symlink => {
                let leads_to = entry.link_name_bytes().ok_or_else(|| hostile("a link leads nowhere"))?;
                let leads_to = CString::new(leads_to.into_owned()).map_err(|_| hostile("a link holds a NUL"))?;
                rustix::fs::symlinkat(&leads_to, &parent, &name).map_err(|error| wrong(error.into()))?;
                self.dress(&parent, &name, time).map_err(wrong)?;
            }
            EntryType::Link => {
                let leads_to = entry.link_name_bytes().ok_or_else(|| hostile("a link leads nowhere"))?;
                let first = WorkspacePath::from_bytes(&relative(&leads_to))?;
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

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &CString,
        mode: Mode,
        time: u64,
    ) -> io::Result<()> {
        let size = entry.size();
        self.left = self.left.checked_sub(size).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(&mut entry.take(size), &mut file)?;
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR_KEY)) else { continue };
                if key.starts_with("user.") {
                    rustix::fs::fsetxattr(&file, key, extension.value_bytes(), XattrFlags::empty())?;
                }
            }
        }
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
            let dressed =
                rustix::fs::fchmod(&directory, *mode).and_then(|()| rustix::fs::futimens(&directory, &times(*time)));
            dressed.map_err(|error| cannot(format!("unpack {path}"), &error.into()))?;
        }
        Ok(())
    }
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
