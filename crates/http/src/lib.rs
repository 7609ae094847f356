//! The way in over HTTP: routes, authentication, problems, streams, and their description.
//!
//! A request goes through one place after another: `dress` gives it an id and dresses every answer, `auth` finds out
//! who asks and whether their role may ask for this, a handler in `routes` reads the wire type and calls one function of
//! the platform. Every route is registered through `declare::Routes`, which cannot be called without naming the
//! permission that the route needs; what is registered there is what the OpenAPI document says and what the coverage
//! test walks.

mod aegis_events;
mod aliases;
mod app;
mod auth;
mod cookies;
mod declare;
mod dress;
mod extract;
mod idempotency;
mod lasting;
mod mcp;
mod metrics;
mod openapi;
mod page;
mod preview;
mod problem;
mod rate;
mod refusals;
mod routes;
mod server;
mod socket;
mod stream;
mod tickets;
mod watching;

pub use app::HttpOptions;
pub use declare::RouteEntry;
pub use lasting::SocketLimits;
pub use mcp::{McpDoors, McpService, OtherServers};
pub use openapi::document as openapi_document;
pub use rate::{RateClass, RateLimits};
pub use server::{ServeLimits, serve, serve_within};
pub use watching::StreamLimits;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use reeve_platform::Platform;
use reeve_types::limits::REQUEST_BODY_BYTES_MAX;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;

/// The whole API over a platform. It needs no socket: `tower::ServiceExt::oneshot` serves a request in the same process.
pub fn router(platform: Platform, options: HttpOptions) -> Router {
    let app = App::new(platform, options);
    declare::all()
        .into_router()
        .fallback(page::fallback)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(DefaultBodyLimit::max(REQUEST_BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(app.clone(), dress::dress))
        // Outermost: what is for a preview reaches no route of the platform, and no header of its is put on it.
        .layer(axum::middleware::from_fn_with_state(app.clone(), preview::dispatch))
        .with_state(app)
}

/// Every route with the permission that it needs, aliases included; what the coverage test walks.
pub fn route_table() -> Vec<RouteEntry> {
    declare::all().table
}
