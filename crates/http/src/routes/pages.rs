//! What people read: the API's description, the same as a page, and a page for each problem.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reeve_types::{Digest, ProblemCode};
use serde_json::Value;

use crate::app::App;
use crate::extract::Id;
use crate::openapi;
use crate::problem::Problem;

/// This description, OpenAPI 3.1.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "description", responses((status = 200, description = "The document.", body = Value)))]
pub(crate) async fn description(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.shared.description.clone()).into_response()
}

/// This description as a page.
#[utoipa::path(get, path = "/api/docs", tag = "description",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")))]
pub(crate) async fn docs(State(app): State<App>) -> Result<Response, Problem> {
    let document: Value = serde_json::from_str(&app.shared.description).map_err(Problem::internal)?;
    let page = openapi::page(&document);
    let style = STANDARD.encode(Digest::of(openapi::STYLE.as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(Problem::internal)?;
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// What a problem means and what to do about it.
#[utoipa::path(get, path = "/problems/{code}", tag = "description",
    params(("code" = String, Path, description = "The problem's `code`.")),
    responses((status = 200, description = "The page, Markdown.", body = String, content_type = "text/markdown")))]
pub(crate) async fn problem(Id(code): Id<String>) -> Result<Response, Problem> {
    let found = ProblemCode::ALL.iter().find(|known| known.as_str() == code);
    let shown: String = code.chars().take(60).collect();
    let found = found.ok_or_else(|| Problem::new(ProblemCode::NotFound, format!("there is no problem `{shown}`")))?;
    let headers = [(CONTENT_TYPE, "text/markdown; charset=utf-8"), (CACHE_CONTROL, "public, max-age=3600")];
    Ok((headers, text_of(*found)).into_response())
}

/// The page of a problem. A problem without one does not compile.
fn text_of(code: ProblemCode) -> &'static str {
    macro_rules! page {
        ($name:literal) => {
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/problems/", $name, ".md"))
        };
    }
    match code {
        ProblemCode::BadRequest => page!("bad_request"),
        ProblemCode::Unauthenticated => page!("unauthenticated"),
        ProblemCode::Forbidden => page!("forbidden"),
        ProblemCode::PolicyDenied => page!("policy_denied"),
        ProblemCode::OwnRequest => page!("own_request"),
        ProblemCode::NotFound => page!("not_found"),
        ProblemCode::MethodNotAllowed => page!("method_not_allowed"),
        ProblemCode::Conflict => page!("conflict"),
        ProblemCode::Stale => page!("stale"),
        ProblemCode::IdempotencyMismatch => page!("idempotency_mismatch"),
        ProblemCode::TooLarge => page!("too_large"),
        ProblemCode::UnsupportedMediaType => page!("unsupported_media_type"),
        ProblemCode::ToolFailed => page!("tool_failed"),
        ProblemCode::InvalidArguments => page!("invalid_arguments"),
        ProblemCode::UnknownTarget => page!("unknown_target"),
        ProblemCode::Unprocessable => page!("unprocessable"),
        ProblemCode::CommandBlocked => page!("command_blocked"),
        ProblemCode::NoModel => page!("no_model"),
        ProblemCode::ModelFailed => page!("model_failed"),
        ProblemCode::PathEscape => page!("path_escape"),
        ProblemCode::TenantWorkdirDenied => page!("tenant_workdir_denied"),
        ProblemCode::BadName => page!("bad_name"),
        ProblemCode::AlreadyExists => page!("already_exists"),
        ProblemCode::InvalidMove => page!("invalid_move"),
        ProblemCode::WrongFileType => page!("wrong_file_type"),
        ProblemCode::NotRunning => page!("not_running"),
        ProblemCode::QuotaReached => page!("quota_reached"),
        ProblemCode::EditConflict => page!("edit_conflict"),
        ProblemCode::RangeNotSatisfiable => page!("range_not_satisfiable"),
        ProblemCode::MissingToolchain => page!("missing_toolchain"),
        ProblemCode::HostileArchive => page!("hostile_archive"),
        ProblemCode::DiskFull => page!("disk_full"),
        ProblemCode::RateLimited => page!("rate_limited"),
        ProblemCode::Internal => page!("internal"),
        ProblemCode::RecordUnavailable => page!("record_unavailable"),
        ProblemCode::Unavailable => page!("unavailable"),
        ProblemCode::Timeout => page!("timeout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_the_page_of_its_problem() {
        for code in ProblemCode::ALL {
            let text = text_of(*code);
            assert!(text.starts_with(&format!("# {}\n", code.title())), "{code}: {text}");
            assert!(text.contains(&format!("`{code}`")) && text.contains(&code.status().to_string()), "{code}");
        }
    }
}
