//! Connections that only read: the state database as `main`, the log as `audit`.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// How many idle reading connections are kept.
const IDLE_MAX: usize = 8;

pub(crate) struct Readers {
    state: PathBuf,
    audit: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(state: PathBuf, audit: PathBuf) -> Self {
        Self { state, audit, idle: Mutex::new(Vec::new()) }
    }

    /// Lends a connection to a piece of work; both databases are seen as of one moment.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let connection = match kept {
            Some(connection) => connection,
            None => self.open()?,
        };
        connection.execute_batch("BEGIN")?;
        let result = work(&connection);
        connection.execute_batch("COMMIT")?;
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < IDLE_MAX
        {
            idle.push(connection);
        }
        result
    }

    /// A connection of one's own.
    pub(crate) fn open(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(&self.state, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "cache_size", -1024)?;
        connection.execute("ATTACH DATABASE ?1 AS audit", [self.audit.to_string_lossy()])?;
        connection.pragma_update(None, "query_only", "on")?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }
}
