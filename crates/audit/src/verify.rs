//! Checking a whole log, record by record, with no more memory than a few hundred bytes.
//!
//! *Integrity* asks whether what is there is what was written; *completeness* whether everything that was written is
//! there. The chain of hashes alone answers the first only against accidents, because whoever can write the log can also
//! compute new hashes, and the second not at all for the newest records. Both are answered by checkpoints whose
//! signatures were checked before and which come from a place that the log's keeper cannot write. The verdict says which
//! records such a checkpoint vouches for and which it does not.

use reeve_types::Digest;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::merkle::{Frontier, leaf_hash};
use crate::record::Place;

/// Why a record is not in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BreakReason {
    /// A number is missing, comes twice or comes too early.
    #[error("number {expected} should come next, but number {found} does: records were removed, added or moved")]
    SequenceGap {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The bytes do not hash to the stored hash.
    #[error("its bytes do not have its hash: the record was changed")]
    HashMismatch,
    /// The bytes are not a record.
    #[error("its bytes are not a record with `seq`, `prev_hash` and `event_id`: the record was replaced")]
    Unreadable,
    /// The number inside the bytes is another one.
    #[error("it calls itself number {inside}: the record was moved")]
    OtherSeq {
        /// The number inside the bytes.
        inside: u64,
    },
    /// It links to another record than the one before it.
    #[error("it does not link to the record before it: that one was changed, or one was removed or added")]
    LinkBroken,
    /// The records up to here are not those of a checkpoint.
    #[error("the records up to number {last} are not those that the checkpoint of {size} records was signed for")]
    OtherHistory {
        /// The last record that the checkpoint covers.
        last: u64,
        /// The checkpoint's size.
        size: u64,
    },
}

/// The first place where a log is not in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} is not in order")]
pub struct Break {
    /// The record at which it shows; for [`BreakReason::OtherHistory`] the first that no earlier checkpoint vouches for.
    pub seq: u64,
    /// What is wrong.
    #[source]
    pub reason: BreakReason,
}

/// Whether what is there is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// Every record has its hash and links to the one before; every checkpoint that could be compared agrees.
    Intact,
    /// Something was changed.
    Broken,
}

/// Whether everything that was written is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Every record that the newest checkpoint covers is there. Records after it may have been cut off unseen.
    Complete,
    /// Records are missing.
    Incomplete,
    /// There was no checkpoint to compare with, or the newest one does not agree: whether records were taken out or cut
    /// off cannot be told.
    Unknown,
}

/// Records from one number to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SeqRange {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

impl SeqRange {
    /// The records from a number up to, without, another; none when there are none.
    fn until(from: u64, end: u64) -> Option<Self> {
        (from < end).then(|| Self { from, to: end - 1 })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Nothing was changed and nothing is known to be missing.
    pub valid: bool,
    /// Whether what is there is what was written.
    pub integrity: Integrity,
    /// Whether everything that was written is there.
    pub completeness: Completeness,
    /// How many records were read.
    pub total_events: u64,
    /// Id of the first record that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event_id: Option<String>,
    /// Id of the last record that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
    /// Hash of the last record, computed from its bytes; zeros when there is none.
    pub last_hash: Digest,
    /// The first place that is not in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Root of the Merkle tree over the records, up to the first gap.
    pub root: Digest,
    /// How many checkpoints were compared and agree.
    pub checkpoints_checked: u64,
    /// Records that a checkpoint vouches for.
    pub anchored: Vec<SeqRange>,
    /// Records that only the chain vouches for.
    pub unanchored: Vec<SeqRange>,
    /// Records that are known to be missing.
    pub missing: Vec<SeqRange>,
}

/// Checks records as they are fed, in order.
#[derive(Debug, Clone)]
pub struct ChainVerifier {
    start: u64,
    /// The number that should come next.
    next: u64,
    total: u64,
    last_hash: Digest,
    first_event_id: Option<String>,
    last_event_id: String,
    tree: Frontier,
    /// Checkpoints still to be compared, the smallest last.
    awaited: Vec<Checkpoint>,
    agreed: u64,
    anchored_until: u64,
    /// The size of the largest checkpoint given.
    newest: Option<u64>,
    broken: Option<Break>,
    missing: Option<SeqRange>,
}

impl Default for ChainVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl ChainVerifier {
    /// For a log from its first record, without checkpoints.
    pub fn new() -> Self {
        Self::with_checkpoints([])
    }

    /// For a log from its first record, to be compared with checkpoints of that log whose signatures have been checked.
    pub fn with_checkpoints(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        Self::resume(Frontier::new(), Digest::ZERO, checkpoints)
    }

