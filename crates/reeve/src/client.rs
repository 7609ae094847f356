//! The way to the API: over a socket to a running server, or in this process when none runs.
//!
//! Both ways speak the same HTTP to the same routes, so a command cannot behave differently with and without a server.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, header};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use reeve_types::secret::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::config::Config;
use crate::exit::{self, Failure};

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take that runs a tool or a diagnosis.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long a connection may take to open.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The file in the data directory that names the URL at which its server listens.
pub(crate) const SERVER_URL_FILE: &str = "server.url";
/// The file in the data directory that holds the key of whoever owns it.
const TOKEN_FILE: &str = "admin.token";
/// The file in the data directory that its server holds a lock on.
const LOCK_FILE: &str = "reeve.lock";
const API_ROOT: &str = "/api/v1";

/// Whether a command can do without a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only a running server will do.
    Server,
    /// Without a server the data directory is opened by this process.
    ServerOrHere,
}

enum Way {
    Socket { http: reqwest::Client, base: String },
    Here(Box<crate::boot::Built>),
}

/// A way to the API and who asks.
pub(crate) struct Client {
    way: Way,
    key: Option<SecretString>,
    user: Option<String>,
}

/// One question to the API.
pub(crate) struct Ask {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<(&'static str, Vec<u8>)>,
    headers: Vec<(&'static str, String)>,
    patience: Duration,
}

impl Ask {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, body: None, headers, patience: PATIENCE }
    }

    /// Reads. The path counts from the API's root.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Takes away.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Sends JSON.
    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self { body: Some(("application/json", body.to_string().into_bytes())), ..Self::new(Method::POST, path) }
    }

    /// Sends JSON that changes a part.
    pub(crate) fn patch(path: impl Into<String>, body: &Value) -> Self {
        Self { method: Method::PATCH, ..Self::post(path, body) }
    }

    /// Sends text.
    pub(crate) fn post_text(path: impl Into<String>, body: String) -> Self {
        Self { body: Some(("text/plain; charset=utf-8", body.into_bytes())), ..Self::new(Method::POST, path) }
    }

    /// Adds a parameter when it has a value.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name.to_owned(), value.to_string())));
        self
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Waits this long instead of the usual time.
    #[must_use]
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits at least this long.
    #[must_use]
    pub(crate) fn at_least(mut self, patience: Duration) -> Self {
        self.patience = self.patience.max(patience);
        self
    }

    fn target(&self) -> String {
        let mut target = format!("{API_ROOT}{}", self.path);
        for (at, (name, value)) in self.query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(&escape(value));
        }
        target
    }
}

/// A part of a path or a query with everything escaped that could end it (RFC 3986).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What the API answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) text: String,
    /// Where the next page of a list begins.
    pub(crate) next: Option<String>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.text).map_err(|_| {
            Failure::could_not("the server's answer is not JSON").hint("is it a Reeve server? see --server")
        })
    }

    /// The answer, when it is not a problem.
    pub(crate) fn fine(self) -> Result<Self, Failure> {
        if self.status < 400 { Ok(self) } else { Err(self.problem()) }
    }

    /// The problem that the answer tells of.
    pub(crate) fn problem(&self) -> Failure {
        let body: Value = serde_json::from_str(&self.text).unwrap_or(Value::Null);
        let field = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let words = field("detail").or_else(|| field("message")).or_else(|| field("error")).or_else(|| field("title"));
        let message = match words {
            Some(words) => crate::render::clean(words),
            None => format!("the server answered {} without saying why", self.status),
        };
        let code = field("code").unwrap_or_default();
        let failure = Failure::could_not(message);
        match (self.status, code) {
            (_, "policy_denied") => {
                let why = field("event_id")
                    .map(|id| format!("`reeve explain --event {id}` shows every rule that was held against it"));
                let failure = failure.code(exit::DENIED);
                match why {
                    Some(why) => failure.hint(why),
                    None => failure,
                }
            }
            (_, "tool_failed") => failure.code(exit::BAD_NEWS),
            (_, "invalid_arguments" | "bad_request") => failure.code(exit::USAGE),
            (401, _) => failure.hint("give a key with --api-key or REEVE_API_KEY; `reeve keys create` makes one"),
            (_, "unknown_target") => failure.hint("`reeve inventory list` shows what is known"),
            _ => failure,
        }
    }
}

