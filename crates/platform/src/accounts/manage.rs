//! Making, changing and switching off accounts, and the links that let somebody in once.

use std::collections::BTreeSet;

use reeve_store::{AccountChange, StoredAccount};
use reeve_types::secret::SecretString;
use reeve_types::{AccountId, AuthMethod, Digest, Principal, PrincipalKind, TenantId};

use super::{AccountError, Accounts, LINK_LIFETIME, Origin, Person, SignedIn, Subject, email, later, password};
use crate::identity::Identity;

/// The account of whoever owns the data directory; made at the first need. Its principal is the one of the key in
/// `admin.token`, so that both are the same party.
const ADMINISTRATOR_EMAIL: &str = "admin@localhost";
/// The word that names it where an id is expected.
pub(super) const ADMINISTRATOR: &str = "administrator";
/// What people who sign up by themselves get.
const SIGN_UP_ROLE: &str = "developer";
/// Longest name of a person or a role, in bytes.
const NAME_BYTES_MAX: usize = 128;
const ROLES_MAX: usize = 32;

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The address, however it is spelled.
    pub email: String,
    /// How the person wants to be called; without one the part of the address before the `@`.
    pub name: Option<String>,
    /// Without one the person comes in by link and sets their own.
    pub password: Option<SecretString>,
    /// The roles it gives.
    pub roles: BTreeSet<String>,
}

/// What an administrator changes about an account; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Another name.
    pub name: Option<String>,
    /// Other roles; they hold from the next request on.
    pub roles: Option<BTreeSet<String>>,
    /// Another password; every login ends.
    pub password: Option<SecretString>,
    /// Switched off (every login ends) or on again.
    pub disabled: Option<bool>,
}

/// A link that lets one person in, once.
#[derive(Debug)]
pub struct SignInLink {
    /// What stands behind `#/sign-in?link=`.
    pub secret: SecretString,
    /// Until when it works.
    pub expires_at: jiff::Timestamp,
    /// Whom it lets in.
    pub account: StoredAccount,
}

impl Identity {
    /// Makes an account for a stranger and signs them in, where that is switched on.
    pub async fn sign_up(&self, new: NewAccount, origin: &Origin) -> Result<SignedIn, AccountError> {
        let accounts = self.accounts();
        if !accounts.options().registration {
            return Err(AccountError::RegistrationOff);
        }
        accounts.admit_sign_up(origin)?;
        if new.password.is_none() {
            return Err(AccountError::BadPassword("an account needs a password".to_owned()));
        }
        let new = NewAccount { roles: BTreeSet::from([SIGN_UP_ROLE.to_owned()]), ..new };
        let account = accounts.create(None, &TenantId::default_tenant(), new).await?;
        let subject = Subject::Account(account.account_id.clone());
        accounts.open_login(&subject, Person::of_account(&account), "password", origin).await
    }
}

