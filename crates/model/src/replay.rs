//! Conversations that were recorded, and scripts: answers without a model, for tests and demonstrations.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reeve_gate::model::{ModelEvent, ModelFailureKind};
use reeve_types::Digest;
use reeve_types::model::{Block, ModelRole, Prompt, Reply, StopReason, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use crate::config::{ConfigError, ProviderConfig};
use crate::trouble::Trouble;

/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The digest that names a prompt: equal prompts have equal ones, whichever model they are for.
pub fn prompt_digest(prompt: &Prompt) -> Digest {
    // A prompt without a canonical form holds a number that JSON cannot hold; its bytes name it as well.
    Digest::of_value(prompt).unwrap_or_else(|_| Digest::of(format!("{prompt:?}").as_bytes()))
}

/// One line of a recording. It is made of what was asked and answered; keys are part of neither.
#[derive(Serialize, Deserialize)]
struct Recorded {
    digest: Digest,
    prompt: Prompt,
    reply: Reply,
}

/// Appends what was answered to a file.
pub(crate) struct Recorder {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl Recorder {
    pub(crate) fn open(path: &Path) -> Result<Self, ConfigError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| {
            ConfigError::setting("record", format!("{} cannot be written: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file: Arc::new(Mutex::new(file)) })
    }

    /// Adds one answer. An answer is worth more than its recording: what cannot be written is only reported.
    pub(crate) async fn keep(&self, prompt: &Prompt, reply: &Reply) {
        let recorded = Recorded { digest: prompt_digest(prompt), prompt: prompt.clone(), reply: reply.clone() };
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || {
            let mut line = serde_json::to_vec(&recorded)?;
            line.push(b'\n');
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if !matches!(written.await, Ok(Ok(()))) {
            tracing::warn!(file = %self.path.display(), "an answer could not be recorded");
        }
    }
}

/// Answers from a file.
pub(crate) struct Player {
    path: PathBuf,
    answers: Answers,
}

enum Answers {
    /// By digest; several of one prompt are given in turn, the last one again and again.
    Recorded(Mutex<HashMap<Digest, (usize, Vec<Reply>)>>),
    Script(Vec<Line>),
}

/// One line of a script: what the model answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// A text that the last message must contain, so that a script that ran off the road says so.
    expect: Option<String>,
    thinking: Option<String>,
    text: Option<String>,
    #[serde(default)]
    tools: Vec<ScriptedCall>,
    stop: Option<StopReason>,
    usage: Option<Usage>,
    /// Instead of an answer: the word of a failure without its `model_`.
    failure: Option<String>,
    /// How long to wait before each word.
    #[serde(default)]
    pause_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedCall {
    name: String,
    #[serde(default)]
    input: Value,
}

impl Player {
    pub(crate) fn open(name: &str, config: &ProviderConfig) -> Result<Self, ConfigError> {
        let setting = |field: &str| format!("providers.{name}.{field}");
        match (&config.recording, &config.script) {
            (Some(path), None) => {
                let mut answers: HashMap<Digest, (usize, Vec<Reply>)> = HashMap::new();
                for recorded in lines::<Recorded>(path, &setting("recording"))? {
                    answers.entry(recorded.digest).or_default().1.push(recorded.reply);
                }
                Ok(Self { path: path.clone(), answers: Answers::Recorded(Mutex::new(answers)) })
            }
            (None, Some(path)) => {
                let lines = lines::<Line>(path, &setting("script"))?;
                if let Some(word) = lines.iter().filter_map(|line| line.failure.as_deref()).find(|w| kind(w).is_none())
                {
                    let problem = format!("`{word}` is no failure; write one such as `limited` or `unreachable`");
                    return Err(ConfigError::setting(setting("script"), problem));
                }
                Ok(Self { path: path.clone(), answers: Answers::Script(lines) })
            }
            _ => Err(ConfigError::setting(setting("kind"), "a `replay` provider needs either `recording` or `script`")),
        }
    }

    /// Where answers come from, for people.
    pub(crate) fn place(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) async fn ask(&self, model: &str, prompt: &Prompt, said: &Sender<ModelEvent>) -> Result<Reply, Trouble> {
        let (reply, pause) = match &self.answers {
            Answers::Recorded(answers) => (recorded(answers, prompt)?, Duration::ZERO),
            Answers::Script(lines) => scripted(lines, model, prompt)?,
        };
        for block in &reply.blocks {
            match block {
                Block::Text { text } => speak(text, ModelEvent::Text, pause, said).await,
                Block::Thinking { text, .. } => speak(text, ModelEvent::Thinking, pause, said).await,
                Block::ToolUse { id, name, .. } => {
                    let _ = said.send(ModelEvent::ToolUse { id: id.clone(), name: name.clone() }).await;
                }
                _ => {}
            }
        }
        Ok(reply)
    }
}

/// Word by word, as models do.
async fn speak(text: &str, event: fn(String) -> ModelEvent, pause: Duration, said: &Sender<ModelEvent>) {
    for word in text.split_inclusive(' ') {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let _ = said.send(event(word.to_owned())).await;
    }
}

fn recorded(answers: &Mutex<HashMap<Digest, (usize, Vec<Reply>)>>, prompt: &Prompt) -> Result<Reply, Trouble> {
    let digest = prompt_digest(prompt);
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let known = answers.len();
    let found = answers.get_mut(&digest).and_then(|(next, replies)| {
        let reply = replies.get(*next).or(replies.last()).cloned();
        *next += 1;
        reply
    });
    found.ok_or_else(|| {
        let what = format!("has no answer to this conversation (digest {digest}; it knows {known}): record it again");
        Trouble::final_(ModelFailureKind::Rejected, what)
    })
}

/// The line whose number is that of the answers that the conversation has already. Nothing is remembered, so a script goes
/// on where it was after a crash, and serves many conversations at once.
fn scripted(lines: &[Line], model: &str, prompt: &Prompt) -> Result<(Reply, Duration), Trouble> {
    let refused = |what| Trouble::final_(ModelFailureKind::Rejected, what);
    let number = prompt.messages.iter().filter(|message| message.role == ModelRole::Assistant).count();
    let line = lines.get(number).ok_or_else(|| {
        refused(format!("has {} answers, and this conversation wants number {}", lines.len(), number + 1))
    })?;
    if let Some(expected) = &line.expect {
        let last = prompt.messages.last().map(|message| message.blocks.as_slice()).unwrap_or_default();
        let is_there = last.iter().any(|block| match block {
            Block::Text { text } => text.contains(expected),
            Block::ToolResult { content, .. } => content.contains(expected),
            _ => false,
        });
        if !is_there {
            let problem = format!("expected `{expected}` in the last message before its answer number {}", number + 1);
            return Err(refused(problem));
        }
    }
    if let Some(kind) = line.failure.as_deref().and_then(kind) {
        return Err(Trouble::final_(kind, "was told by its script to fail"));
    }
    let mut blocks = Vec::new();
    blocks.extend(line.thinking.clone().map(|text| Block::Thinking { text, signature: None }));
    blocks.extend(line.text.clone().map(|text| Block::Text { text }));
    blocks.extend(line.tools.iter().enumerate().map(|(at, call)| Block::ToolUse {
        id: format!("call_{}_{}", number + 1, at + 1),
        name: call.name.clone(),
        input: if call.input.is_null() { Value::Object(serde_json::Map::new()) } else { call.input.clone() },
        signature: None,
    }));
    let usual = if line.tools.is_empty() { StopReason::EndTurn } else { StopReason::ToolUse };
    let reply = Reply {
        id: format!("script_{}", number + 1),
        model: model.to_owned(),
        blocks,
        stop: line.stop.unwrap_or(usual),
        usage: line.usage.unwrap_or_default(),
    };
    Ok((reply, Duration::from_millis(line.pause_ms)))
}

fn kind(word: &str) -> Option<ModelFailureKind> {
    use ModelFailureKind as Kind;
    [
        Kind::NotConfigured,
        Kind::Unauthorized,
        Kind::Rejected,
        Kind::TooLong,
        Kind::Limited,
        Kind::Unreachable,
        Kind::Malformed,
        Kind::Timeout,
    ]
    .into_iter()
    .find(|kind| kind.as_str().strip_prefix("model_") == Some(word))
}

/// The lines of a file; empty ones and those that begin with `#` say nothing.
fn lines<T: serde::de::DeserializeOwned>(path: &Path, setting: &str) -> Result<Vec<T>, ConfigError> {
    let problem = |problem: String| ConfigError::setting(setting, format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| problem(format!("it cannot be read: {error}")))?;
    if file.metadata().is_ok_and(|about| about.len() > MAX_FILE_BYTES) {
        return Err(problem(format!("it is longer than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    let mut read = Vec::new();
    for (at, line) in BufReader::new(file.take(MAX_FILE_BYTES)).lines().enumerate() {
        let line = line.map_err(|error| problem(format!("line {}: {error}", at + 1)))?;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        read.push(serde_json::from_str(&line).map_err(|error| problem(format!("line {}: {error}", at + 1)))?);
    }
    Ok(read)
}
