//! Who is asking.
//!
//! A caller proves itself with an API key: one that Reeve made (`reeve_…`, 256 random bits, stored as SHA-256, which for
//! such keys is as sound as a slow hash), or one of the users file (stored there as Argon2id); a person who has signed in
//! proves it with an access token ([`crate::accounts`]). A service of the users file may name the person it acts for. Wrong credentials are refused; they never turn a caller into somebody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reeve_gate::Clock;
use reeve_store::{NewKey, Store, StoreError};
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use reeve_types::principal::KnownBy;
use reeve_types::{AuthMethod, Digest, KeyId, LoginId, Principal, PrincipalKind, TenantId};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::accounts::{AccountError, AccountOptions, Accounts};

/// How long a verified Argon2id key need not be verified again.
const VERIFIED_FOR: Duration = Duration::from_secs(300);
/// How many verified keys are remembered.
const VERIFIED_MAX: usize = 1024;
/// How many keys of the users file are verified at the same time; each takes some 20 MiB of memory.
const VERIFYING_MAX: usize = 4;
/// How long a key waits for its turn to be verified.
const VERIFY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest credential that is looked at, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// Where identities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityProvider {
    /// Keys made by Reeve and keys of the users file.
    #[default]
    Keys,
    /// Callers are taken at their word (`X-User`). Only for a server that listens on this machine alone.
    None,
}

/// A caller could not be identified.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No credentials where some are needed.
    #[error("no credentials were given: send `Authorization: Bearer KEY`")]
    Missing,
    /// The key is unknown, revoked or wrong.
    #[error("the API key is not valid: it is unknown, wrong, or has been revoked")]
    BadKey,
    /// The access token is forged, broken, or signed with a secret that no longer holds.
    #[error("the access token is not valid; sign in again")]
    BadToken,
    /// The access token's time is over.
    #[error("the access token has expired; renew it with your refresh token, or sign in again")]
    TokenExpired,
    /// The login of the access token was ended.
    #[error("you are signed out; sign in again")]
    SignedOut,
    /// Accounts cannot be opened.
    #[error(transparent)]
    Accounts(Box<AccountError>),
    /// The person a service acts for is not in the users file.
    #[error("`{0}` is not a user of the users file")]
    UnknownUser(String),
    /// The users file cannot be used.
    #[error("{file}{place}: {reason}")]
    UsersFile {
        /// The file.
        file: String,
        /// `:line:column`, when known.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Someone who has said, and proved, who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The key they came with.
    pub key_id: Option<KeyId>,
    /// The login whose access token they came with.
    pub login: Option<LoginId>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawUsers {
    #[serde(default)]
    users: Vec<RawUser>,
    #[serde(default)]
    service_accounts: Vec<RawService>,
    #[serde(default)]
    role_aliases: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    id: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    api_key_hash: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    id: String,
    #[serde(default)]
    roles: Vec<String>,
    api_key_hash: String,
}

/// The users file, understood.
#[derive(Debug, Clone, Default)]
pub struct Users {
    /// People by name, with their roles.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Programs by name, with their roles.
    pub services: BTreeMap<String, BTreeSet<String>>,
    /// Other words for roles.
    pub role_aliases: BTreeMap<String, String>,
    keys: Vec<(PrincipalKind, String, String)>,
}

impl Users {
    /// Understands the text of a users file.
    pub fn parse(file: &str, text: &str) -> Result<Self, IdentityError> {
        let bad = |place: String, reason: String| IdentityError::UsersFile { file: file.to_owned(), place, reason };
        if text.len() > CONFIG_FILE_BYTES_MAX {
            return Err(bad(String::new(), format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
        }
        let raw: RawUsers = serde_saphyr::from_str(text).map_err(|e| {
            let place = e.location().map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
            bad(place, e.without_snippet().to_string())
        })?;
        let aliased = |roles: Vec<String>| -> BTreeSet<String> {
            roles.into_iter().map(|role| raw.role_aliases.get(&role).cloned().unwrap_or(role)).collect()
        };
        let mut known = Self { role_aliases: raw.role_aliases.clone(), ..Self::default() };
        for user in raw.users {
            if let Some(hash) = user.api_key_hash {
                check_hash(&hash).map_err(|reason| bad(String::new(), format!("user `{}`: {reason}", user.id)))?;
                known.keys.push((PrincipalKind::User, user.id.clone(), hash));
            }
            if known.users.insert(user.id.clone(), aliased(user.roles)).is_some() {
                return Err(bad(String::new(), format!("user `{}` is listed twice", user.id)));
            }
        }
        for service in raw.service_accounts {
            check_hash(&service.api_key_hash)
                .map_err(|reason| bad(String::new(), format!("service account `{}`: {reason}", service.id)))?;
            known.keys.push((PrincipalKind::Service, service.id.clone(), service.api_key_hash));
            if known.services.insert(service.id.clone(), aliased(service.roles)).is_some() {
                return Err(bad(String::new(), format!("service account `{}` is listed twice", service.id)));
            }
        }
        Ok(known)
    }

    /// Reads a users file.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| IdentityError::UsersFile {
            file: file.clone(),
            place: String::new(),
            reason: e.to_string(),
        })?;
        Self::parse(&file, &text)
    }
}

