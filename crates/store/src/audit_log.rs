//! The log on disk: inserting, restoring the tree at start, verifying, proving, checkpoints and witnesses.

use reeve_audit::tiles::{Read, reads_for_consistency, reads_for_inclusion, reads_for_restore};
use reeve_audit::{
    AddCheckpoint, ChainVerifier, Checkpoint, Fetched, ProofFile, Sealed, SignedNote, Tile, TileId, TiledTree, Verdict,
    VerifiedCheckpoint, VerifyingKey, consistency_proof, inclusion_proof,
};
use reeve_types::{ActionClass, Digest, Event, EventId, Origin};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{Store, StoreError, micros};

/// Why the log could not answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no such record.
    #[error("there is no record `{0}`")]
    NoSuchRecord(EventId),
    /// The log has no signed checkpoint.
    #[error("the log has no signed checkpoint yet; it gets one as soon as something is recorded")]
    NoCheckpoint,
    /// What a witness sent does not belong to this log.
    #[error("the cosigned checkpoint is not one of this log: {0}")]
    NotOurs(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far the log has come.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LogHead {
    /// How many records there are.
    pub size: u64,
    /// Hash of the newest.
    pub last_hash: Digest,
    /// Size of the newest signed checkpoint.
    pub signed_size: u64,
    /// Size of the newest checkpoint that a witness cosigned.
    pub witnessed_size: u64,
    /// When the newest was recorded.
    pub last_event_at: Option<jiff::Timestamp>,
}

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn insert(audit: &Connection, event: &Event, sealed: &Sealed) -> Result<(), StoreError> {
    let canonical = std::str::from_utf8(&sealed.canonical)
        .map_err(|e| StoreError::Corrupt { what: event.event_id.to_string(), reason: e.to_string() })?;
    let origin = event.origin.map(|origin| match origin {
        Origin::DirectTool => "direct_tool",
        Origin::Agent => "agent",
        Origin::Gateway => "gateway",
    });
    audit
        .prepare_cached(
            "INSERT INTO events (seq, event_id, at_us, event_type, tenant, trace_id, action_id, action_class, principal,
                                 agent, tool_name, origin, purpose, effect, outcome, session_id, canonical, prev_hash,
                                 event_hash, leaf_hash)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
        )?
        .execute(params![
            signed(sealed.seq),
            event.event_id.as_str(),
            micros(event.timestamp),
            event.event_type.as_str(),
            event.tenant.as_str(),
            event.trace_id.as_str(),
            event.action_id.as_ref().map(reeve_types::ActionId::as_str),
            event.action_class.map(ActionClass::as_str),
            event.principal.as_ref().map(reeve_types::Principal::label),
            event.tool.as_ref().map(|tool| tool.agent.as_str()),
            event.tool.as_ref().map(|tool| tool.name.as_str()),
            origin,
            event.purpose.map(reeve_types::Purpose::as_str),
            event.policy_decision.as_ref().map(|p| p.effect.as_str()),
            event.outcome.as_ref().map(|outcome| outcome.status.as_str()),
            event.session.id.as_str(),
            canonical,
            &sealed.prev_hash.as_bytes()[..],
            &sealed.event_hash.as_bytes()[..],
            &sealed.leaf_hash.as_bytes()[..],
        ])?;
    Ok(())
}

pub(crate) fn insert_tile(audit: &Connection, tile: &Tile) -> Result<(), StoreError> {
    audit.prepare_cached("INSERT INTO tiles (level, idx, hashes, root) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        tile.id.level,
        signed(tile.id.index),
        tile.to_bytes(),
        &tile.root.as_bytes()[..]
    ])?;
    Ok(())
}

pub(crate) fn insert_cosignature(
    audit: &Connection,
    size: u64,
    witness: &str,
    note: &str,
    at_us: i64,
) -> Result<(), StoreError> {
    audit.execute(
        "INSERT OR REPLACE INTO cosignatures (size, witness, at_us, note) VALUES (?1, ?2, ?3, ?4)",
        params![signed(size), witness, at_us, note],
    )?;
    Ok(())
}

