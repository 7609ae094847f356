//! Addresses on the runtime's socket, and values in headers.

use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use serde::Serialize;
use serde_json::Value;

/// A route with a file's path on its query: `path=` when it is UTF-8, `path_b64=` otherwise.
pub(super) fn with_path(route: &str, path: &WorkspacePath) -> Result<String, WorkspaceError> {
    let wire = serde_json::to_value(path).map_err(|error| unspeakable(&error))?;
    let (key, text) = match &wire {
        Value::String(text) => ("path", text.as_str()),
        other => ("path_b64", other.get("b64").and_then(Value::as_str).unwrap_or_default()),
    };
    Ok(format!("{route}?{key}={}", escaped(text)))
}

/// Text for a query: everything but letters, digits, `-`, `.`, `_` and `~` as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// JSON for a header: whatever is not plain ASCII is escaped as JSON escapes it, so no second encoding is needed.
pub(super) fn in_header<T: Serialize>(value: &T) -> Result<String, WorkspaceError> {
    let json = serde_json::to_string(value).map_err(|error| unspeakable(&error))?;
    let mut out = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(plain @ 0x20..=0x7e) => out.push(char::from(plain)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    Ok(out)
}

fn unspeakable(error: &serde_json::Error) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Internal, format!("the request to the workspace cannot be written down: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_text_travels_as_base64() {
        let path = WorkspacePath::from_bytes(b"a/\xff b").expect("a path");
        assert_eq!(with_path("/v1/stat", &path).expect("an address"), "/v1/stat?path_b64=YS%2F%2FIGI%3D");
    }

    #[test]
    fn a_path_with_signs_of_its_own_stays_one_value() {
        let path = WorkspacePath::from_bytes("q?x&y=%41/ü".as_bytes()).expect("a path");
        assert_eq!(with_path("/v1/stat", &path).expect("an address"), "/v1/stat?path=q%3Fx%26y%3D%2541%2F%C3%BC");
    }

    #[test]
    fn a_header_is_plain_ascii_and_means_the_same() {
        let header = in_header(&"ü 😀 \n %41").expect("a header");
        assert!(header.is_ascii());
        assert_eq!(serde_json::from_str::<String>(&header).expect("JSON"), "ü 😀 \n %41");
    }
}
