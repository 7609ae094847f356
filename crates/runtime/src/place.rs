//! The directory whose files are served, as a handle: where programs start and which file is run.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Whatever a path leads to must lie beneath the root; the kernel sees to it.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How often a resolution is tried again when directories are renamed under it.
const TRIES: u32 = 64;

/// The root of the workspace.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    root: OwnedFd,
}

impl Place {
    /// Opens the root.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { path: path.to_owned(), root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens something beneath the root.
    pub(crate) fn open_beneath(&self, path: &WorkspacePath, flags: OFlags) -> Result<OwnedFd, WorkspaceError> {
        let below: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
        let mut tries_left = TRIES;
        loop {
            match rustix::fs::openat2(&self.root, below, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
                Err(Errno::AGAIN | Errno::INTR) if tries_left > 0 => tries_left -= 1,
                answer => return answer.map_err(|error| refusal(path, error)),
            }
        }
    }

    /// A directory to start a program in.
    pub(crate) fn directory(&self, path: &WorkspacePath) -> Result<OwnedFd, WorkspaceError> {
        self.open_beneath(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// A regular file, as programs name it.
    pub(crate) fn file(&self, path: &WorkspacePath) -> Result<PathBuf, WorkspaceError> {
        let file = self.open_beneath(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| refusal(path, error))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            let message = format!("{path} is no file and cannot be run; name a file");
            return Err(WorkspaceError::new(ProblemCode::WrongFileType, message));
        }
        Ok(self.name(path))
    }

    /// A file without a name, on the disk of the workspace where it has one that can hold such files.
    pub(crate) fn spool(&self) -> Result<File, WorkspaceError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let nameless = rustix::fs::openat2(&self.root, ".", flags, Mode::RUSR | Mode::WUSR, BENEATH);
        match nameless {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => tempfile::tempfile().map_err(|error| {
                WorkspaceError::new(ProblemCode::DiskFull, format!("no temporary file can be made in /tmp: {error}"))
            }),
            Err(error) => Err(refusal(&WorkspacePath::root(), error)),
        }
    }

    /// The path as programs in the workspace see it.
    pub(crate) fn name(&self, path: &WorkspacePath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(std::ffi::OsStr::from_bytes(path.as_bytes())) }
    }
}

fn refusal(path: &WorkspacePath, error: Errno) -> WorkspaceError {
    let (code, why) = match error {
        Errno::NOENT => (ProblemCode::NotFound, "is not there"),
        Errno::NOTDIR => (ProblemCode::WrongFileType, "is no directory, or leads through something that is none"),
        Errno::XDEV | Errno::LOOP => (ProblemCode::PathEscape, "leads out of the workspace"),
        Errno::NOSPC | Errno::DQUOT => (ProblemCode::DiskFull, "lies on a disk that is full"),
        Errno::ACCESS | Errno::PERM => (ProblemCode::Forbidden, "may not be opened by the workspace's user"),
        other => return WorkspaceError::new(ProblemCode::Internal, format!("{path} cannot be opened: {other}")),
    };
    WorkspaceError::new(code, format!("{path} {why}"))
}
