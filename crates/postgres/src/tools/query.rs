//! One query of the caller's own, which cannot change anything.

use reeve_types::ToolOutput;
use reeve_types::limits::SQL_BYTES_MAX;
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;

use super::args;
use super::define::{Definition, integer};
use super::job::Job;
use super::masking::masked;
use super::params::Param;
use super::render::table;
use super::rows::{Row, Rows, fetch_at_most};
use super::trouble::Trouble;
use crate::connect::Session;
use crate::guard::{self, ReadKind};

const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 1000;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "run_query",
            "Runs one SELECT (or VALUES, TABLE, SHOW, EXPLAIN) in a read-only transaction and gives its rows. Values go into params and are written $1, $2, … in the query.",
            |job| Box::pin(run_query(job)),
        )
        .required("query", sql("One statement that only reads."))
        .optional("params", params())
        .optional("limit", integer("How many rows at most.", 1, LIMIT_MAX, Some(LIMIT_DEFAULT)))
        .capabilities(&["query", "tables"]),
    ]
}

/// A statement as an argument.
pub(super) fn sql(description: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": SQL_BYTES_MAX, "description": description })
}

/// Values for the statement's parameters.
pub(super) fn params() -> Value {
    json!({
        "type": "array", "maxItems": 1000, "default": [],
        "description": "Values for $1, $2, … in order; each becomes the type that the statement needs.",
    })
}

/// The values of the argument `params`.
pub(super) fn values(job: &Job<'_>) -> Vec<Param> {
    job.args()
        .get("params")
        .and_then(Value::as_array)
        .map(|values| values.iter().cloned().map(Param::from).collect())
        .unwrap_or_default()
}

async fn run_query(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let given = args::needed(job.args(), "query")?;
    let read = guard::read_only_with(given, &job.kit.options.guard)?;
    let limit = args::integer(job.args(), "limit").unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let session = job.look().await?;
    session.batch_execute("BEGIN READ ONLY").await?;
    guard::verify_in_catalog(&session, &read, &job.kit.options.guard).await?;
    let rows = match read.kind() {
        ReadKind::Select => {
            fetch_at_most(&session, read.sql(), &values(job), Some(limit + 1)).await.map_err(Trouble::of_statement)?
        }
        ReadKind::Show | ReadKind::Explain { .. } => plain(&session, read.sql()).await?,
    };
    session.batch_execute("ROLLBACK").await?;
    Ok(answer(rows, usize::try_from(limit).unwrap_or(usize::MAX)))
}

fn answer(mut rows: Rows, limit: usize) -> ToolOutput {
    let more = rows.rows.len() > limit;
    rows.rows.truncate(limit);
    let mut text = if rows.is_empty() { "(no rows)\n".to_owned() } else { table(&rows) };
    if more {
        text.push_str(&format!("(there are more; the limit of {limit} rows was reached)\n"));
    }
    let columns: Vec<&str> =
        rows.first().map(|row| row.0.iter().map(|(name, _)| name.as_str()).collect()).unwrap_or_default();
    let data =
        json!({ "columns": columns, "rows": rows.data(), "row_count": rows.rows.len(), "truncated": more || rows.cut });
    ToolOutput::with_data(text, data)
}

/// Statements such as SHOW cannot stand inside another one; their values come as text.
async fn plain(session: &Session, sql: &str) -> Result<Rows, Trouble> {
    let messages = session.simple_query(sql).await.map_err(Trouble::of_statement)?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(Row(row
            .columns()
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let value =
                    row.try_get(at).ok().flatten().map_or(Value::Null, |text| Value::String(masked(text).into_owned()));
                (column.name().to_owned(), value)
            })
            .collect())),
        _ => None,
    });
    Ok(Rows { rows: rows.collect(), cut: false })
}
