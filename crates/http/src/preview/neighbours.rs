//! Which pages may send requests to a preview.
//!
//! Previews of different workspaces are one site to a browser, so cookies alone do not keep a neighbour's page from
//! sending requests in its visitor's name. A page of the same workspace, on another port, is welcome.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, REFERER, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::place::Place;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a request was sent by a page that has no business with this preview.
pub(crate) fn is_foreign(method: &Method, headers: &HeaderMap, host: &str, place: &Place, domains: &[String]) -> bool {
    let site = text(headers, &SEC_FETCH_SITE);
    if matches!(site, Some("same-origin" | "none")) {
        return false;
    }
    let welcome = |page: &str| {
        let same = page.split_once("://").is_some_and(|(_, rest)| rest.split('/').next() == Some(host));
        same || Place::of_origin(page, domains).is_some_and(|from| from.workspace == place.workspace)
    };
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match text(headers, &ORIGIN) {
        Some("null") => changes || site.is_some_and(|_| text(headers, &SEC_FETCH_MODE) != Some("navigate")),
        Some(origin) => !welcome(origin),
        // A link may lead here from anywhere. An image, a script or a style of a neighbour's page may not come from here.
        None if site.is_none() || text(headers, &SEC_FETCH_MODE) == Some("navigate") => changes && site.is_some(),
        None => !text(headers, &REFERER).is_some_and(welcome),
    }
}

/// The answer to a browser that asks whether a page of the same workspace may send a request: such questions bring no
/// cookie, so they never get as far as the program.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap, place: &Place, domains: &[String]) -> Option<Response> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
    let origin = text(headers, &ORIGIN)?;
    Place::of_origin(origin, domains).filter(|from| from.workspace == place.workspace)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_str(origin).ok()?);
    answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("60"));
    answer.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "01h455vb4pex5vsknk084sn02q";
    const THEIRS: &str = "01h455vb4pex5vsknk084sn02r";

    fn headers(lines: &[(&'static str, String)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn foreign(method: Method, lines: &[(&'static str, &str)]) -> bool {
        let lines: Vec<_> =
            lines.iter().map(|(k, v)| (*k, v.replace("OURS", OURS).replace("THEIRS", THEIRS))).collect();
        let place = Place { workspace: format!("wsp_{OURS}").parse().unwrap(), port: 3000 };
        let host = format!("3000--{OURS}.preview.localhost:8080");
        is_foreign(&method, &headers(&lines), &host, &place, &["localhost".to_owned()])
    }

    #[test]
    fn pages_of_the_same_workspace_and_programs_are_welcome() {
        assert!(!foreign(Method::POST, &[]), "no browser");
        assert!(!foreign(Method::POST, &[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(!foreign(Method::GET, &[("sec-fetch-site", "none")]));
        let sister = "http://5173--OURS.preview.localhost:8080";
        assert!(!foreign(Method::POST, &[("sec-fetch-site", "same-site"), ("origin", sister)]));
        assert!(!foreign(Method::GET, &[("origin", "http://3000--OURS.preview.localhost:8080")]));
        assert!(!foreign(
            Method::GET,
            &[
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "no-cors"),
                ("referer", "http://5173--OURS.preview.localhost:8080/page"),
            ]
        ));
        assert!(!foreign(Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), "a link");
    }

    #[test]
    fn pages_of_neighbours_are_not() {
        let neighbour = "http://3000--THEIRS.preview.localhost:8080";
        assert!(foreign(Method::POST, &[("sec-fetch-site", "same-site"), ("origin", neighbour)]));
        assert!(foreign(Method::GET, &[("origin", neighbour)]), "a WebSocket");
        assert!(foreign(Method::POST, &[("sec-fetch-site", "same-site"), ("origin", "null")]));
        assert!(foreign(Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]), "a script");
        assert!(foreign(
            Method::GET,
            &[
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "no-cors"),
                ("referer", "http://3000--THEIRS.preview.localhost:8080/page"),
            ]
        ));
        assert!(foreign(Method::GET, &[("origin", "https://evil.example")]));
    }

    #[test]
    fn only_a_page_of_the_same_workspace_is_told_that_it_may_ask() {
        let place = Place { workspace: format!("wsp_{OURS}").parse().unwrap(), port: 3000 };
        let ask = |id: &str| {
            let lines = headers(&[
                ("origin", format!("http://1--{id}.preview.localhost")),
                ("access-control-request-method", "PUT".to_owned()),
            ]);
            preflight(&Method::OPTIONS, &lines, &place, &["localhost".to_owned()])
        };
        assert_eq!(ask(OURS).unwrap().headers()[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert!(ask(THEIRS).is_none());
    }
}
