//! Which finding explains which, and in what order they are told.

use reeve_types::{Finding, Severity};

use crate::{EvidenceSet, Thresholds};

/// Marks findings that another one explains, and makes the explaining one at least as severe.
pub(crate) fn explain(findings: &mut [Finding], evidence: &EvidenceSet, thresholds: &Thresholds) {
    let present: Vec<String> = findings.iter().map(|finding| finding.code.clone()).collect();
    let has = |code: &str| present.iter().any(|present| present == code);
    for finding in findings.iter_mut().filter(|finding| finding.explained_by.is_none()) {
        let cause = causes_of(&finding.code, evidence, thresholds).into_iter().find(|cause| has(cause));
        finding.explained_by = cause.map(str::to_owned);
    }
    promote(findings);
}

/// Codes that would explain a finding, the likeliest first.
fn causes_of(code: &str, evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<&'static str> {
    let piles_up = |n: i64| {
        let total = evidence.connections.as_ref().map_or(0, |counts| counts.total.saturating_sub(counts.own));
        n as f64 >= 0.4 * total.max(1) as f64
    };
    match code {
        "connection_exhaustion" | "connection_limit" => {
            let mut causes = Vec::new();
            let counts = evidence.connections.as_ref();
            if counts.is_some_and(|counts| piles_up(counts.lock_waiting)) {
                causes.push("lock_chain");
            }
            if counts.is_some_and(|counts| piles_up(counts.idle_in_transaction)) {
                causes.push("idle_in_transaction");
            }
            causes
        }
        "vacuum_needed" | "table_bloat" => {
            let mut causes = horizon_holders(evidence, thresholds);
            if code == "table_bloat" {
                causes.push("vacuum_needed");
            }
            causes
        }
        "xmin_horizon_held" | "xid_wraparound" => horizon_holders(evidence, thresholds),
        "wal_retention" | "disk_full" | "server_panic" => {
            vec!["archiver_failing", "stale_replication_slot", "slow_replication_slot"]
        }
        "replication_lag" => vec!["wal_replay_paused"],
        "synchronous_commit_stuck" => vec!["replication_lag"],
        "process_crash" => vec!["server_panic"],
        "stale_statistics" => vec!["vacuum_needed"],
        _ => Vec::new(),
    }
}

/// Findings about whoever holds a snapshot old enough to keep vacuum from its work.
fn horizon_holders(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<&'static str> {
    let mut holders = Vec::new();
    if evidence.prepared.iter().flatten().any(|p| p.age_secs >= thresholds.prepared_secs) {
        holders.push("prepared_transaction");
    }
    if evidence
        .slots
        .iter()
        .flatten()
        .any(|s| !s.active && s.xmin_age.max(s.catalog_xmin_age).is_some_and(|age| age > 0))
    {
        holders.push("stale_replication_slot");
    }
    let old = evidence.sessions.iter().flatten().filter(|s| {
        s.xmin_age.is_some() && s.xact_secs.is_some_and(|secs| secs >= thresholds.idle_in_transaction_secs)
    });
    if old.count() > 0 {
        holders.extend(["idle_in_transaction", "long_transaction", "long_running_query"]);
    }
    holders
}

/// A root cause is as bad as the worst that it explains. Chains are short; three rounds reach their end.
fn promote(findings: &mut [Finding]) {
    for _ in 0..3 {
        let wanted: Vec<(String, Severity)> =
            findings.iter().filter_map(|finding| Some((finding.explained_by.clone()?, finding.severity))).collect();
        for finding in findings.iter_mut() {
            let worst = wanted.iter().filter(|(code, _)| *code == finding.code).map(|(_, severity)| *severity).min();
            if let Some(worst) = worst {
                finding.severity = finding.severity.min(worst);
            }
        }
    }
}

/// Worst first; of the same severity those that explain others first; each explained one after its cause.
pub(crate) fn order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let explaining: Vec<String> = findings.iter().filter_map(|finding| finding.explained_by.clone()).collect();
    findings.sort_by_key(|finding| (finding.severity, !explaining.contains(&finding.code), urgency(&finding.code)));
    let mut ordered: Vec<Finding> = Vec::with_capacity(findings.len());
    let (mut waiting, free): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.explained_by.is_some());
    for finding in free {
        let severity = finding.severity;
        // Explained findings of a graver kind come before the next free one, once their cause has been told.
        take_ready(&mut ordered, &mut waiting, |candidate| candidate.severity < severity);
        ordered.push(finding);
        // What is as grave as its cause follows it directly.
        take_ready(&mut ordered, &mut waiting, |candidate| candidate.severity <= severity);
    }
    take_ready(&mut ordered, &mut waiting, |_| true);
    // What names a cause that is not among the findings is told all the same.
    ordered.append(&mut waiting);
    ordered
}

fn take_ready(ordered: &mut Vec<Finding>, waiting: &mut Vec<Finding>, due: impl Fn(&Finding) -> bool) {
    while let Some(at) = waiting.iter().position(|candidate| {
        due(candidate)
            && candidate.explained_by.as_ref().is_some_and(|cause| ordered.iter().any(|told| told.code == *cause))
    }) {
        ordered.push(waiting.remove(at));
    }
}

/// Among equals: what users feel now comes before what will hurt later, and habits come last.
fn urgency(code: &str) -> u8 {
    match code {
        "lock_chain" | "deadlock" | "synchronous_commit_stuck" | "disk_full" | "server_panic" => 0,
        "connection_exhaustion"
        | "connection_limit"
        | "exclusive_lock_held"
        | "data_corruption"
        | "checksum_failures" => 1,
        "idle_in_transaction"
        | "prepared_transaction"
        | "archiver_failing"
        | "stale_replication_slot"
        | "wal_replay_paused"
        | "xid_wraparound"
        | "multixact_wraparound"
        | "sequence_exhaustion"
        | "slot_lost" => 2,
        "disk_usage" => 9,
        "pending_restart"
        | "unused_index"
        | "duplicate_index"
        | "missing_foreign_key_index"
        | "slow_statement"
        | "standby" => 8,
        _ => 5,
    }
}
