//! Single sessions: idle in transaction, long statements and transactions, pile-ups of waits.

use reeve_types::{Finding, Severity};
use serde_json::json;

use super::who;
use crate::draft::{self, Draft};
use crate::evidence::Session;
use crate::{EvidenceSet, Thresholds, words};

/// Transactions whose client has gone quiet. Heads of lock chains are told there.
pub(super) fn idle_in_transaction(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let heads = super::locks::head_pids(evidence, thresholds);
    let mut quiet: Vec<(&Session, f64, Severity)> = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|session| session.is_client() && session.is_idle_in_transaction() && !heads.contains(&session.pid))
        .filter_map(|session| {
            let secs = session.state_secs?;
            Some((session, secs, idle_severity(session, secs, thresholds)?))
        })
        .collect();
    quiet.sort_by(|a, b| a.2.cmp(&b.2).then(b.1.total_cmp(&a.1)));
    let Some((oldest, secs, severity)) = quiet.first().copied() else { return Vec::new() };
    let title = match quiet.len() {
        1 => format!("pid {} has been idle in transaction for {}", oldest.pid, words::duration(secs)),
        n => format!("{n} sessions are idle in transaction, pid {} for {}", oldest.pid, words::duration(secs)),
    };
    let written = if oldest.has_writes {
        "It holds uncommitted changes: their row locks stay, and ending it rolls them back (about as long as it took to write them)."
    } else {
        "It has written nothing, but keeps its snapshot and its table locks."
    };
    let mut draft = Draft::new("idle_in_transaction", severity, title).cause(format!(
        "{} opened a transaction, last ran {}, and has not said COMMIT or ROLLBACK since. {written} As long as it is open, \
         vacuum cannot remove rows that died after it began.",
        who(evidence, oldest.pid),
        words::statement(&oldest.query)
    ));
    for (session, secs, _) in quiet.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}: {} for {}, transaction open for {}, {}, last statement {}",
                    who(evidence, session.pid),
                    session.state.as_deref().unwrap_or_default(),
                    words::duration(*secs),
                    session.xact_secs.map_or_else(|| "unknown".to_owned(), words::duration),
                    if session.has_writes { "uncommitted writes" } else { "no writes" },
                    words::statement(&session.query)
                ),
                "pg_stat_activity",
                json!(session),
            )
            .remedy(draft::terminate_connection(
                session.pid,
                if session.has_writes {
                    "rolls back its uncommitted changes; cancel_query would not help, there is no query to cancel"
                } else {
                    "loses nothing; cancel_query would not help, there is no query to cancel"
                },
            ));
    }
    let timeout = evidence.setting("idle_in_transaction_session_timeout").unwrap_or("0");
    draft = draft.advice(match timeout {
        "0" => "idle_in_transaction_session_timeout is off: ALTER SYSTEM SET idle_in_transaction_session_timeout = '60s'; would end such sessions by itself.".to_owned(),
        ms => format!("idle_in_transaction_session_timeout is {ms} ms."),
    });
    vec![draft.done()]
}

fn idle_severity(session: &Session, secs: f64, thresholds: &Thresholds) -> Option<Severity> {
    match session.has_writes {
        true if secs >= thresholds.idle_in_transaction_critical_secs => Some(Severity::Critical),
        true if secs >= thresholds.idle_in_transaction_writes_secs => Some(Severity::Warning),
        false if secs >= thresholds.idle_in_transaction_secs => Some(Severity::Warning),
        false if secs >= thresholds.idle_in_transaction_writes_secs => Some(Severity::Info),
        _ => None,
    }
}

/// Statements that run for long and are not merely waiting for a lock.
pub(super) fn long_queries(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let heads = super::locks::head_pids(evidence, thresholds);
    let mut long: Vec<(&Session, f64)> = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|s| s.is_client() && s.is_active() && !s.waits_for_lock() && s.leader_pid.is_none())
        .filter(|s| !heads.contains(&s.pid) && s.wait_event.as_deref() != Some("SyncRep"))
        .filter_map(|s| Some((s, s.query_secs?)))
        .filter(|(_, secs)| *secs >= thresholds.long_query_secs)
        .collect();
    long.sort_by(|a, b| b.1.total_cmp(&a.1));
    let Some((longest, secs)) = long.first().copied() else { return Vec::new() };
    let severity = if secs >= thresholds.very_long_query_secs { Severity::Warning } else { Severity::Info };
    let title = match long.len() {
        1 => format!("pid {} has been running one statement for {}", longest.pid, words::duration(secs)),
        n => format!("{n} statements run for long, that of pid {} for {}", longest.pid, words::duration(secs)),
    };
    let waits = match (&longest.wait_event_type, &longest.wait_event) {
        (Some(kind), Some(event)) => format!("Right now it waits for {kind}/{event}."),
        _ => "Right now it uses the processor.".to_owned(),
    };
    let mut draft = Draft::new("long_running_query", severity, title).cause(format!(
        "{} runs {}. {waits} It keeps its snapshot, so vacuum cannot remove rows that died since it began.",
        who(evidence, longest.pid),
        words::statement(&longest.query)
    ));
    for (session, secs) in long.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}: {} for {}",
                    who(evidence, session.pid),
                    words::statement(&session.query),
                    words::duration(*secs)
                ),
                "pg_stat_activity",
                json!(session),
            )
            .remedy(draft::cancel_query(session.pid, "ends the statement; its transaction is rolled back"));
    }
    let draft =
        draft.advice("Look at its plan (explain_query) before ending it; set statement_timeout for interactive roles.");
    vec![draft.done()]
}

