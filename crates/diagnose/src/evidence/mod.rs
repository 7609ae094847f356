//! What was seen on a server, as plain data.
//!
//! Everything a rule needs is in here, so that one saved set replays offline into the same findings. A check that was
//! not made is `None`, never an empty list: "nothing found" and "not looked" are different facts. Ages are in seconds
//! before [`EvidenceSet::collected_at`], sizes in bytes, counters as PostgreSQL keeps them (since its last reset).

mod reach;
mod replication;
mod server;
mod sessions;
mod storage;
mod wal;

use jiff::Timestamp;
use reeve_types::NotChecked;
use serde::{Deserialize, Serialize};

pub use reach::{ConnectFailure, ConnectFailureKind, Silence};
pub use replication::{Replica, Slot, Standby};
pub use server::{ConfigError, Server, Setting, Settings};
pub use sessions::{ConnectionCounts, ConnectionGroup, ConnectionLimit, HeldLock, LockWait, PreparedXact, Session};
pub use storage::{
    Database, DuplicateIndex, ForeignKeyWithoutIndex, IndexHealth, Indexes, Sequence, StatementStats, TableHealth,
};
pub use wal::{Archiver, Checkpoints, LogTail, WalDirectory};

/// All that was seen in one look at a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EvidenceSet {
    /// When it was seen. Compared only with that of a baseline.
    pub collected_at: Option<Timestamp>,
    /// Why nobody could get in. When this is set the rest is empty.
    pub connect_failure: Option<ConnectFailure>,
    /// Set when the server stopped answering in the middle of the look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// Version, role, uptime and what the looking role may see.
    pub server: Option<Server>,
    /// Settings that rules look at.
    pub settings: Option<Settings>,
    /// Errors in the configuration files, which hurt at the next reload or restart.
    pub config_errors: Option<Vec<ConfigError>>,
    /// How many connections there are, and whose.
    pub connections: Option<ConnectionCounts>,
    /// Sessions, the ones with the oldest open transaction first; the list may be cut.
    pub sessions: Option<Vec<Session>>,
    /// Who waits for whose lock.
    pub lock_waits: Option<Vec<LockWait>>,
    /// Granted `ACCESS EXCLUSIVE` locks on tables.
    pub exclusive_locks: Option<Vec<HeldLock>>,
    /// Transactions of two-phase commit that are prepared and not finished.
    pub prepared: Option<Vec<PreparedXact>>,
    /// Counters and ages of each database.
    pub databases: Option<Vec<Database>>,
    /// The tables of the connected database that stand out in any respect.
    pub tables: Option<Vec<TableHealth>>,
    /// Indexes of the connected database that stand out.
    pub indexes: Option<Indexes>,
    /// The most used-up sequences of the connected database.
    pub sequences: Option<Vec<Sequence>>,
    /// The standbys that are connected.
    pub replicas: Option<Vec<Replica>>,
    /// Replication slots.
    pub slots: Option<Vec<Slot>>,
    /// How replay goes, when the server is a standby.
    pub standby: Option<Standby>,
    /// WAL archiving.
    pub archiver: Option<Archiver>,
    /// The WAL directory.
    pub wal: Option<WalDirectory>,
    /// Checkpointer and background writer.
    pub checkpoints: Option<Checkpoints>,
    /// The statements that took most time, when `pg_stat_statements` is there.
    pub statements: Option<Vec<StatementStats>>,
    /// What the end of the server's log says.
    pub log: Option<LogTail>,
    /// What could not be looked at, and why.
    pub not_checked: Vec<NotChecked>,
}

impl EvidenceSet {
    /// A setting's value, when settings were read and it is among them.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name)
    }

    /// A setting as a number in its own unit.
    pub fn setting_number(&self, name: &str) -> Option<f64> {
        self.setting(name)?.parse().ok()
    }

    /// A setting as a switch.
    pub fn setting_on(&self, name: &str) -> Option<bool> {
        self.setting(name).map(|value| value == "on")
    }

    /// Whether the server is known to be a standby.
    pub fn in_recovery(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.in_recovery)
    }

    /// The counters of the database that was connected to.
    pub fn current_database(&self) -> Option<&Database> {
        let name = &self.server.as_ref()?.database;
        self.databases.as_ref()?.iter().find(|database| database.name == *name)
    }

    /// The session with a pid.
    pub fn session(&self, pid: i32) -> Option<&Session> {
        self.sessions.as_ref()?.iter().find(|session| session.pid == pid)
    }
}
