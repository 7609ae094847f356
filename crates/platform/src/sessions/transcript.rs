//! The conversation that a model sees, as it follows from a session's events.
//!
//! Nothing of it is kept beside the events: a turn that a crash cut off goes on from the same conversation that it would
//! have had without the crash.

use std::collections::{BTreeMap, HashMap, HashSet};

use reeve_types::model::{Block, Message, ModelRole, StopReason};
use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{ActionId, Digest, PromptId};
use serde_json::Value;

use super::deeds::ActNumbers;

/// A call that the model wants and that has no answer yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OpenCall {
    /// The call's id.
    pub id: String,
    /// The tool, as the model knows it.
    pub name: String,
    /// Its arguments.
    pub input: Value,
    /// The action it was begun as, if it was begun.
    pub begun: Option<Option<ActionId>>,
}

/// What comes next in a turn.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Answer these calls.
    Answer(Vec<OpenCall>),
    /// Ask the model.
    Ask,
    /// The model has said all.
    Done(StopReason),
}

/// The conversation so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    messages: Vec<Message>,
    prompts: HashMap<PromptId, String>,
    results: BTreeMap<String, (String, bool)>,
    begun: HashMap<String, Option<ActionId>>,
    last_stop: Option<StopReason>,
    /// Where the whole of results is kept that were too long for an event.
    wholes: HashMap<String, Digest>,
    /// How the model may refer to what it did.
    acts: ActNumbers,
}

impl Transcript {
    pub(super) fn of(events: &[SessionEvent]) -> Self {
        let mut transcript = Self::default();
        for event in events {
            transcript.take(&event.what);
        }
        transcript
    }

    /// Takes one more event in.
    pub(super) fn take(&mut self, what: &Happening) {
        match what {
            Happening::Prompt { prompt_id, text, .. } => {
                self.prompts.insert(prompt_id.clone(), text.clone());
            }
            Happening::TurnStarted { prompt_id, .. } => {
                self.close_open_calls("the turn ended before this was answered");
                let text = self.prompts.remove(prompt_id).unwrap_or_default();
                self.push_user(Block::Text { text });
                self.last_stop = None;
            }
            Happening::ModelReplied { reply, .. } => {
                self.flush_results();
                self.messages.push(Message { role: ModelRole::Assistant, blocks: reply.blocks.clone() });
                self.last_stop = Some(reply.stop);
            }
            Happening::ToolCalled { call_id, action_id, .. } => {
                self.begun.insert(call_id.clone(), action_id.clone());
                self.acts.take(what);
            }
            Happening::ToolFinished { call_id, is_error, content, whole, .. } => {
                if let Some(whole) = whole {
                    self.wholes.insert(call_id.clone(), *whole);
                }
                self.results.insert(call_id.clone(), (content.clone(), *is_error));
            }
            _ => {}
        }
    }

    /// What comes next.
    pub(super) fn next(&self) -> Next {
        let open = self.open_calls();
        if !open.is_empty() {
            return Next::Answer(open);
        }
        match self.messages.last() {
            Some(last) if last.role == ModelRole::Assistant => {
                let called = last.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
                if called { Next::Ask } else { Next::Done(self.last_stop.unwrap_or(StopReason::EndTurn)) }
            }
            _ => Next::Ask,
        }
    }

    /// The messages to send, every call answered.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut copy = self.messages.clone();
        if let Some(results) = self.results_message() {
            copy.push(results);
        }
        copy
    }

    /// Where the whole of results is kept that were too long for an event, by call.
    pub(super) fn wholes(&self) -> &HashMap<String, Digest> {
        &self.wholes
    }

    fn last_calls(&self) -> impl Iterator<Item = (&String, &String, &Value)> {
        let last = self.messages.last().filter(|message| message.role == ModelRole::Assistant);
        last.into_iter().flat_map(|message| &message.blocks).filter_map(|block| match block {
            Block::ToolUse { id, name, input, .. } => Some((id, name, input)),
            _ => None,
        })
    }

    fn open_calls(&self) -> Vec<OpenCall> {
        let mut seen = HashSet::new();
        self.last_calls()
            .filter(|(id, ..)| !self.results.contains_key(*id) && seen.insert((*id).clone()))
            .map(|(id, name, input)| OpenCall {
                id: id.clone(),
                name: name.clone(),
                input: input.clone(),
                begun: self.begun.get(id).cloned(),
            })
            .collect()
    }

    fn results_message(&self) -> Option<Message> {
        let blocks: Vec<Block> = self
            .last_calls()
            .filter_map(|(id, name, _)| {
                let (content, is_error) = self.results.get(id)?;
                // What changes something can be referred to, and so stated.
                let content = match self.acts.of(id) {
                    Some(act) => format!("[act {act}]\n{content}"),
                    None => content.clone(),
                };
                Some(Block::ToolResult { tool_use_id: id.clone(), name: name.clone(), content, is_error: *is_error })
            })
            .collect();
        (!blocks.is_empty()).then_some(Message { role: ModelRole::User, blocks })
    }

    fn flush_results(&mut self) {
        if let Some(results) = self.results_message() {
            self.messages.push(results);
            self.results.clear();
        }
    }

    /// A model must not see a call without an answer.
    fn close_open_calls(&mut self, why: &str) {
        for call in self.open_calls() {
            self.results.insert(call.id, (why.to_owned(), true));
        }
        self.flush_results();
    }

    fn push_user(&mut self, block: Block) {
        match self.messages.last_mut() {
            Some(last) if last.role == ModelRole::User => last.blocks.push(block),
            _ => self.messages.push(Message { role: ModelRole::User, blocks: vec![block] }),
        }
    }
}

