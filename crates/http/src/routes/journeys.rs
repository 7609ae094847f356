//! Journeys: everything that one request led to, as one row.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use reeve_platform::journeys::JourneyQuery;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::limit;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Query, parse_moment};
use crate::problem::Problem;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Begun by this user or service.
    user: Option<String>,
    /// Begun at or after this moment, or so long ago.
    from: Option<String>,
    /// Begun before this moment, or so long ago.
    until: Option<String>,
    /// The same as `from`.
    since: Option<String>,
    /// With this purpose.
    purpose: Option<String>,
    /// About this, such as locks or replication.
    category: Option<String>,
    /// That ended so: success, approved, denied, error, …
    outcome: Option<String>,
    /// Only those with, or only those without, repeated re-checks.
    has_retries: Option<bool>,
    /// This one.
    trace_id: Option<String>,
    /// Whose id starts so.
    trace_id_prefix: Option<String>,
    /// direct_tool, agent or gateway.
    origin: Option<String>,
    /// Only journeys of incidents; this server has none.
    incident_only: Option<bool>,
    /// Only journeys of this playbook run; this server has none.
    run_id: Option<String>,
    /// At most so many, newest first; 50 unless told otherwise.
    limit: Option<usize>,
}

/// Journeys, newest first.
#[utoipa::path(get, path = "/journeys", tag = "events", operation_id = "list_journeys", params(Which),
    responses((status = 200, description = "trace_id, started_at, duration_ms, user_id, user_query, agent, tools_used, outcome, …", body = [Value])))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let now = app.platform.clock().now();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let moment =
        |field: &str, text: Option<String>| given(text).map(|text| parse_moment(field, &text, now)).transpose();
    let of_incidents = which.incident_only == Some(true) || given(which.run_id).is_some();
    let query = JourneyQuery {
        user: given(which.user),
        from: moment("from", which.from)?.or(moment("since", which.since)?),
        until: moment("until", which.until)?,
        purpose: given(which.purpose),
        category: given(which.category),
        outcome: given(which.outcome),
        has_retries: which.has_retries,
        trace_id: given(which.trace_id),
        trace_id_prefix: given(which.trace_id_prefix),
        origin: given(which.origin),
        limit: limit(which.limit, 50),
    };
    if of_incidents {
        return Ok(Json(Value::Array(Vec::new())).into_response());
    }
    Ok(Json(app.platform.journeys(caller.tenant(), query).await?).into_response())
}
