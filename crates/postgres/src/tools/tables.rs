//! Tables: how large, how dead, how well looked after.

use reeve_types::{Arguments, ToolOutput};
use serde_json::json;

use super::args;
use super::define::{Definition, string};
use super::job::Job;
use super::params::Param;
use super::reads::{Part, answer, show};
use super::rows::fetch_one;
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_table_stats",
            "One table in detail (sizes, live and dead rows, vacuum and analyze times, scans), or the 20 largest tables of a schema.",
            |job| Box::pin(table_stats(job)),
        )
        .optional("schema_name", string("The schema; public when left out.", 63))
        .optional("table_name", string("One table; all of the schema when left out.", 63))
        .capabilities(&["tables", "bloat", "vacuum", "disk"]),
        Definition::read(
            "get_vacuum_status",
            "Tables with the most dead rows: live and dead rows, dead share, when and how often vacuumed and analyzed, age towards wraparound; worst 30.",
            |job| Box::pin(answer(job, vacuum_status)),
        )
        .optional("min_dead_ratio", json!({
            "type": "number", "minimum": 0, "maximum": 100, "default": 0,
            "description": "Show only tables of which at least this percentage of rows is dead.",
        }))
        .capabilities(&["vacuum", "bloat", "tables", "wraparound"])
        .fleet(),
    ]
}

const SIZES: &str = "pg_total_relation_size(s.relid) AS total_size_bytes, pg_table_size(s.relid) AS table_size_bytes,
    pg_indexes_size(s.relid) AS indexes_size_bytes";
const ROWS: &str = "s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
    round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 1) AS dead_pct";

async fn table_stats(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let schema = args::text(job.args(), "schema_name").unwrap_or("public");
    let session = job.look().await?;
    let Some(table) = args::text(job.args(), "table_name") else {
        let sql = format!(
            "SELECT s.relname AS \"table\", {SIZES}, {ROWS}, s.seq_scan, s.idx_scan,
                    greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
                    greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
             FROM pg_stat_user_tables s WHERE s.schemaname = $1 ORDER BY total_size_bytes DESC NULLS LAST, s.relname LIMIT 20"
        );
        let part = Part::rows("tables", sql)
            .bind(vec![Param::text(schema)])
            .when_empty("The schema has no tables, or does not exist.");
        return show(&session, &[part]).await;
    };
    let exists = fetch_one(
        &session,
        "SELECT count(*) > 0 AS found FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = $2",
        &[Param::text(schema), Param::text(table)],
    )
    .await?;
    if !exists.is("found") {
        return Err(Trouble::failed(format!("there is no table `{table}` in schema `{schema}` of this database")));
    }
    let sql = format!(
        "SELECT s.schemaname AS schema, s.relname AS \"table\", {SIZES}, {ROWS},
                s.n_mod_since_analyze AS modified_since_analyze, s.n_tup_ins AS inserted, s.n_tup_upd AS updated,
                s.n_tup_hot_upd AS updated_hot, s.n_tup_del AS deleted,
                s.last_vacuum, s.last_autovacuum, s.vacuum_count, s.autovacuum_count,
                s.last_analyze, s.last_autoanalyze, s.analyze_count, s.autoanalyze_count,
                s.seq_scan, s.seq_tup_read, s.idx_scan, s.idx_tup_fetch, age(c.relfrozenxid) AS frozen_xid_age,
                c.reloptions AS options
         FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
         WHERE s.schemaname = $1 AND s.relname = $2"
    );
    show(&session, &[Part::one("table", sql).bind(vec![Param::text(schema), Param::text(table)])]).await
}

pub(super) fn vacuum_status(arguments: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    let least = args::number(arguments, "min_dead_ratio").unwrap_or(0.0);
    let sql = format!(
        "SELECT s.schemaname AS schema, s.relname AS \"table\", {ROWS}, date_trunc('second', s.last_vacuum) AS last_vacuum,
                date_trunc('second', s.last_autovacuum) AS last_autovacuum, date_trunc('second', s.last_analyze) AS last_analyze,
                date_trunc('second', s.last_autoanalyze) AS last_autoanalyze, s.vacuum_count AS vacuums,
                s.autovacuum_count AS autovacuums, s.analyze_count AS analyzes, s.autoanalyze_count AS autoanalyzes,
                age(c.relfrozenxid) AS xid_age,
                coalesce(NOT c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off'], true) AS autovacuum
         FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
         WHERE coalesce(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 0) >= $1::float8
         ORDER BY s.n_dead_tup DESC, dead_pct DESC NULLS LAST, schema, \"table\" LIMIT 30"
    );
    let least = Param::from(json!(least));
    Ok(vec![Part::rows("tables", sql).bind(vec![least]).when_empty("No table has that share of dead rows.")])
}
