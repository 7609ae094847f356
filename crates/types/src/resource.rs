//! What is acted on.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of things that tools act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// A database server.
    Database,
    /// A Kubernetes cluster or a namespace of it.
    Kubernetes,
    /// A machine or a service on it.
    Host,
    /// An isolated place to work.
    Workspace,
    /// Files shared with bots.
    Drive,
    /// A stored secret.
    Secret,
    /// A DNS zone.
    Zone,
    /// A chat bot.
    Bot,
    /// An agent: what it asks of the one it works for.
    Agent,
    /// Reeve itself.
    Platform,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Database,
        Self::Kubernetes,
        Self::Host,
        Self::Workspace,
        Self::Drive,
        Self::Secret,
        Self::Zone,
        Self::Bot,
        Self::Agent,
        Self::Platform,
    ];

    /// The word of policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Kubernetes => "kubernetes",
            Self::Host => "host",
            Self::Workspace => "workspace",
            Self::Drive => "drive",
            Self::Secret => "secret",
            Self::Zone => "zone",
            Self::Bot => "bot",
            Self::Agent => "agent",
            Self::Platform => "platform",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a kind of resource: use database, kubernetes, host, workspace, drive, secret, zone, bot or platform"
)]
pub struct UnknownKind(pub String);

impl FromStr for ResourceKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// One thing that can be acted on, as the inventory describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What kind of thing it is.
    pub kind: ResourceKind,
    /// Its id in the inventory, or the target as given when there is no inventory.
    pub name: String,
    /// Free labels; policies match on them.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// `pii`, `critical` and the like; policies match on them.
    #[serde(default)]
    pub sensitivity: BTreeSet<String>,
    /// The namespace, for Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Resource {
    /// A resource without tags.
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), tags: BTreeSet::new(), sensitivity: BTreeSet::new(), namespace: None }
    }

    /// `database:prod-db`: how messages and records name it.
    pub fn label(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }
}
