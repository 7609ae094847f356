//! What a client of a guide sends: in the body or after `?`, whichever it knows.

use axum::extract::{FromRequest, Request};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::extract::{self, parse};
use crate::problem::Problem;
use crate::routes::workspaces::wire::path_of;

/// The members of a JSON body, and the parameters after `?` that the body does not name.
pub(crate) struct Given(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Given {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> =
            axum::extract::Query::try_from_uri(request.uri()).map(|query| query.0).unwrap_or_default();
        let extract::Body(body) = extract::Body::<Value>::from_request(request, state).await?;
        let Value::Object(mut members) = body else {
            return Err(Problem::new(ProblemCode::BadRequest, "the body must be a JSON object"));
        };
        for (key, value) in pairs {
            members.entry(key).or_insert(Value::String(value));
        }
        Ok(Self(members))
    }
}

impl Given {
    /// The workspace, which the guide calls a session.
    pub(crate) fn session(&self) -> Result<WorkspaceId, Problem> {
        parse(self.need("session_id")?)
    }

    /// A text that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<&str, Problem> {
        self.text(key).ok_or_else(|| Problem::new(ProblemCode::BadRequest, format!("`{key}` is missing")))
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// A text, or a number as it is written: the guide's clients send ids either way.
    pub(crate) fn written(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// An object.
    pub(crate) fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.0.get(key)?.as_object()
    }

    /// Yes or no, as JSON or as text.
    pub(crate) fn flag(&self, key: &str, usual: bool) -> bool {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "1" | "yes"),
            _ => usual,
        }
    }

    /// A number, as JSON or as text.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.0.get(key)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        }
    }

    /// A path that must be there.
    pub(crate) fn path(&self, key: &str) -> Result<WorkspacePath, Problem> {
        match self.0.get(key) {
            Some(Value::Object(bytes)) => path_of(None, bytes.get("b64").and_then(Value::as_str)),
            _ => path_of(Some(self.need(key)?), None),
        }
    }

    /// A path that may be left out.
    pub(crate) fn path_if_any(&self, key: &str) -> Result<Option<WorkspacePath>, Problem> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.path(key).map(Some),
        }
    }

    /// A path; the root when there is none.
    pub(crate) fn path_or_root(&self, key: &str) -> Result<WorkspacePath, Problem> {
        Ok(self.path_if_any(key)?.unwrap_or_else(WorkspacePath::root))
    }

    /// A member as what it should be; its default when it is not there.
    pub(crate) fn read<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Problem> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("`{key}` cannot be read: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;
    use serde_json::json;

    async fn given(uri: &str, body: &Value) -> Given {
        let request = Request::builder().method("POST").uri(uri).header(CONTENT_TYPE, "application/json");
        Given::from_request(request.body(Body::from(body.to_string())).unwrap(), &()).await.unwrap()
    }

    #[tokio::test]
    async fn the_body_beats_the_query_and_either_will_do() {
        let given = given("/x?session_id=a&force=true&n=7", &json!({"session_id": "b", "soft": false})).await;
        assert_eq!(given.need("session_id").unwrap(), "b");
        assert!(given.flag("force", false) && !given.flag("soft", true) && given.flag("absent", true));
        assert_eq!(given.number("n"), Some(7));
        assert_eq!(given.path("missing").unwrap_err().code, ProblemCode::BadRequest);
    }

    #[tokio::test]
    async fn a_path_that_leads_out_is_told_as_such() {
        let given = given("/x", &json!({"path": "/etc/passwd", "odd": {"b64": "/w=="}})).await;
        assert_eq!(given.path("path").unwrap_err().code, ProblemCode::PathEscape);
        assert_eq!(given.path("odd").unwrap().as_bytes(), b"\xff");
        assert!(given.path_or_root("none").unwrap().is_root());
        assert_eq!(given.path_if_any("odd").unwrap().map(|path| path.as_bytes().to_vec()), Some(vec![0xff]));
        assert!(given.path_if_any("none").unwrap().is_none());
    }
}
