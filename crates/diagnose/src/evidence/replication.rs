//! Standbys and slots.

use serde::{Deserialize, Serialize};

/// A standby or logical subscriber that is connected.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// Pid of the sender process.
    pub pid: i32,
    /// `application_name`.
    pub application: String,
    /// Where it is; `None` for a local socket.
    pub client: Option<String>,
    /// `streaming`, `catchup`, `backup`, …; `None` when it may not be seen.
    pub state: Option<String>,
    /// `sync`, `async`, `potential`, `quorum`.
    pub sync_state: Option<String>,
    /// WAL that has not been sent.
    pub send_lag_bytes: Option<i64>,
    /// WAL that was sent and is not flushed there.
    pub flush_lag_bytes: Option<i64>,
    /// WAL that is flushed there and not replayed.
    pub replay_lag_bytes: Option<i64>,
    /// How far replay is behind, in seconds, as the standby reports it.
    pub replay_lag_secs: Option<f64>,
}

impl Replica {
    /// All WAL that it has not replayed.
    pub fn behind_bytes(&self) -> i64 {
        [self.send_lag_bytes, self.flush_lag_bytes, self.replay_lag_bytes]
            .into_iter()
            .flatten()
            .fold(0, i64::saturating_add)
    }
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Name.
    pub name: String,
    /// `physical` or `logical`.
    pub kind: String,
    /// Its database, when logical.
    pub database: Option<String>,
    /// Whether somebody reads from it.
    pub active: bool,
    /// Whether it goes away with its session.
    pub temporary: bool,
    /// WAL that is kept for it; `None` when it keeps none.
    pub retained_bytes: Option<i64>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// How much may still be written before it is lost; `None` without a limit.
    pub safe_bytes: Option<i64>,
    /// Age of the oldest transaction whose rows it keeps from vacuum.
    pub xmin_age: Option<i64>,
    /// The same for the system catalogs only.
    pub catalog_xmin_age: Option<i64>,
    /// Since nobody reads from it (17 and newer).
    pub inactive_secs: Option<f64>,
}

/// How a standby does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Standby {
    /// Whether replay was paused by hand or at a recovery target.
    pub paused: bool,
    /// WAL that has been received and not replayed.
    pub replay_lag_bytes: Option<i64>,
    /// Since the last replayed transaction was committed on the primary; grows on an idle primary too.
    pub replayed_xact_secs: Option<f64>,
    /// State of the WAL receiver; `None` when there is none.
    pub receiver: Option<String>,
    /// Since the receiver heard of the primary.
    pub receiver_silent_secs: Option<f64>,
    /// Where the receiver reads from.
    pub sender: Option<String>,
    /// Whether a primary is configured (`primary_conninfo` is not empty).
    pub has_primary: bool,
    /// `recovery_min_apply_delay`, in seconds.
    pub apply_delay_secs: f64,
    /// The name of the slot it reads from.
    pub slot: Option<String>,
}
