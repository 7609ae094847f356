//! Messages cut out of a stream of bytes: a line each, or behind a `Content-Length` header. Nothing longer than the
//! longest message is ever kept.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::error::End;

/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Header lines before one body.
const HEADERS_MAX: usize = 16;

/// Reads one message after another.
pub(super) struct Frames<R> {
    reader: BufReader<R>,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader: BufReader::with_capacity(PIECE_BYTES, reader), bytes_max }
    }

    /// The bytes of the next message; not more than that is known of them.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, End> {
        loop {
            let line = self.line().await?;
            if !is_header(&line) {
                if !line.trim_ascii().is_empty() {
                    return Ok(line);
                }
                continue;
            }
            return match self.length_of_body(&line).await? {
                Some(length) => self.body(length).await,
                None => Ok(line),
            };
        }
    }

    /// A line without its end. The last one may lack it.
    async fn line(&mut self) -> Result<Vec<u8>, End> {
        let mut line = Vec::new();
        loop {
            let there = match self.reader.fill_buf().await {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&error)),
            };
            if there.is_empty() {
                return if line.is_empty() { Err(End::Closed) } else { Ok(line) };
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(there.len());
            if line.len() + taken > self.bytes_max {
                return Err(End::FrameTooLarge { bytes_max: self.bytes_max });
            }
            line.extend_from_slice(there.get(..taken).unwrap_or_default());
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    /// Reads the headers to the blank line behind them. Nothing when none of them is a length.
    async fn length_of_body(&mut self, first: &[u8]) -> Result<Option<usize>, End> {
        let mut length = content_length(first);
        for _ in 0..HEADERS_MAX {
            let line = self.line().await?;
            if line.trim_ascii().is_empty() {
                return match length {
                    Some(length) if length > self.bytes_max => Err(End::FrameTooLarge { bytes_max: self.bytes_max }),
                    length => Ok(length),
                };
            }
            length = content_length(&line).or(length);
        }
        Ok(None)
    }

    async fn body(&mut self, length: usize) -> Result<Vec<u8>, End> {
        let mut body = Vec::with_capacity(length.min(PIECE_BYTES));
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(wanted).read_to_end(&mut body).await.map_err(|error| broken(&error))?;
        if read < length { Err(End::Closed) } else { Ok(body) }
    }
}

fn is_header(line: &[u8]) -> bool {
    line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
}

fn content_length(line: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let (name, value) = text.split_once(':')?;
    name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
}

fn broken(error: &io::Error) -> End {
    End::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8], max: usize) -> (Vec<String>, End) {
        let mut frames = Frames::new(bytes, max);
        let mut found = Vec::new();
        loop {
            match frames.next().await {
                Ok(frame) => found.push(String::from_utf8(frame).expect("text")),
                Err(end) => return (found, end),
            }
        }
    }

    #[tokio::test]
    async fn lines_and_counted_bodies_may_be_mixed() {
        let bytes =
            b"{\"a\":1}\r\n\n Content-x\nContent-Length: 3\r\n\r\n{\n}content-type: x\ncontent-length:2\n\n[]\nlast";
        let (found, end) = all(bytes, 100).await;
        assert_eq!(found, ["{\"a\":1}\r", " Content-x", "{\n}", "[]", "last"]);
        assert_eq!(end, End::Closed);
    }

    #[tokio::test]
    async fn what_is_too_long_ends_it_before_it_is_kept() {
        let (found, end) = all(b"12345\n123456\n", 5).await;
        assert_eq!((found.len(), end), (1, End::FrameTooLarge { bytes_max: 5 }));
        let (_, end) = all(b"Content-Length: 6\n\n123456", 40).await;
        assert_eq!(end, End::Closed);
        let (_, end) = all(b"Content-Length: 99999999999999\n\n1", 40).await;
        assert_eq!(end, End::FrameTooLarge { bytes_max: 40 });
    }
}
