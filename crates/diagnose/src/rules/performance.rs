//! Habits that counters tell of: cache misses, temporary files, deadlocks, scans, slow statements.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::{Database, TableHealth};
use crate::{EvidenceSet, Thresholds, words};

/// How long a database's counters have counted. Never less than a second, so that rates stay finite.
fn counting_secs(evidence: &EvidenceSet, database: &Database) -> f64 {
    let uptime = evidence.server.as_ref().map_or(0.0, |server| server.uptime_secs);
    database.stats_reset_secs.unwrap_or(uptime).max(1.0)
}

/// Blocks that are not found in shared buffers.
pub(super) fn cache(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(database) = evidence.current_database() else { return Vec::new() };
    let accesses = database.blocks_hit.saturating_add(database.blocks_read);
    let counting = counting_secs(evidence, database);
    if accesses < thresholds.cache_accesses_min || counting < thresholds.habit_secs {
        return Vec::new();
    }
    let ratio = database.blocks_hit as f64 / accesses.max(1) as f64;
    let severity = match ratio {
        ratio if ratio < thresholds.cache_hit_warning => Severity::Warning,
        ratio if ratio < thresholds.cache_hit_info => Severity::Info,
        _ => return Vec::new(),
    };
    let mut draft = Draft::new(
        "low_cache_hit_ratio",
        severity,
        format!("{} of block accesses in {} miss shared buffers", words::percent(1.0 - ratio), database.name),
    )
    .cause(
        "The data that is worked with does not fit into shared_buffers, or large tables are scanned in full. Part of the \
         misses may still be served by the system's cache; read times (track_io_timing) tell.",
    )
    .data(
        format!("{} hits, {} reads in {}", words::count(database.blocks_hit), words::count(database.blocks_read), words::duration(counting)),
        "pg_stat_database",
        json!(database),
    );
    if database.block_read_ms > 0.0 {
        let mean = database.block_read_ms / database.blocks_read.max(1) as f64;
        draft = draft.fact(format!("a read takes {mean:.2} ms on average"), "pg_stat_database (track_io_timing)");
    }
    if let Some(table) = most_scanned(evidence) {
        draft = draft.fact(
            format!(
                "most is scanned in {}: {} rows by {}",
                words::relation(&table.qualified()),
                words::count(table.seq_rows),
                words::plural(table.seq_scans, "sequential scan")
            ),
            "pg_stat_user_tables",
        );
    }
    let draft = draft
        .remedy(draft::reset_stats("starts the counters anew, to see whether it is still so now; loses the history that autovacuum and other rules use"))
        .advice("Find the statements that read most (pg_stat_statements, shared_blks_read) and index them; then consider a larger shared_buffers (a quarter of memory).");
    vec![draft.done()]
}

fn most_scanned(evidence: &EvidenceSet) -> Option<&TableHealth> {
    evidence.tables.iter().flatten().filter(|table| table.seq_rows > 0).max_by_key(|table| table.seq_rows)
}

/// Sorts and hashes that do not fit into `work_mem`.
pub(super) fn temporary_files(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let spilling = evidence.databases.iter().flatten().filter(|d| d.temp_bytes >= thresholds.temp_bytes_min);
    let Some(database) = spilling.max_by_key(|database| database.temp_bytes) else { return Vec::new() };
    let hours = counting_secs(evidence, database) / 3600.0;
    let per_hour = database.temp_bytes as f64 / hours.max(1.0);
    let severity = if per_hour >= thresholds.temp_bytes_per_hour { Severity::Warning } else { Severity::Info };
    let mut draft = Draft::new(
        "temporary_files",
        severity,
        format!(
            "statements in {} wrote {} of temporary files in {}",
            database.name,
            words::bytes(database.temp_bytes),
            words::duration(hours * 3600.0)
        ),
    )
    .cause(format!(
        "Sorts, hashes and materialisations need more than work_mem ({} kB) and spill to disk.",
        evidence.setting("work_mem").unwrap_or("unknown")
    ))
    .data(
        format!("{} in {}", words::bytes(database.temp_bytes), words::plural(database.temp_files, "temporary file")),
        "pg_stat_database",
        json!(database),
    );
    let worst = evidence.statements.iter().flatten().filter(|s| s.temp_bytes > 0).max_by_key(|s| s.temp_bytes);
    if let Some(statement) = worst {
        draft = draft.fact(
            format!("most by {} ({})", words::statement(&statement.query), words::bytes(statement.temp_bytes)),
            "pg_stat_statements",
        );
    }
    let draft = draft.advice("Set log_temp_files = '10MB' to see which statements; give those more with SET work_mem, or an index that delivers the order; a global work_mem counts per sort and session.");
    vec![draft.done()]
}

