//! Who asks.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, KeyId};

/// The owner of everything below it: 1 to 63 lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// The tenant that exists from the first start.
    pub fn default_tenant() -> Self {
        Self("default".to_owned())
    }
    /// The tenant's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no tenant name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tenant: use 1 to 63 lower-case letters, digits and hyphens")]
pub struct BadTenant(pub String);

impl FromStr for TenantId {
    type Err = BadTenant;
    fn from_str(text: &str) -> Result<Self, BadTenant> {
        let fine = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fine { Ok(Self(text.to_owned())) } else { Err(BadTenant(text.chars().take(70).collect())) }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What kind of being a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program with its own key.
    Service,
    /// An agent; it always acts on behalf of someone.
    Agent,
}

/// How the principal proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// The token file of the data directory, or a key.
    ApiKey,
    /// Named in the users file and vouched for by a service's key.
    Static,
    /// A signed token of an identity provider.
    Jwt,
    /// Signed in here, with an access token of Reeve.
    SignedIn,
    /// Taken on trust from a header, because the operator switched identity off.
    Header,
    /// Nobody proved anything.
    None,
    /// The platform itself.
    System,
}

/// By what a principal is found again later: that with which it proved itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// A key that Reeve made.
    Key(KeyId),
    /// A person's account.
    Account(AccountId),
    /// Its name in the users file.
    UsersFile,
}

/// Who asks: a user, a service or an agent, in one tenant, with roles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Principal {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Person, program or agent.
    pub kind: PrincipalKind,
    /// Its name, unique within tenant and kind.
    pub id: String,
    /// Its roles, aliases resolved.
    pub roles: BTreeSet<String>,
    /// How it proved itself.
    pub auth_method: AuthMethod,
    /// Whom it acts for; a chain that ends in a person or a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Box<Principal>>,
    /// By what it is found again; it stands in no record, and absent where nothing can be taken back.
    #[serde(skip)]
    pub known_by: Option<KnownBy>,
}

impl PartialEq for Principal {
    /// With what somebody proved themselves makes nobody else of them.
    fn eq(&self, other: &Self) -> bool {
        let Self { tenant, kind, id, roles, auth_method, on_behalf_of, known_by: _ } = self;
        *tenant == other.tenant
            && *kind == other.kind
            && *id == other.id
            && *roles == other.roles
            && *auth_method == other.auth_method
            && *on_behalf_of == other.on_behalf_of
    }
}

impl Eq for Principal {}

impl Principal {
    /// A principal of the default tenant without roles.
    pub fn new(kind: PrincipalKind, id: impl Into<String>, auth_method: AuthMethod) -> Self {
        Self {
            tenant: TenantId::default_tenant(),
            kind,
            id: id.into(),
            roles: BTreeSet::new(),
            auth_method,
            on_behalf_of: None,
            known_by: None,
        }
    }

    /// The same principal with these roles.
    #[must_use]
    pub fn with_roles<I: IntoIterator<Item = S>, S: Into<String>>(mut self, roles: I) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// The same principal, to be found again by this.
    #[must_use]
    pub fn found_by(mut self, known_by: KnownBy) -> Self {
        self.known_by = Some(known_by);
        self
    }

    /// Whether it has a role. `admin` does not imply other roles here; permissions decide that.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// The user's name when it is a person.
    pub fn user(&self) -> Option<&str> {
        (self.kind == PrincipalKind::User).then_some(self.id.as_str())
    }

    /// The service's name when it is a program.
    pub fn service(&self) -> Option<&str> {
        (self.kind == PrincipalKind::Service).then_some(self.id.as_str())
    }

    /// The being at the end of the chain: who answers for the act.
    pub fn root(&self) -> &Principal {
        let mut at = self;
        while let Some(next) = &at.on_behalf_of {
            at = next;
        }
        at
    }

    /// `user:alice`, `service:srebot`: how records and messages name it.
    pub fn label(&self) -> String {
        let kind = match self.kind {
            PrincipalKind::User => "user",
            PrincipalKind::Service => "service",
            PrincipalKind::Agent => "agent",
        };
        format!("{kind}:{}", self.id)
    }

    /// Whether two principals are the same being, or one acts for the other. Such two may not approve for each other.
    pub fn is_same_party(&self, other: &Principal) -> bool {
        let (a, b) = (self.root(), other.root());
        a.tenant == b.tenant && a.kind == b.kind && a.id == b.id
    }
}
