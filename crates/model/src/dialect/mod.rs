//! How each kind of provider is spoken to: what is sent, and how what comes back is read.

mod anthropic;
mod chat;
mod gemini;
mod responses;
mod schema;
mod used;

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, Prompt};
use serde_json::Value;

use crate::config::ProviderKind;
use crate::draft::{CallIds, Draft};
use crate::sse::SseEvent;
use crate::trouble::Trouble;

pub(crate) use used::Used;

/// One request, before it is put into a provider's words.
pub(crate) struct Ask<'a> {
    pub(crate) model: &'a str,
    pub(crate) prompt: &'a Prompt,
    /// Longest answer: the caller's, else the configured one.
    pub(crate) max_output_tokens: Option<u32>,
    /// Whether the server is the vendor's own, which takes fields that others refuse.
    pub(crate) is_vendor: bool,
}

/// The words of one kind of provider.
pub(crate) trait Dialect: Send + Sync {
    /// The path of a request below the base address, with its query.
    fn path(&self, model: &str) -> String;
    /// The header that carries the key, and what stands before the key in it.
    fn key_header(&self) -> (&'static str, &'static str);
    /// Headers of every request.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// The body of a request.
    fn body(&self, ask: &Ask<'_>) -> Value;
    /// What reads the answer.
    fn reader(&self, ids: CallIds) -> Box<dyn Reader>;
}

/// Reads one answer.
pub(crate) trait Reader: Send {
    /// Takes the next event and appends what it says to `said`.
    fn take(&mut self, event: &SseEvent, said: &mut Vec<ModelEvent>) -> Result<(), Trouble>;
    /// Whether nothing more is to come.
    fn is_done(&self) -> bool;
    /// Whether the answer is whole although more might have come.
    fn is_whole(&self) -> bool;
    /// What was read.
    fn draft(&self) -> &Draft;
    /// The same, at the end.
    fn into_draft(self: Box<Self>) -> Draft;
}

/// The dialect for a model at the vendor's own server.
///
/// OpenAI's models that think refuse tools in chat completions, so they are always asked through Responses.
pub(crate) fn at_vendor(kind: ProviderKind, model: &str) -> Option<&'static dyn Dialect> {
    match kind {
        ProviderKind::Openai if chat::reasons(model) => of(ProviderKind::OpenaiResponses),
        kind => of(kind),
    }
}

/// The dialect of a kind of provider; `replay` has none.
pub(crate) fn of(kind: ProviderKind) -> Option<&'static dyn Dialect> {
    match kind {
        ProviderKind::Anthropic => Some(&anthropic::Anthropic),
        ProviderKind::Openai => Some(&chat::Chat),
        ProviderKind::OpenaiResponses => Some(&responses::Responses),
        ProviderKind::Gemini => Some(&gemini::Gemini),
        ProviderKind::Replay => None,
    }
}

/// The JSON of an event.
fn json_of(event: &SseEvent) -> Result<Value, Trouble> {
    serde_json::from_str(&event.data).map_err(|error| {
        Trouble::malformed(format!("sent an event that is no JSON ({} bytes, {error})", event.data.len()))
    })
}

/// A provider's seal under its own name, so that it is never sent to another provider, which would refuse it.
fn sealed(by: &str, seal: &str) -> String {
    format!("{by}:{seal}")
}

/// The seal, if it is this provider's.
fn unsealed<'a>(by: &str, seal: &'a str) -> Option<&'a str> {
    seal.strip_prefix(by)?.strip_prefix(':')
}

/// The blocks of a turn, results of tools before all else: providers want them right after the calls.
fn results_first(message: &Message) -> impl Iterator<Item = &Block> {
    let is_result = |block: &&Block| matches!(block, Block::ToolResult { .. });
    message.blocks.iter().filter(is_result).chain(message.blocks.iter().filter(move |block| !is_result(block)))
}

/// How hard to think, in the word that three of the four providers share.
fn effort(thinking_tokens: u32) -> &'static str {
    match thinking_tokens {
        0..=2_048 => "low",
        2_049..=12_288 => "medium",
        _ => "high",
    }
}

