//! API keys, and the answers already given to idempotency keys.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reeve_types::{KeyId, PrincipalKind, TenantId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::broadcast::error::RecvError;

use crate::{Store, StoreError, micros, moment, parse_json, to_json};

/// A key to be stored. The key itself is never here, only its hash.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its public id.
    pub key_id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whom it speaks for.
    pub kind: PrincipalKind,
    /// The name of whom it speaks for.
    pub principal: String,
    /// The roles it gives.
    pub roles: BTreeSet<String>,
    /// What it is for, in words.
    pub note: String,
    /// Argon2id, PHC string format.
    pub hash: String,
    /// When it was made.
    pub created_at: jiff::Timestamp,
}

/// A stored key.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// What was stored.
    pub key: NewKey,
    /// When it was taken back.
    pub revoked_at: Option<jiff::Timestamp>,
}

/// What an idempotency key stands for already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody used it; it now belongs to this request.
    Fresh,
    /// The same request is being worked on, or was cut off by a crash.
    InProgress,
    /// The same request was answered like this.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// It was used for another request.
    Mismatch,
}

/// How many keys are kept in memory.
const KNOWN_MAX: usize = 1024;

/// Keys that hold, in memory: every request looks one up.
///
/// This process is the only one that writes the store, so what it has read stays true until it takes the key back. A key
/// that is about to be taken back leaves before the write and never returns, however late an older look comes in.
#[derive(Default)]
pub(crate) struct KnownKeys {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    held: HashMap<KeyId, StoredKey>,
    taken_back: HashSet<KeyId>,
}

impl KnownKeys {
    fn get(&self, id: &KeyId) -> Option<StoredKey> {
        self.lock().held.get(id).cloned()
    }

    fn hold(&self, found: &StoredKey) {
        let mut known = self.lock();
        let id = &found.key.key_id;
        if found.revoked_at.is_some() || known.taken_back.contains(id) {
            return;
        }
        if known.held.len() >= KNOWN_MAX {
            known.held.clear();
        }
        known.held.insert(id.clone(), found.clone());
    }

    fn take_back(&self, id: &KeyId) {
        let mut known = self.lock();
        known.held.remove(id);
        known.taken_back.insert(id.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const COLUMNS: &str = "key_id, tenant, kind, principal, roles, note, hash, created_us, revoked_us";

type Raw = (String, String, String, String, String, String, String, i64, Option<i64>);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(7)?,
        row.get(8)?,
    ))
}

fn stored(raw: Raw) -> Result<StoredKey, StoreError> {
    let (id, tenant, kind, principal, roles, note, hash, created, revoked) = raw;
    let corrupt = |reason: String| StoreError::Corrupt { what: id.clone(), reason };
    Ok(StoredKey {
        key: NewKey {
            key_id: id.parse().map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()))?,
            tenant: tenant.parse().map_err(|e: reeve_types::principal::BadTenant| corrupt(e.to_string()))?,
            kind: parse_json(&id, &kind)?,
            principal,
            roles: parse_json(&id, &roles)?,
            note,
            hash,
            created_at: moment(created),
        },
        revoked_at: revoked.map(moment),
    })
}

pub(crate) fn insert_key(db: &Connection, key: &NewKey) -> Result<(), StoreError> {
    db.execute(
        &format!("INSERT INTO keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL)"),
        params![
            key.key_id.as_str(),
            key.tenant.as_str(),
            to_json("key", &key.kind)?,
            key.principal,
            to_json("key", &key.roles)?,
            key.note,
            key.hash,
            micros(key.created_at),
        ],
    )?;
    Ok(())
}

impl Store {
    /// Keeps a key.
    pub async fn add_key(&self, key: NewKey) -> Result<(), StoreError> {
        self.write(move |db| insert_key(db, &key)).await
    }

    /// One key by its public id, whatever its tenant: this is how a caller's tenant is found out.
    pub async fn key(&self, id: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        if let Some(known) = self.known_keys.get(id) {
            return Ok(Some(known));
        }
        let id = id.clone();
        let found = self
            .read(move |db| {
                let row = db
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE key_id = ?1"))?
                    .query_row([id.as_str()], raw)
                    .optional()?;
                row.map(stored).transpose()
            })
            .await?;
        if let Some(found) = &found {
            self.known_keys.hold(found);
        }
        Ok(found)
    }