/// The tree and the newest hash of a log that goes on, from a few hundred stored hashes.
pub(crate) fn restore(audit: &Connection) -> Result<(TiledTree, Digest), StoreError> {
    let newest: Option<(i64, Vec<u8>)> = audit
        .query_row("SELECT seq, event_hash FROM events ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((seq, hash)) = newest else { return Ok((TiledTree::new(), Digest::ZERO)) };
    let size = number(seq) + 1;
    let fetched = fetch(audit, "main", &reads_for_restore(size))?;
    let tree = TiledTree::restore(size, &fetched).map_err(|e| corrupt("the Merkle tree", &e))?;
    Ok((tree, digest(&hash)?))
}

/// How many records a log has, and the hash of the newest. `schema` is where it is attached.
pub(crate) fn end_of(db: &Connection, schema: &str) -> Result<(u64, Digest), StoreError> {
    let newest: Option<(i64, Vec<u8>)> = db
        .query_row(&format!("SELECT seq, event_hash FROM {schema}.events ORDER BY seq DESC LIMIT 1"), [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    newest.map_or(Ok((0, Digest::ZERO)), |(seq, hash)| Ok((number(seq) + 1, digest(&hash)?)))
}

/// The hash of one record of a log.
pub(crate) fn hash_at(audit: &Connection, seq: u64) -> Result<Option<Digest>, StoreError> {
    let found: Option<Vec<u8>> =
        audit.query_row("SELECT event_hash FROM events WHERE seq = ?1", [signed(seq)], |row| row.get(0)).optional()?;
    found.map(|hash| digest(&hash)).transpose()
}

pub(crate) fn last_checkpoint_size(audit: &Connection) -> Result<u64, StoreError> {
    let size: Option<i64> = audit.query_row("SELECT max(size) FROM checkpoints", [], |row| row.get(0))?;
    Ok(size.map_or(0, number))
}

fn corrupt(what: &str, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), reason: reason.to_string() }
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes.try_into().map(Digest).map_err(|_| corrupt("a hash", &"it is not 32 bytes long"))
}

/// Reads the hashes that a proof or a restored tree needs. `schema` is where the log is attached.
fn fetch(db: &Connection, schema: &str, reads: &[Read]) -> Result<Fetched, StoreError> {
    let mut fetched = Fetched::new();
    for read in reads {
        let hashes: Vec<Digest> = match *read {
            Read::Tile(TileId { level, index }) => {
                let sql = format!("SELECT hashes FROM {schema}.tiles WHERE level = ?1 AND idx = ?2");
                let blob: Option<Vec<u8>> =
                    db.prepare_cached(&sql)?.query_row(params![level, signed(index)], |row| row.get(0)).optional()?;
                blob.and_then(|bytes| reeve_audit::tiles::hashes_from_bytes(&bytes)).unwrap_or_default()
            }
            Read::Entries { level: 0, from, to } => {
                let sql = format!("SELECT leaf_hash FROM {schema}.events WHERE seq >= ?1 AND seq < ?2 ORDER BY seq");
                hash_column(db, &sql, params![signed(from), signed(to)])?
            }
            Read::Entries { level, from, to } => {
                let sql =
                    format!("SELECT root FROM {schema}.tiles WHERE level = ?1 AND idx >= ?2 AND idx < ?3 ORDER BY idx");
                hash_column(db, &sql, params![level - 1, signed(from), signed(to)])?
            }
        };
        fetched.insert(read, &hashes).map_err(|e| corrupt("the Merkle tree", &e))?;
    }
    Ok(fetched)
}

fn hash_column(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Digest>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|row| digest(&row?)).collect()
}

fn notes(db: &Connection) -> Result<Vec<(u64, String)>, StoreError> {
    let mut statement = db.prepare("SELECT size, note FROM audit.checkpoints ORDER BY size")?;
    let rows = statement.query_map([], |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map(|(size, note)| (number(size), note)).map_err(StoreError::from)).collect()
}

