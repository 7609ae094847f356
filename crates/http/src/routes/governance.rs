//! What governs: policies in force, why they decide as they do, and how approvals and the log stand.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reeve_platform::explain::Hypothetical;
use reeve_platform::{IdentityProvider, Permission};
use reeve_store::ApprovalFilter;
use reeve_types::event::{OutcomePart, PolicyPart};
use reeve_types::{
    ActionClass, ApprovalStatus, AuthMethod, Effect, EventType, Measured, PolicyRequest, Principal, PrincipalKind,
    ProblemCode, Resource, ResourceKind, TenantId, TraceId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::limit;
use super::tools::to_value;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Query, parse};
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyInfo {
    enabled: bool,
    /// The files and directories, with commas between them; empty for the built-in policy.
    file: String,
    policies_count: usize,
    rules_count: usize,
    #[schema(value_type = Vec<Object>)]
    policies: Value,
    /// Names the set that is in force.
    digest: String,
    #[schema(value_type = String, format = DateTime)]
    loaded_at: jiff::Timestamp,
    /// Why the newest text is not in force, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

fn policy_info(app: &App) -> Result<PolicyInfo, Problem> {
    let (set, files) = (app.platform.gate().policy(), app.platform.policies());
    let policies = set.policies();
    let paths: Vec<String> = files.paths().iter().map(|path| path.display().to_string()).collect();
    Ok(PolicyInfo {
        enabled: true,
        file: paths.join(","),
        policies_count: policies.len(),
        rules_count: policies.iter().map(|policy| policy.rules.len()).sum(),
        policies: to_value(&policies)?,
        digest: set.digest().to_string(),
        loaded_at: files.loaded_at(),
        trouble: files.trouble(),
    })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalsInfo {
    enabled: bool,
    webhook_configured: bool,
    email_configured: bool,
    /// How long people have to answer: `60m`.
    default_timeout: String,
    pending_count: usize,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AuditInfo {
    enabled: bool,
    backend: &'static str,
    events_total: u64,
    /// Whether the log was in order when it was last verified; see `verified_events`.
    chain_valid: bool,
    /// How many records that verification covered.
    verified_events: u64,
    /// How many records stand under a signed head.
    signed_events: u64,
    /// How many records stand under a head that a witness cosigned.
    witnessed_events: u64,
    /// Whether the log could commit when it was last tried.
    writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_event_at: Option<jiff::Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Info {
    policy: PolicyInfo,
    approvals: ApprovalsInfo,
    audit: AuditInfo,
    #[schema(value_type = String, format = DateTime)]
    timestamp: jiff::Timestamp,
}

async fn info_of(app: &App, caller: &Caller) -> Result<Info, Problem> {
    let (platform, now) = (&app.platform, app.platform.clock().now());
    let pending =
        ApprovalFilter { status: Some(ApprovalStatus::Pending), limit: limit(None, 1000), ..ApprovalFilter::default() };
    let pending_count = platform.approvals(caller.tenant(), pending).await?.len();
    let channels = platform.channel_names();
    let minutes = platform.gate().options().approval_expiry.as_secs() / 60;
    let (verified_events, chain_valid) = app.verified_lately().await?;
    let head = platform.store().log_head().await?;
    Ok(Info {
        policy: policy_info(app)?,
        approvals: ApprovalsInfo {
            enabled: true,
            webhook_configured: channels.contains(&"webhook"),
            email_configured: channels.contains(&"email"),
            default_timeout: format!("{minutes}m"),
            pending_count,
        },
        audit: AuditInfo {
            enabled: true,
            backend: "sqlite",
            events_total: head.size,
            chain_valid,
            verified_events,
            signed_events: head.signed_size,
            witnessed_events: head.witnessed_size,
            writable: platform.store().health().is_ok(),
            last_event_at: head.last_event_at,
        },
        timestamp: now,
    })
}

/// Policies, approvals and the audit log at a glance.
#[utoipa::path(get, path = "/governance/info", tag = "governance", operation_id = "governance_info",
    responses((status = 200, description = "How they stand.", body = Info)))]
pub(crate) async fn info(State(app): State<App>, caller: Caller) -> Result<Json<Info>, Problem> {
    Ok(Json(info_of(&app, &caller).await?))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct GovernanceConfig {
    /// `dev` where callers are taken at their word, otherwise `enforcing`.
    auth_mode: &'static str,
    /// Every role that the users file gives to somebody.
    roles: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Overview {
    #[serde(flatten)]
    info: Info,
    config: GovernanceConfig,
}

/// The same, with how callers are identified.
#[utoipa::path(get, path = "/governance", tag = "governance", operation_id = "governance",
    responses((status = 200, description = "How they stand.", body = Overview)))]
pub(crate) async fn overview(State(app): State<App>, caller: Caller) -> Result<Json<Overview>, Problem> {
    let users = app.platform.identity().users();
    let given: std::collections::BTreeSet<&String> =
        users.users.values().chain(users.services.values()).flatten().collect();
    let auth_mode = if app.platform.identity().provider() == IdentityProvider::None { "dev" } else { "enforcing" };
    let config = GovernanceConfig { auth_mode, roles: given.into_iter().cloned().collect() };
    Ok(Json(Overview { info: info_of(&app, &caller).await?, config }))
}

/// The policies in force, the one that decides first in front.
#[utoipa::path(get, path = "/governance/policies", tag = "governance", operation_id = "list_policies",
    responses((status = 200, description = "The policies.", body = PolicyInfo)))]
