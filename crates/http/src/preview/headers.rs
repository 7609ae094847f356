//! What passes between a browser and a program in a workspace, and what does not.
//!
//! The platform's credentials stay on this side; what would reach beyond the preview's own host stays on the other.

use std::net::IpAddr;

use axum::http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_SECURITY_POLICY, COOKIE, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_USER: HeaderName = HeaderName::from_static("x-user");
/// What a page on the platform's own origin may do when a program made it: nothing with that origin.
pub(crate) const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads";

/// What an answer is told about the request that led to it.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    /// The host as the browser named it.
    pub(crate) host: &'a str,
    /// `http` or `https`, as the browser sees it.
    pub(crate) scheme: &'a str,
    /// Where the browser is.
    pub(crate) remote: Option<IpAddr>,
    /// `/preview/{id}/{port}` when the preview has no host of its own.
    pub(crate) prefix: Option<&'a str>,
}

/// Which scheme the browser used: a proxy in front says so, otherwise it is this server's own.
pub(crate) fn scheme(headers: &HeaderMap) -> &'static str {
    match headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => "https",
        _ => "http",
    }
}

/// The protocol that a request wants to change to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    listed(headers, &CONNECTION)
        .any(|word| word.eq_ignore_ascii_case("upgrade"))
        .then(|| headers.get(UPGRADE).cloned())?
}

/// Makes the headers of a request fit for a program.
pub(crate) fn to_program(headers: &mut HeaderMap, origin: &Origin<'_>, ours: bool) {
    let upgrade = upgrade(headers);
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if ours || headers.get(AUTHORIZATION).is_some_and(is_ours) {
        headers.remove(AUTHORIZATION);
    }
    for name in [PROXY_AUTHORIZATION, FORWARDED, X_FORWARDED_PREFIX, X_REAL_IP, X_USER] {
        headers.remove(name);
    }
    strip_our_cookies(headers);
    set(headers, HOST, origin.host);
    set(headers, X_FORWARDED_HOST, origin.host);
    set(headers, X_FORWARDED_PROTO, origin.scheme);
    match origin.remote {
        Some(remote) => set(headers, X_FORWARDED_FOR, &remote.to_string()),
        None => drop(headers.remove(X_FORWARDED_FOR)),
    }
    if let Some(prefix) = origin.prefix {
        set(headers, X_FORWARDED_PREFIX, prefix);
    }
}

