//! Ending many idle sessions at once, within a limit, one by one and each exactly as it was seen.

use reeve_types::{ActionClass, Arguments, Reversibility, ToolOutput, VerifyStatus};
use serde_json::{Value, json};

use super::args;
use super::define::{Definition, boolean, integer, string};
use super::job::Job;
use super::params::{Param, bound};
use super::render::table;
use super::rows::{Row, Rows, fetch};
use super::sessions_write::denied;
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::{APPLICATION_NAME, Session};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "terminate_idle_connections",
            "Ends client sessions that have been idle for a number of minutes, outside any transaction. With dry_run it only lists them.",
            ActionClass::Destructive,
            Reversibility::Partial {
                description: "no transaction is lost, as idle sessions have none; clients must connect again, and temporary tables, prepared statements and session settings are gone".to_owned(),
            },
            |job| Box::pin(terminate_idle(job)),
        )
        .required("idle_minutes", integer("Only sessions that have been idle for at least this many minutes.", 0, 525_600, None))
        .optional("database", string("Only sessions of this database.", 63))
        .optional("dry_run", boolean("Only list them; a read.", false))
        .capabilities(&["connections", "sessions"])
        .class_by(class),
    ]
}

fn class(arguments: &Arguments) -> ActionClass {
    if args::flag(arguments, "dry_run", false) { ActionClass::Read } else { ActionClass::Destructive }
}

const IDLE: &str = "SELECT a.pid, a.usename AS \"user\", a.datname AS database, a.application_name AS application,
           coalesce(host(a.client_addr), CASE WHEN a.client_port = -1 THEN 'local' END) AS client,
           round(extract(epoch FROM clock_timestamp() - a.state_change)::numeric, 1) AS idle_seconds,
           a.backend_start, a.state_change
    FROM pg_stat_activity a
    WHERE a.state = 'idle' AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
          AND a.application_name <> $3 AND NOT starts_with(a.application_name, $3 || ' ')
          AND clock_timestamp() - a.state_change >= make_interval(mins => $1)
          AND ($2::text IS NULL OR a.datname = $2)
    ORDER BY a.state_change, a.pid";

async fn terminate_idle(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let minutes = args::needed_integer(job.args(), "idle_minutes")?;
    let session = job.look().await?;
    let params =
        [Param::number(minutes), Param::optional(args::text(job.args(), "database")), Param::text(APPLICATION_NAME)];
    let idle = fetch(&session, IDLE, &params).await?;
    let count = idle.rows.len();
    if args::flag(job.args(), "dry_run", false) {
        let text = if idle.is_empty() {
            "No session would be ended.\n".to_owned()
        } else {
            format!("{count} session(s) would be ended:\n{}", table(&idle))
        };
        return Ok(ToolOutput::with_data(text, json!({ "dry_run": true, "count": count, "sessions": idle.data() })));
    }
    let limit = job.limits.max_rows_affected;
    if limit > 0 && count as u64 > limit {
        return Err(Trouble::over_limit(format!(
            "{count} sessions have been idle for {minutes} minutes or more; policy allows at most {limit} to be ended at once (max_rows_affected), and none was ended"
        )));
    }
    if idle.is_empty() {
        let mut output = ToolOutput::with_data(
            "No session was idle that long; nothing was done.\n",
            json!({ "count": 0, "sessions": [], "kept": [] }),
        );
        output.verify_status = Some(VerifyStatus::Ok);
        output.affected = Some(0);
        return Ok(output);
    }
    end_all(job, &session, idle).await
}

async fn end_all(job: &Job<'_>, session: &Session, idle: Rows) -> Result<ToolOutput, Trouble> {
    let mut ended = Rows::default();
    let mut kept: Vec<(Row, String)> = Vec::new();
    let mut refused = None;
    let before = idle.data();
    for row in idle.rows {
        match end_one(job, session, &row).await {
            Ok(true) => {
                job.has_changed_something();
                ended.rows.push(row);
            }
            Ok(false) => kept.push((row, "it is no longer idle, or has ended by itself".to_owned())),
            Err(trouble @ Trouble::NoAnswer(_)) => {
                return Err(trouble.noted(format!("{} session(s) had been ended before", ended.rows.len())));
            }
            Err(trouble) => {
                kept.push((row, trouble.sentence()));
                refused = Some(trouble);
            }
        }
    }
    if let (true, Some(trouble)) = (ended.is_empty(), refused) {
        return Err(denied(session, trouble));
    }
    let pids: Vec<Value> = ended.rows.iter().map(|row| row.get("pid").clone()).collect();
    let starts: Vec<Value> = ended.rows.iter().map(|row| row.get("backend_start").clone()).collect();
    let left = "SELECT count(*) AS left_over FROM unnest($1::int[], $2::timestamptz[]) AS gone(pid, backend_start)
                JOIN pg_stat_activity a ON a.pid = gone.pid AND a.backend_start = gone.backend_start";
    let params = [Param::from(Value::Array(pids)), Param::from(Value::Array(starts))];
    let looks = until(job, session, left, &params, |row| row.and_then(|row| row.int("left_over")) == Some(0)).await;

    let mut text = format!("Ended {} idle session(s).\n", ended.rows.len());
    text.push_str(&table(&ended));
    for (row, why) in &kept {
        text.push_str(&format!("Process {} was kept: {why}\n", row.get("pid")));
    }
    let kept_data: Vec<Value> = kept.iter().map(|(row, why)| json!({ "pid": row.get("pid"), "reason": why })).collect();
    let mut output =
        ToolOutput::with_data(text, json!({ "count": ended.rows.len(), "sessions": ended.data(), "kept": kept_data }));
    output.affected = Some(ended.rows.len() as u64);
    output.pre_state = Some(before);
    Ok(looks.note(output, VerifyStatus::EscalationRequired))
}

/// Ends a session if it still is idle exactly as it was seen.
async fn end_one(job: &Job<'_>, session: &Session, row: &Row) -> Result<bool, Trouble> {
    let sql = "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_stat_activity a
               WHERE a.pid = $1 AND a.backend_start = $2 AND a.state = 'idle' AND a.state_change = $3";
    let params = [
        Param::from(row.get("pid").clone()),
        Param::optional(row.text("backend_start")),
        Param::optional(row.text("state_change")),
    ];
    let answer = job.effect(session.query_opt(sql, &bound(&params))).await?;
    Ok(answer.map(|row| row.try_get::<_, bool>(0)).transpose()?.unwrap_or(false))
}
