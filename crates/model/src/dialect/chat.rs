//! OpenAI's chat completions, as OpenAI, Ollama, llama.cpp, vLLM, LM Studio and many others speak them.

use std::collections::HashMap;

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, ModelRole, StopReason, ToolChoice, Usage};
use serde_json::{Value, json};

use super::{Ask, Dialect, Reader, count, effort, json_of, text};
use crate::draft::{CallIds, Draft, Part};
use crate::sse::SseEvent;
use crate::trouble::Trouble;

pub(super) struct Chat;

impl Dialect for Chat {
    fn path(&self, _model: &str) -> String {
        "chat/completions".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let prompt = ask.prompt;
        let mut messages = Vec::new();
        if !prompt.system.is_empty() {
            messages.push(json!({ "role": "system", "content": prompt.system }));
        }
        for message in &prompt.messages {
            match message.role {
                ModelRole::User => user(message, &mut messages),
                ModelRole::Assistant => messages.extend(assistant(message, ask)),
            }
        }
        let mut body = json!({
            "model": ask.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(tokens) = ask.max_output_tokens {
            // The vendor renamed the field; others know the old name only.
            body[if ask.is_vendor { "max_completion_tokens" } else { "max_tokens" }] = json!(tokens);
        }
        if let Some(tokens) = prompt.thinking_tokens {
            body["reasoning_effort"] = json!(effort(tokens));
        }
        if let Some(temperature) = prompt.temperature.filter(|_| !(ask.is_vendor && reasons(ask.model))) {
            body["temperature"] = json!(temperature);
        }
        if !prompt.tools.is_empty() {
            let tools = prompt.tools.iter().map(|tool| {
                let function =
                    json!({ "name": tool.name, "description": tool.description, "parameters": tool.input_schema });
                json!({ "type": "function", "function": function })
            });
            body["tools"] = tools.collect();
            body["tool_choice"] = json!(choice(prompt.tool_choice));
        }
        body
    }

    fn reader(&self, ids: CallIds) -> Box<dyn Reader> {
        Box::new(Chunks {
            ids,
            draft: Draft::default(),
            calls: HashMap::new(),
            given: HashMap::new(),
            ended: false,
            done: false,
        })
    }
}

pub(super) fn choice(choice: ToolChoice) -> &'static str {
    match choice {
        ToolChoice::Auto => "auto",
        ToolChoice::Required => "required",
        ToolChoice::None => "none",
    }
}

/// Whether it is one of the vendor's models that think, which choose their words themselves.
pub(super) fn reasons(model: &str) -> bool {
    let generation = model.strip_prefix("gpt-").and_then(|rest| rest.bytes().next());
    let thinks = model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (thinks || generation.is_some_and(|digit| (b'5'..=b'9').contains(&digit))) && !model.contains("-chat")
}

/// What went wrong is said in words, since there is no field for it.
pub(super) fn result(content: &str, is_error: bool) -> String {
    if is_error { format!("The tool failed: {content}") } else { content.to_owned() }
}

pub(super) fn arguments(input: &Value) -> String {
    match input {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Results are messages of their own here and must follow the calls directly.
fn user(message: &Message, messages: &mut Vec<Value>) {
    let mut parts = Vec::new();
    for block in &message.blocks {
        match block {
            Block::ToolResult { tool_use_id, content, is_error, .. } => messages
                .push(json!({ "role": "tool", "tool_call_id": tool_use_id, "content": result(content, *is_error) })),
            Block::Text { text } => parts.push(json!({ "type": "text", "text": text })),
            Block::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
            }
            _ => {}
        }
    }
    match parts.as_slice() {
        [] => {}
        // Small servers know no other form.
        [only] if only["type"] == "text" => messages.push(json!({ "role": "user", "content": only["text"] })),
        _ => messages.push(json!({ "role": "user", "content": parts })),
    }
}

fn assistant(message: &Message, ask: &Ask<'_>) -> Option<Value> {
    let mut words = String::new();
    let mut thoughts = String::new();
    let mut calls = Vec::new();
    for block in &message.blocks {
        match block {
            Block::Text { text } => words.push_str(text),
            // Thoughts under seal belong to another kind of provider.
            Block::Thinking { text, signature: None } => thoughts.push_str(text),
            Block::ToolUse { id, name, input, .. } => calls.push(
                json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments(input) } }),
            ),
            _ => {}
        }
    }
    if words.is_empty() && calls.is_empty() {
        return None;
    }
    let content = if words.is_empty() { Value::Null } else { Value::String(words) };
    let mut told = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        told["tool_calls"] = Value::Array(calls);
        // Thoughts that led to calls go back to open models; DeepSeek insists on it, even when there were none.
        if !ask.is_vendor && (!thoughts.is_empty() || ask.model.contains("deepseek")) {
            told["reasoning_content"] = json!(thoughts);
        }
    }
    Some(told)
}