/// Makes the headers of an answer fit for a browser.
pub(crate) fn to_browser(headers: &mut HeaderMap, prefix: Option<&str>) {
    let upgrade = upgrade(headers);
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    // These reach beyond the preview's host, or would keep the preview out of the page beside the editor.
    for name in [PROXY_AUTHENTICATE, ALT_SVC, STRICT_TRANSPORT_SECURITY, CLEAR_SITE_DATA, X_FRAME_OPTIONS] {
        headers.remove(name);
    }
    tame_cookies(headers, prefix);
    if prefix.is_some() {
        headers.remove(SERVICE_WORKER_ALLOWED);
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = listed(headers, &CONNECTION).filter_map(|word| word.parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Whether an `Authorization` is one of Reeve's own: a key that it made, or a token that it signed. A program's own
/// tokens pass.
pub(crate) fn is_ours(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return true };
    let Some((scheme, token)) = text.split_once(' ') else { return false };
    scheme.eq_ignore_ascii_case("bearer") && (token.trim().starts_with("reeve_") || signed_by_us(token.trim()))
}

/// Whether a token says that Reeve issued it. Whether that is true does not matter here: it is kept back either way.
fn signed_by_us(token: &str) -> bool {
    use base64::Engine as _;
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(bytes) = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims) else { return false };
    let claims: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    claims.is_some_and(|claims| claims.get("iss").and_then(serde_json::Value::as_str) == Some("reeve"))
}

fn is_our_cookie(name: &str) -> bool {
    let name = name.trim().trim_start_matches("__Host-").trim_start_matches("__Secure-");
    name.starts_with("reeve_") || name == "access_token" || name == "refresh_token"
}

fn strip_our_cookies(headers: &mut HeaderMap) {
    if !headers.contains_key(COOKIE) {
        return;
    }
    // HTTP/2 may send one header for each cookie; HTTP/1.1 takes one for all. Bytes that are no text pass as they are.
    let mut kept: Vec<u8> = Vec::new();
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
        {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            if std::str::from_utf8(name).is_ok_and(is_our_cookie) {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    headers.remove(COOKIE);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_bytes(&kept)) {
        headers.insert(COOKIE, value);
    }
}

fn tame_cookies(headers: &mut HeaderMap, prefix: Option<&str>) {
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let tamed: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter_map(|value| tame(value.as_bytes(), prefix)).collect();
    headers.remove(SET_COOKIE);
    for value in tamed {
        headers.append(SET_COOKIE, value);
    }
}

/// A cookie of a program stays on the host of its preview, and below its path where it has no host of its own.
fn tame(cookie: &[u8], prefix: Option<&str>) -> Option<HeaderValue> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next().unwrap_or_default();
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    if std::str::from_utf8(name).is_ok_and(is_our_cookie) {
        return None;
    }
    let mut kept = pair.to_vec();
    for attribute in parts {
        let word = attribute.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        let reaches = word.eq_ignore_ascii_case(b"domain") || (prefix.is_some() && word.eq_ignore_ascii_case(b"path"));
        if !reaches {
            kept.push(b';');
            kept.extend_from_slice(attribute);
        }
    }
    if let Some(prefix) = prefix {
        kept.extend_from_slice(b"; Path=");
        kept.extend_from_slice(prefix.as_bytes());
        kept.push(b'/');
    }
    HeaderValue::from_bytes(&kept).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn text(headers: &HeaderMap, name: &str) -> String {
        headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    fn origin() -> Origin<'static> {
        Origin {
            host: "3000--x.preview.localhost:8080",
            scheme: "http",
            remote: "192.0.2.7".parse().ok(),
            prefix: None,
        }
    }

    #[test]
    fn the_platforms_credentials_do_not_reach_a_program() {
        let claims = "eyJpc3MiOiJyZWV2ZSIsInN1YiI6InVzcl8xIn0"; // {"iss":"reeve","sub":"usr_1"}
        for ours in ["Bearer reeve_0123_secret", &format!("bearer e30.{claims}.c2ln")] {
            let mut sent = headers(&[("authorization", ours)]);
            to_program(&mut sent, &origin(), false);
            assert_eq!(text(&sent, "authorization"), "", "{ours}");
        }
        for theirs in ["Bearer e30.eyJpc3MiOiJ0aGVtIn0.c2ln", "Basic dTpw", "Bearer opaque"] {
            let mut sent = headers(&[("authorization", theirs)]);
            to_program(&mut sent, &origin(), false);
            assert_eq!(text(&sent, "authorization"), theirs);
        }
        let mut sent =
            headers(&[("cookie", "a=1; reeve_preview=x.y; reeve_refresh=z; access_token=t; b=2; __Host-reeve_x=1")]);
        to_program(&mut sent, &origin(), false);
        assert_eq!(text(&sent, "cookie"), "a=1; b=2");
        let mut only = headers(&[("cookie", "reeve_preview=x.y")]);
        to_program(&mut only, &origin(), false);
        assert!(!only.contains_key("cookie"));
    }

    #[test]
    fn cookies_of_several_headers_become_one() {
        let mut sent = HeaderMap::new();
        for line in ["a=1", "reeve_preview=1", "b=2"] {
            sent.append(COOKIE, HeaderValue::from_static(line));
        }
        to_program(&mut sent, &origin(), false);
        assert_eq!(sent.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn what_belongs_to_one_connection_stays_on_it() {
        let mut sent = headers(&[
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        to_program(&mut sent, &origin(), false);
        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
    }

    #[test]
    fn a_websocket_keeps_what_it_needs() {
        let mut sent = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        to_program(&mut sent, &origin(), false);
        assert_eq!((text(&sent, "connection").as_str(), text(&sent, "upgrade").as_str()), ("upgrade", "websocket"));
    }

    #[test]
    fn where_a_request_came_from_is_told_and_cannot_be_claimed() {
        let mut sent = headers(&[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("host", "x")]);
        to_program(&mut sent, &origin(), false);
        assert_eq!(text(&sent, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(text(&sent, "x-forwarded-host"), "3000--x.preview.localhost:8080");
        assert_eq!(text(&sent, "host"), "3000--x.preview.localhost:8080");
        assert!(!sent.contains_key("forwarded"));
    }

    #[test]
    fn a_programs_cookies_stay_on_its_host() {
        let cases = [
            ("a=1; Domain=localhost; Path=/; HttpOnly", None, Some("a=1; Path=/; HttpOnly")),
            ("a=1; domain=.preview.localhost", None, Some("a=1")),
            ("reeve_refresh=evil; Path=/api", None, None),
            ("access_token=evil", None, None),
            ("a=1; Path=/; Secure", Some("/preview/wsp_1/80"), Some("a=1; Secure; Path=/preview/wsp_1/80/")),
        ];
        for (cookie, prefix, expected) in cases {
            let mut answer = headers(&[("set-cookie", cookie)]);
            to_browser(&mut answer, prefix);
            assert_eq!(answer.get(SET_COOKIE).map(|v| v.to_str().unwrap()), expected, "{cookie}");
        }
    }

    #[test]
    fn an_answer_reaches_no_further_than_its_host() {
        let mut answer = headers(&[
            ("clear-site-data", "\"cookies\""),
            ("strict-transport-security", "max-age=1"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'self'"),
        ]);
        to_browser(&mut answer, None);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-security-policy"]);
        to_browser(&mut answer, Some("/preview/wsp_1/80"));
        let policies: Vec<_> = answer.get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src 'self'", SANDBOX]);
    }
}