/// What is known of an answer before its body.
struct Head {
    status: u16,
    next: Option<String>,
}

impl Head {
    fn of(status: axum::http::StatusCode, headers: &HeaderMap) -> Self {
        let next = headers.get("x-next-cursor").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self { status: status.as_u16(), next }
    }
}

/// An answer's bytes as they come in.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Vec<u8>, String>>>>;

/// An answer of whatever kind, as it comes in.
pub(crate) struct Exchange {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Whether it is a stream of events.
    pub(crate) is_stream: bool,
    /// The body.
    pub(crate) body: BoxStream<'static, Result<Vec<u8>, String>>,
}

impl Client {
    /// Finds the way. A server that was named is the only one that is tried.
    pub(crate) async fn connect(config: &Config, reach: Reach) -> Result<Self, Failure> {
        let settings = &config.client;
        let user = settings.user.clone();
        let given = settings.api_key.clone();
        if settings.server_named {
            let token = || own_token(&config.data_dir).filter(|_| is_own_server(config, &settings.server));
            return Ok(Self { way: socket(&settings.server)?, key: given.or_else(token), user });
        }
        if server_runs(&config.data_dir) {
            let base = own_urls(&config.data_dir).into_iter().next().unwrap_or_else(|| settings.server.clone());
            let key = given.or_else(|| own_token(&config.data_dir));
            return Ok(Self { way: socket(&base)?, key, user });
        }
        match reach {
            // Somebody else may hold the port, so the data directory's token stays here.
            Reach::Server => Ok(Self { way: socket(&settings.server)?, key: given, user }),
            Reach::ServerOrHere => {
                // Setting everything up takes a large future; it does not have to lie on the stack of every command.
                let built = Box::pin(crate::boot::build_for_one_command(config)).await.map_err(|error| {
                    let failure = Failure::could_not(format!("no server runs, and here it cannot be done: {error:#}"));
                    failure.hint("start one with `reeve up`, or name one with --server")
                })?;
                let key = Some(given.unwrap_or_else(|| built.token.clone().into()));
                Ok(Self { way: Way::Here(Box::new(built)), key, user })
            }
        }
    }

