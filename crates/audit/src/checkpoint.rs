//! Checkpoints (C2SP `tlog-checkpoint`): the signed head of a log, and what witnesses add to it (`tlog-cosignature`).

use std::fmt;

use reeve_types::Digest;
use serde::Serialize;

use crate::key::{KeyRole, SigningKey, VerifyingKey, is_key_name};
use crate::merkle::empty_root;
use crate::note::{COSIGNATURE_TIME_MAX, Cosigner, NoteError, NoteSignature, SignedNote, Signer, cosigned_message};
use crate::text::{decode_decimal, decode_digest, encode, shorten};

/// The head of a log: all its records up to a size, in one digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Checkpoint {
    /// Which log; the name of its key.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Digest,
}

/// Why a checkpoint is not accepted or not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is not a checkpoint.
    #[error("the text is not a checkpoint: three lines with origin, size and root are expected")]
    Malformed,
    /// The root of a log without records is another one.
    #[error("the checkpoint has no records but another root than that of the empty log")]
    WrongEmptyRoot,
    /// The signatures are not in order.
    #[error("the signatures of the checkpoint are not accepted")]
    Note(#[from] NoteError),
    /// No key of the log that it names signed it.
    #[error("no given key of the log `{origin}` signed the checkpoint: give the public key of that log")]
    NotByItsLog {
        /// The log that it names, shortened.
        origin: String,
    },
    /// The key's name is not the log's.
    #[error("the key `{key}` cannot sign for the log `{origin}`: both must have the same name")]
    OtherOrigin {
        /// The key's name.
        key: String,
        /// The log's, shortened.
        origin: String,
    },
    /// A witness's key was to sign, or a log's key to cosign.
    #[error("the key `{key}` is for another role: a log signs with a key of type 1, a witness with one of type 4")]
    WrongRole {
        /// The key's name.
        key: String,
    },
    /// The time cannot be written.
    #[error("{time} is not a time in seconds since 1970 that a cosignature can carry")]
    BadTime {
        /// The time.
        time: u64,
    },
}

impl Checkpoint {
    /// Reads the text of a checkpoint. Lines after the third are passed over, as the format asks; they stay in the note.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let mut lines = body.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Malformed);
        let origin = line()?.to_owned();
        let size = decode_decimal(line()?).ok_or(CheckpointError::Malformed)?;
        let root = decode_digest(line()?).ok_or(CheckpointError::Malformed)?;
        if lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed);
        }
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::WrongEmptyRoot);
        }
        Ok(Self { origin, size, root })
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, encode(self.root.as_bytes()))
    }
}

/// A checkpoint whose signatures have been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Keys of the log that signed it; at least one.
    pub signers: Vec<Signer>,
    /// Witnesses that cosigned it.
    pub cosigners: Vec<Cosigner>,
}

impl VerifiedCheckpoint {
    /// Checks a note against keys of logs and witnesses and reads the checkpoint in it.
    ///
    /// It must be signed by a key with the name of the log that it is about, so that the key of one log cannot speak for
    /// another. How many witnesses are enough is for the caller to say.
    pub fn open(note: &SignedNote, keys: &[VerifyingKey]) -> Result<Self, CheckpointError> {
        let signers = note.verify(keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let mut logs = signers.logs;
        logs.retain(|signer| signer.name == checkpoint.origin);
        if logs.is_empty() {
            return Err(CheckpointError::NotByItsLog { origin: shorten(&checkpoint.origin) });
        }
        Ok(Self { checkpoint, signers: logs, cosigners: signers.witnesses })
    }
}

/// Signs a checkpoint with the key of its log. Whoever calls makes sure that it continues every one signed before.
pub fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> Result<SignedNote, CheckpointError> {
    if key.role() != KeyRole::Log {
        return Err(CheckpointError::WrongRole { key: key.name().to_owned() });
    }
    if checkpoint.origin != key.name() || !is_key_name(&checkpoint.origin) {
        let origin = shorten(&checkpoint.origin);
        return Err(CheckpointError::OtherOrigin { key: key.name().to_owned(), origin });
    }
    if checkpoint.size == 0 && checkpoint.root != empty_root() {
        return Err(CheckpointError::WrongEmptyRoot);
    }
    let text = checkpoint.to_string();
    let signature = line(key, key.sign(text.as_bytes()).to_vec());
    Ok(SignedNote::from_parts(text, vec![signature]))
}

/// Adds the cosignature of a witness at a time, in seconds since 1970, in place of an earlier one of the same witness.
///
/// It says that the witness has seen no larger and no other tree of that log: see [`crate::witness::decide`], which
/// checks that first.
pub fn cosign(note: &SignedNote, witness: &SigningKey, unix_time: u64) -> Result<SignedNote, CheckpointError> {
    Checkpoint::parse(note.text())?;
    Ok(note.with_signature(cosignature(note, witness, unix_time)?)?)
}

pub(crate) fn cosignature(
    note: &SignedNote,
    witness: &SigningKey,
    unix_time: u64,
) -> Result<NoteSignature, CheckpointError> {
    if witness.role() != KeyRole::Witness {
        return Err(CheckpointError::WrongRole { key: witness.name().to_owned() });
    }
    if unix_time > COSIGNATURE_TIME_MAX {
        return Err(CheckpointError::BadTime { time: unix_time });
    }
    let mut signature = unix_time.to_be_bytes().to_vec();
    signature.extend_from_slice(&witness.sign(cosigned_message(note.text(), unix_time).as_bytes()));
    Ok(line(witness, signature))
}

fn line(key: &SigningKey, signature: Vec<u8>) -> NoteSignature {
    NoteSignature { name: key.name().to_owned(), key_id: key.verifying_key().id(), signature }
}
