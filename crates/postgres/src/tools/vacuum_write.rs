//! Vacuuming one table, and seeing that it was vacuumed: the server skips tables that a role may not vacuum, and
//! calls that success.

use reeve_gate::ProbeVerdict;
use reeve_types::{ActionClass, Reversibility, ToolOutput, VerifyStatus};
use serde_json::json;

use super::args;
use super::define::{Definition, boolean, string};
use super::job::Job;
use super::moments::{asked_at, was_before};
use super::params::Param;
use super::render::fields;
use super::rows::{Row, fetch, fetch_one};
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::Session;
use crate::failure::QueryFailureKind;
use crate::guard;

/// How long one vacuum may take, in seconds.
const VACUUM_SECS_MAX: u64 = 30 * 60;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "run_vacuum",
            "Vacuums one table, and analyzes it unless told otherwise: dead rows become free space, statistics become fresh. Never VACUUM FULL.",
            ActionClass::Write,
            Reversibility::Irreversible {
                reason: "dead rows that were removed do not come back; nobody could see them any more, so no data is lost".to_owned(),
            },
            |job| Box::pin(run_vacuum(job)),
        )
        .required("table", string("The table as schema.table; names with capitals or blanks in double quotes.", 135))
        .optional("analyze", boolean("Also gather statistics for the planner.", true))
        .capabilities(&["vacuum", "bloat", "tables"])
        .timeout_secs(VACUUM_SECS_MAX)
        .auto_remediation()
        .probed_by(|job| Box::pin(was_vacuumed(job))),
    ]
}

const COUNTERS: &str = "s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows, s.last_vacuum, s.vacuum_count, s.last_analyze, s.analyze_count";

/// The table, as the server itself resolves and writes its name.
async fn found(job: &Job<'_>, session: &Session) -> Result<Row, Trouble> {
    let given = args::needed(job.args(), "table")?;
    let name = guard::qualified_identifier(given).map_err(|bad| Trouble::invalid(bad.to_string()))?;
    let maintain =
        if session.server_version_num() >= 170_000 { "has_table_privilege(c.oid, 'MAINTAIN')" } else { "false" };
    let sql = format!(
        "SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind, pg_is_in_recovery() AS standby,
                pg_get_userbyid(c.relowner) AS owner,
                {maintain} OR pg_has_role(c.relowner, 'USAGE')
                OR pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE') AS may,
                {COUNTERS}, p.pid AS vacuumed_by, p.phase, round(100.0 * p.heap_blks_scanned / nullif(p.heap_blks_total, 0), 1) AS scanned_pct
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
         LEFT JOIN pg_stat_progress_vacuum p ON p.relid = c.oid AND p.datname = current_database()
         WHERE c.oid = to_regclass($1::text)"
    );
    let rows = fetch(session, &sql, &[Param::text(name)]).await?;
    let Some(row) = rows.rows.into_iter().next() else {
        return Err(Trouble::failed(format!("there is no table `{given}` in this database; write it as schema.table")));
    };
    if !matches!(row.text("kind"), Some("r" | "m" | "p" | "t")) {
        return Err(Trouble::invalid(format!("`{given}` is neither a table nor a materialized view")));
    }
    Ok(row)
}

fn may_begin(session: &Session, table: &Row) -> Result<(), Trouble> {
    let name = table.text("name").unwrap_or_default();
    if table.is("standby") {
        return Err(Trouble::failed(
            "this server is a standby; vacuum runs on the primary and comes here by replication",
        ));
    }
    if !table.is("may") && !session.facts().superuser {
        let (user, owner) = (&session.facts().user, table.text("owner").unwrap_or("its owner"));
        let grant = if session.server_version_num() >= 170_000 {
            format!("GRANT MAINTAIN ON {name} TO \"{user}\", or ")
        } else {
            String::new()
        };
        return Err(Trouble::failed(format!(
            "role \"{user}\" may not vacuum {name}, and the server would skip it silently; {grant}GRANT \"{owner}\" TO \"{user}\""
        )));
    }
    if let Some(pid) = table.int("vacuumed_by") {
        let phase = table.text("phase").unwrap_or("working");
        return Err(Trouble::failed(format!(
            "process {pid} is vacuuming {name} already: {phase}, {} % of the table scanned; nothing was done",
            table.get("scanned_pct")
        )));
    }
    Ok(())
}

async fn run_vacuum(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.change().await?;
    let before = found(job, &session).await?;
    may_begin(&session, &before)?;
    let name = before.text("name").unwrap_or_default();
    let analyze = args::flag(job.args(), "analyze", true);
    let command = if analyze { "VACUUM (ANALYZE)" } else { "VACUUM" };
    job.effect(session.batch_execute(&format!("{command} {name}"))).await.map_err(|trouble| match &trouble {
        Trouble::Query(failure) if failure.kind == QueryFailureKind::StatementTimeout => {
            trouble.noted("what vacuum had cleaned stays clean, and the next run goes on from there")
        }
        _ => trouble,
    })?;

    job.has_changed_something();
    let counters = format!("SELECT {COUNTERS} FROM pg_stat_all_tables s WHERE s.relid = $1::oid");
    let oid = [Param::from(before.get("oid").clone())];
    let count = before.int("vacuum_count").unwrap_or(0);
    let looks = until(job, &session, &counters, &oid, |row| {
        row.and_then(|row| row.int("vacuum_count")).is_some_and(|now| now > count)
    })
    .await;
    let after = fetch_one(&session, &counters, &oid).await?;
    let (dead_before, dead_after) = (before.int("dead_rows").unwrap_or(0), after.int("dead_rows").unwrap_or(0));
    let mut text =
        format!("{command} {name} has run. Dead rows: {dead_before} before, {dead_after} after.\n{}", fields(&after));
    if dead_after > 0 && looks.has_shown() {
        text.push_str("Dead rows that remain can still be seen by an old transaction, a prepared transaction or a replication slot; find and end it first.\n");
    }
    let mut output =
        ToolOutput::with_data(text, json!({ "table": name, "before": before.object(), "after": after.object() }));
    output.pre_state = Some(before.object());
    output.affected = Some(1);
    let output = looks.note(output, VerifyStatus::Warning);
    Ok(if dead_after > 0 && dead_after * 2 >= dead_before {
        ToolOutput { verify_status: Some(VerifyStatus::Warning), ..output }
    } else {
        output
    })
}

async fn was_vacuumed(job: &Job<'_>) -> Result<ProbeVerdict, Trouble> {
    let session = job.look().await?;
    let table = found(job, &session).await?;
    let name = table.text("name").unwrap_or_default();
    if let Some(pid) = table.int("vacuumed_by") {
        return Ok(ProbeVerdict::CannotTell(format!("process {pid} is vacuuming {name} at this moment")));
    }
    let last = table.text("last_vacuum").and_then(|text| text.parse().ok());
    let before = last.zip(asked_at(&job.call.action_id)).map(|(last, asked)| was_before(last, asked));
    Ok(match before {
        Some(Some(false)) => ProbeVerdict::Happened(format!("{name} has been vacuumed since")),
        Some(Some(true)) => ProbeVerdict::DidNotHappen(format!("{name} has not been vacuumed since")),
        Some(None) => ProbeVerdict::CannotTell(format!("{name} was vacuumed at about the time of the call")),
        None if table.get("last_vacuum").is_null() => {
            ProbeVerdict::DidNotHappen(format!("{name} has never been vacuumed by hand"))
        }
        None => ProbeVerdict::CannotTell(format!("it is not known when {name} should have been vacuumed")),
    })
}
