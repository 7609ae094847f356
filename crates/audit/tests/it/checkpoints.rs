//! Checkpoints, cosignatures and the decision of a witness.

use reeve_audit::witness::decide;
use reeve_audit::{
    AddCheckpoint, Checkpoint, CheckpointError, Cosigner, KeyRole, LeafHashes, NoteError, Refusal, Seen, SignedNote,
    SigningKey, VerifiedCheckpoint, consistency_proof, cosign, empty_root, sign,
};
use reeve_types::Digest;

use crate::log::{Log, ORIGIN, log_key, public, witness_key};

/// The example of the cosignature format; its keys are not published.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

#[test]
fn the_example_of_the_format_is_read() {
    let note = SignedNote::parse(EXAMPLE).unwrap();
    assert_eq!(note.to_string(), EXAMPLE);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.to_string(), note.text());
    let cosignature = &note.signatures()[1].signature;
    assert_eq!(cosignature.len(), 72);
    assert_eq!(u64::from_be_bytes(cosignature[..8].try_into().unwrap()), 1_679_315_147);
}

#[test]
fn a_checkpoint_is_signed_and_opened() {
    let log = Log::with(5);
    let note = SignedNote::parse(&log.signed(5).to_string()).unwrap();
    let opened = VerifiedCheckpoint::open(&note, &[public(log_key())]).unwrap();
    assert_eq!(opened.checkpoint, log.checkpoint(5));
    assert_eq!(opened.signers.len(), 1);
    assert_eq!(opened.cosigners, []);
}

#[test]
fn texts_that_are_no_checkpoint_are_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for text in [
        String::new(),
        "\n".to_owned(),
        format!("a\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("a\n01\n{root}\n"),
        format!("a\n-1\n{root}\n"),
        format!("a\n1\n{}\n", &root[..40]),
        format!("a\n1\n{root}\n\nx\n"),
        "a\n1\n".to_owned(),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(CheckpointError::Malformed), "{text:?}");
    }
    assert_eq!(Checkpoint::parse(&format!("a\n0\n{root}\n")), Err(CheckpointError::WrongEmptyRoot));
    let extended = Checkpoint::parse(&format!("a b\n1\n{root}\nsomething more\n")).unwrap();
    assert_eq!((extended.origin.as_str(), extended.size), ("a b", 1));
}

#[test]
fn a_key_signs_only_in_its_role_and_for_its_log() {
    let checkpoint = Log::with(3).checkpoint(3);
    let other = SigningKey::from_seed("other.example", KeyRole::Log, &[9; 32]).unwrap();
    assert!(matches!(sign(&checkpoint, &other), Err(CheckpointError::OtherOrigin { .. })));
    assert!(matches!(sign(&checkpoint, &witness_key(1)), Err(CheckpointError::WrongRole { .. })));
    let note = sign(&checkpoint, log_key()).unwrap();
    assert!(matches!(cosign(&note, log_key(), 1), Err(CheckpointError::WrongRole { .. })));
    assert!(matches!(cosign(&note, &witness_key(1), u64::MAX), Err(CheckpointError::BadTime { .. })));
    let no_records = Checkpoint { origin: ORIGIN.to_owned(), size: 0, root: Digest::ZERO };
    assert_eq!(sign(&no_records, log_key()), Err(CheckpointError::WrongEmptyRoot));
    // A key of another log that happens to be trusted cannot speak for this one.
    let forged = note.to_string().replace(ORIGIN, "other.example");
    let forged = SignedNote::parse(&forged).unwrap();
    assert!(VerifiedCheckpoint::open(&forged, &[public(&other), public(log_key())]).is_err());
    // A witness alone does not make a checkpoint.
    let cosigned = cosign(&note, &witness_key(1), 5).unwrap();
    let opened = VerifiedCheckpoint::open(&cosigned, &[public(&witness_key(1))]);
    assert_eq!(opened, Err(CheckpointError::NotByItsLog { origin: ORIGIN.to_owned() }));
}

#[test]
fn cosignatures_are_checked_and_counted_once() {
    let keys = [public(log_key()), public(&witness_key(1)), public(&witness_key(2))];
    let note = Log::with(8).signed(8);
    let note = cosign(&cosign(&note, &witness_key(1), 100).unwrap(), &witness_key(2), 200).unwrap();
    let note = cosign(&note, &witness_key(3), 300).unwrap();
    let opened = VerifiedCheckpoint::open(&SignedNote::parse(&note.to_string()).unwrap(), &keys).unwrap();
    let witness = |number, time| Cosigner { name: format!("witness{number}.example"), time };
    assert_eq!(opened.cosigners, [witness(1, 100), witness(2, 200)], "the third is not known");
    // Cosigning again replaces; a note that holds both counts one, with the later time.
    let again = cosign(&note, &witness_key(1), 400).unwrap();
    assert_eq!(again.signatures().len(), note.signatures().len());
    let line = again.to_string().lines().last().unwrap().to_owned();
    let both = SignedNote::parse(&format!("{note}{line}\n")).unwrap();
    assert_eq!(VerifiedCheckpoint::open(&both, &keys).unwrap().cosigners, [witness(1, 400), witness(2, 200)]);
}

#[test]
fn a_cosignature_covers_its_time() {
    let keys = [public(log_key()), public(&witness_key(1))];
    let note = cosign(&Log::with(2).signed(2), &witness_key(1), 1_770_000_000).unwrap();
    let later = cosign(&Log::with(2).signed(2), &witness_key(1), 1_770_000_001).unwrap();
    // The signature of one time under the other time.
    let (ours, theirs) = (&note.signatures()[1], &later.signatures()[1]);
    let mut mixed = theirs.clone();
    mixed.signature = [&theirs.signature[..8], &ours.signature[8..]].concat();
    let mixed = note.to_string().replace(&ours.to_string(), &mixed.to_string());
    let opened = VerifiedCheckpoint::open(&SignedNote::parse(&mixed).unwrap(), &keys);
    assert_eq!(opened, Err(CheckpointError::Note(NoteError::BadSignature { name: "witness1.example".to_owned() })));
}

