//! Events of sessions: as a stream, as pages, and the ticket that opens a stream.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_platform::sessions::Sessions;
use reeve_types::SessionId;
use reeve_types::session::Session;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::described::{EventShown, EventsShown};
use super::{finding, service};
use crate::aegis_events::{self, Format};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::extract::{Body, Id, Query};
use crate::problem::Problem;
use crate::routes::limit;
use crate::server::Stopping;
use crate::socket::end_of_credentials;
use crate::watching::{Source, Watch, last_event_id, seen};

/// From where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// After the event of this number; the header Last-Event-ID beats it on streams.
    pub(super) after: Option<u64>,
    /// Of a page: at most so many events, up to 1000; 500 unless told otherwise.
    pub(super) limit: Option<usize>,
    /// Of a stream: a ticket of POST /api/v1/auth/sse-token instead of a key.
    pub(super) token: Option<String>,
    /// Of a stream: `aegis` for events in the shape of that guide.
    #[serde(default)]
    #[param(inline)]
    pub(super) format: Format,
}

/// Whether a client wants a stream: it says so, or brings what only streams take.
pub(crate) fn wants_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/event-stream")))
}

/// What a stream of one session says first, in Reeve's shape.
pub(super) fn connected(session: &Session) -> String {
    json!({"event": "connected", "session_id": session.id, "last_seq": session.last_seq}).to_string()
}

/// Events of a session: a stream where the client accepts `text/event-stream`, otherwise a page.
#[utoipa::path(get, path = "/sessions/{id}/events", tag = "sessions", operation_id = "session_events",
    params(("id" = String, Path, description = "The session's id."), From),
    responses((status = 200, description = "Events after a number, oldest first. As a stream, `id` is the event's number; `{\"event\": \"connected\"}` comes first, and `{\"event\": \"shutdown\"}` last when the server stops.",
        content((EventsShown = "application/json"), (EventShown = "text/event-stream")))))]
pub(crate) async fn events(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    if wants_stream(&headers) || from.token.is_some() {
        return follow(&app, &caller, stop, &headers, &id, &from).await;
    }
    let sessions = service(&app.platform)?;
    let found = sessions.events(&caller.principal, &id, from.after.unwrap_or(0), page_size(from.limit)).await?;
    let last_seq = sessions.get(&caller.principal, &id).await?.last_seq;
    Ok(page_of(&found, last_seq, "next_seq"))
}

/// Events of a session as a stream, whatever the client accepts.
#[utoipa::path(get, path = "/sessions/{id}/stream", tag = "sessions", operation_id = "follow_session",
    params(("id" = String, Path, description = "The session's id."), From),
    responses((status = 200, description = "Server-sent events.", body = EventShown, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    headers: HeaderMap,
    Id(id): Id<SessionId>,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    follow(&app, &caller, stop, &headers, &id, &from).await
}

async fn follow(
    app: &App,
    caller: &Caller,
    stop: Stopping,
    headers: &HeaderMap,
    id: &SessionId,
    from: &From,
) -> Result<Response, Problem> {
    let sessions = service(&app.platform)?;
    let session = sessions.get(&caller.principal, id).await?;
    let after = seen(headers, from.after, session.last_seq)?;
    let seat = app.shared.watchers.seat(caller.who())?;
    let feed = sessions.follow(&caller.principal, id, after).await?;
    let opening = match from.format {
        Format::Reeve => connected(&session),
        Format::Aegis => aegis_events::connected(&session, app.platform.clock().now()).to_string(),
    };
    Ok(Watch::new(Source::Session(feed), seat, stop.0, opening).in_format(from.format).into_response())
}

/// How many events a page holds.
pub(super) fn page_size(asked: Option<usize>) -> usize {
    limit(asked, 500).min(1000)
}

/// A page of events as they are stored, and after which number the next one begins.
pub(super) fn page_of(found: &[(u64, String)], last_seq: u64, next: &str) -> Response {
    let reached = found.last().map(|(seq, _)| *seq).filter(|seq| *seq < last_seq);
    let reached = reached.map_or_else(|| "null".to_owned(), |seq| seq.to_string());
    let texts: Vec<&str> = found.iter().map(|(_, json)| json.as_str()).collect();
    let body = format!("{{\"events\":[{}],\"{next}\":{reached}}}", texts.join(","));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Which events are wanted again.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplayWanted {
    /// After this number.
    since: u64,
    /// At most so many.
    limit: Option<usize>,
}

/// Events of a session after a number, as a guide's clients ask for them.
#[utoipa::path(post, path = "/sessions/{id}/events/replay", tag = "sessions", operation_id = "replay_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = ReplayWanted,
    responses((status = 200, description = "`{\"events\": […], \"nextSeq\": 17}`; `nextSeq` goes into `since` of the next request, and is null when there are no more.", body = serde_json::Value)))]
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(wanted): Body<ReplayWanted>,
) -> Result<Response, Problem> {
    let sessions = service(&app.platform)?;
    let found = sessions.events(&caller.principal, &id, wanted.since, page_size(wanted.limit)).await?;
    let last_seq = sessions.get(&caller.principal, &id).await?.last_seq;
    Ok(page_of(&found, last_seq, "nextSeq"))
}

