//! One INSERT, UPDATE or DELETE: run in a transaction, measured, and kept only when it stays within policy's limit.

use std::fmt::Write as _;

use reeve_gate::FailureKind;
use reeve_types::{ActionClass, Arguments, Reversibility, ToolOutput, VerifyStatus};
use serde_json::{Value, json};

use super::args;
use super::define::{Definition, boolean};
use super::job::Job;
use super::params::{Param, bound};
use super::query::{params, sql, values};
use super::rows::{Rows, fetch, fetch_one};
use super::trouble::Trouble;
use super::verify::until;
use crate::connect::Session;
use crate::guard::{self, DmlKind};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::change(
            "execute_statement",
            "Runs one INSERT, UPDATE or DELETE in a transaction, counts every row it changes (cascades and triggers too), and commits only when the count stays within policy's row limit. With dry_run it counts and rolls back. An UPDATE or DELETE without WHERE is destructive.",
            ActionClass::Write,
            Reversibility::Irreversible {
                reason: "the rows as they were are not kept; restoring them needs a backup or the application's own history".to_owned(),
            },
            |job| Box::pin(execute(job)),
        )
        .required("statement", sql("One INSERT, UPDATE or DELETE; values are written $1, $2, …"))
        .optional("params", params())
        .optional("dry_run", boolean("Count the rows and roll back.", false))
        .capabilities(&["data", "tables"])
        .class_by(class),
    ]
}

fn class(arguments: &Arguments) -> ActionClass {
    let all_rows = args::text(arguments, "statement")
        .and_then(|sql| guard::single_dml(sql).ok())
        .is_none_or(|dml| dml.kind != DmlKind::Insert && !dml.has_where);
    if all_rows { ActionClass::Destructive } else { ActionClass::Write }
}

/// What a statement has changed inside its transaction.
struct Changed {
    /// What the server says of the statement itself.
    direct: u64,
    /// Every row of every table, cascades and triggers included.
    total: u64,
    tables: Rows,
    /// The transaction's number, by which its end can be asked for.
    xid: Option<String>,
}

async fn execute(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let dml = guard::single_dml(args::needed(job.args(), "statement")?)?;
    let dry_run = args::flag(job.args(), "dry_run", false);
    let session = job.change().await?;
    session.batch_execute("BEGIN").await?;
    // Until COMMIT is sent, a lost connection means that nothing was changed: the server rolls back.
    let changed = run_and_measure(job, &session, &dml.sql).await.map_err(rolled_back)?;
    let limit = job.limits.max_rows_affected;
    if limit > 0 && changed.total > limit {
        session.batch_execute("ROLLBACK").await.map_err(|failure| rolled_back(failure.into()))?;
        return Err(Trouble::over_limit(format!(
            "the statement would have changed {} rows{}; policy allows at most {limit} (max_rows_affected), so it was rolled back and nothing was changed",
            changed.total,
            beyond(&changed)
        )));
    }
    if dry_run {
        session.batch_execute("ROLLBACK").await.map_err(|failure| rolled_back(failure.into()))?;
        return Ok(answer("Would change", &changed, true));
    }
    commit(job, &session, &changed).await?;
    let mut output = answer("Changed", &changed, false);
    output.verify_status = Some(VerifyStatus::Ok);
    Ok(output)
}

async fn run_and_measure(job: &Job<'_>, session: &Session, sql: &str) -> Result<Changed, Trouble> {
    let values = values(job);
    let direct = session.execute(sql, &bound(&values)).await.map_err(Trouble::of_statement)?;
    let tables = fetch(
        session,
        "SELECT s.schemaname AS schema, s.relname AS \"table\", s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted
         FROM pg_stat_xact_user_tables s WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
         ORDER BY s.n_tup_ins + s.n_tup_upd + s.n_tup_del DESC, 1, 2",
        &[],
    )
    .await?;
    let counted: i64 = tables
        .rows
        .iter()
        .flat_map(|row| ["inserted", "updated", "deleted"].map(|column| row.int(column).unwrap_or(0)))
        .sum();
    let xid = fetch_one(session, "SELECT pg_current_xact_id_if_assigned()::text AS xid", &[]).await?;
    Ok(Changed {
        direct,
        total: direct.max(u64::try_from(counted).unwrap_or(0)),
        tables,
        xid: xid.text("xid").map(str::to_owned),
    })
}

/// A trouble before COMMIT: whatever it was, nothing was changed.
fn rolled_back(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Words(..) => trouble,
        other => other.noted("Nothing was changed: the transaction was rolled back."),
    }
}

/// Commits. Should the answer get lost, the server is asked how the transaction ended.
async fn commit(job: &Job<'_>, session: &Session, changed: &Changed) -> Result<(), Trouble> {
    let Err(trouble) = job.effect(session.batch_execute("COMMIT")).await else { return Ok(()) };
    let Trouble::NoAnswer(detail) = trouble else { return Err(rolled_back(trouble)) };
    let Some(xid) = &changed.xid else { return Ok(()) };
    match ending_of(job, xid).await.as_deref() {
        Some("committed") => Ok(()),
        Some("aborted") => Err(Trouble::Words(
            FailureKind::Failed,
            format!("the connection was lost and transaction {xid} was rolled back; nothing was changed ({detail})"),
        )),
        _ => {
            Err(Trouble::NoAnswer(format!("{detail}; SELECT pg_xact_status('{xid}') tells how the transaction ended")))
        }
    }
}

/// How a transaction ended. The server may still be ending it when the connection is gone already.
async fn ending_of(job: &Job<'_>, xid: &str) -> Option<String> {
    let session = job.look().await.ok()?;
    let sql = "SELECT pg_xact_status($1::xid8) AS status";
    let params = [Param::text(xid)];
    until(job, &session, sql, &params, |row| row.and_then(|row| row.text("status")) != Some("in progress")).await;
    let row = fetch_one(&session, sql, &params).await.ok()?;
    row.text("status").map(str::to_owned)
}

fn beyond(changed: &Changed) -> String {
    if changed.total > changed.direct {
        format!(" ({} by itself, the others by cascades and triggers)", changed.direct)
    } else {
        String::new()
    }
}

fn answer(verb: &str, changed: &Changed, dry_run: bool) -> ToolOutput {
    let mut text = format!("{verb} {} row(s){}.", changed.total, beyond(changed));
    for row in &changed.tables.rows {
        let _ = write!(
            text,
            "\n{}.{}: {} inserted, {} updated, {} deleted",
            row.text("schema").unwrap_or("?"),
            row.text("table").unwrap_or("?"),
            row.get("inserted"),
            row.get("updated"),
            row.get("deleted")
        );
    }
    if dry_run {
        text.push_str("\nIt was rolled back (dry run); nothing was changed.");
    }
    text.push('\n');
    let data: Value = json!({
        "rows_affected": changed.total, "rows_by_statement": changed.direct, "tables": changed.tables.data(),
        "dry_run": dry_run, "committed": !dry_run,
    });
    let mut output = ToolOutput::with_data(text, data);
    output.affected = Some(if dry_run { 0 } else { changed.total });
    output
}
