//! Running a command line without a shell.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use jiff::Timestamp;
use reeve_types::workspace::processes::{ExecEvent, ExecRequest, OutputStream};
use reeve_types::{ExecutionId, ProblemCode, WorkspaceError};
use serde::{Deserialize, Serialize};

use crate::http::{Outcome, ok, read_json};
use crate::output::Amount;
use crate::runtime::Runtime;
use crate::words;

/// Longest output of each stream, in characters.
const OUTPUT_CHARS_MAX: usize = 200_000;
/// What stands at the end of output that was longer.
const TRUNCATED: &str = "\n<output truncated>";

#[derive(Deserialize)]
struct Command {
    command: String,
}

#[derive(Serialize)]
struct Ran {
    stdout: String,
    stderr: String,
    exit_code: i32,
}

impl Ran {
    fn failed(exit_code: i32, stderr: String) -> Self {
        Self { stdout: String::new(), stderr, exit_code }
    }
}

/// Always 200 once the request could be read: whatever the command did is in the answer. Only that too many run already
/// is told otherwise, since trying again helps.
pub(super) async fn run(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let Command { command } = read_json(request).await?;
    let argv = match words::split(&command) {
        Err(error) => return ok(&Ran::failed(2, format!("Invalid command: {error}"))),
        Ok(argv) if argv.is_empty() => return ok(&Ran::failed(2, "Invalid command: it is empty".to_owned())),
        Ok(argv) => argv,
    };
    let executed = execute(runtime, argv).await;
    super::something_changed(runtime);
    match executed {
        Ok(ran) => ok(&ran),
        Err(error) if error.code == ProblemCode::RateLimited => Err(error),
        Err(error) => ok(&Ran::failed(1, format!("Failed to execute command: {}", error.message))),
    }
}

async fn execute(runtime: &Arc<Runtime>, argv: Vec<String>) -> Result<Ran, WorkspaceError> {
    let program = argv.first().cloned().unwrap_or_default();
    let timeout = runtime.config.sandbox_timeout;
    let timeout_ms = u64::try_from(timeout.as_millis()).ok();
    let id = ExecutionId::new(Timestamp::now(), rand::random());
    let request = ExecRequest { argv, timeout_ms, ..ExecRequest::default() };
    let mut happening = runtime.executions.begin(id, request, Amount::Bounded).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(event) = happening.recv().await {
        match event {
            ExecEvent::Start { .. } => {}
            ExecEvent::Output { stream: OutputStream::Stdout, data } => keep(&mut stdout, &data),
            ExecEvent::Output { stream: OutputStream::Stderr, data } => keep(&mut stderr, &data),
            ExecEvent::Exit(outcome) => {
                let (stdout, mut stderr) = (bounded(&stdout), bounded(&stderr));
                if outcome.timed_out && stderr.is_empty() {
                    stderr = format!("Command timed out after {}s", timeout.as_secs());
                }
                let not_started = stderr.strip_prefix(&format!("reeve: `{program}` cannot be started: "));
                return Ok(match not_started.filter(|_| outcome.exit_code == 127) {
                    Some(why) => Ran::failed(1, format!("Failed to execute command: {}", why.trim_end())),
                    None => Ran { stdout, stderr, exit_code: outcome.exit_code },
                });
            }
        }
    }
    Ok(Ran::failed(1, "Failed to execute command: the run broke off".to_owned()))
}

/// Keeps no more than can be told, whatever its characters are.
fn keep(kept: &mut Vec<u8>, more: &[u8]) {
    let room = (OUTPUT_CHARS_MAX * 4 + 4).saturating_sub(kept.len());
    kept.extend(more.iter().take(room));
}

fn bounded(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if let Some((at, _)) = text.char_indices().nth(OUTPUT_CHARS_MAX) {
        text.truncate(at);
        text.push_str(TRUNCATED);
    }
    text
}
