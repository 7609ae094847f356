//! What Reeve remembers.
//!
//! Two SQLite databases in the data directory: `audit.db`, the append-only log, and `reeve.db`, everything else. One
//! thread writes; it takes all requests that wait, puts them into one transaction, and answers them after one fsync
//! (group commit). Readers have connections of their own and never wait for the writer.
//!
//! Approvals and actions are what the log says. Their tables are a projection that moves in the same step; whatever a
//! crash cut off is rebuilt from the log at the next start, so that one fsync, the log's, is enough for both.

mod accounts;
mod actions;
mod approvals;
mod archive;
mod audit_log;
mod backup;
mod deliveries;
mod events;
mod keys;
mod ledger;
mod lists;
mod lock;
mod project;
mod readers;
mod restore;
mod sessions;
mod tenants;
mod workspaces;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reeve_audit::{SigningKey, VerifyingKey};
use reeve_gate::Clock;
use reeve_types::KeyId;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::broadcast;

pub use accounts::{AccountChange, Rotation, StoredAccount, StoredLogin};
pub use actions::ActionFilter;
pub use approvals::ApprovalFilter;
pub use archive::{NewToolResult, NewUpload, StoredToolResult, StoredUpload};
pub use audit_log::{AuditError, LogHead};
pub use backup::{BackedUpFile, BackedUpWorkspace, BackupError, BackupSummary};
pub use deliveries::{Delivery, DeliveryCounts};
pub use events::{EventFilter, EventPage, JourneyFilter, StoredEvent};
pub use keys::{Claim, NewKey, StoredKey};
pub use lock::LockError;
pub use sessions::{NewSession, OpenTurn, QueuedPrompt, SessionChange, SessionFilter, StoredSession};
pub use tenants::StoredTenant;
pub use workspaces::{Altered, Quota, Quotas, StoredWorkspace};
pub use writer::Published;

/// Something that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another server holds the data directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The data directory or a file in it cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
    /// What is stored cannot be understood.
    #[error("what is stored under `{what}` cannot be read: {reason}")]
    Corrupt {
        /// Which row.
        what: String,
        /// Why.
        reason: String,
    },
    /// The log's key cannot be used.
    #[error("the key that signs the audit log ({path}) cannot be used: {reason}")]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store was written by a newer version.
    #[error("{path} was written by a newer version of Reeve (schema {found}, this version knows {known})")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The version known.
        known: i64,
    },
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
    /// Nothing can be committed.
    #[error("{0}")]
    Unavailable(String),
}

impl StoreError {
    /// The whole chain of causes in one line, for people and logs.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut at: Option<&dyn std::error::Error> = std::error::Error::source(self);
        while let Some(source) = at {
            text.push_str(": ");
            text.push_str(&source.to_string());
            at = source.source();
        }
        text
    }
}

/// The newest schema this version knows; kept in SQLite's `user_version`.
const SCHEMA_VERSION: i64 = 4;
const AUDIT_FILE: &str = "audit.db";
const STATE_FILE: &str = "reeve.db";
const KEY_FILE: &str = "audit.key";

/// The store: a cheap handle to the writer and the readers.
#[derive(Clone)]
pub struct Store {
    writer: writer::Handle,
    readers: Arc<readers::Readers>,
    published: broadcast::Sender<Arc<Published>>,
    dir: Arc<Path>,
    log_key: Arc<VerifyingKey>,
    known_keys: Arc<keys::KnownKeys>,
    /// Keys that are taken back, as they are.
    revoked: broadcast::Sender<KeyId>,
    lists: Arc<lists::Lists>,
    clock: Arc<dyn Clock>,
    spans: Option<SpanSource>,
    _lock: Arc<lock::DirectoryLock>,
}

/// Tells the span of distributed tracing that the caller is in, if any.
pub type SpanSource = fn() -> Option<reeve_types::event::SpanPart>;

