//! Proof files: what they show, and what they do not let through.

use reeve_audit::{
    Checkpoint, Hashes, KeyRole, LeafHashes, ProofFile, ProofFileError, SigningKey, Subtree, cosign, inclusion_proof,
    leaf_hash, node_hash, seal, sign,
};
use reeve_types::Digest;

use crate::log::{Log, ORIGIN, event, log_key, public, root, witness_key};

fn keys() -> Vec<reeve_audit::VerifyingKey> {
    vec![public(log_key()), public(&witness_key(1))]
}

#[test]
fn a_proof_shows_its_record_to_whoever_has_the_keys() {
    let log = Log::with(100);
    let mut proof = log.proof(41, 90);
    proof.checkpoint = cosign(&proof.checkpoint, &witness_key(1), 1_770_000_000).unwrap();
    let text = proof.to_string();
    let read = ProofFile::parse(&text).unwrap();
    assert_eq!(read, proof);
    assert_eq!(read.to_string(), text);
    let checked = read.check(&keys()).unwrap();
    assert_eq!(checked.event["note"], "event 41");
    assert_eq!((checked.index, checked.event_hash), (41, log.records[41].event_hash));
    assert_eq!(checked.checkpoint, log.checkpoint(90));
    assert_eq!((checked.signers.len(), checked.cosigners.len()), (1, 1));
    let without_witness = read.check(&keys()[..1]).unwrap();
    assert_eq!(without_witness.cosigners, []);
}

#[test]
fn every_record_of_a_log_has_a_proof() {
    let log = Log::with(12);
    let keys = keys();
    for size in 1..=12 {
        for index in 0..size {
            let text = log.proof(index, size).to_string();
            assert_eq!(ProofFile::parse(&text).unwrap().check(&keys).unwrap().index, index as u64);
        }
    }
}

#[test]
fn the_file_reads_as_the_format_says() {
    let text = Log::with(3).proof(1, 3).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    assert!(lines[1].starts_with("extra eyJ"));
    assert_eq!(lines[2], "index 1");
    assert_eq!((lines[3].len(), lines[4].len()), (44, 44));
    assert_eq!((lines[5], lines[6], lines[7]), ("", ORIGIN, "3"));
    assert!(lines[10].starts_with("— reeve.example/audit "));
    assert_eq!(lines.len(), 11);
}

#[test]
fn a_changed_character_is_noticed_anywhere() {
    let text = Log::with(7).proof(3, 7).to_string();
    let keys = [public(log_key())];
    // Of the record, which is long and all in one line, every seventh will do.
    let record = text.find("extra ").unwrap()..text.find("\nindex").unwrap();
    for at in (0..text.len()).filter(|at| !record.contains(at) || at % 7 == 0) {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let checked = ProofFile::parse(&changed).and_then(|proof| proof.check(&keys).map(drop));
        assert!(checked.is_err(), "character {at}");
    }
}

#[test]
fn a_proof_without_a_trusted_key_shows_nothing() {
    let proof = Log::with(4).proof(2, 4);
    let stranger = SigningKey::from_seed(ORIGIN, KeyRole::Log, &[8; 32]).unwrap();
    for keys in [vec![], vec![public(&stranger)], vec![public(&witness_key(1))]] {
        assert!(matches!(proof.check(&keys), Err(ProofFileError::Checkpoint(_))));
    }
}

#[test]
fn parts_of_two_proofs_do_not_make_a_third() {
    let log = Log::with(16);
    let (a, b) = (log.proof(5, 16), log.proof(6, 16));
    let mixed = [
        ProofFile { event: b.event.clone(), ..a.clone() },
        ProofFile { index: 6, ..a.clone() },
        ProofFile { hashes: b.hashes.clone(), ..a.clone() },
        ProofFile { checkpoint: log.signed(15), ..a.clone() },
        ProofFile { index: 16, ..a.clone() },
        ProofFile { index: u64::MAX, ..a },
    ];
    for proof in mixed {
        assert!(matches!(proof.check(&keys()), Err(ProofFileError::NotIncluded(_))), "{proof}");
    }
}

