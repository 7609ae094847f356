//! Who asks, and whether their role may ask for this.
//!
//! [`guard`] stands before every route. What it lets through carries a [`Caller`]; a handler that takes one cannot run
//! without it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use reeve_platform::accounts::looks_like_token;
use reeve_platform::{IdentityProvider, Permission, Platform};
use reeve_types::limits::REASON_BYTES_MAX;
use reeve_types::principal::KnownBy;
use reeve_types::{AuthMethod, KeyId, LoginId, Principal, ProblemCode, Purpose, TenantId, TraceId};

use crate::app::App;
use crate::cookies;
use crate::dress::{ThisRequest, X_TRACE_ID};
use crate::extract::parse;
use crate::problem::Problem;
use crate::rate::{RateClass, Standing};
use crate::tickets;

const X_USER: HeaderName = HeaderName::from_static("x-user");
const X_PURPOSE: HeaderName = HeaderName::from_static("x-purpose");
const X_PURPOSE_NOTE: HeaderName = HeaderName::from_static("x-purpose-note");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Someone who has said, and proved, who they are, and what they said about why they ask.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) key_id: Option<KeyId>,
    /// The login of a person who signed in.
    pub(crate) login: Option<LoginId>,
    pub(crate) request_id: String,
    purpose: Option<Purpose>,
    purpose_note: Option<String>,
    trace_id: Option<TraceId>,
}

impl Caller {
    /// The caller's tenant.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.principal.tenant
    }

    /// Refuses callers of every tenant but the first, whose installation this is. `what` begins the sentence.
    pub(crate) fn of_first_tenant(&self, what: &str) -> Result<(), Problem> {
        if *self.tenant() == TenantId::default_tenant() {
            return Ok(());
        }
        let detail = format!("{what}: that is for administrators of the tenant `default`");
        Err(Problem::new(ProblemCode::Forbidden, detail))
    }

    /// Who it is, for budgets and counts: one person of one tenant, however they came.
    pub(crate) fn who(&self) -> String {
        format!("{}|{}", self.principal.tenant, self.principal.label())
    }

    /// The same caller in another request.
    pub(crate) fn of_request(self, request_id: String) -> Self {
        Self { request_id, ..self }
    }

    /// What this caller proved itself with, where that can be taken away while something is open.
    pub(crate) fn proof(&self) -> Option<Proof> {
        match (&self.login, &self.principal.known_by) {
            (Some(login), _) => Some(Proof::Login(login.clone())),
            (None, Some(KnownBy::Key(id))) => Some(Proof::Key(id.clone())),
            (None, _) => None,
        }
    }

    /// The declared purpose: the header beats the body.
    pub(crate) fn purpose(&self, body: Option<&str>) -> Result<Option<Purpose>, Problem> {
        match (self.purpose, body.filter(|text| !text.is_empty())) {
            (Some(purpose), _) => Ok(Some(purpose)),
            (None, Some(text)) => parse(text).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The purpose in the requester's words: the header beats the body.
    pub(crate) fn purpose_note(&self, body: Option<String>) -> Result<String, Problem> {
        let note = self.purpose_note.clone().or(body).unwrap_or_default();
        if note.len() > REASON_BYTES_MAX {
            return Err(Problem::new(
                ProblemCode::BadRequest,
                format!("the purpose note is longer than {REASON_BYTES_MAX} bytes"),
            ));
        }
        Ok(note)
    }

    /// The journey that the request belongs to: the one it names, or a new one.
    pub(crate) fn trace(&self, platform: &Platform, prefix: &str) -> TraceId {
        self.trace_id.clone().unwrap_or_else(|| platform.new_trace(prefix))
    }

    /// The journey that the request names.
    pub(crate) fn named_trace(&self) -> Option<&TraceId> {
        self.trace_id.as_ref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal("a handler that needs a caller stands behind a public route"))
    }
}

/// Where a request came from; absent when it was made in the same process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote(pub(crate) IpAddr);

/// Where a request came from and whose id it has, for handlers that anybody may call.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) remote: Option<IpAddr>,
    pub(crate) request_id: String,
    place: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let request_id = parts.extensions.get::<ThisRequest>().map(|ThisRequest(id)| id.to_string());
        Ok(Self {
            remote: parts.extensions.get::<Remote>().map(|remote| remote.0),
            request_id: request_id.unwrap_or_default(),
            place: format!("{} {}", parts.method, parts.uri.path()),
        })
    }
}

impl Sender {
    /// Records that somebody was not let in. `reason` holds nothing that they typed as a secret.
    pub(crate) async fn refused(&self, app: &App, reason: &str) {
        app.shared.denied.record(&app.platform, None, &self.place, self.remote, reason).await;
    }
}

