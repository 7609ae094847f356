//! Where bytes wait for the act that uses them.
//!
//! An act holds the digest and the size of the bytes, not the bytes, so what was approved is what is written. Small
//! ones wait in memory; large ones, and those whose act waits for people, in a file of the data directory. Bytes belong
//! to whoever brought them: somebody else who knows a digest cannot have them written anywhere.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reeve_gate::workspace::ByteStream;
use reeve_store::{Published, StoreError};
use reeve_types::workspace::files::EDITOR_BYTES_MAX;
use reeve_types::{Digest, EventType, Principal, ProblemCode, ResourceKind, WorkspaceError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::{Core, WorkspacesOptions, lock};

const PIECE: usize = 64 * 1024;
/// How the names of files begin that are still arriving.
const PARTIAL: &str = "partial-";

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
    key: Digest,
    pub(super) sha256: Digest,
    pub(super) size: u64,
}

/// Under what bytes are kept: whose they are, and what they are.
pub(super) fn key_of(who: &Principal, sha256: &Digest) -> Digest {
    Digest::of(serde_json::json!([who.tenant, who.root().label(), sha256]).to_string().as_bytes())
}

pub(super) struct Staging {
    dir: PathBuf,
    memory_max: u64,
    disk_max: u64,
    held: Mutex<HashMap<Digest, (Held, u32)>>,
    /// A file was let go of.
    loose: Notify,
}

impl Staging {
    pub(super) fn open(data: &Path, options: &WorkspacesOptions) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = data.join("staging");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| StoreError::File { path: dir.clone(), source })?;
        // What was still arriving when the last server ended never will.
        for name in names_in(&dir).into_iter().filter(|name| name.starts_with(PARTIAL)) {
            let _ = std::fs::remove_file(dir.join(name));
        }
        let (memory_max, disk_max) = (options.staging_memory_bytes, options.staging_disk_bytes);
        Ok(Self { dir, memory_max, disk_max, held: Mutex::default(), loose: Notify::new() })
    }

    fn place(&self, key: &Digest) -> PathBuf {
        self.dir.join(hex::encode(key.as_bytes()))
    }

    fn partial(&self) -> PathBuf {
        self.dir.join(format!("{PARTIAL}{:032x}", rand::random::<u128>()))
    }

    /// Puts bytes aside until [`Staging::release`], at most so many.
    pub(super) async fn put(&self, who: &Principal, content: Content, most: u64) -> Result<Staged, WorkspaceError> {
        let bytes = match content {
            Content::Stream(stream) => return self.spool(who, stream, most).await,
            Content::Bytes(bytes) => bytes,
        };
        if bytes.len() as u64 > EDITOR_BYTES_MAX {
            return self.spool(who, futures_util::stream::iter([Ok(bytes)]).boxed(), most).await;
        }
        let sha256 = Digest::of(&bytes);
        let staged = Staged { key: key_of(who, &sha256), sha256, size: bytes.len() as u64 };
        if !self.hold_in_memory(&staged, &bytes) {
            return self.spool(who, futures_util::stream::iter([Ok(bytes)]).boxed(), most).await;
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
            held.entry(staged.key).or_insert((Held::Memory(bytes.clone()), 0)).1 += 1;
        }
        room
    }

    async fn spool(&self, who: &Principal, mut stream: ByteStream, most: u64) -> Result<Staged, WorkspaceError> {
        use sha2::Digest as _;
        let room = self.disk_max.saturating_sub(self.on_disk()).min(most);
        let partial = self.partial();
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
        let sha256 = Digest(hash.finalize().into());
        let key = key_of(who, &sha256);
        let place = self.place(&key);
        // Under the lock, so that nobody takes the file for one that no act needs.
        let mut held = lock(&self.held);
        std::fs::rename(&partial, &place).map_err(broken)?;
        drop(unfinished);
        held.entry(key).or_insert((Held::File(place), 0)).1 += 1;
        Ok(Staged { key, sha256, size })
    }

    fn on_disk(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Keeps bytes on disk, because their act waits for people.
    pub(super) async fn keep(&self, staged: &Staged) -> Result<(), WorkspaceError> {
        let held = lock(&self.held).get(&staged.key).map(|(held, _)| held.clone());
        let kept = match held {
            Some(Held::Memory(bytes)) => self.write_down(&staged.key, &bytes).await,
            _ => Ok(()),
        };
        self.forget(staged, false);
        kept
    }

    async fn write_down(&self, key: &Digest, bytes: &Bytes) -> Result<(), WorkspaceError> {
        let partial = self.partial();
        let unfinished = Unfinished(partial.clone());
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&partial).await.map_err(broken)?;
        file.write_all(bytes).await.map_err(broken)?;
        file.sync_all().await.map_err(broken)?;
        tokio::fs::rename(&partial, self.place(key)).await.map_err(broken)?;
        drop(unfinished);
        Ok(())
    }

    /// Lets go of bytes; the last one to do so removes them, unless an act that waits needs them too.
    pub(super) fn release(&self, staged: &Staged) {
        self.forget(staged, true);
    }

    fn forget(&self, staged: &Staged, settled: bool) {
        let mut held = lock(&self.held);
        let Some((_, holders)) = held.get_mut(&staged.key) else { return };
        *holders = holders.saturating_sub(1);
        if *holders == 0 {
            let was = held.remove(&staged.key);
            // A file may be another act's as well, one that waits for people: whether it is still needed is found out.
            if settled && matches!(was, Some((Held::File(_), _))) {
                self.loose.notify_one();
            }
        }
    }

    /// The bytes that an act names.
    pub(super) async fn open_bytes(&self, key: &Digest) -> Result<ByteStream, WorkspaceError> {
        let held = lock(&self.held).get(key).map(|(held, _)| held.clone());
        let path = match held {
            Some(Held::Memory(bytes)) => return Ok(futures_util::stream::iter([Ok(bytes)]).boxed()),
            Some(Held::File(path)) => path,
            None => self.place(key),
        };
        let file = tokio::fs::File::open(&path).await.map_err(|_| {
            let message = "the content of this act is no longer here; send it again";
            WorkspaceError::new(ProblemCode::Conflict, message)
        })?;
        Ok(pieces(file))
    }

    /// Files that nobody holds at this moment: some act that waits may need them, or none.
    fn unheld(&self) -> Vec<Digest> {
        let held = lock(&self.held);
        let keys = names_in(&self.dir).into_iter().filter_map(|name| name.parse::<Digest>().ok());
        keys.filter(|key| !held.contains_key(key)).collect()
    }

    fn throw_away(&self, key: &Digest) {
        let held = lock(&self.held);
        if !held.contains_key(key) {
            let _ = std::fs::remove_file(self.place(key));
        }
    }
}

