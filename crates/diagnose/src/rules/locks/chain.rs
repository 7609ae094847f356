//! Chains of lock waits, told from their head.

use std::collections::{BTreeMap, BTreeSet};

use reeve_types::{Finding, Severity};
use serde_json::json;

use super::head::Head;
use super::{Graph, words};
use crate::draft::{self, Draft};
use crate::evidence::LockWait;
use crate::{EvidenceSet, Thresholds};

/// One finding for each head of a chain; heads with the very same waiters share one.
pub(crate) fn chains(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(waits) = evidence.lock_waits.as_deref() else { return Vec::new() };
    let graph = Graph::new(waits);
    grouped(&graph)
        .iter()
        .filter_map(|(waiters, heads)| {
            let chain = Chain { evidence, graph: &graph, heads, waiters };
            chain.severity(thresholds).map(|severity| chain.finding(severity))
        })
        .collect()
}

/// The pids at the head of chains that are findings, so that other rules need not tell them again.
pub(crate) fn head_pids(evidence: &EvidenceSet, thresholds: &Thresholds) -> BTreeSet<i32> {
    let Some(waits) = evidence.lock_waits.as_deref() else { return BTreeSet::new() };
    let graph = Graph::new(waits);
    grouped(&graph)
        .iter()
        .filter(|(waiters, heads)| Chain { evidence, graph: &graph, heads, waiters }.severity(thresholds).is_some())
        .flat_map(|(_, heads)| heads.iter().copied())
        .collect()
}

/// Heads by whom they keep waiting.
fn grouped(graph: &Graph<'_>) -> BTreeMap<BTreeSet<i32>, Vec<i32>> {
    let mut by_waiters: BTreeMap<BTreeSet<i32>, Vec<i32>> = BTreeMap::new();
    for head in graph.heads() {
        by_waiters.entry(graph.waiters(head)).or_default().push(head);
    }
    by_waiters
}

/// `pid 5 (user app) waits 12 s for ShareLock on orders: `UPDATE …``
pub(super) fn wait_in_words(evidence: &EvidenceSet, wait: &LockWait) -> String {
    let on = match &wait.relation {
        Some(relation) => format!(" on {}", words::relation(relation)),
        None => String::new(),
    };
    let blockers: Vec<String> = wait
        .blocked_by
        .iter()
        .map(|pid| if *pid == 0 { "a prepared transaction".to_owned() } else { format!("pid {pid}") })
        .collect();
    let doing = evidence.session(wait.pid).map(|session| format!(": {}", words::statement(&session.query)));
    format!(
        "{} has waited {} for {} ({}){on} behind {}{}",
        crate::rules::who(evidence, wait.pid),
        words::duration(wait.waiting_secs),
        wait.mode,
        wait.locktype,
        words::list(&blockers, 3),
        doing.unwrap_or_default()
    )
}

struct Chain<'a> {
    evidence: &'a EvidenceSet,
    graph: &'a Graph<'a>,
    heads: &'a [i32],
    waiters: &'a BTreeSet<i32>,
}

