//! The records of the audit log: reading, following, and bringing some from another program.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_gate::Ledger as _;
use reeve_store::{EventFilter, StoredEvent};
use reeve_types::event::{OutcomePart, ToolPart};
use reeve_types::limits::{REASON_BYTES_MAX, RECORD_OUTPUT_CHARS_MAX};
use reeve_types::{ActionClass, Event, EventId, EventType, ProblemCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::approvals::page;
use super::{limit, sessions};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse, parse_moment};
use crate::problem::Problem;
use crate::server::Stopping;
use crate::stream::{self, Begin};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this conversation.
    session_id: Option<String>,
    /// Of this journey; the list then begins with the oldest.
    trace_id: Option<String>,
    /// Of journeys whose id starts so.
    trace_id_prefix: Option<String>,
    /// Of this type.
    event_type: Option<String>,
    /// Of these types, with commas between them.
    types: Option<String>,
    /// About tools of this agent.
    agent: Option<String>,
    /// read, write or destructive.
    action_class: Option<String>,
    /// Recorded at or after this moment, or so long ago: 2026-01-02T03:04:05Z, 24h.
    since: Option<String>,
    /// That ended so.
    outcome_status: Option<String>,
    /// direct_tool, agent or gateway.
    origin: Option<String>,
    /// About this tool.
    tool_name: Option<String>,
    /// With this decision: allow, deny or require_approval.
    effect: Option<String>,
    /// At most so many; 100 unless told otherwise.
    limit: Option<usize>,
    /// `asc` begins with the oldest, `desc` with the newest.
    order: Option<String>,
    /// Where the last page ended: its header X-Next-Cursor.
    cursor: Option<String>,
}

impl Which {
    fn filter(self, now: jiff::Timestamp) -> Result<EventFilter, Problem> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let listed = self.types.unwrap_or_default();
        let types = self.event_type.iter().map(String::as_str).chain(listed.split(','));
        let types = types.map(str::trim).filter(|word| !word.is_empty()).map(type_of).collect::<Result<_, _>>()?;
        let class = given(self.action_class).map(|word| parse::<ActionClass>(&word)).transpose()?;
        let beyond = self.cursor.map(|text| text.parse()).transpose();
        let beyond = beyond.map_err(|_| {
            Problem::new(ProblemCode::BadRequest, "`cursor` must be the header X-Next-Cursor of the page before")
        })?;
        let trace_id = given(self.trace_id);
        let ascending = match self.order.as_deref() {
            None | Some("") => trace_id.is_some(),
            Some("asc") => true,
            Some("desc") => false,
            Some(_) => return Err(Problem::new(ProblemCode::BadRequest, "`order` must be asc or desc")),
        };
        Ok(EventFilter {
            session_id: given(self.session_id),
            ascending,
            trace_id,
            trace_id_prefix: given(self.trace_id_prefix),
            types,
            agent: given(self.agent),
            action_class: class.map(|class| class.as_str().to_owned()),
            since: given(self.since).map(|text| parse_moment("since", &text, now)).transpose()?,
            outcome_status: given(self.outcome_status),
            origin: given(self.origin),
            tool_name: given(self.tool_name),
            effect: given(self.effect).map(|word| parse(&word)).transpose()?,
            beyond,
            limit: limit(self.limit, 100),
        })
    }
}

fn type_of(word: &str) -> Result<EventType, Problem> {
    EventType::parse(word).ok_or_else(|| {
        let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        let word: String = word.chars().take(60).collect();
        Problem::new(ProblemCode::BadRequest, format!("`{word}` is not a type of record: use {}", known.join(", ")))
    })
}

/// Records, newest first; oldest first when a journey is named.
///
/// Where the client accepts `text/event-stream`, the changes of its sessions, as under `/events/sessions`.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "list_events", params(Which),
    responses((status = 200, description = "The records. The header X-Next-Cursor is there when there are more.", body = [Value])))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    stop: Stopping,
    headers: HeaderMap,
    shape: Result<Query<sessions::following::Shape>, Problem>,
    which: Result<Query<Which>, Problem>,
) -> Result<Response, Problem> {
    // A guide's clients follow sessions here.
    if sessions::following::wants_stream(&headers) {
        let Query(shape) = shape?;
        return sessions::following::follow_all(&app, &caller, stop, &headers, shape.format).await;
    }
    let Query(which) = which?;
    let filter = which.filter(app.platform.clock().now())?;
    let found = app.platform.store().events(caller.tenant(), filter).await?;
    let records: Vec<&str> = found.events.iter().map(|stored| stored.json.as_str()).collect();
    let body = json_text(format!("[{}]", records.join(",")));
    Ok(page(body, found.next.map(|next| next.to_string())))
}

/// A text that is JSON already: records are served with the very bytes that were hashed.
fn json_text(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// One record.
#[utoipa::path(get, path = "/events/{id}", tag = "events", operation_id = "show_event",
    params(("id" = String, Path, description = "The record's id.")),
    responses((status = 200, description = "The record: canonical JSON with its hash.", body = Value)))]
pub(crate) async fn show(State(app): State<App>, caller: Caller, Id(id): Id<EventId>) -> Result<Response, Problem> {
    Ok(json_text(find(&app, &caller, &id).await?.json))
}

/// One record of the caller's tenant.
pub(crate) async fn find(app: &App, caller: &Caller, id: &EventId) -> Result<StoredEvent, Problem> {
    let found = app.platform.store().event(caller.tenant(), id).await?;
    found.ok_or_else(|| Problem::new(ProblemCode::NotFound, format!("there is no record `{id}`")))
}