    /// The keys of a tenant, oldest first.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| {
            let mut statement = db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE tenant = ?1 ORDER BY created_us, key_id"))?;
            let rows = statement.query_map([tenant], raw)?;
            rows.map(|row| stored(row?)).collect()
        })
        .await
    }

    /// Takes a key back. Returns whether there was such a key that still held.
    pub async fn revoke_key(&self, tenant: &TenantId, id: &KeyId, at: jiff::Timestamp) -> Result<bool, StoreError> {
        self.known_keys.take_back(id);
        let (tenant, key) = (tenant.as_str().to_owned(), id.clone());
        let held = self
            .write(move |db| {
                let changed = db.execute(
                    "UPDATE keys SET revoked_us = ?3 WHERE key_id = ?1 AND tenant = ?2 AND revoked_us IS NULL",
                    params![key.as_str(), tenant, micros(at)],
                )?;
                Ok(changed == 1)
            })
            .await?;
        if held {
            // Nobody may be waiting for it.
            let _ = self.revoked.send(id.clone());
        }
        Ok(held)
    }

    /// Returns when a key does not hold, now or later: what was opened with it waits for that.
    pub async fn until_key_revoked(&self, id: &KeyId) {
        let mut revoked = self.revoked.subscribe();
        loop {
            // Looked at after subscribing, so that an end in between is not missed. A database that cannot be read just now
            // takes no key away.
            if let Ok(found) = self.key(id).await
                && found.is_none_or(|stored| stored.revoked_at.is_some())
            {
                return;
            }
            loop {
                match revoked.recv().await {
                    Ok(taken) if taken == *id => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => break,
                    // The sender lives as long as `self`.
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// Claims an idempotency key for a request, or tells what it stands for already. Claims older than a day are gone.
    pub async fn claim(
        &self,
        tenant: &TenantId,
        principal: &str,
        idem_key: &str,
        digest: String,
        now: jiff::Timestamp,
    ) -> Result<Claim, StoreError> {
        let (tenant, principal, idem_key) = (tenant.as_str().to_owned(), principal.to_owned(), idem_key.to_owned());
        self.write(move |db| {
            let day_us = 24 * 3600 * 1_000_000;
            db.execute("DELETE FROM idempotency WHERE created_us < ?1", [micros(now) - day_us])?;
            let known = db
                .prepare_cached(
                    "SELECT digest, status, body FROM idempotency WHERE tenant = ?1 AND principal = ?2 AND idem_key = ?3",
                )?
                .query_row(params![tenant, principal, idem_key], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<u16>>(1)?, row.get::<_, Option<String>>(2)?))
                })
                .optional()?;
            match known {
                Some((found, _, _)) if found != digest => Ok(Claim::Mismatch),
                Some((_, Some(status), Some(body))) => Ok(Claim::Answered { status, body }),
                Some(_) => Ok(Claim::InProgress),
                None => {
                    db.execute(
                        "INSERT INTO idempotency (tenant, principal, idem_key, digest, created_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                        params![tenant, principal, idem_key, digest, micros(now)],
                    )?;
                    Ok(Claim::Fresh)
                }
            }
        })
        .await
    }

    /// Keeps the answer that was given for an idempotency key.
    pub async fn answer_claim(
        &self,
        tenant: &TenantId,
        principal: &str,
        idem_key: &str,
        status: u16,
        body: String,
    ) -> Result<(), StoreError> {
        let (tenant, principal, idem_key) = (tenant.as_str().to_owned(), principal.to_owned(), idem_key.to_owned());
        self.write(move |db| {
            db.execute(
                "UPDATE idempotency SET status = ?4, body = ?5 WHERE tenant = ?1 AND principal = ?2 AND idem_key = ?3",
                params![tenant, principal, idem_key, status, body],
            )?;
            Ok(())
        })
        .await
    }

    /// Gives an idempotency key back whose request could not even be begun, so that it may be sent again.
    pub async fn release_claim(&self, tenant: &TenantId, principal: &str, idem_key: &str) -> Result<(), StoreError> {
        let (tenant, principal, idem_key) = (tenant.as_str().to_owned(), principal.to_owned(), idem_key.to_owned());
        self.write(move |db| {
            db.execute(
                "DELETE FROM idempotency WHERE tenant = ?1 AND principal = ?2 AND idem_key = ?3 AND status IS NULL",
                params![tenant, principal, idem_key],
            )?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(random: u128) -> StoredKey {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let key = NewKey {
            key_id: KeyId::new(at, random),
            tenant: TenantId::default_tenant(),
            kind: PrincipalKind::User,
            principal: "alice".to_owned(),
            roles: BTreeSet::from(["viewer".to_owned()]),
            note: String::new(),
            hash: "hash".to_owned(),
            created_at: at,
        };
        StoredKey { key, revoked_at: None }
    }

    #[test]
    fn a_key_that_was_taken_back_is_not_known_again_by_a_look_that_began_before() {
        let (keys, key, other) = (KnownKeys::default(), stored(1), stored(1 << 100));
        keys.hold(&key);
        keys.hold(&other);
        keys.take_back(&key.key.key_id);
        keys.hold(&key);
        assert!(keys.get(&key.key.key_id).is_none());
        assert!(keys.get(&other.key.key_id).is_some(), "another key is not concerned");
    }

    #[test]
    fn keys_that_no_longer_hold_are_not_kept_and_memory_is_bounded() {
        let (keys, mut revoked) = (KnownKeys::default(), stored(1));
        revoked.revoked_at = Some(jiff::Timestamp::UNIX_EPOCH);
        keys.hold(&revoked);
        assert!(keys.get(&revoked.key.key_id).is_none());
        for n in 0..=KNOWN_MAX as u128 {
            keys.hold(&stored(n << 64));
        }
        assert!(keys.lock().held.len() <= KNOWN_MAX);
    }
}
