//! One inbox over everything that waits for a person. Today that is approvals; ids say of which kind they are.

use axum::Json;
use axum::extract::State;
use reeve_store::ApprovalFilter;
use reeve_types::{Approval, ApprovalId, ApprovalStatus, ProblemCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::limit;
use crate::app::App;
use crate::auth::{Caller, answering};
use crate::extract::{Body, Id, Query, parse};
use crate::problem::Problem;

/// Something that waits, or waited, for a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct Decision {
    /// `approval:apr_…`.
    id: String,
    /// `approval`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `pending`, `approved`, `denied`, `expired` or `abandoned`.
    status: &'static str,
    /// What would be done, on what, in one line.
    summary: String,
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: jiff::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
    /// Where to send the answer.
    resolve_url: String,
    /// What a person reads before answering.
    #[schema(value_type = Object)]
    extra: Value,
}

impl From<Approval> for Decision {
    fn from(approval: Approval) -> Self {
        let id = format!("approval:{}", approval.approval_id);
        let status = match approval.status {
            ApprovalStatus::Pending => "pending",
            ApprovalStatus::Approved => "approved",
            ApprovalStatus::Denied => "denied",
            ApprovalStatus::Expired => "expired",
            ApprovalStatus::Cancelled | ApprovalStatus::Stale => "abandoned",
        };
        Self {
            summary: format!("{} ({}) on {}", approval.tool_name, approval.action_class, approval.resource.label()),
            resolve_url: format!("/api/v1/decisions/{id}/resolve"),
            id,
            kind: "approval",
            status,
            requested_by: approval.requester.root().id.clone(),
            requested_at: approval.requested_at,
            expires_at: approval.expires_at,
            extra: json!({
                "approval_id": approval.approval_id, "action_class": approval.action_class, "tool_name": approval.tool_name,
                "arguments": approval.arguments, "policy_name": approval.policy_name, "message": approval.message,
                "quorum": approval.quorum, "votes": approval.votes, "trace_id": approval.trace_id,
            }),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Decisions {
    decisions: Vec<Decision>,
    total: usize,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// pending (unless told otherwise), approved, denied, expired, abandoned, or all.
    status: Option<String>,
    /// approval, gate, fleet_approval, step_approval or feedback.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// read, write or destructive.
    action_class: Option<String>,
}

/// What waits for a person.
#[utoipa::path(get, path = "/decisions", tag = "decisions", operation_id = "list_decisions", params(Which),
    responses((status = 200, description = "The inbox, newest first.", body = Decisions)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Decisions>, Problem> {
    let wanted = which.status.as_deref().filter(|word| !word.is_empty()).unwrap_or("pending");
    let status = match wanted {
        "pending" => Some(ApprovalStatus::Pending),
        "approved" => Some(ApprovalStatus::Approved),
        "denied" => Some(ApprovalStatus::Denied),
        "expired" => Some(ApprovalStatus::Expired),
        "all" | "abandoned" => None,
        _ => {
            let detail = "`status` must be pending, approved, denied, expired, abandoned or all";
            return Err(Problem::new(ProblemCode::BadRequest, detail));
        }
    };
    match which.kind.as_deref() {
        None | Some("" | "approval") => {}
        Some("gate" | "fleet_approval" | "step_approval" | "feedback") => {
            return Ok(Json(Decisions { decisions: Vec::new(), total: 0 }));
        }
        Some(_) => {
            let detail = "`type` must be approval, gate, fleet_approval, step_approval or feedback";
            return Err(Problem::new(ProblemCode::BadRequest, detail));
        }
    }
    let class = which
        .action_class
        .as_deref()
        .filter(|word| !word.is_empty())
        .map(parse::<reeve_types::ActionClass>)
        .transpose()?;
    let filter = ApprovalFilter { status, limit: limit(None, 1000), ..ApprovalFilter::default() };
    let found = app.platform.approvals(caller.tenant(), filter).await?;
    let decisions: Vec<Decision> = found
        .into_iter()
        .filter(|approval| class.is_none_or(|class| approval.action_class == class))
        .map(Decision::from)
        .filter(|decision| wanted != "abandoned" || decision.status == "abandoned")
        .collect();
    let total = decisions.len();
    Ok(Json(Decisions { decisions, total }))
}

/// The approval that an id of the inbox names.
fn approval_id(id: &str) -> Result<ApprovalId, Problem> {
    let shown: String = id.chars().take(100).collect();
    match id.split_once(':') {
        Some(("approval", rest)) => parse(rest),
        Some(("gate" | "fleet" | "step" | "feedback", _)) => {
            Err(Problem::new(ProblemCode::NotFound, format!("there is no decision `{shown}`")))
        }
        _ => Err(Problem::new(
            ProblemCode::BadRequest,
            format!("`{shown}` is not the id of a decision, such as `approval:apr_…`"),
        )),
    }
}

/// One entry of the inbox.
#[utoipa::path(get, path = "/decisions/{id}", tag = "decisions", operation_id = "show_decision",
    params(("id" = String, Path, description = "Its id, `approval:apr_…`.")),
    responses((status = 200, description = "The entry.", body = Decision)))]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Json<Decision>, Problem> {
    Ok(Json(app.platform.approval(caller.tenant(), &approval_id(&id)?).await?.into()))
}

/// An answer. The name in it counts only where the server takes callers at their word.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    /// `approved` or `denied`.
    resolution: String,
    #[serde(default)]
    resolved_by: Option<String>,
    #[serde(default)]
    reason: String,
}

/// Answers an entry of the inbox.
#[utoipa::path(post, path = "/decisions/{id}/resolve", tag = "decisions", operation_id = "resolve_decision", request_body = Resolve,
    params(("id" = String, Path, description = "Its id, `approval:apr_…`.")),
    responses((status = 200, description = "How it stands now.", body = Decision)))]
pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
    Body(answer): Body<Resolve>,
) -> Result<Json<Decision>, Problem> {
    let id = approval_id(&id)?;
    let who = answering(&app, &caller, answer.resolved_by.as_deref()).await?;
    let settled = match answer.resolution.as_str() {
        "approved" => app.platform.approve(&who, &id, &answer.reason, None).await?,
        "denied" => app.platform.deny(&who, &id, &answer.reason).await?,
        _ => return Err(Problem::new(ProblemCode::BadRequest, "`resolution` must be approved or denied")),
    };
    Ok(Json(settled.into()))
}
