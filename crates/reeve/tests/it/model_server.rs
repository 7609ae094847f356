//! A model behind an address, in Anthropic's words. It outlives the program that asks it, answers by what it is asked, counts
//! what it is asked, and can be told to keep somebody waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

/// One question to the model: the conversation so far.
pub(crate) struct Asked {
    messages: Vec<Value>,
}

impl Asked {
    /// How many answers the conversation has already.
    pub(crate) fn place(&self) -> usize {
        self.messages.iter().filter(|message| message["role"] == "assistant").count()
    }

    /// What the person said first; tells conversations apart.
    pub(crate) fn first_words(&self) -> String {
        self.blocks().find_map(|block| block["text"].as_str()).unwrap_or_default().to_owned()
    }

    /// What the person said last.
    pub(crate) fn last_words(&self) -> String {
        let said = self.messages.iter().filter(|message| message["role"] == "user").flat_map(blocks_of);
        said.filter_map(|block| block["text"].as_str()).next_back().unwrap_or_default().to_owned()
    }

    /// What came back of its calls, oldest first.
    pub(crate) fn results(&self) -> Vec<&str> {
        let results = self.blocks().filter(|block| block["type"] == "tool_result");
        results.filter_map(|block| block["content"].as_str()).collect()
    }

    /// How many results came back before the person said the last thing.
    pub(crate) fn results_before(&self) -> usize {
        let is_words =
            |message: &&Value| message["role"] == "user" && blocks_of(message).any(|block| block["type"] == "text");
        let last = self.messages.iter().rposition(|message| is_words(&message)).unwrap_or(0);
        let before = self.messages[..last].iter().flat_map(blocks_of);
        before.filter(|block| block["type"] == "tool_result").count()
    }

    fn blocks(&self) -> impl Iterator<Item = &Value> {
        self.messages.iter().flat_map(blocks_of)
    }
}

fn blocks_of(message: &Value) -> std::slice::Iter<'_, Value> {
    message["content"].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// When in its answer the model waits, for those that it was told to keep waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Before,
    AmidWords,
}

/// What the model says, and which tool it calls then.
pub(crate) struct Answer {
    words: String,
    call: Option<(String, Value)>,
    pause: Option<Pause>,
}

impl Answer {
    pub(crate) fn words(words: impl Into<String>) -> Self {
        Self { words: words.into(), call: None, pause: None }
    }

    pub(crate) fn calling(mut self, tool: &str, input: Value) -> Self {
        self.call = Some((tool.to_owned(), input));
        self
    }

    pub(crate) fn pausing(mut self, pause: Pause) -> Self {
        self.pause = Some(pause);
        self
    }
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

#[derive(Default)]
struct Kept {
    /// How often each conversation was answered at each place.
    asked: BTreeMap<(String, usize), usize>,
    /// Conversations that are kept waiting.
    held: BTreeSet<String>,
}

struct Shared {
    script: Box<Script>,
    kept: Mutex<Kept>,
    let_go: Condvar,
}

/// The server; it ends with the test.
pub(crate) struct ModelServer {
    port: u16,
    shared: Arc<Shared>,
}

impl ModelServer {
    pub(crate) fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { script: Box::new(script), kept: Mutex::default(), let_go: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // Whoever asked may have been killed meanwhile: an answer that nobody takes is none of ours.
                std::thread::spawn(move || shared.serve(&connection).ok());
            }
        });
        Self { port, shared }
    }

    /// What a `models.toml` says of it.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[providers.scripted]\nkind = 'anthropic'\nbase_url = 'http://127.0.0.1:{}'\nkey = 'sk-test'\nmodels = ['claude-scripted']\n",
            self.port
        )
    }

    /// Keeps a conversation waiting wherever its script pauses.
    pub(crate) fn hold(&self, first_words: &str) {
        self.shared.kept.lock().expect("no panic").held.insert(first_words.to_owned());
    }

    pub(crate) fn let_go(&self, first_words: &str) {
        self.shared.kept.lock().expect("no panic").held.remove(first_words);
        self.shared.let_go.notify_all();
    }

    /// How often it was asked for the answer at a place of a conversation.
    pub(crate) fn asked(&self, first_words: &str, place: usize) -> usize {
        let kept = self.shared.kept.lock().expect("no panic");
        kept.asked.get(&(first_words.to_owned(), place)).copied().unwrap_or(0)
    }
}

impl Shared {
    fn serve(&self, connection: &TcpStream) -> std::io::Result<()> {
        let body = request(connection)?;
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let asked = Asked { messages };
        let (key, place) = (asked.first_words(), asked.place());
        *self.kept.lock().expect("no panic").asked.entry((key.clone(), place)).or_default() += 1;
        let answer = (self.script)(&asked);
        let mut out = connection;
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
        if answer.pause == Some(Pause::Before) {
            self.wait(&key);
        }
        let mut say = |event: Value| {
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            out.write_all(format!("event: {kind}\ndata: {event}\n\n").as_bytes())
        };
        let usage = json!({"input_tokens": 10, "output_tokens": 1});
        let start = json!({"id": format!("msg_{place}"), "model": "claude-scripted", "role": "assistant", "content": [], "usage": usage});
        say(json!({"type": "message_start", "message": start}))?;
        say(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}))?;
        let half = answer.words.find(' ').unwrap_or(0);
        for (n, piece) in [&answer.words[..half], &answer.words[half..]].into_iter().enumerate() {
            if n == 1 && answer.pause == Some(Pause::AmidWords) {
                self.wait(&key);
            }
            let delta = json!({"type": "text_delta", "text": piece});
            say(json!({"type": "content_block_delta", "index": 0, "delta": delta}))?;
        }
        say(json!({"type": "content_block_stop", "index": 0}))?;
        if let Some((name, input)) = &answer.call {
            let block = json!({"type": "tool_use", "id": format!("toolu_{place}"), "name": name, "input": {}});
            say(json!({"type": "content_block_start", "index": 1, "content_block": block}))?;
            let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
            say(json!({"type": "content_block_delta", "index": 1, "delta": delta}))?;
            say(json!({"type": "content_block_stop", "index": 1}))?;
        }
        let stop = if answer.call.is_some() { "tool_use" } else { "end_turn" };
        say(json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}}))?;
        say(json!({"type": "message_stop"}))
    }

    fn wait(&self, key: &str) {
        let kept = self.kept.lock().expect("no panic");
        drop(self.let_go.wait_while(kept, |kept| kept.held.contains(key)).expect("no panic"));
    }
}

/// The body of the request that comes over a connection.
fn request(connection: &TcpStream) -> std::io::Result<Value> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
