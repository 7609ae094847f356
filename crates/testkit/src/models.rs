//! Models that say what a test tells them to, in the order it says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailure, ModelFailureKind, ModelHealth, ModelInfo, ModelStream, Models};
use reeve_types::TenantId;
use reeve_types::model::{Block, ModelRole, Prompt, Reply, StopReason, Usage};
use serde_json::Value;
use tokio::sync::Semaphore;

/// What the model does when it is asked next.
#[derive(Debug, Clone)]
pub enum Scripted {
    /// It says these words, in pieces.
    Says(String),
    /// It says something and calls tools: id, name, arguments.
    Calls(String, Vec<(String, String, Value)>),
    /// It waits until [`ScriptedModels::release`], then says these words.
    WaitsThenSays(String),
    /// It says these words, and has no room for more.
    IsCutOff(String),
    /// It says these words, in pieces, and fails before their end.
    BreaksOff(String, ModelFailureKind, String),
    /// It fails.
    Fails(ModelFailureKind, String),
}

impl Scripted {
    /// One call of one tool.
    pub fn call(id: &str, name: &str, input: Value) -> Self {
        Self::Calls(String::new(), vec![(id.to_owned(), name.to_owned(), input)])
    }
}

/// A model that follows a script, and remembers what it was asked.
pub struct ScriptedModels {
    script: Mutex<VecDeque<Scripted>>,
    asked: Mutex<Vec<Prompt>>,
    gate: Arc<Semaphore>,
    /// Whether the place in the conversation chooses the answer, instead of how often it was asked.
    by_place: bool,
}

impl ScriptedModels {
    /// A model that does these things in order; after the last it says "(the script is over)".
    pub fn new(script: impl IntoIterator<Item = Scripted>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            by_place: false,
        })
    }

    /// A model whose answer follows from the conversation alone: it is the one after as many as it has given in it. Asked
    /// again, as after a crash, it says the same again.
    pub fn by_place(script: impl IntoIterator<Item = Scripted>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            by_place: true,
        })
    }

    /// Lets one answer that waits go on.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Adds to the script.
    pub fn then(&self, next: Scripted) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(next);
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Prompt> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn reply(text: &str, calls: Vec<(String, String, Value)>) -> Reply {
    let stop = if calls.is_empty() { StopReason::EndTurn } else { StopReason::ToolUse };
    let words = (!text.is_empty()).then(|| Block::Text { text: text.to_owned() });
    let calls = calls.into_iter().map(|(id, name, input)| Block::ToolUse { id, name, input, signature: None });
    let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
    let (id, model) = ("msg_scripted".to_owned(), "scripted/model".to_owned());
    Reply { id, model, blocks: words.into_iter().chain(calls).collect(), stop, usage }
}

fn told(text: &str, reply: Reply) -> ModelStream {
    let pieces: Vec<Result<ModelEvent, ModelFailure>> =
        text.split_inclusive(' ').map(|piece| Ok(ModelEvent::Text(piece.to_owned()))).collect();
    let end = Ok(ModelEvent::Finished(Box::new(reply)));
    futures_util::stream::iter(pieces.into_iter().chain([end])).boxed()
}

impl Models for ScriptedModels {
    fn list(&self, _: &TenantId) -> Vec<ModelInfo> {
        let name = "scripted/model".to_owned();
        vec![ModelInfo { name, kind: "replay", context_tokens: None, is_default: true }]
    }

    fn ask<'a>(
        &'a self,
        _: &'a TenantId,
        _: Option<&'a str>,
        prompt: Prompt,
        cx: &'a TaskCx,
    ) -> BoxFuture<'a, Result<ModelStream, ModelFailure>> {
        let place = prompt.messages.iter().filter(|message| message.role == ModelRole::Assistant).count();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(prompt);
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if self.by_place { script.get(place).cloned() } else { script.pop_front() };
        drop(script);
        let cancelled = cx.cancelled().clone();
        Box::pin(async move {
            match next.unwrap_or_else(|| Scripted::Says("(the script is over)".to_owned())) {
                Scripted::Says(text) => Ok(told(&text, reply(&text, Vec::new()))),
                Scripted::Calls(text, calls) => Ok(told(&text, reply(&text, calls))),
                Scripted::WaitsThenSays(text) => {
                    let gone = || ModelFailure {
                        kind: ModelFailureKind::Cancelled,
                        message: "nobody wants the answer any more".to_owned(),
                    };
                    tokio::select! {
                        permit = self.gate.acquire() => permit.map_err(|_| gone())?.forget(),
                        () = cancelled.cancelled() => return Err(gone()),
                    }
                    Ok(told(&text, reply(&text, Vec::new())))
                }
                Scripted::IsCutOff(text) => {
                    let cut = Reply { stop: StopReason::MaxTokens, ..reply(&text, Vec::new()) };
                    Ok(told(&text, cut))
                }
                Scripted::BreaksOff(text, kind, message) => {
                    let failed = futures_util::stream::iter([Err(ModelFailure { kind, message })]);
                    let words = told(&text, reply(&text, Vec::new()));
                    Ok(words
                        .filter(|event| std::future::ready(!matches!(event, Ok(ModelEvent::Finished(_)))))
                        .chain(failed)
                        .boxed())
                }
                Scripted::Fails(kind, message) => Err(ModelFailure { kind, message }),
            }
        })
    }

    fn check<'a>(&'a self, _: &'a TenantId, _: &'a TaskCx) -> BoxFuture<'a, Vec<ModelHealth>> {
        let answer = Ok(std::time::Duration::from_millis(1));
        Box::pin(async move { vec![ModelHealth { name: "scripted/model".to_owned(), answer }] })
    }
}
