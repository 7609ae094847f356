//! Sequences that run out.

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::Draft;
use crate::evidence::Sequence;
use crate::{EvidenceSet, Thresholds, words};

/// Sequences near their end, or near the end of the column they fill.
pub(super) fn exhaustion(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut near: Vec<(&Sequence, f64)> = evidence
        .sequences
        .iter()
        .flatten()
        .filter(|sequence| !sequence.cycles && sequence.increment > 0)
        .map(|sequence| (sequence, used(sequence)))
        .filter(|(_, used)| *used >= thresholds.sequence_warning)
        .collect();
    near.sort_by(|a, b| b.1.total_cmp(&a.1));
    let Some((worst, share)) = near.first().copied() else { return Vec::new() };
    let severity = if share >= thresholds.sequence_critical { Severity::Critical } else { Severity::Warning };
    let left = worst.max.saturating_sub(worst.last).max(0) / worst.increment.max(1);
    let name = format!("{}.{}", worst.schema, worst.name);
    let title = match near.len() {
        1 => format!(
            "sequence {} has used {} of its values, {} are left",
            words::relation(&name),
            words::percent(share),
            words::count(left)
        ),
        n => format!("{n} sequences run out, {} has {} values left", words::relation(&name), words::count(left)),
    };
    let limit = match (&worst.column, worst.limited_by_column) {
        (Some(column), true) => format!("column {column} is too small for more than {}", words::count(worst.max)),
        _ => format!("it ends at {}", words::count(worst.max)),
    };
    let mut draft = Draft::new("sequence_exhaustion", severity, title).cause(format!(
        "Its last value is {} and {limit}. At the end every INSERT that takes a value from it fails.",
        words::count(worst.last)
    ));
    for (sequence, share) in near.iter().take(5) {
        draft = draft
            .data(
                format!(
                    "{}.{}: {} of {} ({})",
                    sequence.schema,
                    sequence.name,
                    words::count(sequence.last),
                    words::count(sequence.max),
                    words::percent(*share)
                ),
                "pg_sequences",
                json!(sequence),
            )
            .advice(how_to_widen(sequence));
    }
    vec![draft.done()]
}

fn used(sequence: &Sequence) -> f64 {
    let range = sequence.max as f64 - sequence.start as f64;
    if range <= 0.0 { 0.0 } else { ((sequence.last as f64 - sequence.start as f64) / range).clamp(0.0, 1.0) }
}

fn how_to_widen(sequence: &Sequence) -> String {
    let name = format!("{}.{}", words::identifier(&sequence.schema), words::identifier(&sequence.name));
    match &sequence.column {
        Some(column) => format!(
            "ALTER SEQUENCE {name} AS bigint NO MAXVALUE; and column {column} to bigint (ALTER TABLE … ALTER COLUMN … TYPE bigint \
             rewrites the table under ACCESS EXCLUSIVE: for large tables add a bigint column, fill it in batches and swap)."
        ),
        None => format!("ALTER SEQUENCE {name} AS bigint NO MAXVALUE;"),
    }
}
