//! Cookies: what they carry here, and when one that a browser brought along may be believed.
//!
//! A browser sends cookies with whatever a page makes it send. So a request that changes something and proves itself by
//! a cookie must say, in `Origin`, that a page of this server made it.

use std::time::Duration;

use axum::http::header::{COOKIE, HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use reeve_types::ProblemCode;

use crate::problem::Problem;

/// The refresh token of a browser. Only the API below `/api` ever sees it.
pub(crate) const REFRESH: &str = "reeve_refresh";
/// The access token, for clients of the guide.
pub(crate) const ACCESS: &str = "access_token";

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The value of a cookie; the first one of the name, as browsers put the most specific one first.
pub(crate) fn get<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
}

/// The refresh token for a browser: it lasts, and no page can read it.
pub(crate) fn refresh(value: &str, lifetime: Duration, headers: &HeaderMap) -> Option<HeaderValue> {
    let age = lifetime.as_secs();
    written(format!("{REFRESH}={value}; Path=/api; HttpOnly; SameSite=Strict; Max-Age={age}{}", secure(headers)))
}

/// The access token for a client of the guide: it goes when the browser closes.
pub(crate) fn access(value: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    written(format!("{ACCESS}={value}; Path=/; HttpOnly; SameSite=Lax{}", secure(headers)))
}

/// What makes a browser forget both.
pub(crate) fn forget(headers: &HeaderMap) -> [Option<HeaderValue>; 2] {
    let secure = secure(headers);
    [
        written(format!("{REFRESH}=; Path=/api; HttpOnly; SameSite=Strict; Max-Age=0{secure}")),
        written(format!("{ACCESS}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{secure}")),
    ]
}

fn written(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn secure(headers: &HeaderMap) -> &'static str {
    if is_https(headers) { "; Secure" } else { "" }
}

/// Whether the browser speaks TLS, as far as can be told: this server does not, a proxy before it may.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let forwarded = text(&X_FORWARDED_PROTO).split(',').next().unwrap_or_default().trim();
    forwarded.eq_ignore_ascii_case("https") || text(&ORIGIN).starts_with("https://")
}

/// Whether a cookie that came with this request may prove who sent it.
pub(crate) fn may_prove(headers: &HeaderMap, method: &Method, base_url: Option<&str>) -> Result<(), Problem> {
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("null"));
    // A socket can do whatever a page can, and opening one is a GET.
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || headers.contains_key(UPGRADE);
    let fine = match origin {
        Some(origin) => is_ours(origin, headers, base_url),
        None => !changes,
    };
    if fine {
        return Ok(());
    }
    let detail = "a cookie proves who you are only to pages of this server, and the header Origin does not name it; \
                  send `Authorization: Bearer TOKEN` instead";
    Err(Problem::new(ProblemCode::Forbidden, detail))
}

fn is_ours(origin: &str, headers: &HeaderMap, base_url: Option<&str>) -> bool {
    let Some((scheme, place)) = origin.split_once("://") else { return false };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_web = matches!(scheme, "http" | "https");
    let same_host = !host.is_empty() && place.eq_ignore_ascii_case(host);
    let named = base_url.is_some_and(|base| {
        base.strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .is_some_and(|rest| rest.split('/').next().is_some_and(|ours| ours.eq_ignore_ascii_case(place)))
    });
    is_web && (same_host || named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let several = headers(&[("cookie", "a=1; access_token=x.y=; b"), ("cookie", "reeve_refresh=r")]);
        assert_eq!(get(&several, ACCESS), Some("x.y="));
        assert_eq!(get(&several, REFRESH), Some("r"));
        assert_eq!(get(&several, "access"), None);
        assert_eq!(get(&headers(&[("cookie", "access_token=")]), ACCESS), None);
    }

    #[test]
    fn a_cookie_proves_something_to_our_own_pages_alone() {
        let (get, post) = (Method::GET, Method::POST);
        let host = ("host", "reeve.example:8080");
        for (pairs, method, fine) in [
            (vec![host], &get, true),
            (vec![host], &post, false),
            (vec![host, ("upgrade", "websocket")], &get, false),
            (vec![host, ("origin", "http://reeve.example:8080")], &post, true),
            (vec![host, ("origin", "https://Reeve.example:8080")], &post, true),
            (vec![host, ("origin", "http://reeve.example:8080"), ("upgrade", "websocket")], &get, true),
            (vec![host, ("origin", "http://reeve.example")], &post, false),
            (vec![host, ("origin", "http://evil.example")], &get, false),
            (vec![host, ("origin", "http://5173--x.preview.reeve.example:8080")], &post, false),
            (vec![host, ("origin", "null")], &post, false),
            (vec![host, ("origin", "https://desk.example")], &post, true),
            (vec![host, ("origin", "http://desk.example")], &post, false),
            (vec![("origin", "http://")], &post, false),
        ] {
            let found = may_prove(&headers(&pairs), method, Some("https://desk.example/reeve")).is_ok();
            assert_eq!(found, fine, "{method} {pairs:?}");
        }
    }

    #[test]
    fn cookies_are_secure_where_the_browser_speaks_tls() {
        let plain = refresh("r", Duration::from_secs(60), &HeaderMap::new()).unwrap();
        assert_eq!(plain, "reeve_refresh=r; Path=/api; HttpOnly; SameSite=Strict; Max-Age=60");
        assert!(plain.is_sensitive());
        let tls = access("a", &headers(&[("x-forwarded-proto", "https, http")])).unwrap();
        assert_eq!(tls, "access_token=a; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert!(is_https(&headers(&[("origin", "https://x")])));
        assert!(!is_https(&headers(&[("origin", "http://x"), ("x-forwarded-proto", "http")])));
    }
}
