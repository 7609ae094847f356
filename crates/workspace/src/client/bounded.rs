//! Reading answers that may lie, stop halfway or never end.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use reeve_gate::workspace::{ByteStream, EventStream};
use reeve_types::{ProblemCode, WorkspaceError};
use serde::de::DeserializeOwned;

use super::connection::Reply;

/// Largest answer in JSON, in bytes.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest line of a stream of events, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Longest sentence that a workspace may say when it refuses, in characters.
const SENTENCE_CHARS_MAX: usize = 1000;

/// The whole body, up to the largest size.
pub(super) async fn whole(mut reply: Reply) -> Result<Bytes, WorkspaceError> {
    let mut kept = BytesMut::new();
    while let Some(piece) = reply.body.next().await {
        let piece = piece.map_err(|error| super::connection::broken(&error))?;
        if kept.len() + piece.len() > JSON_BYTES_MAX {
            return Err(nonsense("is larger than 8 MiB"));
        }
        kept.extend_from_slice(&piece);
    }
    Ok(kept.freeze())
}

/// The body as JSON of one shape.
pub(super) async fn json<T: DeserializeOwned>(reply: Reply) -> Result<T, WorkspaceError> {
    let bytes = whole(reply).await?;
    serde_json::from_slice(&bytes).map_err(|error| nonsense(&format!("does not have the expected shape: {error}")))
}

/// The error that an answer without success stands for. What it says is shortened and holds no control characters.
pub(super) async fn refusal(reply: Reply) -> WorkspaceError {
    let status = reply.head.status;
    let told = json::<WorkspaceError>(reply).await;
    match told {
        Ok(error) => spoken(error),
        Err(_) => nonsense(&format!("has status {status} and no explanation")),
    }
}

/// An error of a workspace, fit to be shown.
pub(super) fn spoken(mut error: WorkspaceError) -> WorkspaceError {
    error.message = printable(&error.message);
    error.current_etag = error.current_etag.map(|etag| printable(&etag));
    error
}

/// A workspace's words, fit to be shown.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(SENTENCE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A body of events, one a line.
pub(super) fn events<T: DeserializeOwned + Send + 'static>(reply: Reply) -> EventStream<T> {
    struct Reading<B> {
        body: B,
        buffer: BytesMut,
        searched: usize,
        over: bool,
    }
    let reading = Reading { body: reply.body, buffer: BytesMut::new(), searched: 0, over: false };
    Box::pin(futures_util::stream::unfold(reading, |mut reading| async move {
        loop {
            if reading.over {
                return None;
            }
            let unsearched = reading.buffer.get(reading.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = reading.buffer.split_to(reading.searched + end + 1);
                reading.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let event = serde_json::from_slice(&line)
                    .map_err(|error| nonsense(&format!("holds an event of an unknown shape: {error}")));
                reading.over = event.is_err();
                return Some((event, reading));
            }
            reading.searched = reading.buffer.len();
            if reading.buffer.len() > LINE_BYTES_MAX {
                reading.over = true;
                return Some((Err(nonsense("holds an event longer than 1 MiB")), reading));
            }
            match reading.body.next().await {
                Some(Ok(piece)) => reading.buffer.extend_from_slice(&piece),
                Some(Err(error)) => {
                    reading.over = true;
                    return Some((Err(super::connection::broken(&error)), reading));
                }
                None if reading.buffer.is_empty() => return None,
                None => {
                    reading.over = true;
                    return Some((Err(nonsense("ends in the middle of an event")), reading));
                }
            }
        }
    }))
}

/// A body of exactly so many bytes: more is cut off and told, fewer is an error.
pub(super) fn exactly(
    body: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static,
    size: u64,
) -> ByteStream {
    Box::pin(futures_util::stream::unfold(Some((body, size)), |state| async move {
        let (mut body, left) = state?;
        match body.next().await {
            None if left == 0 => None,
            None => Some((Err(std::io::Error::other("the workspace sent fewer bytes than it said")), None)),
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(piece)) => match left.checked_sub(piece.len() as u64) {
                Some(left) => Some((Ok(piece), Some((body, left)))),
                None => Some((Err(std::io::Error::other("the workspace sent more bytes than it said")), None)),
            },
        }
    }))
}

/// What was said makes no sense.
pub(super) fn nonsense(what: &str) -> WorkspaceError {
    let said = format!("what the workspace's program answered {what}; restart the workspace");
    WorkspaceError::new(ProblemCode::Internal, said)
}
