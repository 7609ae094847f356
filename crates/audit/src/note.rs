//! Signed notes (C2SP `signed-note`): a text and lines of signatures under it.
//!
//! ```text
//! text, one or more lines
//!
//! — name base64(key id, signature)
//! ```

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::key::{KeyRole, VerifyingKey, is_key_name};
use crate::text::{decode, encode, shorten};

/// Largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Most signatures in a note.
pub const NOTE_SIGNATURES_MAX: usize = 64;
/// Latest time of a cosignature, in seconds since 1970.
pub const COSIGNATURE_TIME_MAX: u64 = i64::MAX as u64;

/// One line under a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub key_id: [u8; 4],
    /// What the key's algorithm made; for a witness eight bytes of time stand before it.
    pub signature: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    /// The line without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = self.key_id.to_vec();
        data.extend_from_slice(&self.signature);
        write!(f, "— {} {}", self.name, encode(&data))
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, data) = line.strip_prefix("— ")?.split_once(' ')?;
        let data = decode(data)?;
        let (key_id, signature) = data.split_first_chunk::<4>()?;
        (is_key_name(name) && !signature.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }

    fn is_by(&self, key: &VerifyingKey) -> bool {
        self.name == key.name() && self.key_id == key.id()
    }

    /// Checks the signature of a known key; a witness's carries the time.
    fn check(&self, text: &str, key: &VerifyingKey) -> Option<Option<u64>> {
        match key.role() {
            KeyRole::Log => {
                let signature = self.signature.as_slice().try_into().ok()?;
                key.verify(text.as_bytes(), signature).then_some(None)
            }
            KeyRole::Witness => {
                let (time, signature) = self.signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let fine = time <= COSIGNATURE_TIME_MAX
                    && key.verify(cosigned_message(text, time).as_bytes(), signature.try_into().ok()?);
                fine.then_some(Some(time))
            }
        }
    }
}

/// What a witness signs: a header line, the time, the whole text.
pub(crate) fn cosigned_message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Why a note is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is larger than any note needs to be.
    #[error("the note is longer than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// It has more signatures than any note needs.
    #[error("the note has more than {NOTE_SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// It is not a text, an empty line and signature lines.
    #[error("the text is not a signed note: a text, an empty line and lines that begin with a dash are expected")]
    Malformed,
    /// A line under the text is not a signature.
    #[error("`{line}` is not a signature line: `— name base64` is expected")]
    BadSignatureLine {
        /// The line, shortened.
        line: String,
    },
    /// A known key's signature does not fit the text.
    #[error("the signature of `{name}` does not fit the note: the note or the signature was changed")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// Two known keys have the same name and id.
    #[error("two of the given keys are called `{name}` and have the same id: give only one of them")]
    AmbiguousKey {
        /// The name of both.
        name: String,
    },
    /// None of the known keys signed it.
    #[error("the note is signed by none of the given keys")]
    UnknownSigner,
}

/// A note as it was read or made. Its text means nothing until [`SignedNote::verify`] has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A key that signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// Its name.
    pub name: String,
}

/// A witness that cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cosigner {
    /// Its name.
    pub name: String,
    /// When it says it did, in seconds since 1970.
    pub time: u64,
}

/// Who signed a note, each key once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Signers {
    /// Keys of logs.
    pub logs: Vec<Signer>,
    /// Keys of witnesses.
    pub witnesses: Vec<Cosigner>,
}

impl SignedNote {
    /// A note from parts that keep its rules.
    pub(crate) fn from_parts(text: String, signatures: Vec<NoteSignature>) -> Self {
        Self { text, signatures }
    }

