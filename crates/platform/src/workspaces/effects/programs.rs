//! Running programs and opening terminals.

use futures_util::StreamExt as _;
use reeve_gate::TaskCx;
use reeve_gate::workspace::Keystrokes;
use reeve_store::StoredWorkspace;
use reeve_types::workspace::processes::{ExecRequest, OpenPipe, OpenTerminal};
use reeve_types::{ExecutionId, ProblemCode, TerminalId, WorkspaceError, WorkspaceId};
use tokio::sync::mpsc;

use super::{Call, Done, bad, part, read, told};
use crate::workspaces::access::slot;
use crate::workspaces::programs::Whole;
use crate::workspaces::typing::keystrokes;
use crate::workspaces::{Core, Execution, Handed, Key, Use, Waiter, check_typed, lock};

/// How much of each stream an act's result keeps, in bytes.
const RESULT_BYTES: usize = 256 * 1024;

impl Core {
    pub(super) async fn open_terminal(&self, call: Call, row: &StoredWorkspace) -> Done {
        let wanted: OpenTerminal = read(&call.call().arguments, &["workspace_id"])?;
        let link = self.link(row).await?;
        self.touch(&row.workspace.id, Use::Terminal);
        let id = TerminalId::new(self.clock.now(), self.clock.random());
        let terminal = link.open_terminal(id, call.narrow(|_| Ok::<_, WorkspaceError>(wanted))?).await?;
        told("opened a terminal".to_owned(), &terminal)
    }

    pub(super) async fn type_in(&self, call: Call, row: &StoredWorkspace) -> Done {
        #[derive(serde::Deserialize)]
        struct Typing {
            terminal_id: TerminalId,
            #[serde(default)]
            text: String,
            #[serde(default)]
            keys: Vec<Key>,
        }
        let wanted: Typing = read(&call.call().arguments, &["workspace_id"])?;
        check_typed(&wanted.text, &wanted.keys).map_err(bad)?;
        let link = self.link(row).await?;
        self.touch(&row.workspace.id, Use::Terminal);
        let keys = Keystrokes { terminal: wanted.terminal_id, bytes: keystrokes(&wanted.text, &wanted.keys) };
        let typed = link.type_in(call.narrow(|_| Ok::<_, WorkspaceError>(keys))?).await?;
        told("typed it".to_owned(), &typed)
    }

    pub(super) async fn open_pipe(&self, call: Call, row: &StoredWorkspace, waiter: &mut Option<Waiter>) -> Done {
        let gone = "whoever wanted to talk with the program is gone; ask again";
        let asked = call.call();
        let key = slot(&asked.tool, &asked.arguments, &asked.principal, &asked.trace_id);
        let (argv, cwd) = (part(&asked.arguments, "argv")?, asked.arguments.get("cwd").cloned());
        let cwd =
            cwd.map(serde_json::from_value).transpose().map_err(|_| ended("`cwd` is no path"))?.unwrap_or_default();
        let Some(waiter) = waiter.take().filter(|waiter| !waiter.to.is_closed()) else { return Err(ended(gone)) };
        let env = lock(&self.environments).remove(&key).ok_or_else(|| ended(gone))?;
        let link = self.link(row).await?;
        self.touch(&row.workspace.id, Use::Execution);
        let wanted = OpenPipe { argv, cwd, env };
        let pipe = link.open_pipe(call.narrow(|_| Ok::<_, WorkspaceError>(wanted))?).await?;
        waiter.to.send(Handed::Pipe(Box::new(pipe))).map_err(|_| ended(gone))?;
        told("started the program".to_owned(), &serde_json::Value::Null)
    }

    pub(super) async fn execute(
        &self,
        call: Call,
        row: &StoredWorkspace,
        cx: &TaskCx,
        waiter: &mut Option<Waiter>,
    ) -> Done {
        let wanted: ExecRequest = read(&call.call().arguments, &["workspace_id"])?;
        within(wanted.timeout_ms, self.options.run_max_ms())?;
        let link = self.link(row).await?;
        let workspace = row.workspace.id.clone();
        let id = ExecutionId::new(self.clock.now(), self.clock.random());
        let live = waiter.as_ref().is_some_and(|waiter| waiter.live);
        let call = call.narrow(|_| Ok::<_, WorkspaceError>(wanted))?;
        let begun = if live { link.follow(id.clone(), call) } else { link.execute(id.clone(), call) };
        let mut events = begun.await?;
        let _busy = Busy::begin(self, &workspace);
        let (follow, mut follower) = mpsc::channel(64);
        let followed = match waiter.take() {
            None => false,
            Some(waiter) => {
                let told = futures_util::stream::poll_fn(move |cx| follower.poll_recv(cx)).boxed();
                waiter.to.send(Handed::Execution(Execution { id: id.clone(), events: told })).is_ok()
            }
        };
        let mut whole = Whole::new(id, RESULT_BYTES);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = cx.cancelled().cancelled() => return Err(ended("the server is stopping")),
                // Whoever began it went away, which is how it is stopped where it has told no id yet: no fault of anything.
                () = follow.closed(), if followed => {
                    return told("the program was ended: nobody followed it any more".to_owned(), &serde_json::Value::Null);
                }
            };
            let Some(event) = event else { return Err(ended("the workspace stopped telling of it")) };
            self.touch(&workspace, Use::Execution);
            if followed {
                // Nothing is read on while the follower reads slowly, so a program that floods waits with it. A caller that
                // has gone is found out by the next turn.
                tokio::select! {
                    _ = follow.send(event.clone()) => {}
                    () = cx.cancelled().cancelled() => return Err(ended("the server is stopping")),
                }
            }
            if let Some(result) = whole.take(event?) {
                return told(format!("the program ended with exit code {}", result.outcome.exit_code), &result);
            }
        }
    }
}

/// Refuses a run that would be longer than any may be.
pub(in crate::workspaces) fn within(asked_ms: Option<u64>, most: u64) -> Result<(), WorkspaceError> {
    match asked_ms {
        Some(ms) if ms == 0 || ms > most => {
            let message = format!("`timeout_ms` is {ms}; it goes from 1 to {most} here");
            Err(WorkspaceError::new(ProblemCode::BadRequest, message))
        }
        _ => Ok(()),
    }
}

fn ended(why: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Unavailable, format!("the program was ended: {why}"))
}

/// A program that runs keeps its workspace awake.
struct Busy<'a>(&'a Core, WorkspaceId);

impl<'a> Busy<'a> {
    fn begin(core: &'a Core, id: &WorkspaceId) -> Self {
        core.touch(id, Use::Execution);
        if let Some(uses) = lock(&core.uses).get_mut(id) {
            uses.busy += 1;
        }
        Self(core, id.clone())
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.touch(&self.1, Use::Execution);
        if let Some(uses) = lock(&self.0.uses).get_mut(&self.1) {
            uses.busy = uses.busy.saturating_sub(1);
        }
    }
}