/// The words among some blocks.
pub(super) fn text_of(blocks: &[Block]) -> String {
    let words: Vec<&str> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text } if !text.trim().is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect();
    words.join("\n\n")
}

/// Characters of text per token, roughly and on the safe side.
const CHARS_PER_TOKEN: usize = 3;
/// What is left of a result that was shortened, in characters.
const SHORTENED_CHARS: usize = 400;

/// What was done to make a conversation fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    /// Results that were shortened.
    pub results: usize,
    /// Messages that were left out.
    pub messages: usize,
    /// The whole of what was shortened and is kept nowhere else; it is to be kept before the model is asked.
    pub kept: Vec<String>,
}

/// Makes a conversation fit: first the oldest results are shortened, then the oldest messages left out. The first message
/// and the last few stay whole, and a result never loses its call. What is shortened says where the whole can be read;
/// `wholes` are those that are kept already, by call.
pub(super) fn trim(
    messages: &mut Vec<Message>,
    fixed_chars: usize,
    context_tokens: u32,
    wholes: &HashMap<String, Digest>,
) -> Trimmed {
    const KEPT_AT_END: usize = 4;
    // A fifth is left for the answer.
    let room = (context_tokens as usize * CHARS_PER_TOKEN * 4 / 5).saturating_sub(fixed_chars);
    let mut size: usize = messages.iter().map(size_of).sum();
    let mut trimmed = Trimmed::default();
    let old = messages.len().saturating_sub(KEPT_AT_END);
    for message in messages.iter_mut().take(old) {
        for block in &mut message.blocks {
            if size <= room {
                return trimmed;
            }
            if let Block::ToolResult { tool_use_id, content, .. } = block
                && content.chars().count() > SHORTENED_CHARS * 2
            {
                let head: String = content.chars().take(SHORTENED_CHARS).collect();
                let kept = wholes.get(tool_use_id).copied();
                let digest = kept.unwrap_or_else(|| Digest::of(content.as_bytes()));
                let short = format!(
                    "{head}\n[shortened: this is the beginning of an older result; read the whole with read_kept_result, \
                     result \"{digest}\"]"
                );
                size -= content.len().saturating_sub(short.len());
                let whole = std::mem::replace(content, short);
                trimmed.kept.extend(kept.is_none().then_some(whole));
                trimmed.results += 1;
            }
        }
    }
    while size > room && messages.len() > KEPT_AT_END + 2 {
        // An assistant's message goes with the results that answer it.
        for _ in 0..2 {
            size -= size_of(&messages[1]).min(size);
            messages.remove(1);
            trimmed.messages += 1;
        }
    }
    if trimmed.messages > 0 {
        // What follows the first message must be the assistant's, and no result may be without its call.
        while messages.len() > 1 && messages[1].role == ModelRole::User {
            messages.remove(1);
            trimmed.messages += 1;
        }
        if let Some(Message { blocks, .. }) = messages.first_mut() {
            blocks.push(Block::Text {
                text: "[what was said between this and what follows was left out, for lack of room]".to_owned(),
            });
        }
    }
    trimmed
}

