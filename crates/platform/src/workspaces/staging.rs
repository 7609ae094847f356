//! Where bytes wait for the act that uses them.
//!
//! An act holds the digest and the size of the bytes, not the bytes, so what was approved is what is written. Small
//! ones wait in memory; large ones, and those whose act waits for people, in a file of the data directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_store::StoreError;
use reeve_types::workspace::files::{EDITOR_BYTES_MAX, FILE_BYTES_MAX};
use reeve_types::{Digest, ProblemCode, WorkspaceError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{WorkspacesOptions, lock};

/// How long bytes wait in a file for people at most.
const KEPT_FOR: Duration = Duration::from_secs(48 * 3600);
const PIECE: usize = 64 * 1024;

/// Bytes on their way into a workspace.
pub enum Content {
    /// In memory, at most 10 MiB.
    Bytes(Bytes),
    /// One piece after another, at most 1 GiB.
    Stream(ByteStream),
}

#[derive(Clone)]
enum Held {
    Memory(Bytes),
    File(PathBuf),
}

/// What was put aside.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) sha256: Digest,
    pub(super) size: u64,
}

pub(super) struct Staging {
    dir: PathBuf,
    memory_max: u64,
    disk_max: u64,
    held: Mutex<HashMap<Digest, (Held, u32)>>,
}

impl Staging {
    pub(super) fn open(data: &Path, options: &WorkspacesOptions) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = data.join("staging");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| StoreError::File { path: dir.clone(), source })?;
        let (memory_max, disk_max) = (options.staging_memory_bytes, options.staging_disk_bytes);
        Ok(Self { dir, memory_max, disk_max, held: Mutex::default() })
    }

    fn place(&self, sha256: &Digest) -> PathBuf {
        self.dir.join(sha256.to_string().replace(':', "-"))
    }

    /// Puts bytes aside until [`Staging::release`].
    pub(super) async fn put(&self, content: Content) -> Result<Staged, WorkspaceError> {
        let bytes = match content {
            Content::Stream(stream) => return self.spool(stream).await,
            Content::Bytes(bytes) => bytes,
        };
        if bytes.len() as u64 > EDITOR_BYTES_MAX {
            return self.spool(futures_util::stream::iter([Ok(bytes)]).boxed()).await;
        }
        let staged = Staged { sha256: Digest::of(&bytes), size: bytes.len() as u64 };
        if !self.hold_in_memory(&staged, &bytes) {
            return self.spool(futures_util::stream::iter([Ok(bytes)]).boxed()).await;
        }
        Ok(staged)
    }

    /// Whether there was room for them.
    fn hold_in_memory(&self, staged: &Staged, bytes: &Bytes) -> bool {
        let mut held = lock(&self.held);
        let size = |held: &Held| if let Held::Memory(bytes) = held { bytes.len() as u64 } else { 0 };
        let in_memory: u64 = held.values().map(|(held, _)| size(held)).sum();
        let room = in_memory + staged.size <= self.memory_max;
        if room {
            held.entry(staged.sha256).or_insert((Held::Memory(bytes.clone()), 0)).1 += 1;
        }
        room
    }

    async fn spool(&self, mut stream: ByteStream) -> Result<Staged, WorkspaceError> {
        use sha2::Digest as _;
        let room = self.disk_max.saturating_sub(self.on_disk()).min(FILE_BYTES_MAX);
        let partial = self.dir.join(format!("partial-{:032x}", rand::random::<u128>()));
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&partial).await.map_err(broken)?;
        let unfinished = Unfinished(partial.clone());
        let (mut hash, mut size) = (sha2::Sha256::new(), 0u64);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| {
                WorkspaceError::new(ProblemCode::BadRequest, format!("the content broke off: {error}"))
            })?;
            size += piece.len() as u64;
            if size > room {
                let message = format!("the content is larger than the {room} bytes that can be taken now");
                return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(broken)?;
        }
        file.flush().await.map_err(broken)?;
        let sha256: Digest = hex::encode(hash.finalize())
            .parse()
            .map_err(|_| WorkspaceError::new(ProblemCode::Internal, "a digest could not be read"))?;
        let place = self.place(&sha256);
        tokio::fs::rename(&partial, &place).await.map_err(broken)?;
        drop(unfinished);
        let mut held = lock(&self.held);
        let entry = held.entry(sha256).or_insert((Held::File(place.clone()), 0));
        entry.1 += 1;
        Ok(Staged { sha256, size })
    }

    fn on_disk(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Keeps bytes on disk, because their act waits for people.
    pub(super) async fn keep(&self, staged: &Staged) -> Result<(), WorkspaceError> {
        let held = lock(&self.held).get(&staged.sha256).map(|(held, _)| held.clone());
        if let Some(Held::Memory(bytes)) = held {
            let partial = self.dir.join(format!("partial-{:032x}", rand::random::<u128>()));
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&partial).await.map_err(broken)?;
            file.write_all(&bytes).await.map_err(broken)?;
            file.sync_all().await.map_err(broken)?;
            tokio::fs::rename(&partial, self.place(&staged.sha256)).await.map_err(broken)?;
        }
        self.forget(staged, false);
        Ok(())
    }

    /// Lets go of bytes; the last one to do so removes them.
    pub(super) fn release(&self, staged: &Staged) {
        self.forget(staged, true);
    }

    fn forget(&self, staged: &Staged, files: bool) {
        let mut held = lock(&self.held);
        let Some((kind, holders)) = held.get_mut(&staged.sha256) else { return };
        *holders = holders.saturating_sub(1);
        if *holders == 0 {
            if let (Held::File(path), true) = (&kind, files) {
                let _ = std::fs::remove_file(path);
            }
            held.remove(&staged.sha256);
        }
    }

    /// The bytes that an act names.
    pub(super) async fn open_bytes(&self, sha256: &Digest) -> Result<ByteStream, WorkspaceError> {
        let held = lock(&self.held).get(sha256).map(|(held, _)| held.clone());
        let path = match held {
            Some(Held::Memory(bytes)) => return Ok(futures_util::stream::iter([Ok(bytes)]).boxed()),
            Some(Held::File(path)) => path,
            None => self.place(sha256),
        };
        let file = tokio::fs::File::open(&path).await.map_err(|_| {
            let message = "the content of this act is no longer here; send it again";
            WorkspaceError::new(ProblemCode::Conflict, message)
        })?;
        Ok(futures_util::stream::unfold(Some(file), async |file| {
            let mut file = file?;
            let mut piece = bytes::BytesMut::with_capacity(PIECE);
            match file.read_buf(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(piece.freeze()), Some(file))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    /// Removes a file that an act has used up and nobody holds.
    pub(super) fn used_up(&self, sha256: &Digest) {
        if !lock(&self.held).contains_key(sha256) {
            let _ = std::fs::remove_file(self.place(sha256));
        }
    }

    /// Removes files that waited longer than any act may.
    pub(super) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > KEPT_FOR) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A file that is removed unless it has got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn broken(error: std::io::Error) -> WorkspaceError {
    let code =
        if error.kind() == std::io::ErrorKind::StorageFull { ProblemCode::DiskFull } else { ProblemCode::Internal };
    WorkspaceError::new(code, format!("the content could not be put aside: {error}"))
}
