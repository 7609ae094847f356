//! Connections, sessions and the locks between them.

use serde::{Deserialize, Serialize};

/// One server process as `pg_stat_activity` shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Process id.
    pub pid: i32,
    /// The leader's pid, for a parallel worker.
    pub leader_pid: Option<i32>,
    /// `client backend`, `autovacuum worker`, `walsender`, …; `None` when it may not be seen.
    pub backend_type: Option<String>,
    /// Role.
    pub user: Option<String>,
    /// Database.
    pub database: Option<String>,
    /// `application_name`.
    pub application: String,
    /// Client address; `None` for a local socket.
    pub client: Option<String>,
    /// `active`, `idle`, `idle in transaction`, …; `None` when it may not be seen.
    pub state: Option<String>,
    /// Class of what it waits for.
    pub wait_event_type: Option<String>,
    /// What it waits for.
    pub wait_event: Option<String>,
    /// When it connected, RFC 3339 with microseconds: with the pid it names this session and no later one.
    pub backend_start: Option<String>,
    /// When its current or last statement began, written the same way.
    pub query_start: Option<String>,
    /// Since it connected.
    pub backend_secs: Option<f64>,
    /// Since its transaction began; `None` outside of one.
    pub xact_secs: Option<f64>,
    /// Since its current or last statement began.
    pub query_secs: Option<f64>,
    /// Since it entered its state.
    pub state_secs: Option<f64>,
    /// Whether its transaction has written something.
    pub has_writes: bool,
    /// How many transactions ago the snapshot was taken that it keeps; `None` when it keeps none.
    pub xmin_age: Option<i64>,
    /// Its current or last statement, at most 200 characters.
    pub query: String,
}

impl Session {
    /// Whether a client sits behind it.
    pub fn is_client(&self) -> bool {
        self.backend_type.as_deref().is_none_or(|kind| kind == "client backend")
    }

    /// Whether it runs a statement.
    pub fn is_active(&self) -> bool {
        self.state.as_deref() == Some("active")
    }

    /// Whether it is in a transaction and waits for its client.
    pub fn is_idle_in_transaction(&self) -> bool {
        self.state.as_deref().is_some_and(|state| state.starts_with("idle in transaction"))
    }

    /// Whether it waits for a heavyweight lock.
    pub fn waits_for_lock(&self) -> bool {
        self.wait_event_type.as_deref() == Some("Lock")
    }

    /// Whether it is an autovacuum worker.
    pub fn is_autovacuum(&self) -> bool {
        self.backend_type.as_deref() == Some("autovacuum worker")
    }
}

/// One session that waits for a lock, and who is in its way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockWait {
    /// Who waits.
    pub pid: i32,
    /// For how long.
    pub waiting_secs: f64,
    /// `relation`, `transactionid`, `tuple`, `advisory`, …
    pub locktype: String,
    /// The mode that is asked for.
    pub mode: String,
    /// The table (schema-qualified) that it is about; `None` in other databases and for other locks.
    pub relation: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Who holds the lock or is ahead in the queue; 0 stands for a prepared transaction.
    pub blocked_by: Vec<i32>,
    /// The prepared transaction in its way, when `blocked_by` has a 0 and it could be told which.
    pub blocked_by_gid: Option<String>,
}

/// An `ACCESS EXCLUSIVE` lock that is held.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldLock {
    /// Who holds it.
    pub pid: i32,
    /// On which table, schema-qualified.
    pub relation: String,
}

/// Connections in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionCounts {
    /// `max_connections`.
    pub max: i64,
    /// Slots that only superusers get.
    pub superuser_reserved: i64,
    /// Slots that only members of `pg_use_reserved_connections` get (16 and newer).
    pub reserved: i64,
    /// Connections of clients, this look's own included.
    pub total: i64,
    /// Of these, how many are this look's own.
    pub own: i64,
    /// Running a statement.
    pub active: i64,
    /// Doing nothing.
    pub idle: i64,
    /// Idle within a transaction.
    pub idle_in_transaction: i64,
    /// Waiting for a lock.
    pub lock_waiting: i64,
    /// Idle for five minutes or longer.
    pub idle_over_5_min: i64,
    /// Who has most, largest first.
    pub groups: Vec<ConnectionGroup>,
    /// Roles and databases with a connection limit of their own.
    pub limits: Vec<ConnectionLimit>,
}

/// Connections of one user and application to one database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionGroup {
    /// Role.
    pub user: Option<String>,
    /// Database.
    pub database: Option<String>,
    /// `application_name`.
    pub application: String,
    /// State; `None` when it may not be seen.
    pub state: Option<String>,
    /// How many.
    pub count: i64,
}

/// A role or database that has a connection limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionLimit {
    /// `role` or `database`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its limit.
    pub limit: i64,
    /// Connections it has.
    pub used: i64,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PreparedXact {
    /// Its global identifier.
    pub gid: String,
    /// Who prepared it.
    pub owner: String,
    /// In which database.
    pub database: String,
    /// Since it was prepared.
    pub age_secs: f64,
    /// How many transactions ago it began.
    pub xid_age: i64,
}
