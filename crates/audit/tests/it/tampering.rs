//! Every way to change a log afterwards, and what the verifier says of it.

use proptest::prelude::*;
use reeve_audit::{ChainVerifier, Checkpoint, Completeness, Integrity, Sealed, SeqRange, Verdict, seal};
use reeve_types::{Digest, Event};
use serde_json::json;

use crate::log::{Log, event};

fn verify(records: &[Sealed], checkpoints: &[Checkpoint]) -> Verdict {
    let mut verifier = ChainVerifier::with_checkpoints(checkpoints.to_vec());
    for record in records {
        verifier.feed(record.seq, &record.canonical, &record.event_hash);
    }
    verifier.finish()
}

fn range(from: u64, to: u64) -> Vec<SeqRange> {
    vec![SeqRange { from, to }]
}

fn with_note(record: &Sealed, note: &str) -> Event {
    let mut event: Event = serde_json::from_slice(&record.canonical).unwrap();
    event.note = note.to_owned();
    event
}

#[test]
fn an_untouched_log_is_in_order() {
    let log = Log::with(50);
    let verdict = verify(&log.records, &[log.checkpoint(40), log.checkpoint(20)]);
    assert!(verdict.valid);
    assert_eq!((verdict.integrity, verdict.completeness), (Integrity::Intact, Completeness::Complete));
    assert_eq!((verdict.total_events, verdict.checkpoints_checked), (50, 2));
    assert_eq!((verdict.anchored, verdict.unanchored), (range(0, 39), range(40, 49)));
    assert_eq!(verdict.last_hash, log.records[49].event_hash);
    assert_eq!(verdict.root, log.checkpoint(50).root);
    assert_eq!(verdict.first_event_id.as_deref(), Some(event(0).event_id.as_str()));
    assert_eq!(verdict.last_event_id.as_deref(), Some(event(49).event_id.as_str()));
    assert_eq!((verdict.broken_at, verdict.error), (None, None));
}

#[test]
fn without_a_checkpoint_completeness_stays_open() {
    let verdict = verify(&Log::with(5).records, &[]);
    assert!(verdict.valid);
    assert_eq!(verdict.completeness, Completeness::Unknown);
    assert_eq!((verdict.anchored, verdict.unanchored), (vec![], range(0, 4)));
    let empty = verify(&[], &[]);
    assert!(empty.valid);
    assert_eq!((empty.total_events, empty.last_hash, empty.first_event_id), (0, Digest::ZERO, None));
}

#[test]
fn an_edited_record_is_named() {
    let mut log = Log::with(10);
    let text = String::from_utf8(log.records[4].canonical.clone()).unwrap();
    log.records[4].canonical = text.replace("event 4", "event 5").into_bytes();
    let verdict = verify(&log.records, &[]);
    assert!(!verdict.valid);
    assert_eq!((verdict.integrity, verdict.broken_at, verdict.total_events), (Integrity::Broken, Some(4), 10));
    assert_eq!(verdict.error.unwrap(), "record 4: its bytes do not have its hash: the record was changed");
}

#[test]
fn an_edited_record_with_a_new_hash_is_named_by_the_next_one() {
    let mut log = Log::with(10);
    let edited = with_note(&log.records[4], "changed");
    log.records[4] = seal(&edited, 4, log.records[4].prev_hash).unwrap();
    assert_eq!(verify(&log.records, &[]).broken_at, Some(5));
    // At the end of the log nothing follows that could notice: only a checkpoint can.
    let mut last = Log::with(5);
    let signed = last.checkpoint(5);
    let edited = with_note(&last.records[4], "changed");
    last.records[4] = seal(&edited, 4, last.records[4].prev_hash).unwrap();
    assert!(verify(&last.records, &[]).valid);
    assert_eq!(verify(&last.records, &[signed]).broken_at, Some(0));
}

#[test]
fn a_log_hashed_anew_after_an_edit_is_caught_by_the_checkpoint() {
    let log = Log::with(30);
    let (kept, newer) = (log.checkpoint(10), log.checkpoint(30));
    let events = log.records.iter().map(|record| match record.seq {
        17 => with_note(record, "changed"),
        _ => serde_json::from_slice(&record.canonical).unwrap(),
    });
    let forged = Log::of(events.collect::<Vec<_>>());
    assert!(verify(&forged.records, &[]).valid, "the chain alone cannot know");
    let verdict = verify(&forged.records, &[kept, newer]);
    assert!(!verdict.valid);
    assert_eq!((verdict.integrity, verdict.completeness), (Integrity::Broken, Completeness::Unknown));
    assert_eq!((verdict.broken_at, verdict.checkpoints_checked), (Some(10), 1));
    assert_eq!((verdict.anchored, verdict.unanchored), (range(0, 9), range(10, 29)));
}