impl<'a> Chain<'a> {
    fn waits(&self) -> impl Iterator<Item = &'a LockWait> {
        self.waiters.iter().filter_map(|pid| self.graph.wait(*pid))
    }

    /// The longest wait.
    fn longest(&self) -> f64 {
        self.waits().map(|wait| wait.waiting_secs).fold(0.0, f64::max)
    }

    /// Waits for a head itself, not for another waiter.
    fn direct(&self) -> Vec<&'a LockWait> {
        self.waits().filter(|wait| wait.blocked_by.iter().any(|pid| self.heads.contains(pid))).collect()
    }

    fn head(&self, pid: i32) -> Head<'a> {
        if pid != 0 {
            return Head::of(self.evidence, pid);
        }
        Head::prepared(self.evidence, self.waits().find_map(|wait| wait.blocked_by_gid.as_deref()))
    }

    fn severity(&self, thresholds: &Thresholds) -> Option<Severity> {
        let longest = self.longest();
        let stuck = self.heads.iter().any(|pid| {
            let head = self.head(*pid);
            head.is_stuck() && head.stuck_secs().is_none_or(|secs| secs >= thresholds.stuck_lock_wait_secs)
        });
        let from = if stuck { thresholds.stuck_lock_wait_secs } else { thresholds.lock_wait_secs };
        if longest < from {
            return None;
        }
        let critical = longest >= thresholds.lock_wait_critical_secs
            || self.waiters.len() >= thresholds.lock_waiters_critical.max(1);
        Some(if critical { Severity::Critical } else { Severity::Warning })
    }

    /// The table that it is about: the one most of the direct waiters wait for.
    fn relation(&self) -> Option<&'a str> {
        let direct = self.direct();
        direct
            .iter()
            .find_map(|wait| wait.relation.as_deref())
            .or_else(|| self.waits().find_map(|wait| wait.relation.as_deref()))
    }

    fn finding(&self, severity: Severity) -> Finding {
        let waiters = i64::try_from(self.waiters.len()).unwrap_or(i64::MAX);
        let on = self.relation().map(|relation| format!(" on table {}", words::relation(relation))).unwrap_or_default();
        let sessions = words::plural(waiters, "session");
        let title = format!("{} {sessions}{on} for {}", self.subject(), words::duration(self.longest()));
        let effect = if waiters == 1 { "the waiting session goes on".to_owned() } else { format!("{sessions} go on") };
        let mut draft = Draft::new("lock_chain", severity, title).cause(self.cause(&sessions));
        draft = self.evidence_of_heads(draft);
        for wait in self.longest_waits() {
            draft = draft.data(wait_in_words(self.evidence, wait), "pg_locks, pg_blocking_pids", json!(wait));
        }
        if let Some(ddl) = self.ddl_in_the_queue() {
            draft = draft.remedy(draft::cancel_query(
                ddl.pid,
                "the gentlest way: everybody who only queues behind this lock request goes on at once, and the work of the \
                 head is not lost. Repeat the DDL later with SET lock_timeout",
            ));
        }
        for pid in self.heads.iter().take(5) {
            let head = self.head(*pid);
            draft = draft.remedies(head.remedies(&effect)).advices(head.advice());
        }
        draft.done()
    }

    fn subject(&self) -> String {
        match self.heads {
            [0] => match self.head(0) {
                Head::Prepared(prepared) => format!("prepared transaction {} blocks", words::literal(&prepared.gid)),
                _ => "a prepared transaction blocks".to_owned(),
            },
            [pid] => format!("pid {pid} blocks"),
            many => {
                let pids: Vec<String> = many.iter().map(ToString::to_string).collect();
                format!("pids {} block", words::list(&pids, 5))
            }
        }
    }

    fn cause(&self, sessions: &str) -> String {
        let mut told: Vec<String> = self.heads.iter().take(3).map(|pid| self.head_in_words(*pid)).collect();
        if self.heads.len() > 3 {
            told.push(format!("{} more are in the way likewise.", self.heads.len() - 3));
        }
        let direct = self.direct().len();
        let wait = if self.waiters.len() == 1 { "waits" } else { "wait" };
        let it = if self.heads.len() == 1 { "it" } else { "them" };
        told.push(match self.waiters.len().saturating_sub(direct) {
            0 => format!("{sessions} {wait} for {it} directly."),
            behind => format!("{sessions} {wait}: {direct} for {it} directly, {behind} behind the others."),
        });
        if let Some(ddl) = self.ddl_in_the_queue() {
            told.push(format!(
                "pid {} asks for AccessExclusiveLock; until it has got it and is done, everybody who comes later queues \
                 behind it, readers included.",
                ddl.pid
            ));
        }
        told.join(" ")
    }

    fn head_in_words(&self, pid: i32) -> String {
        let head = self.head(pid);
        match &head {
            Head::Prepared(prepared) => {
                format!("Prepared transaction {} {}", words::literal(&prepared.gid), head.doing())
            }
            Head::UnknownPrepared => format!("A transaction {}", head.doing()),
            _ => format!("{} {}", crate::rules::who(self.evidence, pid), head.doing()),
        }
    }

    fn evidence_of_heads(&self, mut draft: Draft) -> Draft {
        for pid in self.heads.iter().take(5) {
            draft = match (self.head(*pid), self.evidence.session(*pid)) {
                (Head::Prepared(prepared), _) => {
                    draft.data(self.head_in_words(*pid), "pg_prepared_xacts", json!(prepared))
                }
                (_, Some(session)) => draft.data(
                    format!(
                        "head: pid {pid}, {}, transaction open for {}, {}",
                        session.state.as_deref().unwrap_or("state hidden"),
                        session.xact_secs.map_or_else(|| "unknown".to_owned(), words::duration),
                        if session.has_writes { "has written" } else { "has written nothing" }
                    ),
                    "pg_stat_activity",
                    json!(session),
                ),
                (_, None) => draft.fact(self.head_in_words(*pid), "pg_locks"),
            };
        }
        draft
    }

    fn longest_waits(&self) -> Vec<&'a LockWait> {
        let mut waits: Vec<&LockWait> = self.waits().collect();
        waits.sort_by(|a, b| b.waiting_secs.total_cmp(&a.waiting_secs).then(a.pid.cmp(&b.pid)));
        waits.truncate(8);
        waits
    }

    /// A waiting request for `ACCESS EXCLUSIVE` with others queueing behind it.
    fn ddl_in_the_queue(&self) -> Option<&'a LockWait> {
        self.direct().into_iter().find(|wait| {
            wait.mode == "AccessExclusiveLock"
                && wait.locktype == "relation"
                && !self.graph.waiters(wait.pid).is_empty()
        })
    }
}
