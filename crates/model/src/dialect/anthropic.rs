//! Anthropic's Messages.

use std::collections::HashMap;

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, ModelRole, StopReason, ToolChoice, Usage};
use serde_json::{Value, json};

use super::{Ask, Dialect, Reader, count, effort, json_of, results_first, sealed, text, unsealed};
use crate::draft::{CallIds, Draft, Part, object_of};
use crate::sse::SseEvent;
use crate::trouble::Trouble;

const SEAL: &str = "anthropic";

/// Fewest tokens that may be set aside for thinking.
const LEAST_THINKING: u32 = 1_024;

pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn path(&self, _model: &str) -> String {
        "v1/messages".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-api-key", "")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        // The version that servers which imitate this API know. The next one, 2026-10-21, only takes things away:
        // `temperature`, which models before 4.7 still understand.
        &[("anthropic-version", "2023-06-01")]
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let prompt = ask.prompt;
        let version = Version::of(ask.model);
        let mut max_tokens = ask.max_output_tokens.unwrap_or_else(|| version.usual_output());
        // A forced call and thinking exclude each other.
        let thinking = prompt.thinking_tokens.filter(|_| prompt.tool_choice != ToolChoice::Required);
        let mut body = json!({ "model": ask.model, "stream": true, "messages": messages(&prompt.messages) });
        if let Some(tokens) = thinking {
            if version.thinks_adaptively() {
                body["thinking"] = json!({ "type": "adaptive", "display": "summarized" });
                body["output_config"] = json!({ "effort": effort(tokens) });
            } else {
                let budget = tokens.max(LEAST_THINKING);
                max_tokens = max_tokens.max(budget.saturating_add(LEAST_THINKING));
                body["thinking"] = json!({ "type": "enabled", "budget_tokens": budget });
            }
        }
        body["max_tokens"] = json!(max_tokens);
        if let Some(temperature) = prompt.temperature.filter(|_| thinking.is_none() && version.takes_temperature()) {
            body["temperature"] = json!(temperature);
        }
        if !prompt.system.is_empty() {
            body["system"] = json!([{ "type": "text", "text": prompt.system, "cache_control": cached() }]);
        }
        if !prompt.tools.is_empty() {
            let tool = |tool: &reeve_types::model::ModelTool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.input_schema });
            let mut tools: Vec<Value> = prompt.tools.iter().map(tool).collect();
            if let Some(last) = tools.last_mut() {
                last["cache_control"] = cached();
            }
            body["tools"] = Value::Array(tools);
            let choice = match prompt.tool_choice {
                ToolChoice::Auto => "auto",
                ToolChoice::Required => "any",
                ToolChoice::None => "none",
            };
            body["tool_choice"] = json!({ "type": choice });
        }
        body
    }

    fn reader(&self, ids: CallIds) -> Box<dyn Reader> {
        Box::new(Messages { ids, draft: Draft::default(), places: HashMap::new(), done: false })
    }
}

/// Everything up to here is kept by the provider for five minutes.
fn cached() -> Value {
    json!({ "type": "ephemeral" })
}

fn messages(messages: &[Message]) -> Vec<Value> {
    let mut told: Vec<Value> = messages.iter().filter_map(message).collect();
    // The conversation grows at its end: what is read this time is in the cache next time.
    let last_user = told.iter_mut().rev().find(|message| message["role"] == "user");
    if let Some(block) = last_user.and_then(|message| message["content"].as_array_mut()?.last_mut()) {
        block["cache_control"] = cached();
    }
    told
}

fn message(message: &Message) -> Option<Value> {
    let role = match message.role {
        ModelRole::User => "user",
        ModelRole::Assistant => "assistant",
    };
    let content: Vec<Value> = results_first(message).filter_map(block).collect();
    (!content.is_empty()).then(|| json!({ "role": role, "content": content }))
}

fn block(block: &Block) -> Option<Value> {
    Some(match block {
        Block::Text { text } if text.trim().is_empty() => return None,
        Block::Text { text } => json!({ "type": "text", "text": text }),
        Block::Image { media_type, data } => {
            json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
        }
        Block::Thinking { text, signature } => {
            let signature = unsealed(SEAL, signature.as_deref()?)?;
            json!({ "type": "thinking", "thinking": text, "signature": signature })
        }
        Block::RedactedThinking { data } => json!({ "type": "redacted_thinking", "data": unsealed(SEAL, data)? }),
        Block::ToolUse { id, name, input, .. } => {
            json!({ "type": "tool_use", "id": plain_id(id), "name": name, "input": object_of(input) })
        }
        Block::ToolResult { tool_use_id, content, is_error, .. } => {
            // An empty text block is refused, an empty result is not.
            let mut result = json!({ "type": "tool_result", "tool_use_id": plain_id(tool_use_id), "content": content });
            if *is_error {
                result["is_error"] = json!(true);
            }
            result
        }
    })
}

/// Ids of other providers may have letters that this one refuses.
fn plain_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

/// A model's generation, as its name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u16, u16);

