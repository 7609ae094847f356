//! The account paths of the guide to VibeCode: the same sign-ins in the guide's shapes, with the access token in a
//! cookie beside the body.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_platform::Permission;
use reeve_platform::accounts::SignedIn;
use reeve_types::secret::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Caller, Sender};
use crate::cookies;
use crate::declare::Routes;
use crate::extract::Body;
use crate::problem::Problem;
use crate::routes::sign_in::{self, SignUp};

pub(crate) fn declare(routes: Routes) -> Routes {
    routes
        .alias(Permission::Public, "/api/auth/signup", routes!(sign_up))
        .alias(Permission::Public, "/api/auth/login", routes!(login))
        .alias(Permission::Public, "/api/auth/refresh", routes!(sign_in::refresh))
        .alias(Permission::Look, "/api/auth/me", routes!(me))
        .alias(Permission::Look, "/api/me", routes!(me))
        .alias(Permission::OwnAccount, "/api/auth/stats", routes!(stats))
        .alias(Permission::OwnAccount, "/api/auth/logout", routes!(sign_in::logout))
        .alias(Permission::OwnAccount, "/api/auth/password", routes!(sign_in::password))
        .alias(Permission::OwnAccount, "/api/auth/sessions", routes!(sign_in::sessions))
        .alias(Permission::OwnAccount, "/api/auth/sessions/{id}", routes!(sign_in::end_session))
}

fn token(signed_in: &SignedIn) -> Value {
    json!({
        "access_token": signed_in.access_token.expose_secret(),
        "token_type": "bearer",
        "expires_in": signed_in.expires_in,
    })
}

/// Make an account for yourself. No cookie is set.
#[utoipa::path(post, path = "/api/auth/signup", responses((status = 200, description = "The access token.")))]
async fn sign_up(
    State(app): State<App>,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<SignUp>,
) -> Result<Json<Value>, Problem> {
    let signed_in = sign_in::make_and_enter(&app, &sender, &headers, body).await?;
    Ok(Json(token(&signed_in)))
}

#[derive(Deserialize)]
struct GuideLogin {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

/// Sign in with e-mail address and password.
#[utoipa::path(post, path = "/api/auth/login", responses((status = 200, description = "The access token, in a cookie too.")))]
async fn login(
    State(app): State<App>,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<GuideLogin>,
) -> Result<Response, Problem> {
    let signed_in = sign_in::with_password(&app, &sender, &headers, body.email, body.password).await?;
    let mut response = (StatusCode::OK, Json(token(&signed_in))).into_response();
    let refresh = signed_in.refresh_token.expose_secret();
    sign_in::set(&mut response, cookies::access(signed_in.access_token.expose_secret(), &headers));
    sign_in::set(&mut response, cookies::refresh(refresh, signed_in.refresh_lifetime, &headers));
    Ok(response)
}

/// Who you are.
#[utoipa::path(get, path = "/api/auth/me", responses((status = 200, description = "You.")))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let person = sign_in::person(&app, &caller).await?;
    Ok(Json(json!({
        // The guide knows people by numbers; who came with a key has none.
        "id": person.number.unwrap_or(0),
        "username": person.name,
        "email": person.email.unwrap_or_default(),
        "avatar": null,
        "account_id": person.id,
        "roles": person.principal.roles,
        "tenant": person.principal.tenant,
    })))
}

/// Whether somebody is whom a guide's client names: by the number that `/api/me` tells, by the account, or by name.
pub(super) async fn is_oneself(app: &App, caller: &Caller, named: &str) -> Result<bool, Problem> {
    if named == caller.principal.root().id {
        return Ok(true);
    }
    let person = sign_in::person(app, caller).await?;
    Ok(named == person.id || named == person.number.unwrap_or(0).to_string())
}

/// What is kept of sign-ins. Nothing is cached: whose a token is, is looked up each time.
#[utoipa::path(get, path = "/api/auth/stats", responses((status = 200, description = "The numbers.")))]
async fn stats(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let sign_ins = match &caller.login {
        Some(login) => app.platform.identity().accounts().sessions(login).await?.len(),
        None => 0,
    };
    Ok(Json(json!({"cache_enabled": false, "cache_hits": 0, "cache_misses": 0, "cache_size": 0, "sign_ins": sign_ins})))
}