    /// Whether the API runs in this process and ends with it.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.way, Way::Here(_))
    }

    /// Ends what runs in this process; the store signs its last checkpoint.
    pub(crate) async fn close(self) {
        if let Way::Here(built) = self.way {
            // An act that an answer has just let begin must not be cut off by our leaving.
            built.platform.gate().drain(PATIENCE, CONNECT_PATIENCE).await;
            let _ = tokio::time::timeout(CONNECT_PATIENCE, built.platform.store().close()).await;
        }
    }

    /// Where the API is, for messages.
    pub(crate) fn place(&self) -> String {
        match &self.way {
            Way::Socket { base, .. } => reeve_types::mask_dsn(base),
            Way::Here(_) => "this process".to_owned(),
        }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, Failure> {
        let patience = ask.patience;
        let exchange = async {
            let (Head { status, next }, mut chunks) = self.open(ask).await?;
            let mut body = Vec::new();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| Failure::could_not(format!("the answer broke off: {error}")))?;
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(Failure::could_not("the answer is too large to be read"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, text: String::from_utf8_lossy(&body).into_owned(), next })
        };
        tokio::time::timeout(patience, exchange).await.map_err(|_| {
            Failure::could_not(format!("{} did not answer within {} s", self.place(), patience.as_secs()))
        })?
    }

    /// Asks a running server, with a file's bytes as the body, as they are read.
    pub(crate) async fn send_file(&self, ask: Ask, file: tokio::fs::File) -> Result<Answer, Failure> {
        let Way::Socket { http, base } = &self.way else {
            return Err(Failure::could_not("this takes a running server").hint("start one with `reeve up`"));
        };
        let (target, patience) = (ask.target(), ask.patience);
        let request = self.request(Ask { body: None, ..ask }, &format!("{base}{target}"))?;
        let mut request = reqwest::Request::try_from(request).map_err(Failure::could_not)?;
        let length = file.metadata().await.map_err(Failure::could_not)?.len();
        request.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(length));
        let kind = header::HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        *request.body_mut() = Some(reqwest::Body::from(file));
        let exchange = async {
            let answer = http.execute(request).await.map_err(|error| unreachable(base, &error))?;
            let Head { status, next } = Head::of(answer.status(), answer.headers());
            let text = answer.text().await.map_err(|error| unreachable(base, &error))?;
            Ok(Answer { status, text, next })
        };
        tokio::time::timeout(patience, exchange).await.map_err(|_| {
            Failure::could_not(format!("{} did not answer within {} s", self.place(), patience.as_secs()))
        })?
    }

    /// Asks, and returns the answer unless it is a problem.
    pub(crate) async fn fetch(&self, ask: Ask) -> Result<Answer, Failure> {
        self.send(ask).await?.fine()
    }

    /// Asks, and returns the answer as it comes in. A problem is read whole.
    pub(crate) async fn stream(&self, ask: Ask) -> Result<Chunks, Failure> {
        let (Head { status, next }, mut chunks) = tokio::time::timeout(ask.patience, self.open(ask))
            .await
            .map_err(|_| Failure::could_not(format!("{} did not answer", self.place())))??;
        if status < 400 {
            return Ok(chunks);
        }
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            text.extend_from_slice(&chunk);
        }
        Err(Answer { status, text: String::from_utf8_lossy(&text).into_owned(), next }.problem())
    }

    /// Asks a running server, for callers that go on meanwhile; an answer is an answer whatever its status.
    pub(crate) fn exchange(&self, ask: Ask) -> BoxFuture<'static, Result<Exchange, Failure>> {
        let patience = ask.patience;
        let asked = match &self.way {
            Way::Socket { http, base } => {
                let target = ask.target();
                let request = self.request(ask, &format!("{base}{target}"));
                request
                    .and_then(|request| reqwest::Request::try_from(request).map_err(Failure::could_not))
                    .map(|request| (http.clone(), base.clone(), request))
            }
            Way::Here(_) => Err(Failure::could_not("this takes a running server").hint("start one with `reeve up`")),
        };
        Box::pin(async move {
            let (http, base, request) = asked?;
            let answer = tokio::time::timeout(patience, http.execute(request)).await;
            let answer =
                answer.map_err(|_| Failure::could_not(format!("{} did not answer", reeve_types::mask_dsn(&base))))?;
            let answer = answer.map_err(|error| unreachable(&base, &error))?;
            let kind =
                answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let (status, is_stream) = (answer.status().as_u16(), kind.starts_with("text/event-stream"));
            let body = answer.bytes_stream().map(|chunk| chunk.map(|c| c.to_vec()).map_err(|e| cause(&e))).boxed();
            Ok(Exchange { status, is_stream, body })
        })
    }

    async fn open(&self, ask: Ask) -> Result<(Head, Chunks), Failure> {
        let target = ask.target();
        match &self.way {
            Way::Here(built) => {
                let request = self.request(ask, &target)?.map(axum::body::Body::from);
                let answer = match Box::pin(built.router.clone().oneshot(request)).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                let head = Head::of(answer.status(), answer.headers());
                let chunks = answer.into_body().into_data_stream();
                Ok((head, Box::pin(chunks.map(|chunk| chunk.map(|c| c.to_vec()).map_err(|e| e.to_string())))))
            }
            Way::Socket { http, base } => {
                let request = self.request(ask, &format!("{base}{target}"))?;
                let request = reqwest::Request::try_from(request).map_err(Failure::could_not)?;
                let answer = http.execute(request).await.map_err(|error| unreachable(base, &error))?;
                let head = Head::of(answer.status(), answer.headers());
                let chunks = answer.bytes_stream();
                Ok((head, Box::pin(chunks.map(|chunk| chunk.map(|c| c.to_vec()).map_err(|e| cause(&e))))))
            }
        }
    }

    fn request(&self, ask: Ask, uri: &str) -> Result<Request<Vec<u8>>, Failure> {
        let mut request = Request::builder().method(ask.method).uri(uri);
        if self.is_here() {
            request = request.header(header::HOST, "localhost");
        }
        if let Some(key) = &self.key {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                .map_err(|_| Failure::usage("the API key holds characters that no key has"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(user) = &self.user {
            request = request.header("x-user", user);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let body = match ask.body {
            None => Vec::new(),
            Some((kind, body)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                body
            }
        };
        request.body(body).map_err(|error| Failure::usage(format!("the request cannot be written: {error}")))
    }
}

fn socket(base: &str) -> Result<Way, Failure> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION")));
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    let http = builder.build().map_err(|error| Failure::could_not(format!("cannot speak HTTP: {}", cause(&error))))?;
    Ok(Way::Socket { http, base: base.to_owned() })
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    let failure = Failure::could_not(format!("cannot reach {}: {}", reeve_types::mask_dsn(base), cause(error)));
    if error.is_connect() {
        failure.hint("is it running? `reeve up` starts a server; --server names another one")
    } else {
        failure
    }
}

/// The last cause of an error, which is the one that says something.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// Whether the data directory is held by a running server: it keeps a lock that the system gives back when it ends.
pub(crate) fn server_runs(data_dir: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let Ok(file) = std::fs::File::open(data_dir.join(LOCK_FILE)) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(error) if error == rustix::io::Errno::WOULDBLOCK)
}

/// The key of whoever owns the data directory; none when others could have read it.
pub(crate) fn own_token(data_dir: &Path) -> Option<SecretString> {
    let file = std::fs::File::open(data_dir.join(TOKEN_FILE)).ok()?;
    if file.metadata().ok()?.mode() & 0o077 != 0 {
        return None;
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    let key = text.trim();
    (!key.is_empty()).then(|| key.to_owned().into())
}

/// The URLs at which the data directory's server says it listens. A wildcard address becomes the loopback address.
fn own_urls(data_dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(data_dir.join(SERVER_URL_FILE)).unwrap_or_default();
    let reachable = |line: &str| {
        let line = line.trim().trim_end_matches('/');
        let line = line.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
        reqwest::Url::parse(&line).ok().filter(|url| matches!(url.scheme(), "http" | "https")).map(|_| line)
    };
    text.lines().filter_map(reachable).collect()
}

/// Whether a URL is that of the server which holds the data directory. Anybody on this machine may listen on another
/// port of the loopback address, so that alone is not enough to be given the data directory's token.
fn is_own_server(config: &Config, url: &str) -> bool {
    let port_of = |url: &str| reqwest::Url::parse(url).ok()?.port_or_known_default();
    let Some(port) = port_of(url) else { return false };
    let known = own_urls(&config.data_dir).iter().any(|own| port_of(own) == Some(port));
    let configured = config.listen.iter().any(|address| address.port() == port);
    is_loopback(url) && (known || configured) && server_runs(&config.data_dir)
}

/// One message of a stream of server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseMessage {
    /// Its id, for going on from there.
    pub(crate) id: String,
    /// Its data.
    pub(crate) data: String,
}

/// Puts server-sent events together from the pieces in which they come in (WHATWG HTML, section 9.2).
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    buffer: Vec<u8>,
    message: SseMessage,
    has_data: bool,
}

