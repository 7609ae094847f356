//! The outermost step: every request gets an id, every answer its headers, every problem its body, every one is counted.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use reeve_types::RequestId;

use crate::app::App;
use crate::problem::Problem;

/// The id of a request, in logs and problems.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The journey that a request belongs to.
pub(crate) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The id that this request was given.
#[derive(Debug, Clone)]
pub(crate) struct ThisRequest(pub(crate) RequestId);

pub(crate) async fn dress(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let clock = app.platform.clock();
    let id = RequestId::new(clock.now(), clock.random());
    let (started, method) = (Instant::now(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let trace = request.headers().get(X_TRACE_ID).filter(|value| is_trace(value)).cloned();
    request.extensions_mut().insert(app.clone());
    request.extensions_mut().insert(ThisRequest(id.clone()));

    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // A header that was set on the way, such as Allow, stays.
        let kept = std::mem::take(response.headers_mut());
        response = problem.render(id.as_str());
        for (name, value) in kept.iter() {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    let route = route.as_deref().unwrap_or("unmatched");
    app.shared.metrics.observe(&method, route, response.status().as_u16(), started.elapsed());
    if response.status().is_server_error() {
        tracing::warn!(request.id = %id, http.route = route, http.status = response.status().as_u16(), "{method} {route} failed, request {id}");
    }
    set_headers(&mut response, &id, trace);
    response
}

fn is_trace(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| text.parse::<reeve_types::TraceId>().is_ok())
}

fn set_headers(response: &mut Response, id: &RequestId, trace: Option<HeaderValue>) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(trace) = trace {
        headers.entry(X_TRACE_ID).or_insert(trace);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Nothing that is served here is a page, except where a handler says so.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    if headers.contains_key(CONTENT_TYPE) {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
}
