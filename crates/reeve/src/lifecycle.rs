//! Starting, running and stopping the server.
//!
//! The first SIGTERM or SIGINT stops accepting, lets running acts end within the grace, then tells them to stop, and
//! ends at the hard limit; the second signal ends at once. What is cut off is found as interrupted at the next start.
//! SIGHUP reads policies, inventory and users again.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use reeve_platform::accounts::LINK_LIFETIME;
use reeve_platform::{IdentityProvider, Platform};
use reeve_types::secret::ExposeSecret as _;
use reeve_types::{AuthMethod, EventType, Principal, PrincipalKind, TenantId};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::boot::{self, Built};
use crate::config::{Config, ShutdownConfig};
use crate::term::Term;

/// The file in the data directory that says where the server listens.
const URL_FILE: &str = "server.url";
/// What the store has at the very end to sign its last checkpoint.
const STORE_CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What the drivers of workspaces have to end their background work.
const DRIVERS_CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Where the first link leads: to a new workspace, `/workspaces?new=python`.
const FIRST_ROOM: &str = "&to=%2Fworkspaces%3Fnew%3Dpython";

/// Runs the server until it is told to stop.
pub(crate) async fn serve(config: Config, term: &mut Term) -> anyhow::Result<ExitCode> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let Built { platform, router, first_start, drivers, mcp, .. } = boot::build(&config).await?;
    let router = if config.otel.is_some() { crate::telemetry::traced(router) } else { router };
    let listeners = bind(&config.listen).await?;
    let addresses: Vec<String> =
        listeners.iter().filter_map(|l| l.local_addr().ok()).map(|address| format!("http://{address}")).collect();
    let mut signals = Signals::new()?;

    let stop = CancellationToken::new();
    let hard = CancellationToken::new();
    let limits = reeve_http::ServeLimits {
        // Every stream that may be open, and room for everything else.
        connections: config.streams.connections.saturating_add(1024),
        client_timeout: config.streams.client_timeout,
    };
    let http = tokio::spawn(reeve_http::serve_within(limits, listeners, router, stop.clone(), hard.clone()));
    let beside = tokio::spawn({
        let (platform, stop) = (platform.clone(), stop.clone());
        async move { platform.run(stop).await }
    });
    tokio::spawn({
        let mcp = mcp.clone();
        async move { mcp.look_at_all().await }
    });
    announce(&platform, &addresses).await;
    let url_file = config.data_dir.join(URL_FILE);
    // Commands on this machine find the server by it, whatever port it was given.
    reeve_store::write_private(&url_file, &addresses.join("\n")).map_err(|error| anyhow::anyhow!(error.chain()))?;

    if first_start || term.is_terminal() {
        invite(&platform, &addresses, first_start, term).await;
    }

    loop {
        match signals.next().await {
            Asked::Reload => platform.reload_changed().await,
            Asked::Stop(name) => {
                tracing::info!("{name}: no new requests; running acts have {:?} to end", config.shutdown.grace);
                break;
            }
        }
    }
    stop.cancel();
    let ended = tokio::select! {
        cut_off = wind_down(&platform, config.shutdown, http, beside) => cut_off,
        () = signals.second() => {
            tracing::warn!("asked a second time: ending now");
            platform.gate().stop_now();
            None
        }
    };
    hard.cancel();
    let _ = std::fs::remove_file(&url_file);
    if tokio::time::timeout(DRIVERS_CLOSE_LIMIT, drivers.close()).await.is_err() {
        tracing::warn!("what holds the workspaces did not end in {DRIVERS_CLOSE_LIMIT:?}; the next start takes it up");
    }
    // Programs that are not let go of in order are ended with this process.
    let _ = tokio::time::timeout(DRIVERS_CLOSE_LIMIT, mcp.close()).await;
    finish(&platform, ended).await
}

async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; is another server there? Choose another with --listen")
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn announce(platform: &Platform, addresses: &[String]) {
    let note = format!("started, version {}, listening on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
    tracing::info!("{note}");
    if let Err(error) = platform.record(platform.own_event(EventType::Lifecycle, note)).await {
        tracing::error!("the start could not be recorded: {error}; acts that change something will be refused");
    }
}

/// Shows whoever started the server how to sign in: a link that works once. It is for their eyes, so it goes to standard
/// output and not into the log.
async fn invite(platform: &Platform, addresses: &[String], first_start: bool, term: &mut Term) {
    if platform.identity().provider() == IdentityProvider::None {
        return;
    }
    let reachable = |address: &String| address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
    let Some(base) = platform.base_url().map(str::to_owned).or_else(|| addresses.first().map(reachable)) else {
        return;
    };
    let ours = Principal::new(PrincipalKind::Service, "reeve", AuthMethod::System);
    let accounts = platform.identity().accounts();
    match accounts.sign_in_link(&ours, &TenantId::default_tenant(), "administrator").await {
        Ok(link) => {
            let minutes = LINK_LIFETIME.as_secs() / 60;
            let secret = link.secret.expose_secret();
            // Whoever comes first has nothing yet: one click makes them a place to work.
            let to = if first_start && platform.workspaces().is_some() { FIRST_ROOM } else { "" };
            let url = format!("{}/#/sign-in?link={secret}{to}", base.trim_end_matches('/'));
            // Nobody reads it where standard output is closed, and that is no reason not to serve.
            let _ = term.print(&format!(
                "Sign in at {url}\n(works once, within {minutes} minutes; `reeve sign-in-link` makes another)"
            ));
        }
        Err(error) => tracing::warn!("no sign-in link could be made: {error}; `reeve sign-in-link` tries again"),
    }
}

type Task<T> = tokio::task::JoinHandle<T>;

/// Waits for everything to end, as long as it may. Says how many acts were cut off.
async fn wind_down(platform: &Platform, limits: ShutdownConfig, http: Task<()>, beside: Task<()>) -> Option<usize> {
    let last = limits.hard.saturating_sub(limits.grace);
    let cut_off = platform.gate().drain(limits.grace, last).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), async { tokio::join!(http, beside) }).await;
    Some(cut_off)
}

async fn finish(platform: &Platform, cut_off: Option<usize>) -> anyhow::Result<ExitCode> {
    let note = match cut_off {
        Some(0) => "stopped; every act had ended".to_owned(),
        Some(n) => format!("stopped; {n} acts were cut off and are settled at the next start"),
        None => "stopped at once; acts that were running are settled at the next start".to_owned(),
    };
    tracing::info!("{note}");
    let close = async {
        let _ = platform.record(platform.own_event(EventType::Lifecycle, note)).await;
        platform.store().close().await;
    };
    let _ = tokio::time::timeout(STORE_CLOSE_LIMIT, close).await;
    Ok(ExitCode::SUCCESS)
}

enum Asked {
    Stop(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    async fn second(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
