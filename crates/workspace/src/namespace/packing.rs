//! The files of a workspace and its home directory as a tar stream: for backups, and for moving one to another machine.
//!
//! Owners in the stream are those inside (1000), so it fits wherever it is unpacked. How it is laid out is told in
//! [`crate::archive`].

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::EntryType;
use tokio::sync::mpsc;

use super::boxes::Held;
use super::failure::{aside, cannot, unknown};
use super::jail::INSIDE_UID;
use super::snapshots::of_its_own;
use super::unpacking::unpack;
use super::{Inner, copying};
use crate::archive::{CACHE, HOME, KEPT, XATTR_KEY};

/// Pieces that wait between the disk and the network.
const PIECES_WAITING: usize = 8;
/// Size of one piece, in bytes.
const PIECE_BYTES: usize = 128 * 1024;
/// Deepest tree that is packed.
const DEPTH_MAX: usize = 400;

impl Inner {
    /// All files as a stream. Whether the workspace runs or not.
    pub(super) async fn export(&self, workspace: &WorkspaceId) -> Result<ByteStream, WorkspaceError> {
        let held = self.boxes.get(workspace).ok_or_else(|| unknown(workspace))?;
        let _busy = held.busy.lock().await;
        of_its_own(&held)?;
        self.attach(&held).await?;
        let inside = self.layout.inside(&held.key);
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        // The handle keeps the files reachable to the end, even when the workspace is suspended meanwhile.
        let opened = aside(move || {
            let open =
                |name| open_directory(&inside.join(name)).map_err(|error| cannot("open the files", &error.into()));
            Ok((open("files")?, open("home")?))
        });
        let (files, home) = opened.await?;
        if held.running().is_none() {
            self.detach(&held).await?;
        }
        tokio::task::spawn_blocking(move || {
            let mut out = ToChannel { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            let packed = pack(&files, &home, &mut out).and_then(|()| out.flush());
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
            let (inside, owner) = (self.layout.inside(&held.key), held.record().uid);
            let unpacked = aside(move || unpack(&inside, FromChannel::new(receiver), owner, room)).await;
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

pub(super) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    beneath(rustix::fs::CWD, path)
}

fn beneath(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn pack(files: &OwnedFd, home: &OwnedFd, out: &mut impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.sparse(false);
    let kept = name_for_kept(files)?;
    let of_files = |name: &OsStr| Some(PathBuf::from(if name == HOME { OsStr::new(&kept) } else { name }));
    Packing { builder: &mut builder, links: HashMap::new() }.tree(files, of_files)?;
    let mut header = header_of(&rustix::fs::fstat(home)?);
    header.set_entry_type(EntryType::Directory);
    builder.append_data(&mut header, HOME, io::empty())?;
    let of_home = |name: &OsStr| (name != CACHE).then(|| Path::new(HOME).join(name));
    Packing { builder: &mut builder, links: HashMap::new() }.tree(home, of_home)?;
    builder.finish()
}

/// What a file that has the home directory's name is called in the stream: the first name that is free.
fn name_for_kept(files: &OwnedFd) -> io::Result<String> {
    let mut name = KEPT.to_owned();
    loop {
        match rustix::fs::statat(files, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(name),
            Err(error) => return Err(error.into()),
            Ok(_) => name.push('-'),
        }
    }
}

/// Packs one tree.
struct Packing<'a, W: Write> {
    builder: &'a mut tar::Builder<W>,
    /// Where files with several names are in the stream.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packing<'_, W> {
    /// Packs what is in a directory. `path_of` says where a name at its top goes, if anywhere.
    fn tree(&mut self, top: &OwnedFd, path_of: impl Fn(&OsStr) -> Option<PathBuf>) -> io::Result<()> {
        let mut stack = vec![(top.try_clone()?, None::<PathBuf>)];
        while let Some((directory, below)) = stack.pop() {
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let plain = OsStr::from_bytes(name.to_bytes());
                let Some(path) = below.as_ref().map_or_else(|| path_of(plain), |below| Some(below.join(plain))) else {
                    continue;
                };
                match self.entry(&directory, name, &path) {
                    Ok(Some(inner)) if path.components().count() < DEPTH_MAX => stack.push((inner, Some(path))),
                    Ok(_) => {}
                    // Gone meanwhile, or something else by now.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Packs one name; gives the directory if it is one.
    fn entry(&mut self, directory: &OwnedFd, name: &CStr, path: &Path) -> io::Result<Option<OwnedFd>> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut header = header_of(&stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let inner = beneath(directory, name)?;
                self.attributes(&inner)?;
                header.set_entry_type(EntryType::Directory);
                self.builder.append_data(&mut header, path, io::empty())?;
                return Ok(Some(inner));
            }
            FileType::RegularFile => self.file(directory, name, path)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
                header.set_entry_type(EntryType::Symlink);
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                self.builder.append_link(&mut header, path, target)?;
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.builder.append_data(&mut header, path, io::empty())?;
            }
            _ => {}
        }
        Ok(None)
    }

    fn file(&mut self, directory: &OwnedFd, name: &CStr, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut header = header_of(&stat);
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&identity) {
            header.set_entry_type(EntryType::Link);
            return self.builder.append_link(&mut header, path, first);
        }
        self.attributes(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        // A file that shrinks while it is read is filled up: the stream must keep its word about sizes.
        let whole = File::from(file).chain(io::repeat(0)).take(size);
        self.builder.append_data(&mut header, path, whole)?;
        if stat.st_nlink > 1 {
            self.links.insert(identity, path.to_owned());
        }
        Ok(())
    }

    /// What programs have noted with a file, before its entry.
    fn attributes(&mut self, file: &OwnedFd) -> io::Result<()> {
        let kept = copying::attributes(file.as_fd())?;
        let named: Vec<(String, Vec<u8>)> = kept
            .into_iter()
            .filter_map(|(name, value)| Some((format!("{XATTR_KEY}{}", name.into_string().ok()?), value)))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        self.builder.append_pax_extensions(named.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
    }
}

fn header_of(stat: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(INSIDE_UID.into());
    header.set_gid(INSIDE_UID.into());
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}
