//! The data directory: one holder, private files, no reading of what a newer version wrote, an append-only log.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use reeve_gate::{Expectation, Ledger as _, LedgerError, SystemClock};
use reeve_store::Store;
use reeve_types::{ActionState, ApprovalStatus, EventType, TenantId};
use rusqlite::Connection;

use crate::support::{Story, event, fill, open, record, record_if};

fn refusal(dir: &std::path::Path) -> String {
    match Store::open(dir, Arc::new(SystemClock)) {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => error.chain(),
    }
}

#[tokio::test]
async fn a_directory_is_held_by_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let expected = format!(
        "another Reeve (process {}) is using {}; stop it first, or give this one a directory of its own with --data-dir",
        std::process::id(),
        dir.path().display()
    );
    assert_eq!(refusal(dir.path()), expected);
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn every_file_is_its_owners_alone_even_in_a_directory_that_others_may_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open(dir.path());
    fill(&store, 3).await;

    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if name != "reeve.lock" {
            assert_eq!(mode, 0o600, "{name}");
        }
        names.push(name);
    }
    for wanted in ["audit.db", "audit.db-wal", "reeve.db", "reeve.db-wal", "audit.key"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
    }
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_not_touched() {
    for file in ["audit.db", "reeve.db"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).close().await;
        let db = Connection::open(dir.path().join(file)).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let expected = format!(
            "{} was written by a newer version of Reeve (schema 99, this version knows 4)",
            dir.path().join(file).display()
        );
        assert_eq!(refusal(dir.path()), expected);
    }
}

#[tokio::test]
async fn nobody_updates_or_deletes_a_record_with_sql() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 300).await;
    store.close().await;
    drop(store);
    let db = Connection::open(dir.path().join("audit.db")).unwrap();
    for sql in [
        "UPDATE events SET canonical = '{}'",
        "DELETE FROM events WHERE seq = 0",
        "UPDATE tiles SET root = x'00'",
        "DELETE FROM tiles",
        "UPDATE checkpoints SET note = ''",
        "DELETE FROM checkpoints",
    ] {
        let refused = db.execute(sql, []).unwrap_err().to_string();
        assert!(refused.contains("the audit log is append-only"), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn after_it_is_closed_everything_is_refused_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 3).await;
    store.close().await;
    let refused =
        store.record(vec![], vec![event(EventType::Lifecycle, &TenantId::default_tenant(), "t").into()]).await;
    assert!(
        matches!(&refused, Err(LedgerError::Unavailable(reason)) if reason == "the store is closed"),
        "{refused:?}"
    );
    assert_eq!(store.records_from(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn records_that_expect_the_same_state_are_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let story = Story::new(&TenantId::default_tenant(), "change", jiff::Timestamp::now());
    record(&store, story.asked()).await;
    record(&store, story.resolved(ApprovalStatus::Approved)).await;
    let id = story.approval.action_id.clone();

    // All of them wait for the writer together and come into one transaction.
    let tries = (0..32).map(|_| {
        let (store, event) = (store.clone(), story.begun());
        let expect = Expectation::ActionIn(id.clone(), ActionState::Approved);
        tokio::spawn(async move { record_if(&store, expect, event).await })
    });
    let mut taken = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(()) => taken += 1,
            Err(reason) => assert_eq!(reason, format!("action `{id}` is running, not approved")),
        }
    }
    assert_eq!(taken, 1);
    assert_eq!(store.log_head().await.unwrap().size, 3);
}
