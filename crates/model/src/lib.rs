//! Clients of models: Anthropic, OpenAI and what speaks like it, Gemini, and `replay`, which needs none.
//!
//! [`Catalog`] knows all configured models and implements [`reeve_gate::model::Models`]: it asks, tries again, and goes
//! on to the next model. How a provider is spoken to is in `dialect`; what came wrong is in `trouble`.

mod asking;
mod catalog;
mod config;
mod dialect;
mod draft;
mod metered;
mod patience;
mod prices;
mod provider;
mod relay;
mod replay;
mod sse;
mod trouble;

pub use catalog::Catalog;
pub use config::{ConfigError, ModelsConfig, ProviderConfig, ProviderKind, TenantKey};
pub use prices::{LongPrice, Price, Prices};
pub use replay::prompt_digest;
pub use sse::{MAX_EVENT_BYTES, SseEvent, SseParser, TooLong};
