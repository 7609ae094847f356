//! The log that people can check without trusting whoever keeps it.
//!
//! Each record is canonical JSON ([`seal`]), linked to the one before by its hash and placed as a leaf in a Merkle tree
//! (RFC 6962, RFC 9162). A [`Checkpoint`] is the signed head of that tree; a witness elsewhere cosigns it after checking
//! that nothing was taken back ([`witness`]). From then on a [`ProofFile`] shows to anyone with the public keys, and with
//! no network, that one record is in the log, and [`ChainVerifier`] re-checks a whole log against every checkpoint.
//!
//! The formats are those of C2SP (<https://c2sp.org>): `signed-note`, `tlog-checkpoint`, `tlog-cosignature`,
//! `tlog-witness`, `tlog-tiles`, `tlog-proof`.
//!
//! This crate does no I/O and reads neither a clock nor a source of randomness; both come in as values. What the chain
//! alone cannot show, a cut tail or a log rewritten from some record on, shows only against a checkpoint that was kept
//! somewhere its keeper cannot write.
//!
//! ```
//! use reeve_audit::*;
//! use reeve_types::{Digest, Event, EventType, TenantId, TraceId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now: jiff::Timestamp = "2026-03-01T12:00:00Z".parse()?;
//! let event = Event::new(EventType::Lifecycle, TenantId::default_tenant(), TraceId::new("tr", now, 1), now, 1);
//! let record = seal(&event, 0, Digest::ZERO)?;
//!
//! let mut tree = TiledTree::new();
//! tree.append(record.leaf_hash);
//! let key = SigningKey::from_seed("reeve.example/audit", KeyRole::Log, &[1; 32])?;
//! let head = Checkpoint { origin: key.name().to_owned(), size: tree.size(), root: tree.root() };
//!
//! let hashes = inclusion_proof(0, tree.size(), &LeafHashes(&[record.leaf_hash]))?;
//! let proof = ProofFile { event: record.canonical, index: 0, hashes, checkpoint: sign(&head, &key)? };
//! let checked = ProofFile::parse(&proof.to_string())?.check(&[key.verifying_key().clone()])?;
//! assert_eq!(checked.event["event_type"], "lifecycle");
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod key;
pub mod legacy;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod proof_file;
pub mod record;
mod text;
pub mod tiles;
pub mod verify;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint, cosign, sign};
pub use key::{KeyError, KeyRole, SigningKey, VerifyingKey};
pub use legacy::{LegacyError, legacy_event_hash};
pub use merkle::{Frontier, ProofError, empty_root, leaf_hash, node_hash, verify_consistency, verify_inclusion};
pub use note::{Cosigner, NoteError, NoteSignature, SignedNote, Signer, Signers};
pub use proof::{Hashes, LeafHashes, MissingHash, ProveError, Subtree, consistency_proof, inclusion_proof};
pub use proof_file::{Checked, ProofFile, ProofFileError};
pub use record::{SealError, Sealed, ServeError, seal, served_json};
pub use tiles::{Fetched, Read, Tile, TileId, TiledTree};
pub use verify::{Break, BreakReason, ChainVerifier, Completeness, Integrity, SeqRange, Verdict};
pub use witness::{AddCheckpoint, Cosigned, Refusal, Seen};