/// A sign-in, or a key that Reeve made.
pub(crate) enum Proof {
    Login(LoginId),
    Key(KeyId),
}

impl Proof {
    /// Returns when it holds no more: signed out, another password, the account switched off, the key taken back.
    pub(crate) async fn until_gone(&self, platform: &Platform) {
        match self {
            Self::Login(login) => platform.identity().accounts().until_ended(login).await,
            Self::Key(id) => platform.store().until_key_revoked(id).await,
        }
    }
}

/// What a request may prove itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// A key or an access token.
    Credentials,
    /// These, or a ticket of `POST /auth/sse-token`: for streams, which a browser's `EventSource` opens without headers.
    Tickets,
}

/// Lets a request through to its handler when the caller has the permission and has not called too often.
pub(crate) async fn guard(
    permission: Permission,
    rate: RateClass,
    door: Door,
    mut request: Request,
    next: Next,
) -> Response {
    let (Some(app), Some(ThisRequest(id))) =
        (request.extensions().get::<App>().cloned(), request.extensions().get::<ThisRequest>().cloned())
    else {
        return Problem::internal("a route stands outside the router").into_response();
    };
    let remote = request.extensions().get::<Remote>().map(|remote| remote.0);
    if permission == Permission::Public {
        let admitted = app.shared.rates.admit_address(remote, rate, app.platform.clock().now());
        return go_on(admitted, request, next).await;
    }
    let place = format!("{} {}", request.method(), request.uri().path());
    let ticket = if door == Door::Tickets { tickets::brought(&request) } else { None };
    let found = match ticket {
        Some(ticket) => tickets::redeem(&app, &ticket, id.to_string()).map(|(caller, _)| caller),
        None => identify(&app, request.headers(), request.method(), remote, id.to_string()).await,
    };
    let caller = match found {
        Ok(caller) => caller,
        Err(problem) => {
            if matches!(problem.code, ProblemCode::Unauthenticated | ProblemCode::Forbidden) {
                app.shared.denied.record(&app.platform, None, &place, remote, &problem.detail).await;
            }
            return problem.into_response();
        }
    };
    if !permission.allows(&caller.principal) {
        let problem = lacks(permission, &caller.principal);
        app.shared.denied.record(&app.platform, Some(&caller.principal), &place, remote, &problem.detail).await;
        return problem.into_response();
    }
    let admitted = app.shared.rates.admit(&caller, rate, app.platform.clock().now());
    let proof = caller.proof();
    request.extensions_mut().insert(caller);
    let response = go_on(admitted, request, next).await;
    match proof {
        Some(proof) if is_stream(&response) => end_with(proof, &app, response),
        _ => response,
    }
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// A stream that ends when the sign-in or the key is gone that it was opened with.
fn end_with(proof: Proof, app: &App, response: Response) -> Response {
    let platform = app.platform.clone();
    let ended = Box::pin(async move { proof.until_gone(&platform).await });
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(ended)))
}