    /// Reads a note strictly: what is accepted is written again byte for byte.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed);
        }
        // The text may hold empty lines itself: the last one ends it.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = note.split_at(at + 1);
        let signatures = parse_signatures(lines.strip_prefix('\n').ok_or(NoteError::Malformed)?)?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The signed text, with the line end at its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every signature line, of known keys or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks the signatures of the given keys; those of other keys are passed over.
    ///
    /// One wrong signature of a given key refuses the whole note, and so does the lack of any. A key that signed twice is
    /// counted once, a witness with its latest time.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Signers, NoteError> {
        let mut signers = Signers::default();
        let mut seen = BTreeSet::new();
        for line in &self.signatures {
            let mut known = keys.iter().filter(|key| line.is_by(key));
            let Some(key) = known.next() else { continue };
            if known.any(|other| other != key) {
                return Err(NoteError::AmbiguousKey { name: key.name().to_owned() });
            }
            let name = || key.name().to_owned();
            let time = line.check(&self.text, key).ok_or_else(|| NoteError::BadSignature { name: name() })?;
            let first = seen.insert((key.name(), key.id()));
            match time {
                None if first => signers.logs.push(Signer { name: name() }),
                Some(time) if first => signers.witnesses.push(Cosigner { name: name(), time }),
                None => {}
                Some(time) => {
                    let same = signers.witnesses.iter_mut().find(|witness| witness.name == key.name());
                    if let Some(witness) = same {
                        witness.time = witness.time.max(time);
                    }
                }
            }
        }
        if seen.is_empty() {
            return Err(NoteError::UnknownSigner);
        }
        Ok(signers)
    }

    /// The note with one more signature, in place of earlier ones by the same key.
    pub(crate) fn with_signature(&self, signature: NoteSignature) -> Result<Self, NoteError> {
        let mut signatures = self.signatures.clone();
        signatures.retain(|line| (&line.name, line.key_id) != (&signature.name, signature.key_id));
        if signatures.len() >= NOTE_SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        signatures.push(signature);
        Ok(Self { text: self.text.clone(), signatures })
    }

    /// Takes over the signature lines that a witness answered with. Lines of keys that are not given are left out; a
    /// wrong signature of a given key refuses the answer, and so does an answer without any.
    pub fn with_lines(&self, lines: &str, keys: &[VerifyingKey]) -> Result<Self, NoteError> {
        if lines.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let mut signatures = parse_signatures(lines)?;
        signatures.retain(|line| keys.iter().any(|key| line.is_by(key)));
        let answer = Self { text: self.text.clone(), signatures };
        answer.verify(keys)?;
        answer.signatures.into_iter().try_fold(self.clone(), |note, line| note.with_signature(line))
    }
}

fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == NOTE_SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        let bad = || NoteError::BadSignatureLine { line: shorten(line) };
        signatures.push(NoteSignature::parse(line).ok_or_else(bad)?);
    }
    Ok(signatures)
}

impl fmt::Display for SignedNote {
    /// The note as it is stored and sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    // The published note of the reference implementation.
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn peter() -> VerifyingKey {
        PUBLIC.parse().unwrap()
    }

    #[test]
    fn the_published_note_verifies() {
        let note = SignedNote::parse(NOTE).unwrap();
        assert_eq!(note.to_string(), NOTE);
        assert!(note.text().ends_with("problem is.\n"));
        let signers = note.verify(&[peter()]).unwrap();
        assert_eq!(signers.logs, [Signer { name: "PeterNeumann".to_owned() }]);
        assert!(signers.witnesses.is_empty());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = [peter()];
        for at in 0..NOTE.len() {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let verified = SignedNote::parse(&changed).and_then(|note| note.verify(&keys));
            assert!(verified.is_err(), "{at}");
        }
    }

    #[test]
    fn only_given_keys_count() {
        let stranger = SigningKey::from_seed("PeterNeumann", KeyRole::Log, &[1; 32]).unwrap();
        let note = SignedNote::parse(NOTE).unwrap();
        assert_eq!(note.verify(&[stranger.verifying_key().clone()]), Err(NoteError::UnknownSigner));
        assert_eq!(note.verify(&[]), Err(NoteError::UnknownSigner));
        let twice = SignedNote::parse(&format!("{NOTE}{}", &NOTE[NOTE.rfind('—').unwrap()..])).unwrap();
        assert_eq!(twice.verify(&[peter(), peter()]).unwrap().logs.len(), 1);
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = &NOTE[NOTE.rfind('—').unwrap()..];
        let table = [
            (String::new(), NoteError::Malformed),
            ("text\n".to_owned(), NoteError::Malformed),
            (format!("text\n{line}"), NoteError::Malformed),
            ("text\n\n".to_owned(), NoteError::Malformed),
            (format!("te\txt\n\n{line}"), NoteError::Malformed),
            (format!("te\rxt\n\n{line}"), NoteError::Malformed),
            (NOTE.trim_end().to_owned(), NoteError::Malformed),
            ("text\n\n- a AAAAAAA=\n".to_owned(), NoteError::BadSignatureLine { line: "- a AAAAAAA=".to_owned() }),
            ("text\n\n— a AAAA\n".to_owned(), NoteError::BadSignatureLine { line: "— a AAAA".to_owned() }),
            ("text\n\n— a  AAAAAAA=\n".to_owned(), NoteError::BadSignatureLine { line: "— a  AAAAAAA=".to_owned() }),
            (format!("text\n\n{}", line.repeat(65)), NoteError::TooManySignatures),
            (format!("{}\n\n{line}", "x".repeat(NOTE_BYTES_MAX)), NoteError::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(SignedNote::parse(&text), Err(error), "{text:.80}");
        }
    }
}
