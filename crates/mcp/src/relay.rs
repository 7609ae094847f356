//! Standard input and output to a running server: one JSON message per line on this side, one request each on the other.
//!
//! Messages are passed on as they are. The relay adds the headers that streamable HTTP wants of them, and gives every
//! request an answer: when the server cannot be reached, that is the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most requests that are answered at the same time; more wait.
const TOGETHER_MAX: usize = 32;
const VERSION_HEADER: &str = "mcp-protocol-version";
const METHOD_HEADER: &str = "mcp-method";
const NAME_HEADER: &str = "mcp-name";
/// Where a message of the newest revision says which revision it is of.
const VERSION_MEMBER: &str = "io.modelcontextprotocol/protocolVersion";

/// One message on its way to the server.
pub struct Outgoing {
    /// Headers that it must have besides the content's type and what proves who sends it.
    pub headers: Vec<(&'static str, String)>,
    /// The message.
    pub body: Value,
}

/// What the server answered.
pub struct Incoming {
    /// The HTTP status.
    pub status: u16,
    /// Whether the body is a stream of events.
    pub is_stream: bool,
    /// The body as it comes, or why it breaks off.
    pub body: BoxStream<'static, Result<Vec<u8>, String>>,
}

/// Sends one message; an error says in words why the server could not be reached.
pub type Send = Arc<dyn Fn(Outgoing) -> BoxFuture<'static, Result<Incoming, String>> + std::marker::Send + Sync>;

struct Relay {
    send: Send,
    out: mpsc::Sender<Vec<u8>>,
    /// The revision that `initialize` agreed on.
    agreed: Mutex<Option<String>>,
    /// Requests that are being answered, by their id as JSON.
    open: Mutex<HashMap<String, AbortHandle>>,
    room: Arc<Semaphore>,
}

/// Carries messages until the input ends, then waits for what is still being answered.
///
/// # Errors
///
/// The input cannot be read or the output cannot be written.
pub async fn run(
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin + std::marker::Send,
    send: Send,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let (out, mut lines) = mpsc::channel::<Vec<u8>>(64);
    let room = Arc::new(Semaphore::new(TOGETHER_MAX));
    let relay = Arc::new(Relay { send, out, agreed: Mutex::default(), open: Mutex::default(), room });
    let reading = async {
        let tasks = TaskTracker::new();
        let mut line = Vec::new();
        loop {
            let read = tokio::select! {
                read = next_line(&mut input, &mut line) => read?,
                () = stop.cancelled() => Read::End,
            };
            match read {
                Read::End => break,
                Read::TooLong => relay.answer(&error(Value::Null, -32600, "the message is too long")).await,
                Read::Line => relay.take(&line, &tasks).await,
            }
        }
        tasks.close();
        tokio::select! {
            () = tasks.wait() => {}
            () = stop.cancelled() => relay.abort_all(),
        }
        drop(relay);
        Ok::<(), std::io::Error>(())
    };
    let writing = async {
        while let Some(line) = lines.recv().await {
            output.write_all(&line).await?;
            output.write_all(b"\n").await?;
            output.flush().await?;
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

enum Read {
    Line,
    TooLong,
    End,
}

async fn next_line(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<Read> {
    line.clear();
    let most = MESSAGE_BYTES_MAX as u64 + 1;
    if input.take(most).read_until(b'\n', line).await? == 0 {
        return Ok(Read::End);
    }
    if line.len() <= MESSAGE_BYTES_MAX {
        return Ok(Read::Line);
    }
    while !line.ends_with(b"\n") {
        line.clear();
        if input.take(64 * 1024).read_until(b'\n', line).await? == 0 {
            return Ok(Read::End);
        }
    }
    Ok(Read::TooLong)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    async fn take(self: &Arc<Self>, line: &[u8], tasks: &TaskTracker) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let message: Value = match serde_json::from_slice(line) {
            Ok(message @ Value::Object(_)) => message,
            Ok(_) => return self.answer(&error(Value::Null, -32600, "a message is a JSON object")).await,
            Err(_) => return self.answer(&error(Value::Null, -32700, "the line is not JSON")).await,
        };
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = message.get("id").filter(|id| !id.is_null()).cloned();
        if method == "notifications/cancelled" {
            // Hanging up is how streamable HTTP says it; the notification itself would find nobody.
            let named = message.pointer("/params/requestId").map(Value::to_string);
            if let Some(request) = named.and_then(|named| locked(&self.open).remove(&named)) {
                request.abort();
            }
            return;
        }
        let Some(id) = id else {
            // Notifications are sent in order; the server keeps nothing of them.
            let _ = (self.send)(self.outgoing(&method, &message)).await;
            return;
        };
        // What comes after the opening may depend on what it agrees on.
        if method == "initialize" {
            return self.request(id, &method, &message).await;
        }
        let Ok(place) = Arc::clone(&self.room).acquire_owned().await else { return };
        let (this, key) = (Arc::clone(self), id.to_string());
        // Held while the task is begun, so that it cannot end before it is written down.
        let mut open = locked(&self.open);
        let task = tasks.spawn({
            let key = key.clone();
            async move {
                this.request(id, &method, &message).await;
                locked(&this.open).remove(&key);
                drop(place);
            }
        });
        open.insert(key, task.abort_handle());
    }

    fn abort_all(&self) {
        for (_, request) in locked(&self.open).drain() {
            request.abort();
        }
    }

    fn outgoing(&self, method: &str, message: &Value) -> Outgoing {
        let params = message.get("params");
        let of_message = params.and_then(|params| params.get("_meta")?.get(VERSION_MEMBER)?.as_str());
        let opening = (method == "initialize").then(|| params?.get("protocolVersion")?.as_str()).flatten();
        let agreed = locked(&self.agreed).clone();
        let version = of_message.or(opening).or(agreed.as_deref());
        let name = match method {
            "tools/call" | "prompts/get" => params.and_then(|params| params.get("name")?.as_str()),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                params.and_then(|params| params.get("uri")?.as_str())
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.and_then(|params| params.get("taskId")?.as_str()),
            _ => None,
        };
        let pairs = [(VERSION_HEADER, version), (METHOD_HEADER, Some(method)), (NAME_HEADER, name)];
        let headers = pairs.into_iter().filter_map(|(header, value)| Some((header, header_value(value?)))).collect();
        Outgoing { headers, body: message.clone() }
    }

    async fn request(&self, id: Value, method: &str, message: &Value) {
        match (self.send)(self.outgoing(method, message)).await {
            Ok(incoming) => {
                if let Err(why) = self.pass_on(&id, method, incoming).await {
                    self.answer(&error(id, -32603, &why)).await;
                }
            }
            Err(why) => {
                let mut said = error(id, -32603, &why);
                if let Some(data) = said.pointer_mut("/error") {
                    data["data"] = json!({"code": "SERVER_UNREACHABLE", "message": why});
                }
                self.answer(&said).await;
            }
        }
    }

    /// Passes everything on that an answer holds; an error says why the request got no answer.
    async fn pass_on(&self, id: &Value, method: &str, mut incoming: Incoming) -> Result<(), String> {
        let (mut buffer, mut answered) = (Vec::new(), false);
        while let Some(piece) = incoming.body.next().await {
            buffer.extend_from_slice(&piece?);
            if buffer.len() > MESSAGE_BYTES_MAX {
                return Err("the server's answer is too long".to_owned());
            }
            while let Some((event, used)) = next_event(&buffer).filter(|_| incoming.is_stream) {
                buffer.drain(..used);
                if let Ok(message) = serde_json::from_str::<Value>(&event) {
                    answered |= message.get("id") == Some(id) && message.get("method").is_none();
                    self.pass(method, message).await;
                }
            }
        }
        if incoming.is_stream {
            return if answered { Ok(()) } else { Err("the server's answer broke off".to_owned()) };
        }
        match serde_json::from_slice::<Value>(&buffer) {
            Ok(message) if message.get("jsonrpc").is_some() => {
                // Errors of the transport come without the id; whoever asked waits for an answer of theirs.
                let mut message = message;
                if message.get("id").is_none_or(Value::is_null) {
                    message["id"] = id.clone();
                }
                self.pass(method, message).await;
                Ok(())
            }
            Ok(problem) => {
                let words = problem.get("detail").or_else(|| problem.get("message")).and_then(Value::as_str);
                Err(words.map_or_else(|| format!("the server answered {}", incoming.status), str::to_owned))
            }
            Err(_) => Err(format!("the server answered {} and no message", incoming.status)),
        }
    }

    async fn pass(&self, method: &str, message: Value) {
        if method == "initialize"
            && let Some(version) = message.pointer("/result/protocolVersion").and_then(Value::as_str)
        {
            *locked(&self.agreed) = Some(version.to_owned());
        }
        self.answer(&message).await;
    }

    async fn answer(&self, message: &Value) {
        // A closed output ends the whole relay; nobody is left to be told.
        let _ = self.out.send(message.to_string().into_bytes()).await;
    }
}

fn error(id: Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// A header's value: as it is, or in the protocol's own wrapping when it could not travel so.
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain {
        return text.to_owned();
    }
    format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(text))
}

/// The data of the first whole event in a buffer, and how many bytes it takes.
fn next_event(buffer: &[u8]) -> Option<(String, usize)> {
    let end = (0..buffer.len()).find_map(|at| {
        let rest = buffer.get(at..)?;
        [b"\r\n\r\n".as_slice(), b"\n\n"].into_iter().find(|end| rest.starts_with(end)).map(|end| (at, end.len()))
    });
    let (at, blank) = end?;
    let text = String::from_utf8_lossy(buffer.get(..at)?);
    let data: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    Some((data.join("\n"), at + blank))
}
