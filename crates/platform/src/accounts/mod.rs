//! People's accounts: who may sign in, how, and for how long.
//!
//! A person signs in with an e-mail address and a password, with an API key, or with a link that works once. What they
//! get is an access token ([`tokens`]) that is good for an hour and names a *login*, and a refresh token that gets the
//! next one. The login is looked up at every request, so ending it ends every token it gave, at once. Nothing that a
//! person knows or holds is stored as it is: passwords are Argon2id, tokens and links are SHA-256 of 256 random bits.

mod email;
mod live;
mod logins;
mod manage;
mod password;
mod secrets;
mod sign_in;
mod subject;
mod throttle;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reeve_gate::Clock;
use reeve_store::{Store, StoreError};
use reeve_types::secret::SecretString;
use reeve_types::{AccountId, Event, EventType, LoginId, Principal, TenantId, TraceId};
use tokio::sync::{Semaphore, broadcast};

pub use logins::{Session, SignedIn};
pub use manage::{Change, NewAccount, SignInLink};
pub use secrets::check_secret;
pub use subject::{Person, Subject};
pub use tokens::looks_like_token;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// How long a sign-in link works.
pub const LINK_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How many passwords are verified at the same time; each takes some 20 MiB of memory.
const VERIFYING_MAX: usize = 4;
/// How many ends of logins a listener may be behind before it looks them up instead.
const ENDED_BEHIND_MAX: usize = 256;

/// Settings of accounts.
#[derive(Debug, Clone)]
pub struct AccountOptions {
    /// Whether strangers may make an account for themselves.
    pub registration: bool,
    /// How long an access token is good for.
    pub token_lifetime: Duration,
    /// How long a login lasts when it is not renewed.
    pub refresh_lifetime: Duration,
    /// What access tokens are signed with. Without one, 32 random bytes are kept in the data directory.
    pub secret: Option<SecretString>,
    /// What they were signed with before; its tokens hold until they expire.
    pub previous_secret: Option<SecretString>,
}

impl Default for AccountOptions {
    fn default() -> Self {
        Self {
            registration: false,
            token_lifetime: Duration::from_secs(60 * 60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            secret: None,
            previous_secret: None,
        }
    }
}

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The text is no e-mail address.
    #[error("`{0}` is not an e-mail address")]
    BadEmail(String),
    /// The password may not be one.
    #[error("{0}")]
    BadPassword(String),
    /// A name, a role or another field is not as it must be.
    #[error("{0}")]
    Invalid(String),
    /// Somebody has this address already.
    #[error("there is an account for this e-mail address already")]
    Taken,
    /// There is no such account for this caller.
    #[error("there is no account `{0}`")]
    NoSuchAccount(String),
    /// There is no such login of this person.
    #[error("there is no sign-in `{0}` of yours that still holds")]
    NoSuchLogin(LoginId),
    /// The address is unknown, the password is wrong, or there is none.
    #[error("the e-mail address or the password is wrong")]
    WrongPassword,
    /// The old password of a change is wrong.
    #[error("the old password is wrong")]
    WrongOldPassword,
    /// The API key does not sign anybody in.
    #[error("the API key is not valid: it is unknown, wrong, or has been revoked")]
    BadKey,
    /// Programs use their keys as they are.
    #[error("this key belongs to a program, and programs do not sign in; send it as `Authorization: Bearer KEY`")]
    NotAPerson,
    /// The sign-in link does not work, or no longer.
    #[error(
        "this sign-in link does not work: it was used, is older than ten minutes, or was never made; ask for another one"
    )]
    BadLink,
    /// The account is switched off.
    #[error("this account is switched off; ask an administrator")]
    Disabled,
    /// The refresh token does not hold.
    #[error("you are signed out: the refresh token is unknown, too old, or was used before; sign in again")]
    BadRefresh,
    /// Another page of the same browser has just used the refresh token.
    #[error("another page has just renewed this sign-in; ask again with the cookie that it was given")]
    RefreshedAlready,
    /// Too many wrong tries.
    #[error("too many tries to sign in; wait {} s and try again", .0.as_secs())]
    TooManyTries(Duration),
    /// Strangers cannot make accounts here.
    #[error("nobody can sign up here; ask an administrator for an account")]
    RegistrationOff,
    /// Whoever asks did not come with an account.
    #[error("this takes an account, and you signed in with an API key")]
    NotAnAccount,
    /// Too many passwords wait to be verified.
    #[error("too many people are signing in at this moment; try again")]
    Busy,
    /// The secret that signs tokens cannot be used.
    #[error("{0}")]
    Secret(String),
    /// It could not be recorded, so it was not done.
    #[error("{0}")]
    RecordUnavailable(String),
    /// Something broke off inside.
    #[error("the work broke off: {0}")]
    BrokeOff(String),
    /// The store failed.
    #[error("the store failed: {}", .0.chain())]
    Store(#[from] StoreError),
}

