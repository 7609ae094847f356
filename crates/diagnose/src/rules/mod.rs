//! The rules, one file per topic. A rule looks at evidence and says nothing unless it is sure.

mod checkpoints;
mod connections;
mod indexes;
mod locks;
mod performance;
mod prepared;
mod reach;
mod replication;
mod sequences;
mod sessions;
mod settings;
mod slots;
mod storage;
mod vacuum;
mod wal;
mod wraparound;

use reeve_types::Finding;

use crate::{EvidenceSet, Thresholds};

/// From evidence to findings, in no particular order.
pub(crate) type Rule = fn(&EvidenceSet, &Thresholds) -> Vec<Finding>;

/// Every rule.
pub(crate) const ALL: &[Rule] = &[
    reach::cannot_connect,
    reach::stopped_answering,
    reach::role_of_server,
    locks::chains,
    locks::cycles,
    locks::exclusive_holders,
    connections::exhaustion,
    connections::own_limits,
    sessions::idle_in_transaction,
    sessions::long_queries,
    sessions::long_transactions,
    sessions::stuck_on_synchronous_commit,
    sessions::wait_pile_ups,
    prepared::forgotten,
    vacuum::needed,
    vacuum::bloat,
    vacuum::horizon,
    vacuum::stale_statistics,
    wraparound::ages,
    replication::lag,
    replication::standby,
    slots::slots,
    wal::archiver,
    wal::directory,
    wal::log,
    checkpoints::forced,
    checkpoints::background_writer,
    performance::cache,
    performance::temporary_files,
    performance::deadlocks,
    performance::sequential_scans,
    performance::slow_statements,
    indexes::invalid,
    indexes::unused,
    indexes::duplicate,
    indexes::foreign_keys,
    sequences::exhaustion,
    settings::unsafe_settings,
    settings::pending_restart,
    settings::config_errors,
    storage::damage,
    storage::collations,
    storage::sizes,
];

/// Who a session is: `pid 4711 (user app, application api, database shop)`.
pub(crate) fn who(evidence: &EvidenceSet, pid: i32) -> String {
    let Some(session) = evidence.session(pid) else { return format!("pid {pid}") };
    let mut parts = Vec::new();
    if let Some(user) = &session.user {
        parts.push(format!("user {user}"));
    }
    if !session.application.is_empty() {
        parts.push(format!("application {}", session.application));
    }
    if let Some(client) = &session.client {
        parts.push(format!("from {client}"));
    }
    if parts.is_empty() { format!("pid {pid}") } else { format!("pid {pid} ({})", parts.join(", ")) }
}
