//! Acts as their requesters see them.

use axum::Json;
use axum::extract::State;
use reeve_gate::StoredAction;
use reeve_store::ActionFilter;
use reeve_types::{ActionId, ActionState, ProblemCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::limit;
use super::tools::to_value;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query};
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(crate) struct Action {
    action_id: String,
    trace_id: String,
    /// `awaiting_approval`, `approved`, `running`, `succeeded`, `failed`, `unknown`, `denied`, `cancelled`, `expired` or `stale`.
    state: &'static str,
    tool_name: String,
    action_class: &'static str,
    /// `database:orders`.
    resource: String,
    /// Secrets are masked.
    #[schema(value_type = Object)]
    arguments: Value,
    requested_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_id: Option<String>,
    act_digest: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: jiff::Timestamp,
    /// What it gave back: `output`, `data`, `verify_status`, `affected`. Only for whoever asked, and for those who may run such tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why it failed, was refused, or is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Action {
    fn of(app: &App, caller: &Caller, action: StoredAction, whole: bool) -> Result<Self, Problem> {
        let readable = whole && app.platform.may_read_result(&caller.principal, &action);
        let target = app.platform.gate().spec(&action.tool).and_then(|spec| spec.target_argument.as_deref());
        let arguments = reeve_gate::masked_arguments(&action.arguments, target);
        let result = action.result.as_ref().filter(|_| readable).map(to_value).transpose()?;
        Ok(Self {
            action_id: action.action_id.to_string(),
            trace_id: action.trace_id.to_string(),
            state: action.state.as_str(),
            tool_name: action.tool,
            action_class: action.action_class.as_str(),
            resource: action.resource.label(),
            arguments: Value::Object(arguments),
            requested_by: action.requester.label(),
            purpose: action.purpose.map(reeve_types::Purpose::as_str),
            approval_id: action.approval_id.map(|id| id.to_string()),
            act_digest: action.act_digest.to_string(),
            created_at: action.created_at,
            updated_at: action.updated_at,
            result,
            error: action.error,
        })
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those in this state.
    state: Option<String>,
    /// At most so many, newest first; 100 unless told otherwise.
    limit: Option<usize>,
}

/// Acts, newest first, without their results.
#[utoipa::path(get, path = "/actions", tag = "actions", operation_id = "list_actions", params(Which),
    responses((status = 200, description = "The acts.", body = [Action])))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Action>>, Problem> {
    let state = match which.state.as_deref() {
        None | Some("") => None,
        Some(word) => Some(ActionState::parse(word).ok_or_else(|| {
            Problem::new(
                ProblemCode::BadRequest,
                format!("`{word}` is not a state of an action, such as running, succeeded or failed"),
            )
        })?),
    };
    let filter = ActionFilter { state, limit: limit(which.limit, 100) };
    let found = app.platform.actions(caller.tenant(), filter).await?;
    Ok(Json(found.into_iter().map(|action| Action::of(&app, &caller, action, false)).collect::<Result<_, _>>()?))
}

/// One act, with its result for whoever asked for it.
#[utoipa::path(get, path = "/actions/{id}", tag = "actions", operation_id = "show_action",
    params(("id" = String, Path, description = "The action's id, `act_…`.")),
    responses((status = 200, description = "The act.", body = Action)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ActionId>,
) -> Result<Json<Action>, Problem> {
    let action = app.platform.action(&caller.principal, &id).await?;
    Ok(Json(Action::of(&app, &caller, action, true)?))
}