/// The shape of events, on a route that has questions of another kind besides.
#[derive(Deserialize)]
pub(crate) struct Shape {
    #[serde(default)]
    pub(crate) format: Format,
}

/// What happens in all sessions that one may see.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Opened {
    /// A ticket of POST /api/v1/auth/sse-token instead of a key.
    #[expect(dead_code, reason = "the guard before the route reads it")]
    token: Option<String>,
    /// `aegis` for events in the shape of that guide.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Each change of the sessions that one may see, from now on.
#[utoipa::path(get, path = "/events/sessions", tag = "sessions", operation_id = "follow_sessions", params(Opened),
    responses((status = 200, description = "Server-sent events; `data` is `{\"event\": \"connected\"}` first, then `{\"event\": \"session\", \"kind\": …, \"session\": …}`; `{\"event\": \"resync\"}` when some were missed and the list should be read again.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn all(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    headers: HeaderMap,
    Query(opened): Query<Opened>,
) -> Result<Response, Problem> {
    follow_all(&app, &caller, stop, &headers, opened.format).await
}

/// The stream of all sessions, for whoever may have sessions.
pub(crate) async fn follow_all(
    app: &App,
    caller: &Caller,
    stop: Stopping,
    headers: &HeaderMap,
    format: Format,
) -> Result<Response, Problem> {
    if !super::USE.allows(&caller.principal) {
        return Err(auth::lacks(super::USE, &caller.principal));
    }
    let sessions: Sessions = service(&app.platform)?;
    let seat = app.shared.watchers.seat(caller.who())?;
    let after = last_event_id(headers)?;
    let source = Source::All(Box::new(sessions.watch_all(after)), Box::new(caller.principal.clone()));
    let opening = match format {
        Format::Reeve => r#"{"event":"connected"}"#.to_owned(),
        Format::Aegis => {
            let active = finding::active(&finding::counted(app, caller).await?);
            aegis_events::connected_to_all(active, app.platform.clock().now()).to_string()
        }
    };
    Ok(Watch::new(source, seat, stop.0, opening).in_format(format).into_response())
}

/// A ticket for one stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamTicket {
    /// Goes into the stream's address as `?token=`.
    token: String,
    #[serde(rename = "expiresAt")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
}

/// A ticket that speaks for the caller on one stream or socket of sessions, once and within 60 seconds.
#[utoipa::path(post, path = "/auth/sse-token", tag = "sessions", operation_id = "issue_stream_ticket",
    responses((status = 201, description = "The ticket. At most five of one caller wait.", body = StreamTicket)))]
pub(crate) async fn ticket(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<StreamTicket>), Problem> {
    let ends = end_of_credentials(&headers);
    let (token, expires_at) = app.shared.stream_tickets.issue(app.platform.clock().as_ref(), caller, ends)?;
    Ok((StatusCode::CREATED, Json(StreamTicket { token, expires_at })))
}
