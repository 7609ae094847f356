//! Why nobody could get in.

use serde::{Deserialize, Serialize};

/// At what a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectFailureKind {
    /// The target itself cannot be read.
    BadTarget,
    /// The host name does not resolve.
    Dns,
    /// Nobody listens there.
    Refused,
    /// The network knows no way to the host.
    Unreachable,
    /// No TCP connection in time.
    ConnectTimeout,
    /// Connected, but the server never answered: it hangs, or a proxy holds the line.
    Hung,
    /// TLS could not be agreed on, or its certificate does not hold.
    Tls,
    /// Wrong password, or no password where one is needed.
    Auth,
    /// `pg_hba.conf` has no line that lets this user in.
    Hba,
    /// There is no such role.
    MissingRole,
    /// There is no such database.
    MissingDatabase,
    /// Every connection slot is taken.
    TooManyConnections,
    /// Starting up or in crash recovery.
    Starting,
    /// Shutting down.
    ShuttingDown,
    /// The role may not connect, or may not log in.
    Forbidden,
    /// The server closed the connection in the middle.
    Dropped,
    /// What answers is no PostgreSQL server.
    NotPostgres,
    /// Anything else.
    Other,
}

/// Connections of the look itself that worked at first and then no more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    /// The checks that were being made when it happened, one for each of these connections.
    pub checks: Vec<String>,
    /// How many of these connections were closed; the others stay open and silent.
    pub cut: usize,
    /// Whether no connection was left to go on with.
    pub complete: bool,
    /// How long an answer was waited for, in milliseconds. The server's own limit for a statement is shorter.
    pub patience_ms: u64,
}

/// A connection that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectFailure {
    /// At what it failed.
    pub kind: ConnectFailureKind,
    /// Where to: `10.0.0.5:5432`, or a socket path.
    pub address: String,
    /// As whom, when known.
    pub user: Option<String>,
    /// To which database, when known.
    pub database: Option<String>,
    /// What was said: the server's message or the system's error, without secrets.
    pub detail: String,
    /// What whoever tried would do next.
    #[serde(default)]
    pub hints: Vec<String>,
    /// How long it took to fail, in milliseconds.
    pub after_ms: u64,
}
