//! Who waits for whom: chains and their heads, cycles, exclusive locks.

mod chain;
mod head;

use std::collections::{BTreeMap, BTreeSet};

use reeve_types::{Finding, Severity};
use serde_json::json;

use crate::draft::{self, Draft};
use crate::evidence::LockWait;
use crate::{EvidenceSet, Thresholds, words};

pub(super) use chain::{chains, head_pids};

/// The waits of one look as a graph.
struct Graph<'a> {
    waits: BTreeMap<i32, &'a LockWait>,
    /// From a blocker to those that wait for it.
    behind: BTreeMap<i32, Vec<i32>>,
}

impl<'a> Graph<'a> {
    fn new(waits: &'a [LockWait]) -> Self {
        let mut graph = Self { waits: BTreeMap::new(), behind: BTreeMap::new() };
        for wait in waits {
            graph.waits.insert(wait.pid, wait);
            let blockers: BTreeSet<i32> = wait.blocked_by.iter().copied().collect();
            for blocker in blockers {
                graph.behind.entry(blocker).or_default().push(wait.pid);
            }
        }
        graph
    }

    /// Blockers that do not wait themselves.
    fn heads(&self) -> impl Iterator<Item = i32> {
        self.behind.keys().copied().filter(|pid| !self.waits.contains_key(pid))
    }

    /// Everybody who waits for a pid, directly or behind each other.
    fn waiters(&self, head: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut next = vec![head];
        while let Some(pid) = next.pop() {
            for waiter in self.behind.get(&pid).into_iter().flatten() {
                if *waiter != head && found.insert(*waiter) {
                    next.push(*waiter);
                }
            }
        }
        found
    }

    fn wait(&self, pid: i32) -> Option<&'a LockWait> {
        self.waits.get(&pid).copied()
    }
}

/// Sessions that wait for each other. The server breaks such a circle after `deadlock_timeout`, unless that is long.
pub(super) fn cycles(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(waits) = evidence.lock_waits.as_deref() else { return Vec::new() };
    let graph = Graph::new(waits);
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for wait in waits {
        let behind = graph.waiters(wait.pid);
        let blockers_behind = wait.blocked_by.iter().any(|blocker| behind.contains(blocker));
        if !blockers_behind || wait.waiting_secs < thresholds.stuck_lock_wait_secs || told.contains(&wait.pid) {
            continue;
        }
        let circle: Vec<i32> = std::iter::once(wait.pid)
            .chain(behind.iter().copied().filter(|pid| graph.waiters(*pid).contains(&wait.pid)))
            .collect();
        told.extend(circle.iter().copied());
        findings.push(cycle(evidence, &graph, wait, &circle));
    }
    findings
}

fn cycle(evidence: &EvidenceSet, graph: &Graph<'_>, wait: &LockWait, circle: &[i32]) -> Finding {
    let pids: Vec<String> = circle.iter().map(ToString::to_string).collect();
    let timeout = evidence.setting_number("deadlock_timeout").unwrap_or(1000.0) / 1000.0;
    let mut draft = Draft::new(
        "deadlock",
        Severity::Critical,
        format!("pids {} wait for each other: a deadlock", words::list(&pids, 5)),
    )
    .cause(format!(
        "Each holds a lock that another of them asks for, so none can go on. The server looks for such circles after \
         deadlock_timeout ({}) and then cancels one of them.",
        words::duration(timeout)
    ));
    for wait in circle.iter().filter_map(|pid| graph.wait(*pid)).take(5) {
        draft = draft.data(chain::wait_in_words(evidence, wait), "pg_locks, pg_blocking_pids", json!(wait));
    }
    draft
        .remedy(draft::cancel_query(wait.pid, "its transaction fails and the others go on"))
        .advice("Lock rows in the same order everywhere (for example ORDER BY the key in SELECT … FOR UPDATE).")
        .done()
}

/// `ACCESS EXCLUSIVE` locks that are held for long, waiters or not: not even a `SELECT` gets past them.
pub(super) fn exclusive_holders(evidence: &EvidenceSet, thresholds: &Thresholds) -> Vec<Finding> {
    let Some(locks) = evidence.exclusive_locks.as_deref() else { return Vec::new() };
    let heads = head_pids(evidence, thresholds);
    let mut by_pid: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for lock in locks.iter().filter(|lock| !heads.contains(&lock.pid)) {
        by_pid.entry(lock.pid).or_default().push(words::relation(&lock.relation));
    }
    by_pid.into_iter().filter_map(|(pid, relations)| exclusive_holder(evidence, thresholds, pid, &relations)).collect()
}

fn exclusive_holder(evidence: &EvidenceSet, thresholds: &Thresholds, pid: i32, relations: &[&str]) -> Option<Finding> {
    let session = evidence.session(pid)?;
    let age = session.xact_secs?;
    // A session that waits itself is a victim, and vacuum takes this lock only for moments.
    if age < thresholds.exclusive_lock_secs || session.waits_for_lock() || session.is_autovacuum() {
        return None;
    }
    let head = head::Head::of(evidence, pid);
    let tables = words::list(relations, 3);
    let finding = Draft::new(
        "exclusive_lock_held",
        Severity::Warning,
        format!("pid {pid} holds ACCESS EXCLUSIVE on {tables}; its transaction is open for {}", words::duration(age)),
    )
    .cause(format!(
        "{} {} ACCESS EXCLUSIVE conflicts with every other lock, so whoever touches {tables}, even to read, waits for \
         the end of this transaction. Nobody has waited long for it yet.",
        super::who(evidence, pid),
        head.doing()
    ))
    .data(
        format!("pid {pid} holds AccessExclusiveLock on {tables}"),
        "pg_locks",
        json!({ "pid": pid, "relations": relations, "xact_secs": age, "state": session.state }),
    )
    .remedies(head.remedies(&format!("gives {tables} free")))
    .advice("Run DDL with SET lock_timeout = '2s' and in short transactions; prefer the CONCURRENTLY forms.");
    Some(finding.done())
}
