//! What every handler shares.

use std::sync::Arc;

use reeve_platform::Platform;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::auth::{DeniedLog, FailureLimiter};
use crate::metrics::HttpMetrics;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The version that health and the API's description tell.
    pub version: String,
    /// The configuration in force as `GET /config` shows it, secrets masked by whoever made it.
    pub config: Value,
    /// Fires when the server stops: streams end with a comment and long polls answer at once.
    pub stop: CancellationToken,
    /// Whether `/metrics` is served without credentials. It holds numbers and paths only, never a name.
    pub public_metrics: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: Value::Object(serde_json::Map::new()),
            stop: CancellationToken::new(),
            public_metrics: true,
        }
    }
}

/// The state of the router; a cheap handle.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) platform: Platform,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: HttpOptions,
    pub(crate) metrics: HttpMetrics,
    pub(crate) denied: DeniedLog,
    pub(crate) failures: FailureLimiter,
    /// The description of the API as it is served.
    pub(crate) description: String,
}

impl App {
    pub(crate) fn new(platform: Platform, options: HttpOptions) -> Self {
        let description = crate::openapi::document(&options.version);
        let shared = Shared {
            options,
            metrics: HttpMetrics::default(),
            denied: DeniedLog::default(),
            failures: FailureLimiter::default(),
            description,
        };
        Self { platform, shared: Arc::new(shared) }
    }
}