async fn go_on(admitted: Result<Option<Standing>, Problem>, request: Request, next: Next) -> Response {
    match admitted {
        Ok(standing) => {
            let mut response = next.run(request).await;
            if let Some(standing) = standing {
                standing.tell(response.headers_mut());
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}

pub(crate) fn lacks(permission: Permission, principal: &Principal) -> Problem {
    if permission == Permission::OwnAccount {
        let detail = format!("{} came with a key, and this takes a person who signed in", principal.label());
        return Problem::new(ProblemCode::Forbidden, detail).with("permission", permission.as_str());
    }
    if permission == Permission::Operate {
        let detail = format!(
            "{} may not do this: it takes an administrator of the tenant `default`, whose installation this is, with a key \
             or signed in",
            principal.label()
        );
        return Problem::new(ProblemCode::Forbidden, detail)
            .with("permission", permission.as_str())
            .with("roles", vec!["admin"]);
    }
    let roles: Vec<&str> = permission.roles().iter().copied().chain(["admin"]).collect();
    let detail = format!("{} may not do this: it needs the role {}", principal.label(), roles.join(" or "));
    Problem::new(ProblemCode::Forbidden, detail).with("permission", permission.as_str()).with("roles", roles)
}

/// Who sent a request with these headers: a key or an access token in `Authorization`, or else an access token in the
/// guide's cookie.
pub(crate) async fn identify(
    app: &App,
    headers: &HeaderMap,
    method: &Method,
    remote: Option<IpAddr>,
    request_id: String,
) -> Result<Caller, Problem> {
    let identity = app.platform.identity();
    if identity.provider() == IdentityProvider::None {
        refuse_browsers_elsewhere(headers)?;
    }
    let bearer = match bearer(headers)? {
        Some(bearer) => Some(bearer),
        None => {
            let cookie = cookies::get(headers, cookies::ACCESS);
            if cookie.is_some() {
                cookies::may_prove(headers, method, app.platform.base_url())?;
            }
            cookie
        }
    };
    let named = text_of(headers, &X_USER)?.filter(|name| !name.is_empty());
    // A key of the users file costs an Argon2id run for every user listed, so guessing them is slowed down.
    let costly = bearer.is_some_and(|key| !key.starts_with("reeve_") && !looks_like_token(key));
    if costly {
        app.shared.failures.check(remote)?;
    }
    let found = identity.identify(bearer, named).await.inspect_err(|_| {
        if costly {
            app.shared.failures.count(remote);
        }
    })?;
    let purpose = text_of(headers, &X_PURPOSE)?.filter(|text| !text.is_empty()).map(parse).transpose()?;
    Ok(Caller {
        principal: found.principal,
        key_id: found.key_id,
        login: found.login,
        request_id,
        purpose,
        purpose_note: text_of(headers, &X_PURPOSE_NOTE)?.map(str::to_owned),
        trace_id: text_of(headers, &X_TRACE_ID)?.filter(|text| !text.is_empty()).map(parse).transpose()?,
    })
}

/// Who an access token or a key in another place than a header speaks for: the guide's terminals put it into the URL.
pub(crate) async fn of_token(app: &App, token: &str, request_id: String) -> Result<Caller, Problem> {
    let found = app.platform.identity().identify(Some(token), None).await?;
    Ok(Caller {
        principal: found.principal,
        key_id: found.key_id,
        login: found.login,
        request_id,
        purpose: None,
        purpose_note: None,
        trace_id: None,
    })
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = text_of(headers, &AUTHORIZATION)? else { return Ok(None) };
    let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || key.trim().is_empty() {
        let detail = "the header Authorization is not understood: send `Authorization: Bearer KEY`";
        return Err(Problem::new(ProblemCode::Unauthenticated, detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    Ok(Some(key.trim()))
}

fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    // Notes may hold any UTF-8; `to_str` would take ASCII only.
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| Problem::new(ProblemCode::BadRequest, format!("the header {name} is not UTF-8 text")))
}

/// Where identity is switched off, a page that a browser has opened elsewhere could act as whoever sits at this machine.
/// Requests that such a page can make are refused: from another origin, or under a name that was made to point here.
fn refuse_browsers_elsewhere(headers: &HeaderMap) -> Result<(), Problem> {
    let host = text_of(headers, &HOST)?.unwrap_or_default();
    let foreign_site = text_of(headers, &SEC_FETCH_SITE)?.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin =
        text_of(headers, &ORIGIN)?.is_some_and(|origin| origin.split_once("://").is_none_or(|(_, rest)| rest != host));
    if foreign_site || foreign_origin || !is_near(host) {
        let detail =
            "this server takes callers at their word, so it does not answer pages of other sites; use keys instead";
        return Err(Problem::new(ProblemCode::Forbidden, detail));
    }
    Ok(())
}

/// Whether a `Host` cannot be a public name that someone pointed at this machine: an address, a name without a dot, or
/// one under `localhost`.
pub(crate) fn is_near(host: &str) -> bool {
    if host.is_empty() {
        return true;
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<Ipv4Addr>().is_ok()
        || name.parse::<Ipv6Addr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
}

/// The person who answers a question. Only where identity is switched off may the body say who it is; everywhere else
/// the proven identity wins over whatever the body claims.
pub(crate) async fn answering(app: &App, caller: &Caller, claimed: Option<&str>) -> Result<Principal, Problem> {
    let unproven = matches!(caller.principal.auth_method, AuthMethod::Header | AuthMethod::None);
    match claimed.filter(|name| !name.is_empty()) {
        Some(name) if unproven && app.platform.identity().provider() == IdentityProvider::None => {
            Ok(app.platform.identity().identify(None, Some(name)).await?.principal)
        }
        _ => Ok(caller.principal.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_refused_where_callers_are_taken_at_their_word() {
        let table: [(&[(&str, &str)], bool); 9] = [
            (&[], true),
            (&[("host", "localhost:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "reeve:8080")], true),
            (&[("host", "rebound.example:8080")], false),
            (&[("host", "localhost:8080"), ("origin", "https://evil.example")], false),
            (&[("host", "localhost:8080"), ("origin", "null")], false),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")], false),
        ];
        for (headers, fine) in table {
            let headers: HeaderMap =
                headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect();
            assert_eq!(refuse_browsers_elsewhere(&headers).is_ok(), fine, "{headers:?}");
        }
    }
}
