//! How results and refusals of tools are said: text for models, the same as data for programs.

use reeve_gate::{Refusal, ToolFailure};
use reeve_platform::sessions::SessionError;
use reeve_platform::{Permission, PlatformError};
use reeve_types::{Principal, ProblemCode};
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Longest text of one result, in bytes; what is longer is cut and says so.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Why a tool did not do what it was asked. The words in `code` are the guide's.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    code: &'static str,
    message: String,
    members: Map<String, Value>,
}

impl Refused {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), members: Map::new() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new("REQUEST_FAILED", message)
    }

    pub(crate) fn lacks(principal: &Principal, permission: Permission) -> Self {
        let roles: Vec<&str> = permission.roles().iter().copied().chain(["admin"]).collect();
        let message = format!("{} may not do this: it needs the role {}", principal.label(), roles.join(" or "));
        Self::new("FORBIDDEN", message).with("permission", permission.as_str())
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.members.insert(key.to_owned(), value.into());
        self
    }

    /// The same as one line of a list of refusals.
    pub(crate) fn at(mut self, index: usize) -> Value {
        self.members.insert("index".to_owned(), index.into());
        self.into_body()
    }

    pub(crate) fn into_body(self) -> Value {
        let mut body = self.members;
        body.insert("code".to_owned(), self.code.into());
        body.insert("message".to_owned(), self.message.into());
        Value::Object(body)
    }

    fn problem(self, code: ProblemCode) -> Self {
        self.with("problem", code.as_str())
    }
}

/// A refusal as the result of a tool: the request was fine, so models may read why it was not done.
pub(crate) fn refused(refused: Refused) -> CallToolResult {
    let body = refused.into_body();
    let mut result = CallToolResult::structured_error(body.clone());
    result.content = vec![ContentBlock::text(pretty(&body))];
    result
}

/// Data as the result of a tool, with the same as readable JSON beside it.
pub(crate) fn data<T: Serialize>(value: &T) -> Result<CallToolResult, Refused> {
    let value = serde_json::to_value(value).map_err(internal)?;
    // Structured content is an object in every revision before the newest.
    let value = if value.is_object() { value } else { json!({"result": value}) };
    let text = cut(pretty(&value));
    Ok(worded(text, value))
}

/// Words as the result of a tool, with data beside them.
pub(crate) fn worded(text: String, data: Value) -> CallToolResult {
    let mut result = CallToolResult::structured(data);
    result.content = vec![ContentBlock::text(cut(text))];
    result
}

/// A fault inside. What happened goes to the log only.
pub(crate) fn internal(happened: impl std::fmt::Display) -> Refused {
    tracing::error!("a request over MCP failed inside: {happened}");
    Refused::new("UNKNOWN_ERROR", "something went wrong inside the server; its log says more")
        .problem(ProblemCode::Internal)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(end);
        text.push_str("\n[cut here: it is longer than 1 MiB]");
    }
    text
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let said = refusal.to_string();
        match refusal {
            Refusal::Denied { decision, explanation, event_id, trace_id } => {
                let why = if decision.message.is_empty() { "policy denied it" } else { &decision.message };
                Self::new("FORBIDDEN", format!("denied by policy `{}`: {why}", decision.policy_name))
                    .problem(ProblemCode::PolicyDenied)
                    .with("explanation", explanation)
                    .with("event_id", event_id.as_str())
                    .with("trace_id", trace_id.as_str())
            }
            Refusal::InvalidArguments { reasons, .. } => {
                Self::failed(said).problem(ProblemCode::InvalidArguments).with("reasons", reasons)
            }
            Refusal::UnknownTarget(unknown) => {
                Self::failed(said).problem(ProblemCode::UnknownTarget).with("known", unknown.known)
            }
            Refusal::UnknownTool { .. } => Self::failed(said).problem(ProblemCode::NotFound),
            Refusal::SecretInArguments { .. } => Self::failed(said).problem(ProblemCode::InvalidArguments),
            Refusal::RecordUnavailable(_) => Self::failed(said).problem(ProblemCode::RecordUnavailable),
            Refusal::Conflict(_) => Self::failed(said).problem(ProblemCode::Conflict),
            Refusal::Stale(_) => Self::failed(said).problem(ProblemCode::Stale),
            Refusal::ShuttingDown => Self::failed(said).problem(ProblemCode::Unavailable),
        }
    }
}

impl From<PlatformError> for Refused {
    fn from(error: PlatformError) -> Self {
        let said = error.to_string();
        match error {
            PlatformError::Refused(refusal) => refusal.into(),
            PlatformError::NoSuchApproval(_)
            | PlatformError::NoSuchAction(_)
            | PlatformError::NoSuchRecord(_)
            | PlatformError::DeadLink => Self::failed(said).problem(ProblemCode::NotFound),
            PlatformError::OwnRequest { .. } => Self::new("FORBIDDEN", said).problem(ProblemCode::OwnRequest),
            PlatformError::NotAnApprover { roles, .. } => {
                Self::new("FORBIDDEN", said).problem(ProblemCode::Forbidden).with("roles", roles)
            }
            PlatformError::Conflict(_) => Self::failed(said).problem(ProblemCode::Conflict),
            PlatformError::Invalid(_) => Self::failed(said).problem(ProblemCode::BadRequest),
            PlatformError::RecordUnavailable(_) => Self::failed(said).problem(ProblemCode::RecordUnavailable),
            PlatformError::Store(error) => internal(error.chain()),
        }
    }
}

impl From<SessionError> for Refused {
    fn from(error: SessionError) -> Self {
        let said = error.to_string();
        match error {
            SessionError::NoSuchSession(_) => Self::new("INVALID_SESSION_ID", said).problem(ProblemCode::NotFound),
            SessionError::Problem { code, .. } => {
                let word = if code.status() == 403 { "FORBIDDEN" } else { "REQUEST_FAILED" };
                Self::new(word, said).problem(code)
            }
            SessionError::Platform(error) => error.into(),
            SessionError::Workspace(_) => Self::failed(said),
            SessionError::Store(error) => internal(error.chain()),
        }
    }
}

/// A tool that ran and failed.
pub(crate) fn of_failure(failure: &ToolFailure) -> Refused {
    let report = failure.report.clone().unwrap_or_else(|| failure.message.clone());
    Refused::failed(failure.message.clone())
        .problem(ProblemCode::ToolFailed)
        .with("failure", failure.kind.as_str())
        .with("report", cut(report))
        .with("state", "failed")
}

/// Arguments of one of Reeve's own tools.
pub(crate) fn arguments<T: serde::de::DeserializeOwned>(given: Map<String, Value>) -> Result<T, Refused> {
    serde_json::from_value(Value::Object(given)).map_err(|error| {
        Refused::failed(format!("the arguments cannot be read: {error}")).problem(ProblemCode::InvalidArguments)
    })
}
