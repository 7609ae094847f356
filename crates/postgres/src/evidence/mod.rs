//! A full look at a server: every check at once, on few connections, each with its own deadline.
//!
//! [`collect`] gathers evidence and never fails: what cannot be looked at is listed with its reason, and a server that
//! lets nobody in is evidence too. [`diagnose`] puts the rules of `reeve-diagnose` on top.

mod checks;
mod gather;
mod reach;

use std::time::Duration;

use reeve_diagnose::{EvidenceSet, Thresholds};
use reeve_types::Diagnosis;
use tokio::time::Instant;

use crate::conninfo::Target;

pub use gather::{Collected, collect};
pub use reach::connect_failure;

/// What `pg_stat_activity` shows for the connections of a diagnosis; they are left out of what is counted.
pub const APPLICATION_NAME: &str = "reeve diagnose";

/// Limits of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// Most connections at a time. Fewer are used when the server has few left.
    pub connections_max: usize,
    /// How long one check may take; then it is cut off and listed as not made.
    pub check_timeout: Duration,
    /// How long a check may wait for a lock.
    pub lock_timeout: Duration,
    /// How long getting in may take.
    pub connect_timeout: Duration,
    /// How long everything together may take.
    pub total_timeout: Duration,
}

impl Default for CollectOptions {
    /// Four connections, 2 s per check, 0.5 s per lock, 5 s to get in, 15 s in all.
    fn default() -> Self {
        Self {
            connections_max: 4,
            check_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(15),
        }
    }
}

/// How to diagnose.
#[derive(Debug, Clone, Default)]
pub struct DiagnoseOptions {
    /// Limits of the look.
    pub collect: CollectOptions,
    /// From what number on something is a finding.
    pub thresholds: Thresholds,
    /// A look that was saved before, to compare with.
    pub baseline: Option<EvidenceSet>,
}

/// Looks at a server and says what is wrong with it. Never fails: not getting in is a finding.
///
/// The evidence comes along, to be saved as a baseline or replayed.
pub async fn diagnose(target: &Target, options: &DiagnoseOptions) -> (Diagnosis, EvidenceSet) {
    let started = Instant::now();
    let Collected { evidence, checks_run } = collect(target, &options.collect).await;
    let findings = match &options.baseline {
        Some(baseline) => reeve_diagnose::diagnose_against(&evidence, baseline, &options.thresholds),
        None => reeve_diagnose::diagnose(&evidence, &options.thresholds),
    };
    let diagnosis = Diagnosis {
        target: target.display(),
        server_version: evidence.server.as_ref().map(|server| format!("PostgreSQL {}", server.version)),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        findings,
        not_checked: evidence.not_checked.clone(),
        reachable: evidence.connect_failure.is_none(),
        checks_run,
    };
    (diagnosis, evidence)
}
