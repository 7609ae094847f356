//! Opening a session on a server: bounded in time at every step, and read-only unless asked otherwise.
//!
//! A [`Session`] belongs to whoever opened it. Its settings are fixed at login and checked by its first query: a
//! time limit per statement, a limit on waiting for locks, a name that a DBA finds in `pg_stat_activity`, and for
//! [`Access::ReadOnly`] `default_transaction_read_only`. A pooler that drops them is refused.

mod attempt;
mod pool;
mod read;
mod session;
#[cfg(test)]
mod tests;
mod transport;

use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::conninfo::{HostPort, Target, TargetSessionAttrs};
use crate::failure::{ConnectFailure, ConnectFailureKind};

use attempt::Attempt;
pub use pool::{LENT_MAX, Lent, SessionPool};
pub use read::{ReadError, ReadLimits, TextRows};
pub use session::{Canceller, ServerFacts, Session};

/// What `pg_stat_activity` shows for our sessions.
pub const APPLICATION_NAME: &str = "reeve";

/// Whether a session may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every transaction is read-only.
    ReadOnly,
    /// For governed changes only.
    ReadWrite,
}

/// How a session is opened.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Whether it may change anything.
    pub access: Access,
    /// The server cancels a statement that runs longer. Zero means no limit.
    pub statement_timeout: Duration,
    /// The server gives up waiting for a lock after this long. Zero means no limit.
    pub lock_timeout: Duration,
    /// How long one place may take from the look-up of its name to the answer of the first query, unless the
    /// connection string says `connect_timeout`.
    pub connect_timeout: Duration,
    /// How long all places together may take.
    pub total_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
}

impl ConnectOptions {
    /// For looking: 30 s per statement, 10 s per lock, 10 s per place, 30 s in all.
    pub fn read_only() -> Self {
        Self {
            access: Access::ReadOnly,
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            application_name: APPLICATION_NAME.to_owned(),
        }
    }

    /// For governed changes, with the same limits.
    pub fn read_write() -> Self {
        Self { access: Access::ReadWrite, ..Self::read_only() }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::read_only()
    }
}

/// Opens a session on the first place of the target that will have us and is of the wanted kind.
///
/// Places are tried in order. As in libpq, a server that answers and refuses (a wrong password, a missing database)
/// ends the search, for asking the next one would hide the reason; one that is starting or stopping does not.
pub async fn connect(target: &Target, options: &ConnectOptions) -> Result<Session, ConnectFailure> {
    let deadline = Instant::now() + options.total_timeout;
    let mut places: Vec<&HostPort> = target.hosts.iter().collect();
    if target.shuffle_hosts {
        places.shuffle(&mut rand::rng());
    }
    let wishes: &[TargetSessionAttrs] = match target.target_session_attrs {
        TargetSessionAttrs::PreferStandby => &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any],
        TargetSessionAttrs::Any => &[TargetSessionAttrs::Any],
        TargetSessionAttrs::ReadWrite => &[TargetSessionAttrs::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[TargetSessionAttrs::ReadOnly],
        TargetSessionAttrs::Primary => &[TargetSessionAttrs::Primary],
        TargetSessionAttrs::Standby => &[TargetSessionAttrs::Standby],
    };
    let mut failures: Vec<ConnectFailure> = Vec::new();
    'search: for wish in wishes {
        failures.clear();
        for place in &places {
            let attempt = Attempt::new(target, place, options, deadline);
            match attempt.open_if(*wish).await {
                Ok(session) => return Ok(session),
                Err(failure) => {
                    tracing::debug!(db.host = %failure.host, failure.code = failure.code(), "place did not do: {}", failure.detail);
                    let ends = ends_search(&failure);
                    failures.push(failure);
                    if ends {
                        break 'search;
                    }
                }
            }
        }
    }
    Err(summary(failures, target))
}

/// Whether the server has given an answer that another place would only hide.
fn ends_search(failure: &ConnectFailure) -> bool {
    failure.sqlstate.as_deref().is_some_and(|code| code != "57P03")
        || matches!(failure.kind, ConnectFailureKind::PasswordMissing | ConnectFailureKind::AuthFailed)
}

/// The last failure speaks for all, with the others behind it.
fn summary(mut failures: Vec<ConnectFailure>, target: &Target) -> ConnectFailure {
    match failures.pop() {
        Some(mut last) => {
            last.earlier = failures;
            last.warnings = target.warnings.clone();
            last
        }
        None => ConnectFailure {
            kind: ConnectFailureKind::Other,
            host: target.display(),
            user: target.user.clone(),
            dbname: target.dbname.clone(),
            detail: "the target names no host".to_owned(),
            sqlstate: None,
            earlier: Vec::new(),
            warnings: target.warnings.clone(),
        },
    }
}