pub(crate) async fn policies(State(app): State<App>) -> Result<Json<PolicyInfo>, Problem> {
    Ok(Json(policy_info(&app)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Why {
    /// Explain the past decision that this record led to; nothing else is needed then.
    #[serde(alias = "event")]
    event_id: Option<String>,
    /// database, kubernetes, host, …
    resource_type: Option<String>,
    resource_name: Option<String>,
    /// read, write or destructive.
    action: Option<String>,
    /// Tags with commas between them; those of the inventory when absent.
    tags: Option<String>,
    /// Sensitivity with commas between them; that of the inventory when absent.
    sensitivity: Option<String>,
    /// The user who would ask; the caller when absent.
    #[serde(alias = "user")]
    user_id: Option<String>,
    /// The service that would ask.
    service: Option<String>,
    /// Roles with commas between them.
    #[serde(alias = "roles")]
    role: Option<String>,
    purpose: Option<String>,
    #[serde(alias = "tool")]
    tool_name: Option<String>,
    #[serde(default)]
    rows_affected: u64,
    #[serde(default)]
    pods_affected: u64,
    #[serde(default)]
    xact_age_secs: u64,
}

/// Why policy decided as it did, or how it would decide. Nothing is recorded.
#[utoipa::path(get, path = "/governance/explain", tag = "governance", operation_id = "explain", params(Why),
    responses((status = 200, description = "decision, explanation, trace, replayed_with, warning, event.", body = Value)))]
pub(crate) async fn explain(
    State(app): State<App>,
    caller: Caller,
    Query(why): Query<Why>,
) -> Result<Response, Problem> {
    if let Some(id) = given(&why.event_id) {
        let explained = app.platform.explain_event(caller.tenant(), &parse(id)?).await?;
        return Ok(Json(explained).into_response());
    }
    let somebody_else = given(&why.user_id).is_some() || given(&why.service).is_some() || given(&why.role).is_some();
    if somebody_else && !Permission::CheckPolicy.allows(&caller.principal) {
        let detail = "asking how policy would decide for somebody else needs the role dba, sre, auditor or admin";
        return Err(Problem::new(ProblemCode::Forbidden, detail).with("permission", Permission::CheckPolicy.as_str()));
    }
    let request = Hypothetical {
        resource_kind: parse(needed("resource_type", &why.resource_type)?)?,
        resource_name: needed("resource_name", &why.resource_name)?.to_owned(),
        action: parse(needed("action", &why.action)?)?,
        tags: why.tags.as_deref().map(words),
        sensitivity: why.sensitivity.as_deref().map(words),
        user: given(&why.user_id).map(str::to_owned),
        service: given(&why.service).map(str::to_owned),
        roles: why.role.as_deref().map(words).unwrap_or_default(),
        purpose: caller.purpose(why.purpose.as_deref())?,
        tool: why.tool_name.unwrap_or_default(),
        measured: Measured {
            rows_affected: why.rows_affected,
            pods_affected: why.pods_affected,
            xact_age_secs: why.xact_age_secs,
        },
    };
    Ok(Json(app.platform.explain_hypothetical(&caller.principal, &request)).into_response())
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn needed<'t>(name: &str, text: &'t Option<String>) -> Result<&'t str, Problem> {
    given(text).ok_or_else(|| {
        let detail = format!("`{name}` is missing: give resource_type, resource_name and action, or event_id");
        Problem::new(ProblemCode::BadRequest, detail)
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whom a check is for.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Whom {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    service: String,
}

/// A bare question to policy, for programs that act outside this server.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Check {
    /// database, kubernetes, host, …
    #[serde(default)]
    resource_type: Option<String>,
    #[serde(default)]
    resource_name: Option<String>,
    /// read, write or destructive.
    #[serde(default)]
    action: Option<String>,
    /// Those of the inventory when absent.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// That of the inventory when absent.
    #[serde(default)]
    sensitivity: Option<Vec<String>>,
    #[serde(default)]
    tool_name: String,
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    session_id: String,
    #[serde(default)]
    agent_name: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    rows_affected: u64,
    #[serde(default)]
    pods_affected: u64,
    #[serde(default)]
    xact_age_secs: u64,
    /// Whether the act has already happened and its size is now known.
    #[serde(default)]
    post_execution: bool,
    /// The caller when absent.
    #[serde(default)]
    principal: Option<Whom>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    purpose_note: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Checked {
    /// `allow`, `deny` or `require_approval`.
    effect: &'static str,
    policy_name: String,
    message: String,
    /// The same in words.
    explanation: String,
    requires_approval: bool,
    /// Every policy that was looked at.
    #[schema(value_type = Object)]
    trace: Value,
    /// The record of the decision.
    event_id: String,
    trace_id: String,
}

/// How policy decides for a program that acts outside this server. The decision is recorded before it is told.
#[utoipa::path(post, path = "/governance/check", tag = "governance", operation_id = "check_policy", request_body = Check,
    responses((status = 200, description = "Allowed, or people must be asked.", body = Checked),
              (status = 403, description = "Denied: the same body. A caller without the permission gets a problem instead.", body = Checked)))]
pub(crate) async fn check(
    State(app): State<App>,
    caller: Caller,
    Body(check): Body<Check>,
) -> Result<Response, Problem> {
    let (platform, now) = (&app.platform, app.platform.clock().now());
    let trace_id = trace_of(&app, &caller, &check)?;
    let principal = whom(&caller, check.principal.as_ref());
    let resource = resource_of(&app, caller.tenant(), &check)?;
    let asked = PolicyRequest {
        principal: &principal,
        purpose: caller.purpose(check.purpose.as_deref())?,
        resource: &resource,
        class: parse::<ActionClass>(needed("action", &check.action)?)?,
        tool: &check.tool_name,
        measured: Measured {
            rows_affected: check.rows_affected,
            pods_affected: check.pods_affected,
            xact_age_secs: check.xact_age_secs,
        },
        at: now,
    };
    let explained = platform.gate().explain(&asked);
    let decision = &explained.decision;

    let mut event = platform.event(EventType::PolicyDecision, caller.tenant(), trace_id.clone());
    event.principal = Some(principal.clone());
    event.purpose = asked.purpose;
    event.purpose_note = caller.purpose_note(check.purpose_note.clone())?;
    event.action_class = Some(asked.class);
    event.resource = Some(resource.clone());
    event.session.id.clone_from(&check.session_id);
    event.session.agent_name.clone_from(&check.agent_name);
    event.policy_decision = Some(PolicyPart::of(&asked, decision));
    event.outcome = outcome(decision.effect, &decision.message);
    event.note = note(&caller, &principal, &check);
    let body = Checked {
        effect: decision.effect.as_str(),
        policy_name: decision.policy_name.clone(),
        message: decision.message.clone(),
        explanation: explained.text.clone(),
        requires_approval: decision.requires_approval,
        trace: explained.json.clone(),
        event_id: event.event_id.to_string(),
        trace_id: trace_id.to_string(),
    };
    platform.record(event).await?;
    let status = if decision.effect == Effect::Deny { StatusCode::FORBIDDEN } else { StatusCode::OK };
    Ok((status, Json(body)).into_response())
}

fn trace_of(app: &App, caller: &Caller, check: &Check) -> Result<TraceId, Problem> {
    match given(&check.trace_id) {
        Some(text) => parse(text),
        None if !check.agent_name.is_empty() && caller.named_trace().is_none() => Err(Problem::new(
            ProblemCode::BadRequest,
            "an agent must say to which journey its check belongs: `trace_id` is missing",
        )),
        None => Ok(caller.trace(&app.platform, "chk")),
    }
}

/// Whom the decision is for. What the body says of somebody else is not proven, and is recorded so.
fn whom(caller: &Caller, named: Option<&Whom>) -> Principal {
    let Some(named) = named.filter(|named| !named.user_id.is_empty() || !named.service.is_empty()) else {
        return caller.principal.clone();
    };
    let mut principal = if named.service.is_empty() {
        Principal::new(PrincipalKind::User, named.user_id.clone(), AuthMethod::None)
    } else {
        Principal::new(PrincipalKind::Service, named.service.clone(), AuthMethod::None)
    };
    principal.tenant = caller.tenant().clone();
    principal.with_roles(named.roles.iter().cloned())
}

fn resource_of(app: &App, tenant: &TenantId, check: &Check) -> Result<Resource, Problem> {
    let kind: ResourceKind = parse(needed("resource_type", &check.resource_type)?)?;
    let name = needed("resource_name", &check.resource_name)?;
    // Workspaces have owners: of one, only what the asker says of it is known here.
    let known = match kind {
        ResourceKind::Workspace => None,
        _ if !reeve_platform::tenants::has_targets(tenant) => None,
        kind => app.platform.gate().resolve(kind, Some(name)).ok(),
    };
    let mut resource = known.unwrap_or_else(|| Resource::new(kind, reeve_types::mask_dsn(name)));
    if let Some(tags) = &check.tags {
        resource.tags = tags.iter().cloned().collect();
    }
    if let Some(sensitivity) = &check.sensitivity {
        resource.sensitivity = sensitivity.iter().cloned().collect();
    }
    Ok(resource)
}

fn outcome(effect: Effect, message: &str) -> Option<OutcomePart> {
    let status = match effect {
        Effect::Allow => return None,
        Effect::Deny => "denied",
        Effect::RequireApproval => "require_approval",
    };
    Some(OutcomePart { status: status.to_owned(), error_message: message.to_owned(), duration_ms: None })
}

fn note(caller: &Caller, principal: &Principal, check: &Check) -> String {
    let asked_by = if caller.principal.is_same_party(principal) {
        "a bare check".to_owned()
    } else {
        format!("a bare check that {} asked for", caller.principal.label())
    };
    let when = if check.post_execution { ", after the act" } else { "" };
    let words: String = check.note.chars().take(500).collect();
    let words = if words.is_empty() { words } else { format!(": {words}") };
    format!("{asked_by}{when}{words}")
}
