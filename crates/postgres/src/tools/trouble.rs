//! What went wrong, and the report that people and models read about it.

use reeve_gate::{FailureKind, ToolFailure};

use super::masking::masked;
use crate::failure::{ConnectFailure, QueryFailure, QueryFailureKind};
use crate::guard::Refused;

/// Why a tool could not do what it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server could not be reached.
    Connect(Box<ConnectFailure>),
    /// The server said no; nothing was changed.
    Query(QueryFailure),
    /// A statement of the caller's own making cannot work on this server.
    Statement(QueryFailure),
    /// The effect was sent and its answer never came.
    NoAnswer(String),
    /// A sentence of our own.
    Words(FailureKind, String),
    /// The change was made, and then something went wrong.
    AfterChange(Box<Trouble>),
    /// Another trouble, with something that readers of the report want.
    Noted(Box<Trouble>, String),
}

impl Trouble {
    pub(super) fn failed(words: impl Into<String>) -> Self {
        Self::Words(FailureKind::Failed, words.into())
    }
    pub(super) fn invalid(words: impl Into<String>) -> Self {
        Self::Words(FailureKind::Invalid, words.into())
    }
    pub(super) fn over_limit(words: impl Into<String>) -> Self {
        Self::Words(FailureKind::LimitExceeded, words.into())
    }

    /// What an error of the statement that carries out the effect means: an answer of the server says that nothing
    /// happened, and a lost connection says nothing at all.
    pub(super) fn of_effect(failure: QueryFailure) -> Self {
        match failure.kind {
            QueryFailureKind::ConnectionLost | QueryFailureKind::NoAnswer => Self::NoAnswer(failure.detail),
            _ => Self::Query(failure),
        }
    }

    /// What an error of a statement that the caller wrote means.
    pub(super) fn of_statement(failure: QueryFailure) -> Self {
        use QueryFailureKind as K;
        match failure.kind {
            K::Syntax
            | K::UndefinedTable
            | K::UndefinedFunction
            | K::UndefinedColumn
            | K::UndefinedObject
            | K::InvalidValue => Self::Statement(failure),
            // A value that the server never saw: it does not fit the parameter's type or count.
            K::Other if failure.sqlstate.is_none() => Self::Statement(failure),
            _ => Self::Query(failure),
        }
    }

    pub(super) fn after_the_change(self) -> Self {
        Self::AfterChange(Box::new(self))
    }

    pub(super) fn noted(self, note: impl Into<String>) -> Self {
        Self::Noted(Box::new(self), note.into())
    }

    /// Whether the server said that the role may not.
    pub(super) fn is_permission(&self) -> bool {
        match self {
            Self::Query(failure) => failure.kind == QueryFailureKind::PermissionDenied,
            Self::Noted(inner, _) => inner.is_permission(),
            _ => false,
        }
    }

    fn kind(&self) -> FailureKind {
        use QueryFailureKind as K;
        match self {
            Self::Connect(_) => FailureKind::Unreachable,
            Self::Statement(_) => FailureKind::Invalid,
            Self::NoAnswer(_) | Self::AfterChange(_) => FailureKind::Unknown,
            Self::Words(kind, _) => *kind,
            Self::Noted(inner, _) => inner.kind(),
            Self::Query(failure) => match failure.kind {
                K::StatementTimeout | K::LockTimeout | K::NoAnswer => FailureKind::Timeout,
                K::ConnectionLost => FailureKind::Unreachable,
                _ => FailureKind::Failed,
            },
        }
    }

    /// One sentence or two.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Connect(failure) => failure.explain(),
            Self::Query(failure) | Self::Statement(failure) => format!("{} {}", failure.explain(), failure.detail),
            Self::NoAnswer(detail) => format!(
                "the connection was lost after the statement was sent, so nobody knows whether it took effect; look before you repeat it ({detail})"
            ),
            Self::AfterChange(inner) => format!(
                "the change was made, but what came after it failed, so it is not verified: {}",
                inner.sentence()
            ),
            Self::Words(_, words) => words.clone(),
            Self::Noted(inner, note) => format!("{}; {note}", inner.sentence().trim_end_matches('.')),
        }
    }

    fn diagnosis(&self) -> String {
        match self {
            Self::Connect(failure) => failure.diagnosis(),
            Self::Query(failure) | Self::Statement(failure) => failure.diagnosis(),
            Self::NoAnswer(_) | Self::Words(..) => self.sentence(),
            Self::AfterChange(inner) => format!(
                "The change was made, but what came after it failed, so it is not verified.\n{}",
                inner.diagnosis()
            ),
            Self::Noted(inner, note) => format!("{}\n{note}", inner.diagnosis()),
        }
    }

    fn raw(&self) -> Option<&str> {
        match self {
            Self::Connect(failure) => Some(&failure.detail),
            Self::Query(failure) | Self::Statement(failure) => Some(&failure.detail),
            Self::NoAnswer(detail) => Some(detail),
            Self::Words(..) => None,
            Self::AfterChange(inner) | Self::Noted(inner, _) => inner.raw(),
        }
    }

    /// The failure as the gate records it. `shown` is the target without its password.
    pub(super) fn into_failure(self, tool: &str, shown: &str) -> ToolFailure {
        let raw = self.raw().map(|raw| format!("\n\nRaw error: {}", masked(raw))).unwrap_or_default();
        let report = format!("---\nERROR — {tool} failed for {shown}\n\n{}{raw}\n---", masked(&self.diagnosis()));
        let message = format!("{tool} failed for {shown}: {}", masked(&self.sentence()));
        ToolFailure { kind: self.kind(), message, report: Some(report) }
    }
}

impl From<QueryFailure> for Trouble {
    fn from(failure: QueryFailure) -> Self {
        Self::Query(failure)
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        let trouble = Self::invalid(refused.to_string());
        match refused.hint() {
            Some(hint) => trouble.noted(hint),
            None => trouble,
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Query(QueryFailure::of(&error))
    }
}

impl From<ConnectFailure> for Trouble {
    fn from(failure: ConnectFailure) -> Self {
        Self::Connect(Box::new(failure))
    }
}
