//! The three ways in: e-mail address and password, API key, link that works once.

use reeve_store::StoredAccount;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use reeve_types::{Digest, LoginId, PrincipalKind};

use super::throttle::Target;
use super::{AccountError, Accounts, Origin, Person, SignedIn, Subject, email, password};
use crate::identity::{Identity, IdentityError};

/// Longest link secret that is looked at, in bytes.
const LINK_BYTES_MAX: usize = 256;

impl Identity {
    /// Signs in with an e-mail address and a password. An address that nobody has takes as long as a wrong password.
    pub async fn sign_in_with_password(
        &self,
        address: &str,
        password: &SecretString,
        origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        let accounts = self.accounts();
        // Whatever was typed is throttled under one name and verified once, even when it is no address at all.
        let email = email::normalised(address).unwrap_or_else(|_| address.trim().chars().take(80).collect());
        let targets = targets(origin, Some(&email));
        accounts.parts.throttle.admit(&targets, accounts.now()).map_err(AccountError::TooManyTries)?;
        let account = accounts.parts.store.account_of_email(&email).await?;
        let hash = account.as_ref().and_then(|account| account.hash.clone());
        let fits = accounts.verify_password(password.clone(), hash).await?;
        let Some(account) = account.filter(|_| fits) else { return Err(AccountError::WrongPassword) };
        accounts.parts.throttle.succeeded(&targets);
        self.enter(&account, "password", origin).await
    }

    /// Signs in with an API key: of Reeve or of the users file. Programs use their keys as they are.
    pub async fn sign_in_with_key(&self, key: &SecretString, origin: &Origin) -> Result<SignedIn, AccountError> {
        let accounts = self.accounts();
        let targets = targets(origin, None);
        accounts.parts.throttle.admit(&targets, accounts.now()).map_err(AccountError::TooManyTries)?;
        let caller = self.identify(Some(key.expose_secret()), None).await.map_err(|error| match error {
            IdentityError::Store(error) => AccountError::Store(error),
            _ => AccountError::BadKey,
        })?;
        if caller.login.is_some() {
            return Err(AccountError::BadKey);
        }
        accounts.parts.throttle.succeeded(&targets);
        if caller.principal.kind != PrincipalKind::User {
            return Err(AccountError::NotAPerson);
        }
        let subject = match caller.key_id {
            Some(id) => Subject::Key(id),
            None => Subject::FileUser(caller.principal.id),
        };
        let person = self.person(&subject, &caller.principal.tenant).await?.ok_or(AccountError::BadKey)?;
        accounts.open_login(&subject, person, "api_key", origin).await
    }

    /// Signs in with the secret of a link. It is used up, whatever comes of it.
    pub async fn sign_in_with_link(&self, secret: &SecretString, origin: &Origin) -> Result<SignedIn, AccountError> {
        let accounts = self.accounts();
        let targets = targets(origin, None);
        accounts.parts.throttle.admit(&targets, accounts.now()).map_err(AccountError::TooManyTries)?;
        if secret.expose_secret().len() > LINK_BYTES_MAX {
            return Err(AccountError::BadLink);
        }
        let hash = Digest::of(secret.expose_secret().as_bytes()).to_string();
        let account = accounts.parts.store.use_sign_in_link(&hash, accounts.now()).await?;
        let account = account.ok_or(AccountError::BadLink)?;
        accounts.parts.throttle.succeeded(&targets);
        self.enter(&account, "link", origin).await
    }

    /// Changes one's own password. Every login ends, and a new one begins. Who has no password yet needs no old one.
    pub async fn change_own_password(
        &self,
        own: &LoginId,
        old: &SecretString,
        new: &SecretString,
        origin: &Origin,
    ) -> Result<SignedIn, AccountError> {
        let accounts = self.accounts();
        let account = accounts.account_of_login(own).await?;
        password::check(new, &account.email)?;
        let targets = targets(origin, Some(&account.email));
        accounts.parts.throttle.admit(&targets, accounts.now()).map_err(AccountError::TooManyTries)?;
        if account.hash.is_some() && !accounts.verify_password(old.clone(), account.hash.clone()).await? {
            return Err(AccountError::WrongOldPassword);
        }
        accounts.parts.throttle.succeeded(&targets);
        let hash = accounts.hash_password(new.clone()).await?;
        let person = Person::of_account(&account);
        let note = format!("{} changed their password; every sign-in of theirs was ended", person.principal.label());
        accounts.put_password(&person.principal, &account, hash, note).await?;
        self.enter(&account, "password", origin).await
    }

    async fn enter(&self, account: &StoredAccount, method: &str, origin: &Origin) -> Result<SignedIn, AccountError> {
        if account.disabled_at.is_some() {
            return Err(AccountError::Disabled);
        }
        let subject = Subject::Account(account.account_id.clone());
        self.accounts().open_login(&subject, Person::of_account(account), method, origin).await
    }
}

impl Accounts {
    /// Counts a sign-up as a try of its address, so that accounts cannot be made, or addresses asked for, in numbers.
    pub(super) fn admit_sign_up(&self, origin: &Origin) -> Result<(), AccountError> {
        self.parts.throttle.admit(&targets(origin, None), self.now()).map_err(AccountError::TooManyTries)
    }

    async fn account_of_login(&self, id: &LoginId) -> Result<StoredAccount, AccountError> {
        let login = self.login(id).await?.ok_or_else(|| AccountError::NoSuchLogin(id.clone()))?;
        match login.subject.parse() {
            Ok(Subject::Account(id)) => {
                self.parts.store.account(&id).await?.ok_or_else(|| AccountError::NoSuchAccount(id.to_string()))
            }
            _ => Err(AccountError::NotAnAccount),
        }
    }
}

fn targets(origin: &Origin, account: Option<&str>) -> Vec<Target> {
    let address = origin.address.map(Target::address);
    address.into_iter().chain(account.map(|account| Target::Account(account.to_owned()))).collect()
}
