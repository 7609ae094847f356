//! Bytes on their way into and out of workspaces: raw bodies, never whole unless they are small.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use reeve_gate::workspace::ByteStream;
use reeve_platform::workspaces::Content;
use reeve_types::ProblemCode;
use reeve_types::workspace::files::{EDITOR_BYTES_MAX, FILE_BYTES_MAX};

use crate::problem::Problem;

/// How long a body may pause.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
/// What a file of a workspace may do when a browser opens it: nothing.
const NOTHING: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";

/// The bytes of a body as they come. A body that pauses for too long breaks off.
pub(crate) fn pieces(body: Body) -> ByteStream {
    pieces_up_to(body, FILE_BYTES_MAX)
}

fn pieces_up_to(body: Body, most: u64) -> ByteStream {
    let pieces = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other));
    limited(pieces, most, PIECE_WITHIN)
}

fn limited(
    body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    most: u64,
    piece_within: Duration,
) -> ByteStream {
    let start = Some((Box::pin(body), 0u64));
    stream::unfold(start, move |state| async move {
        let (mut body, so_far) = state?;
        let piece = match tokio::time::timeout(piece_within, body.next()).await {
            Ok(piece) => piece?,
            Err(_) => Err(broken(std::io::ErrorKind::TimedOut, "the body paused for too long")),
        };
        Some(match piece {
            Err(error) => (Err(error), None),
            Ok(bytes) => {
                let so_far = so_far.saturating_add(bytes.len() as u64);
                if so_far > most {
                    (Err(broken(std::io::ErrorKind::FileTooLarge, "the body is larger than it may be")), None)
                } else {
                    (Ok(bytes), Some((body, so_far)))
                }
            }
        })
    })
    .boxed()
}

fn broken(kind: std::io::ErrorKind, words: &'static str) -> std::io::Error {
    std::io::Error::new(kind, words)
}

/// A body that becomes a file: in memory while it is small, from there on as it comes.
pub(crate) async fn content(headers: &HeaderMap, body: Body) -> Result<Content, Problem> {
    content_up_to(headers, body, FILE_BYTES_MAX).await
}

/// The same with a bound of its own.
pub(crate) async fn content_up_to(headers: &HeaderMap, body: Body, most: u64) -> Result<Content, Problem> {
    let declared = headers.get(axum::http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let mut pieces = pieces_up_to(body, most);
    let mut read = BytesMut::with_capacity(usize::try_from(declared.unwrap_or(0).min(EDITOR_BYTES_MAX)).unwrap_or(0));
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece.map_err(|error| unreadable(&error, most))?);
        if read.len() as u64 > EDITOR_BYTES_MAX {
            let first = stream::iter([Ok(read.freeze())]);
            return Ok(Content::Stream(first.chain(pieces).boxed()));
        }
    }
    Ok(Content::Bytes(read.freeze()))
}

fn unreadable(error: &std::io::Error, most: u64) -> Problem {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => too_large(most),
        std::io::ErrorKind::TimedOut => Problem::new(ProblemCode::BadRequest, "the body paused for too long"),
        _ => Problem::new(ProblemCode::BadRequest, "the body broke off before its end"),
    }
}

fn too_large(most: u64) -> Problem {
    let detail = format!("the body is larger than it may be: {most} bytes");
    Problem::new(ProblemCode::TooLarge, detail)
}

/// An answer of raw bytes that somebody else wrote. A browser must not take it for a page of the platform's.
pub(crate) fn raw(bytes: ByteStream, kind: &'static str) -> Response {
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING));
    response
}

/// Names the file that an answer is to be saved as, or shown as.
pub(crate) fn name(response: &mut Response, how: &str, name: &[u8]) {
    let plain: String = name
        .iter()
        .map(|byte| if byte.is_ascii_alphanumeric() || b" ._-()+".contains(byte) { char::from(*byte) } else { '_' })
        .collect();
    let exact: String = name
        .iter()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || b"._-".contains(b) => char::from(*b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    let text = format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_body_is_kept_and_a_large_one_goes_on_as_it_comes() {
        let small = content(&HeaderMap::new(), Body::from("hello")).await.unwrap();
        assert!(matches!(small, Content::Bytes(bytes) if bytes == "hello"));
        let piece = Bytes::from(vec![7u8; 1 << 20]);
        let many = stream::iter((0..12).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
        let Content::Stream(mut large) = content(&HeaderMap::new(), Body::from_stream(many)).await.unwrap() else {
            panic!("12 MiB are not kept in memory");
        };
        let mut total = 0;
        while let Some(piece) = large.next().await {
            total += piece.unwrap().len();
        }
        assert_eq!(total, 12 << 20);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused() {
        let lengthy =
            HeaderMap::from_iter([(axum::http::header::CONTENT_LENGTH, HeaderValue::from(FILE_BYTES_MAX + 1))]);
        assert_eq!(content(&lengthy, Body::empty()).await.err().unwrap().code, ProblemCode::TooLarge);
        let pieces = stream::iter([Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"de"))]);
        let mut over = limited(pieces, 4, PIECE_WITHIN);
        assert!(over.next().await.unwrap().is_ok());
        assert_eq!(over.next().await.unwrap().unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
        assert!(over.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_pauses_breaks_off() {
        let mut paused = limited(stream::pending(), 4, Duration::from_millis(1));
        let error = paused.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(unreadable(&error, 4).code, ProblemCode::BadRequest);
        assert!(paused.next().await.is_none());
    }

    #[test]
    fn a_name_cannot_end_the_header() {
        let mut response = ().into_response();
        name(&mut response, "attachment", "a\"b\r\nä.txt".as_bytes());
        let text = response.headers()[CONTENT_DISPOSITION].to_str().unwrap().to_owned();
        assert_eq!(text, "attachment; filename=\"a_b____.txt\"; filename*=UTF-8''a%22b%0D%0A%C3%A4.txt");
    }
}
