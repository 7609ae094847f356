//! What sessions are doing.

use reeve_types::{Arguments, ToolOutput};

use super::args;
use super::define::{Definition, boolean, pid};
use super::job::Job;
use super::params::Param;
use super::reads::{Part, answer};
use super::session_facts::{inspect, no_such_session, plan};
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_active_connections",
            "Sessions with what they run and wait for, longest-running query first, at most 50. Its own session is left out.",
            |job| Box::pin(answer(job, active_connections)),
        )
        .optional("active_only", boolean("Only sessions that run something at this moment.", false))
        .capabilities(&["connections", "sessions", "slow_queries"]),
        Definition::read(
            "get_wait_events",
            "What sessions wait for at this moment, grouped by wait type and event, most frequent first.",
            |job| Box::pin(answer(job, wait_events)),
        )
        .capabilities(&["locks", "sessions", "wait_events"]),
        Definition::read(
            "get_session_info",
            "One session before it is cancelled or terminated: who, what, how long, open transaction, writes, locks, and what ending it would cost.",
            |job| Box::pin(session_info(job)),
        )
        .required("pid", pid())
        .capabilities(&["locks", "sessions", "transactions"]),
    ]
}

pub(super) fn active_connections(arguments: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    let only = args::flag(arguments, "active_only", false);
    let sql = "SELECT a.pid, a.usename AS \"user\", a.datname AS database, a.application_name AS application,
                      coalesce(host(a.client_addr), CASE WHEN a.client_port = -1 THEN 'local' END) AS client,
                      a.state, a.wait_event_type, a.wait_event,
                      round(extract(epoch FROM clock_timestamp() - a.query_start)::numeric, 1) AS query_seconds,
                      round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1) AS transaction_seconds,
                      a.backend_start, left(a.query, 100) AS query
               FROM pg_stat_activity a
               WHERE a.pid <> pg_backend_pid()
                     AND CASE WHEN $1::boolean THEN a.state = 'active' ELSE a.state IS NOT NULL OR a.query = '<insufficient privilege>' END
               ORDER BY a.query_start NULLS LAST, a.pid LIMIT 50";
    Ok(vec![
        Part::rows("sessions", sql)
            .bind(vec![Param::from(serde_json::Value::Bool(only))])
            .when_empty("No other session."),
    ])
}

pub(super) fn wait_events(_: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    let sql = "SELECT coalesce(a.wait_event_type, 'none (on CPU)') AS wait_event_type, a.wait_event,
                      count(*) AS sessions, count(*) FILTER (WHERE a.state = 'active') AS active,
                      (array_agg(a.pid ORDER BY a.query_start NULLS LAST))[1:10] AS pids
               FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND (a.state IS NOT NULL OR a.wait_event IS NOT NULL)
               GROUP BY 1, 2 ORDER BY active DESC, sessions DESC, 1, 2";
    Ok(vec![Part::rows("wait_events", sql).when_empty("No session waits or works.")])
}

async fn session_info(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let pid = args::needed_integer(job.args(), "pid")?;
    let session = job.look().await?;
    let facts = inspect(&session, pid).await?.ok_or_else(|| no_such_session(pid))?;
    Ok(ToolOutput::with_data(plan(&facts), facts.data()))
}