/// A stream of records as they are made.
#[utoipa::path(get, path = "/events/stream", tag = "events", operation_id = "stream_events", params(Begin),
    responses((status = 200, description = "Server-sent events; `data` is `{\"event\": <type>, \"seq\": …, \"record\": …}`.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    stop: Stopping,
    Query(begin): Query<Begin>,
) -> Result<Response, Problem> {
    let live = app.platform.store().subscribe();
    let from = stream::begin(&app, &headers, begin.from).await?;
    let tenant = caller.tenant().clone();
    let show: stream::Show = Arc::new(move |event, seq, json| {
        (event.tenant == tenant)
            .then(|| format!("{{\"event\":\"{}\",\"seq\":{seq},\"record\":{json}}}", event.event_type.as_str()))
    });
    Ok(stream::records(&app, live, from, stop, show))
}

#[derive(Deserialize, Default, ToSchema)]
pub(crate) struct BroughtSession {
    #[serde(default)]
    id: String,
    #[serde(default)]
    agent_name: String,
}

#[derive(Deserialize, Default, ToSchema)]
pub(crate) struct BroughtInput {
    #[serde(default)]
    user_query: String,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct BroughtTool {
    name: String,
    #[serde(default)]
    agent: String,
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    raw_command: String,
    #[serde(default)]
    result: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct BroughtOutcome {
    status: String,
    #[serde(default)]
    error_message: String,
}

/// A record of another program. Whatever else it holds is not kept; its id, time and hashes are assigned here.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Brought {
    /// The id that it has there; kept in the note.
    #[serde(default)]
    event_id: String,
    /// The type that it has there; kept in the note.
    #[serde(default)]
    event_type: String,
    /// The journey that it belongs to.
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    session: BroughtSession,
    #[serde(default)]
    input: BroughtInput,
    #[serde(default)]
    tool: Option<BroughtTool>,
    #[serde(default)]
    outcome: Option<BroughtOutcome>,
    #[serde(default)]
    action_class: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    purpose_note: Option<String>,
    #[serde(default)]
    note: String,
}

/// Where a record stands now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kept {
    event_id: String,
    event_hash: String,
    prev_hash: String,
}

/// Brings a record from another program; it is kept as an `external` one.
#[utoipa::path(post, path = "/events", tag = "events", operation_id = "bring_event", request_body = Brought,
    responses((status = 201, description = "It is recorded.", body = Kept)))]
pub(crate) async fn bring(
    State(app): State<App>,
    caller: Caller,
    Body(brought): Body<Brought>,
) -> Result<(StatusCode, Json<Kept>), Problem> {
    let event = external(&app, &caller, brought)?;
    let id = event.event_id.clone();
    let recorded =
        app.platform.store().record(vec![], vec![event.into()]).await.map_err(reeve_platform::PlatformError::from)?;
    let event_hash = recorded.first().map(|place| place.event_hash.to_string()).unwrap_or_default();
    let stored = find(&app, &caller, &id).await?;
    let served: Value = serde_json::from_str(&stored.json).map_err(Problem::internal)?;
    let prev_hash = served.get("prev_hash").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((StatusCode::CREATED, Json(Kept { event_id: id.to_string(), event_hash, prev_hash })))
}

fn external(app: &App, caller: &Caller, brought: Brought) -> Result<Event, Problem> {
    let trace_id = match brought.trace_id.as_str() {
        "" => caller.trace(&app.platform, "ext"),
        named => parse(named)?,
    };
    let mut event = app.platform.event(EventType::External, caller.tenant(), trace_id);
    event.purpose = caller.purpose(brought.purpose.as_deref())?;
    event.purpose_note = caller.purpose_note(brought.purpose_note)?;
    event.principal = Some(caller.principal.clone());
    event.action_class = brought.action_class.as_deref().filter(|word| !word.is_empty()).map(parse).transpose()?;
    event.session.id = short(&brought.session.id);
    event.session.agent_name = short(&brought.session.agent_name);
    event.input.user_query = cut(&brought.input.user_query, REASON_BYTES_MAX);
    event.outcome = brought.outcome.map(|outcome| OutcomePart {
        status: short(&outcome.status),
        error_message: cut(&outcome.error_message, RECORD_OUTPUT_CHARS_MAX),
        duration_ms: None,
    });
    event.tool = brought.tool.map(|tool| ToolPart {
        name: short(&tool.name),
        agent: short(&tool.agent),
        parameters: match tool.parameters {
            Value::Object(arguments) => {
                Value::Object(reeve_gate::masked_arguments(&arguments, Some("connection_string")))
            }
            other => other,
        },
        raw_command: cut(&tool.raw_command, REASON_BYTES_MAX),
        result: cut(&tool.result, RECORD_OUTPUT_CHARS_MAX),
        error: cut(&tool.error, RECORD_OUTPUT_CHARS_MAX),
        ..ToolPart::default()
    });
    let own = [("type", &brought.event_type), ("id", &brought.event_id)];
    let own =
        own.iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what} there: {}", short(text)));
    let parts: Vec<String> =
        own.chain((!brought.note.is_empty()).then(|| cut(&brought.note, REASON_BYTES_MAX))).collect();
    event.note = parts.join("; ");
    Ok(event)
}

fn short(text: &str) -> String {
    cut(text, 128)
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}
