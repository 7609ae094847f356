//! The words that people read, as snapshots.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reeve_diagnose::evidence::{ConnectFailure, ConnectFailureKind, EvidenceSet, Setting, Settings, Silence};
use reeve_diagnose::{Thresholds, compare, diagnose};
use reeve_types::Finding;

use crate::sample::{healthy, lock_chain, set};
use crate::topics::sick;

/// Findings as a terminal would show them.
fn told(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let _ = writeln!(out, "[{}] {}: {}", finding.severity.as_str(), finding.code, finding.title);
        if let Some(cause) = &finding.explained_by {
            let _ = writeln!(out, "  explained by {cause}");
        }
        let _ = writeln!(out, "  {}", finding.cause);
        for evidence in &finding.evidence {
            let _ = writeln!(out, "  - {} ({})", evidence.fact, evidence.source);
        }
        for remedy in &finding.remedies {
            // In the order of their names, whichever order this build keeps them in.
            let arguments: BTreeMap<_, _> = remedy.arguments.iter().collect();
            let arguments = serde_json::to_string(&arguments).unwrap_or_default();
            let _ = writeln!(out, "  > {} {arguments} [{}] {}", remedy.tool, remedy.action_class, remedy.why);
        }
        for advice in &finding.advice {
            let _ = writeln!(out, "  * {advice}");
        }
    }
    out
}

#[test]
fn a_lock_chain() {
    insta::assert_snapshot!(told(&diagnose(&lock_chain(), &Thresholds::default())));
}

#[test]
fn everything_at_once() {
    insta::assert_snapshot!(told(&diagnose(&sick(), &Thresholds::default())));
}

#[test]
fn every_failing_connection() {
    use ConnectFailureKind as K;
    let kinds = [
        K::BadTarget,
        K::Dns,
        K::Refused,
        K::Unreachable,
        K::ConnectTimeout,
        K::Hung,
        K::Tls,
        K::Auth,
        K::Hba,
        K::MissingRole,
        K::MissingDatabase,
        K::TooManyConnections,
        K::Starting,
        K::ShuttingDown,
        K::Forbidden,
        K::Dropped,
        K::NotPostgres,
        K::Other,
    ];
    let mut out = String::new();
    for kind in kinds {
        let failure = ConnectFailure {
            kind,
            address: "db1:5432".to_owned(),
            user: Some("app".to_owned()),
            database: Some("shop".to_owned()),
            detail: "the words of the server".to_owned(),
            hints: vec!["Do this next.".to_owned()],
            after_ms: 12,
        };
        let evidence = EvidenceSet { connect_failure: Some(failure), ..EvidenceSet::default() };
        out.push_str(&told(&diagnose(&evidence, &Thresholds::default())));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_look_that_is_cut_short() {
    let silence = |checks: &[&str], cut, complete| EvidenceSet {
        silence: Some(Silence {
            checks: checks.iter().map(|check| (*check).to_owned()).collect(),
            cut,
            complete,
            patience_ms: 2500,
        }),
        ..healthy()
    };
    let mut out = String::new();
    for evidence in [
        silence(&["tables"], 0, false),
        silence(&["indexes", "tables"], 1, true),
        silence(&["indexes", "tables"], 2, true),
    ] {
        out.push_str(&told(&diagnose(&evidence, &Thresholds::default())));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_baseline() {
    let before = healthy();
    let mut after = healthy();
    after.collected_at = Some("2026-11-28T12:00:00Z".parse().expect("a time"));
    set(&mut after, "work_mem", "65536");
    if let Some(server) = &mut after.server {
        (server.version_num, server.version, server.uptime_secs) = (150_019, "15.19".to_owned(), 3600.0);
        server.in_recovery = true;
    }
    for database in after.databases.iter_mut().flatten() {
        database.size_bytes = Some(9_000_000_000);
        database.deadlocks = 4;
    }
    for table in after.tables.iter_mut().flatten() {
        table.total_bytes = 4_000_000_000;
    }
    if let Some(counts) = &mut after.connections {
        counts.total = 64;
    }
    insta::assert_snapshot!(told(&compare(&before, &after, &Thresholds::default())));
}

#[test]
fn settings_that_wait_for_a_restart() {
    let mut evidence = healthy();
    let pending = Setting { value: "100".to_owned(), pending_restart: true, ..Setting::default() };
    evidence.settings = Some(Settings([("max_connections".to_owned(), pending)].into()));
    insta::assert_snapshot!(told(&diagnose(&evidence, &Thresholds::default())));
}
