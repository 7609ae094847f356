//! Databases, tables, indexes, sequences, statements.

use serde::{Deserialize, Serialize};

/// Counters and ages of one database.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its size on disk; `None` when it may not be seen or took too long.
    pub size_bytes: Option<i64>,
    /// Whether it takes connections.
    pub allows_connections: bool,
    /// Age of its oldest unfrozen transaction id.
    pub xid_age: i64,
    /// Age of its oldest multixact id.
    pub mxid_age: i64,
    /// Transactions committed.
    pub commits: i64,
    /// Transactions rolled back.
    pub rollbacks: i64,
    /// Blocks read from the system.
    pub blocks_read: i64,
    /// Blocks found in shared buffers.
    pub blocks_hit: i64,
    /// Time spent reading, in milliseconds; 0 unless `track_io_timing` is on.
    pub block_read_ms: f64,
    /// Temporary files written.
    pub temp_files: i64,
    /// Bytes written into them.
    pub temp_bytes: i64,
    /// Deadlocks.
    pub deadlocks: i64,
    /// Queries cancelled by recovery (standby).
    pub conflicts: i64,
    /// Pages with a wrong checksum.
    pub checksum_failures: Option<i64>,
    /// Since its counters were reset.
    pub stats_reset_secs: Option<f64>,
    /// Collation version it was made with, and the one the system has now, when they differ.
    pub collation_versions: Option<(String, String)>,
}

/// One table that stands out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TableHealth {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Size of the main fork, in bytes.
    pub heap_bytes: i64,
    /// Size with indexes and TOAST, in bytes.
    pub total_bytes: i64,
    /// Live rows, estimated by the server.
    pub live: i64,
    /// Dead rows, estimated by the server.
    pub dead: i64,
    /// Rows changed since the last `ANALYZE`.
    pub changed_since_analyze: i64,
    /// Rows the planner believes in; -1 when never analysed.
    pub planner_rows: f64,
    /// Age of its oldest unfrozen transaction id.
    pub xid_age: i64,
    /// Sequential scans.
    pub seq_scans: i64,
    /// Rows read by them.
    pub seq_rows: i64,
    /// Index scans.
    pub index_scans: i64,
    /// Since the last vacuum by hand or by autovacuum; `None` when there was none that is known.
    pub vacuum_secs: Option<f64>,
    /// Since the last analyse by hand or by autovacuum.
    pub analyze_secs: Option<f64>,
    /// `autovacuum_enabled` of the table itself; `None` when it is not set.
    pub autovacuum_enabled: Option<bool>,
    /// `autovacuum_vacuum_threshold` of the table itself.
    pub vacuum_threshold: Option<f64>,
    /// `autovacuum_vacuum_scale_factor` of the table itself.
    pub vacuum_scale_factor: Option<f64>,
    /// `fillfactor`, in percent.
    pub fillfactor: Option<f64>,
    /// Average bytes of a row from the planner's statistics; `None` without any.
    pub row_bytes: Option<f64>,
    /// Whether a vacuum works on it right now.
    pub being_vacuumed: bool,
}

impl TableHealth {
    /// Live rows as far as anybody knows. After a crash or a reset the counters begin at zero, and what the planner
    /// remembers is nearer to the truth.
    pub fn rows(&self) -> i64 {
        let planner = if self.planner_rows.is_finite() { self.planner_rows.max(0.0) as i64 } else { 0 };
        if self.live.saturating_mul(10) < planner { planner } else { self.live.max(0) }
    }

    /// `schema.name`, without quotes.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Indexes that stand out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Indexes {
    /// Indexes that no query may use because their build failed.
    pub invalid: Vec<IndexHealth>,
    /// Large indexes that no scan has used.
    pub unused: Vec<IndexHealth>,
    /// Indexes of the same columns in the same way.
    pub duplicate: Vec<DuplicateIndex>,
    /// Foreign keys whose referencing columns no index leads with.
    pub unindexed_foreign_keys: Vec<ForeignKeyWithoutIndex>,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexHealth {
    /// Schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The index.
    pub name: String,
    /// Its size.
    pub bytes: i64,
    /// Scans since the counters were reset.
    pub scans: i64,
    /// Rows inserted, updated or deleted in the table since then: what keeping the index up to date has cost.
    pub table_writes: i64,
}

/// Two indexes that do the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DuplicateIndex {
    /// Schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The one to keep: it backs a constraint, or is the older one.
    pub keep: String,
    /// The one that could go.
    pub drop: String,
    /// Size of the one that could go.
    pub bytes: i64,
}

/// A foreign key without an index on the referencing side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignKeyWithoutIndex {
    /// Schema of the referencing table.
    pub schema: String,
    /// The referencing table.
    pub table: String,
    /// The constraint.
    pub constraint: String,
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced table.
    pub references: String,
    /// Rows of the referencing table.
    pub rows: f64,
    /// Rows deleted from or updated in the referenced table, each of which scans the referencing one.
    pub referenced_writes: i64,
}

/// How much of a sequence is left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sequence {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The last value given out.
    pub last: i64,
    /// Its largest value, or that of the column it fills when that is smaller.
    pub max: i64,
    /// Its first value.
    pub start: i64,
    /// Step.
    pub increment: i64,
    /// Whether it begins again at the end.
    pub cycles: bool,
    /// `table.column` it fills, when it is owned.
    pub column: Option<String>,
    /// Whether `max` is the column's limit and not the sequence's.
    pub limited_by_column: bool,
}

/// One line of `pg_stat_statements`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatementStats {
    /// The statement, normalised, at most 200 characters.
    pub query: String,
    /// How often it ran.
    pub calls: i64,
    /// Total time, in milliseconds.
    pub total_ms: f64,
    /// Mean time, in milliseconds.
    pub mean_ms: f64,
    /// Its part of the time of all statements, 0 to 1.
    pub share: f64,
    /// Bytes of temporary files written.
    pub temp_bytes: i64,
}
