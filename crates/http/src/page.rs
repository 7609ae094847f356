//! The web page: its files come out of the program itself, and every path that is no API's is a room of the page.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_types::Digest;
use reeve_web::Asset;

use crate::app::App;
use crate::preview;
use crate::problem;

/// Paths that belong to programs; what is not there is a problem, not a room of the page.
const PROGRAMS: [&str; 7] = ["/api", "/v1", "/ws", "/problems", "/metrics", "/health", "/preview"];

/// Whatever no route has: a file of the page, a room of the page, or nothing.
pub(crate) async fn fallback(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path();
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    if !readable || is_programs(path) {
        return problem::no_such_path(request.uri().clone()).await.into_response();
    }
    let encodings = text(request.headers(), ACCEPT_ENCODING.as_str());
    let file = path.trim_start_matches('/');
    if !file.is_empty()
        && file != "index.html"
        && let Some(asset) = reeve_web::asset(file, encodings)
    {
        return answer(&app, &request, asset);
    }
    let wants_page =
        path == "/" || path == "/index.html" || text(request.headers(), ACCEPT.as_str()).contains("text/html");
    if wants_page {
        return answer(&app, &request, reeve_web::index(encodings));
    }
    problem::no_such_path(request.uri().clone()).await.into_response()
}

fn is_programs(path: &str) -> bool {
    PROGRAMS.iter().any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn answer(app: &App, request: &Request, asset: Asset) -> Response {
    let is_page = asset.content_type.starts_with("text/html");
    let digest = Digest::of(asset.bytes).to_string();
    let etag = format!("\"{}\"", digest.get(..20).unwrap_or_default());
    let asked = text(request.headers(), IF_NONE_MATCH.as_str());
    let known = !is_page && asked.split(',').any(|tag| tag.trim() == etag);
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, HeaderValue::from_static(asset.content_type))], asset.bytes).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept(&asset, is_page)));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = asset.encoding.filter(|_| !known) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if let (false, Ok(etag)) = (is_page, HeaderValue::from_str(&etag)) {
        headers.insert(ETAG, etag);
    }
    if is_page {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        let host = preview::host_in(request);
        if let Ok(policy) = HeaderValue::from_str(&policy(&app.shared.options.preview_domains, host)) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
    }
    response
}

/// How long a browser may keep a file: the page itself never, as it names the files of this build.
fn kept(asset: &Asset, is_page: bool) -> &'static str {
    match (is_page, asset.immutable) {
        (true, _) => "no-store",
        (false, true) => "public, max-age=31536000, immutable",
        (false, false) => "no-cache",
    }
}

/// What the page may do: its own files, its own server, and previews in a frame. Nothing from elsewhere.
fn policy(domains: &[String], host: Option<&str>) -> String {
    let plain =
        |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    // Some browsers do not count WebSockets of the same server as `'self'`.
    let sockets = host.filter(plain).map_or_else(String::new, |host| format!(" ws://{host} wss://{host}"));
    let frames: String = domains
        .iter()
        .filter(|domain| plain(&domain.as_str()))
        .map(|domain| format!(" http://*.preview.{domain}:* https://*.preview.{domain}:*"))
        .collect();
    format!(
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         media-src 'self' blob:; font-src 'self' data:; connect-src 'self'{sockets}; worker-src 'self'; \
         frame-src 'self'{frames}; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lets_in_nothing_from_elsewhere() {
        let policy = policy(&["localhost".to_owned()], Some("localhost:8080"));
        assert!(policy.contains("connect-src 'self' ws://localhost:8080 wss://localhost:8080;"));
        assert!(policy.contains("frame-src 'self' http://*.preview.localhost:* https://*.preview.localhost:*;"));
        let script = policy.split("; ").find(|part| part.starts_with("script-src")).unwrap();
        assert_eq!(script, "script-src 'self'");
    }

    #[test]
    fn a_host_cannot_add_to_the_policy() {
        for host in ["x; script-src *", "x y", "x'"] {
            assert!(!policy(&[], Some(host)).contains(host), "{host}");
        }
    }

    #[test]
    fn what_is_a_programs_is_no_room_of_the_page() {
        for path in ["/api/v1/nothing", "/api", "/v1/x", "/ws/vibecoding/x", "/problems/x", "/preview/x"] {
            assert!(is_programs(path), "{path}");
        }
        for path in ["/", "/workspaces/wsp_1", "/apiary", "/sign-in"] {
            assert!(!is_programs(path), "{path}");
        }
    }
}
