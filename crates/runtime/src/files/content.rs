//! Entity tags, and what is remembered about contents.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use reeve_types::workspace::files::CONTENT_ETAG_BYTES_MAX;
use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};

/// How many tags are remembered.
const TAGS_MAX: usize = 8192;
/// How many saves are remembered for those who watch.
const ECHOES_MAX: usize = 1024;
/// A file that changed this recently may change again within one tick of the kernel's clock: its tag is not remembered.
const SETTLED: Duration = Duration::from_millis(50);

/// What tells one state of one file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
    size: i64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "widths differ between machines")]
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// Tags of contents that did not change since.
#[derive(Default)]
pub(super) struct Etags {
    known: HashMap<Identity, String>,
}

impl super::Files {
    /// The entity tag of an open regular file, without quotes: the SHA-256 of its content in hex up to
    /// [`CONTENT_ETAG_BYTES_MAX`], above that one made of inode, size and time. The file's position stays.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn etag(&self, file: &File) -> std::io::Result<String> {
        let stat = rustix::fs::fstat(file)?;
        let identity = Identity::of(&stat);
        if u64::try_from(stat.st_size).unwrap_or(0) > CONTENT_ETAG_BYTES_MAX {
            return Ok(large_tag(&identity));
        }
        if let Some(tag) = super::locked(&self.inner.etags).known.get(&identity) {
            return Ok(tag.clone());
        }
        let tag = hash_of(file)?;
        if Identity::of(&rustix::fs::fstat(file)?) == identity && settled(&stat) {
            let mut tags = super::locked(&self.inner.etags);
            if tags.known.len() >= TAGS_MAX {
                tags.known.clear();
            }
            tags.known.insert(identity, tag.clone());
        }
        Ok(tag)
    }
}

fn large_tag(identity: &Identity) -> String {
    let (seconds, nanos) = identity.mtime;
    format!("s-{:x}-{:x}-{seconds:x}.{nanos:x}", identity.ino, identity.size)
}

fn settled(stat: &Stat) -> bool {
    let seconds = Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(0));
    let nanos = Duration::from_nanos(stat.st_ctime_nsec);
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + seconds + nanos).is_ok_and(|age| age > SETTLED)
}

/// SHA-256 of a whole file in hex; its position stays.
pub(super) fn hash_of(file: &File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
}

/// A save that those who watch will see as a change.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) etag: String,
    pub(super) origin: Option<String>,
    pub(super) created: bool,
}

/// The last saves, by what they wrote.
#[derive(Default)]
pub(super) struct Echoes {
    by_file: HashMap<(u64, u64, i64, i64), Echo>,
    order: VecDeque<(u64, u64, i64, i64)>,
}

impl Echoes {
    pub(super) fn remember(&mut self, stat: &Stat, echo: Echo) {
        let key = echo_key(stat);
        if self.by_file.insert(key, echo).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > ECHOES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_file.remove(&oldest);
            }
        }
    }

    pub(super) fn find(&self, stat: &Stat) -> Option<Echo> {
        self.by_file.get(&echo_key(stat)).cloned()
    }
}

/// Renaming changes a file's ctime, not these.
fn echo_key(stat: &Stat) -> (u64, u64, i64, i64) {
    let identity = Identity::of(stat);
    (identity.dev, identity.ino, identity.mtime.0, identity.mtime.1)
}