fn check_hash(hash: &str) -> Result<(), String> {
    match PasswordHash::new(hash) {
        Ok(parsed) if parsed.algorithm.as_str() == "argon2id" => Ok(()),
        Ok(parsed) => Err(format!("its api_key_hash is {}, not argon2id", parsed.algorithm.as_str())),
        Err(e) => Err(format!("its api_key_hash is not a PHC string: {e}")),
    }
}

/// Finds out who is asking.
pub struct Identity {
    provider: IdentityProvider,
    store: Store,
    clock: Arc<dyn Clock>,
    users: arc_swap::ArcSwap<Users>,
    users_file: Option<PathBuf>,
    users_seen: Mutex<Option<SystemTime>>,
    /// Keys of the users file that were verified a moment ago, by the digest of the key.
    verified: Mutex<HashMap<Digest, (Instant, PrincipalKind, String)>>,
    /// How many keys may be verified at the same time.
    verifying: tokio::sync::Semaphore,
    accounts: Accounts,
}

impl Identity {
    /// An identity service over the store's keys and, when one is set, a users file; accounts as they are by default.
    pub fn load(
        provider: IdentityProvider,
        store: Store,
        clock: Arc<dyn Clock>,
        users_file: Option<PathBuf>,
    ) -> Result<Self, IdentityError> {
        Self::load_with(provider, store, clock, users_file, AccountOptions::default())
    }

    /// The same with settings for accounts.
    pub fn load_with(
        provider: IdentityProvider,
        store: Store,
        clock: Arc<dyn Clock>,
        users_file: Option<PathBuf>,
        accounts: AccountOptions,
    ) -> Result<Self, IdentityError> {
        let accounts = Accounts::open(store.clone(), Arc::clone(&clock), accounts)
            .map_err(|error| IdentityError::Accounts(Box::new(error)))?;
        let users = users_file.as_deref().map(Users::load).transpose()?.unwrap_or_default();
        let users_seen = Mutex::new(users_file.as_deref().and_then(crate::inventory::modified));
        let users = arc_swap::ArcSwap::from_pointee(users);
        Ok(Self {
            provider,
            store,
            clock,
            users,
            users_file,
            users_seen,
            verified: Mutex::default(),
            verifying: tokio::sync::Semaphore::new(VERIFYING_MAX),
            accounts,
        })
    }

    /// People's accounts and logins.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the users file again when it has changed. Says what happened, when something did.
    pub(crate) fn reload_if_changed(&self) -> Option<Result<String, String>> {
        let path = self.users_file.as_deref()?;
        let now = crate::inventory::modified(path);
        {
            let mut seen = self.users_seen.lock().ok()?;
            if *seen == now {
                return None;
            }
            *seen = now;
        }
        Some(match Users::load(path) {
            Ok(users) => {
                let text = format!(
                    "the users file {} was read again: {} users, {} services",
                    path.display(),
                    users.users.len(),
                    users.services.len()
                );
                self.replace_users(users);
                Ok(text)
            }
            Err(error) => Err(error.to_string()),
        })
    }

