//! Kept connections to the runtime's socket, and answers that give their connection back when they were read whole.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use reeve_types::{ProblemCode, WorkspaceError};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{ANSWER_WITHIN, RuntimeToken, bounded};

/// How many idle connections are kept.
const IDLE_MAX: usize = 8;
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Size of all headers of one answer, in bytes.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Headers of one answer.
const HEADERS_MAX: usize = 64;
/// The socket that requests go to.
const RUNTIME_SOCKET: &str = "runtime.sock";

/// What goes in.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body of no bytes.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// One connection; its task ends with it.
struct Connection {
    sender: SendRequest<Body>,
    task: tokio::task::AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Idle = Arc<Mutex<Vec<Connection>>>;

/// The connections to one runtime.
pub(super) struct Connections {
    directory: PathBuf,
    token: RuntimeToken,
    idle: Idle,
}

impl Connections {
    pub(super) fn new(directory: PathBuf, token: RuntimeToken) -> Self {
        Self { directory, token, idle: Idle::default() }
    }

    pub(super) fn token(&self) -> &RuntimeToken {
        &self.token
    }

    /// Asks and expects JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<T, WorkspaceError> {
        self.json(Method::GET, address, empty()).await
    }

    /// Sends JSON and expects JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        address: &str,
        what: &impl Serialize,
    ) -> Result<T, WorkspaceError> {
        self.json(Method::POST, address, body_of(what)?).await
    }

    /// Asks and expects JSON, within the usual time.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        address: &str,
        body: Body,
    ) -> Result<T, WorkspaceError> {
        let request = self.request(method, address, body)?;
        within(ANSWER_WITHIN, async { bounded::json(self.send(request).await?).await }).await
    }

    /// Asks, and throws a good answer away.
    pub(super) async fn tell(&self, method: Method, address: &str) -> Result<(), WorkspaceError> {
        let request = self.request(method, address, empty())?;
        within(ANSWER_WITHIN, async { bounded::whole(self.send(request).await?).await.map(drop) }).await
    }

    /// Asks for something small within a time.
    pub(super) async fn look(&self, address: &str, time: Duration) -> Result<Bytes, WorkspaceError> {
        let request = self.request(Method::GET, address, empty())?;
        within(time, async { bounded::whole(self.send(request).await?).await }).await
    }

    /// A request with the token.
    pub(super) fn request(&self, method: Method, address: &str, body: Body) -> Result<Request<Body>, WorkspaceError> {
        Request::builder()
            .method(method)
            .uri(address)
            .header(header::HOST, "runtime")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| {
                WorkspaceError::new(ProblemCode::BadRequest, format!("the request cannot be put into words: {error}"))
            })
    }

    /// Sends a request and waits for the head of the answer. An answer that is no success becomes its error.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Reply, WorkspaceError> {
        let reply = within(ANSWER_WITHIN, self.exchange(request)).await?;
        if reply.head.status.is_success() { Ok(reply) } else { Err(bounded::refusal(reply).await) }
    }

    /// The same, for content that takes its time to go in.
    pub(super) async fn send_slowly(&self, request: Request<Body>, time: Duration) -> Result<Reply, WorkspaceError> {
        let reply = within(time, self.exchange(request)).await?;
        if reply.head.status.is_success() { Ok(reply) } else { Err(bounded::refusal(reply).await) }
    }

    /// Tries kept connections first. One that the other end had closed meanwhile gives the request back unsent.
    async fn exchange(&self, mut request: Request<Body>) -> Result<Reply, WorkspaceError> {
        while let Some(mut connection) = self.take_idle() {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.reply(connection, response)),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(failure.error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.sender.send_request(request).await.map_err(|error| broken(&error))?;
        Ok(self.reply(connection, response))
    }

    /// Sends a request on a connection of its own that becomes something else than HTTP.
    pub(super) async fn upgrade(
        &self,
        mut request: Request<Body>,
        protocol: &'static str,
    ) -> Result<hyper::upgrade::Upgraded, WorkspaceError> {
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static(protocol));
        let stream = self.open(RUNTIME_SOCKET).await?;
        let (mut sender, driver) = settings().handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let task = tokio::spawn(driver.with_upgrades()).abort_handle();
        let answer = within(ANSWER_WITHIN, async { sender.send_request(request).await.map_err(|e| broken(&e)) }).await;
        let response = answer.inspect_err(|_| task.abort())?;
        if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            let connection = Connection { sender, task };
            return Err(bounded::refusal(Reply { head, body: ReplyBody::new(body, connection, None) }).await);
        }
        hyper::upgrade::on(response).await.map_err(|error| broken(&error))
    }

    async fn connect(&self) -> Result<Connection, WorkspaceError> {
        let stream = self.open(RUNTIME_SOCKET).await?;
        let (sender, driver) = settings().handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let task = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a workspace ended");
            }
        });
        Ok(Connection { sender, task: task.abort_handle() })
    }

    /// Connects to a socket in the workspace's directory. The directory is writable from inside, so the name must be a
    /// socket by itself and not a link to another one on this machine; the handle, not the name, is connected to.
    pub(super) async fn open(&self, name: &str) -> Result<UnixStream, WorkspaceError> {
        let socket = socket_handle(&self.directory, name).map_err(|error| unreachable(&error))?;
        let through = PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        within(CONNECT_WITHIN, async { UnixStream::connect(&through).await.map_err(|error| unreachable(&error)) }).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.sender.is_closed());
        idle.pop()
    }

    fn reply(&self, connection: Connection, response: Response<Incoming>) -> Reply {
        let (head, body) = response.into_parts();
        Reply { head, body: ReplyBody::new(body, connection, Some(Arc::clone(&self.idle))) }
    }
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings.max_headers(HEADERS_MAX).max_header_size(HEADERS_BYTES_MAX).max_buf_size(512 * 1024);
    settings
}

