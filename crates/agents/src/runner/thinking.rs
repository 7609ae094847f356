//! How an agent without a network and without a key asks a model: through a door in its workspace that leads here.
//!
//! `reeve-runtime forward` listens inside and speaks HTTP/2 with this side over a pipe. Whoever knocks must know the word
//! that this session's agent was given; what is asked goes to the relay, which has the key. What comes through the door is
//! hostile input: requests, their headers and their bodies are bounded in number, size and time.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reeve_gate::relay::{ModelRelay, RelayCall, RelayMeter};
use reeve_gate::workspace::Pipe;
use reeve_types::TenantId;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The program inside, and what makes it a door.
pub(super) const FORWARD: [&str; 2] = ["/opt/reeve/reeve-runtime", "forward"];
/// How long the door may take to say where it is.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// Longest first line.
const LINE_BYTES_MAX: usize = 16;
/// Requests at the same time; more wait inside.
const REQUESTS_MAX: u32 = 16;
/// Longest headers of a request, in bytes.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(120);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A door that stands open.
pub(super) struct Door {
    /// Where programs in the workspace find it.
    pub(super) port: u16,
    /// What they must say there.
    pub(super) token: SecretString,
}

/// Serves a door. Dropping it closes the door.
pub(super) struct Keeper(tokio::task::AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whom calls through a door are made for, and by whom they are answered.
pub(super) struct Answering {
    pub(super) relay: Arc<dyn ModelRelay>,
    pub(super) tenant: TenantId,
    pub(super) provider: String,
    pub(super) meter: Arc<dyn RelayMeter>,
}

/// Waits until the program at the other end of a pipe says where it listens, and serves it from then on.
pub(super) async fn open(mut pipe: Pipe, answering: Answering) -> Result<(Door, Keeper), String> {
    let port = tokio::time::timeout(OPEN_WITHIN, first_line(&mut pipe.stdout)).await.unwrap_or(None);
    let port = port.ok_or("the way to models could not be opened in the workspace: its program said no port")?;
    let token = SecretString::from(format!("reeve-{}", hex::encode(rand::random::<[u8; 24]>())));
    let door = Door { port, token: token.clone() };
    let answering = Arc::new(answering);
    let service = service_fn(move |request| {
        let (answering, token) = (Arc::clone(&answering), token.clone());
        async move { Ok::<_, Infallible>(answer(request, &answering, &token).await) }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(32)
        .max_send_buf_size(256 * 1024);
    let Pipe { stdin, stdout, stderr, exit } = pipe;
    let serving = tokio::spawn(async move {
        let served = builder.serve_connection(TokioIo::new(tokio::io::join(stdout, stdin)), service);
        if let Err(error) = served.await {
            tracing::debug!("a way to models was closed: {error}");
        }
        drop((stderr, exit));
    });
    Ok((door, Keeper(serving.abort_handle())))
}

/// One byte after another: what follows the line is not ours to take.
async fn first_line(reader: &mut (impl AsyncRead + Unpin)) -> Option<u16> {
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        match reader.read_u8().await.ok()? {
            b'\n' => return std::str::from_utf8(&line).ok()?.parse().ok().filter(|port| *port != 0),
            byte => line.push(byte),
        }
    }
    None
}

async fn answer(request: Request<Incoming>, answering: &Answering, token: &SecretString) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers: Vec<(String, String)> =
        head.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    if !proves_itself(&headers, &path, token) {
        return refusal(401, "this door is another agent's; use the key that this agent was given");
    }
    let whole = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(_)) => return refusal(413, "the request broke off, or has more than 32 MiB"),
        Err(_) => return refusal(408, "the request did not come to its end in time"),
    };
    let call = RelayCall { method: head.method.as_str().to_owned(), path, headers, body };
    let told = {
        let meter = Arc::clone(&answering.meter);
        answering.relay.relay(&answering.tenant, &answering.provider, call, meter).await
    };
    let mut response = Response::new(StreamBody::new(told.body.map(|piece| piece.map(Frame::data))).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in told.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Whether somebody knows the session's word: where any of the three vendors' clients puts a key.
fn proves_itself(headers: &[(String, String)], path: &str, token: &SecretString) -> bool {
    let in_headers = headers.iter().filter_map(|(name, value)| match name.as_str() {
        "x-api-key" | "x-goog-api-key" => Some(value.as_str()),
        "authorization" => value.strip_prefix("Bearer "),
        _ => None,
    });
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let in_query = query.split('&').filter_map(|pair| pair.strip_prefix("key="));
    let expected = token.expose_secret().as_bytes();
    in_headers.chain(in_query).any(|said| bool::from(said.as_bytes().ct_eq(expected)))
}

fn refusal(status: u16, message: &str) -> Response<Body> {
    let said =
        serde_json::json!({"type": "error", "error": {"type": "reeve_door", "message": format!("reeve: {message}")}});
    let body = Full::new(Bytes::from(said.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_line_is_a_port_and_nothing_else() {
        for (said, port) in [
            (&b"4711\nPRI * HTTP/2.0"[..], Some(4711)),
            (b"0\n", None),
            (b"70000\n", None),
            (b"no port\n", None),
            (b"47", None),
            (b"11111111111111111111111", None),
        ] {
            assert_eq!(first_line(&mut &*said).await, port);
        }
        let mut rest = &b"1\nPRI"[..];
        first_line(&mut rest).await.expect("a port");
        assert_eq!(rest, b"PRI", "what follows stays");
    }

    #[test]
    fn the_word_is_known_wherever_clients_put_keys() {
        let token = SecretString::from("word".to_owned());
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert!(proves_itself(&header("x-api-key", "word"), "/", &token));
        assert!(proves_itself(&header("authorization", "Bearer word"), "/", &token));
        assert!(proves_itself(&header("x-goog-api-key", "word"), "/", &token));
        assert!(proves_itself(&[], "/v1beta/models?alt=sse&key=word", &token));
        assert!(!proves_itself(&header("x-api-key", "wordy"), "/?key=", &token));
        assert!(!proves_itself(&header("cookie", "word"), "/", &token));
    }
}