impl Accounts {
    /// Makes an account in a tenant. Without `by` the person makes it for themselves.
    pub async fn create(
        &self,
        by: Option<&Principal>,
        tenant: &TenantId,
        new: NewAccount,
    ) -> Result<StoredAccount, AccountError> {
        let email = email::normalised(&new.email)?;
        let name = new.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| email.split('@').next().unwrap_or_default()).to_owned();
        check_name(&name)?;
        check_roles(&new.roles)?;
        let hash = match new.password {
            Some(text) => {
                password::check(&text, &email)?;
                Some(self.hash_password(text).await?)
            }
            None => None,
        };
        let account = self.fresh(tenant, email.clone(), email, name, new.roles, hash);
        self.keep(by.cloned(), account).await
    }

    fn fresh(
        &self,
        tenant: &TenantId,
        principal: String,
        email: String,
        name: String,
        roles: BTreeSet<String>,
        hash: Option<String>,
    ) -> StoredAccount {
        StoredAccount {
            account_id: self.new_account_id(),
            number: 0,
            tenant: tenant.clone(),
            email,
            name,
            principal,
            roles,
            hash,
            disabled_at: None,
            created_at: self.now(),
        }
    }

    async fn keep(&self, by: Option<Principal>, account: StoredAccount) -> Result<StoredAccount, AccountError> {
        // Looked at before it is recorded; the insertion itself decides when two come at once.
        if self.parts.store.account_of_email(&account.email).await?.is_some() {
            return Err(AccountError::Taken);
        }
        let by = by.unwrap_or_else(|| Person::of_account(&account).principal);
        let note = format!(
            "the account {} was made for {} with {}",
            account.account_id,
            account.email,
            roles_in_words(&account.roles)
        );
        // Recorded first: an account without a record would be worse than a record of one that was not made.
        self.record(&by, &account.tenant, note).await?;
        self.parts.store.add_account(account).await?.ok_or(AccountError::Taken)
    }

    /// The accounts of a tenant, by e-mail address.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<StoredAccount>, AccountError> {
        Ok(self.parts.store.accounts(tenant).await?)
    }

    /// An account of a tenant by its id, its e-mail address, or the word `administrator`.
    pub async fn find(&self, tenant: &TenantId, named: &str) -> Result<StoredAccount, AccountError> {
        let found = if named == ADMINISTRATOR && *tenant == TenantId::default_tenant() {
            Some(self.administrator().await?)
        } else if let Ok(id) = named.parse::<AccountId>() {
            self.parts.store.account(&id).await?
        } else if let Ok(email) = email::normalised(named) {
            self.parts.store.account_of_email(&email).await?
        } else {
            None
        };
        let short = || named.chars().take(80).collect();
        found.filter(|account| account.tenant == *tenant).ok_or_else(|| AccountError::NoSuchAccount(short()))
    }

    /// The account of whoever owns the data directory.
    pub async fn administrator(&self) -> Result<StoredAccount, AccountError> {
        if let Some(known) = self.parts.store.account_of_email(ADMINISTRATOR_EMAIL).await? {
            return Ok(known);
        }
        let roles = BTreeSet::from(["admin".to_owned()]);
        let account = self.fresh(
            &TenantId::default_tenant(),
            "admin".to_owned(),
            ADMINISTRATOR_EMAIL.to_owned(),
            "Administrator".to_owned(),
            roles,
            None,
        );
        let ours = Principal::new(PrincipalKind::Service, "reeve", AuthMethod::System);
        match self.keep(Some(ours), account).await {
            // Two asked at the same moment.
            Err(AccountError::Taken) => {
                let known = self.parts.store.account_of_email(ADMINISTRATOR_EMAIL).await?;
                known.ok_or_else(|| AccountError::NoSuchAccount(ADMINISTRATOR.to_owned()))
            }
            other => other,
        }
    }

    /// Changes an account of a tenant. A new password, and switching off, end every login of it at once.
    pub async fn change(
        &self,
        by: &Principal,
        tenant: &TenantId,
        named: &str,
        change: Change,
    ) -> Result<StoredAccount, AccountError> {
        let account = self.find(tenant, named).await?;
        if let Some(name) = &change.name {
            check_name(name.trim())?;
        }
        if let Some(roles) = &change.roles {
            check_roles(roles)?;
        }
        let hash = match &change.password {
            Some(text) => {
                password::check(text, &account.email)?;
                Some(self.hash_password(text.clone()).await?)
            }
            None => None,
        };
        let Some(note) = in_words(&account, &change) else { return Ok(account) };
        let ends = change.password.is_some() || change.disabled == Some(true);
        let disabled = change.disabled.map(|off| off.then(|| self.now()));
        let name = change.name.map(|name| name.trim().to_owned());
        self.put(by, &account, AccountChange { name, roles: change.roles, hash, disabled }, ends, note).await
    }

    /// Puts another password in the place of an account's and ends its logins.
    pub(super) async fn put_password(
        &self,
        by: &Principal,
        account: &StoredAccount,
        hash: String,
        note: String,
    ) -> Result<StoredAccount, AccountError> {
        self.put(by, account, AccountChange { hash: Some(hash), ..AccountChange::default() }, true, note).await
    }

    async fn put(
        &self,
        by: &Principal,
        account: &StoredAccount,
        change: AccountChange,
        ends: bool,
        note: String,
    ) -> Result<StoredAccount, AccountError> {
        let (this, by, tenant, id) = (self.clone(), by.clone(), account.tenant.clone(), account.account_id.clone());
        self.whole(async move {
            this.record(&by, &tenant, note).await?;
            let changed = this.parts.store.change_account(&tenant, &id, change).await?;
            this.parts.live.forget_account(&id);
            if ends {
                this.end_all(&tenant, &Subject::Account(id.clone())).await?;
            }
            changed.ok_or_else(|| AccountError::NoSuchAccount(id.to_string()))
        })
        .await
    }

    /// Makes a link that lets the owner of an account in, once, within ten minutes.
    pub async fn sign_in_link(
        &self,
        by: &Principal,
        tenant: &TenantId,
        named: &str,
    ) -> Result<SignInLink, AccountError> {
        let account = self.find(tenant, named).await?;
        if account.disabled_at.is_some() {
            return Err(AccountError::Disabled);
        }
        let (secret, now) = (self.random_text(), self.now());
        let expires_at = later(now, LINK_LIFETIME);
        self.record(by, tenant, format!("a sign-in link was made for {}", account.email)).await?;
        let hash = Digest::of(secret.as_bytes()).to_string();
        self.parts.store.add_sign_in_link(hash, &account.account_id, now, expires_at).await?;
        Ok(SignInLink { secret: secret.into(), expires_at, account })
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    let fine = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if fine {
        Ok(())
    } else {
        Err(AccountError::Invalid(format!("a name is 1 to {NAME_BYTES_MAX} bytes of printable text")))
    }
}

fn check_roles(roles: &BTreeSet<String>) -> Result<(), AccountError> {
    let plain =
        |role: &String| !role.trim().is_empty() && role.len() <= NAME_BYTES_MAX && !role.chars().any(char::is_control);
    if roles.len() <= ROLES_MAX && roles.iter().all(plain) {
        return Ok(());
    }
    Err(AccountError::Invalid(format!("roles are at most {ROLES_MAX} names of 1 to {NAME_BYTES_MAX} bytes")))
}

fn roles_in_words(roles: &BTreeSet<String>) -> String {
    if roles.is_empty() {
        return "no roles".to_owned();
    }
    let names: Vec<&str> = roles.iter().map(String::as_str).collect();
    format!("the roles {}", names.join(", "))
}

/// What a change does, for the record; nothing when it does nothing.
fn in_words(account: &StoredAccount, change: &Change) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(name) = change.name.as_deref().map(str::trim).filter(|name| *name != account.name) {
        parts.push(format!("was named `{name}`"));
    }
    if let Some(roles) = change.roles.as_ref().filter(|roles| **roles != account.roles) {
        parts.push(format!("was given {}", roles_in_words(roles)));
    }
    if change.password.is_some() {
        parts.push("was given another password".to_owned());
    }
    match change.disabled {
        Some(true) if account.disabled_at.is_none() => parts.push("was switched off".to_owned()),
        Some(false) if account.disabled_at.is_some() => parts.push("was switched on again".to_owned()),
        _ => {}
    }
    (!parts.is_empty()).then(|| format!("the account {} ({}) {}", account.account_id, account.email, parts.join(", ")))
}
