//! Signing in and out, and what belongs to one's own account.
//!
//! A page keeps the access token in memory; the refresh token travels in a cookie that no page can read. Programs ask
//! for the refresh token in the body instead.

use axum::Json;
use axum::extract::State;
use axum::http::header::{SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_platform::Permission;
use reeve_platform::accounts::{AccountError, NewAccount, Origin, Person, Session, SignedIn};
use reeve_types::secret::{ExposeSecret as _, SecretString};
use reeve_types::{LoginId, ProblemCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{self, Caller, Sender};
use crate::cookies;
use crate::extract::{Body, Id};
use crate::problem::Problem;

/// One of the three ways in: `email` and `password`, `api_key`, or `link`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    password: Option<String>,
    /// A person's API key.
    #[serde(default)]
    api_key: Option<String>,
    /// What stands behind `link=` in a sign-in link.
    #[serde(default)]
    link: Option<String>,
    /// Give the refresh token in the body and set no cookie; for programs.
    #[serde(default)]
    want_refresh_token: bool,
}

/// Whose account it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountBrief {
    id: String,
    /// Absent for who signed in with an API key.
    email: Option<String>,
    name: String,
    roles: Vec<String>,
    tenant: String,
}

impl From<&Person> for AccountBrief {
    fn from(person: &Person) -> Self {
        Self {
            id: person.id.clone(),
            email: person.email.clone(),
            name: person.name.clone(),
            roles: person.principal.roles.iter().cloned().collect(),
            tenant: person.principal.tenant.to_string(),
        }
    }
}

/// What a sign-in gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Send it as `Authorization: Bearer TOKEN`.
    access_token: String,
    /// `bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// For programs that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    account: AccountBrief,
}

/// Where the refresh token goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deliver {
    Cookie,
    Body,
}

/// The answer to a sign-in of any kind.
pub(crate) fn given(signed_in: &SignedIn, deliver: Deliver, status: StatusCode, headers: &HeaderMap) -> Response {
    let refresh = signed_in.refresh_token.expose_secret();
    let body = Tokens {
        access_token: signed_in.access_token.expose_secret().to_owned(),
        token_type: "bearer",
        expires_in: signed_in.expires_in,
        refresh_token: (deliver == Deliver::Body).then(|| refresh.to_owned()),
        account: (&signed_in.person).into(),
    };
    let mut response = (status, Json(body)).into_response();
    if deliver == Deliver::Cookie {
        set(&mut response, cookies::refresh(refresh, signed_in.refresh_lifetime, headers));
        // A client of the guide that proves itself by a cookie gets the new token the same way.
        if cookies::get(headers, cookies::ACCESS).is_some() {
            set(&mut response, cookies::access(signed_in.access_token.expose_secret(), headers));
        }
    }
    response
}

/// Adds a cookie to an answer.
pub(crate) fn set(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Where a sign-in comes from.
pub(crate) fn origin(sender: &Sender, headers: &HeaderMap) -> Origin {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Origin { address: sender.remote, agent: agent.to_owned() }
}

fn missing(detail: &str) -> Problem {
    Problem::new(ProblemCode::Unauthenticated, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// Sign in with e-mail address and password, with an API key, or with a link that works once.
///
/// Five wrong tries in a minute, from one address or for one account, shut the door for a minute, then for two, and so on
/// up to an hour.
#[utoipa::path(post, path = "/auth/login", tag = "accounts", operation_id = "login", request_body = Login,
    responses((status = 200, description = "Signed in. The refresh token is in the cookie `reeve_refresh`.", body = Tokens),
        (status = 401, description = "The credentials are wrong."), (status = 429, description = "Too many wrong tries.")))]
pub(crate) async fn login(
    State(app): State<App>,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<Login>,
) -> Result<Response, Problem> {
    let deliver = if body.want_refresh_token { Deliver::Body } else { Deliver::Cookie };
    let signed_in = enter(&app, &sender, &headers, body).await?;
    Ok(given(&signed_in, deliver, StatusCode::OK, &headers))
}

async fn enter(app: &App, sender: &Sender, headers: &HeaderMap, body: Login) -> Result<SignedIn, Problem> {
    let (identity, origin) = (app.platform.identity(), origin(sender, headers));
    let (who, entered) = match (body.email, body.password, body.api_key, body.link) {
        (Some(email), Some(password), None, None) => {
            (shown(&email), identity.sign_in_with_password(&email, &password.into(), &origin).await)
        }
        (None, None, Some(key), None) => {
            ("somebody with an API key".to_owned(), identity.sign_in_with_key(&key.into(), &origin).await)
        }
        (None, None, None, Some(link)) => {
            ("somebody with a sign-in link".to_owned(), identity.sign_in_with_link(&link.into(), &origin).await)
        }
        (None, None, None, None) => {
            return Err(missing("no credentials were given: send `email` and `password`, `api_key`, or `link`"));
        }
        _ => {
            let detail = "send exactly one of: `email` and `password`; `api_key`; `link`";
            return Err(Problem::new(ProblemCode::BadRequest, detail));
        }
    };
    match entered {
        Ok(signed_in) => Ok(signed_in),
        Err(error) => {
            sender.refused(app, &format!("{who} was not let in: {error}")).await;
            Err(error.into())
        }
    }
}

/// An address that somebody typed, as a record may show it.
fn shown(email: &str) -> String {
    format!("`{}`", email.chars().filter(|c| !c.is_control() && *c != '`').take(80).collect::<String>())
}

/// Signs in with e-mail address and password, for the guide's alias.
pub(crate) async fn with_password(
    app: &App,
    sender: &Sender,
    headers: &HeaderMap,
    email: String,
    password: String,
) -> Result<SignedIn, Problem> {
    let (email, password) = (Some(email), Some(password));
    let body = Login { email, password, api_key: None, link: None, want_refresh_token: false };
    enter(app, sender, headers, body).await
}

/// An account that a person makes for themselves.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SignUp {
    #[serde(default)]
    pub(crate) email: String,
    /// At least 10 characters.
    #[serde(default)]
    pub(crate) password: String,
    /// How you want to be called.
    #[serde(default, alias = "username")]
    pub(crate) name: Option<String>,
}