/// A number of an event, zero when it is none.
fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A text of an event, empty when it is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_think_are_asked_through_responses_at_openai_only() {
        let path = |dialect: Option<&dyn Dialect>, model: &str| dialect.expect("a dialect").path(model);
        let at_vendor = |model| path(at_vendor(ProviderKind::Openai, model), model);
        assert_eq!(at_vendor("gpt-6.1-sol"), "responses");
        assert_eq!(at_vendor("gpt-4.1"), "chat/completions");
        assert_eq!(path(of(ProviderKind::Openai), "gpt-6.1-sol"), "chat/completions");
    }

    /// Reads the beginning of an answer as a provider's attempt does; `None` when it is not taken for a whole one.
    fn read(kind: ProviderKind, bytes: &[u8]) -> Option<Vec<Block>> {
        let mut reader = of(kind).expect("a dialect").reader(CallIds::after(&[], 0));
        let mut parser = crate::sse::SseParser::default();
        let mut events = Vec::new();
        parser.push(bytes, &mut events).ok()?;
        events.extend(parser.finish());
        for event in events {
            reader.take(&event, &mut Vec::new()).ok()?;
        }
        reader.is_whole().then(|| reader.into_draft().into_blocks())
    }

    const TRANSCRIPTS: [(ProviderKind, &[u8]); 10] = [
        (ProviderKind::Anthropic, include_bytes!("../../tests/transcripts/anthropic-text.sse")),
        (ProviderKind::Anthropic, include_bytes!("../../tests/transcripts/anthropic-thinking-tools.sse")),
        (ProviderKind::Openai, include_bytes!("../../tests/transcripts/openai-chat-text.sse")),
        (ProviderKind::Openai, include_bytes!("../../tests/transcripts/openai-chat-tools.sse")),
        (ProviderKind::Openai, include_bytes!("../../tests/transcripts/ollama-tools.sse")),
        (ProviderKind::Openai, include_bytes!("../../tests/transcripts/vllm-reasoning.sse")),
        (ProviderKind::OpenaiResponses, include_bytes!("../../tests/transcripts/openai-responses-tools.sse")),
        (ProviderKind::OpenaiResponses, include_bytes!("../../tests/transcripts/openai-responses-incomplete.sse")),
        (ProviderKind::Gemini, include_bytes!("../../tests/transcripts/gemini-text.sse")),
        (ProviderKind::Gemini, include_bytes!("../../tests/transcripts/gemini-tools.sse")),
    ];

    #[test]
    fn half_an_answer_is_never_taken_for_a_whole_one() {
        for (kind, transcript) in TRANSCRIPTS {
            let whole = read(kind, transcript).expect("a whole answer");
            assert!(!whole.is_empty());
            // The end is where it matters; before it, a thirteenth of all cuts comes by every kind of place.
            let last = transcript.len().saturating_sub(300);
            for end in (0..last).step_by(13).chain(last..transcript.len()) {
                if let Some(part) = read(kind, &transcript[..end]) {
                    assert_eq!(part, whole, "{}: cut at {end}", kind.as_str());
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn garbled_answers_do_no_harm(
            which in 0..TRANSCRIPTS.len(),
            changes in proptest::collection::vec((0usize..10_000, proptest::num::u8::ANY), 1..20),
        ) {
            let (_, transcript) = TRANSCRIPTS[which];
            let mut garbled = transcript.to_vec();
            for (at, byte) in changes {
                let at = at % garbled.len();
                garbled[at] = byte;
            }
            // Whoever sends it, whichever reader reads it.
            for (kind, _) in TRANSCRIPTS {
                let _ = read(kind, &garbled);
            }
        }

        #[test]
        fn events_of_any_shape_do_no_harm(text in r#"\{"(type|choices|candidates|error|usage)":([0-9]{1,25}|null|\[\[?\{?"?[a-z]{0,3}"?\}?\]?\]|"(message_start|response.completed|error)"|\{"[a-z]{1,8}":-?[0-9.e]{1,6}\})\}"#) {
            for (kind, _) in TRANSCRIPTS {
                let _ = read(kind, format!("data: {text}\n\n").as_bytes());
            }
        }
    }

    #[test]
    fn seals_open_for_their_own_provider_only() {
        let seal = sealed("gemini", "a:b");
        assert_eq!(unsealed("gemini", &seal), Some("a:b"));
        assert_eq!(unsealed("openai", &seal), None);
    }
}
