//! Why something is asked for. Policies may demand or forbid a purpose; there is no default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The declared reason of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Finding out what is wrong.
    Diagnostic,
    /// Repairing it.
    Remediation,
    /// Planned work.
    Maintenance,
    /// Evidence for an audit.
    Compliance,
    /// Break glass.
    Emergency,
    /// One step of a staged change over many targets.
    FleetRollout,
}

impl Purpose {
    /// The whole vocabulary.
    pub const ALL: [Self; 6] =
        [Self::Diagnostic, Self::Remediation, Self::Maintenance, Self::Compliance, Self::Emergency, Self::FleetRollout];

    /// The word of headers, policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diagnostic => "diagnostic",
            Self::Remediation => "remediation",
            Self::Maintenance => "maintenance",
            Self::Compliance => "compliance",
            Self::Emergency => "emergency",
            Self::FleetRollout => "fleet_rollout",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a purpose: use diagnostic, remediation, maintenance, compliance, emergency or fleet_rollout")]
pub struct UnknownPurpose(pub String);

impl FromStr for Purpose {
    type Err = UnknownPurpose;
    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| UnknownPurpose(text.to_owned()))
    }
}