fn size_of(message: &Message) -> usize {
    let block = |block: &Block| match block {
        Block::Text { text } | Block::Thinking { text, .. } => text.len(),
        // A picture costs about 1,500 tokens whatever its size.
        Block::Image { .. } => 1500 * CHARS_PER_TOKEN,
        Block::RedactedThinking { data } => data.len(),
        Block::ToolUse { input, name, .. } => input.to_string().len() + name.len(),
        Block::ToolResult { content, .. } => content.len(),
    };
    message.blocks.iter().map(block).sum::<usize>() + 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::model::{Reply, Usage};
    use serde_json::json;

    fn at(what: Happening) -> SessionEvent {
        let session_id = "ses_01jtqz0000000000000000000a".parse().unwrap();
        SessionEvent { session_id, seq: 1, at: jiff::Timestamp::UNIX_EPOCH, what }
    }

    fn prompt(id: &str, text: &str) -> [SessionEvent; 2] {
        let prompt_id: PromptId = format!("prm_{id}").parse().unwrap();
        [
            at(Happening::Prompt { prompt_id: prompt_id.clone(), text: text.to_owned(), by: "user:a".to_owned() }),
            at(Happening::TurnStarted { turn: 1, prompt_id }),
        ]
    }

    fn reply(blocks: Vec<Block>, stop: StopReason) -> SessionEvent {
        let reply = Reply { id: "r".to_owned(), model: "replay/x".to_owned(), blocks, stop, usage: Usage::default() };
        at(Happening::ModelReplied { turn: 1, call: 1, reply })
    }

    fn call(id: &str) -> Block {
        Block::ToolUse { id: id.to_owned(), name: "look".to_owned(), input: json!({}), signature: None }
    }

    fn finished(id: &str, content: &str) -> SessionEvent {
        at(Happening::ToolFinished {
            call_id: id.to_owned(),
            is_error: false,
            content: content.to_owned(),
            whole: None,
            record: None,
            diffs: Vec::new(),
        })
    }

    #[test]
    fn a_turn_asks_answers_the_calls_and_ends() {
        let mut events = prompt("a", "hello").to_vec();
        assert_eq!(Transcript::of(&events).next(), Next::Ask);
        events.push(reply(vec![call("c1"), call("c2")], StopReason::ToolUse));
        let Next::Answer(open) = Transcript::of(&events).next() else { panic!("two calls are open") };
        assert_eq!(open.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["c1", "c2"]);
        events.push(finished("c2", "two"));
        let Next::Answer(open) = Transcript::of(&events).next() else { panic!("one call is open") };
        assert_eq!(open.len(), 1);
        events.push(finished("c1", "one"));
        let transcript = Transcript::of(&events);
        assert_eq!(transcript.next(), Next::Ask);
        let messages = transcript.messages();
        assert_eq!(messages.len(), 3);
        let ids: Vec<_> = messages[2]
            .blocks
            .iter()
            .map(|block| match block {
                Block::ToolResult { tool_use_id, .. } => tool_use_id.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, ["c1", "c2"], "answers come in the order of the calls");
        events.push(reply(vec![Block::Text { text: "done".to_owned() }], StopReason::EndTurn));
        assert_eq!(Transcript::of(&events).next(), Next::Done(StopReason::EndTurn));
    }

    #[test]
    fn a_call_that_a_cancelled_turn_left_is_answered_before_the_next_prompt() {
        let mut events = prompt("a", "one").to_vec();
        events.push(reply(vec![call("c1")], StopReason::ToolUse));
        events.extend(prompt("b", "two"));
        let messages = Transcript::of(&events).messages();
        let last = messages.last().unwrap();
        assert!(matches!(&last.blocks[0], Block::ToolResult { is_error: true, .. }), "{last:?}");
        assert!(matches!(&last.blocks[1], Block::Text { text } if text == "two"));
    }

    #[test]
    fn what_does_not_fit_is_shortened_before_it_is_left_out_and_no_result_loses_its_call() {
        let mut messages = vec![Message::user("the question")];
        for n in 0..20 {
            messages.push(Message { role: ModelRole::Assistant, blocks: vec![call(&format!("c{n}"))] });
            messages.push(Message {
                role: ModelRole::User,
                blocks: vec![Block::ToolResult {
                    tool_use_id: format!("c{n}"),
                    name: "look".to_owned(),
                    content: "x".repeat(3000),
                    is_error: false,
                }],
            });
        }
        let mut roomy = messages.clone();
        let none = HashMap::new();
        assert_eq!(trim(&mut roomy, 0, 100_000, &none), Trimmed::default());
        assert_eq!(roomy, messages);

        let mut tight = messages.clone();
        let kept_before = HashMap::from([("c0".to_owned(), Digest::of(b"the whole of the first"))]);
        let trimmed = trim(&mut tight, 0, 8_000, &kept_before);
        assert!(trimmed.results > 1 && trimmed.messages == 0, "{trimmed:?}");
        assert_eq!(trimmed.kept.len(), trimmed.results - 1, "what is kept already is not kept twice");
        let shown = |message: &Message| match &message.blocks[0] {
            Block::ToolResult { content, .. } => content.clone(),
            other => panic!("{other:?}"),
        };
        let names =
            |content: String, digest: Digest| content.contains(&format!("read_kept_result, result \"{digest}\""));
        assert!(names(shown(&tight[2]), Digest::of(b"the whole of the first")));
        assert!(names(shown(&tight[4]), Digest::of(trimmed.kept[0].as_bytes())), "{:?}", tight[4]);
        assert_eq!(trimmed.kept[0], "x".repeat(3000));

        let mut tighter = messages.clone();
        let trimmed = trim(&mut tighter, 0, 4_000, &none);
        assert!(trimmed.messages > 0, "{trimmed:?}");
        let mut called = HashSet::new();
        for block in tighter.iter().flat_map(|message| &message.blocks) {
            match block {
                Block::ToolUse { id, .. } => assert!(called.insert(id.clone())),
                Block::ToolResult { tool_use_id, .. } => assert!(called.contains(tool_use_id), "{tool_use_id}"),
                _ => {}
            }
        }
        assert!(matches!(&tighter[0].blocks[0], Block::Text { text } if text == "the question"));
    }
}