/// Transactions that are open for long although they are at work.
pub(super) fn long_transactions(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let heads = super::locks::head_pids(evidence, thresholds);
    let long = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|s| s.is_client() && s.leader_pid.is_none() && !s.is_idle_in_transaction() && !heads.contains(&s.pid))
        .filter_map(|s| Some((s, s.xact_secs?)))
        // A transaction of one long statement is told as that statement.
        .filter(|(s, secs)| {
            *secs >= thresholds.long_transaction_secs && s.query_secs.is_none_or(|query| *secs - query > 60.0)
        })
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((session, secs)) = long else { return Vec::new() };
    let finding = Draft::new(
        "long_transaction",
        Severity::Warning,
        format!("the transaction of pid {} has been open for {}", session.pid, words::duration(secs)),
    )
    .cause(format!(
        "{} is at work in one transaction of many statements. Rows that died since it began cannot be vacuumed anywhere in \
         the database, and its row locks stay until it commits.",
        who(evidence, session.pid)
    ))
    .data(format!("current statement: {}", words::statement(&session.query)), "pg_stat_activity", json!(session))
    .remedy(draft::terminate_connection(session.pid, "rolls back all it has done so far; ask its owner first"))
    .advice("Commit in batches.");
    vec![finding.done()]
}

/// Commits that wait for a synchronous standby that does not answer.
pub(super) fn stuck_on_synchronous_commit(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let stuck: Vec<&Session> = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|s| s.wait_event.as_deref() == Some("SyncRep"))
        .filter(|s| s.query_secs.or(s.state_secs).is_some_and(|secs| secs >= thresholds.wait_secs))
        .collect();
    let Some(first) = stuck.first() else { return Vec::new() };
    let names = evidence.setting("synchronous_standby_names").unwrap_or_default();
    let connected = evidence
        .replicas
        .iter()
        .flatten()
        .filter(|r| r.sync_state.as_deref().is_some_and(|s| s == "sync" || s == "quorum"))
        .count();
    let cause = match connected {
        0 => {
            "No synchronous standby is connected, so their commits wait for one that cannot answer, without limit of time."
        }
        _ => "A synchronous standby is connected but confirms late, so commits wait for it.",
    };
    let n = i64::try_from(stuck.len()).unwrap_or(i64::MAX);
    let finding = Draft::new(
        "synchronous_commit_stuck",
        Severity::Critical,
        format!("{} wait for a synchronous standby to confirm their commit", words::plural(n, "session")),
    )
    .cause(format!("{cause} Their changes are durable here already; only the confirmation is missing."))
    .fact(format!("synchronous_standby_names = {names}; {connected} synchronous standbys are connected"), "pg_settings, pg_stat_replication")
    .data(format!("pid {} waits for SyncRep", first.pid), "pg_stat_activity", json!(first))
    .remedy(draft::reset_setting(
        "synchronous_standby_names",
        "commits no longer wait, and durability on a standby is given up until it is set again",
    ))
    .advice("Bring the standby back, or name one that is up: ALTER SYSTEM SET synchronous_standby_names = '…'; SELECT pg_reload_conf();");
    vec![finding.done()]
}

/// Many sessions stuck for a while in I/O or on the server's internal locks.
pub(super) fn wait_pile_ups(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let stuck: Vec<&Session> = evidence
        .sessions
        .iter()
        .flatten()
        .filter(|s| s.is_client() && s.is_active() && s.query_secs.is_some_and(|secs| secs >= thresholds.wait_secs))
        .collect();
    let of = |kind: &str| -> Vec<&Session> {
        stuck.iter().copied().filter(|s| s.wait_event_type.as_deref() == Some(kind)).collect()
    };
    let stories = [
        (
            "io_waits",
            of("IO"),
            "wait for storage",
            "The storage is slower than what is asked of it: reads that miss shared buffers, temporary files, or a device that is saturated or failing.",
        ),
        (
            "lwlock_contention",
            of("LWLock"),
            "wait for the server's internal locks",
            "Too many sessions work on the same structure at once; it is relieved by fewer concurrent sessions (a pooler) sooner than by any setting.",
        ),
        (
            "buffer_pin_waits",
            of("BufferPin"),
            "wait for pinned buffers",
            "Somebody keeps a page in use, typically an open cursor, so that others cannot clean or change it.",
        ),
    ];
    stories
        .into_iter()
        .filter(|(_, waiting, ..)| waiting.len() >= thresholds.wait_sessions.max(1))
        .map(|(code, waiting, what, cause)| {
            let mut events: Vec<&str> = waiting.iter().filter_map(|s| s.wait_event.as_deref()).collect();
            events.sort_unstable();
            events.dedup();
            let n = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
            let pids: Vec<i32> = waiting.iter().map(|s| s.pid).collect();
            Draft::new(
                code,
                Severity::Warning,
                format!("{} {what} ({})", words::plural(n, "running session"), words::list(&events, 3)),
            )
            .cause(cause)
            .data(
                format!(
                    "of {} sessions that run a statement for {} or longer, {n} {what}",
                    stuck.len(),
                    words::duration(thresholds.wait_secs)
                ),
                "pg_stat_activity",
                json!({ "pids": pids, "wait_events": events }),
            )
            .done()
        })
        .collect()
}
