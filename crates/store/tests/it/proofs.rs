//! Checkpoints, proofs that hold offline, and witnesses.

use std::time::Duration;

use reeve_audit::witness::{Seen, decide};
use reeve_audit::{KeyRole, ProofFile, Refusal, SignedNote, SigningKey, VerifiedCheckpoint};
use reeve_store::{AuditError, Store};
use reeve_types::{EventType, TenantId};

use crate::support::{event, fill, open, record};

/// Waits until everything is under a signed checkpoint, at most two seconds.
async fn signed(store: &Store) -> u64 {
    for _ in 0..40 {
        let head = store.log_head().await.unwrap();
        if head.signed_size == head.size {
            return head.signed_size;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no checkpoint came");
}

#[tokio::test]
async fn the_head_is_signed_soon_after_a_record_and_at_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 5).await;
    assert_eq!(signed(&store).await, 5);
    fill(&store, 1).await;
    store.close().await;
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.log_head().await.unwrap().signed_size, 6);
}

#[tokio::test]
async fn a_log_that_is_never_idle_is_signed_every_thousand_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store, 1024).await;
    // The answer may come before the signature, which the writer makes next, before anything else.
    fill(&store, 1).await;
    assert!(store.log_head().await.unwrap().signed_size >= 1024);
}

#[tokio::test]
async fn a_proof_of_any_record_holds_offline() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for n in 0..600 {
        let one = event(EventType::Lifecycle, &TenantId::default_tenant(), "sys_1");
        if [0, 1, 255, 256, 511, 512, 599].contains(&n) {
            ids.push((n, one.event_id.clone()));
        }
        record(&store, one).await;
    }
    for (n, id) in ids {
        let text = store.prove(&id).await.unwrap().to_string();
        let checked = ProofFile::parse(&text).unwrap().check(&[store.log_key().clone()]).unwrap();
        assert_eq!((checked.index, checked.event["event_id"].as_str()), (n, Some(id.as_str())));
        let flipped = text.replacen("index ", "index 1", 1);
        assert!(ProofFile::parse(&flipped).unwrap().check(&[store.log_key().clone()]).is_err());
    }
    let unknown = event(EventType::Lifecycle, &TenantId::default_tenant(), "sys_1").event_id;
    let missing = store.prove(&unknown).await.unwrap_err();
    assert_eq!(missing.to_string(), format!("there is no record `{unknown}`"));
}

fn witness(name: &str) -> SigningKey {
    SigningKey::from_seed(name, KeyRole::Witness, &[7; 32]).unwrap()
}

/// One round with a witness that remembers what it saw.
async fn cosign(store: &Store, key: &SigningKey, seen: &mut Option<Seen>) -> SignedNote {
    let old = seen.as_ref().map_or(0, |seen| seen.size);
    let request = store.for_witness(old).await.unwrap();
    let agreed = decide(seen.as_ref(), &request, &[store.log_key().clone()], key, 1_700_000_000).unwrap();
    *seen = Some(agreed.seen);
    agreed.note
}

#[tokio::test]
async fn a_witness_vouches_for_what_it_saw_and_for_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = witness("witness.example");
    let (mut seen, keys) = (None, vec![key.verifying_key().clone()]);
    fill(&store, 300).await;
    let note = cosign(&store, &key, &mut seen).await;
    assert_eq!(store.keep_cosignature(note, key.verifying_key().clone()).await.unwrap(), 300);
    fill(&store, 50).await;
    store.prove(&store.records_from(349, 1).await.unwrap()[0].event.event_id).await.unwrap();

    let verdict = store.verify_audit(keys.clone(), vec![], |_| {}).await.unwrap();
    assert!(verdict.valid);
    assert_eq!((verdict.anchored[0].from, verdict.anchored[0].to), (0, 299));
    assert_eq!((verdict.unanchored[0].from, verdict.unanchored[0].to), (300, 349));
    let own = store.verify_audit(vec![], vec![], |_| {}).await.unwrap();
    assert_eq!((own.anchored[0].to, own.unanchored.len()), (349, 0));

    let again = cosign(&store, &key, &mut seen).await;
    store.keep_cosignature(again, key.verifying_key().clone()).await.unwrap();
    let verdict = store.verify_audit(keys, vec![], |_| {}).await.unwrap();
    assert_eq!((verdict.anchored[0].to, verdict.unanchored.len()), (349, 0));
    assert_eq!(store.log_head().await.unwrap().witnessed_size, 350);
    let proof = store.prove(&store.records_from(3, 1).await.unwrap()[0].event.event_id).await.unwrap();
    let keys = [store.log_key().clone(), key.verifying_key().clone()];
    assert_eq!(proof.check(&keys).unwrap().cosigners.len(), 1);
}

#[tokio::test]
async fn a_cosignature_of_another_log_or_without_its_witness_is_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (open(here.path()), open(there.path()));
    let key = witness("witness.example");
    fill(&store, 3).await;
    fill(&other, 3).await;
    let foreign = cosign(&other, &key, &mut None).await;
    let refused = store.keep_cosignature(foreign, key.verifying_key().clone()).await.unwrap_err();
    assert!(matches!(refused, AuditError::NotOurs(_)), "{refused}");

    let bare = store.for_witness(0).await.unwrap().note;
    VerifiedCheckpoint::open(&bare, &[store.log_key().clone()]).unwrap();
    let refused = store.keep_cosignature(bare, key.verifying_key().clone()).await.unwrap_err();
    assert!(refused.to_string().ends_with("it has no signature of witness.example"), "{refused}");
    assert_eq!(store.log_head().await.unwrap().witnessed_size, 0);
}

#[tokio::test]
async fn a_witness_does_not_follow_a_log_that_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = witness("witness.example");
    fill(&store, 10).await;
    let seen = Seen { size: 20, root: reeve_types::Digest::ZERO };
    let request = store.for_witness(seen.size).await.unwrap();
    let refused = decide(Some(&seen), &request, &[store.log_key().clone()], &key, 0).unwrap_err();
    assert_eq!(refused, Refusal::Rollback { size: 10, seen: 20 });
}

#[tokio::test]
async fn an_empty_log_says_that_it_has_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = store.for_witness(0).await.unwrap_err();
    assert!(matches!(refused, AuditError::NoCheckpoint), "{refused}");
    assert_eq!(store.log_head().await.unwrap().size, 0);
    assert!(store.verify_audit(vec![], vec![], |_| {}).await.unwrap().valid);
}