fn request(log: &Log, old: usize, new: usize) -> AddCheckpoint {
    let proof = consistency_proof(old as u64, new as u64, &LeafHashes(&log.leaves())).unwrap();
    AddCheckpoint { old_size: old as u64, proof, note: log.signed(new) }
}

fn seen(log: &Log, size: usize) -> Seen {
    Seen { size: size as u64, root: log.checkpoint(size).root }
}

#[test]
fn a_witness_follows_a_growing_log() {
    let log = Log::with(40);
    let keys = [public(log_key())];
    let mut last = None;
    for (old, new) in [(0, 0), (0, 1), (1, 7), (7, 7), (7, 32), (32, 40)] {
        let request = AddCheckpoint::parse(&request(&log, old, new).to_string()).unwrap();
        let answer = decide(last.as_ref(), &request, &keys, &witness_key(1), 1_000 + new as u64).unwrap();
        assert_eq!(answer.seen, seen(&log, new));
        let trusted = [public(log_key()), public(&witness_key(1))];
        let merged = log.signed(new).with_lines(&answer.line, &trusted[1..]).unwrap();
        assert_eq!(merged, answer.note);
        assert_eq!(VerifiedCheckpoint::open(&merged, &trusted).unwrap().cosigners[0].time, 1_000 + new as u64);
        last = Some(answer.seen);
    }
}

#[test]
fn a_witness_refuses_everything_else() {
    let log = Log::with(40);
    let mut other = Log::with(39);
    other.records.push(Log::with(60).records[59].clone());
    let keys = [public(log_key())];
    let refusal = |last: usize, request: &AddCheckpoint| {
        decide(Some(&seen(&log, last)), request, &keys, &witness_key(1), 1).unwrap_err()
    };
    let table = [
        (refusal(20, &request(&log, 10, 10)), Refusal::Rollback { size: 10, seen: 20 }, 409),
        (refusal(20, &request(&log, 10, 40)), Refusal::StaleProof { old: 10, seen: 20 }, 409),
        (refusal(40, &request(&other, 40, 40)), Refusal::Fork { size: 40 }, 409),
        (
            refusal(20, &AddCheckpoint { old_size: 41, ..request(&log, 20, 40) }),
            Refusal::OldAfterNew { size: 40, old: 41 },
            400,
        ),
    ];
    for (refusal, expected, status) in table {
        assert_eq!(refusal, expected);
        assert_eq!(refusal.http_status(), status);
        assert_eq!(refusal.is_evidence(), matches!(refusal, Refusal::Fork { .. }));
    }
    let forged = refusal(39, &request(&other, 38, 40));
    assert_eq!(forged, Refusal::StaleProof { old: 38, seen: 39 });
    // The history before what was seen was rewritten: no proof can be made of that.
    let rewritten = Log::of((0..40).map(|n| crate::log::event(n + u64::from(n > 3))));
    let refused = refusal(20, &request(&rewritten, 20, 40));
    assert!(matches!(refused, Refusal::Inconsistent { seen: 20, .. }));
    assert_eq!(refused.http_status(), 422);
    let padded = AddCheckpoint { proof: vec![Digest::ZERO], ..request(&log, 20, 20) };
    assert!(matches!(refusal(20, &padded), Refusal::Inconsistent { .. }));
}

#[test]
fn a_witness_knows_its_logs() {
    let log = Log::with(4);
    let stranger = SigningKey::from_seed(ORIGIN, KeyRole::Log, &[77; 32]).unwrap();
    let decide_with = |key: &SigningKey| decide(None, &request(&log, 0, 4), &[public(key)], &witness_key(1), 1);
    assert!(decide_with(log_key()).is_ok());
    let refused = decide_with(&stranger).unwrap_err();
    assert!(matches!(refused, Refusal::NotSigned(_)));
    assert_eq!(refused.http_status(), 403);
    let refused = decide_with(&witness_key(2)).unwrap_err();
    assert_eq!((refused.http_status(), refused), (404, Refusal::UnknownLog { origin: ORIGIN.to_owned() }));
    let refused = decide(None, &request(&log, 0, 4), &[public(log_key())], log_key(), 1).unwrap_err();
    assert!(matches!(refused, Refusal::CannotSign(_)));
}

#[test]
fn an_answer_of_another_witness_is_not_taken_over() {
    let note = Log::with(4).signed(4);
    let answer = cosign(&note, &witness_key(2), 1).unwrap().signatures()[1].to_string() + "\n";
    assert_eq!(note.with_lines(&answer, &[public(&witness_key(1))]), Err(NoteError::UnknownSigner));
    let other = cosign(&Log::with(5).signed(5), &witness_key(1), 1).unwrap().signatures()[1].to_string() + "\n";
    assert!(matches!(note.with_lines(&other, &[public(&witness_key(1))]), Err(NoteError::BadSignature { .. })));
    assert_eq!(note.with_lines("", &[public(&witness_key(1))]), Err(NoteError::Malformed));
}

#[test]
fn an_empty_log_has_one_root() {
    let empty = Log::with(0);
    assert_eq!(empty.checkpoint(0).root, empty_root());
    assert!(VerifiedCheckpoint::open(&empty.signed(0), &[public(log_key())]).is_ok());
}
