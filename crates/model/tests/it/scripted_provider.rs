//! An HTTP server that answers as it is told: recorded wire transcripts, refusals, and every way of going wrong.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value;

/// Makes time pass some fifty times faster, in which waits of seconds take no time worth mentioning.
///
/// A clock that is only paused jumps ahead whenever nothing is to be done, and bytes on their way through a socket are
/// nothing to it: deadlines would pass before answers arrive. This one jumps a little at a time and looks at the sockets
/// in between.
pub(crate) fn quick_clock() {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(2);
    const JUMP: std::time::Duration = std::time::Duration::from_millis(100);
    tokio::time::pause();
    tokio::spawn(async {
        loop {
            let until = std::time::Instant::now() + LOOK;
            while std::time::Instant::now() < until {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(JUMP).await;
        }
    });
}

/// How an answer ends.
#[derive(Clone)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// The connection breaks.
    Dropped,
    /// Nothing more comes, and the connection stays.
    Silent,
    /// The same again and again.
    Forever(&'static [u8]),
    /// A comment each second.
    Pinging,
    /// As `Silent`; the sender is dropped when the client has gone.
    Watched(tokio::sync::mpsc::Sender<()>),
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<Bytes>,
    end: End,
}

impl Answer {
    /// A stream that a provider sent, in small pieces that respect nothing.
    pub(crate) fn transcript(name: &str) -> Self {
        Self::stream(&transcript(name))
    }

    /// A stream of these bytes.
    pub(crate) fn stream(bytes: &[u8]) -> Self {
        let pieces = bytes.chunks(61).map(Bytes::copy_from_slice).collect();
        let kind = vec![("content-type", "text/event-stream; charset=utf-8".to_owned())];
        Self { status: 200, headers: kind, pieces, end: End::Whole }
    }

    /// No answer but a refusal.
    pub(crate) fn refusal(status: u16, body: &str) -> Self {
        let kind = vec![("content-type", "application/json".to_owned())];
        Self { status, headers: kind, pieces: vec![Bytes::copy_from_slice(body.as_bytes())], end: End::Whole }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let pieces = stream::iter(self.pieces.into_iter().map(Ok::<_, std::io::Error>));
        let after: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>> = match self.end {
            End::Whole => Box::pin(stream::empty()),
            // A moment later, so that what came before is on its way.
            End::Dropped => Box::pin(stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("dropped"))
            })),
            End::Silent => Box::pin(stream::pending()),
            End::Pinging => Box::pin(stream::unfold((), |()| async {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Some((Ok(Bytes::from_static(b": still here\n\n")), ()))
            })),
            End::Watched(watch) => Box::pin(stream::poll_fn(move |_| {
                let _held = &watch;
                std::task::Poll::Pending
            })),
            End::Forever(bytes) => Box::pin(stream::repeat_with(move || Ok(Bytes::from_static(bytes)))),
        };
        response.body(Body::from_stream(pieces.chain(after))).expect("a response")
    }
}

/// The bytes of a transcript.
pub(crate) fn transcript(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/transcripts/{name}.sse", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of text"))
    }
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// The server.
pub(crate) struct ScriptedProvider {
    pub(crate) url: String,
    script: Script,
}

impl ScriptedProvider {
    /// A server that gives these answers in order, and then refuses.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), seen: Arc::default() };
        let app = axum::Router::new().fallback(answer).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, script }
    }

    /// What has been asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().expect("the list").clone()
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "one request");
        seen[0].clone()
    }
}

async fn answer(
    State(script): State<Script>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Infallible> {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    script.seen.lock().expect("the list").push(Seen { path: uri.to_string(), headers, body });
    let next = script.answers.lock().expect("the answers").pop_front();
    Ok(next.unwrap_or_else(|| Answer::refusal(418, r#"{"error":"the script is over"}"#)).into_response())
}
