//! One text file that shows, with public keys and without a network, that a record is in the log.
//!
//! The format is C2SP `tlog-proof`; the `extra` line, which the format leaves to its users, carries the record itself:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra base64(canonical bytes of the record)
//! index 73894
//! base64(hash), one line for each level of the tree, from the leaf up
//!
//! the signed checkpoint with its cosignatures, as it was published
//! ```
//!
//! *Size.* A log of a million records has a tree of 20 levels. The proof proper, which is the header, the index and the
//! hashes ([`ProofFile::proof_bytes`]), is then at most 937 bytes. Not counted are the record (the `extra` line) and the
//! checkpoint, which is the same for every record that it covers: with one signature about 250 bytes, and about 130 for
//! each cosignature.

use std::fmt;

use reeve_types::{Digest, canonical_json};
use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint};
use crate::key::VerifyingKey;
use crate::merkle::{PROOF_HASHES_MAX, ProofError, leaf_hash, verify_inclusion};
use crate::note::{Cosigner, NOTE_BYTES_MAX, NoteError, SignedNote, Signer};
use crate::record::Place;
use crate::text::{decode, decode_decimal, decode_digest, encode};

/// Largest record in a proof, in bytes.
pub const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest proof file that is read, in bytes.
pub const PROOF_BYTES_MAX: usize = EVENT_BYTES_MAX / 3 * 4 + NOTE_BYTES_MAX + 8 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A record and everything that shows that it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// The canonical bytes of the record.
    pub event: Vec<u8>,
    /// Its place in the log.
    pub index: u64,
    /// The inclusion proof, from the leaf up.
    pub hashes: Vec<Digest>,
    /// The checkpoint that the proof leads to.
    pub checkpoint: SignedNote,
}

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// It is larger than any proof.
    #[error("the proof is longer than {PROOF_BYTES_MAX} bytes")]
    TooLong,
    /// It begins with another line.
    #[error("the text is not a proof: its first line must be `{HEADER}`")]
    WrongHeader,
    /// A line is missing or is not what should stand there.
    #[error("the proof cannot be read: {expected} is expected in line {line}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The checkpoint is not a note.
    #[error("the checkpoint of the proof cannot be read")]
    Note(#[source] NoteError),
    /// The checkpoint is not accepted.
    #[error("the checkpoint of the proof is not accepted")]
    Checkpoint(#[source] CheckpointError),
    /// The record is not a canonical JSON object with its place.
    #[error(
        "the record in the proof is not one of this log's form: it must be canonical JSON with `seq` and `prev_hash`"
    )]
    NotARecord,
    /// The record names another place than the proof.
    #[error("the record calls itself number {seq}, but the proof is for number {index}")]
    OtherPlace {
        /// The place in the record.
        seq: u64,
        /// The place in the proof.
        index: u64,
    },
    /// The hashes do not lead from the record to the checkpoint.
    #[error("the record is not shown to be in the log")]
    NotIncluded(#[source] ProofError),
}

/// A proof that held.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The record.
    pub event: Value,
    /// Its hash.
    pub event_hash: Digest,
    /// Its place in the log.
    pub index: u64,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
    /// Keys of the log that signed the checkpoint.
    pub signers: Vec<Signer>,
    /// Witnesses that cosigned it. How many are enough is for the reader to say.
    pub cosigners: Vec<Cosigner>,
}

impl ProofFile {
    /// Reads a proof strictly: what is accepted is written again byte for byte.
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofFileError::TooLong);
        }
        let malformed = |line, expected| ProofFileError::Malformed { line, expected };
        let body = text.strip_prefix(HEADER).and_then(|body| body.strip_prefix('\n'));
        let body = body.ok_or(ProofFileError::WrongHeader)?;
        let no_note = || malformed(1 + text.lines().count(), "an empty line before a checkpoint");
        let (head, note) = body.split_once("\n\n").ok_or_else(no_note)?;
        let mut lines = head.split('\n');
        let event = lines.next().and_then(|line| line.strip_prefix("extra ")).and_then(decode);
        let event = event.filter(|event| event.len() <= EVENT_BYTES_MAX);
        let event = event.ok_or(malformed(2, "`extra` and the record in base64"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decode_decimal);
        let index = index.ok_or(malformed(3, "`index` and a number"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(malformed(4 + hashes.len(), "an empty line"));
            }
            hashes.push(decode_digest(line).ok_or(malformed(4 + hashes.len(), "a hash in base64"))?);
        }
        let checkpoint = SignedNote::parse(note).map_err(ProofFileError::Note)?;
        Ok(Self { event, index, hashes, checkpoint })
    }

    /// Checks everything: the signatures by the given keys of logs and witnesses, the path from the record to the signed
    /// root, and that the record is canonical and names its own place.
    pub fn check(&self, keys: &[VerifyingKey]) -> Result<Checked, ProofFileError> {
        let VerifiedCheckpoint { checkpoint, signers, cosigners } =
            VerifiedCheckpoint::open(&self.checkpoint, keys).map_err(ProofFileError::Checkpoint)?;
        let (size, root) = (checkpoint.size, &checkpoint.root);
        verify_inclusion(&leaf_hash(&self.event), self.index, size, &self.hashes, root)
            .map_err(ProofFileError::NotIncluded)?;
        let event: Value = serde_json::from_slice(&self.event).map_err(|_| ProofFileError::NotARecord)?;
        if canonical_json(&event).ok().as_ref() != Some(&self.event) {
            return Err(ProofFileError::NotARecord);
        }
        let place: Place<'_> = serde_json::from_slice(&self.event).map_err(|_| ProofFileError::NotARecord)?;
        if place.seq != self.index {
            return Err(ProofFileError::OtherPlace { seq: place.seq, index: self.index });
        }
        Ok(Checked { event, event_hash: Digest::of(&self.event), index: self.index, checkpoint, signers, cosigners })
    }

    /// How long the proof proper is, in bytes: the file without the record and without the checkpoint.
    pub fn proof_bytes(&self) -> usize {
        let index = self.index.checked_ilog10().unwrap_or(0) as usize + 1;
        HEADER.len() + 1 + "index ".len() + index + 1 + self.hashes.len() * 45 + 1
    }
}

impl fmt::Display for ProofFile {
    /// The file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nextra {}\nindex {}", encode(&self.event), self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", encode(hash.as_bytes())))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
