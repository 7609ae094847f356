//! How the server would run a statement, or did.

use reeve_types::{ActionClass, Arguments, ToolOutput};
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;

use super::args;
use super::define::{Definition, boolean};
use super::job::Job;
use super::query::sql;
use super::trouble::Trouble;
use crate::guard::{self, Dml, Guarded, ReadKind, Refused};

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "explain_query",
            "The plan of a statement with real times, rows and buffers (EXPLAIN ANALYZE, BUFFERS): the statement is run, in a read-only transaction. With allow_dml it may be an INSERT, UPDATE or DELETE, which is run and rolled back.",
            |job| Box::pin(explain(job)),
        )
        .required("query", sql("The statement itself, without EXPLAIN."))
        .optional("allow_dml", boolean("Also take an INSERT, UPDATE or DELETE; it is run and rolled back, which is a write.", false))
        .optional("analyze", boolean("Run the statement and measure; false only plans it.", true))
        .capabilities(&["slow_queries", "query_plans"])
        .class_by(class),
    ]
}

fn runs_dml(arguments: &Arguments) -> bool {
    args::flag(arguments, "allow_dml", false) && args::flag(arguments, "analyze", true)
}

fn class(arguments: &Arguments) -> ActionClass {
    if runs_dml(arguments) { ActionClass::Write } else { ActionClass::Read }
}

async fn explain(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let given = args::needed(job.args(), "query")?;
    let checked = checked(job, given)?;
    let analyze = args::flag(job.args(), "analyze", true);
    let options = if analyze { "ANALYZE, BUFFERS, FORMAT TEXT" } else { "FORMAT TEXT" };
    let explain = format!("EXPLAIN ({options})\n{}", checked.sql());
    let writes = runs_dml(job.args());
    let session = if writes { job.change().await? } else { job.look().await? };
    session.batch_execute(if writes { "BEGIN" } else { "BEGIN READ ONLY" }).await?;
    if let Checked::Read(read) = &checked {
        guard::verify_in_catalog(&session, read, &job.kit.options.guard).await?;
    }
    // Whatever happens to the connection from here on, the server rolls back.
    let messages = session.simple_query(&explain).await.map_err(Trouble::of_statement)?;
    session.batch_execute("ROLLBACK").await?;
    let lines: Vec<&str> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
            _ => None,
        })
        .collect();
    let plan = lines.join("\n");
    let note = if writes { "\n(the statement was run and rolled back)\n" } else { "\n" };
    Ok(ToolOutput::with_data(
        format!("{plan}{note}"),
        json!({ "plan": lines, "analyzed": analyze, "rolled_back": writes }),
    ))
}

/// The one statement that may be explained.
enum Checked {
    Read(Guarded),
    Change(Dml),
}

impl Checked {
    fn sql(&self) -> &str {
        match self {
            Self::Read(read) => read.sql(),
            Self::Change(dml) => &dml.sql,
        }
    }
}

fn checked(job: &Job<'_>, given: &str) -> Result<Checked, Trouble> {
    let refused = match guard::read_only_with(given, &job.kit.options.guard) {
        Ok(read) if read.kind() == ReadKind::Select => return Ok(Checked::Read(read)),
        Ok(_) | Err(Refused::ExplainAnalyze) => {
            return Err(Trouble::invalid("give the statement itself, without EXPLAIN; only a query has a plan"));
        }
        Err(refused) => refused,
    };
    if args::flag(job.args(), "allow_dml", false) {
        Ok(Checked::Change(guard::single_dml(given)?))
    } else {
        Err(refused.into())
    }
}
