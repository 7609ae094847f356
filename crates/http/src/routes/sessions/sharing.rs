//! Letting others read a session, and what those see.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_types::SessionId;
use reeve_types::session::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::described::{EventShown, EventsShown, SessionShown};
use super::following::{From, connected, page_of, page_size, wants_stream};
use super::service;
use crate::app::App;
use crate::auth::{Caller, Sender};
use crate::extract::{Body, Id, Query};
use crate::problem::Problem;
use crate::server::Stopping;
use crate::watching::{Link, Source, Watch, seen};

/// How long a link lasts unless told otherwise.
const USUAL_MS: u64 = 7 * 24 * 3600 * 1000;

/// A link that is wanted.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShareWanted {
    /// How long it lasts, in milliseconds: 7 days unless told otherwise, at most 30.
    lasting_ms: Option<u64>,
}

/// A link that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShareMade {
    /// Opens the session to whoever has it; it is shown once.
    token: String,
    /// Where the session is read with it.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
}

/// Makes a link with which anybody may read a session until it expires.
#[utoipa::path(post, path = "/sessions/{id}/share", tag = "sessions", operation_id = "share_session",
    params(("id" = String, Path, description = "The session's id.")), request_body = ShareWanted,
    responses((status = 201, description = "The link.", body = ShareMade)))]
pub(crate) async fn share(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
    Body(wanted): Body<ShareWanted>,
) -> Result<(StatusCode, Json<ShareMade>), Problem> {
    let lasting = Duration::from_millis(wanted.lasting_ms.unwrap_or(USUAL_MS));
    let shared = service(&app.platform)?.share(&caller.principal, &id, lasting).await?;
    let base = app.platform.base_url().unwrap_or_default().trim_end_matches('/');
    let url = format!("{base}/shared/sessions/{}", shared.token);
    Ok((StatusCode::CREATED, Json(ShareMade { token: shared.token, url, expires_at: shared.expires_at })))
}

/// Takes every link to a session back. Streams that were opened with one end.
#[utoipa::path(delete, path = "/sessions/{id}/share", tag = "sessions", operation_id = "unshare_session",
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "How many there were: `{\"revoked\": 1}`.", body = Value)))]
pub(crate) async fn unshare(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<Json<Value>, Problem> {
    let revoked = service(&app.platform)?.unshare(&caller.principal, &id).await?;
    Ok(Json(json!({"revoked": revoked})))
}

/// The session that a link opens.
#[utoipa::path(get, path = "/shared/sessions/{token}", tag = "sessions", operation_id = "get_shared_session",
    params(("token" = String, Path, description = "The link's token.")),
    responses((status = 200, description = "The session.", body = SessionShown)))]
pub(crate) async fn shared(State(app): State<App>, Path(token): Path<String>) -> Result<Json<Session>, Problem> {
    Ok(Json(service(&app.platform)?.shared(&token, 0).await?.0))
}

/// Events of the session that a link opens: a stream where the client accepts `text/event-stream`, otherwise a page.
#[utoipa::path(get, path = "/shared/sessions/{token}/events", tag = "sessions", operation_id = "shared_session_events",
    params(("token" = String, Path, description = "The link's token."),
           ("after" = Option<u64>, Query, description = "After the event of this number; the header Last-Event-ID beats it on streams."),
           ("limit" = Option<usize>, Query, description = "Of a page: at most so many events.")),
    responses((status = 200, description = "Events after a number, oldest first.",
        content((EventsShown = "application/json"), (EventShown = "text/event-stream")))))]
pub(crate) async fn shared_events(
    State(app): State<App>,
    sender: Sender,
    stop: Stopping,
    headers: HeaderMap,
    Path(token): Path<String>,
    Query(from): Query<From>,
) -> Result<Response, Problem> {
    let sessions = service(&app.platform)?;
    let (session, _) = sessions.shared(&token, 0).await?;
    if !wants_stream(&headers) {
        let after = from.after.unwrap_or(0);
        let found = app.platform.store().session_event_texts(&session.id, after, page_size(from.limit)).await?;
        return Ok(page_of(&found, session.last_seq, "next_seq"));
    }
    let after = seen(&headers, from.after, session.last_seq)?;
    let who = sender.remote.map_or_else(|| "link".to_owned(), |address| format!("link|{address}"));
    let seat = app.shared.watchers.seat(who)?;
    let (session, feed) = sessions.shared(&token, after).await?;
    let watch = Watch::new(Source::Session(feed), seat, stop.0, connected(&session));
    Ok(watch.by_link(Link { sessions, token, checked: Instant::now() }).into_response())
}
