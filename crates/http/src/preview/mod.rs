//! What a program in a workspace serves, in a browser: a reverse proxy on an origin of its own.
//!
//! Requests are told apart by their host before any route is looked at, so a program never answers under the
//! platform's origin and the platform never under a program's. A preview is private: a browser gets in with a pass
//! ([`pass`]), a program with its own key. Nothing is buffered, in either direction.

mod carry;
mod headers;
mod neighbours;
mod pages;
mod pass;
mod place;
mod pool;
mod tunnel;
mod visit;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use visit::Visit;

pub(crate) use headers::scheme;
pub(crate) use pass::Signer;
pub(crate) use place::{Place, name_of, port_of};
pub(crate) use pool::Pool;
pub(crate) use visit::{Admitted, SECRET};

/// Sends a request to the preview that it is for, and everything else on to the platform's routes.
pub(crate) async fn dispatch(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match place::named(&parts, &app.shared.options.preview_domains) {
        None => next.run(Request::from_parts(parts, body)).await,
        Some(named) => {
            let (started, method) = (std::time::Instant::now(), parts.method.clone());
            let response = Visit::answer(app.clone(), named, Request::from_parts(parts, body)).await;
            app.shared.metrics.observe(&method, "preview", response.status().as_u16(), started.elapsed());
            response
        }
    }
}

/// The host that a request names.
pub(crate) fn host_in(request: &Request) -> Option<&str> {
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    target.or_else(|| request.headers().get(axum::http::header::HOST).and_then(|value| value.to_str().ok()))
}
