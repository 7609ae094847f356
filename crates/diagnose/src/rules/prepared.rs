//! Prepared transactions that nobody finishes.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::{EvidenceSet, Thresholds, words};

/// Two-phase commit takes seconds; an older prepared transaction has lost its coordinator.
pub(super) fn forgotten(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut old: Vec<_> =
        evidence.prepared.iter().flatten().filter(|prepared| prepared.age_secs >= thresholds.prepared_secs).collect();
    old.sort_by(|a, b| b.age_secs.total_cmp(&a.age_secs));
    let Some(oldest) = old.first() else { return Vec::new() };
    let severity =
        if oldest.age_secs >= thresholds.long_transaction_secs { Severity::Critical } else { Severity::Warning };
    let title = format!(
        "{} not finished, {} for {}",
        match old.len() {
            1 => "1 prepared transaction is".to_owned(),
            n => format!("{n} prepared transactions are"),
        },
        words::literal(&oldest.gid),
        words::duration(oldest.age_secs)
    );
    let mut draft = Draft::new("prepared_transaction", severity, title).cause(
        "The coordinator of a two-phase commit prepared it and never came back. It survives restarts, keeps its locks, and \
         holds back vacuum in the whole cluster; only COMMIT PREPARED or ROLLBACK PREPARED ends it.",
    );
    for prepared in old.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{} by {} in {}, prepared {} ago, {} transactions old",
                    words::literal(&prepared.gid),
                    prepared.owner,
                    prepared.database,
                    words::duration(prepared.age_secs),
                    words::count(prepared.xid_age)
                ),
                "pg_prepared_xacts",
                json!(prepared),
            )
            .advice(format!(
                "In database {}: ROLLBACK PREPARED {};",
                words::identifier(&prepared.database),
                words::literal(&prepared.gid)
            ));
    }
    let draft = draft.advice(
        "Ask the coordinator (transaction manager) first: if it decided to commit, it must be COMMIT PREPARED.",
    );
    vec![draft.done()]
}