    /// Where identities come from.
    pub fn provider(&self) -> IdentityProvider {
        self.provider
    }

    /// The users file as it is in force.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Puts another users file in force. Keys verified under the old one are verified again.
    pub fn replace_users(&self, users: Users) {
        self.users.store(Arc::new(users));
        if let Ok(mut verified) = self.verified.lock() {
            verified.clear();
        }
    }

    /// The caller behind a bearer key or access token and, for services, the person it says it acts for.
    pub async fn identify(&self, bearer: Option<&str>, named: Option<&str>) -> Result<Caller, IdentityError> {
        let Some(bearer) = bearer else {
            return match self.provider {
                IdentityProvider::Keys => Err(IdentityError::Missing),
                IdentityProvider::None => Ok(Caller { principal: self.on_trust(named), key_id: None, login: None }),
            };
        };
        if bearer.len() > CREDENTIAL_BYTES_MAX {
            return Err(IdentityError::BadKey);
        }
        if let Some(found) = self.token(bearer).await {
            return found;
        }
        let caller = match split_key(bearer) {
            Some((key_id, _)) => self.own_key(&key_id, bearer).await?,
            None => self.file_key(bearer).await?,
        };
        match named {
            Some(name) if caller.principal.kind == PrincipalKind::Service => self.acting_for(caller, name),
            _ => Ok(caller),
        }
    }

    /// With identity switched off everybody on this machine is who they say, with every role. The method is in each
    /// record, so that nobody mistakes such a name for a proof.
    fn on_trust(&self, named: Option<&str>) -> Principal {
        let (name, method) = match named {
            Some(name) => (name.chars().take(128).collect(), AuthMethod::Header),
            None => ("anonymous".to_owned(), AuthMethod::None),
        };
        let known = self.users.load();
        match known.users.get(&name) {
            Some(roles) => Principal::new(PrincipalKind::User, name, method)
                .with_roles(roles.iter().cloned())
                .found_by(KnownBy::UsersFile),
            None => Principal::new(PrincipalKind::User, name, method).with_roles(["admin"]),
        }
    }

    async fn own_key(&self, key_id: &KeyId, bearer: &str) -> Result<Caller, IdentityError> {
        let stored = self.store.key(key_id).await?.ok_or(IdentityError::BadKey)?;
        let given = Digest::of(bearer.as_bytes()).to_string();
        let same: bool = given.as_bytes().ct_eq(stored.key.hash.as_bytes()).into();
        if !same || stored.revoked_at.is_some() {
            return Err(IdentityError::BadKey);
        }
        let mut principal = Principal::new(stored.key.kind, stored.key.principal, AuthMethod::ApiKey);
        principal.tenant = stored.key.tenant;
        principal.roles = stored.key.roles;
        principal.known_by = Some(KnownBy::Key(stored.key.key_id.clone()));
        Ok(Caller { principal, key_id: Some(stored.key.key_id), login: None })
    }

    async fn file_key(&self, bearer: &str) -> Result<Caller, IdentityError> {
        let digest = Digest::of(bearer.as_bytes());
        let found = match self.recently_verified(&digest) {
            Some(found) => found,
            None => {
                let users = self.users.load_full();
                if users.keys.is_empty() {
                    return Err(IdentityError::BadKey);
                }
                // Argon2id takes time and memory on purpose, and anybody may send a wrong key: only so many at a time.
                let place = tokio::time::timeout(VERIFY_WAIT_MAX, self.verifying.acquire()).await;
                let Ok(Ok(_place)) = place else {
                    let reason = "too many keys are being verified at this moment; ask again".to_owned();
                    return Err(IdentityError::Store(StoreError::Unavailable(reason)));
                };
                let (known, secret) = (Arc::clone(&users), bearer.to_owned());
                let found = tokio::task::spawn_blocking(move || verify_in_file(&known, &secret))
                    .await
                    .map_err(|_| IdentityError::BadKey)?
                    .ok_or(IdentityError::BadKey)?;
                self.remember(digest, &found, &users);
                found
            }
        };
        let users = self.users.load();
        let (kind, name) = found;
        let roles = if kind == PrincipalKind::Service { users.services.get(&name) } else { users.users.get(&name) };
        let roles = roles.ok_or(IdentityError::BadKey)?;
        let principal = Principal::new(kind, name, AuthMethod::ApiKey)
            .with_roles(roles.iter().cloned())
            .found_by(KnownBy::UsersFile);
        Ok(Caller { principal, key_id: None, login: None })
    }

