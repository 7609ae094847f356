//! The door for clients of the Model Context Protocol, and what is told of other people's servers.
//!
//! What answers is handed in from outside: this crate finds out who asks, as for every route, and whether a page of
//! another site sent them.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, RequestExt as _};
use futures_util::future::BoxFuture;
use reeve_platform::Permission;
use reeve_types::{EventType, ProblemCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::cookies;
use crate::declare::Routes;
use crate::extract::{Body, Id, read_body};
use crate::problem::Problem;

/// How long a message may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Longest complaint of the protocol's machinery that is passed on, in bytes.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// What answers `POST /mcp`. It finds the caller's principal, purpose and journey in a request's extensions.
pub type McpService = BoxCloneSyncService<Request, Response, Infallible>;

/// Other people's servers, as far as those who look after them may see and decide.
pub trait OtherServers: Send + Sync {
    /// How each stands.
    fn report(&self) -> BoxFuture<'_, Value>;
    /// Pins what one of them offers now, if that is what was read (the report's `found`); says how it stands then, or why that was not done and whether it is known.
    fn accept<'a>(
        &'a self,
        name: &'a str,
        read: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Value, (ProblemCode, String)>>;
}

/// The protocol both ways, for the routes that have to do with it.
#[derive(Clone, Default)]
pub struct McpDoors {
    /// What answers clients.
    pub service: Option<McpService>,
    /// Other people's servers.
    pub servers: Option<Arc<dyn OtherServers>>,
}

impl fmt::Debug for McpDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpDoors")
            .field("service", &self.service.is_some())
            .field("servers", &self.servers.is_some())
            .finish()
    }
}

pub(crate) fn declare(routes: Routes) -> Routes {
    routes
        .outside(Permission::Look, routes!(talk))
        .alias(Permission::Look, "/api/v1/mcp", routes!(talk))
        .alias(Permission::Look, "/v1/mcp", routes!(talk))
        .api(Permission::Administer, routes!(servers))
        .api(Permission::Administer, routes!(accept))
}

/// One message of the Model Context Protocol (streamable HTTP, without sessions of the transport).
#[utoipa::path(post, path = "/mcp", tag = "mcp", operation_id = "mcp",
    request_body(content = Value, description = "A JSON-RPC message."),
    responses((status = 200, description = "The answer: JSON, or a stream of events that ends with it.", body = Value),
              (status = 202, description = "A notification was taken in.")))]
async fn talk(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let Some(service) = app.shared.options.mcp.service.clone() else {
        return Err(Problem::new(ProblemCode::Unavailable, "this server does not speak MCP"));
    };
    refuse_other_pages(request.headers(), app.platform.base_url())?;
    let (mut parts, body) = request.with_limited_body().into_parts();
    parts.extensions.insert(caller.principal.clone());
    if let Some(purpose) = caller.purpose(None)? {
        parts.extensions.insert(purpose);
    }
    if let Some(trace) = caller.named_trace() {
        parts.extensions.insert(trace.clone());
    }
    let bytes = read_body(Request::new(body), &app, BODY_WITHIN).await?;
    if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err() {
        return Ok(complaint(StatusCode::BAD_REQUEST, -32700, "the message is not JSON"));
    }
    let answered = service.oneshot(Request::from_parts(parts, bytes.into())).await;
    in_json(answered.unwrap_or_else(|never| match never {})).await
}

/// Complaints of the machinery below come as plain text; clients of the protocol read JSON.
async fn in_json(response: Response) -> Result<Response, Problem> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !response.status().is_client_error() || kind.starts_with("application/json") {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, COMPLAINT_BYTES_MAX).await.map_err(Problem::internal)?;
    // The content type was right when the message was JSON; what was wrong is the message.
    let status = match parts.status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE if text.starts_with(b"fail to deserialize") => StatusCode::BAD_REQUEST,
        other => other,
    };
    Ok(complaint(status, -32600, &String::from_utf8_lossy(&text)))
}

fn complaint(status: StatusCode, code: i64, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A page in a browser says in `Origin` where it comes from. Only pages of this server may speak here, and only under
/// a name that nobody else could have pointed at it.
fn refuse_other_pages(headers: &HeaderMap, base_url: Option<&str>) -> Result<(), Problem> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let refused = || Problem::new(ProblemCode::Forbidden, "MCP is not spoken with pages of other sites");
    cookies::may_prove(headers, &Method::POST, base_url).map_err(|_| refused())?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let named = base_url.and_then(|base| base.split_once("://")).map(|(_, rest)| rest.split('/').next() == Some(host));
    if auth::is_near(host) || named == Some(true) { Ok(()) } else { Err(refused()) }
}

/// Other people's MCP servers: how they stand, and what differs from what was pinned.
#[utoipa::path(get, path = "/mcp/servers", tag = "mcp", operation_id = "list_mcp_servers",
    responses((status = 200, description = "The servers.", body = Value)))]
async fn servers(State(app): State<App>) -> Json<Value> {
    match &app.shared.options.mcp.servers {
        Some(servers) => Json(json!({"servers": servers.report().await})),
        None => Json(json!({"servers": []})),
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Accept {
    /// The `found` of the server's report, so that nothing else is accepted than what was read.
    #[serde(default)]
    found: Option<String>,
}

/// Pins what an MCP server offers now. What has changed is offered from the next start on.
#[utoipa::path(post, path = "/mcp/servers/{name}/accept", tag = "mcp", operation_id = "accept_mcp_server",
    params(("name" = String, Path, description = "The server's name in the configuration.")),
    request_body(content = Accept),
    responses((status = 200, description = "How it stands now.", body = Value)))]
async fn accept(
    State(app): State<App>,
    caller: Caller,
    Id(name): Id<String>,
    Body(body): Body<Accept>,
) -> Result<Json<Value>, Problem> {
    let Some(servers) = &app.shared.options.mcp.servers else {
        return Err(Problem::new(ProblemCode::NotFound, "no MCP servers are configured"));
    };
    let outcome = servers.accept(&name, body.found.as_deref()).await;
    let platform = &app.platform;
    let mut event = platform.event(EventType::ConfigurationChanged, caller.tenant(), caller.trace(platform, "cfg"));
    event.principal = Some(caller.principal.clone());
    let shown: String = name.chars().take(60).collect();
    event.note = match &outcome {
        Ok(_) => format!("the tools of the MCP server `{shown}` were accepted as they are now"),
        Err((_, reason)) => format!("REFUSED: accepting the tools of the MCP server `{shown}`: {reason}"),
    };
    platform.record(event).await?;
    outcome.map(Json).map_err(|(code, reason)| Problem::new(code, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn pages_of_other_sites_are_refused_whatever_name_they_give_this_server() {
        let base = Some("https://reeve.example.com");
        let table: [(&[(&str, &str)], bool); 6] = [
            (&[("host", "reeve.example.com")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "reeve.example.com"), ("origin", "https://reeve.example.com")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "https://evil.example")], false),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], false),
            (&[("host", "localhost"), ("origin", "null")], false),
        ];
        for (headers, fine) in table {
            let headers: HeaderMap =
                headers.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect();
            assert_eq!(refuse_other_pages(&headers, base).is_ok(), fine, "{headers:?}");
        }
    }
}
