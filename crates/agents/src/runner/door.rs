//! How an agent without a network and without a key asks a model, and calls the gate's tools: through a door in its
//! workspace that leads here.
//!
//! `reeve-runtime forward` listens inside and speaks HTTP/2 with this side over a pipe. Whoever knocks must know a word that
//! this session's agent was given: one for models, which goes into its environment where every program that it starts sees
//! it, and another for tools, which it is told over its own protocol. What is asked of a model goes to the relay, which has
//! the key; a call of a tool is an act of the session. What comes through the door is hostile input: requests, their headers
//! and their bodies are bounded in number, size and time.

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
use reeve_platform::sessions::{SessionTools, ToolServer};
use reeve_types::TenantId;
use reeve_types::secret::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::acp::McpServer;

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

/// Where tools are called.
const TOOLS_PATH: &str = "/mcp";
/// What the agent knows them by.
const TOOLS_NAME: &str = "reeve";
/// Longest body of a call of a tool, in bytes.
const CALL_BYTES_MAX: usize = reeve_types::limits::REQUEST_BODY_BYTES_MAX;
/// What carries calls to the door for agents that start their servers of tools themselves.
const CARRY: [&str; 2] = [FORWARD[0], "mcp"];

/// A door that stands open.
pub(super) struct Door {
    /// Where programs in the workspace find it.
    pub(super) port: u16,
    /// What they must say there to ask a model.
    pub(super) token: SecretString,
    /// What they must say to call a tool, where there are any.
    pub(super) tools_token: Option<SecretString>,
}

impl Door {
    /// The tools behind the door, as the agent is told of them when its session begins.
    pub(super) fn servers(&self, over_http: bool) -> Vec<McpServer> {
        let Some(token) = &self.tools_token else { return Vec::new() };
        let (name, url) = (TOOLS_NAME.to_owned(), format!("http://127.0.0.1:{}{TOOLS_PATH}", self.port));
        let secret = |text: String| SecretString::from(text);
        if over_http {
            let proof = secret(format!("Bearer {}", token.expose_secret()));
            return vec![McpServer::Http { name, url, headers: vec![("Authorization".to_owned(), proof)] }];
        }
        let [command, args @ ..] = CARRY.map(str::to_owned);
        let env = vec![
            ("REEVE_MCP_URL".to_owned(), secret(url)),
            ("REEVE_MCP_TOKEN".to_owned(), secret(token.expose_secret().to_owned())),
        ];
        vec![McpServer::Stdio { name, command, args: args.to_vec(), env }]
    }
}

/// Serves a door. Dropping it closes the door.
pub(super) struct Keeper(tokio::task::AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who answers what comes through a door.
#[derive(Default)]
pub(super) struct Answering {
    pub(super) models: Option<Models>,
    pub(super) tools: Option<Tools>,
}

/// Whom calls of models are made for, and by whom they are answered.
pub(super) struct Models {
    pub(super) relay: Arc<dyn ModelRelay>,
    pub(super) tenant: TenantId,
    pub(super) provider: String,
    pub(super) meter: Arc<dyn RelayMeter>,
}

/// The session's tools, and who speaks of them with the agent.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) server: Arc<dyn ToolServer>,
    pub(super) of_session: Arc<dyn SessionTools>,
}

/// What whoever knocks must know.
struct Words {
    models: SecretString,
    tools: SecretString,
}

fn a_word() -> SecretString {
    SecretString::from(format!("reeve-{}", hex::encode(rand::random::<[u8; 24]>())))
}

/// Waits until the program at the other end of a pipe says where it listens, and serves it from then on.
pub(super) async fn open(mut pipe: Pipe, answering: Answering) -> Result<(Door, Keeper), String> {
    let port = tokio::time::timeout(OPEN_WITHIN, first_line(&mut pipe.stdout)).await.unwrap_or(None);
    let port = port.ok_or("the way out could not be opened in the workspace: its program said no port")?;
    let words = Words { models: a_word(), tools: a_word() };
    let tools_token = answering.tools.is_some().then(|| words.tools.clone());
    let door = Door { port, token: words.models.clone(), tools_token };
    let answering = Arc::new((answering, words));
    let service = service_fn(move |request| {
        let answering = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(answer(request, &answering.0, &answering.1).await) }
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
            tracing::debug!("a way out of a workspace was closed: {error}");
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

async fn answer(request: Request<Incoming>, answering: &Answering, words: &Words) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers: Vec<(String, String)> =
        head.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let is_call = path.split('?').next() == Some(TOOLS_PATH);
    let (word, most) = if is_call { (&words.tools, CALL_BYTES_MAX) } else { (&words.models, BODY_BYTES_MAX) };
    if !proves_itself(&headers, &path, word) {
        return refusal(401, "this door is another agent's; use the key that this agent was given");
    }
    let whole = tokio::time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await;
    let body = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(_)) => return refusal(413, "the request broke off, or is longer than this door takes"),
        Err(_) => return refusal(408, "the request did not come to its end in time"),
    };
    let call = RelayCall { method: head.method.as_str().to_owned(), path, headers, body };
    let told = match (answering, is_call) {
        (Answering { tools: Some(tools), .. }, true) => tools.server.answer(Arc::clone(&tools.of_session), call).await,
        (Answering { models: Some(models), .. }, false) => {
            models.relay.relay(&models.tenant, &models.provider, call, Arc::clone(&models.meter)).await
        }
        _ => return refusal(404, "nothing is behind this door for that"),
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
    fn tools_are_offered_in_the_way_that_an_agent_knows_and_under_a_word_of_their_own() {
        let word = |text: &str| SecretString::from(text.to_owned());
        let mut door = Door { port: 4000, token: word("for-models"), tools_token: Some(word("for-tools")) };
        let servers = door.servers(true);
        let [McpServer::Http { name, url, headers }] = servers.as_slice() else { panic!("over HTTP") };
        assert_eq!((name.as_str(), url.as_str()), ("reeve", "http://127.0.0.1:4000/mcp"));
        assert_eq!(headers.first().map(|(_, value)| value.expose_secret()), Some("Bearer for-tools"));
        let servers = door.servers(false);
        let [McpServer::Stdio { command, args, env, .. }] = servers.as_slice() else {
            panic!("over its standard streams")
        };
        assert_eq!((command.as_str(), args.join(" ").as_str()), ("/opt/reeve/reeve-runtime", "mcp"));
        assert!(env.iter().all(|(_, value)| !value.expose_secret().contains("for-models")));
        door.tools_token = None;
        assert!(door.servers(true).is_empty() && door.servers(false).is_empty());
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