impl Core {
    /// Throws content away that no act needs any more: it was written, or somebody said no.
    pub(super) async fn sweep_staging(&self) {
        // The files first: whatever is let go of from now on is in the database already if an act needs it.
        let unheld = self.staging.unheld();
        if unheld.is_empty() {
            return;
        }
        let actions = match self.store.unsettled_actions().await {
            Ok(actions) => actions,
            Err(error) => {
                tracing::warn!("content that waits could not be looked over: {}", error.chain());
                return;
            }
        };
        let needed: HashSet<Digest> = actions
            .iter()
            .filter_map(|action| {
                let sha256 = action.arguments.get("sha256")?.as_str()?.parse().ok()?;
                Some(key_of(&action.requester, &sha256))
            })
            .collect();
        for key in unheld.iter().filter(|key| !needed.contains(*key)) {
            self.staging.throw_away(key);
        }
    }

    /// Throws content away as soon as its act is settled, until `stop`.
    pub(super) async fn sweep_staging_on_time(&self, stop: &CancellationToken) {
        let mut records = self.store.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.staging.loose.notified() => {}
                () = next_settled(&mut records) => {}
            }
            self.sweep_staging().await;
        }
    }
}

/// Returns when an act on a workspace has been settled, or when records were missed.
async fn next_settled(records: &mut broadcast::Receiver<std::sync::Arc<Published>>) {
    loop {
        match records.recv().await {
            Ok(record) => {
                let event = &record.event;
                let ours = event.resource.as_ref().is_some_and(|resource| resource.kind == ResourceKind::Workspace);
                if ours && matches!(event.event_type, EventType::ApprovalResolved | EventType::ToolExecution) {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The bytes of a file, one piece after another.
pub(crate) fn pieces(file: tokio::fs::File) -> ByteStream {
    futures_util::stream::unfold(Some(file), async |file| {
        let mut file = file?;
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        match file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece.freeze()), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
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
