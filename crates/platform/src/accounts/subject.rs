//! Who signed in: an account, the owner of an API key, or a user of the users file.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use reeve_store::StoredAccount;
use reeve_types::principal::KnownBy;
use reeve_types::{AccountId, AuthMethod, KeyId, LoginId, Principal, PrincipalKind, TenantId};

use super::AccountError;
use crate::identity::Identity;

/// Who a login speaks for. What they may do is looked up at every request, so a role that is taken away is gone at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person's account.
    Account(AccountId),
    /// The person whom an API key speaks for.
    Key(KeyId),
    /// A person of the users file.
    FileUser(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::FileUser(name) => write!(f, "user:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("user:") {
            return Ok(Self::FileUser(name.to_owned()));
        }
        let account = text.parse().map(Self::Account);
        let key = text.parse().map(Self::Key);
        account.or(key).map_err(|error: reeve_types::id::IdError| error.to_string())
    }
}

/// A person as they are known at this moment.
#[derive(Debug, Clone)]
pub struct Person {
    /// The id of their account, or what they signed in with.
    pub id: String,
    /// The number of their account.
    pub number: Option<i64>,
    /// The e-mail address of their account.
    pub email: Option<String>,
    /// How they want to be called.
    pub name: String,
    /// How records and policies know them.
    pub principal: Principal,
}

impl Person {
    /// The person of an account.
    pub fn of_account(account: &StoredAccount) -> Self {
        let mut principal = Principal::new(PrincipalKind::User, account.principal.clone(), AuthMethod::SignedIn)
            .with_roles(&account.roles)
            .found_by(KnownBy::Account(account.account_id.clone()));
        principal.tenant = account.tenant.clone();
        Self {
            id: account.account_id.to_string(),
            number: Some(account.number),
            email: Some(account.email.clone()),
            name: account.name.clone(),
            principal,
        }
    }

    fn of_principal(id: String, principal: Principal) -> Self {
        let principal = Principal { auth_method: AuthMethod::SignedIn, ..principal };
        Self { id, number: None, email: None, name: principal.id.clone(), principal }
    }
}

impl Identity {
    /// Who it is that proved themselves with a login, a key or the users file; `None` for programs of the users file, and
    /// for callers who were taken at their word.
    pub async fn subject(
        &self,
        principal: &Principal,
        key: Option<&KeyId>,
        login: Option<&LoginId>,
    ) -> Result<Option<Subject>, AccountError> {
        if let Some(login) = login {
            let held = self.accounts().login(login).await?;
            return Ok(held.and_then(|login| login.subject.parse().ok()));
        }
        let of_file = principal.auth_method == AuthMethod::ApiKey && principal.kind == PrincipalKind::User;
        Ok(key.cloned().map(Subject::Key).or_else(|| of_file.then(|| Subject::FileUser(principal.id.clone()))))
    }

    /// The person whom a login of a tenant speaks for. `None` when the account is switched off, the key was taken back,
    /// or the name no longer stands in the users file.
    pub async fn person(&self, subject: &Subject, tenant: &TenantId) -> Result<Option<Person>, AccountError> {
        match subject {
            Subject::Account(id) => {
                let account = self.accounts().account(id).await?;
                let holds = account.filter(|account| account.disabled_at.is_none() && account.tenant == *tenant);
                Ok(holds.as_ref().map(Person::of_account))
            }
            Subject::Key(id) => {
                let stored = self.store().key(id).await?.filter(|stored| stored.revoked_at.is_none());
                Ok(stored.filter(|stored| stored.key.tenant == *tenant).map(|stored| {
                    let mut principal = Principal::new(stored.key.kind, stored.key.principal, AuthMethod::SignedIn)
                        .with_roles(stored.key.roles)
                        .found_by(KnownBy::Key(id.clone()));
                    principal.tenant = stored.key.tenant;
                    Person::of_principal(id.to_string(), principal)
                }))
            }
            Subject::FileUser(name) => Ok(self.users().users.get(name).map(|roles| {
                let principal = Principal::new(PrincipalKind::User, name.clone(), AuthMethod::SignedIn)
                    .with_roles(roles)
                    .found_by(KnownBy::UsersFile);
                Person::of_principal(subject.to_string(), principal)
            })),
        }
    }

    /// Somebody who proved themselves a while ago, as they are at this moment, with whomever they act for: with the roles
    /// of now. `None` when one of them is nobody any more: the key was taken back, the account switched off, the name
    /// struck out. Who was taken at their word stays as they were.
    pub async fn as_of_now(&self, principal: &Principal) -> Result<Option<Principal>, AccountError> {
        let mut now = principal.clone();
        let mut link = Some(&mut now);
        while let Some(one) = link {
            let Some(roles) = self.roles_of_now(one).await? else { return Ok(None) };
            one.roles = roles;
            link = one.on_behalf_of.as_deref_mut();
        }
        Ok(Some(now))
    }

    async fn roles_of_now(&self, one: &Principal) -> Result<Option<BTreeSet<String>>, AccountError> {
        Ok(match &one.known_by {
            None => Some(one.roles.clone()),
            Some(KnownBy::Key(id)) => {
                let stored = self.store().key(id).await?.filter(|stored| stored.revoked_at.is_none());
                stored.filter(|stored| stored.key.tenant == one.tenant).map(|stored| stored.key.roles)
            }
            Some(KnownBy::Account(id)) => {
                let account = self.accounts().account(id).await?;
                let holds = account.filter(|account| account.disabled_at.is_none() && account.tenant == one.tenant);
                holds.map(|account| account.roles.into_iter().collect())
            }
            Some(KnownBy::UsersFile) => {
                let users = self.users();
                let of_kind = if one.kind == PrincipalKind::Service { &users.services } else { &users.users };
                of_kind.get(&one.id).cloned()
            }
        })
    }
}
