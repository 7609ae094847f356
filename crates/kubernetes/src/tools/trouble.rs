//! What went wrong, and the report that people and models read about it.

use reeve_gate::{FailureKind, ToolFailure};

use crate::client::{ApiFailure, ApiFailureKind};
use crate::kubeconfig::KubeconfigError;

/// Why a tool could not look.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The API server did not give it.
    Api(ApiFailure),
    /// A sentence of our own.
    Words(FailureKind, String),
}

impl Trouble {
    pub(super) fn failed(words: impl Into<String>) -> Self {
        Self::Words(FailureKind::Failed, words.into())
    }

    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::Words(FailureKind::Invalid, words.into())
    }

    /// Whether the API server said that it is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(failure) if failure.kind == ApiFailureKind::NotFound)
    }

    fn kind(&self) -> FailureKind {
        use ApiFailureKind as K;
        match self {
            Self::Words(kind, _) => *kind,
            Self::Api(failure) => match failure.kind {
                K::Timeout => FailureKind::Timeout,
                K::Forbidden | K::NotFound | K::Rejected => FailureKind::Failed,
                K::Unreachable | K::Tls | K::Unauthorized | K::Unavailable | K::NotAnApiServer | K::Setup => {
                    FailureKind::Unreachable
                }
            },
        }
    }

    fn sentence(&self) -> &str {
        match self {
            Self::Api(failure) => &failure.sentence,
            Self::Words(_, words) => words,
        }
    }

    /// The failure as the gate records it.
    pub(super) fn into_failure(self, tool: &str, shown: &str) -> ToolFailure {
        let raw = match &self {
            Self::Api(failure) if !failure.raw.is_empty() => format!("\n\nRaw error: {}", failure.raw),
            _ => String::new(),
        };
        let sentence = self.sentence();
        let report = format!("---\nERROR — {tool} failed for {shown}\n\n{sentence}{raw}\n---");
        ToolFailure {
            kind: self.kind(),
            message: format!("{tool} failed for {shown}: {sentence}"),
            report: Some(report),
        }
    }
}

impl From<ApiFailure> for Trouble {
    fn from(failure: ApiFailure) -> Self {
        Self::Api(failure)
    }
}

impl From<KubeconfigError> for Trouble {
    fn from(error: KubeconfigError) -> Self {
        Self::Words(FailureKind::Unreachable, error.to_string())
    }
}
