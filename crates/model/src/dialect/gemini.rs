//! Google's Gemini: `streamGenerateContent`.

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, ModelRole, StopReason, ToolChoice, Usage};
use serde_json::{Value, json};

use super::{Ask, Dialect, Reader, count, effort, json_of, results_first, schema, sealed, text, unsealed};
use crate::draft::{CallIds, Draft, Part, object_of};
use crate::sse::SseEvent;
use crate::trouble::Trouble;

const SEAL: &str = "gemini";

/// What Google says to send in place of a seal with a call that another vendor's model made.
const NO_SEAL: &str = "skip_thought_signature_validator";

pub(super) struct Gemini;

impl Dialect for Gemini {
    fn path(&self, model: &str) -> String {
        format!("models/{model}:streamGenerateContent?alt=sse")
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("x-goog-api-key", "")
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let prompt = ask.prompt;
        let seals_calls = !is_older_than_three(ask.model);
        let contents: Vec<Value> = prompt.messages.iter().filter_map(|message| content(message, seals_calls)).collect();
        let mut body = json!({ "contents": contents });
        if !prompt.system.is_empty() {
            body["systemInstruction"] = json!({ "parts": [{ "text": prompt.system }] });
        }
        let mut generation = json!({});
        if let Some(tokens) = ask.max_output_tokens {
            generation["maxOutputTokens"] = json!(tokens);
        }
        if let Some(temperature) = prompt.temperature {
            generation["temperature"] = json!(temperature);
        }
        if let Some(tokens) = prompt.thinking_tokens {
            generation["thinkingConfig"] = if seals_calls {
                json!({ "includeThoughts": true, "thinkingLevel": effort(tokens) })
            } else {
                json!({ "includeThoughts": true, "thinkingBudget": tokens })
            };
        }
        if generation.as_object().is_some_and(|settings| !settings.is_empty()) {
            body["generationConfig"] = generation;
        }
        if !prompt.tools.is_empty() {
            let declare = |tool: &reeve_types::model::ModelTool| {
                let mut function = json!({ "name": tool.name, "description": tool.description });
                if let Some(parameters) = schema::cleaned(&tool.input_schema) {
                    function["parameters"] = parameters;
                }
                function
            };
            let functions: Vec<Value> = prompt.tools.iter().map(declare).collect();
            body["tools"] = json!([{ "functionDeclarations": functions }]);
            let mode = match prompt.tool_choice {
                ToolChoice::Auto => "AUTO",
                ToolChoice::Required => "ANY",
                ToolChoice::None => "NONE",
            };
            body["toolConfig"] = json!({ "functionCallingConfig": { "mode": mode } });
        }
        body
    }

    fn reader(&self, ids: CallIds) -> Box<dyn Reader> {
        Box::new(Candidates { ids, draft: Draft::default(), ended: false })
    }
}

fn is_older_than_three(model: &str) -> bool {
    ["gemini-1", "gemini-2"].iter().any(|name| model.starts_with(name))
}

fn content(message: &Message, seals_calls: bool) -> Option<Value> {
    let role = match message.role {
        ModelRole::User => "user",
        ModelRole::Assistant => "model",
    };
    let mut parts: Vec<Value> = results_first(message).filter_map(part).collect();
    // The first call of a turn must bear a seal.
    let first_call = parts.iter_mut().find(|part| part.get("functionCall").is_some());
    if let Some(call) = first_call.filter(|call| seals_calls && call.get("thoughtSignature").is_none()) {
        call["thoughtSignature"] = json!(NO_SEAL);
    }
    (!parts.is_empty()).then(|| json!({ "role": role, "parts": parts }))
}

