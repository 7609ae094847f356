//! Questions in words, and diagnoses.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_platform::routing::Question;
use reeve_types::{Arguments, ProblemCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::dress::X_TRACE_ID;
use crate::extract::Body;
use crate::problem::Problem;
use crate::routes::sessions::USE;
use crate::routes::tools::{self, Call, takes};

/// Says that an answer claims what no record shows, under the guide's name.
const X_AUDIT_MISMATCH: HeaderName = HeaderName::from_static("x-audit-mismatch");

/// A question in words. Members that other versions of this API know are ignored.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Ask {
    /// The question.
    #[serde(default, alias = "query")]
    message: String,
    /// The agent that should answer; any when absent.
    #[serde(default)]
    agent: Option<String>,
    /// The target: an id of the inventory, or a connection string.
    #[serde(default, alias = "connection_string")]
    target: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    purpose_note: Option<String>,
    /// `false` answers without a model even where one is configured.
    #[serde(default)]
    model: Option<bool>,
}

/// Answers a question in words: by an agent with a model where one is configured, in a session of its own, and by checks
/// that the words choose otherwise. `model` in the answer says which.
#[utoipa::path(post, path = "/query", tag = "agents", request_body = Ask,
    responses((status = 200, description = "The answer: agent, state, text, category, confidence, citations, tool_calls, findings, trace_id, model, session_id where a model took part, and has_mismatch (with the header X-Audit-Mismatch) when it claims what no record shows.", body = Value)))]
pub(crate) async fn query(State(app): State<App>, caller: Caller, Body(ask): Body<Ask>) -> Result<Response, Problem> {
    let trace_id = caller.trace(&app.platform, "tr");
    let trace = HeaderValue::from_str(trace_id.as_str()).ok();
    let question = Question {
        message: ask.message,
        agent: ask.agent.filter(|agent| !agent.is_empty()),
        target: ask.target.filter(|target| !target.is_empty()),
        purpose: caller.purpose(ask.purpose.as_deref())?,
        purpose_note: caller.purpose_note(ask.purpose_note)?,
        trace_id: Some(trace_id),
    };
    let sessions = app.platform.sessions().filter(|sessions| {
        ask.model != Some(false) && USE.allows(&caller.principal) && sessions.can_answer(&caller.principal, &question)
    });
    let answer = match sessions {
        Some(sessions) => sessions.answer_question(&caller.principal, question).await?,
        None => app.platform.ask(&caller.principal, question).await?,
    };
    let has_mismatch = answer.has_mismatch;
    let mut response = axum::Json(answer).into_response();
    if has_mismatch {
        response.headers_mut().insert(X_AUDIT_MISMATCH, HeaderValue::from_static("true"));
    }
    if let Some(trace) = trace {
        response.headers_mut().insert(X_TRACE_ID, trace);
    }
    Ok(response)
}

/// What to diagnose.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Diagnose {
    /// An id of the inventory, or a connection string.
    #[serde(default, alias = "connection_string")]
    target: Option<String>,
    /// `compare` with the kept baseline, or `save` what is found as the baseline.
    #[serde(default)]
    baseline: Option<String>,
    /// Only these checks.
    #[serde(default)]
    checks: Option<Vec<String>>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    purpose_note: Option<String>,
}

/// Looks at everything at once and says what is wrong, worst first.
#[utoipa::path(post, path = "/diagnose", tag = "agents", request_body = Diagnose,
    responses((status = 200, description = "The diagnosis under `data`, the same in words under `text`.", body = tools::ToolReply)))]
pub(crate) async fn diagnose(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<Diagnose>,
) -> Result<Response, Problem> {
    let Some(spec) = app.platform.gate().spec("diagnose") else {
        return Err(Problem::new(ProblemCode::Unavailable, "this server has no tool named `diagnose`"));
    };
    let mut arguments = Arguments::new();
    if let (Some(key), Some(target)) = (&spec.target_argument, wanted.target) {
        arguments.insert(key.clone(), target.into());
    }
    for (name, value) in [("baseline", wanted.baseline.map(Value::from)), ("checks", wanted.checks.map(Value::from))] {
        let Some(value) = value else { continue };
        if !takes(spec, name) {
            return Err(Problem::new(
                ProblemCode::InvalidArguments,
                format!("`diagnose` takes no `{name}` on this server"),
            ));
        }
        arguments.insert(name.to_owned(), value);
    }
    let purpose = caller.purpose(wanted.purpose.as_deref())?;
    let note = caller.purpose_note(wanted.purpose_note)?;
    let trace_id = caller.trace(&app.platform, "dt");
    let trace = HeaderValue::from_str(trace_id.as_str()).ok();
    let reply = tools::submit(&app, &caller, Call::plain("diagnose", arguments, purpose, note, trace_id)).await?;
    let status: StatusCode = reply.status;
    let mut response = (status, axum::Json(reply.body)).into_response();
    if let Some(trace) = trace {
        response.headers_mut().insert(X_TRACE_ID, trace);
    }
    Ok(response)
}
