//! People's accounts, their sign-ins, and what signs them in again.
//!
//! Nothing here is a secret by itself: passwords are Argon2id hashes, refresh tokens and sign-in links are 256 random
//! bits of which the SHA-256 is kept.

use std::collections::BTreeSet;

use reeve_types::{AccountId, LoginId, TenantId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{Store, StoreError, micros, moment, parse_json, to_json};

/// How long a sign-in that has ended, and a link that was used, can still be looked up.
const KEPT_US: i64 = 30 * 24 * 3600 * 1_000_000;
/// Most accounts that one list shows.
const ACCOUNTS_MAX: usize = 10_000;
/// Most sign-ins of one subject that are listed, newest first.
const LOGINS_MAX: usize = 200;

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// Its id.
    pub account_id: AccountId,
    /// A small number that is never given twice, for clients that know people by numbers. The store gives it.
    pub number: i64,
    /// Whose it is.
    pub tenant: TenantId,
    /// Normalised; unique in the installation.
    pub email: String,
    /// How the person wants to be called.
    pub name: String,
    /// The name that records and policies know the person by. It never changes.
    pub principal: String,
    /// The roles it gives.
    pub roles: BTreeSet<String>,
    /// Argon2id in PHC form; without one nobody signs in with a password.
    pub hash: Option<String>,
    /// When it was switched off.
    pub disabled_at: Option<jiff::Timestamp>,
    /// When it was made.
    pub created_at: jiff::Timestamp,
}

/// What is to be changed of an account; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// Another name.
    pub name: Option<String>,
    /// Other roles.
    pub roles: Option<BTreeSet<String>>,
    /// Another password, hashed.
    pub hash: Option<String>,
    /// Switched off (at a moment) or on again.
    pub disabled: Option<Option<jiff::Timestamp>>,
}

/// One sign-in, from one browser or program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLogin {
    /// Its id.
    pub login_id: LoginId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who signed in, as the platform writes it: an account, a key, a user of the users file.
    pub subject: String,
    /// How: `password`, `api_key`, `link`.
    pub method: String,
    /// When it began.
    pub created_at: jiff::Timestamp,
    /// When it was last renewed.
    pub seen_at: jiff::Timestamp,
    /// When it ends unless it is renewed.
    pub expires_at: jiff::Timestamp,
    /// When it was ended before that.
    pub ended_at: Option<jiff::Timestamp>,
    /// Where it came from.
    pub address: String,
    /// What the browser or program said it is.
    pub agent: String,
}

/// What became of a refresh token that somebody brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It held; another one holds in its place.
    Rotated(Box<StoredLogin>),
    /// It was used before, at this moment. Nothing was changed.
    Reused {
        /// The sign-in it belongs to.
        login: Box<StoredLogin>,
        /// When it was used.
        at: jiff::Timestamp,
    },
    /// Nobody knows it, it is too old, or its sign-in has ended.
    Unknown,
}

const ACCOUNT: &str =
    "account_id, number, tenant, email, name, principal, roles, hash, disabled_us, created_us FROM accounts";
const LOGIN: &str =
    "login_id, tenant, subject, method, created_us, seen_us, expires_us, ended_us, address, agent FROM logins";

fn account(row: &Row<'_>) -> rusqlite::Result<Result<StoredAccount, StoreError>> {
    let id: String = row.get(0)?;
    let (tenant, roles): (String, String) = (row.get(2)?, row.get(6)?);
    let corrupt = |reason: String| StoreError::Corrupt { what: id.clone(), reason };
    let parts = || -> Result<_, StoreError> {
        Ok((
            id.parse().map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()))?,
            tenant.parse().map_err(|e: reeve_types::principal::BadTenant| corrupt(e.to_string()))?,
            parse_json(&id, &roles)?,
        ))
    };
    let (account_id, tenant, roles) = match parts() {
        Ok(parts) => parts,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(StoredAccount {
        account_id,
        number: row.get(1)?,
        tenant,
        email: row.get(3)?,
        name: row.get(4)?,
        principal: row.get(5)?,
        roles,
        hash: row.get(7)?,
        disabled_at: row.get::<_, Option<i64>>(8)?.map(moment),
        created_at: moment(row.get(9)?),
    }))
}

