//! What is wrong with a PostgreSQL server, from what was seen of it.
//!
//! [`diagnose`] turns an [`EvidenceSet`] into findings: each names its cause, what it rests on and what could be done.
//! It is pure, so that the same evidence gives the same findings anywhere and at any time. Collectors live with the
//! driver of the system; saved evidence replays here.

pub mod baseline;
mod draft;
pub mod evidence;
mod rank;
mod rules;
mod thresholds;
pub mod words;

pub use baseline::compare;
pub use evidence::EvidenceSet;
pub use thresholds::Thresholds;

use reeve_types::Finding;

/// What the evidence says: findings, worst first, and each after the one that explains it.
pub fn diagnose(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings: Vec<Finding> = rules::ALL.iter().flat_map(|rule| rule(evidence, thresholds)).collect();
    rank::explain(&mut findings, evidence, thresholds);
    rank::order(findings)
}

/// The same together with what has changed since a baseline.
pub fn diagnose_against(evidence: &EvidenceSet, baseline: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings = diagnose(evidence, thresholds);
    findings.extend(compare(baseline, evidence, thresholds));
    rank::order(findings)
}