/// Make an account for yourself, where that is switched on (`accounts.registration`); administrators always can.
#[utoipa::path(post, path = "/auth/signup", tag = "accounts", operation_id = "sign_up", request_body = SignUp,
    responses((status = 201, description = "Signed in.", body = Tokens),
        (status = 403, description = "Nobody can sign up here."), (status = 409, description = "The address has an account.")))]
pub(crate) async fn sign_up(
    State(app): State<App>,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<SignUp>,
) -> Result<Response, Problem> {
    let signed_in = make_and_enter(&app, &sender, &headers, body).await?;
    Ok(given(&signed_in, Deliver::Cookie, StatusCode::CREATED, &headers))
}

/// Makes an account and signs its owner in: where strangers may, or for an administrator.
pub(crate) async fn make_and_enter(
    app: &App,
    sender: &Sender,
    headers: &HeaderMap,
    body: SignUp,
) -> Result<SignedIn, Problem> {
    let (identity, origin) = (app.platform.identity(), origin(sender, headers));
    let new = NewAccount {
        email: body.email,
        name: body.name,
        password: Some(body.password.into()),
        roles: std::iter::once("developer".to_owned()).collect(),
    };
    if identity.accounts().options().registration {
        return Ok(identity.sign_up(new, &origin).await?);
    }
    let caller = auth::identify(app, headers, &Method::POST, sender.remote, sender.request_id.clone()).await.ok();
    let Some(caller) = caller.filter(|caller| Permission::Administer.allows(&caller.principal)) else {
        let error = AccountError::RegistrationOff;
        sender.refused(app, &format!("{} was not given an account: {error}", shown(&new.email))).await;
        return Err(error.into());
    };
    let (email, password) = (new.email.clone(), new.password.clone().unwrap_or_default());
    identity.accounts().create(Some(&caller.principal), caller.tenant(), new).await?;
    Ok(identity.sign_in_with_password(&email, &password, &origin).await?)
}

/// A refresh token, for programs; browsers have it in a cookie.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Refresh {
    #[serde(default)]
    refresh_token: Option<String>,
}

/// Renew a sign-in.
///
/// The refresh token is used up and another one takes its place. Using one twice ends the sign-in. When two pages of one
/// browser renew within five seconds, the later one gets 409 and asks again with the cookie that the other was given.
#[utoipa::path(post, path = "/auth/refresh", tag = "accounts", operation_id = "refresh", request_body = Refresh,
    responses((status = 200, description = "Renewed.", body = Tokens), (status = 401, description = "Signed out.")))]
pub(crate) async fn refresh(
    State(app): State<App>,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<Refresh>,
) -> Result<Response, Problem> {
    let (token, deliver): (SecretString, _) = match (body.refresh_token, cookies::get(&headers, cookies::REFRESH)) {
        (Some(token), _) => (token.into(), Deliver::Body),
        (None, Some(cookie)) => {
            cookies::may_prove(&headers, &Method::POST, app.platform.base_url())?;
            (cookie.to_owned().into(), Deliver::Cookie)
        }
        (None, None) => return Err(missing("there is nothing to renew: sign in first")),
    };
    match app.platform.identity().refresh(&token, deliver == Deliver::Cookie).await {
        Ok(signed_in) => Ok(given(&signed_in, deliver, StatusCode::OK, &headers)),
        Err(error) => {
            if matches!(error, AccountError::BadRefresh) {
                sender.refused(&app, "a sign-in was not renewed: its refresh token does not hold").await;
            }
            Err(error.into())
        }
    }
}

/// Sign out. The access token, the refresh token and every open socket end at once.
#[utoipa::path(post, path = "/auth/logout", tag = "accounts", operation_id = "logout",
    responses((status = 204, description = "Signed out.")))]
