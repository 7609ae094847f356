//! The API on a real port, and clients of it: HTTP/1.1, HTTP/2, WebSockets, streams of events.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reeve_http::ServeLimits;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use crate::platform::{Answer, TestPlatform};
use crate::unconfined::SOON;

/// A platform that listens. Everything is cut off when it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    hard: CancellationToken,
    _task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.hard.cancel();
    }
}

impl Served {
    pub(crate) async fn of(t: &TestPlatform) -> Self {
        Self::within(ServeLimits::default(), t).await
    }

    /// The same with limits of its own.
    pub(crate) async fn within(limits: ServeLimits, t: &TestPlatform) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, hard) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (router, stop) = (t.router.clone(), t.stop.clone());
        let task = tokio::spawn(reeve_http::serve_within(limits, vec![listener], router, stop, hard.clone()));
        Self { address, hard, _task: task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request on a connection of its own. The connection ends with the returned guard.
    pub(crate) async fn open(&self, request: Request<Body>) -> (Response<Incoming>, Line) {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        let line = Line(tokio::spawn(async move { drop(connection.with_upgrades().await) }));
        let answered = tokio::time::timeout(SOON, sender.send_request(request)).await;
        (answered.expect("an answer in time").unwrap(), line)
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (response, _line) = self.open(request).await;
        read(response).await
    }

    /// The same over HTTP/2, without having asked whether the server speaks it.
    pub(crate) async fn send_http2(&self, request: Request<Body>) -> Answer {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let _line = Line(tokio::spawn(async move { drop(connection.await) }));
        read(sender.send_request(request).await.unwrap()).await
    }

    /// Opens a WebSocket, or tells the status of the answer to its handshake.
    pub(crate) async fn socket(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, self.connect().await).await {
            Ok((socket, response)) => Ok(Socket { socket, headers: response.headers().clone() }),
            Err(Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{path}: {error}"),
        }
    }
}

/// A client's connection; it is cut when this is dropped.
pub(crate) struct Line(JoinHandle<()>);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = tokio::time::timeout(SOON, body.collect()).await.expect("the answer ends").unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: parts.status, headers: parts.headers, text, bytes }
}

/// A client's end of a WebSocket.
pub(crate) struct Socket {
    socket: WebSocketStream<TcpStream>,
    pub(crate) headers: HeaderMap,
}

impl Socket {
    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Types something.
    pub(crate) async fn type_in(&mut self, text: &str) {
        self.send(Message::binary(text.as_bytes().to_vec())).await;
    }

    pub(crate) async fn control(&mut self, control: Value) {
        self.send(Message::text(control.to_string())).await;
    }

    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let message = tokio::time::timeout(SOON, self.socket.next()).await.expect("a message in time");
            match message.expect("the socket is open").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next text frame, as JSON.
    pub(crate) async fn told(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Binary(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until the terminal has shown something, and gives all that it showed.
    pub(crate) async fn until_shown(&mut self, words: &str) -> String {
        let mut shown = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&shown).into_owned();
            if so_far.contains(words) {
                return so_far;
            }
            match self.next().await {
                Message::Binary(bytes) => shown.extend_from_slice(&bytes),
                Message::Text(_) => {}
                other => panic!("{other:?} after {so_far:?}"),
            }
        }
    }

    /// Sends something that ends the connection, and waits for its end.
    pub(crate) async fn ends_with(mut self, message: Message) {
        // The other side may be gone before it has all of it.
        let _ = self.socket.send(message).await;
        let end = async { while self.socket.next().await.is_some_and(|read| read.is_ok()) {} };
        tokio::time::timeout(SOON, end).await.expect("it ends");
    }

    /// Reads to the end: the code it is closed with, and the last text frame before.
    pub(crate) async fn closed(mut self) -> (u16, Value) {
        let mut last = Value::Null;
        loop {
            match self.next().await {
                Message::Close(frame) => return (frame.map_or(1005, |frame| frame.code.into()), last),
                Message::Text(text) => last = serde_json::from_str(&text).unwrap_or_default(),
                _ => {}
            }
        }
    }
}

/// Server-sent events as they come.
pub(crate) struct Followed {
    body: Body,
    text: String,
}

impl Followed {
    pub(crate) fn of<B>(response: Response<B>) -> Self
    where
        B: hyper::body::Body<Data = axum::body::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: Body::new(response.into_body()), text: String::new() }
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                self.text = rest.to_owned();
                match data {
                    Some(json) => return serde_json::from_str(&json).unwrap(),
                    None => continue,
                }
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("an event in time");
            let bytes = frame.expect("more events").unwrap().into_data().unwrap_or_default();
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    pub(crate) async fn until(&mut self, so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await;
            if so(&event) {
                return event;
            }
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