impl SseReader {
    /// Takes a piece and returns the messages that it completes.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<SseMessage> {
        self.buffer.extend_from_slice(piece);
        let mut complete = Vec::new();
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            complete.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        complete
    }

    fn line(&mut self, line: &str) -> Option<SseMessage> {
        if line.is_empty() {
            let id = self.message.id.clone();
            let message = std::mem::replace(&mut self.message, SseMessage { id, data: String::new() });
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.message.id),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            // A comment (the heartbeat), or something that later servers may send.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_sent_events_come_together_from_any_pieces() {
        let wire = ": heartbeat\n\nid: 7\ndata: {\"a\":\ndata: 1}\n\nid: 8\r\ndata:x\r\n\r\nid: 9\n\n";
        let whole = SseReader::default().feed(wire.as_bytes());
        let mut reader = SseReader::default();
        let pieces: Vec<SseMessage> = wire.as_bytes().chunks(1).flat_map(|piece| reader.feed(piece)).collect();
        assert_eq!(whole, pieces);
        let message = |id: &str, data: &str| SseMessage { id: id.into(), data: data.into() };
        assert_eq!(whole, [message("7", "{\"a\":\n1}"), message("8", "x")]);
    }

    #[test]
    fn parameters_cannot_break_out_of_their_place() {
        let ask =
            Ask::get(format!("/tools/{}", escape("../keys?x"))).with("q", Some("a&b=c d/é")).with("none", None::<u8>);
        assert_eq!(ask.target(), "/api/v1/tools/..%2Fkeys%3Fx?q=a%26b%3Dc%20d%2F%C3%A9");
    }

    #[test]
    fn problems_become_words_and_codes() {
        let answer = |status: u16, text: &str| Answer { status, text: text.to_owned(), next: None }.problem();
        let denied = answer(403, r#"{"code":"policy_denied","detail":"policy `x` denies it","error":"y"}"#);
        assert_eq!((denied.code, denied.message.as_str()), (exit::DENIED, "policy `x` denies it"));
        assert_eq!(answer(422, r#"{"code":"tool_failed","error":"no such pid"}"#).code, exit::BAD_NEWS);
        assert_eq!(answer(502, "<html>").message, "the server answered 502 without saying why");
        assert!(answer(401, "{}").hint.contains("REEVE_API_KEY"));
    }

    #[test]
    fn the_token_is_used_only_while_nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        std::fs::write(&path, "rv_secret\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(own_token(dir.path()).unwrap().expose_secret(), "rv_secret");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(own_token(dir.path()).is_none());
    }

    #[test]
    fn a_server_is_seen_by_its_lock() {
        use rustix::fs::{FlockOperation, flock};
        let dir = tempfile::tempdir().unwrap();
        assert!(!server_runs(dir.path()));
        let held = std::fs::File::create(dir.path().join(LOCK_FILE)).unwrap();
        assert!(!server_runs(dir.path()), "a lock file alone means nothing");
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(server_runs(dir.path()));
    }

    #[test]
    fn the_token_goes_to_the_data_directorys_own_server_alone() {
        use rustix::fs::{FlockOperation, flock};
        let dir = tempfile::tempdir().unwrap();
        let around = crate::config::Surroundings {
            working_dir: dir.path().to_owned(),
            variables: [("REEVE_DATA_DIR", "."), ("REEVE_LISTEN", "127.0.0.1:8080")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..crate::config::Surroundings::default()
        };
        let config = crate::config::load(&around, &[]).unwrap();
        assert!(!is_own_server(&config, "http://localhost:8080"), "no server runs");
        let held = std::fs::File::create(dir.path().join(LOCK_FILE)).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        std::fs::write(dir.path().join(SERVER_URL_FILE), "http://0.0.0.0:4711\nhttp://[::]:1199\n").unwrap();
        for own in ["http://localhost:8080", "http://127.0.0.1:4711", "http://[::1]:1199"] {
            assert!(is_own_server(&config, own), "{own}");
        }
        for other in ["http://localhost:9999", "http://example.com:8080", "http://127.0.0.1", "nonsense"] {
            assert!(!is_own_server(&config, other), "{other}");
        }
        assert_eq!(own_urls(dir.path()), ["http://127.0.0.1:4711", "http://[::1]:1199"]);
    }

    #[test]
    fn only_loopback_addresses_are_this_machine() {
        for (url, here) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:1", true),
            ("http://localhost.example.com", false),
            ("https://127.0.0.1.example.com", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_loopback(url), here, "{url}");
        }
    }
}