pub(crate) async fn logout(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let login = own(&caller)?;
    app.platform.identity().accounts().sign_out(&caller.principal, login).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    for cookie in cookies::forget(&headers) {
        set(&mut response, cookie);
    }
    Ok(response)
}

fn own(caller: &Caller) -> Result<&LoginId, Problem> {
    caller.login.as_ref().ok_or_else(|| Problem::internal("a caller without a sign-in came past the guard"))
}

/// Another password for one's own account.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewPassword {
    /// The old password; none for an account that has none yet.
    #[serde(default)]
    old: String,
    /// At least 10 characters.
    #[serde(default)]
    new: String,
    /// Give the refresh token in the body and set no cookie; for programs.
    #[serde(default)]
    want_refresh_token: bool,
}

/// Change your password. Every sign-in of yours ends, this one too; the answer is a new one.
#[utoipa::path(post, path = "/auth/password", tag = "accounts", operation_id = "change_password", request_body = NewPassword,
    responses((status = 200, description = "Changed, and signed in anew.", body = Tokens)))]
pub(crate) async fn password(
    State(app): State<App>,
    caller: Caller,
    sender: Sender,
    headers: HeaderMap,
    Body(body): Body<NewPassword>,
) -> Result<Response, Problem> {
    let (identity, origin) = (app.platform.identity(), origin(&sender, &headers));
    let changed = identity.change_own_password(own(&caller)?, &body.old.into(), &body.new.into(), &origin).await;
    if matches!(changed, Err(AccountError::WrongOldPassword)) {
        sender.refused(&app, &format!("{} gave a wrong old password", caller.principal.label())).await;
    }
    let deliver = if body.want_refresh_token { Deliver::Body } else { Deliver::Cookie };
    Ok(given(&changed?, deliver, StatusCode::OK, &headers))
}

/// Who you are, for pages.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    id: String,
    email: Option<String>,
    name: String,
    /// The name that records and policies know you by.
    username: String,
    /// Always nothing.
    #[schema(value_type = Option<String>)]
    avatar: Option<()>,
    roles: Vec<String>,
    tenant: String,
    /// What you may ask for.
    permissions: Vec<&'static str>,
}

/// Who you are and what you may ask for; for keys, too.
#[utoipa::path(get, path = "/auth/me", tag = "accounts", operation_id = "me",
    responses((status = 200, description = "You.", body = Me)))]
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, Problem> {
    let person = person(&app, &caller).await?;
    let permissions =
        Permission::ALL.into_iter().filter(|p| p.allows(&caller.principal)).map(Permission::as_str).collect();
    Ok(Json(Me {
        id: person.id,
        email: person.email,
        name: person.name,
        username: person.principal.id,
        avatar: None,
        roles: person.principal.roles.into_iter().collect(),
        tenant: person.principal.tenant.to_string(),
        permissions,
    }))
}

/// The person of a caller; of one with a key, what the key says.
pub(crate) async fn person(app: &App, caller: &Caller) -> Result<Person, Problem> {
    match &caller.login {
        Some(login) => Ok(app.platform.identity().person_of(login).await?),
        None => Ok(Person {
            id: caller.key_id.as_ref().map_or_else(|| caller.principal.label(), ToString::to_string),
            number: None,
            email: None,
            name: caller.principal.id.clone(),
            principal: caller.principal.clone(),
        }),
    }
}

/// One of your sign-ins.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionShown {
    id: String,
    /// `password`, `api_key` or `link`.
    method: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    /// When it was last renewed.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: jiff::Timestamp,
    /// When it ends unless it is renewed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
    /// Where it came from; empty when it was made on the server itself.
    address: String,
    user_agent: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl From<Session> for SessionShown {
    fn from(session: Session) -> Self {
        let Session { login, current } = session;
        Self {
            id: login.login_id.to_string(),
            method: login.method,
            created_at: login.created_at,
            last_seen_at: login.seen_at,
            expires_at: login.expires_at,
            address: login.address,
            user_agent: login.agent,
            current,
        }
    }
}

/// Your sign-ins that hold, newest first.
#[utoipa::path(get, path = "/auth/sessions", tag = "accounts", operation_id = "list_sessions",
    responses((status = 200, description = "`{sessions: […]}`.", body = [SessionShown])))]
pub(crate) async fn sessions(State(app): State<App>, caller: Caller) -> Result<Json<serde_json::Value>, Problem> {
    let found = app.platform.identity().accounts().sessions(own(&caller)?).await?;
    let shown: Vec<SessionShown> = found.into_iter().map(SessionShown::from).collect();
    Ok(Json(json!({"sessions": shown})))
}

/// End one of your sign-ins, at once.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "accounts", operation_id = "end_session",
    params(("id" = String, Path, description = "The sign-in's id, `lgn_…`.")),
    responses((status = 204, description = "It has ended.")))]
pub(crate) async fn end_session(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LoginId>,
) -> Result<StatusCode, Problem> {
    app.platform.identity().accounts().end_session(&caller.principal, own(&caller)?, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
