//! Reading what a client sent. Whatever cannot be read becomes a problem that names the place.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use reeve_types::ProblemCode;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared = is_json(request.headers());
        let bytes = read_body(request, state, BODY_WITHIN).await?;
        if !declared && !bytes.is_empty() {
            let detail = "send the body as JSON, with the header `Content-Type: application/json`";
            return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
        }
        // No body at all is an empty object: every field has its default, or is named as missing.
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        Ok(Self(parse_json(text)?))
    }
}

/// Reads a whole body within the limits that hold for the route.
pub(crate) async fn read_body<S: Send + Sync>(request: Request, state: &S, within: Duration) -> Result<Bytes, Problem> {
    let read = Bytes::from_request(request, state);
    match tokio::time::timeout(within, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) => Err(unreadable(&rejection)),
        Err(_) => {
            Err(Problem::new(ProblemCode::BadRequest, format!("the body did not arrive within {} s", within.as_secs())))
        }
    }
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(ProblemCode::TooLarge, "the body is larger than this route takes");
    }
    Problem::new(ProblemCode::BadRequest, "the body broke off before its end")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| {
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default().to_owned();
        Problem::new(
            ProblemCode::BadRequest,
            format!("the body cannot be read at line {}, column {}: {words}", error.line(), error.column()),
        )
    })
}

/// The parameters after `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let words = rejection.body_text();
                let words = words.trim_start_matches("Failed to deserialize query string: ");
                Err(Problem::new(ProblemCode::BadRequest, format!("the parameters after `?` cannot be read: {words}")))
            }
        }
    }
}

/// The one parameter of the path, as what it names.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T>
where
    T::Err: Display,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| {
            Problem::new(ProblemCode::BadRequest, "the path cannot be read: its parameter is not UTF-8 text")
        })?;
        Ok(Self(parse(&text)?))
    }
}

/// A text as what it names, or a problem in the words of whoever knows such things.
pub(crate) fn parse<T: FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| Problem::new(ProblemCode::BadRequest, error.to_string()))
}

/// A moment, or how long ago it was: `2026-01-02T03:04:05Z`, `90s`, `24h`, `7d`.
pub(crate) fn parse_moment(field: &str, text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp, Problem> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at);
    }
    let ago = parse_duration(text).and_then(|ago| now.checked_sub(ago).ok());
    ago.ok_or_else(|| {
        let detail =
            format!("`{field}` is neither a moment (2026-01-02T03:04:05Z) nor a time span (90s, 15m, 24h, 7d)");
        Problem::new(ProblemCode::BadRequest, detail)
    })
}

/// A time span such as `30`, `30s`, `1h30m` or `250ms`; a bare number means seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u32 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let word = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = match tail.get(..word)? {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(amount)?)?;
        rest = tail.get(word..)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_as_people_write_them() {
        let table = [
            ("30", Some(30_000)),
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("h", None),
            ("5 minutes", None),
            ("99999999999d", None),
            ("-5s", None),
        ];
        for (text, millis) in table {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), millis, "{text:?}");
        }
    }

    #[test]
    fn a_moment_may_be_told_as_how_long_ago() {
        let now: jiff::Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(parse_moment("since", "24h", now).unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(parse_moment("since", "2025-12-31T00:00:00Z", now).unwrap().to_string(), "2025-12-31T00:00:00Z");
        assert!(parse_moment("since", "yesterday", now).is_err());
    }
}
