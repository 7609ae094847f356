//! Calls of models that other people's programs make in a vendor's own words.
//!
//! A program in a workspace has no key and reaches no network. What it wants to ask a model comes here as it said it, and
//! goes on to the configured provider with the key that the program must not have.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reeve_types::TenantId;
use reeve_types::model::Usage;

use crate::workspace::ByteStream;

/// The words in which a program asks a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's chat completions and Responses.
    Openai,
    /// Google's Gemini.
    Gemini,
}

impl Speech {
    /// As the configuration calls providers of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::Gemini => "gemini",
        }
    }
}

/// A provider that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    /// Its name in the configuration.
    pub provider: String,
    /// How it is spoken to.
    pub speech: Speech,
    /// The first of its models, when the configuration lists any.
    pub model: Option<String>,
}

/// A call as the program made it.
#[derive(Debug, Clone)]
pub struct RelayCall {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query: `/v1/messages?beta=true`.
    pub path: String,
    /// Its headers, whatever they say.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

/// The answer for the program: the provider's, or a refusal in words.
pub struct RelayAnswer {
    /// The status.
    pub status: u16,
    /// Headers that it may see.
    pub headers: Vec<(String, String)>,
    /// The body as it comes.
    pub body: ByteStream,
}

/// Hears what calls use.
pub trait RelayMeter: Send + Sync {
    /// A model has used more: only what came on top since the last time.
    fn used(&self, model: &str, more: Usage);
}

/// Whoever has the keys.
pub trait ModelRelay: Send + Sync {
    /// The provider that calls go to: the named one, or the first that speaks so and can be asked; with a tenant, by that
    /// tenant. Otherwise why there is none, and what to do.
    fn provider(
        &self,
        named: Option<&str>,
        speech: Option<Speech>,
        tenant: Option<&TenantId>,
    ) -> Result<Relayed, String>;

    /// Hands a call on in a tenant's name. Whatever is no call of a model is refused. `meter` hears what the answer says
    /// of tokens before the bytes that say so are handed on.
    fn relay<'a>(
        &'a self,
        tenant: &'a TenantId,
        provider: &'a str,
        call: RelayCall,
        meter: Arc<dyn RelayMeter>,
    ) -> BoxFuture<'a, RelayAnswer>;
}
