//! `mcp`: carries the Model Context Protocol between a program's standard streams and the door of its workspace, for agents
//! that start their servers of tools instead of calling them.
//!
//! A message is a line. Each goes to the door as a request of its own, and what comes back is a line again; calls that take
//! long do not keep others waiting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls at the same time; more wait.
const CALLS_MAX: usize = 16;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Where the door is, and what must be said there.
struct Door {
    url: Uri,
    token: String,
}

/// Carries until standard input ends.
pub fn carry() -> io::Result<()> {
    let missing =
        |name: &str| io::Error::other(format!("`{name}` is not set: Reeve sets it for agents that it starts"));
    let url = std::env::var("REEVE_MCP_URL").map_err(|_| missing("REEVE_MCP_URL"))?;
    let token = std::env::var("REEVE_MCP_TOKEN").map_err(|_| missing("REEVE_MCP_TOKEN"))?;
    let url: Uri = url.parse().map_err(|_| io::Error::other("REEVE_MCP_URL is no address"))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(Door { url, token }))
}

async fn serve(door: Door) -> io::Result<()> {
    let (door, out) = (Arc::new(door), Arc::new(Mutex::new(tokio::io::stdout())));
    let (calls, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CALLS_MAX)));
    let mut lines = BufReader::new(tokio::io::stdin());
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(MESSAGE_BYTES_MAX + 1).read_until(b'\n', &mut line).await?;
        if read == 0 {
            break;
        }
        if line.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("a message is longer than 1 MiB"));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let (door, out) = (Arc::clone(&door), Arc::clone(&out));
        calls.spawn(async move {
            if let Some(mut answer) = door.answer(line).await {
                answer.push(b'\n');
                let mut out = out.lock().await;
                let _nobody_reads_any_more = out.write_all(&answer).await;
                let _nor_this = out.flush().await;
            }
            drop(place);
        });
    }
    calls.close();
    calls.wait().await;
    Ok(())
}

impl Door {
    /// The answer to a message, as one line; none where it is answered by nothing.
    async fn answer(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        let id = serde_json::from_slice::<Value>(&message).ok().and_then(|message| message.get("id").cloned());
        let failed = |reason: String| {
            let id = id.clone()?;
            let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": reason}});
            Some(error.to_string().into_bytes())
        };
        match tokio::time::timeout(ANSWER_WITHIN, self.ask(message)).await {
            Ok(Ok((status, body))) if body.is_empty() => {
                if status.is_success() {
                    None
                } else {
                    failed(format!("Reeve answered {status}"))
                }
            }
            Ok(Ok((status, body))) => match serde_json::from_slice::<Value>(&body) {
                // Written anew, so that it is one line whatever came.
                Ok(answer) if answer.get("jsonrpc").is_some() => Some(answer.to_string().into_bytes()),
                _ => failed(format!("Reeve answered {status} in other words than the protocol's")),
            },
            Ok(Err(reason)) => failed(reason),
            Err(_) => failed("Reeve did not answer in time".to_owned()),
        }
    }

    async fn ask(&self, message: Vec<u8>) -> Result<(StatusCode, Bytes), String> {
        let authority = self.url.authority().ok_or("REEVE_MCP_URL names no host")?.as_str().to_owned();
        let gone = |what: &str| format!("the way out of the workspace is gone ({what})");
        let stream = TcpStream::connect(&authority).await.map_err(|error| gone(&error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| gone(&error.to_string()))?;
        let serving = tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.path())
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(message)))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| gone(&error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        serving.abort();
        Ok((status, body))
    }
}
