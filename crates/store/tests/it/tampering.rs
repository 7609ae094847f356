//! Whoever changes the database file with SQL is found out.

use std::path::Path;

use reeve_audit::{KeyRole, SignedNote, SigningKey};
use reeve_types::{Digest, canonical_json};
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::support::{fill, open};

/// A log of 400 records, its triggers gone, and the last checkpoint as somebody kept it elsewhere.
async fn log(dir: &Path) -> (Connection, SignedNote) {
    let store = open(dir);
    fill(&store, 400).await;
    let kept = store.for_witness(0).await.unwrap().note;
    store.close().await;
    drop(store);
    let db = Connection::open(dir.join("audit.db")).unwrap();
    for name in ["events", "tiles", "checkpoints"] {
        db.execute_batch(&format!("DROP TRIGGER {name}_no_update; DROP TRIGGER {name}_no_delete")).unwrap();
    }
    (db, kept)
}

/// What verification says, with and without the checkpoint that was kept elsewhere.
async fn verdicts(dir: &Path, kept: SignedNote) -> [Result<reeve_audit::Verdict, String>; 2] {
    let store = open(dir);
    let own = store.verify_audit(vec![], vec![], |_| {}).await.map_err(|e| e.chain());
    let with = store.verify_audit(vec![], vec![kept], |_| {}).await.map_err(|e| e.chain());
    [own, with]
}

#[tokio::test]
async fn an_edited_field_is_found_at_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let (db, kept) = log(dir.path()).await;
    db.execute("UPDATE events SET canonical = replace(canonical, 'lifecycle', 'external_') WHERE seq = 123", [])
        .unwrap();
    drop(db);
    for verdict in verdicts(dir.path(), kept).await {
        let verdict = verdict.unwrap();
        assert_eq!((verdict.valid, verdict.broken_at), (false, Some(123)));
    }
}

#[tokio::test]
async fn a_cut_tail_is_found_because_a_checkpoint_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let (db, kept) = log(dir.path()).await;
    db.execute("DELETE FROM events WHERE seq >= 390", []).unwrap();
    drop(db);
    for verdict in verdicts(dir.path(), kept).await {
        let verdict = verdict.unwrap();
        assert!(!verdict.valid);
        assert_eq!((verdict.missing[0].from, verdict.missing[0].to), (390, 399));
    }
}

/// Rewrites the log from `from` on so that every hash and link is right again.
fn rewrite(db: &Connection, from: i64) {
    let rows: Vec<(i64, String)> = db
        .prepare("SELECT seq, canonical FROM events ORDER BY seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut previous = Digest::ZERO;
    for (seq, text) in rows {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        if seq == from {
            value["note"] = Value::from("nothing to see here");
        }
        value["prev_hash"] = Value::from(previous.to_string());
        let canonical = canonical_json(&value).unwrap();
        previous = Digest::of(&canonical);
        db.execute(
            "UPDATE events SET canonical = ?2, event_hash = ?3, prev_hash = ?4 WHERE seq = ?1",
            params![seq, String::from_utf8(canonical).unwrap(), &previous.as_bytes()[..], &[0u8; 32][..]],
        )
        .unwrap();
    }
}

#[tokio::test]
async fn a_log_whose_every_hash_was_computed_anew_is_found_by_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (db, kept) = log(dir.path()).await;
    rewrite(&db, 200);
    drop(db);
    for verdict in verdicts(dir.path(), kept).await {
        let verdict = verdict.unwrap();
        assert!(!verdict.valid);
        assert!(verdict.error.unwrap().contains("are not those that the checkpoint of 400 records was signed for"));
    }
}

#[tokio::test]
async fn a_log_without_its_checkpoints_is_found_by_one_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (db, kept) = log(dir.path()).await;
    rewrite(&db, 200);
    db.execute("DELETE FROM checkpoints", []).unwrap();
    drop(db);
    let [own, with] = verdicts(dir.path(), kept).await;
    assert!(own.unwrap().valid, "the chain alone cannot tell");
    assert!(!with.unwrap().valid);
}

#[tokio::test]
async fn a_checkpoint_of_another_key_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (db, kept) = log(dir.path()).await;
    let forger = SigningKey::from_seed("reeve-forged", KeyRole::Log, &[9; 32]).unwrap();
    let head = reeve_audit::Checkpoint { origin: forger.name().to_owned(), size: 400, root: Digest::ZERO };
    let note = reeve_audit::sign(&head, &forger).unwrap().to_string();
    db.execute("UPDATE checkpoints SET note = ?1 WHERE size = 400", [note]).unwrap();
    drop(db);
    for verdict in verdicts(dir.path(), kept).await {
        assert!(verdict.unwrap_err().starts_with("what is stored under `a checkpoint` cannot be read: "));
    }
}
