//! OpenAI's Responses, without any state kept at OpenAI.

use std::collections::HashMap;

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, ModelRole, StopReason};
use serde_json::{Value, json};

use super::{Ask, Dialect, Reader, chat, count, effort, json_of, results_first, sealed, text, unsealed};
use crate::draft::{CallIds, Draft, Part};
use crate::sse::SseEvent;
use crate::trouble::Trouble;

const SEAL: &str = "openai";

/// Shortest answer that the API can be asked for.
const LEAST_OUTPUT: u32 = 16;

pub(super) struct Responses;

impl Dialect for Responses {
    fn path(&self, _model: &str) -> String {
        "responses".to_owned()
    }

    fn key_header(&self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let prompt = ask.prompt;
        let input: Vec<Value> = prompt.messages.iter().flat_map(items).collect();
        let mut body = json!({ "model": ask.model, "input": input, "stream": true, "store": false });
        if !prompt.system.is_empty() {
            body["instructions"] = json!(prompt.system);
        }
        if let Some(tokens) = ask.max_output_tokens {
            body["max_output_tokens"] = json!(tokens.max(LEAST_OUTPUT));
        }
        let reasons = chat::reasons(ask.model);
        if reasons || prompt.thinking_tokens.is_some() {
            // Nothing is stored there, so thoughts come here under seal and go back with the results of tools.
            body["include"] = json!(["reasoning.encrypted_content"]);
        }
        if let Some(tokens) = prompt.thinking_tokens {
            body["reasoning"] = json!({ "effort": effort(tokens), "summary": "auto" });
        }
        if let Some(temperature) = prompt.temperature.filter(|_| !reasons) {
            body["temperature"] = json!(temperature);
        }
        if !prompt.tools.is_empty() {
            let tools = prompt.tools.iter().map(|tool| {
                json!({
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                    // Strict schemas have to name every property as required; ours need not.
                    "strict": false,
                })
            });
            body["tools"] = tools.collect();
            body["tool_choice"] = json!(chat::choice(prompt.tool_choice));
        }
        body
    }

    fn reader(&self, ids: CallIds) -> Box<dyn Reader> {
        Box::new(Events { ids, draft: Draft::default(), places: HashMap::new(), done: false })
    }
}

fn items(message: &Message) -> Vec<Value> {
    let mut items = Vec::new();
    let mut content = Vec::new();
    for block in results_first(message) {
        let item = match block {
            Block::Text { text } if text.is_empty() => continue,
            Block::Text { text } if message.role == ModelRole::User => {
                content.push(json!({ "type": "input_text", "text": text }));
                continue;
            }
            // In the long form the model's own words have ids, which nobody knows any more.
            Block::Text { text } => json!({ "type": "message", "role": "assistant", "content": text }),
            Block::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                content.push(json!({ "type": "input_image", "image_url": url, "detail": "auto" }));
                continue;
            }
            Block::Thinking { text, signature } => match signature.as_deref().and_then(|seal| unsealed(SEAL, seal)) {
                Some(seal) => reasoning(text, seal),
                None => continue,
            },
            Block::RedactedThinking { .. } => continue,
            Block::ToolUse { id, name, input, .. } => {
                json!({ "type": "function_call", "call_id": id, "name": name, "arguments": chat::arguments(input) })
            }
            Block::ToolResult { tool_use_id, content, is_error, .. } => json!({
                "type": "function_call_output",
                "call_id": tool_use_id,
                "output": chat::result(content, *is_error),
            }),
        };
        said_by_user(&mut content, &mut items);
        items.push(item);
    }
    said_by_user(&mut content, &mut items);
    items
}

fn said_by_user(content: &mut Vec<Value>, items: &mut Vec<Value>) {
    if !content.is_empty() {
        items.push(json!({ "type": "message", "role": "user", "content": std::mem::take(content) }));
    }
}

/// A thought as it came: its id, then what only the provider can read.
fn reasoning(summary: &str, seal: &str) -> Value {
    let (id, encrypted) = seal.split_once(':').unwrap_or(("", seal));
    let summary = if summary.is_empty() { json!([]) } else { json!([{ "type": "summary_text", "text": summary }]) };
    let mut item = json!({ "type": "reasoning", "summary": summary, "encrypted_content": encrypted });
    if !id.is_empty() {
        item["id"] = json!(id);
    }
    item
}