fn part(block: &Block) -> Option<Value> {
    Some(match block {
        Block::Text { text } if text.is_empty() => return None,
        Block::Text { text } => json!({ "text": text }),
        Block::Image { media_type, data } => json!({ "inlineData": { "mimeType": media_type, "data": data } }),
        // A summary of a thought is for people; only the seal goes back.
        Block::Thinking { signature, .. } => {
            json!({ "text": "", "thoughtSignature": unsealed(SEAL, signature.as_deref()?)? })
        }
        Block::RedactedThinking { .. } => return None,
        Block::ToolUse { id, name, input, signature } => {
            let mut call = json!({ "functionCall": named(id, name, "args", object_of(input)) });
            if let Some(seal) = signature.as_deref().and_then(|seal| unsealed(SEAL, seal)) {
                call["thoughtSignature"] = json!(seal);
            }
            call
        }
        Block::ToolResult { tool_use_id, name, content, is_error } => {
            let outcome = if *is_error { "error" } else { "output" };
            json!({ "functionResponse": named(tool_use_id, name, "response", json!({ outcome: content })) })
        }
    })
}

/// Older models give no ids; those that we gave in their place are not sent.
fn named(id: &str, name: &str, field: &str, value: Value) -> Value {
    let mut told = json!({ "name": name, field: value });
    if !CallIds::is_own(id) {
        told["id"] = json!(id);
    }
    told
}

/// Tokens as Gemini counts them: each report is of all so far.
pub(super) fn usage(told: &Value) -> Usage {
    let cached = count(&told["cachedContentTokenCount"]);
    let read = count(&told["promptTokenCount"]).saturating_add(count(&told["toolUsePromptTokenCount"]));
    Usage {
        input_tokens: read.saturating_sub(cached),
        output_tokens: count(&told["candidatesTokenCount"]).saturating_add(count(&told["thoughtsTokenCount"])),
        cache_read_tokens: cached,
        ..Usage::default()
    }
}

struct Candidates {
    ids: CallIds,
    draft: Draft,
    ended: bool,
}

impl Candidates {
    fn part(&mut self, part: &Value, said: &mut Vec<ModelEvent>) {
        let seal = part["thoughtSignature"].as_str().map(|seal| sealed(SEAL, seal));
        let call = &part["functionCall"];
        if call.is_object() {
            let part = Part::Tool {
                id: self.ids.settle(call["id"].as_str()),
                name: text(&call["name"]).to_owned(),
                arguments: if call["args"].is_null() { String::new() } else { call["args"].to_string() },
                signature: seal,
            };
            self.draft.open(part, said);
            return;
        }
        let words = text(&part["text"]);
        if part["thought"] == json!(true) {
            self.draft.thought(words, said);
        } else {
            self.draft.text(words, said);
        }
        if seal.is_some() {
            self.draft.open(Part::Thinking { text: String::new(), signature: seal }, said);
        }
    }
}

impl Reader for Candidates {
    fn take(&mut self, event: &SseEvent, said: &mut Vec<ModelEvent>) -> Result<(), Trouble> {
        let chunk = json_of(event)?;
        if chunk.get("error").is_some() {
            return Err(Trouble::told(&chunk));
        }
        if let Some(id) = chunk["responseId"].as_str() {
            id.clone_into(&mut self.draft.id);
        }
        if let Some(model) = chunk["modelVersion"].as_str() {
            model.clone_into(&mut self.draft.model);
        }
        let candidate = &chunk["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self.part(part, said);
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.ended = true;
            self.draft.stop = Some(match reason {
                "STOP" => StopReason::EndTurn,
                "MAX_TOKENS" => StopReason::MaxTokens,
                "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
                    StopReason::Refusal
                }
                _ => StopReason::Other,
            });
        }
        // The question itself was refused: there is no candidate.
        if chunk["promptFeedback"]["blockReason"].is_string() {
            self.ended = true;
            self.draft.stop = Some(StopReason::Refusal);
        }
        if let Some(told) = chunk.get("usageMetadata") {
            self.draft.usage = usage(told);
        }
        Ok(())
    }

    /// Nothing marks the end but the end itself: the last counts come with or after the reason.
    fn is_done(&self) -> bool {
        false
    }

    fn is_whole(&self) -> bool {
        self.ended
    }

    fn draft(&self) -> &Draft {
        &self.draft
    }

    fn into_draft(self: Box<Self>) -> Draft {
        self.draft
    }
}
