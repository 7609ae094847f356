//! One server for one data directory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The data directory is taken, or cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another Reeve{} is using {}; stop it first, or give this one a directory of its own with --data-dir", holder(.pid), .dir.display())]
    Taken {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as far as it is known.
        pid: Option<String>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {path}: {source}", path = .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn holder(pid: &Option<String>) -> String {
    pid.as_ref().map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Held as long as the store is open; the system gives it back even after a crash.
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(crate) fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("reeve.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim().to_owned();
            return Err(LockError::Taken { dir: dir.to_owned(), pid: (!pid.is_empty()).then_some(pid) });
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Self { _file: file })
    }
}
