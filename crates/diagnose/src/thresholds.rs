//! From what number on something is worth saying. One struct, so that they can be read, argued about and overridden.

use serde::{Deserialize, Serialize};

/// Megabyte, in bytes.
const MB: i64 = 1024 * 1024;
/// Gigabyte, in bytes.
const GB: i64 = 1024 * MB;

/// The numbers that rules compare with. Durations in seconds, sizes in bytes, shares from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// A lock wait this old is a finding. Row locks of a busy healthy system last milliseconds; `deadlock_timeout`
    /// is 1 s by default, and most statement timeouts of web applications begin at 5 s.
    pub lock_wait_secs: f64,
    /// The same when the head of the chain is idle in transaction or prepared. Nothing it does will end the wait, so
    /// there is no reason to look on; below a second it may be between two statements.
    pub stuck_lock_wait_secs: f64,
    /// A lock chain is critical from this wait on: a minute is beyond every pool's and browser's patience.
    pub lock_wait_critical_secs: f64,
    /// A lock chain is critical from this many waiters on: they eat a small pool.
    pub lock_waiters_critical: usize,
    /// An `ACCESS EXCLUSIVE` lock held this long stops readers for longer than they expect, even if none waits yet.
    pub exclusive_lock_secs: f64,
    /// Idle in transaction this long with uncommitted writes: the client thinks, or has forgotten.
    pub idle_in_transaction_writes_secs: f64,
    /// Idle in transaction this long without writes: it holds back vacuum, but blocks hardly anybody.
    pub idle_in_transaction_secs: f64,
    /// Idle in transaction this long with writes is critical: an hour of work nobody can see, held in one client.
    pub idle_in_transaction_critical_secs: f64,
    /// A statement that runs this long is worth naming.
    pub long_query_secs: f64,
    /// A statement that runs this long is a warning: longer than planned maintenance of most tables.
    pub very_long_query_secs: f64,
    /// A transaction open this long holds back vacuum everywhere.
    pub long_transaction_secs: f64,
    /// Share of connections in use that is a warning; the usual alarm line, at which there is still time.
    pub connections_warning: f64,
    /// Share of the slots open to everybody that is critical.
    pub connections_critical: f64,
    /// Sessions stuck this long in the same kind of wait count as waiting. Healthy waits last milliseconds.
    pub wait_secs: f64,
    /// That many sessions stuck in I/O or on internal locks are a pile-up.
    pub wait_sessions: usize,
    /// A prepared transaction this old has lost its coordinator: two-phase commit takes seconds.
    pub prepared_secs: f64,
    /// Dead rows below this are not worth a vacuum.
    pub dead_rows_min: i64,
    /// Share of dead rows at which a table that autovacuum does not look after needs a vacuum.
    pub dead_share: f64,
    /// Share of dead rows at which it is urgent: more dead than alive.
    pub dead_share_urgent: f64,
    /// Autovacuum that should have come this long ago is late: ten times its default nap of one minute.
    pub autovacuum_late_secs: f64,
    /// Tables below this size are never called bloated: nothing to gain.
    pub bloat_bytes_min: i64,
    /// Estimated share of wasted space that is called bloat. The estimate errs by a tenth or two.
    pub bloat_share: f64,
    /// Share of the 2³¹ transaction ids used at which wraparound is a warning. Autovacuum begins at 10 % by default;
    /// at 40 % it has been losing for long.
    pub xid_warning: f64,
    /// The same for critical; vacuum's own failsafe begins at 75 %.
    pub xid_critical: f64,
    /// A snapshot held for this many transactions makes dead rows pile up on a busy system.
    pub xmin_age: i64,
    /// Replication lag in time that is a warning.
    pub replication_lag_secs: f64,
    /// Replication lag in time that is critical: a failover now would lose or delay that much.
    pub replication_lag_critical_secs: f64,
    /// Replication lag in WAL that is a warning: sixteen segments of the default size.
    pub replication_lag_bytes: i64,
    /// A WAL receiver that hears nothing for this long has lost its primary (`wal_receiver_timeout`).
    pub receiver_silent_secs: f64,
    /// WAL kept by a slot that nobody reads: one segment is the least that means anything.
    pub slot_retained_bytes: i64,
    /// WAL kept by one slot that is critical whoever reads it.
    pub slot_retained_critical_bytes: i64,
    /// Segments waiting for the archiver that make its failing critical.
    pub archive_ready_critical: i64,
    /// The WAL directory may be this many times `max_wal_size` before it is called large: it is a soft limit.
    pub wal_over_max: f64,
    /// A smaller WAL directory is never called large: it is gone with the next checkpoint.
    pub wal_bytes_min: i64,
    /// Counters younger than this say nothing about a habit: an hour holds at least a dozen timed checkpoints.
    pub habit_secs: f64,
    /// Fewer checkpoints than this are no sample.
    pub checkpoints_min: i64,
    /// Share of forced checkpoints that is a warning: more by volume than by the clock.
    pub checkpoints_forced: f64,
    /// Fewer block accesses than this are no sample for a hit ratio: 80 GB of traffic.
    pub cache_accesses_min: i64,
    /// A hit ratio below this is worth knowing.
    pub cache_hit_info: f64,
    /// A hit ratio below this is a warning: every fifth block comes from outside.
    pub cache_hit_warning: f64,
    /// Temporary files per hour that are a warning.
    pub temp_bytes_per_hour: f64,
    /// Temporary files below this are not mentioned at all.
    pub temp_bytes_min: i64,
    /// Deadlocks per hour that are a warning; counted over at least one hour, so that one fresh one suffices.
    pub deadlocks_per_hour: f64,
    /// An index unused for this long is called unused: a week has a weekend and a Monday in it.
    pub unused_index_secs: f64,
    /// Smaller unused or duplicate indexes are not mentioned.
    pub index_bytes_min: i64,
    /// Rows of a table from which on a missing index of a foreign key is felt.
    pub foreign_key_rows_min: f64,
    /// Rows per sequential scan from which on scanning is called expensive.
    pub seq_rows_per_scan: f64,
    /// Rows read by sequential scans per second, from which on it is called a habit that hurts.
    pub seq_rows_per_sec: f64,
    /// Share of a sequence used that is a warning.
    pub sequence_warning: f64,
    /// Share of a sequence used that is critical.
    pub sequence_critical: f64,
    /// Rows changed since the last analyse, as share of the table, that makes plans doubtful.
    pub stale_share: f64,
    /// Fewer changed rows than this do not matter for plans.
    pub stale_rows_min: i64,
    /// Mean time of one statement, in milliseconds, from which on it is called slow.
    pub slow_statement_ms: f64,
    /// Its share of all statement time, from which on it matters.
    pub slow_statement_share: f64,
    /// Failed log-ins in the end of the log that are worth knowing.
    pub auth_failures_min: i64,
    /// Growth of a database since the baseline that is worth knowing, as a factor.
    pub growth_factor: f64,
    /// Smaller growth than this is not mentioned.
    pub growth_bytes_min: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            lock_wait_secs: 5.0,
            stuck_lock_wait_secs: 1.0,
            lock_wait_critical_secs: 60.0,
            lock_waiters_critical: 5,
            exclusive_lock_secs: 5.0,
            idle_in_transaction_writes_secs: 10.0,
            idle_in_transaction_secs: 300.0,
            idle_in_transaction_critical_secs: 3600.0,
            long_query_secs: 300.0,
            very_long_query_secs: 1800.0,
            long_transaction_secs: 3600.0,
            connections_warning: 0.80,
            connections_critical: 0.95,
            wait_secs: 1.0,
            wait_sessions: 4,
            prepared_secs: 60.0,
            dead_rows_min: 1000,
            dead_share: 0.20,
            dead_share_urgent: 0.50,
            autovacuum_late_secs: 600.0,
            bloat_bytes_min: 64 * MB,
            bloat_share: 0.50,
            xid_warning: 0.40,
            xid_critical: 0.75,
            xmin_age: 10_000_000,
            replication_lag_secs: 30.0,
            replication_lag_critical_secs: 600.0,
            replication_lag_bytes: 256 * MB,
            receiver_silent_secs: 60.0,
            slot_retained_bytes: 16 * MB,
            slot_retained_critical_bytes: 10 * GB,
            archive_ready_critical: 10,
            wal_over_max: 2.0,
            wal_bytes_min: GB,
            habit_secs: 3600.0,
            checkpoints_min: 10,
            checkpoints_forced: 0.5,
            cache_accesses_min: 10_000_000,
            cache_hit_info: 0.95,
            cache_hit_warning: 0.80,
            temp_bytes_per_hour: 1e9,
            temp_bytes_min: 100 * MB,
            deadlocks_per_hour: 1.0,
            unused_index_secs: 7.0 * 86400.0,
            index_bytes_min: 10 * MB,
            foreign_key_rows_min: 10_000.0,
            seq_rows_per_scan: 100_000.0,
            seq_rows_per_sec: 1_000_000.0,
            sequence_warning: 0.75,
            sequence_critical: 0.90,
            stale_share: 0.50,
            stale_rows_min: 10_000,
            slow_statement_ms: 1000.0,
            slow_statement_share: 0.30,
            auth_failures_min: 10,
            growth_factor: 1.5,
            growth_bytes_min: GB,
        }
    }
}
