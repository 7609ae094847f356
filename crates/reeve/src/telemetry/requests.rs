//! A span for each request, joined to the caller's trace (W3C Trace Context).

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Which span a request or an answer belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Before the domain in the name of a preview's host.
const PREVIEW_LABEL: &str = ".preview.";

/// The same routes, each request a span. What is for a preview is some program's own affair and passes by.
pub(crate) fn traced(router: Router) -> Router {
    router.layer(axum::middleware::from_fn(trace))
}

async fn trace(request: Request, next: Next) -> Response {
    if is_for_a_preview(&request) {
        return next.run(request).await;
    }
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // Never the path itself: it may hold a link's secret.
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let span = tracing::debug_span!(
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = name,
        otel.status_code = tracing::field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
    );
    let caller = TraceContextPropagator::new().extract(&Headers(request.headers()));
    if caller.span().span_context().is_valid() {
        let _ = span.set_parent(caller);
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "error");
    }
    let context = span.context();
    let own = context.span();
    let ids = own.span_context();
    let flags = u8::from(ids.is_sampled());
    let parent = format!("00-{}-{}-{flags:02x}", ids.trace_id(), ids.span_id());
    if ids.is_valid()
        && let Ok(parent) = HeaderValue::from_str(&parent)
    {
        response.headers_mut().insert(TRACEPARENT, parent);
    }
    // A turn that this request began lives longer than it; without this, the request would seem to last as long.
    own.end();
    response
}

fn is_for_a_preview(request: &Request) -> bool {
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let host = target.or_else(|| request.headers().get(HOST).and_then(|value| value.to_str().ok()));
    host.is_some_and(|host| host.to_ascii_lowercase().contains(PREVIEW_LABEL))
        || request.uri().path().starts_with("/preview/")
}

/// A client may send any word as a method; only those of the API become names.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "HTTP",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
