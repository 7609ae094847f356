//! Who watches sessions, how many may, and the stream of server-sent events that each of them gets.
//!
//! A stream is pulled: the next event is looked for when the client's connection has room for it, out of the session's
//! feed, which reads from the database what it missed. Nothing is kept for a client but its place, so ten thousand of
//! them cost little, and one that reads slowly holds nobody up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use reeve_platform::sessions::{Feed, Overview, SessionError, Sessions};
use reeve_types::{Principal, ProblemCode};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::aegis_events::{self, Format};
use crate::metrics::Watching;
use crate::problem::Problem;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often it is looked whether a shared link still holds, while events are told.
const LINK_CHECKED_EVERY: Duration = Duration::from_secs(1);

/// How many may watch sessions, and how long their streams may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// How long a stream is silent before it says `:ping`.
    pub idle: Duration,
    /// Most streams and sockets of sessions at the same time.
    pub connections: usize,
    /// Most of them of one caller.
    pub per_caller: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(120), connections: 20_000, per_caller: 100 }
    }
}

/// Who watches now.
pub(crate) struct Watchers {
    limits: StreamLimits,
    by_caller: Mutex<HashMap<String, usize>>,
    numbers: Watching,
}

/// A place among those who watch; it is free again when this is dropped.
pub(crate) struct Seat {
    watchers: Arc<Watchers>,
    who: String,
}

impl Watchers {
    pub(crate) fn new(limits: StreamLimits, numbers: Watching) -> Arc<Self> {
        Arc::new(Self { limits, by_caller: Mutex::default(), numbers })
    }

    fn by_caller(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if there is one.
    pub(crate) fn seat(self: &Arc<Self>, who: String) -> Result<Seat, Problem> {
        let mut by_caller = self.by_caller();
        let limits = self.limits;
        if self.numbers.clients.get() >= i64::try_from(limits.connections).unwrap_or(i64::MAX) {
            let detail =
                format!("{} streams are open, as many as this server takes; try again later", limits.connections);
            return Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(10).with("reason", "global_limit"));
        }
        let own = by_caller.entry(who.clone()).or_default();
        if *own >= limits.per_caller {
            let detail =
                format!("{} of your streams are open, as many as one caller may have; close one", limits.per_caller);
            return Err(Problem::new(ProblemCode::RateLimited, detail).retry_after(10).with("reason", "per_ip_limit"));
        }
        *own += 1;
        self.numbers.clients.inc();
        drop(by_caller);
        Ok(Seat { watchers: Arc::clone(self), who })
    }
}

impl Seat {
    /// Counts one event that was told.
    pub(crate) fn told(&self) {
        self.watchers.numbers.events.inc();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_caller = self.watchers.by_caller();
        self.watchers.numbers.clients.dec();
        if let Some(own) = by_caller.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                by_caller.remove(&self.who);
            }
        }
    }
}

/// The last event that a client has seen: by the header `Last-Event-ID`, or else by `?after=`. Never more than there are,
/// so that a client from before a restored backup hears of what comes.
pub(crate) fn seen(headers: &HeaderMap, after: Option<u64>, last_seq: u64) -> Result<u64, Problem> {
    Ok(last_event_id(headers)?.or(after).unwrap_or(0).min(last_seq))
}

/// The id of the last frame that a client has seen, if it says one.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let seen: Option<u64> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let detail = "the header Last-Event-ID must be the id of a frame of this stream: a number";
    seen.map(Some).ok_or_else(|| Problem::new(ProblemCode::BadRequest, detail))
}

/// Where the events of a stream come from.
pub(crate) enum Source {
    /// One session's, each with its number.
    Session(Feed),
    /// What happens in any session that somebody may see.
    All(Box<Overview>, Box<Principal>),
}

/// What lets somebody read without an account, for as long as it holds.
pub(crate) struct Link {
    pub(crate) sessions: Sessions,
    pub(crate) token: String,
    pub(crate) checked: Instant,
}

impl Link {
    /// Whether it still opens what it opened.
    async fn holds(&mut self) -> bool {
        if self.checked.elapsed() < LINK_CHECKED_EVERY {
            return true;
        }
        self.checked = Instant::now();
        // A database that cannot be read just now takes nobody's leave away.
        !matches!(self.sessions.shared(&self.token, 0).await, Err(SessionError::Problem { .. }))
    }
}

