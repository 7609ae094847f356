//! Server-sent events out of the log.
//!
//! A stream replays from the log and goes on live; whoever falls behind is served from the log again, so that there is
//! never a gap. Each frame has the record's sequence number as its id and one JSON object as its data, with the type of
//! the record in its member `event`. A comment every 15 seconds keeps proxies from closing it; when the server stops, the
//! stream ends with a last comment.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use reeve_store::{Published, Store};
use reeve_types::{Event, ProblemCode};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::problem::Problem;
use crate::server::Stopping;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often a silent stream shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many records are read from the log at once.
const PAGE: usize = 200;

/// What a stream shows of a record: the data of a frame, or nothing.
pub(crate) type Show = Arc<dyn Fn(&Event, u64, &str) -> Option<String> + Send + Sync>;

/// Where a stream is asked to begin.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Begin {
    /// Begin with the record of this number instead of the next one; the header Last-Event-ID beats it.
    pub(crate) from: Option<u64>,
}

/// The sequence number that a stream begins with.
pub(crate) async fn begin(app: &App, headers: &HeaderMap, from: Option<u64>) -> Result<u64, Problem> {
    if let Some(value) = headers.get(LAST_EVENT_ID) {
        let seen: Option<u64> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        let bad = || {
            Problem::new(
                ProblemCode::BadRequest,
                "the header Last-Event-ID must be the id of a frame of this stream: a number",
            )
        };
        return Ok(seen.ok_or_else(bad)?.saturating_add(1));
    }
    match from {
        Some(from) => Ok(from),
        None => Ok(app.platform.store().log_head().await?.size),
    }
}

/// A stream of records from a sequence number on.
pub(crate) fn records(app: &App, live: Receiver<Arc<Published>>, from: u64, stop: Stopping, show: Show) -> Response {
    let opening = Frame::default().comment("this stream goes on from the record named by Last-Event-ID");
    // A client that loses the stream before its first record can resume it, too.
    let opening = if from == 0 { opening } else { opening.id((from - 1).to_string()) };
    let source = Source {
        store: app.platform.store().clone(),
        live,
        next: from,
        behind: true,
        ready: VecDeque::from([opening]),
        stop: stop.0,
        ended: false,
        show,
    };
    let frames = stream::unfold(source, |mut source| async move {
        let frame = source.next_frame().await?;
        Some((Ok::<_, Infallible>(frame), source))
    });
    let mut response = Sse::new(frames).into_response();
    // Proxies that collect an answer before passing it on would hold the stream back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Source {
    store: Store,
    live: Receiver<Arc<Published>>,
    next: u64,
    behind: bool,
    ready: VecDeque<Frame>,
    stop: CancellationToken,
    ended: bool,
    show: Show,
}

impl Source {
    async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            if self.stop.is_cancelled() {
                return Some(self.end("the server is stopping; come back with Last-Event-ID"));
            }
            if self.behind {
                if let Err(frame) = self.read_page().await {
                    return Some(frame);
                }
                continue;
            }
            let (live, stop) = (&mut self.live, &self.stop);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(HEARTBEAT) => return Some(Frame::default().comment("alive")),
                received = live.recv() => match received {
                    Ok(record) if record.seq < self.next => {}
                    Ok(record) if record.seq == self.next => self.take(&record.event, record.seq, &record.json),
                    Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return Some(self.end("the log is closed")),
                },
            }
        }
    }

    fn end(&mut self, why: &str) -> Frame {
        self.ended = true;
        Frame::default().comment(why)
    }

    async fn read_page(&mut self) -> Result<(), Frame> {
        let page = match self.store.records_from(self.next, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!("a stream could not read the log: {}", error.chain());
                return Err(self.end("the log cannot be read now; come back with Last-Event-ID"));
            }
        };
        self.behind = page.len() == PAGE;
        for record in page {
            self.take(&record.event, record.seq, &record.json);
        }
        Ok(())
    }

    fn take(&mut self, event: &Event, seq: u64, json: &str) {
        self.next = seq + 1;
        if let Some(data) = (self.show)(event, seq, json) {
            self.ready.push_back(Frame::default().id(seq.to_string()).data(data));
        }
    }
}