/// Reads the whole log from its first record, calling `progress` now and then with the number of records read.
fn verify_log(
    db: &Connection,
    log_key: &VerifyingKey,
    extra: &[SignedNote],
    witnesses: &[VerifyingKey],
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Verdict, StoreError> {
    let own = std::slice::from_ref(log_key);
    let mut checkpoints = Vec::new();
    // With witnesses named, only what they have cosigned counts as anchored; the log's own word does not.
    let stored = if witnesses.is_empty() { notes(db)? } else { Vec::new() };
    for (_, text) in stored {
        let note = SignedNote::parse(&text).map_err(|e| corrupt("a checkpoint", &e))?;
        let opened = VerifiedCheckpoint::open(&note, own).map_err(|e| corrupt("a checkpoint", &e))?;
        checkpoints.push(opened.checkpoint);
    }
    let mut keys = own.to_vec();
    keys.extend_from_slice(witnesses);
    let mut statement = db.prepare("SELECT note FROM audit.cosignatures ORDER BY size")?;
    let kept: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for text in kept {
        let note = SignedNote::parse(&text).map_err(|e| corrupt("a cosigned checkpoint", &e))?;
        anchored(&note, &keys, witnesses, &mut checkpoints);
    }
    for note in extra {
        let opened = VerifiedCheckpoint::open(note, &keys).map_err(|e| corrupt("the given checkpoint", &e))?;
        checkpoints.push(opened.checkpoint);
    }

    let mut verifier = ChainVerifier::with_checkpoints(checkpoints);
    let mut statement = db.prepare("SELECT seq, canonical, event_hash FROM audit.events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq = number(row.get(0)?);
        let canonical = row.get_ref(1)?.as_bytes().unwrap_or_default();
        let hash = row.get_ref(2)?.as_blob().unwrap_or_default();
        verifier.feed(seq, canonical, &digest(hash).unwrap_or(Digest::ZERO));
        if seq.is_multiple_of(16_384) {
            progress(seq);
        }
    }
    Ok(verifier.finish())
}

fn anchored(note: &SignedNote, keys: &[VerifyingKey], witnesses: &[VerifyingKey], into: &mut Vec<Checkpoint>) {
    if let Ok(opened) = VerifiedCheckpoint::open(note, keys)
        && (witnesses.is_empty() || !opened.cosigners.is_empty())
    {
        into.push(opened.checkpoint);
    }
}

impl Store {
    /// Verifies the whole log. With witness keys, only records under a checkpoint that one of them cosigned count as
    /// anchored. `extra` are checkpoints kept elsewhere that must agree too.
    pub async fn verify_audit(
        &self,
        witnesses: Vec<VerifyingKey>,
        extra: Vec<SignedNote>,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Verdict, StoreError> {
        let key = self.log_key.clone();
        self.read(move |db| verify_log(db, &key, &extra, &witnesses, &progress)).await
    }

    /// How far the log has come.
    pub async fn log_head(&self) -> Result<LogHead, StoreError> {
        self.read(|db| {
            let newest: Option<(i64, Vec<u8>, i64)> = db
                .query_row("SELECT seq, event_hash, at_us FROM audit.events ORDER BY seq DESC LIMIT 1", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            let size_of = |sql: &str| -> Result<u64, StoreError> {
                let size: Option<i64> = db.query_row(sql, [], |row| row.get(0))?;
                Ok(size.map_or(0, number))
            };
            let signed_size = size_of("SELECT max(size) FROM audit.checkpoints")?;
            let witnessed_size = size_of("SELECT max(size) FROM audit.cosignatures")?;
            Ok(match newest {
                None => LogHead { size: 0, last_hash: Digest::ZERO, signed_size, witnessed_size, last_event_at: None },
                Some((seq, hash, at)) => LogHead {
                    size: number(seq) + 1,
                    last_hash: digest(&hash)?,
                    signed_size,
                    witnessed_size,
                    last_event_at: Some(crate::moment(at)),
                },
            })
        })
        .await
    }

    /// A self-contained proof that a record is in the log, under a signed checkpoint (cosigned, when a witness has seen
    /// one that covers the record).
    pub async fn prove(&self, event_id: &EventId) -> Result<ProofFile, AuditError> {
        let id = event_id.clone();
        let found = self
            .read(move |db| {
                let row: Option<(i64, String)> = db
                    .query_row("SELECT seq, canonical FROM audit.events WHERE event_id = ?1", [id.as_str()], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()?;
                Ok(row.map(|(seq, canonical)| (number(seq), canonical)))
            })
            .await?;
        let Some((index, canonical)) = found else { return Err(AuditError::NoSuchRecord(event_id.clone())) };
        if last_signed(self).await? <= index {
            self.writer.checkpoint().await?;
        }
        let proof = self
            .read(move |db| {
                let cosigned: Option<(i64, String)> = db
                    .query_row(
                        "SELECT size, note FROM audit.cosignatures WHERE size > ?1 ORDER BY size DESC LIMIT 1",
                        [signed(index)],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                let checkpoint = match cosigned {
                    Some(found) => Some(found),
                    None => db
                        .query_row(
                            "SELECT size, note FROM audit.checkpoints WHERE size > ?1 ORDER BY size DESC LIMIT 1",
                            [signed(index)],
                            |row| Ok((row.get(0)?, row.get(1)?)),
                        )
                        .optional()?,
                };
                let Some((size, note)) = checkpoint else { return Ok(None) };
                let size = number(size);
                let reads = reads_for_inclusion(index, size).unwrap_or_default();
                let fetched = fetch(db, "audit", &reads)?;
                let hashes = inclusion_proof(index, size, &fetched).map_err(|e| corrupt("the Merkle tree", &e))?;
                let checkpoint = SignedNote::parse(&note).map_err(|e| corrupt("a checkpoint", &e))?;
                Ok(Some(ProofFile { event: canonical.into_bytes(), index, hashes, checkpoint }))
            })
            .await?;
        proof.ok_or(AuditError::NoCheckpoint)
    }

    /// What a witness is asked to cosign: the newest checkpoint and the proof from the size that the witness saw last.
    pub async fn for_witness(&self, old_size: u64) -> Result<AddCheckpoint, AuditError> {
        self.writer.checkpoint().await?;
        let request = self
            .read(move |db| {
                let newest: Option<(i64, String)> = db
                    .query_row("SELECT size, note FROM audit.checkpoints ORDER BY size DESC LIMIT 1", [], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()?;
                let Some((size, note)) = newest else { return Ok(None) };
                let size = number(size);
                let old_size = old_size.min(size);
                let fetched = fetch(db, "audit", &reads_for_consistency(old_size, size).unwrap_or_default())?;
                let proof = consistency_proof(old_size, size, &fetched).map_err(|e| corrupt("the Merkle tree", &e))?;
                let note = SignedNote::parse(&note).map_err(|e| corrupt("a checkpoint", &e))?;
                Ok(Some(AddCheckpoint { old_size, proof, note }))
            })
            .await?;
        request.ok_or(AuditError::NoCheckpoint)
    }

    /// Keeps a checkpoint that a witness has cosigned. It must be one of this log, with a signature of that witness.
    pub async fn keep_cosignature(&self, note: SignedNote, witness: VerifyingKey) -> Result<u64, AuditError> {
        let keys = [self.log_key.as_ref().clone(), witness.clone()];
        let opened = VerifiedCheckpoint::open(&note, &keys).map_err(|e| AuditError::NotOurs(e.to_string()))?;
        if opened.cosigners.is_empty() {
            return Err(AuditError::NotOurs(format!("it has no signature of {}", witness.name())));
        }
        let (size, name, now) = (opened.checkpoint.size, witness.name().to_owned(), micros(self.clock.now()));
        let own = self
            .read(move |db| {
                let text: Option<String> = db
                    .query_row("SELECT note FROM audit.checkpoints WHERE size = ?1", [signed(size)], |row| row.get(0))
                    .optional()?;
                Ok(text)
            })
            .await?;
        let same =
            own.and_then(|text| SignedNote::parse(&text).ok()).is_some_and(|stored| stored.text() == note.text());
        if !same {
            return Err(AuditError::NotOurs(format!("this log signed no such head of {size} records")));
        }
        self.writer.cosignature(size, name, note.to_string(), now).await?;
        Ok(size)
    }
}

async fn last_signed(store: &Store) -> Result<u64, StoreError> {
    store
        .read(|db| Ok(number(db.query_row("SELECT coalesce(max(size), 0) FROM audit.checkpoints", [], |r| r.get(0))?)))
        .await
}