/// One client's stream.
pub(crate) struct Watch {
    pub(crate) source: Source,
    pub(crate) seat: Seat,
    pub(crate) stop: CancellationToken,
    /// What is said first.
    pub(crate) opening: Option<String>,
    pub(crate) link: Option<Link>,
    format: Format,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(source: Source, seat: Seat, stop: CancellationToken, opening: String) -> Self {
        Self { source, seat, stop, opening: Some(opening), link: None, format: Format::Reeve, ended: false }
    }

    /// The same in another shape; what is said first has it already.
    pub(crate) fn in_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The same, for as long as a link holds.
    pub(crate) fn by_link(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }

    /// The answer that goes on for as long as the client listens.
    pub(crate) fn into_response(self) -> Response {
        let frames = stream::unfold(self, |mut watch| async move {
            let frame = watch.next().await?;
            Some((Ok::<_, Infallible>(frame), watch))
        });
        let mut response = Response::new(Body::from_stream(frames));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Proxies that collect an answer before passing it on would hold the stream back.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(frame(None, &opening));
        }
        if self.ended {
            return None;
        }
        let idle = self.seat.watchers.limits.idle;
        let (stop, source, format) = (&self.stop, &mut self.source, self.format);
        let told = tokio::select! {
            biased;
            () = stop.cancelled() => Heard::End(format.shutdown()),
            heard = source.next(format) => heard,
            () = tokio::time::sleep(idle) => Heard::Silence,
        };
        if let Some(link) = &mut self.link
            && !link.holds().await
        {
            return None;
        }
        Some(match told {
            Heard::Event(id, json) => {
                self.seat.told();
                frame(id, &json)
            }
            Heard::Silence => Bytes::from_static(b":ping\n\n"),
            Heard::End(last) => {
                self.ended = true;
                frame(None, last)
            }
        })
    }
}

/// Something was missed that is not remembered: lists are to be read anew.
const RESYNC: &str = r#"{"event":"resync"}"#;

/// What a stream has to tell.
enum Heard {
    Event(Option<u64>, Arc<str>),
    Silence,
    End(&'static str),
}

impl Source {
    async fn next(&mut self, format: Format) -> Heard {
        match self {
            Self::Session(feed) => loop {
                match feed.next().await {
                    Ok(frame) if format == Format::Reeve => return Heard::Event(Some(frame.seq), frame.json),
                    Ok(frame) => {
                        if let Some(json) = aegis_events::of_session(&frame.json) {
                            return Heard::Event(Some(frame.seq), json.into());
                        }
                    }
                    Err(error) => {
                        tracing::error!("a stream of a session cannot be read: {}", error.chain());
                        return Heard::End(
                            r#"{"event":"error","code":"record_unavailable","message":"the session cannot be read now; come back with Last-Event-ID"}"#,
                        );
                    }
                }
            },
            Self::All(all, caller) => loop {
                if std::mem::take(&mut all.gap) {
                    return Heard::Event(None, RESYNC.into());
                }
                let told = match all.missed.pop_front() {
                    Some(missed) => Ok(missed),
                    None => all.live.recv().await,
                };
                match told {
                    Ok(told) if told.is_for(caller) => {
                        let json = match format {
                            Format::Reeve => {
                                json!({"event": "session", "kind": told.event, "session": *told.session}).to_string()
                            }
                            Format::Aegis => match aegis_events::of_all(told.id, told.event, &told.session) {
                                Some(json) => json,
                                None => continue,
                            },
                        };
                        return Heard::Event(Some(told.id), json.into());
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Heard::Event(None, RESYNC.into()),
                    Err(RecvError::Closed) => return Heard::End(format.shutdown()),
                }
            },
        }
    }
}

/// A frame of server-sent events. JSON of one line needs no escaping.
fn frame(id: Option<u64>, json: &str) -> Bytes {
    match id {
        Some(id) => Bytes::from(format!("id: {id}\ndata: {json}\n\n")),
        None => Bytes::from(format!("data: {json}\n\n")),
    }
}
