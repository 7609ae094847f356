//! Tenants, for whoever operates the installation.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reeve_platform::tenants::{MadeTenant, Tenant};
use reeve_types::ProblemCode;
use reeve_types::secret::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, parse};
use crate::idempotency::{self, Reply};
use crate::problem::Problem;

/// A tenant as it is listed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedTenant {
    name: String,
    /// Who made it; nobody made the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<jiff::Timestamp>,
}

impl From<Tenant> for ListedTenant {
    fn from(tenant: Tenant) -> Self {
        Self { name: tenant.name.to_string(), made_by: tenant.made_by, created_at: tenant.created_at }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TenantList {
    tenants: Vec<ListedTenant>,
}

/// Every tenant of the installation, the first one first.
#[utoipa::path(get, path = "/tenants", tag = "administration", operation_id = "list_tenants",
    responses((status = 200, description = "The tenants.", body = TenantList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<TenantList>, Problem> {
    let tenants = app.platform.tenants().await?.into_iter().map(ListedTenant::from).collect();
    Ok(Json(TenantList { tenants }))
}

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// 1 to 63 lower-case letters, digits and hyphens.
    name: String,
}

/// A tenant that was made. The key is told here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeTenantShown {
    tenant: String,
    /// The id of the first administrator's key.
    key_id: String,
    /// The key; absent when this answer is given again.
    key: Option<String>,
    /// Whom the key speaks for.
    principal: String,
    message: String,
}

/// Makes a tenant, with a key for its first administrator.
#[utoipa::path(post, path = "/tenants", tag = "administration", operation_id = "create_tenant", request_body = NewTenant,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is answered the same way, without the secret.")),
    responses((status = 201, description = "The key of its first administrator; it is not shown again.", body = MadeTenantShown),
        (status = 409, description = "There is a tenant of that name.")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let wanted = NewTenant::deserialize(&body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))?;
    let name = parse(&wanted.name)?;
    let (platform, maker, trace) = (app.platform.clone(), caller.principal.clone(), caller.trace(&app.platform, "idn"));
    let what = idempotency::request("tenants", "", &body);
    let work = async move { Ok(shown(&platform.create_tenant(&maker, trace, name).await?)) };
    idempotency::once(&app, &caller, &headers, what, work).await
}

fn shown(made: &MadeTenant) -> Reply {
    let answer = |key: Value, message: &str| {
        json!({
            "tenant": made.tenant, "key_id": made.key_id, "key": key, "principal": made.principal, "message": message,
        })
    };
    let body = answer(
        made.key.expose_secret().into(),
        "keep this key now: it is not stored and cannot be shown again; it makes keys and users in the new tenant",
    );
    let kept = answer(Value::Null, "this tenant was made by an earlier request, which showed its first key");
    Reply { status: StatusCode::CREATED, body, kept: Some(kept) }
}
