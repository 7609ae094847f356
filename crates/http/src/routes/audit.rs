//! What proves that the log is whole: verification, proofs, checkpoints, witnesses.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use reeve_audit::{SignedNote, VerifyingKey};
use reeve_types::{EventId, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, read_body};
use crate::problem::Problem;

/// The answer that the guide's clients read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Nothing was changed and nothing is known to be missing.
    valid: bool,
    total_events: u64,
    hashed_events: u64,
    /// Always 0: no record is without a hash.
    legacy_events: u64,
    /// The first place that is not in order; -1 when there is none.
    broken_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    first_event_id: String,
    last_event_id: String,
    last_hash: String,
}

/// Verifies the whole log and says whether it is in order.
#[utoipa::path(get, path = "/verify", tag = "audit", responses((status = 200, description = "What was found.", body = Verified)))]
pub(crate) async fn verify(State(app): State<App>, _caller: Caller) -> Result<Json<Verified>, Problem> {
    let verdict = app.verify(Vec::new(), Vec::new()).await?;
    Ok(Json(Verified {
        valid: verdict.valid,
        total_events: verdict.total_events,
        hashed_events: verdict.total_events,
        legacy_events: 0,
        broken_at: verdict.broken_at.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)),
        error: verdict.error,
        first_event_id: verdict.first_event_id.unwrap_or_default(),
        last_event_id: verdict.last_event_id.unwrap_or_default(),
        last_hash: verdict.last_hash.to_string(),
    }))
}

/// What the log must agree with.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyWith {
    /// Keys of witnesses; when some are given, only what they have cosigned counts as anchored.
    #[serde(default)]
    witnesses: Vec<String>,
    /// Signed checkpoints that were kept elsewhere.
    #[serde(default)]
    checkpoints: Vec<String>,
}

/// Verifies the whole log against witnesses and checkpoints that were kept elsewhere.
#[utoipa::path(post, path = "/audit/verify", tag = "audit", operation_id = "verify_against", request_body = VerifyWith,
    responses((status = 200, description = "valid, integrity, completeness, total_events, root, anchored, unanchored, missing, …", body = Value)))]
pub(crate) async fn verify_whole(
    State(app): State<App>,
    _caller: Caller,
    Body(with): Body<VerifyWith>,
) -> Result<Response, Problem> {
    let witnesses = with.witnesses.iter().map(|text| witness_key(text)).collect::<Result<_, _>>()?;
    let checkpoints = with.checkpoints.iter().map(|text| note(text)).collect::<Result<_, _>>()?;
    let verdict = app.verify(witnesses, checkpoints).await?;
    Ok(Json(verdict).into_response())
}

fn witness_key(text: &str) -> Result<VerifyingKey, Problem> {
    text.trim().parse().map_err(|error| {
        Problem::new(ProblemCode::BadRequest, format!("the key of the witness cannot be read: {error}"))
    })
}

fn note(text: &str) -> Result<SignedNote, Problem> {
    SignedNote::parse(text).map_err(|error| {
        Problem::new(ProblemCode::BadRequest, format!("the signed checkpoint cannot be read: {error}"))
    })
}

fn text(body: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// A proof, for keeping, that a record is in the log; it is checked offline.
#[utoipa::path(get, path = "/audit/proofs/{event_id}", tag = "audit",
    params(("event_id" = String, Path, description = "The record's id.")),
    responses((status = 200, description = "The proof.", body = String, content_type = "text/plain")))]
pub(crate) async fn proof(State(app): State<App>, caller: Caller, Id(id): Id<EventId>) -> Result<Response, Problem> {
    // The log is one for all tenants; a record is its own tenant's business.
    events::find(&app, &caller, &id).await?;
    Ok(text(app.platform.store().prove(&id).await?.to_string()))
}

/// The newest signed head of the log.
#[utoipa::path(get, path = "/audit/checkpoint", tag = "audit",
    responses((status = 200, description = "A signed note.", body = String, content_type = "text/plain")))]
pub(crate) async fn checkpoint(State(app): State<App>, _caller: Caller) -> Result<Response, Problem> {
    Ok(text(app.platform.store().for_witness(u64::MAX).await?.note.to_string()))
}

/// The key that the log's heads are signed with, its public half.
#[utoipa::path(get, path = "/audit/key", tag = "audit",
    responses((status = 200, description = "The key.", body = String, content_type = "text/plain")))]
pub(crate) async fn key(State(app): State<App>, _caller: Caller) -> Response {
    text(format!("{}\n", app.platform.store().log_key()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Seen {
    /// How many records the head had that the witness saw last; 0 when it saw none.
    #[serde(default)]
    old: u64,
}

/// What a witness is asked to cosign: the newest head, and the proof that it continues the one seen last.
#[utoipa::path(get, path = "/audit/witness", tag = "audit", params(Seen),
    responses((status = 200, description = "The body of an add-checkpoint request.", body = String, content_type = "text/plain")))]
pub(crate) async fn for_witness(
    State(app): State<App>,
    _caller: Caller,
    Query(seen): Query<Seen>,
) -> Result<Response, Problem> {
    Ok(text(app.platform.store().for_witness(seen.old).await?.to_string()))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Cosigned {
    /// How many records the cosigned head has.
    size: u64,
    witness: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Witness {
    /// The key of the witness, its public half; the header X-Witness-Key does as well.
    key: Option<String>,
}

/// Keeps a head that a witness has cosigned.
#[utoipa::path(post, path = "/audit/cosignatures", tag = "audit", params(Witness),
    request_body(content = String, description = "The cosigned note.", content_type = "text/plain"),
    responses((status = 200, description = "It is kept.", body = Cosigned)))]
pub(crate) async fn cosignature(
    State(app): State<App>,
    _caller: Caller,
    Query(witness): Query<Witness>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Cosigned>, Problem> {
    let named = headers.get("x-witness-key").and_then(|value| value.to_str().ok()).map(str::to_owned).or(witness.key);
    let named = named.ok_or_else(|| {
        Problem::new(ProblemCode::BadRequest, "send the key of the witness in the header X-Witness-Key")
    })?;
    let key = witness_key(&named)?;
    let body = read_body(request, &app, std::time::Duration::from_secs(30)).await?;
    let body =
        std::str::from_utf8(&body).map_err(|_| Problem::new(ProblemCode::BadRequest, "the body is not UTF-8 text"))?;
    let name = key.name().to_owned();
    let size = app.platform.store().keep_cosignature(note(body)?, key).await?;
    Ok(Json(Cosigned { size, witness: name }))
}
