//! Whether the server is there, whether it is ready, and its numbers.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_types::ProblemCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::metrics::OPENMETRICS;
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: the server answers.
    status: &'static str,
    version: String,
    /// The name of the machine.
    hostname: String,
    /// Seconds since this process began to serve.
    uptime: u64,
}

/// Whether the server answers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, description = "It answers.", body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Json<Health> {
    let (version, uptime) = (app.shared.options.version.clone(), app.shared.since.elapsed().as_secs());
    Json(Health { status: "ok", version, hostname: hostname(), uptime })
}

fn hostname() -> String {
    let read =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    read.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Part {
    /// What it is.
    name: &'static str,
    /// Whether it can do its work.
    ready: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether every part is ready.
    ready: bool,
    parts: Vec<Part>,
}

/// Whether every part can do its work, and which cannot.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "Everything is ready.", body = Readiness),
              (status = 503, description = "A part is not ready; it says which.", body = Readiness)))]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let log = match app.platform.store().health() {
        // The reason names files of this machine, which is nobody's business here; the server's log has it.
        Err(_) => Err("the audit log could not commit when it was last tried".to_owned()),
        Ok(()) => Ok(()),
    };
    let readable =
        app.platform.store().log_head().await.map(|_| ()).map_err(|_| "the database cannot be read".to_owned());
    let parts: Vec<Part> = [("audit_log", log), ("database", readable)]
        .into_iter()
        .map(|(name, outcome)| Part { name, ready: outcome.is_ok(), reason: outcome.err() })
        .collect();
    let ready = parts.iter().all(|part| part.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, parts })).into_response()
}

/// Numbers for Prometheus; no label holds a name of a person, a target or a tool.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if !app.shared.options.public_metrics && !knows_who(&app, &headers).await {
        return Err(Problem::new(
            ProblemCode::Unauthenticated,
            "the numbers need a key here: send `Authorization: Bearer KEY`",
        ));
    }
    let text = app.shared.metrics.encode(&app.platform).await?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

async fn knows_who(app: &App, headers: &HeaderMap) -> bool {
    let bearer =
        headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    bearer.is_some() && app.platform.identity().identify(bearer, None).await.is_ok()
}
