//! One session as it is right before someone ends its query or the session itself.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::job::Job;
use super::params::Param;
use super::render::{fields, one_line, pretty_seconds};
use super::rows::{Row, fetch};
use super::trouble::Trouble;
use crate::connect::Session;

/// Everything that matters about one session, read in one round trip.
#[derive(Debug, Clone)]
pub(super) struct SessionFacts {
    row: Row,
}

const SESSION: &str = "
    SELECT a.pid, a.usename AS \"user\", a.datname AS database, a.application_name AS application,
           coalesce(host(a.client_addr), CASE WHEN a.client_port = -1 THEN 'local' END) AS client,
           a.backend_type, a.state, a.wait_event_type, a.wait_event, a.backend_start, a.xact_start, a.query_start,
           a.state_change,
           round(extract(epoch FROM clock_timestamp() - a.state_change)::numeric, 1) AS in_state_seconds,
           round(extract(epoch FROM clock_timestamp() - a.query_start)::numeric, 1) AS query_seconds,
           a.xact_start IS NOT NULL AS open_transaction,
           round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 3) AS transaction_seconds,
           a.backend_xid IS NOT NULL AS has_writes,
           (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.granted) AS locks_held,
           (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted) AS locks_awaited,
           (SELECT count(*) FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid))) AS sessions_blocked,
           (SELECT array_agg(DISTINCT l.relation::regclass::text)
            FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
            WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm')
                  AND c.relnamespace <> 'pg_catalog'::regnamespace
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked_tables,
           left(a.query, 200) AS query, a.query IS NOT DISTINCT FROM '<insufficient privilege>' AS hidden,
           a.pid = pg_backend_pid() AS is_self
    FROM pg_stat_activity a WHERE a.pid = $1::int";

/// Reads a session; `None` when there is none with this process id.
pub(super) async fn inspect(session: &Session, pid: i64) -> Result<Option<SessionFacts>, Trouble> {
    let rows = fetch(session, SESSION, &[Param::number(pid)]).await?;
    Ok(rows.rows.into_iter().next().map(|row| SessionFacts { row }))
}

pub(super) fn no_such_session(pid: i64) -> Trouble {
    Trouble::failed(format!("there is no session with process id {pid}; it has ended already, and nothing was done"))
}

impl SessionFacts {
    pub(super) fn pid(&self) -> i64 {
        self.row.int("pid").unwrap_or_default()
    }
    /// The exact text of the moment, to name the session in a statement.
    pub(super) fn moment(&self, column: &str) -> Option<&str> {
        self.row.text(column)
    }
    pub(super) fn state(&self) -> &str {
        self.row.text("state").unwrap_or("unknown")
    }
    pub(super) fn is_self(&self) -> bool {
        self.row.is("is_self")
    }
    pub(super) fn is_hidden(&self) -> bool {
        self.row.is("hidden")
    }
    pub(super) fn application(&self) -> &str {
        self.row.text("application").unwrap_or_default()
    }
    pub(super) fn backend_type(&self) -> Option<&str> {
        self.row.text("backend_type")
    }
    pub(super) fn has_writes(&self) -> bool {
        self.row.is("has_writes")
    }
    pub(super) fn transaction_seconds(&self) -> Option<f64> {
        self.row.float("transaction_seconds")
    }

    pub(super) fn data(&self) -> Value {
        let mut object = self.row.object();
        if let (Some(object), Some((least, most))) = (object.as_object_mut(), self.redo_seconds()) {
            object.insert(
                "rollback_estimate".to_owned(),
                json!({ "undo": "immediate", "redo_seconds_min": least, "redo_seconds_max": most }),
            );
        }
        object
    }

    /// How long doing the lost work again would take: half to twice the age of the transaction that holds it.
    fn redo_seconds(&self) -> Option<(f64, f64)> {
        let age = self.transaction_seconds()?;
        self.has_writes().then_some((age * 0.5, age * 2.0))
    }

    /// Fails when the caller expected another session, or another query, at this process id.
    pub(super) fn expect_moment(&self, column: &str, expected: Option<Timestamp>) -> Result<(), Trouble> {
        let Some(expected) = expected else { return Ok(()) };
        if self.is_hidden() {
            return Err(Trouble::failed(format!(
                "{column} of process {} is hidden from this role, so it cannot be told whether it is the session that was meant; GRANT pg_read_all_stats to the role; nothing was done",
                self.pid()
            )));
        }
        let found = self.moment(column).and_then(|text| text.parse::<Timestamp>().ok());
        // Callers may have kept milliseconds only.
        let same = found.is_some_and(|found| found.duration_since(expected).unsigned_abs().as_millis() < 1);
        if same {
            return Ok(());
        }
        let what = if column == "query_start" { "runs another query now" } else { "is another one now" };
        let found = found.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        Err(Trouble::failed(format!(
            "the session with process id {} {what}: {column} is {found}, not {expected}; nothing was done",
            self.pid()
        )))
    }

    /// Fails when the session's transaction has written for longer than policy lets be ended.
    pub(super) fn respect_age_limit(&self, job: &Job<'_>) -> Result<(), Trouble> {
        let limit = job.limits.max_xact_age_secs;
        if limit == 0 {
            return Ok(());
        }
        if self.is_hidden() {
            return Err(Trouble::over_limit(format!(
                "policy limits the age of transactions that may be ended to {limit} s, and this role cannot see the transaction of process {}; GRANT pg_read_all_stats to it",
                self.pid()
            )));
        }
        let age = self.transaction_seconds().unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "a limit in seconds is far below 2^52")]
        let over = self.has_writes() && age > limit as f64;
        if !over {
            return Ok(());
        }
        Err(Trouble::over_limit(format!(
            "the transaction of process {} has uncommitted writes and is {age:.0} s old; policy allows ending transactions of at most {limit} s (max_xact_age_secs); nothing was done",
            self.pid()
        )))
    }
}

/// What the session is, and what ending it would mean, in words.
pub(super) fn plan(facts: &SessionFacts) -> String {
    let mut text = fields(&facts.row);
    text.push('\n');
    if facts.is_hidden() {
        text.push_str("What this session does is hidden from this role; GRANT pg_read_all_stats to it to see it.\n");
        return text;
    }
    match (facts.transaction_seconds(), facts.redo_seconds()) {
        (None, _) => text.push_str("No transaction is open: ending the session loses nothing but the connection.\n"),
        (Some(age), None) => {
            let _ = writeln!(
                text,
                "The open transaction ({}) has written nothing: rolling it back loses no data.",
                pretty_seconds(age)
            );
        }
        (Some(age), Some((least, most))) => {
            let _ = writeln!(
                text,
                "The open transaction ({}) has written. Rolling it back takes effect at once, as PostgreSQL does not undo row by row; its rows stay behind as dead rows for vacuum. Doing the lost work again would take about {} to {}.",
                pretty_seconds(age),
                pretty_seconds(least),
                pretty_seconds(most)
            );
        }
    }
    match facts.row.int("sessions_blocked") {
        Some(0) | None => text.push_str("It blocks no other session.\n"),
        Some(n) => {
            let _ = writeln!(text, "It blocks {n} other session(s), which would go on.");
        }
    }
    text
}

/// One line that names the session.
pub(super) fn name(facts: &SessionFacts) -> String {
    let row = &facts.row;
    format!(
        "process {} ({}@{}, {}, {})",
        facts.pid(),
        row.text("user").unwrap_or("?"),
        row.text("database").unwrap_or("-"),
        one_line(if facts.application().is_empty() { "no application name" } else { facts.application() }, 60),
        facts.state()
    )
}