impl Version {
    fn of(model: &str) -> Self {
        if !model.contains("claude") {
            return Self(0, 0);
        }
        // Dates are numbers too, but long ones.
        let mut numbers =
            model.split(['-', '.', '@', ':', '[']).filter(|word| word.len() <= 2).filter_map(|word| word.parse().ok());
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn thinks_adaptively(self) -> bool {
        self >= Self(4, 6)
    }

    fn takes_temperature(self) -> bool {
        self < Self(4, 7)
    }

    fn usual_output(self) -> u32 {
        if (Self(3, 0)..Self(3, 7)).contains(&self) { 4_096 } else { 16_384 }
    }
}

/// Reads the events of one answer.
struct Messages {
    ids: CallIds,
    draft: Draft,
    /// Where the provider's blocks stand among ours.
    places: HashMap<u64, usize>,
    done: bool,
}

impl Messages {
    fn start_block(&mut self, index: u64, block: &Value, said: &mut Vec<ModelEvent>) {
        let part = match text(&block["type"]) {
            "text" => Part::Text(String::new()),
            "thinking" => Part::Thinking { text: String::new(), signature: None },
            "redacted_thinking" => Part::Redacted(sealed(SEAL, text(&block["data"]))),
            "tool_use" => {
                // Arguments come in pieces; servers that imitate this one may send them whole.
                let whole = block["input"].as_object().filter(|input| !input.is_empty());
                Part::Tool {
                    id: self.ids.settle(block["id"].as_str()),
                    name: text(&block["name"]).to_owned(),
                    arguments: whole.map(|_| block["input"].to_string()).unwrap_or_default(),
                    signature: None,
                }
            }
            // A kind of block that we did not ask for.
            _ => return,
        };
        let place = self.draft.open(part, said);
        self.places.insert(index, place);
        let begun = [("text", "text"), ("thinking", "thinking")].into_iter().find(|(kind, _)| block["type"] == *kind);
        if let Some((_, field)) = begun {
            self.extend(index, field, text(&block[field]), said);
        }
        if let Some(signature) = block["signature"].as_str().filter(|signature| !signature.is_empty()) {
            self.sign(index, signature);
        }
    }

    fn extend(&mut self, index: u64, kind: &str, piece: &str, said: &mut Vec<ModelEvent>) {
        let part = self.places.get(&index).and_then(|place| self.draft.parts.get_mut(*place));
        if piece.is_empty() {
            return;
        }
        match (kind, part) {
            ("text", Some(Part::Text(text))) => {
                text.push_str(piece);
                said.push(ModelEvent::Text(piece.to_owned()));
            }
            ("thinking", Some(Part::Thinking { text, .. })) => {
                text.push_str(piece);
                said.push(ModelEvent::Thinking(piece.to_owned()));
            }
            ("input", Some(Part::Tool { arguments, .. })) => arguments.push_str(piece),
            _ => {}
        }
    }

    fn sign(&mut self, index: u64, piece: &str) {
        let part = self.places.get(&index).and_then(|place| self.draft.parts.get_mut(*place));
        if let Some(Part::Thinking { signature, .. }) = part {
            signature.get_or_insert_with(|| sealed(SEAL, "")).push_str(piece);
        }
    }
}

/// Takes a report of tokens.
pub(super) fn add_usage(known: &mut Usage, usage: &Value) {
    for (field, total) in [
        ("input_tokens", &mut known.input_tokens),
        ("output_tokens", &mut known.output_tokens),
        ("cache_read_input_tokens", &mut known.cache_read_tokens),
        ("cache_creation_input_tokens", &mut known.cache_write_tokens),
    ] {
        // Each report is of all so far.
        if let Some(tokens) = usage[field].as_u64() {
            *total = tokens;
        }
    }
}

impl Reader for Messages {
    fn take(&mut self, event: &SseEvent, said: &mut Vec<ModelEvent>) -> Result<(), Trouble> {
        let event = json_of(event)?;
        let index = count(&event["index"]);
        match text(&event["type"]) {
            "message_start" => {
                let message = &event["message"];
                text(&message["id"]).clone_into(&mut self.draft.id);
                text(&message["model"]).clone_into(&mut self.draft.model);
                add_usage(&mut self.draft.usage, &message["usage"]);
            }
            "content_block_start" => self.start_block(index, &event["content_block"], said),
            "content_block_delta" => {
                let delta = &event["delta"];
                match text(&delta["type"]) {
                    "text_delta" => self.extend(index, "text", text(&delta["text"]), said),
                    "thinking_delta" => self.extend(index, "thinking", text(&delta["thinking"]), said),
                    "input_json_delta" => self.extend(index, "input", text(&delta["partial_json"]), said),
                    "signature_delta" => self.sign(index, text(&delta["signature"])),
                    _ => {}
                }
            }
            "message_delta" => {
                add_usage(&mut self.draft.usage, &event["usage"]);
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.draft.stop = Some(match reason {
                        "end_turn" | "stop_sequence" => StopReason::EndTurn,
                        "tool_use" => StopReason::ToolUse,
                        "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
                        "refusal" => StopReason::Refusal,
                        _ => StopReason::Other,
                    });
                }
            }
            "message_stop" => self.done = true,
            "error" => return Err(Trouble::told(&event)),
            // `ping`, `content_block_stop`, and kinds of events that are yet to be invented.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn is_whole(&self) -> bool {
        self.done
    }

    fn draft(&self) -> &Draft {
        &self.draft
    }

    fn into_draft(self: Box<Self>) -> Draft {
        self.draft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_names() {
        for (model, version) in [
            ("claude-opus-4-5-20251101", Version(4, 5)),
            ("claude-sonnet-4-20250514", Version(4, 0)),
            ("claude-3-7-sonnet-latest", Version(3, 7)),
            ("claude-3-haiku-20240307", Version(3, 0)),
            ("claude-opus-5", Version(5, 0)),
            ("anthropic.claude-opus-4-7", Version(4, 7)),
            ("qwen3-8b", Version(0, 0)),
        ] {
            assert_eq!(Version::of(model), version, "{model}");
        }
    }
}