/// A log signed by its own key over leaves that are not proper records.
fn proof_over(leaves: &[&[u8]], index: usize) -> ProofFile {
    let hashes: Vec<Digest> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let size = hashes.len() as u64;
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: root(&hashes) };
    ProofFile {
        event: leaves[index].to_vec(),
        index: index as u64,
        hashes: inclusion_proof(index as u64, size, &LeafHashes(&hashes)).unwrap(),
        checkpoint: sign(&checkpoint, log_key()).unwrap(),
    }
}

#[test]
fn a_leaf_that_is_no_canonical_record_is_refused() {
    let zeros = Digest::ZERO;
    let two_readings = format!(r#"{{"event_id":"a","note":"x","note":"y","prev_hash":"{zeros}","seq":0}}"#);
    let spaced = format!(r#"{{"event_id":"a", "prev_hash":"{zeros}","seq":0}}"#);
    let unplaced = r#"{"event_id":"a"}"#.to_owned();
    for leaf in [two_readings, spaced, unplaced, "not JSON".to_owned(), String::new()] {
        let refused = proof_over(&[leaf.as_bytes()], 0).check(&keys());
        assert!(matches!(refused, Err(ProofFileError::NotARecord)), "{leaf}: {refused:?}");
    }
    let moved = seal(&event(0), 9, zeros).unwrap().canonical;
    let refused = proof_over(&[&moved], 0).check(&keys());
    assert!(matches!(refused, Err(ProofFileError::OtherPlace { seq: 9, index: 0 })));
    // An inner node is not a leaf, although it hashes to the same place in a smaller tree.
    let inner = [&[1u8][..], Digest::of(b"l").as_bytes(), Digest::of(b"r").as_bytes()].concat();
    assert!(proof_over(&[&inner], 0).check(&keys()).is_err());
}

/// A log of any size in which only one record is real: every other perfect subtree has a made-up root.
struct OneRecord {
    index: u64,
    leaf: Digest,
}

impl OneRecord {
    /// The root over leaves from one place up to, without, another.
    fn root(&self, from: u64, to: u64) -> Digest {
        let leaves = to - from;
        if leaves == 1 && from == self.index {
            return self.leaf;
        }
        if leaves.is_power_of_two() && !(from..to).contains(&self.index) {
            return Digest::of_parts(&[&from.to_be_bytes(), &to.to_be_bytes()]);
        }
        let middle = from + leaves.next_power_of_two() / 2;
        node_hash(&self.root(from, middle), &self.root(middle, to))
    }
}

impl Hashes for OneRecord {
    type Error = std::convert::Infallible;

    fn subtree(&self, at: Subtree) -> Result<Digest, Self::Error> {
        Ok(self.root(at.index << at.level, (at.index + 1) << at.level))
    }
}

#[test]
fn a_proof_of_a_million_records_is_small() {
    let (index, size) = (123_456, 1_000_000);
    let sealed = seal(&event(0), index, Digest::ZERO).unwrap();
    let tree = OneRecord { index, leaf: sealed.leaf_hash };
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.root(0, size) };
    let hashes = inclusion_proof(index, size, &tree).unwrap();
    let checkpoint = sign(&checkpoint, log_key()).unwrap();
    let proof = ProofFile { event: sealed.canonical, index, hashes, checkpoint };
    proof.check(&keys()).unwrap();
    assert_eq!(proof.hashes.len(), 20);
    let text = proof.to_string();
    let extra = text.lines().nth(1).unwrap().len() + 1;
    let note = proof.checkpoint.to_string().len();
    // What is counted: header, index, hashes and the empty line.
    assert_eq!(proof.proof_bytes(), text.len() - extra - note);
    assert_eq!(proof.proof_bytes(), 937);
    assert!(proof.proof_bytes() <= 1024);
    // With the checkpoint, which is the same for every record.
    assert!(text.len() - extra <= 1200, "{}", text.len() - extra);
}
