//! A copy of the store as of one moment, taken while everything goes on.
//!
//! The writer pins that moment between two commits: a reading connection begins its snapshot of both databases there,
//! so the copy has no state that its log does not explain. The copying itself disturbs nobody.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use reeve_types::{Digest, TenantId, WorkspaceId};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::workspaces::StoredWorkspace;
use crate::{
    AUDIT_FILE, KEY_FILE, SCHEMA_VERSION, STATE_FILE, Store, StoreError, audit_log, create_private_dir,
    create_private_file, parse_json, write_private,
};

/// What names the content of a backup; written last, so that a directory without it is no backup.
pub(crate) const MANIFEST: &str = "backup.json";
/// Content that waits for approval, beside the databases.
pub(crate) const STAGING: &str = "staging";
/// The form of backups that this version writes, and the newest it reads.
const FORMAT: u32 = 1;
/// Small files of the data directory that belong to what the databases say.
const KEYS: [&str; 3] = [KEY_FILE, "sign-in.key", "admin.token"];
/// Pages that are copied at a time.
const PAGES: i32 = 1024;
const PIECE: usize = 128 * 1024;

/// Why nothing was backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place is taken.
    #[error("{path} is not empty; name a directory that is empty or not there yet")]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be restored from this.
    #[error("{path} cannot be restored from: {reason}")]
    Unusable {
        /// The backup.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Records would be lost.
    #[error(
        "{path} holds {found} records and the backup only {records}: restoring over it would lose what came later; \
         restore into another directory, or move this one away first"
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// The records in it.
        found: u64,
        /// The records in the backup.
        records: u64,
    },
    /// The data directory has a history of its own.
    #[error(
        "{path} holds an audit log that is not the one of the backup; restore into another directory, or move this one \
         away first"
    )]
    AnotherLog {
        /// The data directory.
        path: PathBuf,
    },
    /// The store failed; also when the data directory is in use.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpFile {
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: Digest,
}

/// A workspace that the backup knows; its files are no part of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpWorkspace {
    /// Whose installation it belongs to.
    pub tenant: TenantId,
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
}

/// What is in a backup; kept beside it as `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// The form of the backup itself.
    pub format: u32,
    /// The schema of the databases.
    pub schema: i64,
    /// The moment that it is a copy of.
    pub taken_at: Timestamp,
    /// Records of the audit log.
    pub records: u64,
    /// Hash of the newest of them.
    pub last_hash: Digest,
    /// The files, by name; those that wait for approval as `staging/<digest>`.
    pub files: BTreeMap<String, BackedUpFile>,
    /// The workspaces that had been made, deleted ones that can still be restored included.
    pub workspaces: Vec<BackedUpWorkspace>,
}

impl BackupSummary {
    /// Length of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Reads what a backup says of itself. Whether its files are whole is found out when it is restored.
    ///
    /// # Errors
    ///
    /// The directory is no whole backup, or a newer version wrote it.
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        let unusable = |reason: String| BackupError::Unusable { path: dir.to_owned(), reason };
        let text = std::fs::read_to_string(dir.join(MANIFEST)).map_err(|error| {
            unusable(format!("its {MANIFEST} cannot be read ({error}); the backup may be unfinished"))
        })?;
        let summary: Self =
            serde_json::from_str(&text).map_err(|error| unusable(format!("its {MANIFEST} is damaged: {error}")))?;
        if summary.format > FORMAT || summary.schema > SCHEMA_VERSION {
            return Err(unusable("a newer version of Reeve wrote it; restore it with that version".to_owned()));
        }
        let plain = |name: &str| {
            let rest = name.strip_prefix("staging/").unwrap_or(name);
            !rest.is_empty() && !rest.starts_with('.') && !rest.contains('/')
        };
        if let Some(name) = summary.files.keys().find(|name| !plain(name)) {
            return Err(unusable(format!("its {MANIFEST} names a file outside of it: {name}")));
        }
        Ok(summary)
    }
}

impl Store {
    /// Copies the databases, the log's key and what belongs to them into a directory that is empty or not there yet, as
    /// of one moment and while everything goes on. The copy holds secrets: the directory is its owner's alone.
    ///
    /// # Errors
    ///
    /// The place is taken or cannot be written, or the store is closed.
    pub async fn backup_to(&self, dir: &Path) -> Result<BackupSummary, BackupError> {
        let empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
        if !empty {
            return Err(BackupError::Occupied { path: dir.to_owned() });
        }
        create_private_dir(dir)?;
        // So that every record in the copy stands under a signed checkpoint, as far as it could be signed.
        self.writer.checkpoint().await?;
        let readers = std::sync::Arc::clone(&self.readers);
        let reader = aside(move || readers.open().map_err(BackupError::from)).await?;
        let clock = std::sync::Arc::clone(&self.clock);
        // The writer holds both databases open and uncommitted here, so both are seen as of its last commit.
        let (reader, taken_at) = self
            .write(move |_| {
                reader.execute_batch(
                    "BEGIN; SELECT count(*) FROM main.sqlite_schema; SELECT count(*) FROM audit.sqlite_schema;",
                )?;
                Ok((reader, clock.now()))
            })
            .await?;
        let (from, to) = (self.dir.to_path_buf(), dir.to_owned());
        aside(move || copy_all(&reader, taken_at, &from, &to)).await
    }
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Closed.into()),
    }
}

