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

use reeve_types::{Finding, Remedy};
use serde_json::Value;

/// What the evidence says: findings, worst first, and each after the one that explains it.
pub fn diagnose(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings: Vec<Finding> = rules::ALL.iter().flat_map(|rule| rule(evidence, thresholds)).collect();
    rank::explain(&mut findings, evidence, thresholds);
    findings.iter_mut().flat_map(|finding| &mut finding.remedies).for_each(|remedy| bind(remedy, evidence));
    rank::order(findings)
}

/// Binds a remedy to the very session that was seen: the system gives a pid to another one sooner or later.
fn bind(remedy: &mut Remedy, evidence: &EvidenceSet) {
    let ends_session = match remedy.tool.as_str() {
        "terminate_connection" => true,
        "cancel_query" => false,
        _ => return,
    };
    let pid = remedy.arguments.get("pid").and_then(Value::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let Some(session) = pid.and_then(|pid| evidence.session(pid)) else { return };
    let mut expect = |name: &str, moment: &Option<String>| {
        if let Some(moment) = moment {
            remedy.arguments.insert(name.to_owned(), Value::String(moment.clone()));
        }
    };
    expect("expected_backend_start", &session.backend_start);
    if !ends_session {
        expect("expected_query_start", &session.query_start);
    }
}

/// The same together with what has changed since a baseline.
pub fn diagnose_against(evidence: &EvidenceSet, baseline: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let mut findings = diagnose(evidence, thresholds);
    findings.extend(compare(baseline, evidence, thresholds));
    rank::order(findings)
}
