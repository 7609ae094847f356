//! `forward`: a door for programs in a workspace that speak HTTP to a model and reach no network.
//!
//! It listens on a port of the workspace's own loopback, and hands every request on over its standard input and output to
//! whoever started it, as HTTP/2: many requests at once, each at the speed of its slower end. What is asked there, and
//! with which key it goes on, is decided outside; nothing secret is in here.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, unix::pipe};
use tokio::sync::Semaphore;

/// How many connections may be open at once; more wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a program may take to say what it asks for.
const SAY_WITHIN: Duration = Duration::from_secs(30);
/// What the requests are addressed to. Whoever answers them knows no other name.
const AUTHORITY: &str = "models.workspace";

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves until standard input ends. The port stands in the first line of standard output.
pub fn forward() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let mut out = io::stdout().lock();
    writeln!(out, "{port}")?;
    out.flush()?;
    drop(out);
    let reader = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let writer = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    let outside = TokioIo::new(tokio::io::join(reader, writer));
    let (requests, conversation) =
        http2::Builder::new(TokioExecutor::new()).handshake(outside).await.map_err(io::Error::other)?;
    tokio::select! {
        _ended = conversation => Ok(()),
        never = accept(listener, requests) => never,
    }
}

async fn accept(listener: TcpListener, requests: SendRequest<Incoming>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((connection, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    answer(connection, requests).await;
                    drop(place);
                });
            }
            // A connection that was given up before it was taken, or no descriptor left for it: others will come.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(connection: TcpStream, requests: SendRequest<Incoming>) {
    let service = service_fn(move |request| {
        let requests = requests.clone();
        async move { Ok::<_, Infallible>(hand_on(request, requests).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SAY_WITHIN);
    let _the_program_hung_up = builder.serve_connection(TokioIo::new(connection), service).await;
}

async fn hand_on(mut request: Request<Incoming>, mut requests: SendRequest<Incoming>) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = Uri::builder().scheme("http").authority(AUTHORITY).path_and_query(path).build() else {
        return refusal(400, "this address cannot be asked for");
    };
    *request.uri_mut() = uri;
    *request.version_mut() = hyper::Version::HTTP_2;
    // They are about this connection, and the next one speaks otherwise.
    let keep_alive = [HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];
    for name in [HOST, CONNECTION, TRANSFER_ENCODING, UPGRADE, hyper::header::TE].iter().chain(&keep_alive) {
        request.headers_mut().remove(name);
    }
    if requests.ready().await.is_err() {
        return refusal(502, "whoever opened this door is gone");
    }
    match requests.send_request(request).await {
        Ok(mut answer) => {
            *answer.version_mut() = hyper::Version::HTTP_11;
            answer.map(BodyExt::boxed)
        }
        Err(_) => refusal(502, "the answer broke off before it began"),
    }
}

fn refusal(status: u16, message: &'static str) -> Response<Body> {
    let text =
        format!("{{\"type\":\"error\",\"error\":{{\"type\":\"reeve_forward\",\"message\":\"reeve: {message}\"}}}}");
    let mut answer = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed());
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::BAD_GATEWAY);
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
