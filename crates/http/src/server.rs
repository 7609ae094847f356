//! Serving the router on listeners, within limits, until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
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
/// Most connections at the same time, over all listeners. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long to wait after a failure to accept, for example when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`: then no new connection is taken, running requests end, idle connections close. `hard` cuts off
/// what has not ended by then. Streams and long polls hear of `stop` and end by themselves.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, stop: CancellationToken, hard: CancellationToken) {
    let graceful = Arc::new(GracefulShutdown::new());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Listener {
            listener,
            router: router.clone(),
            stop: stop.clone(),
            hard: hard.clone(),
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

struct Listener {
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    hard: CancellationToken,
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
        let stopping = Stopping(self.stop.clone());
        let router = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(stopping.clone());
            if let Some(remote) = remote {
                request.extensions_mut().insert(remote);
            }
            request.map(axum::body::Body::new)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let connection = self.graceful.watch(connection);
        let hard = self.hard.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = hard.cancelled() => {}
                served = connection => {
                    if let Err(error) = served {
                        tracing::debug!("a connection ended early: {error}");
                    }
                }
            }
            drop(place);
        });
    }
}
