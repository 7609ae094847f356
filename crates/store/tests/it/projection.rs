//! The tables of approvals and actions say what the log says, however a crash left them.

use std::path::Path;

use proptest::prelude::*;
use reeve_store::Store;
use reeve_types::{ApprovalStatus, Event, TenantId};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::support::{Story, open, record};

#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    Vote(usize, u8),
    Resolve(usize, ApprovalStatus),
    Begin(usize),
    End(usize, &'static str),
}

const STORIES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let which = 0..STORIES;
    let status = prop::sample::select(ApprovalStatus::ALL.to_vec());
    let ending = prop::sample::select(vec!["success", "error", "unknown", "denied"]);
    prop_oneof![
        which.clone().prop_map(Step::Ask),
        (which.clone(), 0..3u8).prop_map(|(at, by)| Step::Vote(at, by)),
        (which.clone(), status).prop_map(|(at, status)| Step::Resolve(at, status)),
        which.clone().prop_map(Step::Begin),
        (which, ending).prop_map(|(at, ending)| Step::End(at, ending)),
    ]
}

fn event_of(step: &Step, stories: &[Story]) -> Event {
    match step {
        Step::Ask(at) => stories[*at].asked(),
        Step::Vote(at, by) => stories[*at].voted(&format!("user:u{by}")),
        Step::Resolve(at, status) => stories[*at].resolved(*status),
        Step::Begin(at) => stories[*at].begun(),
        Step::End(at, ending) => stories[*at].ended(ending, "words"),
    }
}

type Rows = Vec<Vec<Value>>;

/// Every row of both tables and the place up to which the log has been applied.
fn tables(dir: &Path) -> (Rows, Rows, String) {
    let db = Connection::open(dir.join("reeve.db")).unwrap();
    let rows = |sql: &str| -> Rows {
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let applied = db.query_row("SELECT value FROM meta WHERE name = 'applied'", [], |row| row.get(0)).unwrap();
    (rows("SELECT * FROM approvals ORDER BY approval_id"), rows("SELECT * FROM actions ORDER BY action_id"), applied)
}

async fn write(store: &Store, steps: &[Step], stories: &[Story]) {
    for step in steps {
        record(store, event_of(step, stories)).await;
    }
}

async fn rebuilt_alike(steps: Vec<Step>, cut: usize) {
    let dir = tempfile::tempdir().unwrap();
    let cut = cut.min(steps.len());
    let at = jiff::Timestamp::now();
    let stories: Vec<Story> = (0..STORIES).map(|_| Story::new(&TenantId::default_tenant(), "change", at)).collect();
    let store = open(dir.path());
    write(&store, &steps[..cut], &stories).await;
    store.close().await;
    drop(store);
    let behind = dir.path().join("reeve.db.behind");
    std::fs::copy(dir.path().join("reeve.db"), &behind).unwrap();
    let store = open(dir.path());
    write(&store, &steps[cut..], &stories).await;
    store.close().await;
    drop(store);
    let live = tables(dir.path());
    assert_eq!(live.2, steps.len().to_string());

    // A crash between the two commits: the log is ahead of the tables.
    std::fs::copy(&behind, dir.path().join("reeve.db")).unwrap();
    drop(open(dir.path()));
    assert!(tables(dir.path()) == live, "it differs when rebuilt from a state that had seen {cut} records");

    // Nothing left but the log.
    let db = Connection::open(dir.path().join("reeve.db")).unwrap();
    db.execute_batch("DELETE FROM approvals; DELETE FROM actions; DELETE FROM meta").unwrap();
    drop(db);
    drop(open(dir.path()));
    assert!(tables(dir.path()) == live, "it differs when rebuilt from nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rebuilt_from_the_log_is_what_was_there(
        steps in prop::collection::vec(step(), 1..40),
        cut in 0usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(rebuilt_alike(steps, cut));
    }
}
