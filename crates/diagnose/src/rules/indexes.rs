//! Indexes that do not work, are not used, are there twice, or are missing behind a foreign key.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::evidence::IndexHealth;
use crate::{EvidenceSet, Thresholds, words};

fn drop_index(schema: &str, name: &str) -> String {
    format!("DROP INDEX CONCURRENTLY {}.{};", words::identifier(schema), words::identifier(name))
}

/// Indexes left behind by a failed `CREATE INDEX CONCURRENTLY`: they cost on every write and serve nobody.
pub(super) fn invalid(evidence: &EvidenceSet, _: &Thresholds) -> Vec<Finding> {
    let Some(indexes) = evidence.indexes.as_ref().filter(|indexes| !indexes.invalid.is_empty()) else {
        return Vec::new();
    };
    let names: Vec<&str> = indexes.invalid.iter().map(|index| index.name.as_str()).collect();
    let (are, subject) = if names.len() == 1 { ("is", "index") } else { ("are", "indexes") };
    let mut draft = Draft::new("invalid_index", Severity::Warning, format!("{subject} {} {are} invalid", words::list(&names, 3)))
        .cause(
            "A CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY failed or was cancelled. No query uses the index, a unique one \
             does not keep duplicates out reliably, and every write still maintains it.",
        );
    for index in indexes.invalid.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}.{} on {}: indisvalid is false, {}",
                    index.schema,
                    index.name,
                    index.table,
                    words::bytes(index.bytes)
                ),
                "pg_index",
                json!(index),
            )
            .advice(format!(
                "REINDEX INDEX CONCURRENTLY {}.{}; or {}",
                words::identifier(&index.schema),
                words::identifier(&index.name),
                drop_index(&index.schema, &index.name)
            ));
    }
    vec![draft.done()]
}

/// Large indexes that nobody has used for long.
pub(super) fn unused(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let (Some(indexes), Some(server)) = (&evidence.indexes, &evidence.server) else { return Vec::new() };
    let counting = server.counting_secs();
    let unused: Vec<&IndexHealth> =
        indexes.unused.iter().filter(|index| index.scans == 0 && index.bytes >= thresholds.index_bytes_min).collect();
    if unused.is_empty() || counting < thresholds.unused_index_secs {
        return Vec::new();
    }
    let total = unused.iter().fold(0_i64, |sum, index| sum.saturating_add(index.bytes));
    let n = i64::try_from(unused.len()).unwrap_or(i64::MAX);
    let title = match n {
        1 => format!("1 index has not been used for {} and takes {}", words::duration(counting), words::bytes(total)),
        n => format!(
            "{} have not been used for {} and take {}",
            format_args!("{} indexes", words::count(n)),
            words::duration(counting),
            words::bytes(total)
        ),
    };
    let mut draft = Draft::new("unused_index", Severity::Info, title)
        .cause("No scan has used them since the counters were reset, while every write maintains them and every backup carries them.");
    for index in unused.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}.{} on {}: {}, 0 scans, {} writes to its table",
                    index.schema,
                    index.name,
                    index.table,
                    words::bytes(index.bytes),
                    words::count(index.table_writes)
                ),
                "pg_stat_user_indexes",
                json!(index),
            )
            .advice(drop_index(&index.schema, &index.name));
    }
    vec![
        draft
            .advice(
                "Check the standbys first: their scans are not counted here. Rare jobs (month's end) may need it too.",
            )
            .done(),
    ]
}

/// Two indexes for the same thing.
pub(super) fn duplicate(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let duplicates: Vec<_> = evidence
        .indexes
        .iter()
        .flat_map(|indexes| &indexes.duplicate)
        .filter(|index| index.bytes >= thresholds.index_bytes_min)
        .collect();
    let Some(first) = duplicates.first() else { return Vec::new() };
    let title = match duplicates.len() {
        1 => format!("index {} duplicates {}", first.drop, first.keep),
        n => format!("{n} indexes duplicate others, {} for one", first.drop),
    };
    let mut draft = Draft::new("duplicate_index", Severity::Info, title)
        .cause("Both index the same columns in the same way; one of them only costs writes and space.");
    for index in duplicates.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}.{}: {} and {} are equal; {}",
                    index.schema,
                    index.table,
                    index.keep,
                    index.drop,
                    words::bytes(index.bytes)
                ),
                "pg_index",
                json!(index),
            )
            .advice(drop_index(&index.schema, &index.drop));
    }
    vec![draft.done()]
}

/// Foreign keys that make each delete in the referenced table scan the referencing one.
pub(super) fn foreign_keys(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let keys: Vec<_> = evidence
        .indexes
        .iter()
        .flat_map(|indexes| &indexes.unindexed_foreign_keys)
        .filter(|key| key.rows >= thresholds.foreign_key_rows_min)
        .collect();
    let Some(first) = keys.first() else { return Vec::new() };
    let title = match keys.len() {
        1 => format!("foreign key {} of {} has no index", first.constraint, first.table),
        n => format!("{n} foreign keys have no index, {} of {} for one", first.constraint, first.table),
    };
    let mut draft = Draft::new("missing_foreign_key_index", Severity::Info, title)
        .cause("Each DELETE or key UPDATE in the referenced table reads the whole referencing table to look for rows that refer to it, while it holds locks.");
    for key in keys.iter().take(5) {
        let columns: Vec<String> = key.columns.iter().map(|column| words::identifier(column)).collect();
        draft = draft
            .data(
                format!(
                    "{}.{} ({}) refers to {}; {} rows",
                    key.schema,
                    key.table,
                    columns.join(", "),
                    key.references,
                    words::count(key.rows as i64)
                ),
                "pg_constraint, pg_index",
                json!(key),
            )
            .advice(format!(
                "CREATE INDEX CONCURRENTLY ON {}.{} ({});",
                words::identifier(&key.schema),
                words::identifier(&key.table),
                columns.join(", ")
            ));
    }
    vec![draft.done()]
}
