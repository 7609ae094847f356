//! The proxy itself: `CONNECT` for everything encrypted, absolute addresses for plain HTTP.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use reeve_types::WorkspaceId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Rules;

/// How many connections a workspace may have at once.
const CONNECTIONS_MAX: usize = 128;
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long resolving and connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long a connection may be silent in both directions.
const SILENT_FOR: Duration = Duration::from_secs(10 * 60);
/// Headers that are for the next hop only.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Body = BoxBody<Bytes, hyper::Error>;

/// The proxy of one workspace; it ends when it is dropped, with everything that goes through it.
pub(crate) struct Proxy {
    accepting: tokio::task::JoinHandle<()>,
    closing: CancellationToken,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.closing.cancel();
    }
}

struct Way {
    workspace: WorkspaceId,
    rules: Rules,
    refused: Arc<AtomicU64>,
    connections: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Proxy {
    /// Serves whoever connects to `listener`, which is inside the workspace.
    pub(crate) fn open(
        workspace: WorkspaceId,
        listener: std::net::TcpListener,
        rules: Rules,
        refused: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let closing = CancellationToken::new();
        let way = Arc::new(Way { workspace, rules, refused, connections, closing: closing.clone() });
        Ok(Self { accepting: tokio::spawn(accept(listener, way)), closing })
    }

    /// Ends it, and answers when the place where it listened is free.
    pub(crate) async fn end(mut self) {
        self.accepting.abort();
        // It was broken off, as it should be.
        let _broken_off = (&mut self.accepting).await;
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    // The connections end with the proxy, because they are tasks of this set.
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&way.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                serving.spawn(serve(stream, Arc::clone(&way), Arc::new(permit)));
            }
            Err(error) => {
                tracing::warn!(workspace = %way.workspace, %error, "a connection of a workspace cannot be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while serving.try_join_next().is_some() {}
    }
}

/// What a connection becomes keeps its place among those that may be open.
async fn serve(stream: TcpStream, way: Arc<Way>, place: Arc<OwnedSemaphorePermit>) {
    let service = service_fn(move |request| {
        let (way, place) = (Arc::clone(&way), Arc::clone(&place));
        async move { Ok::<_, Infallible>(way.answer(request, place).await) }
    });
    let mut settings = hyper::server::conn::http1::Builder::new();
    settings.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_headers(100).max_buf_size(64 * 1024);
    let served = settings.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection through the proxy ended");
    }
}

impl Way {
    async fn answer(&self, request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Response<Body> {
        let tunnel = request.method() == Method::CONNECT;
        let Some((host, port)) = destination(request.uri(), tunnel) else {
            return said(StatusCode::BAD_REQUEST, "this is a proxy; ask it for http://host/… or CONNECT host:port");
        };
        let stream = match self.connect(&host, port).await {
            Ok(stream) => stream,
            Err(refusal) => return refusal,
        };
        if tunnel { self.open_tunnel(request, stream, place) } else { forward(request, stream, &host, port).await }
    }

    fn open_tunnel(
        &self,
        request: Request<Incoming>,
        stream: TcpStream,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let closing = self.closing.clone();
        tokio::spawn(async move {
            let carried = async {
                match hyper::upgrade::on(request).await {
                    Ok(upgraded) => carry(TokioIo::new(upgraded), stream).await,
                    Err(error) => tracing::debug!(%error, "a tunnel was asked for and not used"),
                }
            };
            tokio::select! {
                () = carried => {}
                () = closing.cancelled() => {}
            }
            drop(place);
        });
        Response::new(nothing())
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Response<Body>> {
        if !self.rules.admits(host, port) {
            return Err(self.refuse(host, port, "it is not on the workspace's list"));
        }
        let attempt = tokio::time::timeout(CONNECT_WITHIN, self.connect_to_permitted(host, port));
        match attempt.await {
            Ok(Ok(Some(stream))) => Ok(stream),
            Ok(Ok(None)) => Err(self.refuse(host, port, "its address is not a public one")),
            Ok(Err(error)) => Err(said(StatusCode::BAD_GATEWAY, &format!("{host}:{port} cannot be reached: {error}"))),
            Err(_) => Err(said(StatusCode::GATEWAY_TIMEOUT, &format!("{host}:{port} does not answer"))),
        }
    }

    /// Connects to the first permitted address that answers. Nothing when none is permitted.
    async fn connect_to_permitted(&self, host: &str, port: u16) -> io::Result<Option<TcpStream>> {
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
        };
        let mut failure = None;
        for address in addresses.into_iter().filter(|address| self.rules.permits(*address)) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn refuse(&self, host: &str, port: u16, why: &str) -> Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let shown: String = host.chars().take(253).collect();
        tracing::info!(workspace = %self.workspace, host = %shown.escape_default(), port, "refused a connection: {why}");
        said(StatusCode::FORBIDDEN, &format!("this workspace may not reach {shown}:{port}: {why}"))
    }
}

/// The host and port that a request is for.
fn destination(uri: &Uri, tunnel: bool) -> Option<(String, u16)> {
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    match (tunnel, uri.scheme_str()) {
        (true, _) => Some((host, authority.port_u16()?)),
        (false, Some("http")) => Some((host, authority.port_u16().unwrap_or(80))),
        _ => None,
    }
}

/// Carries bytes both ways until both sides are through, or both have been silent for long.
async fn carry(inside: TokioIo<hyper::upgrade::Upgraded>, outside: TcpStream) {
    let (from_inside, to_inside) = tokio::io::split(inside);
    let (from_outside, to_outside) = outside.into_split();
    let bytes = AtomicU64::new(0);
    let both = futures_util::future::join(pump(from_inside, to_outside, &bytes), pump(from_outside, to_inside, &bytes));
    tokio::select! {
        _ = both => {}
        () = long_silence(&bytes) => {}
    }
}

/// One direction; the end is passed on.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

async fn long_silence(bytes: &AtomicU64) {
    loop {
        let before = bytes.load(Ordering::Relaxed);
        tokio::time::sleep(SILENT_FOR).await;
        if bytes.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Asks the host for what the workspace asked for, without what is for this proxy only.
async fn forward(request: Request<Incoming>, stream: TcpStream, host: &str, port: u16) -> Response<Body> {
    let asked = match for_origin(request, host, port) {
        Some(asked) => asked,
        None => return said(StatusCode::BAD_REQUEST, "the address or a header of the request cannot be read"),
    };
    let (mut sender, driver) = match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return said(StatusCode::BAD_GATEWAY, &format!("{host}:{port} does not speak HTTP: {error}")),
    };
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "a connection of the proxy ended");
        }
    });
    match tokio::time::timeout(SILENT_FOR, sender.send_request(asked)).await {
        Ok(Ok(mut response)) => {
            without_hop_by_hop(response.headers_mut());
            response.map(|body| body.boxed())
        }
        Ok(Err(error)) => said(StatusCode::BAD_GATEWAY, &format!("{host}:{port} broke off: {error}")),
        Err(_) => said(StatusCode::GATEWAY_TIMEOUT, &format!("{host}:{port} does not answer")),
    }
}

fn for_origin(mut request: Request<Incoming>, host: &str, port: u16) -> Option<Request<Incoming>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse::<Uri>().ok()?;
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let named = if port == 80 { shown } else { format!("{shown}:{port}") };
    *request.uri_mut() = path;
    without_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&named).ok()?);
    Some(request)
}

fn without_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn said(status: StatusCode, sentence: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{sentence}\n"))).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn nothing() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}
