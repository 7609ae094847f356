//! The commands that an agent asks Reeve to run. Each is one act through the gate; its output is there once it has ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reeve_platform::sessions::ExternalPeer;
use reeve_types::WorkspacePath;
use reeve_types::workspace::processes::{ExecRequest, ExecResult};
use tokio::sync::watch;

use super::words::cut;
use crate::acp::{CreateTerminal, PeerError, TerminalExit, TerminalOutput, TerminalRef};

/// Commands at the same time.
const RUNNING_MAX: usize = 16;
/// Commands that are remembered.
const KEPT_MAX: usize = 64;
/// Most output of one command that is kept, in bytes.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that a command may run, in milliseconds.
const RUN_MS_MAX: u64 = 60 * 60 * 1000;

/// All of one agent.
#[derive(Default)]
pub(super) struct Terminals {
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    last: u64,
    known: HashMap<String, Terminal>,
    order: VecDeque<String>,
}

struct Terminal {
    state: watch::Receiver<Option<TerminalOutput>>,
    task: tokio::task::AbortHandle,
}

impl Terminal {
    /// A task that was ended says nothing any more.
    fn runs(&self) -> bool {
        self.state.borrow().is_none() && self.state.has_changed().is_ok()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Terminals {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a command. `cwd` is where it starts when it does not say.
    pub(super) fn create(
        &self,
        wanted: CreateTerminal,
        cwd: &WorkspacePath,
        peer: &Arc<dyn ExternalPeer>,
    ) -> Result<String, PeerError> {
        let most = wanted.output_byte_limit.and_then(|most| usize::try_from(most).ok()).unwrap_or(OUTPUT_BYTES_MAX);
        let most = most.min(OUTPUT_BYTES_MAX);
        let request = request(wanted, cwd)?;
        let (told, state) = watch::channel(None);
        let mut all = self.all();
        let running = all.known.values().filter(|terminal| terminal.runs()).count();
        if running >= RUNNING_MAX {
            return Err(PeerError::Failed(format!("{RUNNING_MAX} commands run already; wait for one or kill it")));
        }
        if all.order.len() >= KEPT_MAX
            && let Some(oldest) = all.order.pop_front()
        {
            all.known.remove(&oldest);
        }
        all.last += 1;
        let id = format!("term_{}", all.last);
        let peer = Arc::clone(peer);
        let task = tokio::spawn(async move {
            let ended = match peer.run(request).await {
                Ok(result) => told_of(result, most),
                Err(reason) => TerminalOutput {
                    output: reason,
                    truncated: false,
                    exit: Some(TerminalExit { exit_code: Some(126), signal: None }),
                },
            };
            told.send_replace(Some(ended));
        });
        all.known.insert(id.clone(), Terminal { state, task: task.abort_handle() });
        all.order.push_back(id.clone());
        Ok(id)
    }

    /// What a command has written, once it has ended.
    pub(super) fn output(&self, which: &TerminalRef) -> Result<TerminalOutput, PeerError> {
        let state = self.state(which)?;
        let output = state.borrow().clone();
        // A task that was ended says nothing any more.
        let is_gone = output.is_none() && state.has_changed().is_err();
        Ok(output.unwrap_or_else(|| TerminalOutput { exit: is_gone.then(killed), ..TerminalOutput::default() }))
    }

    /// Waits for a command's end.
    pub(super) async fn wait(&self, which: &TerminalRef) -> Result<TerminalExit, PeerError> {
        let mut state = self.state(which)?;
        let ended = match state.wait_for(Option::is_some).await {
            Ok(ended) => ended.as_ref().and_then(|output| output.exit.clone()),
            Err(_) => None,
        };
        Ok(ended.unwrap_or_else(killed))
    }

    /// Ends a command.
    pub(super) fn kill(&self, which: &TerminalRef) -> Result<(), PeerError> {
        let all = self.all();
        let terminal = all.known.get(&which.terminal_id).ok_or_else(|| unknown(which))?;
        terminal.task.abort();
        Ok(())
    }

    /// Ends a command and forgets it.
    pub(super) fn release(&self, which: &TerminalRef) -> Result<(), PeerError> {
        let mut all = self.all();
        all.order.retain(|id| *id != which.terminal_id);
        all.known.remove(&which.terminal_id).map(drop).ok_or_else(|| unknown(which))
    }

    /// Ends everything.
    pub(super) fn release_all(&self) {
        let mut all = self.all();
        all.known.clear();
        all.order.clear();
    }

    fn state(&self, which: &TerminalRef) -> Result<watch::Receiver<Option<TerminalOutput>>, PeerError> {
        self.all().known.get(&which.terminal_id).map(|found| found.state.clone()).ok_or_else(|| unknown(which))
    }
}

fn unknown(which: &TerminalRef) -> PeerError {
    PeerError::BadParameters(format!("there is no terminal `{}`", cut(&which.terminal_id, 60)))
}

fn killed() -> TerminalExit {
    TerminalExit { exit_code: None, signal: Some("SIGKILL".to_owned()) }
}

fn request(wanted: CreateTerminal, cwd: &WorkspacePath) -> Result<ExecRequest, PeerError> {
    let cwd = match &wanted.cwd {
        Some(path) => super::hearing::inside(path)?,
        None => cwd.clone(),
    };
    // Agents hand a whole line over as the command when they mean a shell's.
    let is_line = wanted.args.is_empty() && wanted.command.contains(char::is_whitespace);
    let argv = if is_line {
        vec!["/bin/sh".to_owned(), "-c".to_owned(), wanted.command]
    } else {
        std::iter::once(wanted.command).chain(wanted.args).collect()
    };
    let env = wanted.env.into_iter().collect();
    Ok(ExecRequest { argv, cwd, env, timeout_ms: Some(RUN_MS_MAX), ..ExecRequest::default() })
}

fn told_of(result: ExecResult, most: usize) -> TerminalOutput {
    let mut output = result.stdout;
    if !output.is_empty() && !output.ends_with('\n') && !result.stderr.is_empty() {
        output.push('\n');
    }
    output.push_str(&result.stderr);
    let mut from = output.len().saturating_sub(most);
    while !output.is_char_boundary(from) {
        from += 1;
    }
    let truncated = from > 0 || result.outcome.truncated;
    let output = output.split_off(from);
    let signal = result.outcome.signal;
    let exit_code = u32::try_from(result.outcome.exit_code).ok().filter(|_| signal.is_none());
    TerminalOutput { output, truncated, exit: Some(TerminalExit { exit_code, signal }) }
}