    fn recently_verified(&self, digest: &Digest) -> Option<(PrincipalKind, String)> {
        let verified = self.verified.lock().ok()?;
        let (at, kind, name) = verified.get(digest)?;
        (at.elapsed() < VERIFIED_FOR).then(|| (*kind, name.clone()))
    }

    /// Remembers a key that was verified under a users file, unless another one has come into force since.
    fn remember(&self, digest: Digest, found: &(PrincipalKind, String), under: &Arc<Users>) {
        if let Ok(mut verified) = self.verified.lock()
            && Arc::ptr_eq(under, &self.users.load())
        {
            if verified.len() >= VERIFIED_MAX {
                verified.clear();
            }
            verified.insert(digest, (Instant::now(), found.0, found.1.clone()));
        }
    }

    /// A service vouches for a person of the users file: the person asks, the service carries the question.
    fn acting_for(&self, caller: Caller, name: &str) -> Result<Caller, IdentityError> {
        let users = self.users.load();
        let roles =
            users.users.get(name).ok_or_else(|| IdentityError::UnknownUser(name.chars().take(128).collect()))?;
        let mut person =
            Principal::new(PrincipalKind::User, name, AuthMethod::Static).with_roles(roles.iter().cloned());
        person.known_by = Some(KnownBy::UsersFile);
        person.tenant = caller.principal.tenant.clone();
        let principal = Principal { on_behalf_of: Some(Box::new(person)), ..caller.principal };
        Ok(Caller { principal, ..caller })
    }

    /// Makes a key and stores its hash. The text is returned once and is nowhere else.
    pub async fn create_key(
        &self,
        tenant: TenantId,
        kind: PrincipalKind,
        principal: String,
        roles: BTreeSet<String>,
        note: String,
    ) -> Result<(KeyId, String), IdentityError> {
        let (key, text) = self.fresh_key(tenant, kind, principal, roles, note);
        let key_id = key.key_id.clone();
        self.store.add_key(key).await?;
        Ok((key_id, text))
    }

    /// A key that is stored nowhere yet, and its text.
    pub(crate) fn fresh_key(
        &self,
        tenant: TenantId,
        kind: PrincipalKind,
        principal: String,
        roles: BTreeSet<String>,
        note: String,
    ) -> (NewKey, String) {
        let now = self.clock.now();
        let key_id = KeyId::new(now, self.clock.random());
        let mut secret = [0u8; 32];
        secret[..16].copy_from_slice(&self.clock.random().to_be_bytes());
        secret[16..].copy_from_slice(&self.clock.random().to_be_bytes());
        let suffix = key_id.as_str().trim_start_matches("key_").to_owned();
        let text = format!("reeve_{suffix}_{}", URL_SAFE_NO_PAD.encode(secret));
        let hash = Digest::of(text.as_bytes()).to_string();
        (NewKey { key_id, tenant, kind, principal, roles, note, hash, created_at: now }, text)
    }
}

/// The id inside a key that Reeve made: `reeve_<id>_<secret>`.
fn split_key(bearer: &str) -> Option<(KeyId, &str)> {
    let (id, secret) = bearer.strip_prefix("reeve_")?.split_once('_')?;
    let key_id = format!("key_{id}").parse().ok()?;
    Some((key_id, secret))
}

fn verify_in_file(users: &Users, secret: &str) -> Option<(PrincipalKind, String)> {
    users
        .keys
        .iter()
        .find(|(_, _, hash)| {
            PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
        })
        .map(|(kind, name, _)| (*kind, name.clone()))
}
