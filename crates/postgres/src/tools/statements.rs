//! Where the time goes, as `pg_stat_statements` counts it.

use reeve_types::ToolOutput;
use serde_json::json;

use super::args;
use super::define::{Definition, integer};
use super::job::Job;
use super::params::Param;
use super::reads::{Part, show};
use super::rows::{Row, fetch};
use super::trouble::Trouble;
use crate::connect::Session;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_slow_queries",
            "The statements that took the most time in total, with calls, mean and longest time, rows and cache hits. Needs the extension pg_stat_statements.",
            |job| Box::pin(slow_queries(job)),
        )
        .optional("limit", integer("How many statements to show.", 1, 100, Some(10)))
        .capabilities(&["slow_queries", "statements", "cache"])
        .fleet(),
    ]
}

async fn slow_queries(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let limit = args::integer(job.args(), "limit").unwrap_or(10);
    let session = job.look().await?;
    let Some(view) = view(&session).await? else {
        return Ok(ToolOutput::with_data(
            "pg_stat_statements is not installed in this database.\nTo have it: add pg_stat_statements to shared_preload_libraries, restart the server, then CREATE EXTENSION pg_stat_statements.\n",
            json!({ "installed": false, "statements": [] }),
        ));
    };
    let part = Part::rows("statements", statement_of(&view))
        .bind(vec![Param::number(limit)])
        .when_empty("No statement has been counted yet.");
    let mut output = show(&session, &[part]).await?;
    output.data = Some(json!({ "installed": true, "version": view.get("version"), "statements": output.data }));
    Ok(output)
}

/// Where the view is and what its columns are called: the extension may be older than the server.
async fn view(session: &Session) -> Result<Option<Row>, Trouble> {
    let sql = "SELECT format('%I.pg_stat_statements', n.nspname) AS name, e.extversion AS version,
                      bool_or(a.attname = 'total_exec_time') AS split_times, bool_or(a.attname = 'shared_blk_read_time') AS split_io
               FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'pg_stat_statements'
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               WHERE e.extname = 'pg_stat_statements' GROUP BY 1, 2";
    Ok(fetch(session, sql, &[]).await?.rows.into_iter().next())
}

fn statement_of(view: &Row) -> String {
    let name = view.text("name").unwrap_or("pg_stat_statements");
    let exec = if view.is("split_times") { "_exec" } else { "" };
    let io = if view.is("split_io") {
        "s.shared_blk_read_time + s.shared_blk_write_time"
    } else {
        "s.blk_read_time + s.blk_write_time"
    };
    format!(
        "SELECT left(s.query, 120) AS query, s.calls, round(s.total{exec}_time::numeric, 1) AS total_ms,
                round(s.mean{exec}_time::numeric, 3) AS mean_ms, round(s.max{exec}_time::numeric, 1) AS max_ms, s.rows,
                round((100.0 * s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0))::numeric, 1) AS hit_pct,
                round(({io})::numeric, 1) AS io_ms, s.temp_blks_written, r.rolname AS \"user\", d.datname AS database,
                s.queryid::text AS queryid
         FROM {name} s LEFT JOIN pg_roles r ON r.oid = s.userid LEFT JOIN pg_database d ON d.oid = s.dbid
         ORDER BY s.total{exec}_time DESC, s.queryid LIMIT $1::bigint"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_the_version_of_the_extension() {
        let view = |split_times: bool, split_io: bool| {
            Row(vec![
                ("name".to_owned(), json!("ext.pg_stat_statements")),
                ("split_times".to_owned(), json!(split_times)),
                ("split_io".to_owned(), json!(split_io)),
            ])
        };
        let oldest = statement_of(&view(false, false));
        assert!(
            oldest.contains("s.total_time")
                && oldest.contains("s.blk_read_time")
                && oldest.contains("FROM ext.pg_stat_statements")
        );
        let newest = statement_of(&view(true, true));
        assert!(newest.contains("s.total_exec_time") && newest.contains("s.shared_blk_read_time"));
    }
}
