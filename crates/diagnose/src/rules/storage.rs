//! Damage, collations and sizes.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::{EvidenceSet, Thresholds, words};

/// Pages whose checksum was wrong.
pub(super) fn damage(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let damaged = evidence.databases.iter().flatten().filter(|database| database.checksum_failures.unwrap_or(0) > 0);
    damaged
        .map(|database| {
            let n = database.checksum_failures.unwrap_or(0);
            Draft::new("checksum_failures", Severity::Critical, format!("{} in database {}", words::plural(n, "page checksum failure"), database.name))
                .cause("Pages on disk are not what was written: failing storage, memory or file system. Reads of those pages fail.")
                .data(format!("checksum_failures = {n}"), "pg_stat_database", json!(database))
                .advice("Take a backup to another place now, keep the old ones, check the storage (dmesg, SMART), find the relation in the server's log and restore it.")
                .done()
        })
        .collect()
}

/// Databases whose collation library has changed under their indexes.
pub(super) fn collations(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let changed = evidence
        .databases
        .iter()
        .flatten()
        .filter_map(|database| Some((database, database.collation_versions.as_ref()?)));
    changed
        .map(|(database, (made, now))| {
            let name = words::identifier(&database.name);
            Draft::new("collation_version_changed", Severity::Warning, format!("the collation of database {} changed from version {made} to {now}", database.name))
                .cause("The system's collation library was updated under the database. Text indexes are still sorted in the old order, so lookups may miss rows and unique indexes may let duplicates in.")
                .data(format!("made with {made}, the system has {now}"), "pg_database", json!(database))
                .advice(format!("REINDEX DATABASE CONCURRENTLY {name}; then ALTER DATABASE {name} REFRESH COLLATION VERSION;"))
                .done()
        })
        .collect()
}

/// What takes most space. SQL cannot see how much is free, so this is for knowing only.
pub(super) fn sizes(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(databases) = evidence.databases.as_deref() else { return Vec::new() };
    let mut sized: Vec<(&str, i64)> = databases.iter().filter_map(|d| Some((d.name.as_str(), d.size_bytes?))).collect();
    sized.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    if sized.is_empty() {
        return Vec::new();
    }
    let total = sized.iter().fold(0_i64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let largest: Vec<String> = sized.iter().map(|(name, bytes)| format!("{name} {}", words::bytes(*bytes))).collect();
    let mut draft = Draft::new("disk_usage", Severity::Info, format!("the databases take {}", words::bytes(total)))
        .cause("For orientation. How much is left on the disk cannot be seen by SQL; look on the host (`df`).")
        .data(format!("largest databases: {}", words::list(&largest, 3)), "pg_database_size", json!(sized));
    let mut tables: Vec<_> = evidence.tables.iter().flatten().collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.total_bytes));
    let largest: Vec<String> = tables
        .iter()
        .take(5)
        .map(|t| format!("{} {}", words::relation(&t.qualified()), words::bytes(t.total_bytes)))
        .collect();
    if !largest.is_empty() {
        draft = draft.fact(format!("largest tables here: {}", words::list(&largest, 5)), "pg_total_relation_size");
    }
    if let Some(wal) = &evidence.wal {
        draft = draft.fact(format!("pg_wal: {}", words::bytes(wal.bytes)), "pg_ls_waldir");
    }
    vec![draft.done()]
}
