//! Server-sent events of workspaces: one JSON object a frame, numbered, a comment now and then, and a last word.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use reeve_types::WorkspaceError;
use serde::Serialize;
use serde_json::json;

use crate::server::Stopping;

/// How often a silent stream shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Tells events as they come. What fails is told as an event of its own and ends the stream, and so does the server's
/// stopping.
pub(crate) fn told<T, S>(events: S, stop: Stopping) -> Response
where
    T: Serialize + Send + 'static,
    S: Stream<Item = Result<T, WorkspaceError>> + Send + 'static,
{
    let texts = events.scan(false, |failed, event| {
        let text = if *failed { None } else { Some(text_of(event, failed)) };
        std::future::ready(text)
    });
    let until = stop.0;
    let frames = texts.take_until(async move { until.cancelled().await });
    let frames = frames.enumerate().map(|(n, text)| Frame::default().id((n + 1).to_string()).data(text));
    let last = stream::once(async { Frame::default().comment("the end") });
    let frames = frames.chain(last).map(Ok::<_, Infallible>);
    let alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    let mut response = Sse::new(frames).keep_alive(alive).into_response();
    // Proxies that collect an answer before passing it on would hold the stream back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn text_of<T: Serialize>(event: Result<T, WorkspaceError>, failed: &mut bool) -> String {
    let problem = |code: &str, message: &str| json!({"event": "error", "code": code, "message": message}).to_string();
    match event.map(|event| serde_json::to_string(&event)) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            *failed = true;
            tracing::error!("an event of a workspace cannot be told: {error}");
            problem("internal", "an event cannot be told")
        }
        Err(error) => {
            *failed = true;
            problem(error.code.as_str(), &error.message)
        }
    }
}

/// Bytes that become text as they come: what ends within a character waits for the rest of it.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// The text so far; bytes that are no UTF-8 are replaced.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut text = String::new();
        let mut from = 0;
        while let Some(left) = self.rest.get(from..).filter(|left| !left.is_empty()) {
            match std::str::from_utf8(left) {
                Ok(all) => {
                    text.push_str(all);
                    from = self.rest.len();
                }
                Err(error) => {
                    let good = error.valid_up_to();
                    text.push_str(std::str::from_utf8(left.get(..good).unwrap_or_default()).unwrap_or_default());
                    from += good;
                    let Some(bad) = error.error_len() else { break };
                    text.push('\u{FFFD}');
                    from += bad;
                }
            }
        }
        self.rest.drain(..from);
        text
    }

    /// What waits for a rest that never came.
    pub(crate) fn end(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::ProblemCode;

    #[test]
    fn a_character_that_comes_in_pieces_is_one_character() {
        let mut decoder = Decoder::default();
        let text = "größe ✓ 🦀";
        let told: String = text.as_bytes().iter().map(|byte| decoder.take(&[*byte])).collect();
        assert_eq!(told, text);
        assert_eq!(decoder.end(), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_hold_nothing_up() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.take(b"a\xffb\xf0\x9f"), "a\u{FFFD}b");
        assert_eq!(decoder.take(b"c"), "\u{FFFD}c");
        assert_eq!(decoder.take(b"\xe2\x9c"), "");
        assert_eq!(decoder.end(), "\u{FFFD}");
    }

    #[tokio::test]
    async fn a_failure_is_told_and_nothing_after_it() {
        let events = stream::iter([
            Ok(json!({"event": "a"})),
            Err(WorkspaceError::new(ProblemCode::NotRunning, "it stopped")),
            Ok(json!({"event": "b"})),
        ]);
        let response = told(events, Stopping::default());
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let frames: Vec<&str> = text.split("\n\n").filter(|frame| !frame.is_empty()).collect();
        assert_eq!(frames[0], "id: 1\ndata: {\"event\":\"a\"}");
        assert!(frames[1].contains("\"event\":\"error\"") && frames[1].contains("not_running"), "{text}");
        assert_eq!((frames[2], frames.len()), (": the end", 3));
    }
}