struct Events {
    ids: CallIds,
    draft: Draft,
    /// Where the provider's items stand among ours.
    places: HashMap<u64, usize>,
    done: bool,
}

impl Events {
    fn start_item(&mut self, index: u64, item: &Value, said: &mut Vec<ModelEvent>) {
        let part = match text(&item["type"]) {
            "message" => Part::Text(String::new()),
            "reasoning" => Part::Thinking { text: String::new(), signature: None },
            "function_call" => Part::Tool {
                id: self.ids.settle(item["call_id"].as_str()),
                name: text(&item["name"]).to_owned(),
                arguments: String::new(),
                signature: None,
            },
            _ => return,
        };
        let place = self.draft.open(part, said);
        self.places.insert(index, place);
    }

    fn part(&mut self, index: u64) -> Option<&mut Part> {
        let place = self.places.get(&index)?;
        self.draft.parts.get_mut(*place)
    }

    fn extend(&mut self, index: u64, piece: &str, said: &mut Vec<ModelEvent>) {
        match self.part(index) {
            Some(Part::Text(text)) => {
                text.push_str(piece);
                said.push(ModelEvent::Text(piece.to_owned()));
            }
            Some(Part::Thinking { text, .. }) => {
                text.push_str(piece);
                said.push(ModelEvent::Thinking(piece.to_owned()));
            }
            Some(Part::Tool { arguments, .. }) => arguments.push_str(piece),
            Some(Part::Redacted(_)) | None => {}
        }
    }

    fn end_item(&mut self, index: u64, item: &Value, said: &mut Vec<ModelEvent>) {
        if !self.places.contains_key(&index) {
            self.start_item(index, item, said);
        }
        match self.part(index) {
            Some(Part::Tool { arguments, .. }) => {
                if let Some(whole) = item["arguments"].as_str() {
                    whole.clone_into(arguments);
                }
            }
            Some(Part::Thinking { signature, .. }) => {
                if let Some(encrypted) = item["encrypted_content"].as_str() {
                    *signature = Some(sealed(SEAL, &format!("{}:{encrypted}", text(&item["id"]))));
                }
            }
            // Servers that do not stream tell all of it here.
            Some(Part::Text(words)) if words.is_empty() => {
                let pieces = item["content"].as_array().into_iter().flatten();
                let whole: String = pieces.map(|piece| text(&piece["text"])).collect();
                self.extend(index, &whole, said);
            }
            _ => {}
        }
    }

    fn end(&mut self, response: &Value, stop: StopReason) {
        self.done = true;
        self.draft.stop.get_or_insert(stop);
        let told = &response["usage"];
        self.draft.usage = chat::usage(&told["input_tokens"], &told["output_tokens"], &told["input_tokens_details"]);
    }
}

impl Reader for Events {
    fn take(&mut self, event: &SseEvent, said: &mut Vec<ModelEvent>) -> Result<(), Trouble> {
        if event.data.trim() == "[DONE]" {
            return Ok(());
        }
        let event = json_of(event)?;
        let index = count(&event["output_index"]);
        let response = &event["response"];
        match text(&event["type"]) {
            "response.created" => {
                text(&response["id"]).clone_into(&mut self.draft.id);
                text(&response["model"]).clone_into(&mut self.draft.model);
            }
            "response.output_item.added" => self.start_item(index, &event["item"], said),
            "response.output_text.delta"
            | "response.reasoning_summary_text.delta"
            | "response.reasoning_text.delta"
            | "response.function_call_arguments.delta" => self.extend(index, text(&event["delta"]), said),
            // A summary has several parts, each a paragraph.
            "response.reasoning_summary_part.added" if count(&event["summary_index"]) > 0 => {
                self.extend(index, "\n\n", said);
            }
            "response.refusal.delta" => {
                self.draft.stop = Some(StopReason::Refusal);
                self.extend(index, text(&event["delta"]), said);
            }
            "response.output_item.done" => self.end_item(index, &event["item"], said),
            "response.completed" => self.end(response, StopReason::EndTurn),
            "response.incomplete" => {
                let stop = match text(&response["incomplete_details"]["reason"]) {
                    "max_output_tokens" => StopReason::MaxTokens,
                    "content_filter" => StopReason::Refusal,
                    _ => StopReason::Other,
                };
                self.end(response, stop);
            }
            "response.failed" => return Err(Trouble::told(response)),
            "error" => return Err(Trouble::told(&event)),
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
