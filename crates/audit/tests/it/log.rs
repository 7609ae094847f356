//! A small log with real events, its key and its witnesses.

use std::sync::LazyLock;

use jiff::Timestamp;
use reeve_audit::{
    Checkpoint, Frontier, KeyRole, LeafHashes, ProofFile, Sealed, SignedNote, SigningKey, VerifyingKey,
    inclusion_proof, seal, sign,
};
use reeve_types::{Digest, Event, EventType, TenantId, TraceId};

pub(crate) const ORIGIN: &str = "reeve.example/audit";

static LOG_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(ORIGIN, KeyRole::Log, &[1; 32]).unwrap());

pub(crate) fn log_key() -> &'static SigningKey {
    &LOG_KEY
}

pub(crate) fn witness_key(number: u8) -> SigningKey {
    SigningKey::from_seed(&format!("witness{number}.example"), KeyRole::Witness, &[100 + number; 32]).unwrap()
}

pub(crate) fn public(key: &SigningKey) -> VerifyingKey {
    key.verifying_key().clone()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

pub(crate) fn event(number: u64) -> Event {
    let when = at(number as i64);
    let random = u128::from(number) << 64;
    let trace = TraceId::new("tr", when, random);
    let mut event = Event::new(EventType::ToolInvoked, TenantId::default_tenant(), trace, when, random);
    event.note = format!("event {number}");
    event
}

/// Leaf hashes that stand for records, when only the tree matters.
pub(crate) fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|number| reeve_audit::leaf_hash(&number.to_be_bytes())).collect()
}

pub(crate) fn root(leaves: &[Digest]) -> Digest {
    let mut tree = Frontier::new();
    for leaf in leaves {
        tree.append(*leaf);
    }
    tree.root()
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<Sealed>,
}

impl Log {
    pub(crate) fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut records: Vec<Sealed> = Vec::new();
        for event in events {
            let prev_hash = records.last().map_or(Digest::ZERO, |last| last.event_hash);
            records.push(seal(&event, records.len() as u64, prev_hash).unwrap());
        }
        Self { records }
    }

    pub(crate) fn with(count: u64) -> Self {
        Self::of((0..count).map(event))
    }

    pub(crate) fn leaves(&self) -> Vec<Digest> {
        self.records.iter().map(|record| record.leaf_hash).collect()
    }

    pub(crate) fn checkpoint(&self, size: usize) -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root: root(&self.leaves()[..size]) }
    }

    pub(crate) fn signed(&self, size: usize) -> SignedNote {
        sign(&self.checkpoint(size), log_key()).unwrap()
    }

    pub(crate) fn proof(&self, index: usize, size: usize) -> ProofFile {
        ProofFile {
            event: self.records[index].canonical.clone(),
            index: index as u64,
            hashes: inclusion_proof(index as u64, size as u64, &LeafHashes(&self.leaves())).unwrap(),
            checkpoint: self.signed(size),
        }
    }
}
