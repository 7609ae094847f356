//! Who waits for whom.

use reeve_types::Arguments;

use super::define::Definition;
use super::reads::{Part, answer};
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_lock_info",
            "Sessions that wait for a lock and the sessions that hold it: process, user and query of both.",
            |job| Box::pin(answer(job, lock_info)),
        )
        .capabilities(&["locks", "sessions"]),
        Definition::read(
            "get_blocking_queries",
            "Blocked and blocking sessions with application, wait event, lock mode, relation, how long they have waited, and the session at the root of each chain; longest wait first.",
            |job| Box::pin(answer(job, blocking_queries)),
        )
        .capabilities(&["locks", "sessions", "slow_queries"])
        .supersedes(&["get_lock_info"]),
    ]
}

/// Every pair of a session that waits and one that it waits for. Process 0 stands for a prepared transaction.
const PAIRS: &str = "FROM pg_stat_activity blocked
    CROSS JOIN LATERAL unnest(pg_blocking_pids(blocked.pid)) AS b(pid)
    LEFT JOIN pg_stat_activity blocking ON blocking.pid = b.pid";

pub(super) fn lock_info(_: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    let sql = format!(
        "SELECT DISTINCT blocked.pid AS blocked_pid, blocked.usename AS blocked_user, left(blocked.query, 200) AS blocked_query,
                b.pid AS blocking_pid, blocking.usename AS blocking_user, blocking.state AS blocking_state,
                left(blocking.query, 200) AS blocking_query
         {PAIRS} ORDER BY blocked_pid, blocking_pid LIMIT 500"
    );
    Ok(vec![Part::rows("locks", sql).when_empty("No session waits for a lock.")])
}

pub(super) fn blocking_queries(_: &Arguments, version: u32) -> Result<Vec<Part>, Trouble> {
    let since = if version >= 140_000 {
        "coalesce(l.waitstart, blocked.query_start)"
    } else {
        "coalesce(blocked.query_start, blocked.state_change)"
    };
    let sql = format!(
        "WITH RECURSIVE pairs AS (
             SELECT DISTINCT blocked.pid AS waiter, b.pid AS holder FROM pg_stat_activity blocked
             CROSS JOIN LATERAL unnest(pg_blocking_pids(blocked.pid)) AS b(pid)
         ), chain AS (
             SELECT waiter, holder FROM pairs
             UNION
             SELECT c.waiter, p.holder FROM chain c JOIN pairs p ON p.waiter = c.holder
         ), roots AS (
             SELECT waiter, min(holder) AS root FROM chain c
             WHERE NOT EXISTS (SELECT FROM pairs p WHERE p.waiter = c.holder) GROUP BY waiter
         )
         SELECT p.waiter AS blocked_pid, blocked.usename AS blocked_user, blocked.application_name AS blocked_application,
                round(extract(epoch FROM clock_timestamp() - {since})::numeric, 1) AS blocked_seconds,
                blocked.wait_event_type || ':' || blocked.wait_event AS wait_event, l.mode AS lock_mode, l.locktype AS lock_type,
                CASE WHEN l.relation IS NULL THEN NULL
                     WHEN l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                         THEN l.relation::regclass::text
                     ELSE format('oid %s in database %s', l.relation, (SELECT datname FROM pg_database WHERE oid = l.database))
                END AS relation,
                left(blocked.query, 200) AS blocked_query, blocked.backend_start AS blocked_backend_start,
                p.holder AS blocking_pid, blocking.usename AS blocking_user,
                blocking.application_name AS blocking_application, blocking.state AS blocking_state,
                round(extract(epoch FROM clock_timestamp() - blocking.xact_start)::numeric, 1) AS blocking_transaction_seconds,
                left(blocking.query, 200) AS blocking_query, blocking.backend_start AS blocking_backend_start,
                r.root AS root_pid
         FROM pairs p
         JOIN pg_stat_activity blocked ON blocked.pid = p.waiter
         LEFT JOIN pg_stat_activity blocking ON blocking.pid = p.holder
         LEFT JOIN LATERAL (SELECT * FROM pg_locks w WHERE w.pid = p.waiter AND NOT w.granted LIMIT 1) l ON true
         LEFT JOIN roots r ON r.waiter = p.waiter
         ORDER BY blocked_seconds DESC NULLS LAST, blocked_pid, blocking_pid LIMIT 500"
    );
    Ok(vec![Part::rows("blocking", sql).when_empty("No session is blocked by another.")])
}