impl Store {
    /// Opens, or creates, the store in a directory. Only one process at a time may hold it.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        create_private_dir(dir)?;
        let lock = Arc::new(lock::DirectoryLock::acquire(dir)?);
        restore::refuse_unfinished(dir)?;
        let new = !dir.join(AUDIT_FILE).exists();
        let key = load_or_create_key(&dir.join(KEY_FILE), new, clock.as_ref())?;
        let log_key = Arc::new(key.verifying_key().clone());
        let audit = open_database(&dir.join(AUDIT_FILE), include_str!("schema/audit.sql"))?;
        let state = open_database(&dir.join(STATE_FILE), include_str!("schema/state.sql"))?;
        let (published, _) = broadcast::channel(4096);
        let writer = writer::start(audit, state, key, Arc::clone(&clock), published.clone())?;
        let readers = Arc::new(readers::Readers::new(dir.join(STATE_FILE), dir.join(AUDIT_FILE)));
        Ok(Self {
            writer,
            readers,
            published,
            dir: dir.into(),
            log_key,
            known_keys: Arc::default(),
            revoked: broadcast::channel(64).0,
            lists: Arc::default(),
            clock,
            spans: None,
            _lock: lock,
        })
    }

    /// Writes into each record the span that it is recorded in.
    #[must_use]
    pub fn with_spans(mut self, here: SpanSource) -> Self {
        self.spans = Some(here);
        self
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key that the log's checkpoints are signed with, its public half.
    pub fn log_key(&self) -> &VerifyingKey {
        &self.log_key
    }

    /// Every record from now on, in order. A receiver that falls behind is told how many it missed and reads them from
    /// the log by their sequence numbers.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Whether the log could commit when it was last tried, and if not, why.
    pub fn health(&self) -> Result<(), String> {
        self.writer.health()
    }

    /// Signs a last checkpoint and stops the writer. What is asked for afterwards is refused.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    /// Runs a piece of work on the state database in a transaction of the writer, durable when this returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.state(work).await
    }

    /// Runs a piece of work on a reader: `main` is the state database, `audit` the log.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        match tokio::task::spawn_blocking(move || readers.with(work)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Closed),
        }
    }
}

pub(crate) fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| StoreError::File { path: dir.to_owned(), source })
}

fn load_or_create_key(path: &Path, new: bool, clock: &dyn Clock) -> Result<SigningKey, StoreError> {
    let failed = |reason: String| StoreError::Key { path: path.to_owned(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => SigningKey::decode(&text).map_err(|e| failed(e.to_string())),
        // Another key would make every checkpoint of this log look forged.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !new => Err(failed(format!(
            "it is gone, and {AUDIT_FILE} beside it was signed with it; put the file back from a copy, or move {AUDIT_FILE} away to begin another log"
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut seed = [0u8; 32];
            seed[..16].copy_from_slice(&clock.random().to_be_bytes());
            seed[16..].copy_from_slice(&clock.random().to_be_bytes());
            let name = format!("reeve-{}", hex::encode(&clock.random().to_be_bytes()[..4]));
            let key =
                SigningKey::from_seed(&name, reeve_audit::KeyRole::Log, &seed).map_err(|e| failed(e.to_string()))?;
            write_private(path, reeve_types::secret::ExposeSecret::expose_secret(&key.encode()))?;
            Ok(key)
        }
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<(), StoreError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    let partial = path.with_extension("partial");
    let _ = std::fs::remove_file(&partial);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)?;
    // The name is durable only when the directory is.
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir).and_then(|dir| dir.sync_all())).map_err(failed)
}

fn open_database(path: &Path, schema: &str) -> Result<Connection, StoreError> {
    create_private_file(path)?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    connection.pragma_update(None, "trusted_schema", "off")?;
    connection.pragma_update(None, "cache_size", -2048)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    if found < SCHEMA_VERSION {
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
    }
    Ok(connection)
}

/// Makes an empty file that only its owner may read, when there is none: SQLite gives its journals the mode of the file.
pub(crate) fn create_private_file(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// Microseconds since 1970, how times are stored.
pub(crate) fn micros(at: jiff::Timestamp) -> i64 {
    at.as_microsecond()
}

/// The moment that stored microseconds name.
pub(crate) fn moment(us: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(us).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what: what.to_owned(), reason: e.to_string() })
}

pub(crate) fn to_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt { what: what.to_owned(), reason: e.to_string() })
}