#[test]
fn a_cut_tail_is_missing_and_what_is_left_is_intact() {
    let log = Log::with(30);
    let verdict = verify(&log.records[..25], &[log.checkpoint(20), log.checkpoint(30)]);
    assert!(!verdict.valid);
    assert_eq!((verdict.integrity, verdict.completeness), (Integrity::Intact, Completeness::Incomplete));
    assert_eq!((verdict.missing, verdict.broken_at), (range(25, 29), None));
    assert_eq!((verdict.anchored, verdict.unanchored), (range(0, 19), range(20, 24)));
    assert_eq!(verdict.error.unwrap(), "records 25 to 29 are missing: a checkpoint of 30 records was signed");
    assert!(verify(&log.records[..25], &[]).valid, "without a checkpoint nobody can know");
    let nothing_left = verify(&[], &[log.checkpoint(30)]);
    assert_eq!((nothing_left.valid, nothing_left.missing), (false, range(0, 29)));
}

#[test]
fn a_removed_record_leaves_a_gap() {
    let mut log = Log::with(10);
    log.records.remove(3);
    let verdict = verify(&log.records, &[]);
    assert_eq!((verdict.broken_at, verdict.missing), (Some(4), range(3, 3)));
    assert_eq!((verdict.integrity, verdict.completeness), (Integrity::Broken, Completeness::Incomplete));
    // Renumbering the rows does not help: the numbers are inside the bytes.
    for (seq, record) in log.records.iter_mut().enumerate() {
        record.seq = seq as u64;
    }
    let verdict = verify(&log.records, &[]);
    assert_eq!(verdict.error.unwrap(), "record 3: it calls itself number 4: the record was moved");
}

#[test]
fn swapped_added_and_doubled_records_are_named() {
    let log = Log::with(10);
    let mut swapped = log.clone();
    swapped.records.swap(3, 4);
    let verdict = verify(&swapped.records, &[]);
    assert_eq!((verdict.broken_at, verdict.missing), (Some(4), vec![]));

    let mut added = log.clone();
    added.records.insert(6, seal(&event(99), 6, log.records[5].event_hash).unwrap());
    assert_eq!(verify(&added.records, &[]).broken_at, Some(6));

    let mut doubled = log.clone();
    doubled.records.insert(6, log.records[5].clone());
    assert_eq!(verify(&doubled.records, &[]).broken_at, Some(5));
    assert_eq!(verify(&doubled.records, &[]).missing, vec![]);
}

#[test]
fn a_record_that_is_no_record_is_named() {
    for bytes in ["", "{}", "[]", "\u{0}", r#"{"event_id":"x","prev_hash":"zz","seq":2}"#] {
        let mut log = Log::with(4);
        log.records[2].canonical = bytes.as_bytes().to_vec();
        log.records[2].event_hash = Digest::of(bytes.as_bytes());
        assert_eq!(verify(&log.records, &[]).broken_at, Some(2), "{bytes}");
    }
}

#[test]
fn a_foreign_first_record_is_named() {
    let log = Log::with(4);
    let mut verifier = ChainVerifier::new();
    verifier.feed(0, &seal(&event(0), 0, Digest::of(b"x")).unwrap().canonical, &Digest::ZERO);
    assert_eq!(verifier.broken().unwrap().seq, 0);
    assert_eq!(verify(&log.records[1..], &[]).broken_at, Some(1));
}

#[test]
fn verification_goes_on_where_it_stopped() {
    let log = Log::with(40);
    let mut first = ChainVerifier::new();
    for record in &log.records[..25] {
        first.feed(record.seq, &record.canonical, &record.event_hash);
    }
    let tree = first.tree().clone();
    let half = first.finish();
    let checkpoints = [log.checkpoint(10), log.checkpoint(30)];
    let mut rest = ChainVerifier::resume(tree, half.last_hash, checkpoints);
    for record in &log.records[25..] {
        rest.feed(record.seq, &record.canonical, &record.event_hash);
    }
    let verdict = rest.finish();
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!(verdict.root, log.checkpoint(40).root);
    assert_eq!((verdict.anchored, verdict.unanchored), (range(25, 29), range(30, 39)));
}

#[test]
fn a_verdict_reads_well_as_json() {
    let log = Log::with(3);
    let json = serde_json::to_value(verify(&log.records[..2], &[log.checkpoint(3)])).unwrap();
    assert_eq!(json["valid"], json!(false));
    assert_eq!(json["integrity"], json!("intact"));
    assert_eq!(json["completeness"], json!("incomplete"));
    assert_eq!(json["missing"], json!([{"from": 2, "to": 2}]));
    assert_eq!(json.get("broken_at"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_flipped_bit_is_noticed_at_its_record(at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut log = Log::with(12);
        let at = at.index(12);
        let bytes = &mut log.records[at].canonical;
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        prop_assert_eq!(verify(&log.records, &[]).broken_at, Some(at as u64));
    }

    #[test]
    fn any_removal_is_noticed(at in 0usize..12) {
        let log = Log::with(12);
        let mut records = log.records.clone();
        records.remove(at);
        prop_assert!(!verify(&records, &[log.checkpoint(12)]).valid);
    }
}
