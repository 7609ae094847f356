//! What a witness decides (C2SP `tlog-witness`): whether a log has only grown since the witness last looked.
//!
//! The decision is a pure function of what was last seen and what is shown now. Whoever calls it keeps [`Seen`] for each
//! log, and stores the new one, in one transaction with reading the old one, *before* handing out the cosignature;
//! otherwise two requests at once could make the witness sign two histories.

use std::fmt;

use reeve_types::Digest;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, VerifiedCheckpoint, cosignature};
use crate::key::{KeyRole, SigningKey, VerifyingKey};
use crate::merkle::{ProofError, empty_root, verify_consistency};
use crate::note::{NOTE_BYTES_MAX, NoteError, SignedNote};
use crate::text::{decode_decimal, decode_digest, encode, shorten};

/// Most hashes of a consistency proof in a request.
pub const REQUEST_HASHES_MAX: usize = 63;
/// Largest request that is read, in bytes.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 4 * 1024;

/// The head of a log that a witness cosigned last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many records the log had.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// What a log asks of a witness: the body of `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the log believes the witness has seen last.
    pub old_size: u64,
    /// The consistency proof from that size to the checkpoint.
    pub proof: Vec<Digest>,
    /// The signed checkpoint.
    pub note: SignedNote,
}

/// The text is not a request to a witness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It has another shape.
    #[error("the request is not `old SIZE`, at most {REQUEST_HASHES_MAX} hashes, an empty line and a checkpoint")]
    Malformed,
    /// The checkpoint in it is not a note.
    #[error("the checkpoint in the request cannot be read")]
    Note(#[source] NoteError),
}

impl AddCheckpoint {
    /// Reads the body of a request strictly.
    pub fn parse(body: &str) -> Result<Self, BadRequest> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(BadRequest::Malformed);
        }
        let (head, note) = body.split_once("\n\n").ok_or(BadRequest::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decode_decimal);
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == REQUEST_HASHES_MAX {
                return Err(BadRequest::Malformed);
            }
            proof.push(decode_digest(line).ok_or(BadRequest::Malformed)?);
        }
        let note = SignedNote::parse(note).map_err(BadRequest::Note)?;
        Ok(Self { old_size: old.ok_or(BadRequest::Malformed)?, proof, note })
    }
}

impl fmt::Display for AddCheckpoint {
    /// The body to send.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", encode(hash.as_bytes())))?;
        write!(f, "\n{}", self.note)
    }
}

/// What a witness agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The note with the witness's line.
    pub note: SignedNote,
    /// The witness's line alone, with its line end: the answer to the request.
    pub line: String,
    /// What the witness has now seen last; to be stored before the answer is given.
    pub seen: Seen,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The witness has no key of that log.
    #[error("the witness does not know the log `{origin}`: give it the public key of that log")]
    UnknownLog {
        /// The log that the checkpoint names, shortened.
        origin: String,
    },
    /// The log's signature is missing or wrong.
    #[error("the checkpoint is not signed by the log that it names")]
    NotSigned(#[source] CheckpointError),
    /// The note is not a checkpoint.
    #[error("the note is not a checkpoint")]
    NotACheckpoint(#[source] CheckpointError),
    /// The checkpoint is older than the size from which the proof is to start.
    #[error("the checkpoint has {size} records, fewer than the {old} from which the proof starts")]
    OldAfterNew {
        /// The size of the checkpoint.
        size: u64,
        /// The claimed old size.
        old: u64,
    },
    /// The log is shorter than it was: records have been taken back, or an old checkpoint was shown again.
    #[error(
        "the checkpoint has {size} records, but the witness has seen {seen}: send a newer one, or ask where they went"
    )]
    Rollback {
        /// The size of the checkpoint.
        size: u64,
        /// The size last seen.
        seen: u64,
    },
    /// The proof starts from another size than the one last seen.
    #[error("the proof starts at {old} records, but the witness has seen {seen}: send a proof from there")]
    StaleProof {
        /// The claimed old size.
        old: u64,
        /// The size last seen.
        seen: u64,
    },
    /// The log shows another root for a size that was already cosigned.
    #[error("the log shows two different histories of its first {size} records")]
    Fork {
        /// The size at which they differ.
        size: u64,
    },
    /// The proof does not show that the log has only grown.
    #[error("the proof does not show that the first {seen} records are still the same")]
    Inconsistent {
        /// The size last seen.
        seen: u64,
        /// What is wrong with the proof.
        #[source]
        source: ProofError,
    },
    /// The witness's own key or clock does not serve.
    #[error("the witness cannot sign")]
    CannotSign(#[source] CheckpointError),
}

impl Refusal {
    /// The status that the C2SP protocol answers with.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::UnknownLog { .. } => 404,
            Self::NotSigned(_) => 403,
            Self::NotACheckpoint(_) | Self::OldAfterNew { .. } => 400,
            Self::Rollback { .. } | Self::StaleProof { .. } | Self::Fork { .. } => 409,
            Self::Inconsistent { .. } => 422,
            Self::CannotSign(_) => 500,
        }
    }

    /// Whether it shows, by the log's own signatures, that the log was rewritten: to be kept and reported, not retried.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::Fork { .. })
    }
}

/// Decides on a request. `last` is what the witness has seen last of the log that the checkpoint names, none when it has
/// seen nothing; `keys` are the public keys of the logs it watches; `unix_time` is the time now in seconds since 1970.
pub fn decide(
    last: Option<&Seen>,
    request: &AddCheckpoint,
    keys: &[VerifyingKey],
    witness: &SigningKey,
    unix_time: u64,
) -> Result<Cosigned, Refusal> {
    let shown = signed_by_its_log(request, keys)?;
    let seen = last.copied().unwrap_or_else(|| Seen { size: 0, root: empty_root() });
    let old = request.old_size;
    if old > shown.size {
        return Err(Refusal::OldAfterNew { size: shown.size, old });
    }
    if shown.size < seen.size {
        return Err(Refusal::Rollback { size: shown.size, seen: seen.size });
    }
    if shown.size == seen.size && shown.root != seen.root {
        return Err(Refusal::Fork { size: seen.size });
    }
    if old != seen.size {
        return Err(Refusal::StaleProof { old, seen: seen.size });
    }
    verify_consistency(seen.size, &seen.root, shown.size, &shown.root, &request.proof)
        .map_err(|source| Refusal::Inconsistent { seen: seen.size, source })?;
    let line = cosignature(&request.note, witness, unix_time).map_err(Refusal::CannotSign)?;
    let text = format!("{line}\n");
    let note = request.note.with_signature(line).map_err(|error| Refusal::CannotSign(error.into()))?;
    Ok(Cosigned { note, line: text, seen: shown })
}

/// The head that the request shows, when one of the given keys of that log signed it.
fn signed_by_its_log(request: &AddCheckpoint, keys: &[VerifyingKey]) -> Result<Seen, Refusal> {
    let named = crate::Checkpoint::parse(request.note.text()).map_err(Refusal::NotACheckpoint)?;
    let own: Vec<VerifyingKey> =
        keys.iter().filter(|key| key.role() == KeyRole::Log && key.name() == named.origin).cloned().collect();
    if own.is_empty() {
        return Err(Refusal::UnknownLog { origin: shorten(&named.origin) });
    }
    let verified = VerifiedCheckpoint::open(&request.note, &own).map_err(Refusal::NotSigned)?;
    Ok(Seen { size: verified.checkpoint.size, root: verified.checkpoint.root })
}
