//! What clients of models implement.
//!
//! A model is asked and answers; it acts on nothing. What it wants done comes back as [`Block::ToolUse`] and is an act of
//! its own, through the gate. A model's answer is hostile input like any other text from outside.
//!
//! [`Block::ToolUse`]: reeve_types::model::Block::ToolUse

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use reeve_types::TenantId;
use reeve_types::model::{Prompt, Reply};

use crate::TaskCx;

/// A piece of an answer while it comes.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelEvent {
    /// More words.
    Text(String),
    /// More of a thought.
    Thinking(String),
    /// A call of a tool begins.
    ToolUse {
        /// The call's id.
        id: String,
        /// Which tool.
        name: String,
    },
    /// An attempt failed and another follows after a wait; what came so far is void.
    Retrying {
        /// Which attempt comes, from 2.
        attempt: u32,
        /// After how long.
        after: Duration,
        /// Why, in words.
        reason: String,
    },
    /// The whole answer; always the last.
    Finished(Box<Reply>),
}

/// An answer as it comes. Dropping it ends the call.
pub type ModelStream = Pin<Box<dyn Stream<Item = Result<ModelEvent, ModelFailure>> + Send>>;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFailureKind {
    /// No such provider or model is configured.
    NotConfigured,
    /// The key is missing or was refused.
    Unauthorized,
    /// The provider would not take the request: too long, malformed, an unknown model.
    Rejected,
    /// The conversation is longer than the model can read.
    TooLong,
    /// Too many requests, or an overloaded provider, after every attempt.
    Limited,
    /// It could not be reached, or broke off, after every attempt.
    Unreachable,
    /// It answered what cannot be understood.
    Malformed,
    /// Time ran out.
    Timeout,
    /// Whoever asked no longer wants it.
    Cancelled,
}

impl ModelFailureKind {
    /// The word of events and problems.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "model_not_configured",
            Self::Unauthorized => "model_unauthorized",
            Self::Rejected => "model_rejected",
            Self::TooLong => "model_too_long",
            Self::Limited => "model_limited",
            Self::Unreachable => "model_unreachable",
            Self::Malformed => "model_malformed",
            Self::Timeout => "model_timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a model gave no answer, in words for people. Holds no key.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ModelFailure {
    /// What kind of failure it is.
    pub kind: ModelFailureKind,
    /// What failed, on what, and what to do next.
    pub message: String,
}

/// A model that can be asked for, for people to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `provider/model`.
    pub name: String,
    /// The provider's kind: `anthropic`, `openai`, `openai-responses`, `gemini` or `replay`.
    pub kind: &'static str,
    /// Most tokens it can read, where known.
    pub context_tokens: Option<u32>,
    /// Whether it is the one used when none is named.
    pub is_default: bool,
}

/// What a look at a provider found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelHealth {
    /// `provider/model`.
    pub name: String,
    /// How long the first word took, or why none came.
    pub answer: Result<Duration, String>,
}

/// All configured models of one installation.
pub trait Models: Send + Sync {
    /// What can be asked for; empty when no model is configured.
    fn list(&self, tenant: &TenantId) -> Vec<ModelInfo>;

    /// Asks `model` (`provider/model`, a configured alias, or the default when `None`), and the fallbacks after it.
    fn ask<'a>(
        &'a self,
        tenant: &'a TenantId,
        model: Option<&'a str>,
        prompt: Prompt,
        cx: &'a TaskCx,
    ) -> BoxFuture<'a, Result<ModelStream, ModelFailure>>;

    /// Asks each configured model for one word.
    fn check<'a>(&'a self, tenant: &'a TenantId, cx: &'a TaskCx) -> BoxFuture<'a, Vec<ModelHealth>>;
}
