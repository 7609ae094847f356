//! An answer while it is put together.

use std::collections::HashSet;

use reeve_gate::model::ModelEvent;
use reeve_types::model::{Block, Message, StopReason, Usage};
use serde_json::{Map, Value};

/// Most pieces that an answer may have.
const MAX_PARTS: usize = 4_096;

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
    Tool { id: String, name: String, arguments: String, signature: Option<String> },
}

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) id: String,
    /// The model, as the server names it.
    pub(crate) model: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) stop: Option<StopReason>,
    pub(crate) usage: Usage,
}

impl Draft {
    /// More words, after those that came last.
    pub(crate) fn text(&mut self, piece: &str, said: &mut Vec<ModelEvent>) {
        if piece.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(piece),
            _ => self.parts.push(Part::Text(piece.to_owned())),
        }
        said.push(ModelEvent::Text(piece.to_owned()));
    }

    /// More of a thought, after what came last of it.
    pub(crate) fn thought(&mut self, piece: &str, said: &mut Vec<ModelEvent>) {
        if piece.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Thinking { text, signature: None }) => text.push_str(piece),
            _ => self.parts.push(Part::Thinking { text: piece.to_owned(), signature: None }),
        }
        said.push(ModelEvent::Thinking(piece.to_owned()));
    }

    /// A new piece; tells where it stands.
    pub(crate) fn open(&mut self, part: Part, said: &mut Vec<ModelEvent>) -> usize {
        if let Part::Tool { id, name, .. } = &part {
            said.push(ModelEvent::ToolUse { id: id.clone(), name: name.clone() });
        }
        self.parts.push(part);
        self.parts.len() - 1
    }

    /// Whether it has more pieces than an answer may have.
    pub(crate) fn is_too_long(&self) -> bool {
        self.parts.len() > MAX_PARTS
    }

    /// Whether any tool is called.
    pub(crate) fn calls_tools(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Tool { .. }))
    }

    /// Why it stopped. Some servers say that a turn ended although the model calls tools.
    pub(crate) fn stop(&self) -> StopReason {
        match self.stop.unwrap_or(StopReason::Other) {
            StopReason::EndTurn if self.calls_tools() => StopReason::ToolUse,
            stop => stop,
        }
    }

    /// The pieces as blocks; empty ones say nothing and providers refuse to take them back.
    pub(crate) fn into_blocks(self) -> Vec<Block> {
        let block = |part| match part {
            Part::Text(text) => (!text.is_empty()).then_some(Block::Text { text }),
            Part::Thinking { text, signature } => {
                (!text.is_empty() || signature.is_some()).then_some(Block::Thinking { text, signature })
            }
            Part::Redacted(data) => Some(Block::RedactedThinking { data }),
            Part::Tool { id, name, arguments, signature } => {
                Some(Block::ToolUse { id, name, input: arguments_of(&arguments), signature })
            }
        };
        self.parts.into_iter().filter_map(block).collect()
    }
}

/// Arguments as an object; what is none stands as the text that came.
fn arguments_of(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Value::Object(arguments),
        _ => Value::String(text.to_owned()),
    }
}

/// Arguments for a provider that takes objects only.
pub(crate) fn object_of(input: &Value) -> Value {
    match input {
        Value::Object(_) => input.clone(),
        other => serde_json::json!({ "not_an_object": other }),
    }
}

/// Ids of calls that are unique in a conversation, whatever the server does: some give none, or the same ones each time.
#[derive(Debug)]
pub(crate) struct CallIds {
    used: HashSet<String>,
    seed: u64,
    made: u32,
}

/// What begins the ids that we give.
const OWN_PREFIX: &str = "reeve_";

impl CallIds {
    /// Ids that are not in `messages` yet. `chance` makes them differ between answers.
    pub(crate) fn after(messages: &[Message], chance: u128) -> Self {
        let used = messages.iter().flat_map(|message| &message.blocks).filter_map(|block| match block {
            Block::ToolUse { id, .. } => Some(id.clone()),
            _ => None,
        });
        #[expect(clippy::cast_possible_truncation, reason = "half of the chance is enough")]
        Self { used: used.collect(), seed: chance as u64, made: 0 }
    }

    /// The server's id if it is usable, or one of ours.
    pub(crate) fn settle(&mut self, given: Option<&str>) -> String {
        let given = given.filter(|id| !id.is_empty() && id.len() <= 128 && !self.used.contains(*id)).map(str::to_owned);
        let id = given.unwrap_or_else(|| {
            self.made += 1;
            format!("{OWN_PREFIX}{:016x}_{}", self.seed, self.made)
        });
        self.used.insert(id.clone());
        id
    }

    /// Whether we gave it.
    pub(crate) fn is_own(id: &str) -> bool {
        id.starts_with(OWN_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use reeve_types::model::ModelRole;
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_that_are_no_object_stay_as_text() {
        assert_eq!(arguments_of(" "), json!({}));
        assert_eq!(arguments_of("{\"a\":1}"), json!({"a": 1}));
        for text in ["{\"a\":", "[1]", "null", "ls -l"] {
            assert_eq!(arguments_of(text), json!(text));
        }
    }

    #[test]
    fn ids_are_unique_in_a_conversation() {
        let call = Block::ToolUse { id: "call_0".into(), name: "t".into(), input: json!({}), signature: None };
        let mut ids = CallIds::after(&[Message { role: ModelRole::Assistant, blocks: vec![call] }], 5);
        assert_eq!(ids.settle(Some("call_1")), "call_1");
        let given: HashSet<String> =
            [Some("call_0"), Some("call_1"), Some(""), None].map(|id| ids.settle(id)).into_iter().collect();
        assert_eq!(given.len(), 4);
        assert!(given.iter().all(|id| CallIds::is_own(id)));
    }

    #[test]
    fn an_answer_that_calls_tools_waits_for_their_results() {
        let mut draft = Draft { stop: Some(StopReason::EndTurn), ..Draft::default() };
        assert_eq!(draft.stop(), StopReason::EndTurn);
        let tool = Part::Tool { id: "1".into(), name: "t".into(), arguments: String::new(), signature: None };
        draft.open(tool, &mut Vec::new());
        assert_eq!(draft.stop(), StopReason::ToolUse);
    }
}