/// Deadlocks since the counters began.
pub(super) fn deadlocks(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(database) = evidence.databases.iter().flatten().max_by_key(|d| d.deadlocks).filter(|d| d.deadlocks > 0)
    else {
        return Vec::new();
    };
    let counting = counting_secs(evidence, database);
    let per_hour = database.deadlocks as f64 / (counting / 3600.0).max(1.0);
    let severity = if per_hour >= thresholds.deadlocks_per_hour { Severity::Warning } else { Severity::Info };
    let finding = Draft::new(
        "deadlocks",
        severity,
        format!("{} in {} within {}", words::plural(database.deadlocks, "deadlock"), database.name, words::duration(counting)),
    )
    .cause(
        "Transactions locked the same rows in different order and waited for each other; the server cancelled one of each \
         circle (\"deadlock detected\"). The applications lose those transactions unless they retry.",
    )
    .data(format!("deadlocks = {}", database.deadlocks), "pg_stat_database", json!({ "database": database.name, "deadlocks": database.deadlocks }))
    .advice("The server's log shows both statements of each deadlock. Lock rows in one order everywhere (ORDER BY the key in SELECT … FOR UPDATE), keep transactions short, and retry on SQLSTATE 40P01.");
    vec![finding.done()]
}

/// Large tables that are read from end to end again and again.
pub(super) fn sequential_scans(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(server) = &evidence.server else { return Vec::new() };
    let counting = server.counting_secs().max(1.0);
    if counting < thresholds.habit_secs {
        return Vec::new();
    }
    let expensive = evidence.tables.iter().flatten().filter(|table| {
        table.seq_scans > 0
            && table.seq_rows as f64 / table.seq_scans as f64 >= thresholds.seq_rows_per_scan
            && table.seq_rows as f64 / counting >= thresholds.seq_rows_per_sec
    });
    let Some(table) = expensive.max_by_key(|table| table.seq_rows) else { return Vec::new() };
    let per_scan = table.seq_rows / table.seq_scans.max(1);
    let name = table.qualified();
    let name = words::relation(&name);
    let finding = Draft::new(
        "missing_index",
        Severity::Warning,
        format!("table {name} is scanned in full: {} of {} rows each", words::plural(table.seq_scans, "scan"), words::count(per_scan)),
    )
    .cause(format!(
        "Statements read {} rows per second of {name} from end to end, while {} used an index. A condition that they have in \
         common probably lacks an index.",
        words::count((table.seq_rows as f64 / counting) as i64),
        words::plural(table.index_scans, "scan")
    ))
    .data(format!("{} rows read by sequential scans in {}", words::count(table.seq_rows), words::duration(counting)), "pg_stat_user_tables", json!(table))
    .advice(format!(
        "Find the statements in pg_stat_statements, look at their plans with explain_query, then: CREATE INDEX CONCURRENTLY ON {}.{} (…);",
        words::identifier(&table.schema),
        words::identifier(&table.name)
    ));
    vec![finding.done()]
}

/// Single statements that take much of all time and are slow each time.
pub(super) fn slow_statements(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let slow: Vec<_> = evidence
        .statements
        .iter()
        .flatten()
        .filter(|s| {
            s.mean_ms >= thresholds.slow_statement_ms && s.share >= thresholds.slow_statement_share && s.calls > 1
        })
        .collect();
    let Some(worst) = slow.first() else { return Vec::new() };
    let finding = Draft::new(
        "slow_statement",
        Severity::Info,
        format!(
            "one statement takes {} of all statement time, {} each",
            words::percent(worst.share),
            words::duration(worst.mean_ms / 1000.0)
        ),
    )
    .cause(format!(
        "{} ran {} and took {} in total.",
        words::statement(&worst.query),
        words::plural(worst.calls, "time"),
        words::duration(worst.total_ms / 1000.0)
    ))
    .data(format!("mean {}", words::duration(worst.mean_ms / 1000.0)), "pg_stat_statements", json!(worst))
    .advice("Look at its plan with explain_query.");
    vec![finding.done()]
}
