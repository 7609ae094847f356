//! What the one at the head of a chain is doing, and what helps against it.

use reeve_types::Remedy;

use crate::draft;
use crate::evidence::{PreparedXact, Session};
use crate::{EvidenceSet, words};

/// What stands at the head of a chain of waits.
pub(super) enum Head<'a> {
    /// In a transaction, waiting for its client.
    IdleInTransaction(&'a Session),
    /// Running a statement.
    Active(&'a Session),
    /// Autovacuum that must finish to prevent wraparound; it does not give way.
    WraparoundVacuum(&'a Session),
    /// Plain autovacuum, which gives way by itself.
    Autovacuum(&'a Session),
    /// A prepared transaction, which no session stands behind.
    Prepared(&'a PreparedXact),
    /// A prepared transaction of which nothing more is known.
    UnknownPrepared,
    /// A session that may not be looked into, or has just gone.
    Hidden(i32),
}

impl<'a> Head<'a> {
    pub(super) fn of(evidence: &'a EvidenceSet, pid: i32) -> Self {
        let Some(session) = evidence.session(pid) else { return Self::Hidden(pid) };
        if session.is_autovacuum() {
            return match session.query.contains("to prevent wraparound") {
                true => Self::WraparoundVacuum(session),
                false => Self::Autovacuum(session),
            };
        }
        if session.is_idle_in_transaction() {
            return Self::IdleInTransaction(session);
        }
        // Idle and yet in the way: a session-level advisory lock, which cancelling does not release either.
        match session.state.as_deref() {
            None => Self::Hidden(pid),
            Some("idle") => Self::IdleInTransaction(session),
            Some(_) => Self::Active(session),
        }
    }

    pub(super) fn prepared(evidence: &'a EvidenceSet, gid: Option<&str>) -> Self {
        let all = evidence.prepared.as_deref().unwrap_or_default();
        match gid.and_then(|gid| all.iter().find(|prepared| prepared.gid == gid)) {
            Some(prepared) => Self::Prepared(prepared),
            None => Self::UnknownPrepared,
        }
    }

    /// Whether nothing it does by itself ends the wait.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self, Self::IdleInTransaction(_) | Self::Prepared(_) | Self::UnknownPrepared)
    }

    /// For how long it has been as it is; `None` when that is not known.
    pub(super) fn stuck_secs(&self) -> Option<f64> {
        match self {
            Self::IdleInTransaction(session) => session.state_secs,
            Self::Prepared(prepared) => Some(prepared.age_secs),
            _ => None,
        }
    }

    /// What it does, as a sentence that follows its name.
    pub(super) fn doing(&self) -> String {
        match self {
            Self::IdleInTransaction(session) if session.state.as_deref() == Some("idle") => {
                "is idle, yet holds a session-level lock.".to_owned()
            }
            Self::IdleInTransaction(session) => idle_in_transaction(session),
            Self::Active(session) => active(session),
            Self::WraparoundVacuum(session) => format!(
                "is autovacuum preventing transaction id wraparound ({}); unlike plain autovacuum it does not give way.",
                words::statement(&session.query)
            ),
            Self::Autovacuum(session) => format!(
                "is autovacuum ({}), which gives way by itself when its lock has been waited for during deadlock_timeout.",
                words::statement(&session.query)
            ),
            Self::Prepared(prepared) => format!(
                "was prepared by {} in database {} {} ago and neither committed nor rolled back; it has no session, so \
                 it holds its locks across restarts until somebody finishes it.",
                prepared.owner,
                prepared.database,
                words::duration(prepared.age_secs)
            ),
            Self::UnknownPrepared => {
                "was prepared for two-phase commit and not finished; it has no session that could be ended.".to_owned()
            }
            Self::Hidden(_) => {
                "holds the lock; what it does may not be seen by the role that looked (GRANT pg_monitor would show it)."
                    .to_owned()
            }
        }
    }

    /// What helps, best first. `effect` says what for: `2 sessions go on`.
    pub(super) fn remedies(&self, effect: &str) -> Vec<Remedy> {
        match self {
            Self::IdleInTransaction(session) => {
                let writes = match session.has_writes {
                    true => "its uncommitted changes are rolled back",
                    false => "it has written nothing that could be lost",
                };
                vec![draft::terminate_connection(
                    session.pid,
                    format!("{effect}; {writes}. cancel_query would not help: an idle session has no query to cancel"),
                )]
            }
            Self::Active(session) => vec![
                draft::cancel_query(
                    session.pid,
                    format!("{effect}; its statement fails and its transaction is rolled back"),
                ),
                draft::terminate_connection(session.pid, format!("{effect}; only if it does not heed the cancel")),
            ],
            Self::Hidden(pid) => vec![
                draft::cancel_query(*pid, format!("{effect}, provided that it runs a statement")),
                draft::terminate_connection(*pid, format!("{effect}; the only way if it is idle in transaction")),
            ],
            Self::Autovacuum(session) => {
                vec![draft::cancel_query(session.pid, format!("{effect}; autovacuum comes back later by itself"))]
            }
            Self::WraparoundVacuum(_) | Self::Prepared(_) | Self::UnknownPrepared => Vec::new(),
        }
    }

    /// What no tool does.
    pub(super) fn advice(&self) -> Vec<String> {
        match self {
            Self::IdleInTransaction(_) => vec![
                "Keep it from happening again: set idle_in_transaction_session_timeout (for example 60s) for the role, and \
                 commit before waiting for users or other services."
                    .to_owned(),
            ],
            Self::Prepared(prepared) => vec![format!(
                "In database {}, when its coordinator is certainly gone: ROLLBACK PREPARED {gid}; or, if the coordinator \
                 decided so, COMMIT PREPARED {gid};",
                words::identifier(&prepared.database),
                gid = words::literal(&prepared.gid)
            )],
            Self::UnknownPrepared => vec![
                "Find it with SELECT gid, prepared, owner, database FROM pg_prepared_xacts; then ROLLBACK PREPARED or COMMIT \
                 PREPARED it in its database."
                    .to_owned(),
            ],
            Self::WraparoundVacuum(_) => vec![
                "Do not kill it: it starts over, and the wraparound it prevents stops all writes. Let it finish, cancel the \
                 DDL that waits for it, and raise vacuum_cost_limit or lower autovacuum_vacuum_cost_delay to speed it up."
                    .to_owned(),
            ],
            Self::Active(_) | Self::Autovacuum(_) | Self::Hidden(_) => Vec::new(),
        }
    }
}

fn idle_in_transaction(session: &Session) -> String {
    let since = session.state_secs.map(words::duration).unwrap_or_else(|| "an unknown time".to_owned());
    let aborted = session.state.as_deref().is_some_and(|state| state.contains("aborted"));
    let what = match (aborted, session.has_writes) {
        (true, _) => "Its transaction has failed already and waits for the client's ROLLBACK",
        (false, true) => "It holds uncommitted changes",
        (false, false) => "It holds locks",
    };
    format!(
        "has been idle in transaction for {since} after {}. {what}, and nothing the server does by itself will end it.",
        words::statement(&session.query)
    )
}

fn active(session: &Session) -> String {
    let since = session.query_secs.map(words::duration).unwrap_or_else(|| "an unknown time".to_owned());
    let waits = match (session.wait_event_type.as_deref(), session.wait_event.as_deref()) {
        (Some("Client"), Some(event)) => format!(", and waits for its client to read or send data ({event})"),
        (Some("IO"), Some(event)) => format!(", and waits for I/O ({event})"),
        _ => String::new(),
    };
    format!("has been running {} for {since}{waits}.", words::statement(&session.query))
}
