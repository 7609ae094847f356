//! Logins: what a sign-in gives, how it is renewed, and how it ends.

use std::time::Duration;

use reeve_store::{Rotation, StoredLogin};
use reeve_types::secret::{ExposeSecret as _, SecretString};
use reeve_types::{Digest, LoginId, Principal, TenantId};

use super::tokens::looks_like_token;
use super::{AccountError, Accounts, Origin, Person, Subject, later};
use crate::identity::{Caller, Identity, IdentityError};

/// What a refresh token begins with.
const REFRESH_PREFIX: &str = "rrt_";
/// Longest refresh token that is looked at, in bytes.
const REFRESH_BYTES_MAX: usize = 128;
/// Longest description of a browser that is kept, in characters.
const AGENT_CHARS_MAX: usize = 200;
/// Two pages of one browser share a cookie and may renew at the same moment. Within this time the later one is told to
/// look at the cookie again; it gets nothing, and the login goes on.
const SAME_MOMENT: Duration = Duration::from_secs(5);

/// What a sign-in gives.
#[derive(Debug)]
pub struct SignedIn {
    /// Proves who one is until it expires.
    pub access_token: SecretString,
    /// How many seconds the access token is good for.
    pub expires_in: u64,
    /// Gets the next access token, once.
    pub refresh_token: SecretString,
    /// How long the refresh token is good for.
    pub refresh_lifetime: Duration,
    /// The login.
    pub login_id: LoginId,
    /// Who signed in.
    pub person: Person,
}

/// One login, as its owner sees it.
#[derive(Debug, Clone)]
pub struct Session {
    /// What is known of it.
    pub login: StoredLogin,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl Accounts {
    /// Opens a login for a person who has proved who they are. It does not stay when it cannot be recorded.
    pub(super) async fn open_login(
        &self,
        subject: &Subject,
        person: Person,
        method: &str,
        origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        let now = self.now();
        let refresh = self.new_refresh();
        let login = StoredLogin {
            login_id: LoginId::new(now, self.parts.clock.random()),
            tenant: person.principal.tenant.clone(),
            subject: subject.to_string(),
            method: method.to_owned(),
            created_at: now,
            seen_at: now,
            expires_at: later(now, self.options().refresh_lifetime),
            ended_at: None,
            address: origin.address.map_or_else(String::new, |address| address.to_string()),
            agent: origin.agent.chars().filter(|c| !c.is_control()).take(AGENT_CHARS_MAX).collect(),
        };
        let from = if login.address.is_empty() { String::new() } else { format!(" from {}", login.address) };
        let how = match method {
            "password" => "a password",
            "link" => "a sign-in link",
            _ => "an API key",
        };
        let note = format!("{} signed in with {how}{from} ({})", person.principal.label(), login.login_id);
        self.record(&person.principal, &login.tenant, note).await?;
        let login_id = login.login_id.clone();
        self.parts.store.add_login(login, hash_of(&refresh)).await?;
        self.give(login_id, subject, person, refresh)
    }

    fn give(
        &self,
        login_id: LoginId,
        subject: &Subject,
        person: Person,
        refresh: SecretString,
    ) -> Result<SignedIn, AccountError> {
        let (access, expires_in) = self.issue(&login_id, &person.principal.tenant, &subject.to_string())?;
        Ok(SignedIn {
            access_token: access.into(),
            expires_in,
            refresh_token: refresh,
            refresh_lifetime: self.options().refresh_lifetime,
            login_id,
            person,
        })
    }

    fn new_refresh(&self) -> SecretString {
        format!("{REFRESH_PREFIX}{}", self.random_text()).into()
    }

    /// Ends a login, at once. Returns whether it still held.
    pub async fn sign_out(&self, who: &Principal, id: &LoginId) -> Result<bool, AccountError> {
        let (this, who, id) = (self.clone(), who.clone(), id.clone());
        self.whole(async move {
            let ended = this.parts.store.end_login(&id, this.now()).await?;
            this.announce_end(std::slice::from_ref(&id));
            if ended {
                this.record(&who, &who.tenant, format!("{} signed out ({id})", who.label())).await?;
            }
            Ok(ended)
        })
        .await
    }

    /// Ends every login of a subject. Returns how many.
    pub(super) async fn end_all(&self, tenant: &TenantId, subject: &Subject) -> Result<usize, AccountError> {
        let ended = self.parts.store.end_logins(tenant, &subject.to_string(), None, self.now()).await?;
        self.announce_end(&ended);
        Ok(ended.len())
    }

    fn announce_end(&self, ids: &[LoginId]) {
        self.parts.live.forget_logins(ids);
        for id in ids {
            // Nobody may be listening.
            let _ = self.parts.ended.send(id.clone());
        }
    }

    /// The logins of whoever holds this one, newest first.
    pub async fn sessions(&self, own: &LoginId) -> Result<Vec<Session>, AccountError> {
        let login = self.login(own).await?.ok_or_else(|| AccountError::NoSuchLogin(own.clone()))?;
        let found = self.parts.store.logins(&login.tenant, &login.subject, self.now()).await?;
        Ok(found.into_iter().map(|login| Session { current: login.login_id == *own, login }).collect())
    }

    /// Ends one of one's own logins.
    pub async fn end_session(&self, who: &Principal, own: &LoginId, id: &LoginId) -> Result<(), AccountError> {
        let mine = self.sessions(own).await?;
        if !mine.iter().any(|session| session.login.login_id == *id) {
            return Err(AccountError::NoSuchLogin(id.clone()));
        }
        self.sign_out(who, id).await.map(|_| ())
    }
}

impl Identity {
    /// Renews a login. The refresh token that was brought is used up; bringing it again ends the login, because then
    /// two parties hold it. `from_cookie` grants pages of one browser that renew at the same moment a second look.
    pub async fn refresh(&self, token: &SecretString, from_cookie: bool) -> Result<SignedIn, AccountError> {
        let text = token.expose_secret();
        if !text.starts_with(REFRESH_PREFIX) || text.len() > REFRESH_BYTES_MAX {
            return Err(AccountError::BadRefresh);
        }
        let (accounts, hash) = (self.accounts(), hash_of(token));
        let store = &accounts.parts.store;
        // A token that nobody gave out does not reach the writer.
        if !store.knows_refresh(&hash).await? {
            return Err(AccountError::BadRefresh);
        }
        let (now, next) = (accounts.now(), accounts.new_refresh());
        let expires = later(now, accounts.options().refresh_lifetime);
        match store.rotate_refresh(&hash, hash_of(&next), now, expires).await? {
            Rotation::Unknown => Err(AccountError::BadRefresh),
            Rotation::Reused { at, .. } if from_cookie && later(at, SAME_MOMENT) > now => {
                Err(AccountError::RefreshedAlready)
            }
            Rotation::Reused { login, .. } => {
                let note = format!(
                    "a refresh token of {} was used twice; the login {} was ended",
                    login.subject, login.login_id
                );
                self.end_for_cause(&login, note).await?;
                Err(AccountError::BadRefresh)
            }
            Rotation::Rotated(login) => {
                let subject: Subject = login.subject.parse().map_err(AccountError::BrokeOff)?;
                match self.person(&subject, &login.tenant).await? {
                    Some(person) => accounts.give(login.login_id, &subject, person, next),
                    None => {
                        let note =
                            format!("{} may no longer sign in; the login {} was ended", login.subject, login.login_id);
                        self.end_for_cause(&login, note).await?;
                        Err(AccountError::BadRefresh)
                    }
                }
            }
        }
    }

