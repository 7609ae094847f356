//! Databases of a cluster: what they are, how they are used, and how much room they take.

use reeve_types::Arguments;

use super::args;
use super::define::{Definition, integer};
use super::params::Param;
use super::reads::{Part, answer};
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_database_info",
            "Every database that is not a template: size, owner, encoding, collation, connection limit; biggest first.",
            |job| Box::pin(answer(job, database_info)),
        )
        .capabilities(&["databases", "disk"])
        .fleet(),
        Definition::read(
            "get_database_stats",
            "Counters of each database since the last reset: commits, rollbacks, cache hits, tuples, temporary files, conflicts, deadlocks.",
            |job| Box::pin(answer(job, database_stats)),
        )
        .capabilities(&["cache", "databases", "locks", "throughput"])
        .fleet(),
        Definition::read(
            "get_disk_usage",
            "Sizes of databases and of the largest tables of this one, with their indexes and TOAST.",
            |job| Box::pin(answer(job, disk_usage)),
        )
        .optional("top_n", integer("How many tables to show.", 1, 200, Some(10)))
        .capabilities(&["disk", "tables"])
        .fleet(),
    ]
}

/// The size of a database, or nothing where the role may not know it (asking would be an error).
const SIZE: &str =
    "CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
                         THEN pg_database_size(d.oid) END";

pub(super) fn database_info(_: &Arguments, version: u32) -> Result<Vec<Part>, Trouble> {
    let provider = if version >= 150_000 {
        "CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END"
    } else {
        "'libc'"
    };
    Ok(vec![
        Part::rows(
            "databases",
            format!(
                "SELECT d.datname AS name, {SIZE} AS size_bytes, pg_get_userbyid(d.datdba) AS owner,
                        pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collation,
                        {provider} AS locale_provider, d.datconnlimit AS connection_limit,
                        d.datallowconn AS accepts_connections, pg_is_in_recovery() AS in_recovery
                 FROM pg_database d WHERE NOT d.datistemplate ORDER BY size_bytes DESC NULLS LAST, name"
            ),
        )
        .when_empty("There is no database that is not a template."),
    ])
}

pub(super) fn database_stats(_: &Arguments, version: u32) -> Result<Vec<Part>, Trouble> {
    let sessions =
        if version >= 140_000 { ", s.sessions, s.sessions_abandoned, s.sessions_fatal, s.sessions_killed" } else { "" };
    Ok(vec![
        Part::rows(
            "databases",
            format!(
                "SELECT s.datname AS database, s.numbackends AS backends, s.xact_commit AS commits,
                        s.xact_rollback AS rollbacks, s.blks_read, s.blks_hit,
                        round(100.0 * s.blks_hit / nullif(s.blks_hit + s.blks_read, 0), 2) AS hit_ratio_pct,
                        s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted,
                        s.conflicts, s.deadlocks, s.temp_files, s.temp_bytes, s.checksum_failures{sessions}, s.stats_reset
                 FROM pg_stat_database s JOIN pg_database d ON d.oid = s.datid
                 WHERE NOT d.datistemplate ORDER BY s.xact_commit + s.xact_rollback DESC, database"
            ),
        ),
    ])
}

pub(super) fn disk_usage(arguments: &Arguments, _: u32) -> Result<Vec<Part>, Trouble> {
    Ok(disk_usage_parts(args::integer(arguments, "top_n").unwrap_or(10)))
}

pub(super) fn disk_usage_parts(top: i64) -> Vec<Part> {
    let databases = format!(
        "SELECT d.datname AS name, {SIZE} AS size_bytes FROM pg_database d ORDER BY size_bytes DESC NULLS LAST, name"
    );
    let tables = "SELECT n.nspname AS schema, c.relname AS name, pg_total_relation_size(c.oid) AS total_size_bytes,
                         pg_table_size(c.oid) AS table_size_bytes, pg_indexes_size(c.oid) AS indexes_size_bytes,
                         greatest(c.reltuples, 0)::bigint AS estimated_rows
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                        AND n.nspname NOT LIKE 'pg\\_toast%' AND c.relpersistence <> 't'
                  ORDER BY total_size_bytes DESC NULLS LAST, schema, name LIMIT $1::bigint";
    vec![
        Part::rows("databases", databases).titled("Databases"),
        Part::rows("tables", tables)
            .titled("Largest tables of this database")
            .bind(vec![Param::number(top)])
            .when_empty("This database has no tables of its own."),
    ]
}
