//! `Idempotency-Key`: a request that is sent again is answered as it was, and nothing is done twice.
//!
//! Every answer is kept for a day, refusals and failures too: the same key always means the same answer. The work goes on
//! by itself, so a client that goes away finds the answer when it asks again.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_store::{Claim, Store};
use reeve_types::{Digest, ProblemCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{PROBLEM_JSON, Problem};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a handler answers with when it can be answered again.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    /// What is kept for the next time, when the body holds something that is said only once.
    pub(crate) kept: Option<Value>,
}

impl Reply {
    /// An answer that is kept as it is.
    pub(crate) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, kept: None }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Does the work once for each key. `what` is everything that makes this request the one it is.
pub(crate) async fn once<F>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    what: Value,
    work: F,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let Some(key) = key_of(headers)? else { return Ok(work.await?.into_response()) };
    let digest = Digest::of_value(&what).map_err(|e| Problem::new(ProblemCode::BadRequest, e.to_string()))?;
    let claimed = Claimed { store: app.platform.store().clone(), caller: caller.clone(), key };
    let now = app.platform.clock().now();
    let who = claimed.who();
    match claimed.store.claim(caller.tenant(), &who, &claimed.key, digest.to_string(), now).await? {
        Claim::Fresh => {
            // On a task of its own: a caller that hangs up does not leave the key without an answer.
            let task = tokio::spawn(async move { claimed.answer(work.await).await });
            task.await.map_err(Problem::internal)?
        }
        Claim::Answered { status, body } => Ok(replay(status, body)),
        Claim::InProgress => {
            let detail = "a request with this idempotency key is being worked on, or was cut off when the server stopped; \
                          ask again in a moment, and if it stays so, look under /api/v1/actions for what became of it";
            Err(Problem::new(ProblemCode::Conflict, detail).retry_after(2))
        }
        Claim::Mismatch => {
            let detail = "this idempotency key was used for another request; use a new key for a new request";
            Err(Problem::new(ProblemCode::IdempotencyMismatch, detail))
        }
    }
}

struct Claimed {
    store: Store,
    caller: Caller,
    key: String,
}

impl Claimed {
    fn who(&self) -> String {
        format!("{}|{}", self.caller.principal.label(), self.caller.principal.root().label())
    }

    async fn answer(self, done: Result<Reply, Problem>) -> Result<Response, Problem> {
        let (status, kept) = match &done {
            Ok(reply) => (reply.status, reply.kept.as_ref().unwrap_or(&reply.body).clone()),
            Err(problem) => (problem.status(), problem.to_json(&self.caller.request_id)),
        };
        let (tenant, who) = (self.caller.tenant(), self.who());
        // What could not be begun may be sent again: its answer is not the answer.
        let stored = if status == StatusCode::SERVICE_UNAVAILABLE {
            self.store.release_claim(tenant, &who, &self.key).await
        } else {
            self.store.answer_claim(tenant, &who, &self.key, status.as_u16(), kept.to_string()).await
        };
        if let Err(error) = stored {
            tracing::error!("the answer to an idempotency key could not be kept: {}", error.chain());
        }
        Ok(done?.into_response())
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("the header Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters");
            Err(Problem::new(ProblemCode::BadRequest, detail))
        }
    }
}

fn replay(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = if status.is_success() { "application/json" } else { PROBLEM_JSON };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(IDEMPOTENT_REPLAY, HeaderValue::from_static("true"));
    response
}

/// What makes a request the one it is: the route, its parameter and the body.
pub(crate) fn request(route: &str, parameter: &str, body: &Value) -> Value {
    json!([route, parameter, body])
}