    /// The person whom a login speaks for at this moment.
    pub async fn person_of(&self, login: &LoginId) -> Result<Person, AccountError> {
        let gone = || AccountError::NoSuchLogin(login.clone());
        let found = self.accounts().login(login).await?.ok_or_else(gone)?;
        let subject: Subject = found.subject.parse().map_err(AccountError::BrokeOff)?;
        self.person(&subject, &found.tenant).await?.ok_or_else(gone)
    }

    async fn end_for_cause(&self, login: &StoredLogin, note: String) -> Result<(), AccountError> {
        let (accounts, login) = (self.accounts().clone(), login.clone());
        let ours = Principal::new(reeve_types::PrincipalKind::Service, "reeve", reeve_types::AuthMethod::System);
        self.accounts()
            .whole(async move {
                accounts.parts.store.end_login(&login.login_id, accounts.now()).await?;
                accounts.announce_end(std::slice::from_ref(&login.login_id));
                accounts.record(&ours, &login.tenant, note).await
            })
            .await
    }

    /// The caller behind an access token. `None` when the text is no access token.
    pub(crate) async fn token(&self, text: &str) -> Option<Result<Caller, IdentityError>> {
        if looks_like_token(text) { Some(self.signed_in(text).await) } else { None }
    }

    async fn signed_in(&self, token: &str) -> Result<Caller, IdentityError> {
        let claims = self.accounts().read_token(token)?;
        let login = self.accounts().login(&claims.lgn).await.map_err(of_lookup)?;
        let login = login.ok_or(IdentityError::SignedOut)?;
        if login.subject != claims.sub || login.tenant != claims.tenant {
            return Err(IdentityError::BadToken);
        }
        let subject: Subject = login.subject.parse().map_err(|_| IdentityError::BadToken)?;
        let person = self.person(&subject, &login.tenant).await.map_err(of_lookup)?;
        let person = person.ok_or(IdentityError::SignedOut)?;
        Ok(Caller { principal: person.principal, key_id: None, login: Some(login.login_id) })
    }
}

fn of_lookup(error: AccountError) -> IdentityError {
    match error {
        AccountError::Store(error) => IdentityError::Store(error),
        _ => IdentityError::SignedOut,
    }
}

fn hash_of(token: &SecretString) -> String {
    Digest::of(token.expose_secret().as_bytes()).to_string()
}