fn copy_all(reader: &Connection, taken_at: Timestamp, from: &Path, to: &Path) -> Result<BackupSummary, BackupError> {
    let (records, last_hash) = audit_log::end_of(reader, "audit")?;
    let workspaces = workspaces_in(reader)?;
    let mut files = BTreeMap::new();
    for (schema, name) in [("main", STATE_FILE), ("audit", AUDIT_FILE)] {
        copy_database(reader, schema, &to.join(name))?;
        files.insert(name.to_owned(), measured(&to.join(name))?);
    }
    for name in KEYS.iter().filter(|name| from.join(name).exists()) {
        files.insert((*name).to_owned(), copy_file(&from.join(name), &to.join(name))?);
    }
    for name in staged(&from.join(STAGING)) {
        let (source, place) = (from.join(STAGING).join(&name), to.join(STAGING));
        create_private_dir(&place)?;
        match copy_file(&source, &place.join(&name)) {
            Ok(file) => _ = files.insert(format!("{STAGING}/{name}"), file),
            // Its act ran, or was denied, in between.
            Err(_) if !source.exists() => _ = std::fs::remove_file(place.join(&name)),
            Err(error) => return Err(error),
        }
    }
    let schema = SCHEMA_VERSION;
    let summary = BackupSummary { format: FORMAT, schema, taken_at, records, last_hash, files, workspaces };
    let text = serde_json::to_string_pretty(&summary)
        .map_err(|error| StoreError::Corrupt { what: MANIFEST.to_owned(), reason: error.to_string() })?;
    write_private(&to.join(MANIFEST), &text)?;
    Ok(summary)
}

fn workspaces_in(reader: &Connection) -> Result<Vec<BackedUpWorkspace>, BackupError> {
    let mut statement =
        reader.prepare("SELECT body FROM main.workspaces WHERE made AND owner <> '' ORDER BY workspace_id")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|body| {
        let seen = parse_json::<StoredWorkspace>("workspace", &body?)?.workspace;
        Ok(BackedUpWorkspace { tenant: seen.tenant, id: seen.id, name: seen.name })
    })
    .collect()
}

/// Copies one database as the reader's snapshot shows it, into a file that stands by itself.
fn copy_database(reader: &Connection, schema: &str, to: &Path) -> Result<(), BackupError> {
    create_private_file(to)?;
    let mut copy = Connection::open(to)?;
    {
        let backup = Backup::new_with_names(reader, schema, &mut copy, "main")?;
        loop {
            match backup.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(StoreError::Unavailable(format!("{} is in use by somebody else", to.display())).into()),
            }
        }
    }
    // One file and no journal beside it; opening the store makes it a write-ahead log again.
    copy.pragma_update(None, "journal_mode", "delete")?;
    copy.close().map_err(|(_, error)| error)?;
    let failed = |source| StoreError::File { path: to.to_owned(), source };
    File::open(to).and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(())
}

/// Names of content that waits, without what is still arriving.
pub(crate) fn staged(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with("partial-") && !name.starts_with('.')).collect()
}

fn file_failed(path: &Path) -> impl Fn(std::io::Error) -> StoreError + '_ {
    move |source| StoreError::File { path: path.to_owned(), source }
}

/// Copies a file durably and tells what it is.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<BackedUpFile, BackupError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut copy = options.write(true).create(true).truncate(true).mode(0o600).open(to).map_err(file_failed(to))?;
    let file = read_through(from, |part| copy.write_all(part).map_err(file_failed(to)))?;
    copy.sync_all().map_err(file_failed(to))?;
    Ok(file)
}

fn measured(path: &Path) -> Result<BackedUpFile, BackupError> {
    Ok(read_through(path, |_| Ok(()))?)
}

fn read_through(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<BackedUpFile, StoreError> {
    let mut source = File::open(path).map_err(file_failed(path))?;
    let (mut hash, mut bytes, mut piece) = (sha2::Sha256::new(), 0u64, vec![0u8; PIECE]);
    loop {
        let read = source.read(&mut piece).map_err(file_failed(path))?;
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        bytes += part.len() as u64;
        each(part)?;
    }
    Ok(BackedUpFile { bytes, sha256: Digest(hash.finalize().into()) })
}
