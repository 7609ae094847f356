//! Requests read and answers made, the same way for every route.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest body in JSON, in bytes.
pub(crate) const JSON_BYTES_MAX: usize = 1024 * 1024;
/// How much of a body that is too long is read before the connection is given up, in bytes.
pub(crate) const FORGOTTEN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a body in JSON may take to arrive.
const JSON_WITHIN: Duration = Duration::from_secs(30);

/// What is answered with.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub(crate) type Reply = Response<Body>;
/// An answer, or why there is none.
pub(crate) type Outcome = Result<Reply, WorkspaceError>;

/// Text with a type.
pub(crate) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    with_type(status, kind, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

/// JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Outcome {
    let body = serde_json::to_vec(value).map_err(|error| {
        WorkspaceError::new(ProblemCode::Internal, format!("the answer cannot be written: {error}"))
    })?;
    Ok(whole(status, "application/json", body))
}

/// JSON, and all is well.
pub(crate) fn ok(value: &impl Serialize) -> Outcome {
    json(StatusCode::OK, value)
}

/// Done, and nothing to say.
pub(crate) fn done() -> Reply {
    let mut reply = whole(StatusCode::NO_CONTENT, "application/json", Bytes::new());
    reply.headers_mut().remove(header::CONTENT_TYPE);
    reply
}

/// A problem, with the status of its code.
pub(crate) fn problem(error: &WorkspaceError) -> Reply {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, error).unwrap_or_else(|_| whole(status, "text/plain", "the problem cannot be written down"))
}

/// Bytes that come one piece after another.
pub(crate) fn streamed(kind: &'static str, pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reply {
    with_type(StatusCode::OK, kind, StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

/// Events, one JSON document a line.
pub(crate) fn events<T: Serialize + Send + 'static>(events: impl Stream<Item = T> + Send + 'static) -> Reply {
    streamed("application/x-ndjson", events.map(|event| line(&event)))
}

/// One event as a line.
pub(crate) fn line(event: &impl Serialize) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(Bytes::from(line))
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Reads a body in JSON, up to [`JSON_BYTES_MAX`].
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, WorkspaceError> {
    read_json_up_to(request, JSON_BYTES_MAX).await
}

/// Reads a body in JSON, up to a size.
pub(crate) async fn read_json_up_to<T: DeserializeOwned>(
    request: Request<Incoming>,
    bytes_max: usize,
) -> Result<T, WorkspaceError> {
    let body = tokio::time::timeout(JSON_WITHIN, collected(request.into_body(), bytes_max)).await;
    let body =
        body.map_err(|_| WorkspaceError::new(ProblemCode::Timeout, "the body did not arrive in 30 s; send it again"))??;
    serde_json::from_slice(&body).map_err(|error| bad(format!("the body is not the JSON that this takes: {error}")))
}

/// A body, whole. What is too long is read on for a while and forgotten: whoever still writes would hear of a broken pipe
/// instead of the reason.
async fn collected(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, WorkspaceError> {
    let mut kept = Vec::new();
    let mut arrived = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| bad(format!("the body broke off: {error}; send it again")))?;
        let Ok(data) = frame.into_data() else { continue };
        arrived += data.len();
        if arrived > bytes_max {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
        if arrived > bytes_max + FORGOTTEN_BYTES_MAX {
            break;
        }
    }
    if arrived > bytes_max {
        let message = format!("the body is larger than {bytes_max} bytes; send less at once");
        return Err(WorkspaceError::new(ProblemCode::TooLarge, message));
    }
    Ok(kept)
}

/// A request that cannot be read.
pub(crate) fn bad(message: impl Into<String>) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, message)
}

/// What stands after the `?`.
pub(crate) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Reads it. Text is percent-encoded; `+` stands for itself in paths, so it does everywhere.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let read = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (String::from_utf8_lossy(&percent_decoded(name.as_bytes())).into_owned(), percent_decoded(value.as_bytes()))
        });
        Self(read.collect())
    }

    /// A value as it came.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// A value as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// A value that is read further.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, WorkspaceError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| bad(format!("`{name}` is no UTF-8")))?;
        text.parse().map(Some).map_err(|error| bad(format!("`{name}`: {error}")))
    }

    /// `path=` or `path_b64=`; the root when there is neither.
    pub(crate) fn path(&self) -> Result<WorkspacePath, WorkspaceError> {
        if let Some(path) = self.bytes("path") {
            return Ok(WorkspacePath::from_bytes(path)?);
        }
        let Some(encoded) = self.text("path_b64") else { return Ok(WorkspacePath::root()) };
        let wire = serde_json::json!({ "b64": encoded });
        serde_json::from_value(wire).map_err(|error| bad(format!("`path_b64`: {error}")))
    }
}

/// JSON in a header: as it is, or percent-encoded when it does not begin as JSON does.
pub(crate) fn json_header<T: DeserializeOwned, B>(request: &Request<B>, name: &str) -> Result<T, WorkspaceError> {
    let value = request.headers().get(name).ok_or_else(|| bad(format!("the header `{name}` is missing")))?;
    let bytes = value.as_bytes();
    let json = if bytes.starts_with(b"{") { bytes.to_vec() } else { percent_decoded(bytes) };
    serde_json::from_slice(&json).map_err(|error| bad(format!("the header `{name}` cannot be read: {error}")))
}

/// JSON for a header: what is no plain ASCII as JSON's own escapes.
pub(crate) fn header_json(value: &impl Serialize) -> Option<HeaderValue> {
    let json = serde_json::to_string(value).ok()?;
    let mut plain = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(letter @ 0x20..=0x7e) => plain.push(char::from(letter)),
            _ => plain.push_str(&format!("\\u{unit:04x}")),
        }
    }
    HeaderValue::from_str(&plain).ok()
}

/// `%XX` as the byte it stands for; anything else as it is.
pub(crate) fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).filter(|_| byte == b'%');
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(code) => {
                decoded.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once() {
        let request = Request::get("/v1/stat?path=a%20b%2Bc+%25&x").body(()).expect("a request");
        let query = Query::of(&request);
        assert_eq!(query.bytes("path"), Some(b"a b+c+%".as_slice()));
        assert_eq!(query.bytes("x"), Some(b"".as_slice()));
        assert_eq!(query.bytes("y"), None);
        assert_eq!(percent_decoded(b"%zz%4"), b"%zz%4");
    }

    #[test]
    fn headers_carry_json_in_ascii() {
        let header = header_json(&"ü😀%41").expect("a header");
        assert!(header.to_str().is_ok());
        let request = Request::get("/").header("x", r#"{"a":"%41"}"#).body(()).expect("a request");
        let read: serde_json::Value = json_header(&request, "x").expect("JSON");
        assert_eq!(read["a"], "%41");
        let request = Request::get("/").header("x", "%7B%22a%22%3A1%7D").body(()).expect("a request");
        let read: serde_json::Value = json_header(&request, "x").expect("JSON");
        assert_eq!(read["a"], 1);
    }
}
