//! Server-sent events from bytes that arrive in pieces.
//!
//! Own code because the crates that do this keep a line that never ends for ever; a model's server is not trusted with our
//! memory. Follows the parsing rules of the HTML standard, apart from `id` and `retry`, which no model's API uses.

/// Longest line and longest event. The last event of OpenAI's Responses repeats the whole answer.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// Its kind; empty when none was named.
    pub event: String,
    /// Its lines of data, joined with line feeds.
    pub data: String,
}

/// A line or an event was longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// The parser. Any way of cutting a stream into pieces gives the same events.
#[derive(Debug)]
pub struct SseParser {
    limit: usize,
    line: Vec<u8>,
    after_cr: bool,
    first_line: bool,
    pending: SseEvent,
    has_data: bool,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl SseParser {
    /// A parser that gives up on lines and events longer than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        let pending = SseEvent::default();
        Self { limit, line: Vec::new(), after_cr: false, first_line: true, pending, has_data: false }
    }

    /// Takes what came and appends the events that it completes to `events`. After an error it must not be used again.
    pub fn push(&mut self, mut bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + piece.len() > self.limit {
                return Err(TooLong(self.limit));
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(events)?;
        }
        Ok(())
    }

    /// The event that was whole but for its blank line when the stream ended; servers forget that line.
    pub fn finish(mut self) -> Option<SseEvent> {
        std::mem::take(&mut self.has_data).then_some(self.pending)
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut bytes = line.as_slice();
        if std::mem::take(&mut self.first_line) {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.is_empty() {
            let event = std::mem::take(&mut self.pending);
            if std::mem::take(&mut self.has_data) {
                events.push(event);
            }
            return Ok(());
        }
        let text = String::from_utf8_lossy(bytes);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.pending.event),
            // No field of the standard: llama.cpp told of errors with it until the end of 2025.
            "error" => {
                self.pending = SseEvent { event: "error".to_owned(), data: value.to_owned() };
                self.has_data = true;
            }
            "data" => {
                if self.pending.data.len() + value.len() + 1 > self.limit {
                    return Err(TooLong(self.limit));
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(value);
            }
            // Comments (an empty name) keep connections alive; other fields mean nothing to us.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut events).expect("within limits");
        }
        events.extend(parser.finish());
        events
    }

    fn event(event: &str, data: &str) -> SseEvent {
        SseEvent { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn every_line_ending_and_field_form_is_read() {
        let table: [(&[u8], Vec<SseEvent>); 10] = [
            (b"event: a\ndata: 1\n\n", vec![event("a", "1")]),
            (b"event:a\r\ndata:1\r\n\r\n", vec![event("a", "1")]),
            (b"data: 1\r\rdata: 2\r\r", vec![event("", "1"), event("", "2")]),
            (b"\xef\xbb\xbfdata: x\n\n", vec![event("", "x")]),
            (b"data: a\ndata:  b\ndata\n\n", vec![event("", "a\n b\n")]),
            (b": ping\n\nevent: nothing\n\nid: 7\nretry: 9\ndata: x\n\n", vec![event("", "x")]),
            (b"data: a:b\n\n", vec![event("", "a:b")]),
            (b"error: {}\n\ndata: [DONE]\n\n", vec![event("error", "{}"), event("", "[DONE]")]),
            (b"data: forgot the blank line\n", vec![event("", "forgot the blank line")]),
            (b"data: whole\n\ndata: cut off in the mid", vec![event("", "whole")]),
        ];
        for (bytes, expected) in table {
            assert_eq!(parsed(&[bytes]), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_that_never_ends_and_an_event_that_never_ends_are_refused() {
        let mut parser = SseParser::with_limit(64);
        assert_eq!(parser.push(&[b'a'; 65], &mut Vec::new()), Err(TooLong(64)));
        let mut parser = SseParser::with_limit(64);
        let mut push = || parser.push(b"data: 0123456789\n", &mut Vec::new());
        assert!((0..5).all(|_| push().is_ok()), "five lines fit");
        assert_eq!(push(), Err(TooLong(64)));
    }

    proptest::proptest! {
        #[test]
        fn any_cut_gives_the_same_events(
            lines in proptest::collection::vec("(data|event|error|id|)(:| |:  )?[a-zé漢🦀 :]{0,8}", 0..12),
            endings in proptest::collection::vec(0usize..3, 24),
            cuts in proptest::collection::vec(0usize..400, 0..12),
            bom in proptest::bool::ANY,
        ) {
            let mut stream = if bom { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
            for (at, line) in lines.iter().enumerate() {
                stream.extend_from_slice(line.as_bytes());
                // A second ending now and then is the blank line that closes an event.
                for ending in &endings[at..at + 1 + at % 2] {
                    stream.extend_from_slice([&b"\n"[..], b"\r", b"\r\n"][*ending]);
                }
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = parsed(&[&stream]);
            proptest::prop_assert_eq!(&parsed(&pieces), &whole);
            proptest::prop_assert_eq!(&parsed(&bytewise), &whole);
        }
    }
}