/// Where a sign-in comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The address, when the request came over a network.
    pub address: Option<IpAddr>,
    /// What the browser or program says it is.
    pub agent: String,
}

/// Accounts and logins; a cheap handle.
#[derive(Clone)]
pub struct Accounts {
    parts: Arc<Parts>,
}

struct Parts {
    store: Store,
    clock: Arc<dyn Clock>,
    options: AccountOptions,
    secrets: secrets::Secrets,
    live: live::Live,
    throttle: throttle::Throttle,
    verifying: Semaphore,
    ended: broadcast::Sender<LoginId>,
}

impl Accounts {
    /// Accounts over a store. Makes the secret that signs tokens when there is none.
    ///
    /// # Errors
    ///
    /// The secret that was given is too short or well known, or the one of the data directory cannot be used.
    pub fn open(store: Store, clock: Arc<dyn Clock>, options: AccountOptions) -> Result<Self, AccountError> {
        let secrets = secrets::Secrets::open(store.dir(), &options, clock.as_ref())?;
        let (ended, _) = broadcast::channel(ENDED_BEHIND_MAX);
        Ok(Self {
            parts: Arc::new(Parts {
                store,
                clock,
                options,
                secrets,
                live: live::Live::default(),
                throttle: throttle::Throttle::default(),
                verifying: Semaphore::new(VERIFYING_MAX),
                ended,
            }),
        })
    }

    /// The settings in force.
    pub fn options(&self) -> &AccountOptions {
        &self.parts.options
    }

    /// Returns when a login has ended: signed out, password changed, account switched off. Open sockets wait for it.
    pub async fn until_ended(&self, login: &LoginId) {
        let mut ended = self.parts.ended.subscribe();
        loop {
            // Looked at after subscribing, so that an end in between is not missed.
            if matches!(self.login(login).await, Ok(None)) {
                return;
            }
            loop {
                match ended.recv().await {
                    Ok(id) if id == *login => return,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                    // The sender lives as long as `self`.
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        }
    }

    fn now(&self) -> jiff::Timestamp {
        self.parts.clock.now()
    }

    fn new_account_id(&self) -> AccountId {
        AccountId::new(self.now(), self.parts.clock.random())
    }

    /// 256 random bits as text.
    fn random_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(random_bytes(self.parts.clock.as_ref()))
    }

    /// Writes into the audit log who did what to an account.
    async fn record(&self, who: &Principal, tenant: &TenantId, note: String) -> Result<(), AccountError> {
        use reeve_gate::Ledger as _;
        let (now, clock) = (self.now(), &self.parts.clock);
        let trace = TraceId::new("idn", now, clock.random());
        let mut event = Event::new(EventType::IdentityChanged, tenant.clone(), trace, now, clock.random());
        event.principal = Some(who.clone());
        event.note = note;
        let written = self.parts.store.record(vec![], vec![event.into()]).await;
        written.map(|_| ()).map_err(|error| AccountError::RecordUnavailable(error.to_string()))
    }

    /// Does something to its end, even when whoever asked goes away meanwhile: what is stored and what is remembered
    /// must not come apart.
    async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AccountError>> + Send + 'static,
    ) -> Result<T, AccountError> {
        tokio::spawn(work).await.map_err(|error| AccountError::BrokeOff(error.to_string()))?
    }
}

fn random_bytes(clock: &dyn Clock) -> [u8; 32] {
    let mut bytes = [0u8; 32];
    bytes[..16].copy_from_slice(&clock.random().to_be_bytes());
    bytes[16..].copy_from_slice(&clock.random().to_be_bytes());
    bytes
}

/// A moment so much later.
fn later(at: jiff::Timestamp, by: Duration) -> jiff::Timestamp {
    at.checked_add(by).unwrap_or(jiff::Timestamp::MAX)
}
