//! What every handler shares.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reeve_audit::{SignedNote, Verdict, VerifyingKey};
use reeve_platform::Platform;
use reeve_types::ProblemCode;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::lasting::SocketLimits;
use crate::metrics::HttpMetrics;
use crate::preview::{Admitted, Pool, Signer};
use crate::problem::Problem;
use crate::rate::{RateLimits, Rates};
use crate::refusals::{DeniedLog, FailureLimiter};
use crate::socket::{Invitation, OneTime, PREVIEW_FOR, TICKET_FOR, Ticket};
use crate::tickets::StreamTickets;
use crate::watching::{StreamLimits, Watchers};

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The version that health and the API's description tell.
    pub version: String,
    /// The configuration in force as `GET /config` shows it, secrets masked by whoever made it.
    pub config: Value,
    /// Whether `/metrics` is served without credentials. It holds numbers and paths only, never a name.
    pub public_metrics: bool,
    /// How often callers may call.
    pub limits: RateLimits,
    /// The domains below which previews have hosts of their own: `{port}--{workspace}.preview.{domain}`.
    pub preview_domains: Vec<String>,
    /// The Model Context Protocol both ways.
    pub mcp: crate::mcp::McpDoors,
    /// Whether a line for a shell in the guide's `cmd` is refused when it holds what the guide's filter looks for.
    pub strict_exec: bool,
    /// Whether the guide's clients may open terminals with an access token in the address.
    pub token_in_address: bool,
    /// How many may watch sessions, and how long their streams may be silent.
    pub streams: StreamLimits,
    /// How long sockets wait.
    pub sockets: SocketLimits,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: Value::Object(serde_json::Map::new()),
            public_metrics: true,
            limits: RateLimits::default(),
            preview_domains: vec!["localhost".to_owned()],
            mcp: crate::mcp::McpDoors::default(),
            strict_exec: false,
            token_in_address: true,
            streams: StreamLimits::default(),
            sockets: SocketLimits::default(),
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
    pub(crate) rates: Rates,
    /// Tickets for sockets that were issued and not used.
    pub(crate) tickets: OneTime<Ticket>,
    /// Tickets for streams of sessions.
    pub(crate) stream_tickets: StreamTickets,
    /// Who watches sessions now.
    pub(crate) watchers: Arc<Watchers>,
    /// When this process began to serve.
    pub(crate) since: Instant,
    /// Secrets in addresses of previews that were issued and not used.
    pub(crate) invitations: OneTime<Invitation>,
    /// Signs the passes of browsers to previews.
    pub(crate) signer: Signer,
    /// Who was found to see which preview a moment ago.
    pub(crate) admitted: Admitted,
    /// Connections to programs that wait for the next request.
    pub(crate) pool: Arc<Pool>,
    /// The description of the API as it is served.
    pub(crate) description: String,
    /// Verifying reads the whole log; only so many may do it at once.
    pub(crate) verifying: Semaphore,
    /// What the last verification found: how many records it covered, whether they were in order, and when it was.
    lately: Mutex<Option<(u64, bool, Instant)>>,
}

/// How long a request waits for its turn to verify.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// How long what a verification found may be told again.
const LATELY: Duration = Duration::from_secs(60);

impl App {
    pub(crate) fn new(platform: Platform, mut options: HttpOptions) -> Self {
        for domain in &mut options.preview_domains {
            domain.make_ascii_lowercase();
        }
        let mut key = [0u8; 32];
        let (first, second) = key.split_at_mut(16);
        first.copy_from_slice(&platform.clock().random().to_be_bytes());
        second.copy_from_slice(&platform.clock().random().to_be_bytes());
        let metrics = HttpMetrics::default();
        let description = crate::openapi::document(&options.version);
        let shared = Shared {
            rates: Rates::new(options.limits),
            tickets: OneTime::new(TICKET_FOR),
            stream_tickets: StreamTickets::default(),
            watchers: Watchers::new(options.streams, metrics.watching()),
            since: Instant::now(),
            invitations: OneTime::new(PREVIEW_FOR),
            signer: Signer::new(key),
            admitted: Admitted::default(),
            pool: Arc::default(),
            options,
            metrics,
            denied: DeniedLog::default(),
            failures: FailureLimiter::default(),
            description,
            verifying: Semaphore::new(2),
            lately: Mutex::new(None),
        };
        Self { platform, shared: Arc::new(shared) }
    }

    /// Verifies the whole log, when it is this request's turn.
    pub(crate) async fn verify(
        &self,
        witnesses: Vec<VerifyingKey>,
        extra: Vec<SignedNote>,
    ) -> Result<Verdict, Problem> {
        let Ok(turn) = tokio::time::timeout(TURN_WITHIN, self.shared.verifying.acquire()).await else {
            let detail = "the log is being verified for others; ask again in a little while";
            return Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(10));
        };
        let _turn = turn.map_err(Problem::internal)?;
        Ok(self.platform.store().verify_audit(witnesses, extra, |_| {}).await?)
    }

    /// Whether the log was in order when it was last looked at, at most a minute ago, and how many records were read.
    pub(crate) async fn verified_lately(&self) -> Result<(u64, bool), Problem> {
        if let Some((size, valid, at)) = self.shared.lately.lock().ok().and_then(|lately| *lately)
            && at.elapsed() < LATELY
        {
            return Ok((size, valid));
        }
        let verdict = self.verify(Vec::new(), Vec::new()).await?;
        if let Ok(mut lately) = self.shared.lately.lock() {
            *lately = Some((verdict.total_events, verdict.valid, Instant::now()));
        }
        Ok((verdict.total_events, verdict.valid))
    }
}
