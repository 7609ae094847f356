//! What the agent sends, one message after another. Updates are handed over in order; requests get tasks of their own, so
//! that a question which waits for a person holds nothing up.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::AsyncRead;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::Shared;
use super::error::{End, sentence};
use super::frames::Frames;
use super::message::{self, Id, Message};
use super::peer::{Peer, ProtocolWarning};
use super::requests::{self, PERMISSION};
use super::update::Update;

/// JSON-RPC's codes for what has none of the protocol's.
const INTERNAL: i64 = -32603;
const CANCELLED: i64 = -32800;

/// Reads and hands over until the agent's output ends or breaks the bounds.
pub(super) struct Inbound<R> {
    frames: Frames<R>,
    shared: Arc<Shared>,
    peer: Arc<dyn Peer>,
    tasks: JoinSet<()>,
    warned: HashSet<Discriminant<ProtocolWarning>>,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    pub(super) fn new(frames: Frames<R>, shared: Arc<Shared>, peer: Arc<dyn Peer>) -> Self {
        Self { frames, shared, peer, tasks: JoinSet::new(), warned: HashSet::new() }
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            let frame = match self.frames.next().await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            while self.tasks.try_join_next().is_some() {}
            match Message::read(&frame) {
                Ok(Message::Answer { id, outcome }) => {
                    if let Some(warning) = self.shared.answered(&id, outcome) {
                        self.warn(warning);
                    }
                }
                Ok(Message::Notification { method, params }) => self.told(&method, params.as_deref()).await,
                Ok(Message::Request { id, method, params }) => self.asked(id, method, params),
                Err(reason) => {
                    let lines = self.shared.tally.garbage.fetch_add(1, Ordering::Relaxed) + 1;
                    if lines > self.shared.options.garbage_max {
                        return End::Garbage { lines, last: reason };
                    }
                    self.warn(ProtocolWarning::Garbage(reason));
                }
            }
        }
    }

    async fn told(&mut self, method: &str, params: Option<&RawValue>) {
        match method {
            "session/update" => self.update(params).await,
            "$/cancel_request" => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Told<'a> {
                    #[serde(borrow)]
                    request_id: &'a RawValue,
                }
                if let Some(Ok(told)) = params.map(|params| serde_json::from_str::<Told<'_>>(params.get())) {
                    self.shared.requests.withdraw(|open| open.id == told.request_id.get());
                }
            }
            // Optional by the protocol: whoever does not know them may ignore them.
            method if method.starts_with("$/") || method.starts_with('_') => {}
            method => {
                self.shared.tally.unknown_notifications.fetch_add(1, Ordering::Relaxed);
                self.warn(ProtocolWarning::UnknownNotification(sentence(method).chars().take(100).collect()));
            }
        }
    }

    async fn update(&mut self, params: Option<&RawValue>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Told {
            session_id: String,
            #[serde(default)]
            update: Value,
        }
        self.shared.tally.updates.fetch_add(1, Ordering::Relaxed);
        let told = serde_json::from_str::<Told>(params.map_or("null", RawValue::get));
        let (session, update, raw) = match told {
            Ok(told) => (told.session_id, Update::read(&told.update), told.update),
            Err(error) => {
                let reason = sentence(&error.to_string());
                (String::new(), Update::Malformed { kind: None, reason }, Value::Null)
            }
        };
        self.peer.update(&session, update, raw).await;
    }

    fn asked(&mut self, id: Id, method: String, params: Option<Box<RawValue>>) {
        let session = session_of(params.as_deref());
        let bytes = params.as_ref().map_or(0, |params| params.get().len());
        let Some(open) = self.shared.requests.open(&id, &method, session, bytes) else {
            self.shared.tally.refused_requests.fetch_add(1, Ordering::Relaxed);
            let said = "too many requests are open; wait for their answers";
            if let Ok(line) = message::refusal(&id, INTERNAL, said) {
                self.shared.try_reply(line);
            }
            self.warn(ProtocolWarning::TooManyRequests(self.shared.options.requests_max));
            return;
        };
        let (shared, peer) = (Arc::clone(&self.shared), Arc::clone(&self.peer));
        self.tasks.spawn(async move {
            let cancelled = open.token.cancelled();
            let outcome = tokio::select! {
                biased;
                () = cancelled => None,
                outcome = requests::serve(&*peer, &method, params.as_deref()) => Some(outcome),
            };
            let line = match outcome {
                Some(Ok(result)) => message::answer(&id, &result),
                Some(Err(error)) => message::refusal(&id, error.code(), &error.to_string()),
                None if method == PERMISSION => message::answer(&id, &requests::void()),
                None => message::refusal(&id, CANCELLED, "the request was cancelled"),
            };
            let bytes_max = shared.options.frame_bytes_max;
            let line = match line {
                Ok(line) if line.len() <= bytes_max => Ok(line),
                _ => message::refusal(&id, INTERNAL, "the answer is too long to be sent; ask for a part"),
            };
            if let Ok(line) = line {
                shared.reply(line).await;
            }
            drop(open);
        });
    }

    fn warn(&mut self, warning: ProtocolWarning) {
        if self.warned.insert(discriminant(&warning)) {
            tracing::warn!(%warning, "an agent does not keep to the protocol");
            self.peer.protocol_warning(warning);
        }
    }
}

fn session_of(params: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Told {
        session_id: String,
    }
    serde_json::from_str::<Told>(params?.get()).ok().map(|told| told.session_id)
}

/// The agent's requests that are not answered yet.
pub(super) struct Requests {
    max: usize,
    bytes_max: usize,
    next: AtomicU64,
    open: Arc<Mutex<Vec<Open>>>,
}

/// One of them.
pub(super) struct Open {
    number: u64,
    bytes: usize,
    id: String,
    session: Option<String>,
    permission: bool,
    token: CancellationToken,
}

/// A place among them; given back when it is dropped.
pub(super) struct OpenRequest {
    number: u64,
    token: CancellationToken,
    all: Arc<Mutex<Vec<Open>>>,
}

impl Requests {
    /// At most so many at once, and so many bytes of parameters altogether.
    pub(super) fn new(max: usize, bytes_max: usize) -> Self {
        Self { max, bytes_max, next: AtomicU64::new(0), open: Arc::default() }
    }

    fn open(&self, id: &Id, method: &str, session: Option<String>, bytes: usize) -> Option<OpenRequest> {
        let mut open = locked(&self.open);
        let held: usize = open.iter().map(|open| open.bytes).sum();
        if open.len() >= self.max || held.saturating_add(bytes) > self.bytes_max {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let token = CancellationToken::new();
        let permission = method == PERMISSION;
        open.push(Open { number, bytes, id: id.text().to_owned(), session, permission, token: token.clone() });
        Some(OpenRequest { number, token, all: Arc::clone(&self.open) })
    }

    /// The questions of a session are void.
    pub(super) fn withdraw_questions(&self, session: &str) {
        self.withdraw(|open| open.permission && open.session.as_deref() == Some(session));
    }

    fn withdraw(&self, which: impl Fn(&Open) -> bool) {
        locked(&self.open).iter().filter(|open| which(open)).for_each(|open| open.token.cancel());
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        locked(&self.all).retain(|open| open.number != self.number);
    }
}

fn locked(open: &Mutex<Vec<Open>>) -> MutexGuard<'_, Vec<Open>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