fn socket_handle(directory: &Path, name: &str) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = rustix::fs::open(directory, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let socket = rustix::fs::openat2(&beneath, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) {
        FileType::Socket => Ok(socket),
        _ => Err(std::io::Error::other("what is there is no socket")),
    }
}

/// JSON as a body.
pub(super) fn body_of(what: &impl Serialize) -> Result<Body, WorkspaceError> {
    serde_json::to_vec(what).map(whole).map_err(|error| {
        WorkspaceError::new(
            ProblemCode::Internal,
            format!("the request to the workspace cannot be written down: {error}"),
        )
    })
}

/// An answer: its head, and its bytes as they come.
pub(super) struct Reply {
    pub(super) head: hyper::http::response::Parts,
    pub(super) body: ReplyBody,
}

/// The bytes of an answer. Read to the end, the connection is kept; dropped before, it is closed, and the other end
/// knows that nobody listens any more.
pub(super) struct ReplyBody {
    incoming: Incoming,
    connection: Option<(Connection, Idle)>,
    _alone: Option<Connection>,
}

impl ReplyBody {
    fn new(incoming: Incoming, connection: Connection, idle: Option<Idle>) -> Self {
        match idle {
            Some(idle) => Self { incoming, connection: Some((connection, idle)), _alone: None },
            None => Self { incoming, connection: None, _alone: Some(connection) },
        }
    }

    fn give_back(&mut self) {
        let Some((connection, idle)) = self.connection.take() else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push(connection);
        }
    }
}

impl Stream for ReplyBody {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(std::io::Error::other(error)))),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
            }
        }
    }
}

/// Waits no longer than a time.
pub(super) async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, WorkspaceError>>,
) -> Result<T, WorkspaceError> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => {
            let said = format!("the workspace did not answer within {} ms; try again, or restart it", time.as_millis());
            Err(WorkspaceError::new(ProblemCode::Timeout, said))
        }
    }
}

/// The socket cannot be reached.
fn unreachable(error: &std::io::Error) -> WorkspaceError {
    let said = format!("the workspace's program cannot be reached ({error}); start the workspace");
    WorkspaceError::new(ProblemCode::NotRunning, said)
}

/// The connection broke in the middle.
pub(super) fn broken(error: &dyn std::error::Error) -> WorkspaceError {
    let cause = error.source().map_or_else(String::new, |source| format!(": {source}"));
    let said = format!("the connection to the workspace broke off ({error}{cause}); try again");
    WorkspaceError::new(ProblemCode::Unavailable, said)
}
