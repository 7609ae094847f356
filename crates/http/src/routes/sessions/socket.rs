//! A session over a WebSocket: its events one way, words to its agent the other.
//!
//! Each event is one text frame, the same object as in the stream. Nothing is dropped and nothing piles up: events are
//! read from the session's feed when the client has taken the one before.

use std::pin::pin;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use reeve_platform::sessions::Feed;
use reeve_types::session::Session;
use reeve_types::{ApprovalId, ProblemCode, SessionId};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Interval;

use super::following::{From, connected};
use super::{prompting, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query};
use crate::lasting::{self, Closing, STOPPING};
use crate::problem::Problem;
use crate::rate::RateClass;
use crate::routes::workspaces::knock::{Framing, GOODBYE_WITHIN, Knock, farewell};
use crate::server::Stopping;
use crate::watching::Seat;

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Prompt { text: String },
    Cancel {},
    Approve(Verdict),
    Reject(Verdict),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    #[serde(default, alias = "approvalId")]
    approval_id: Option<ApprovalId>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    remember: bool,
}

/// A session's socket.
///
/// Out: one event a text frame, `connected` first. In: `{"type": "prompt", "text"}`, `{"type": "cancel"}`,
/// `{"type": "approve" | "reject", "approval_id"?, "reason"?, "remember"?}`; what is not done is answered with
/// `{"event": "error", "code", "message"}`. A browser brings `?token=`.
#[utoipa::path(get, path = "/sessions/{id}/ws", tag = "sessions", operation_id = "session_socket",
    params(("id" = String, Path, description = "The session's id."),
           ("after" = Option<u64>, Query, description = "After the event of this number."),
           ("token" = Option<String>, Query, description = "A ticket of POST /api/v1/auth/sse-token, instead of a key.")),
    responses((status = 101, description = "A WebSocket. Closed with 1001 when the server stops, 4401 when the token has ended, 4404 when there is no such session, 4408 when the client was not heard, 4429 when too many are open.")))]
pub(crate) async fn open(
    State(app): State<App>,
    Id(id): Id<SessionId>,
    Query(from): Query<From>,
    mut knock: Knock,
) -> Result<Response, Problem> {
    knock.framing = Framing::Events;
    let admitted = admitted(&app, knock.entry.caller.clone(), &id, from.after).await;
    let (until, stop) = (knock.entry.until, knock.stop.clone());
    knock.open(admitted, move |socket, admitted| Talk { app, id, until, stop }.run(socket, admitted))
}

/// Who was let in, and what they watch.
struct Admitted {
    caller: Caller,
    session: Session,
    feed: Feed,
    seat: Seat,
}

async fn admitted(
    app: &App,
    caller: Result<Caller, Problem>,
    id: &SessionId,
    after: Option<u64>,
) -> Result<Admitted, Problem> {
    let caller = caller?;
    let sessions = service(&app.platform)?;
    let session = sessions.get(&caller.principal, id).await?;
    let seat = app.shared.watchers.seat(caller.who())?;
    let feed = sessions.follow(&caller.principal, id, after.unwrap_or(0).min(session.last_seq)).await?;
    Ok(Admitted { caller, session, feed, seat })
}

/// One client's socket.
struct Talk {
    app: App,
    id: SessionId,
    /// When the client's token ends.
    until: Option<Timestamp>,
    stop: Stopping,
}

impl Talk {
    async fn run(self, socket: WebSocket, admitted: Admitted) {
        let Admitted { caller, session, feed, seat } = admitted;
        let (mut sink, mut stream) = socket.split();
        let (complain, complaints) = mpsc::channel(8);
        let closing = {
            let pings = self.app.shared.options.sockets.pings();
            let show = pin!(show(&mut sink, connected(&session), feed, complaints, &seat, pings));
            let listen = pin!(self.listen(&mut stream, &caller, complain));
            tokio::select! {
                closing = show => Some(closing),
                closing = listen => closing,
                over = lasting::over(&self.app, &caller, self.until, &self.stop) => Some(over),
            }
        };
        if closing == Some(STOPPING) {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.send(text(r#"{"event":"shutdown"}"#))).await;
        }
        if let Some((code, reason)) = closing {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.send(farewell(code, reason))).await;
        }
        let _ = tokio::time::timeout(GOODBYE_WITHIN, sink.close()).await;
        // A connection that is closed while something unread lies in it is reset, and the client loses the last events.
        let client_closes = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, client_closes).await;
    }

    /// Does what the client says, one after the other. Ends when the client goes, or was not heard for too long.
    async fn listen(
        &self,
        stream: &mut SplitStream<WebSocket>,
        caller: &Caller,
        complain: mpsc::Sender<String>,
    ) -> Option<Closing> {
        loop {
            let heard = tokio::time::timeout(self.app.shared.options.sockets.silent_for, stream.next()).await;
            let Ok(heard) = heard else { return Some(lasting::SILENT) };
            let done = match heard {
                Some(Ok(Message::Text(text))) => self.obey(caller, &text).await,
                Some(Ok(Message::Binary(_))) => {
                    Err(Problem::new(ProblemCode::BadRequest, "a frame must be text that holds JSON"))
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            };
            if let Err(problem) = done {
                // Whoever reads no complaints is not heard until it does.
                let _ = complain.send(Framing::Events.complaint(&problem)).await;
            }
        }
    }

    async fn obey(&self, caller: &Caller, frame: &str) -> Result<(), Problem> {
        let said: Said = serde_json::from_str(frame)
            .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the frame cannot be read: {error}")))?;
        let who = &caller.principal;
        if !matches!(said, Said::Cancel {}) {
            self.app.shared.rates.admit(caller, RateClass::General, self.app.platform.clock().now())?;
        }
        match said {
            Said::Prompt { text } => drop(prompting::say(&self.app, who, &self.id, &text).await?),
            Said::Cancel {} => service(&self.app.platform)?.cancel(who, &self.id).await?,
            Said::Approve(verdict) => self.answer(caller, verdict, true).await?,
            Said::Reject(verdict) => self.answer(caller, verdict, false).await?,
        }
        Ok(())
    }

    async fn answer(&self, caller: &Caller, verdict: Verdict, yes: bool) -> Result<(), Problem> {
        let Verdict { approval_id, reason, remember } = verdict;
        let sessions = service(&self.app.platform)?;
        sessions.answer(&caller.principal, &self.id, approval_id.as_ref(), yes, &reason, remember).await?;
        Ok(())
    }
}

/// Shows the client what happens, and what of its words was not done.
async fn show(
    sink: &mut SplitSink<WebSocket, Message>,
    opening: String,
    mut feed: Feed,
    mut complaints: mpsc::Receiver<String>,
    seat: &Seat,
    mut ping: Interval,
) -> Closing {
    let gone = (1001, "the client is gone");
    if sink.send(Message::Text(opening.into())).await.is_err() {
        return gone;
    }
    loop {
        let message = tokio::select! {
            frame = feed.next() => match frame {
                Ok(frame) => {
                    seat.told();
                    text(&frame.json)
                }
                Err(error) => {
                    tracing::error!("a socket of a session cannot be read: {}", error.chain());
                    return (1011, "the session cannot be read now");
                }
            },
            Some(complaint) = complaints.recv() => Message::Text(complaint.into()),
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return gone;
        }
    }
}

fn text(json: &str) -> Message {
    Message::Text(json.to_owned().into())
}
