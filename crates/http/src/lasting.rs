//! Until when a socket lasts that neither side has closed: its token ends, its caller signs out, its client falls silent,
//! or the server stops.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Interval;

use crate::app::App;
use crate::auth::{Caller, Proof};
use crate::server::Stopping;

/// How long sockets wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// How often a client is asked whether it is there.
    pub ping_every: Duration,
    /// A client that was not heard for so long is gone; it answers every ping.
    pub silent_for: Duration,
    /// How long a socket goes on after its token has ended.
    pub token_grace: Duration,
    /// How often it is looked at the clock for that: clocks are put right, and machines sleep.
    pub looked_every: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(30),
            silent_for: Duration::from_secs(90),
            token_grace: Duration::from_secs(30),
            looked_every: Duration::from_secs(30),
        }
    }
}

impl SocketLimits {
    /// When to ask the client, the first time after a while.
    pub(crate) fn pings(self) -> Interval {
        tokio::time::interval_at(tokio::time::Instant::now() + self.ping_every, self.ping_every)
    }
}

/// What a socket is closed with: a code, and why.
pub(crate) type Closing = (u16, &'static str);

/// What a socket is closed with when the server stops.
pub(crate) const STOPPING: Closing = (1001, "the server is stopping");
/// What a socket is closed with whose client is silent.
pub(crate) const SILENT: Closing = (4408, "the client was not heard for too long");

/// Returns when a socket may not go on: its token has ended, its caller has signed out, its key was taken back, or the
/// server stops.
pub(crate) async fn over(app: &App, caller: &Caller, until: Option<Timestamp>, stop: &Stopping) -> Closing {
    tokio::select! {
        () = token_ended(app, until) => (4401, "the token has ended"),
        why = proof_gone(app, caller.proof()) => (4401, why),
        () = stop.0.cancelled() => STOPPING,
    }
}

async fn proof_gone(app: &App, proof: Option<Proof>) -> &'static str {
    let Some(proof) = proof else { return std::future::pending().await };
    proof.until_gone(&app.platform).await;
    match proof {
        Proof::Login(_) => "signed out",
        Proof::Key(_) => "the key was taken back",
    }
}

async fn token_ended(app: &App, until: Option<Timestamp>) {
    let Some(until) = until else { return std::future::pending().await };
    let limits = app.shared.options.sockets;
    let grace = SignedDuration::try_from(limits.token_grace).unwrap_or_default();
    let end = until.saturating_add(grace).unwrap_or(until);
    loop {
        let left = end.duration_since(app.platform.clock().now());
        // A time that is over cannot be told as a `Duration`.
        let Ok(left) = Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(limits.looked_every)).await;
    }
}

/// When a client was last heard.
pub(crate) struct Heard {
    start: Instant,
    millis: AtomicU64,
}

impl Heard {
    pub(crate) fn now() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(crate) fn note(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Returns when the client was not heard for so long.
    pub(crate) async fn silent_for(&self, most: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed));
            let silent = last.elapsed();
            if silent >= most {
                return;
            }
            tokio::time::sleep(most - silent).await;
        }
    }
}
