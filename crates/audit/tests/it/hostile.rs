//! Texts from anywhere: never a panic, and what is accepted has one spelling.

use proptest::prelude::*;
use reeve_audit::{AddCheckpoint, ChainVerifier, Checkpoint, ProofFile, SignedNote, SigningKey, VerifyingKey};
use reeve_types::Digest;

use crate::log::{Log, log_key, public};

/// A valid text with a piece taken out, doubled or replaced.
fn mangled(text: String) -> impl Strategy<Value = String> {
    let chars: Vec<char> = text.chars().collect();
    (0..chars.len(), 0..20usize, "[\\n —=+/0-9a-zA-Z\\PC]{0,6}", any::<bool>()).prop_map(
        move |(at, len, piece, keep)| {
            let end = (at + len).min(chars.len());
            let middle: String = if keep { chars[at..end].iter().collect() } else { String::new() };
            let (head, tail): (String, String) = (chars[..at].iter().collect(), chars[end..].iter().collect());
            format!("{head}{middle}{piece}{middle}{tail}")
        },
    )
}

fn read_everything(text: &str) {
    let keys = [public(log_key())];
    if let Ok(note) = SignedNote::parse(text) {
        assert_eq!(note.to_string(), text);
        let _ = note.verify(&keys);
    }
    if let Ok(proof) = ProofFile::parse(text) {
        assert_eq!(proof.to_string(), text);
        let _ = proof.check(&keys);
    }
    if let Ok(request) = AddCheckpoint::parse(text) {
        assert_eq!(request.to_string(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert!(text.starts_with(&checkpoint.to_string()));
    }
    if let Ok(key) = text.parse::<VerifyingKey>() {
        assert_eq!(key.to_string(), text);
    }
    let _ = SigningKey::decode(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_text_is_read_without_panic(text in "[\\n —=+/0-9a-zA-Z\\PC]{0,200}") {
        read_everything(&text);
    }

    #[test]
    fn any_mangled_proof_is_read_without_panic(text in mangled(Log::with(9).proof(4, 9).to_string())) {
        read_everything(&text);
    }

    #[test]
    fn any_mangled_note_is_read_without_panic(text in mangled(Log::with(9).signed(9).to_string())) {
        read_everything(&text);
        read_everything(&format!("old 0\n\n{text}"));
    }

    #[test]
    fn any_mangled_key_is_read_without_panic(text in mangled(public(log_key()).to_string())) {
        read_everything(&text);
        read_everything(&format!("PRIVATE+KEY+{text}"));
    }

    #[test]
    fn any_records_are_verified_without_panic(records in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8), sizes in prop::collection::vec(any::<u64>(), 0..4)) {
        let checkpoints = sizes.into_iter().map(|size| Checkpoint { origin: "a".to_owned(), size, root: Digest::ZERO });
        let mut verifier = ChainVerifier::with_checkpoints(checkpoints);
        for (seq, bytes) in &records {
            verifier.feed(*seq, bytes, &Digest::of(bytes));
        }
        let verdict = verifier.finish();
        prop_assert_eq!(verdict.total_events, records.len() as u64);
        prop_assert!(!verdict.valid || records.is_empty());
    }
}
