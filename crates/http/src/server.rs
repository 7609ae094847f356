//! Serving the router on listeners, within limits, until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::auth::Remote;

/// How long a client may take to send the head of a request; also how long an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Most requests at the same time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 200;
/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for more of a client's first bytes, when what came leaves the protocol open.
const FIRST_BYTES_PAUSE: Duration = Duration::from_millis(5);
/// How long to wait after a failure to accept, for example when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many clients a server takes, and how long it bears with those that take nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Most connections at the same time, over all listeners. Further ones wait to be accepted.
    pub connections: usize,
    /// How long a client may leave lie what was sent to it. A connection with nothing to say may be silent for ever.
    pub client_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        // Every stream of a session that may be open, and room for everything else.
        Self { connections: 20_000 + 1024, client_timeout: Duration::from_secs(300) }
    }
}

/// Serves within the usual limits; see [`serve_within`].
pub async fn serve(listeners: Vec<TcpListener>, router: Router, stop: CancellationToken, hard: CancellationToken) {
    serve_within(ServeLimits::default(), listeners, router, stop, hard).await;
}

/// Serves until `stop`: then no new connection is taken, running requests end, idle connections close. `hard` cuts off
/// what has not ended by then. Streams and long polls hear of `stop` and end by themselves.
pub async fn serve_within(
    limits: ServeLimits,
    listeners: Vec<TcpListener>,
    router: Router,
    stop: CancellationToken,
    hard: CancellationToken,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let places = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Listener {
            listener,
            router: router.clone(),
            stop: stop.clone(),
            hard: hard.clone(),
            client_timeout: limits.client_timeout,
            places: Arc::clone(&places),
            graceful: Arc::clone(&graceful),
        };
        accepting.spawn(server.accept());
    }
    while accepting.join_next().await.is_some() {}
    if let Some(graceful) = Arc::into_inner(graceful) {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = hard.cancelled() => {}
        }
    }
}

/// Fires when the server that took the request stops; never for a request made in the same process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

impl<S: Send + Sync> FromRequestParts<S> for Stopping {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// A place among the server's connections. Whoever goes on with a connection after its request, as a WebSocket does,
/// keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Connection(#[expect(dead_code, reason = "it is held, not read")] Arc<OwnedSemaphorePermit>);

struct Listener {
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    hard: CancellationToken,
    client_timeout: Duration,
    places: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
}

impl Listener {
    async fn accept(self) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.hard.cancelled() => return,
                accepted = self.next() => accepted,
            };
            match accepted {
                Some((stream, place)) => self.spawn(stream, place),
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn next(&self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) => {
                tracing::debug!("a connection could not be accepted: {error}");
                None
            }
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let remote = stream.peer_addr().ok().map(|address| Remote(address.ip().to_canonical()));
        let _ = stream.set_nodelay(true);
        // The kernel watches over clients that take nothing: it costs no timer and no task here, and a quiet stream with
        // nothing in flight is left alone.
        let within = u32::try_from(self.client_timeout.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = set_tcp_user_timeout(&stream, within) {
            tracing::debug!("a connection has no time limit for unread data: {error}");
        }
        let (stopping, place) = (Stopping(self.stop.clone()), Connection(Arc::new(place)));
        let held = place.clone();
        let router = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(stopping.clone());
            request.extensions_mut().insert(place.clone());
            if let Some(remote) = remote {
                request.extensions_mut().insert(remote);
            }
            request.map(axum::body::Body::new)
        });
        let (stop, hard, watcher) = (self.stop.clone(), self.hard.clone(), self.graceful.watcher());
        tokio::spawn(async move {
            let spoken = tokio::select! {
                () = stop.cancelled() => None,
                () = hard.cancelled() => None,
                spoken = tokio::time::timeout(HEAD_WITHIN, spoken(&stream)) => spoken.ok().flatten(),
            };
            let Some(version) = spoken else { return };
            let builder = builder(version);
            let service = TowerToHyperService::new(router);
            let connection = watcher.watch(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
            tokio::select! {
                () = hard.cancelled() => {}
                served = connection => {
                    if let Err(error) = served {
                        tracing::debug!("a connection ended early: {error}");
                    }
                }
            }
            drop(held);
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Which protocol a client speaks, by its first bytes; none when it leaves without any. The bytes stay to be read.
async fn spoken(stream: &TcpStream) -> Option<Version> {
    let mut first = [0u8; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await.ok()?;
        match first.get(..n) {
            None | Some([]) => return None,
            Some(bytes) if bytes == PREFACE => return Some(Version::Two),
            Some(bytes) if !PREFACE.starts_with(bytes) => return Some(Version::One),
            Some(_) => tokio::time::sleep(FIRST_BYTES_PAUSE).await,
        }
    }
}

fn builder(version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_WITHIN)
        .keep_alive_timeout(HEAD_WITHIN);
    match version {
        Version::One => builder.http1_only(),
        Version::Two => builder.http2_only(),
    }
}
