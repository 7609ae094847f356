//! What is said when something is not done: `application/problem+json` (RFC 9457).
//!
//! One exhaustive mapping for each error of the layers below. The guides' clients read `error` and `message`; both hold
//! the same sentence as `detail`.

use std::any::Any;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use reeve_gate::{Completed, Refusal, ToolFailure};
use reeve_platform::accounts::AccountError;
use reeve_platform::{IdentityError, PlatformError};
use reeve_store::{AuditError, StoreError};
use reeve_types::ProblemCode;
use serde_json::{Map, Value, json};

/// The media type of every problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: ProblemCode,
    pub(crate) detail: String,
    // Boxed, so that a result that may be a problem stays small.
    more: Box<More>,
}

#[derive(Debug, Clone, Default)]
struct More {
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem in one sentence: what failed, on what, and what to do.
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), more: Box::default() }
    }

    /// A fault inside. What happened goes to the log only.
    pub(crate) fn internal(happened: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed inside: {happened}");
        Self::new(
            ProblemCode::Internal,
            "something went wrong inside the server; its log says more under this request id",
        )
    }

    /// The same problem with one more member.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.members.insert(key.to_owned(), value.into());
        self
    }

    /// The same problem with a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.headers.insert(name, value);
        self
    }

    /// The same problem, worth trying again after so many seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body.
    pub(crate) fn to_json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": format!("/problems/{}", self.code),
            "title": self.code.title(),
            "status": self.code.status(),
            "detail": self.detail,
            "instance": request_id,
            "code": self.code.as_str(),
            "message": self.detail,
            "error": self.detail,
            "request_id": request_id,
        });
        if let Value::Object(members) = &mut body {
            for (key, value) in &self.more.members {
                members.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        body
    }

    /// The whole answer for a request.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let mut response = (self.status(), self.to_json(request_id).to_string()).into_response();
        response.headers_mut().extend(self.more.headers.clone());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`crate::dress`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// No route has this path.
pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(ProblemCode::NotFound, format!("there is nothing at `{path}`; /api/docs lists what there is"))
}

/// The path exists, but not for this method.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        ProblemCode::MethodNotAllowed,
        format!("`{path}` does not take {method}; the header Allow says what it takes"),
    )
}

/// A handler broke off.
pub(crate) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Problem::internal(format!("a handler panicked: {}", words.unwrap_or_default())).into_response()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let said = refusal.to_string();
        match refusal {
            Refusal::UnknownTool { similar, .. } => {
                Self::new(ProblemCode::NotFound, said).with("similar", similar.map_or(Value::Null, Value::from))
            }
            Refusal::InvalidArguments { tool, reasons } => {
                Self::new(ProblemCode::InvalidArguments, said).with("tool", tool).with("reasons", reasons)
            }
            Refusal::UnknownTarget(unknown) => Self::new(ProblemCode::UnknownTarget, said).with("known", unknown.known),
            Refusal::Denied { decision, explanation, event_id, trace_id } => {
                let message = if decision.message.is_empty() { "policy denied it" } else { &decision.message };
                let detail = format!("denied by policy `{}`: {message}", decision.policy_name);
                Self::new(ProblemCode::PolicyDenied, detail)
                    .with("explanation", explanation)
                    .with("decision", serde_json::to_value(decision).unwrap_or(Value::Null))
                    .with("event_id", event_id.as_str())
                    .with("trace_id", trace_id.as_str())
            }
            Refusal::SecretInArguments { tool } => Self::new(ProblemCode::InvalidArguments, said).with("tool", tool),
            Refusal::RecordUnavailable(_) => Self::new(ProblemCode::RecordUnavailable, said).retry_after(5),
            Refusal::Conflict(_) => Self::new(ProblemCode::Conflict, said),
            Refusal::Stale(_) => Self::new(ProblemCode::Stale, said),
            Refusal::ShuttingDown => Self::new(ProblemCode::Unavailable, said).retry_after(5),
        }
    }
}