    /// For the rest of a log whose earlier records have been verified: the tree over them and the hash of the last one.
    /// Checkpoints smaller than that tree are passed over.
    pub fn resume(tree: Frontier, last_hash: Digest, checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let start = tree.size();
        let mut awaited: Vec<Checkpoint> = checkpoints.into_iter().filter(|known| known.size >= start).collect();
        awaited.sort_by_key(|known| std::cmp::Reverse(known.size));
        let mut verifier = Self {
            start,
            next: start,
            total: 0,
            last_hash,
            first_event_id: None,
            last_event_id: String::new(),
            tree,
            newest: awaited.first().map(|known| known.size),
            awaited,
            agreed: 0,
            anchored_until: start,
            broken: None,
            missing: None,
        };
        verifier.compare();
        verifier
    }

    /// Takes the next record: its number, its canonical bytes and its hash, as they are stored.
    ///
    /// Goes on after a break, so that the verdict counts everything; see [`ChainVerifier::broken`] to stop early.
    pub fn feed(&mut self, seq: u64, canonical: &[u8], stored_hash: &Digest) {
        self.total += 1;
        let hash = Digest::of(canonical);
        let place = serde_json::from_slice::<Place<'_>>(canonical).ok();
        let reason = if seq != self.next {
            Some(BreakReason::SequenceGap { expected: self.next, found: seq })
        } else if hash != *stored_hash {
            Some(BreakReason::HashMismatch)
        } else {
            self.check_place(seq, place.as_ref())
        };
        self.note_missing(seq);
        if let Some(reason) = reason {
            self.break_at(seq, reason);
        }
        if let Some(place) = place {
            self.last_event_id.clear();
            self.last_event_id.push_str(&place.event_id);
            self.first_event_id.get_or_insert_with(|| place.event_id.into_owned());
        }
        self.last_hash = hash;
        if seq == self.tree.size() {
            self.tree.append(leaf_hash(canonical));
            self.compare();
        }
        self.next = self.next.max(seq.saturating_add(1));
    }

    /// Remembers the first gap, and shrinks it when what was missing comes late.
    fn note_missing(&mut self, seq: u64) {
        match self.missing {
            None if seq > self.next => self.missing = SeqRange::until(self.next, seq),
            Some(SeqRange { from, to }) if seq == from => {
                self.missing = SeqRange::until(from.saturating_add(1), to + 1)
            }
            None | Some(_) => {}
        }
    }

    fn check_place(&self, seq: u64, place: Option<&Place<'_>>) -> Option<BreakReason> {
        let Some(place) = place else { return Some(BreakReason::Unreadable) };
        if place.seq != seq {
            return Some(BreakReason::OtherSeq { inside: place.seq });
        }
        (place.prev_hash.parse::<Digest>() != Ok(self.last_hash)).then_some(BreakReason::LinkBroken)
    }

    /// Compares the tree with the checkpoints of its present size.
    fn compare(&mut self) {
        let size = self.tree.size();
        while let Some(known) = self.awaited.pop_if(|known| known.size == size) {
            if known.root == self.tree.root() {
                self.agreed += 1;
                self.anchored_until = size;
            } else {
                let last = size.saturating_sub(1);
                self.break_at(self.anchored_until.min(last), BreakReason::OtherHistory { last, size });
            }
        }
    }

    fn break_at(&mut self, seq: u64, reason: BreakReason) {
        self.broken.get_or_insert(Break { seq, reason });
    }

    /// The first place that is not in order, as far as records have been fed.
    pub fn broken(&self) -> Option<&Break> {
        self.broken.as_ref()
    }

    /// The tree over the records so far; with the verdict's `last_hash` all that [`ChainVerifier::resume`] needs.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// Says what was found, when all records have been fed.
    pub fn finish(self) -> Verdict {
        let cut_off = self.awaited.first().and_then(|newest| SeqRange::until(self.next, newest.size));
        let missing: Vec<SeqRange> = self.missing.into_iter().chain(cut_off).collect();
        let integrity = if self.broken.is_some() { Integrity::Broken } else { Integrity::Intact };
        let confirmed = self.agreed > 0 && self.newest == Some(self.anchored_until);
        let completeness = match (missing.is_empty(), confirmed) {
            (false, _) => Completeness::Incomplete,
            (true, true) => Completeness::Complete,
            (true, false) => Completeness::Unknown,
        };
        let error = match (&self.broken, cut_off) {
            (Some(at), _) => Some(format!("record {}: {}", at.seq, at.reason)),
            (None, Some(SeqRange { from, to })) => {
                Some(format!("records {from} to {to} are missing: a checkpoint of {} records was signed", to + 1))
            }
            (None, None) => None,
        };
        Verdict {
            valid: integrity == Integrity::Intact && completeness != Completeness::Incomplete,
            integrity,
            completeness,
            total_events: self.total,
            last_event_id: self.first_event_id.is_some().then_some(self.last_event_id),
            first_event_id: self.first_event_id,
            last_hash: self.last_hash,
            broken_at: self.broken.map(|at| at.seq),
            error,
            root: self.tree.root(),
            checkpoints_checked: self.agreed,
            anchored: SeqRange::until(self.start, self.anchored_until).into_iter().collect(),
            unanchored: SeqRange::until(self.anchored_until, self.next).into_iter().collect(),
            missing,
        }
    }
}