fn login(row: &Row<'_>) -> rusqlite::Result<Result<StoredLogin, StoreError>> {
    let id: String = row.get(0)?;
    let tenant: String = row.get(1)?;
    let corrupt = |reason: String| StoreError::Corrupt { what: id.clone(), reason };
    let login_id = id.parse().map_err(|e: reeve_types::id::IdError| corrupt(e.to_string()));
    let tenant = tenant.parse().map_err(|e: reeve_types::principal::BadTenant| corrupt(e.to_string()));
    let (login_id, tenant) = match (login_id, tenant) {
        (Ok(login_id), Ok(tenant)) => (login_id, tenant),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    Ok(Ok(StoredLogin {
        login_id,
        tenant,
        subject: row.get(2)?,
        method: row.get(3)?,
        created_at: moment(row.get(4)?),
        seen_at: moment(row.get(5)?),
        expires_at: moment(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(moment),
        address: row.get(8)?,
        agent: row.get(9)?,
    }))
}

fn one_account(db: &Connection, column: &str, value: &str) -> Result<Option<StoredAccount>, StoreError> {
    db.prepare_cached(&format!("SELECT {ACCOUNT} WHERE {column} = ?1"))?
        .query_row([value], account)
        .optional()?
        .transpose()
}

fn one_login(db: &Connection, id: &str) -> Result<Option<StoredLogin>, StoreError> {
    db.prepare_cached(&format!("SELECT {LOGIN} WHERE login_id = ?1"))?.query_row([id], login).optional()?.transpose()
}

fn keep_refresh(
    db: &Connection,
    hash: &str,
    login: &LoginId,
    at: jiff::Timestamp,
    expires: jiff::Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO refresh_tokens (hash, login_id, created_us, expires_us) VALUES (?1, ?2, ?3, ?4)",
        params![hash, login.as_str(), micros(at), micros(expires)],
    )?;
    Ok(())
}

/// Forgets what nobody can use any more.
fn forget_the_old(db: &Connection, now: jiff::Timestamp) -> Result<(), StoreError> {
    let (now, before) = (micros(now), micros(now).saturating_sub(KEPT_US));
    db.execute("DELETE FROM refresh_tokens WHERE expires_us < ?1", [now])?;
    db.execute("DELETE FROM sign_in_links WHERE expires_us < ?1", [before])?;
    db.execute("DELETE FROM logins WHERE expires_us < ?1 OR ended_us < ?1", [before])?;
    Ok(())
}

impl Store {
    /// Keeps a new account and gives it its number. `None` when its e-mail address or its principal is taken.
    pub async fn add_account(&self, new: StoredAccount) -> Result<Option<StoredAccount>, StoreError> {
        self.write(move |db| {
            let taken: bool = db.query_row(
                "SELECT EXISTS (SELECT 1 FROM accounts WHERE email = ?1 OR (tenant = ?2 AND principal = ?3))",
                params![new.email, new.tenant.as_str(), new.principal],
                |row| row.get(0),
            )?;
            if taken {
                return Ok(None);
            }
            let number: i64 =
                db.query_row("SELECT COALESCE(MAX(number), 0) + 1 FROM accounts", [], |row| row.get(0))?;
            db.execute(
                "INSERT INTO accounts (account_id, number, tenant, email, name, principal, roles, hash, disabled_us, created_us) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, ?9)",
                params![
                    new.account_id.as_str(),
                    number,
                    new.tenant.as_str(),
                    new.email,
                    new.name,
                    new.principal,
                    to_json("account", &new.roles)?,
                    new.hash,
                    micros(new.created_at),
                ],
            )?;
            Ok(Some(StoredAccount { number, disabled_at: None, ..new }))
        })
        .await
    }

    /// An account by its id, whatever its tenant: this is how a person's tenant is found out.
    pub async fn account(&self, id: &AccountId) -> Result<Option<StoredAccount>, StoreError> {
        let id = id.clone();
        self.read(move |db| one_account(db, "account_id", id.as_str())).await
    }

    /// An account by its normalised e-mail address, whatever its tenant.
    pub async fn account_of_email(&self, email: &str) -> Result<Option<StoredAccount>, StoreError> {
        let email = email.to_owned();
        self.read(move |db| one_account(db, "email", &email)).await
    }

    /// The accounts of a tenant, by e-mail address.
    pub async fn accounts(&self, tenant: &TenantId) -> Result<Vec<StoredAccount>, StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.read(move |db| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {ACCOUNT} WHERE tenant = ?1 ORDER BY email LIMIT {ACCOUNTS_MAX}"))?;
            let rows = statement.query_map([tenant], account)?;
            rows.map(|row| row?).collect()
        })
        .await
    }

    /// Changes an account of a tenant. `None` when the tenant has no such account.
    pub async fn change_account(
        &self,
        tenant: &TenantId,
        id: &AccountId,
        change: AccountChange,
    ) -> Result<Option<StoredAccount>, StoreError> {
        let (tenant, id) = (tenant.as_str().to_owned(), id.clone());
        self.write(move |db| {
            let Some(mut now) = one_account(db, "account_id", id.as_str())?.filter(|a| a.tenant.as_str() == tenant)
            else {
                return Ok(None);
            };
            now.name = change.name.unwrap_or(now.name);
            now.roles = change.roles.unwrap_or(now.roles);
            now.hash = change.hash.or(now.hash);
            now.disabled_at = change.disabled.unwrap_or(now.disabled_at);
            db.execute(
                "UPDATE accounts SET name = ?2, roles = ?3, hash = ?4, disabled_us = ?5 WHERE account_id = ?1",
                params![
                    id.as_str(),
                    now.name,
                    to_json(id.as_str(), &now.roles)?,
                    now.hash,
                    now.disabled_at.map(micros)
                ],
            )?;
            Ok(Some(now))
        })
        .await
    }

    /// Keeps a sign-in with the hash of its first refresh token.
    pub async fn add_login(&self, new: StoredLogin, refresh_hash: String) -> Result<(), StoreError> {
        self.write(move |db| {
            forget_the_old(db, new.created_at)?;
            db.execute(
                "INSERT INTO logins (login_id, tenant, subject, method, created_us, seen_us, expires_us, ended_us, address, agent) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8, ?9)",
                params![
                    new.login_id.as_str(),
                    new.tenant.as_str(),
                    new.subject,
                    new.method,
                    micros(new.created_at),
                    micros(new.seen_at),
                    micros(new.expires_at),
                    new.address,
                    new.agent,
                ],
            )?;
            keep_refresh(db, &refresh_hash, &new.login_id, new.created_at, new.expires_at)
        })
        .await
    }

    /// One sign-in, whatever its tenant.
    pub async fn login(&self, id: &LoginId) -> Result<Option<StoredLogin>, StoreError> {
        let id = id.clone();
        self.read(move |db| one_login(db, id.as_str())).await
    }

    /// The sign-ins of a subject that have neither ended nor expired, newest first.
    pub async fn logins(
        &self,
        tenant: &TenantId,
        subject: &str,
        now: jiff::Timestamp,
    ) -> Result<Vec<StoredLogin>, StoreError> {
        let (tenant, subject) = (tenant.as_str().to_owned(), subject.to_owned());
        self.read(move |db| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {LOGIN} WHERE tenant = ?1 AND subject = ?2 AND ended_us IS NULL AND expires_us > ?3 \
                 ORDER BY created_us DESC, login_id LIMIT {LOGINS_MAX}"
            ))?;
            let rows = statement.query_map(params![tenant, subject, micros(now)], login)?;
            rows.map(|row| row?).collect()
        })
        .await
    }

    /// Ends one sign-in. Returns whether it still held.
    pub async fn end_login(&self, id: &LoginId, at: jiff::Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            let ended = db.execute(
                "UPDATE logins SET ended_us = ?2 WHERE login_id = ?1 AND ended_us IS NULL",
                params![id.as_str(), micros(at)],
            )?;
            db.execute("DELETE FROM refresh_tokens WHERE login_id = ?1", [id.as_str()])?;
            Ok(ended == 1)
        })
        .await
    }

    /// Ends every sign-in of a subject except one. Returns those that were ended.
    pub async fn end_logins(
        &self,
        tenant: &TenantId,
        subject: &str,
        except: Option<&LoginId>,
        at: jiff::Timestamp,
    ) -> Result<Vec<LoginId>, StoreError> {
        let (tenant, subject) = (tenant.as_str().to_owned(), subject.to_owned());
        let except = except.map_or_else(String::new, |id| id.as_str().to_owned());
        self.write(move |db| {
            let mut statement = db.prepare_cached(
                "UPDATE logins SET ended_us = ?4 WHERE tenant = ?1 AND subject = ?2 AND login_id <> ?3 \
                 AND ended_us IS NULL RETURNING login_id",
            )?;
            let rows =
                statement.query_map(params![tenant, subject, except, micros(at)], |row| row.get::<_, String>(0))?;
            let mut ended = Vec::new();
            for row in rows {
                let text = row?;
                ended.push(text.parse().map_err(|e: reeve_types::id::IdError| StoreError::Corrupt {
                    what: text.clone(),
                    reason: e.to_string(),
                })?);
            }
            db.execute(
                "DELETE FROM refresh_tokens WHERE login_id IN \
                 (SELECT login_id FROM logins WHERE tenant = ?1 AND subject = ?2 AND ended_us IS NOT NULL)",
                params![tenant, subject],
            )?;
            Ok(ended)
        })
        .await
    }

    /// Whether a refresh token was given out, used or not.
    pub async fn knows_refresh(&self, hash: &str) -> Result<bool, StoreError> {
        let hash = hash.to_owned();
        self.read(move |db| {
            let mut statement = db.prepare_cached("SELECT 1 FROM refresh_tokens WHERE hash = ?1")?;
            Ok(statement.exists([hash])?)
        })
        .await
    }

    /// Takes a refresh token and puts another one in its place, in one step.
    pub async fn rotate_refresh(
        &self,
        hash: &str,
        next_hash: String,
        now: jiff::Timestamp,
        next_expires: jiff::Timestamp,
    ) -> Result<Rotation, StoreError> {
        let hash = hash.to_owned();
        self.write(move |db| {
            let found = db
                .prepare_cached("SELECT login_id, expires_us, rotated_us FROM refresh_tokens WHERE hash = ?1")?
                .query_row([&hash], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
                })
                .optional()?;
            let Some((login_id, expires, rotated)) = found else { return Ok(Rotation::Unknown) };
            let holds = |login: &StoredLogin| login.ended_at.is_none();
            let Some(mut login) = one_login(db, &login_id)?.filter(holds) else { return Ok(Rotation::Unknown) };
            if let Some(at) = rotated {
                return Ok(Rotation::Reused { login: Box::new(login), at: moment(at) });
            }
            if expires <= micros(now) {
                return Ok(Rotation::Unknown);
            }
            db.execute("UPDATE refresh_tokens SET rotated_us = ?2 WHERE hash = ?1", params![hash, micros(now)])?;
            keep_refresh(db, &next_hash, &login.login_id, now, next_expires)?;
            db.execute(
                "UPDATE logins SET seen_us = ?2, expires_us = ?3 WHERE login_id = ?1",
                params![login_id, micros(now), micros(next_expires)],
            )?;
            login.seen_at = now;
            login.expires_at = next_expires;
            Ok(Rotation::Rotated(Box::new(login)))
        })
        .await
    }

    /// Keeps the hash of a sign-in link for an account.
    pub async fn add_sign_in_link(
        &self,
        hash: String,
        account: &AccountId,
        now: jiff::Timestamp,
        expires: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let account = account.clone();
        self.write(move |db| {
            forget_the_old(db, now)?;
            db.execute(
                "INSERT INTO sign_in_links (hash, account_id, created_us, expires_us) VALUES (?1, ?2, ?3, ?4)",
                params![hash, account.as_str(), micros(now), micros(expires)],
            )?;
            Ok(())
        })
        .await
    }

    /// Uses up a sign-in link. `None` when there is none, it is too old, or it was used.
    pub async fn use_sign_in_link(
        &self,
        hash: &str,
        now: jiff::Timestamp,
    ) -> Result<Option<StoredAccount>, StoreError> {
        let hash = hash.to_owned();
        self.write(move |db| {
            let account: Option<String> = db
                .prepare_cached(
                    "UPDATE sign_in_links SET used_us = ?2 WHERE hash = ?1 AND used_us IS NULL AND expires_us > ?2 \
                     RETURNING account_id",
                )?
                .query_row(params![hash, micros(now)], |row| row.get(0))
                .optional()?;
            match account {
                Some(id) => one_account(db, "account_id", &id),
                None => Ok(None),
            }
        })
        .await
    }
}