impl From<PlatformError> for Problem {
    fn from(error: PlatformError) -> Self {
        let said = error.to_string();
        match error {
            PlatformError::Refused(refusal) => refusal.into(),
            PlatformError::NoSuchApproval(_)
            | PlatformError::NoSuchAction(_)
            | PlatformError::NoSuchRecord(_)
            | PlatformError::DeadLink => Self::new(ProblemCode::NotFound, said),
            PlatformError::OwnRequest { .. } => Self::new(ProblemCode::OwnRequest, said),
            PlatformError::NotAnApprover { roles, .. } => Self::new(ProblemCode::Forbidden, said).with("roles", roles),
            PlatformError::Conflict(_) => Self::new(ProblemCode::Conflict, said),
            PlatformError::Invalid(_) => Self::new(ProblemCode::BadRequest, said),
            PlatformError::RecordUnavailable(_) => Self::new(ProblemCode::RecordUnavailable, said).retry_after(5),
            PlatformError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => Self::new(ProblemCode::RecordUnavailable, reason).retry_after(5),
            StoreError::Closed => Self::new(ProblemCode::Unavailable, "the server is shutting down").retry_after(5),
            StoreError::Locked(_)
            | StoreError::File { .. }
            | StoreError::Database(_)
            | StoreError::Corrupt { .. }
            | StoreError::Key { .. }
            | StoreError::Newer { .. } => Self::internal(error.chain()),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        let said = error.to_string();
        match error {
            AuditError::NoSuchRecord(_) => Self::new(ProblemCode::NotFound, said),
            AuditError::NoCheckpoint => Self::new(ProblemCode::Conflict, said).retry_after(1),
            AuditError::NotOurs(_) => Self::new(ProblemCode::BadRequest, said),
            AuditError::Store(error) => error.into(),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        let said = error.to_string();
        match error {
            IdentityError::Missing | IdentityError::BadKey => Self::new(ProblemCode::Unauthenticated, said)
                .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            IdentityError::BadToken => of_token(said, "invalid"),
            IdentityError::TokenExpired => of_token(said, "expired"),
            IdentityError::SignedOut => of_token(said, "signed_out"),
            IdentityError::Accounts(error) => (*error).into(),
            IdentityError::UnknownUser(_) => Self::new(ProblemCode::Forbidden, said),
            IdentityError::UsersFile { .. } => Self::internal(said),
            IdentityError::Store(error) => error.into(),
        }
    }
}

/// An access token that does not hold (RFC 6750), and why, so that a page knows whether renewing it may help.
fn of_token(said: String, token: &str) -> Problem {
    Problem::new(ProblemCode::Unauthenticated, said)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""))
        .with("token", token)
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let said = error.to_string();
        match error {
            AccountError::BadEmail(_) | AccountError::BadPassword(_) | AccountError::Invalid(_) => {
                Self::new(ProblemCode::BadRequest, said)
            }
            AccountError::Taken => Self::new(ProblemCode::AlreadyExists, said),
            AccountError::NoSuchAccount(_) | AccountError::NoSuchLogin(_) => Self::new(ProblemCode::NotFound, said),
            AccountError::WrongPassword | AccountError::BadKey | AccountError::BadLink | AccountError::BadRefresh => {
                Self::new(ProblemCode::Unauthenticated, said)
                    .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            AccountError::WrongOldPassword
            | AccountError::NotAPerson
            | AccountError::Disabled
            | AccountError::RegistrationOff => Self::new(ProblemCode::Forbidden, said),
            AccountError::RefreshedAlready => Self::new(ProblemCode::Conflict, said).retry_after(1),
            AccountError::NotAnAccount => Self::new(ProblemCode::Conflict, said),
            AccountError::TooManyTries(wait) => {
                let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
                Self::new(ProblemCode::RateLimited, said).retry_after(seconds)
            }
            AccountError::Busy => Self::new(ProblemCode::Unavailable, said).retry_after(2),
            AccountError::RecordUnavailable(_) => Self::new(ProblemCode::RecordUnavailable, said).retry_after(5),
            AccountError::Secret(_) | AccountError::BrokeOff(_) => Self::internal(said),
            AccountError::Store(error) => error.into(),
        }
    }
}

/// A tool that ran and failed.
pub(crate) fn of_failure(agent: &str, completed: &Completed, failure: &ToolFailure) -> Problem {
    let report = failure.report.clone().unwrap_or_else(|| failure.message.clone());
    Problem::new(ProblemCode::ToolFailed, failure.message.clone())
        .with("report", report)
        .with("failure", failure.kind.as_str())
        .with("agent", agent)
        .with("state", "failed")
        .with("action_id", completed.action_id.as_str())
        .with("trace_id", completed.trace_id.as_str())
        .with("event_id", completed.event_id.as_ref().map_or(Value::Null, |id| id.as_str().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_problem_is_never_overwritten() {
        let problem = Problem::new(ProblemCode::Conflict, "it moved on").with("code", "other").with("hint", "look");
        let body = problem.to_json("req_1");
        assert_eq!(body["code"], "conflict");
        assert_eq!(body["hint"], "look");
        assert_eq!(body["error"], body["detail"]);
        assert_eq!(body["instance"], "req_1");
    }

    #[test]
    fn a_handler_that_breaks_off_becomes_a_problem() {
        let response = of_panic(Box::new("index 7 of 3"));
        let problem = response.extensions().get::<Problem>().unwrap();
        assert_eq!((response.status().as_u16(), problem.code), (500, ProblemCode::Internal));
        assert!(!problem.detail.contains("index"));
    }

    #[test]
    fn what_happened_inside_stays_inside() {
        let body = Problem::internal("the disk under /secret is full").to_json("req_1");
        assert!(!body.to_string().contains("/secret"));
    }
}
