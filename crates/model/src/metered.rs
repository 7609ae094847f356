//! Counting the tokens of answers that pass through to programs which ask in a vendor's own words.
//!
//! The bytes are not changed and not kept. An answer that cannot be read is passed on and not counted: whoever gets it
//! decides what it is worth.

use std::sync::Arc;

use reeve_gate::relay::{RelayMeter, Speech};
use reeve_types::model::Usage;

use crate::dialect::Used;
use crate::prices::Prices;
use crate::sse::SseParser;

/// Longest answer that is not a stream of events and is counted, in bytes.
const WHOLE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often it is looked at whether such an answer is whole.
const LOOKS_MAX: usize = 64;

/// Counts one answer.
pub(crate) struct Metered {
    speech: Speech,
    /// The model that was asked.
    asked: String,
    used: Used,
    told: Usage,
    reading: Reading,
    prices: Arc<Prices>,
    meter: Arc<dyn RelayMeter>,
}

enum Reading {
    Events(SseParser),
    Whole { body: Vec<u8>, looks: usize },
    Nothing,
}

impl Metered {
    /// What counts an answer of this type.
    pub(crate) fn new(
        speech: Speech,
        asked: String,
        content_type: &str,
        prices: Arc<Prices>,
        meter: Arc<dyn RelayMeter>,
    ) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let reading = if kind.eq_ignore_ascii_case("text/event-stream") {
            Reading::Events(SseParser::default())
        } else if kind.eq_ignore_ascii_case("application/json") {
            Reading::Whole { body: Vec::new(), looks: 0 }
        } else {
            Reading::Nothing
        };
        Self { speech, asked, used: Used::default(), told: Usage::default(), reading, prices, meter }
    }

    /// Takes a piece before it is passed on.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        match &mut self.reading {
            Reading::Nothing => return,
            Reading::Events(parser) => {
                let mut events = Vec::new();
                let readable = parser.push(piece, &mut events).is_ok();
                let of_tokens = events.iter().filter(|event| event.data.contains("\"usage"));
                for told in of_tokens.filter_map(|event| serde_json::from_str(&event.data).ok()) {
                    self.used.take(self.speech, &told);
                }
                if !readable {
                    self.reading = Reading::Nothing;
                }
            }
            Reading::Whole { body, looks } => {
                if body.len() + piece.len() > WHOLE_BYTES_MAX || *looks >= LOOKS_MAX {
                    self.reading = Reading::Nothing;
                    return;
                }
                body.extend_from_slice(piece);
                // Whoever waits for it may be through with it before the connection's end is seen.
                if matches!(body.trim_ascii_end().last(), Some(b'}' | b']')) {
                    *looks += 1;
                    if let Ok(told) = serde_json::from_slice(body) {
                        self.used.take(self.speech, &told);
                        self.reading = Reading::Nothing;
                    }
                }
            }
        }
        self.tell();
    }

    /// Tells what came on top.
    fn tell(&mut self) {
        let mut now = self.used.usage;
        now.cost_micro_usd = self.cost(&now);
        let before = std::mem::replace(&mut self.told, now);
        let cost = now.cost_micro_usd.map(|cost| cost.saturating_sub(before.cost_micro_usd.unwrap_or(0)));
        let more = Usage {
            input_tokens: now.input_tokens.saturating_sub(before.input_tokens),
            output_tokens: now.output_tokens.saturating_sub(before.output_tokens),
            cache_read_tokens: now.cache_read_tokens.saturating_sub(before.cache_read_tokens),
            cache_write_tokens: now.cache_write_tokens.saturating_sub(before.cache_write_tokens),
            cost_micro_usd: cost,
        };
        if (Usage { cost_micro_usd: None, ..more }) != Usage::default() {
            self.meter.used(&self.asked, more);
        }
    }

    fn cost(&self, usage: &Usage) -> Option<u64> {
        let answering = || self.used.model.as_ref().and_then(|model| self.prices.cost(model, usage));
        self.prices.cost(&self.asked, usage).or_else(answering)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, Usage)>>);

    impl RelayMeter for Heard {
        fn used(&self, model: &str, more: Usage) {
            self.0.lock().expect("no panic").push((model.to_owned(), more));
        }
    }

    fn metered(speech: Speech, content_type: &str) -> (Metered, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let own: crate::Price = toml::from_str("model = 'm'\ninput = 2.0\noutput = 10.0").expect("a price");
        let prices = Arc::new(Prices::with(&[own]));
        (Metered::new(speech, "m".to_owned(), content_type, prices, Arc::clone(&heard) as _), heard)
    }

    fn sum(heard: &Heard) -> Usage {
        let mut sum = Usage::default();
        for (model, more) in heard.0.lock().expect("no panic").iter() {
            assert_eq!(model, "m");
            sum += *more;
        }
        sum
    }

    const EVENTS: &[u8] = b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn what_events_tell_is_counted_once_however_they_are_cut() {
        let expected =
            Usage { input_tokens: 11, output_tokens: 9, cost_micro_usd: Some(11 * 2 + 9 * 10), ..Usage::default() };
        for pieces in [1, 7, EVENTS.len()] {
            let (mut metered, heard) = metered(Speech::Anthropic, "text/event-stream; charset=utf-8");
            EVENTS.chunks(pieces).for_each(|piece| metered.take(piece));
            assert_eq!(sum(&heard), expected, "in pieces of {pieces}");
            let times = if pieces == EVENTS.len() { 1 } else { 2 };
            assert_eq!(heard.0.lock().expect("no panic").len(), times, "only when there is more");
        }
    }

    #[test]
    fn a_whole_answer_is_counted_before_its_last_piece_is_passed_on() {
        let (mut metered, heard) = metered(Speech::Openai, "application/json");
        let body = br#"{"choices": [{}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}"#;
        let (first, last) = body.split_at(17);
        metered.take(first);
        assert_eq!(sum(&heard), Usage::default());
        metered.take(last);
        assert_eq!(sum(&heard).cost_micro_usd, Some(3 * 2 + 2 * 10));
    }

    #[test]
    fn what_is_no_answer_of_a_model_is_not_counted() {
        for (kind, bytes) in
            [("text/html", &b"{\"usage\":{\"input_tokens\":1}}"[..]), ("application/json", b"{]"), ("", b"x")]
        {
            let (mut metered, heard) = metered(Speech::Anthropic, kind);
            metered.take(bytes);
            assert_eq!(sum(&heard), Usage::default(), "{kind}");
        }
    }
}
