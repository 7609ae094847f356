//! How many tokens an answer says that it used, whoever reads the answer itself.

use reeve_gate::relay::Speech;
use reeve_types::model::Usage;
use serde_json::Value;

use super::{anthropic, chat, gemini};

/// More tokens than any answer has. What a server says beyond it is not believed, and never overflows a sum.
const TOKENS_MAX: u64 = 1 << 40;

/// What one answer has told so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// The model that answers, in the server's words.
    pub(crate) model: Option<String>,
    /// All tokens so far.
    pub(crate) usage: Usage,
}

impl Used {
    /// Takes an event of a stream, or a whole answer. What says nothing of tokens changes nothing.
    pub(crate) fn take(&mut self, speech: Speech, told: &Value) {
        // Gemini's answers without events are lists of what the events would be.
        if let Some(parts) = told.as_array() {
            return parts.iter().filter(|part| part.is_object()).for_each(|part| self.take(speech, part));
        }
        let inner = match speech {
            Speech::Anthropic => &told["message"],
            Speech::Openai => &told["response"],
            Speech::Gemini => &Value::Null,
        };
        let names = [&inner["model"], &told["model"], &told["modelVersion"]];
        if let Some(name) = names.into_iter().find_map(Value::as_str).filter(|name| !name.is_empty()) {
            self.model = Some(name.to_owned());
        }
        for usage in [&inner["usage"], &told["usage"], &told["usageMetadata"]] {
            match speech {
                _ if !usage.is_object() => {}
                Speech::Anthropic => anthropic::add_usage(&mut self.usage, usage),
                Speech::Openai => self.usage = chat::any_usage(usage),
                Speech::Gemini => self.usage = gemini::usage(usage),
            }
        }
        let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, .. } = &mut self.usage;
        for tokens in [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens] {
            *tokens = TOKENS_MAX.min(*tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(speech: Speech, told: &[Value]) -> (Option<String>, [u64; 4]) {
        let mut used = Used::default();
        told.iter().for_each(|event| used.take(speech, event));
        let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, .. } = used.usage;
        (used.model, [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens])
    }

    #[test]
    fn each_vendors_counts_are_read_from_events_and_from_whole_answers() {
        let m = Some("m".to_owned());
        let start = json!({"type": "message_start", "message": {"model": "m", "usage":
            {"input_tokens": 11, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}}});
        let delta = json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}});
        let ping = json!({"type": "ping"});
        assert_eq!(used(Speech::Anthropic, &[start, ping, delta]), (m.clone(), [11, 9, 5, 2]));
        let whole = json!({"model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}});
        assert_eq!(used(Speech::Anthropic, &[whole]), (m.clone(), [3, 4, 0, 0]));
        assert_eq!(used(Speech::Anthropic, &[json!({"input_tokens": 10})]), (None, [0; 4]), "only a count");
        let absurd = json!({"usage": {"input_tokens": u64::MAX, "output_tokens": -1}});
        assert_eq!(used(Speech::Anthropic, &[absurd]), (None, [TOKENS_MAX, 0, 0, 0]));

        let chunk = json!({"model": "m", "choices": [{}], "usage": null});
        let last = json!({"model": "m", "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}});
        assert_eq!(used(Speech::Openai, &[chunk, last]), (m.clone(), [6, 2, 4, 0]));
        let done = json!({"type": "response.completed", "response": {"model": "m",
            "usage": {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 1}}}});
        assert_eq!(used(Speech::Openai, &[done]), (m.clone(), [6, 3, 1, 0]));

        let part = |tokens: u64| {
            json!({"modelVersion": "m", "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 2,
                "candidatesTokenCount": tokens, "thoughtsTokenCount": 1}})
        };
        assert_eq!(used(Speech::Gemini, &[part(1), part(4)]), (m.clone(), [7, 5, 2, 0]), "each tells all so far");
        assert_eq!(used(Speech::Gemini, &[json!([part(1), part(4)])]), (m, [7, 5, 2, 0]));
    }
}