/// Tokens as OpenAI counts them: those from the cache are among those that were read.
pub(super) fn usage(read: &Value, written: &Value, details: &Value) -> Usage {
    let (cache_read, cache_write) = (count(&details["cached_tokens"]), count(&details["cache_write_tokens"]));
    Usage {
        input_tokens: count(read).saturating_sub(cache_read).saturating_sub(cache_write),
        output_tokens: count(written),
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        cost_micro_usd: None,
    }
}

/// The same, in whichever of OpenAI's two APIs it is told.
pub(super) fn any_usage(told: &Value) -> Usage {
    if told.get("prompt_tokens").is_some() {
        usage(&told["prompt_tokens"], &told["completion_tokens"], &told["prompt_tokens_details"])
    } else {
        usage(&told["input_tokens"], &told["output_tokens"], &told["input_tokens_details"])
    }
}

struct Chunks {
    ids: CallIds,
    draft: Draft,
    /// Where the call that is being written at an index stands.
    calls: HashMap<u64, usize>,
    /// The server's id of it, which may differ from ours.
    given: HashMap<u64, String>,
    /// The model has stopped; its usage may follow.
    ended: bool,
    done: bool,
}

impl Chunks {
    fn call(&mut self, delta: &Value, said: &mut Vec<ModelEvent>) {
        let index = count(&delta["index"]);
        let function = &delta["function"];
        let given = text(&delta["id"]);
        // Some servers send whole calls one after the other, all with index 0.
        let is_new = match self.given.get(&index) {
            None => true,
            Some(known) => !given.is_empty() && known != given,
        };
        if is_new {
            let part = Part::Tool {
                id: self.ids.settle(delta["id"].as_str()),
                name: text(&function["name"]).to_owned(),
                arguments: String::new(),
                signature: None,
            };
            let place = self.draft.open(part, said);
            self.calls.insert(index, place);
            self.given.insert(index, given.to_owned());
        }
        let part = self.calls.get(&index).and_then(|place| self.draft.parts.get_mut(*place));
        if let Some(Part::Tool { arguments, .. }) = part {
            match &function["arguments"] {
                Value::String(piece) => arguments.push_str(piece),
                // Against the specification, but seen.
                whole @ Value::Object(_) => *arguments = whole.to_string(),
                _ => {}
            }
        }
    }
}

impl Reader for Chunks {
    fn take(&mut self, event: &SseEvent, said: &mut Vec<ModelEvent>) -> Result<(), Trouble> {
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = json_of(event)?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) || event.event == "error" {
            return Err(Trouble::told(&chunk));
        }
        if let Some(id) = chunk["id"].as_str() {
            id.clone_into(&mut self.draft.id);
        }
        if let Some(model) = chunk["model"].as_str() {
            model.clone_into(&mut self.draft.model);
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        let thought = [&delta["reasoning_content"], &delta["reasoning"]].into_iter().find_map(Value::as_str);
        self.draft.thought(thought.unwrap_or_default(), said);
        self.draft.text(text(&delta["content"]), said);
        let refusal = text(&delta["refusal"]);
        if !refusal.is_empty() {
            self.draft.text(refusal, said);
            self.draft.stop = Some(StopReason::Refusal);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(call, said);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.ended = true;
            let reason = match reason {
                "stop" => StopReason::EndTurn,
                "tool_calls" | "function_call" => StopReason::ToolUse,
                "length" => StopReason::MaxTokens,
                "content_filter" => StopReason::Refusal,
                _ => StopReason::Other,
            };
            // A refusal in words ends with `stop` like everything else.
            self.draft.stop = Some(match self.draft.stop {
                Some(StopReason::Refusal) => StopReason::Refusal,
                _ => reason,
            });
        }
        if let Some(told) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.draft.usage =
                usage(&told["prompt_tokens"], &told["completion_tokens"], &told["prompt_tokens_details"]);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn is_whole(&self) -> bool {
        self.done || self.ended
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
    fn models_that_reason_are_known_by_name() {
        for model in ["o3", "o4-mini", "gpt-5", "gpt-6.1-sol"] {
            assert!(reasons(model), "{model}");
        }
        for model in ["gpt-4.1", "gpt-5-chat-latest", "gpt-oss:20b", "olmo-2", "qwen3"] {
            assert!(!reasons(model), "{model}");
        }
    }
}
