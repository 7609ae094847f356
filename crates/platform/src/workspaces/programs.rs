//! Programs: starting them by acts, following along.

use futures_util::StreamExt as _;
use reeve_gate::workspace::{EventStream, Pipe};
use reeve_types::workspace::processes::{
    EXECUTION_OUTPUT_BYTES_MAX, EXECUTION_WHOLE_TIMEOUT_MS_MAX, ExecEvent, ExecRequest, ExecResult, OpenPipe,
    OutputStream,
};
use reeve_types::{ExecutionId, Principal, ProblemCode, WorkspaceError, WorkspaceId};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::sync::oneshot;

use super::access::slot;
use super::effects::programs::within;
use super::{Asker, Handed, NotDone, Waiter, Workspaces, lock};

/// A program that runs. Dropping the events ends it.
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// What it tells, `exit` last.
    pub events: EventStream<ExecEvent>,
}

impl Workspaces {
    /// Runs a program and follows it: all that it writes, as it comes. It waits while nobody takes its events.
    pub async fn execute(&self, asker: &Asker, id: &WorkspaceId, wanted: &ExecRequest) -> Result<Execution, NotDone> {
        self.begin(asker, id, wanted, true).await
    }

    async fn begin(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        wanted: &ExecRequest,
        live: bool,
    ) -> Result<Execution, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let mut arguments = json!(wanted);
        arguments["workspace_id"] = json!(id);
        let (sender, mut handed) = oneshot::channel();
        let core = std::sync::Arc::clone(&self.core);
        let asker = asker.clone();
        // The act goes on by itself while the caller follows the program.
        let waiter = Waiter { to: sender, live };
        let mut act = tokio::spawn(async move { core.submit(&asker, "workspace_execute", arguments, waiter).await });
        let early = tokio::select! {
            biased;
            first = &mut handed => match first {
                Ok(Handed::Execution(execution)) => return Ok(execution),
                Ok(Handed::Problem(problem)) => return Err(NotDone::Problem(problem)),
                Ok(Handed::Pipe(_) | Handed::Answer(_)) | Err(_) => None,
            },
            ended = &mut act => Some(ended),
        };
        match handed.try_recv() {
            Ok(Handed::Execution(execution)) => return Ok(execution),
            Ok(Handed::Problem(problem)) => return Err(NotDone::Problem(problem)),
            Ok(Handed::Pipe(_) | Handed::Answer(_)) | Err(_) => {}
        }
        let ended = match early {
            Some(ended) => ended,
            None => act.await,
        };
        let completed = ended.map_err(|_| NotDone::new(ProblemCode::Internal, "the act was interrupted"))?;
        // Approved before and collected now: it has run, and its whole result is told again as events.
        let result: ExecResult = self.core.result(completed, || None)?;
        Ok(Execution { id: result.id.clone(), events: told_again(result) })
    }

    /// Runs a program to its end. Of each stream at most 1 MiB is kept: head and tail.
    pub async fn execute_whole(
        &self,
        asker: &Asker,
        id: &WorkspaceId,
        wanted: &ExecRequest,
    ) -> Result<ExecResult, NotDone> {
        within(wanted.timeout_ms, self.options().run_max_ms().min(EXECUTION_WHOLE_TIMEOUT_MS_MAX))?;
        let mut execution = self.begin(asker, id, wanted, false).await?;
        let mut whole = Whole::new(execution.id, EXECUTION_OUTPUT_BYTES_MAX);
        while let Some(event) = execution.events.next().await {
            if let Some(result) = whole.take(event?) {
                return Ok(result);
            }
        }
        Err(NotDone::new(ProblemCode::Unavailable, "the program's end was not told; the workspace may have stopped"))
    }

    /// Ends a program with all that it started.
    pub async fn cancel(&self, who: &Principal, id: &WorkspaceId, execution: &ExecutionId) -> Result<(), NotDone> {
        Ok(self.own_link(who, id).await?.cancel(execution).await?)
    }

    /// Starts a program and talks with it over its standard input and output. The values of its environment stand in no
    /// record, its names do.
    pub async fn open_pipe(&self, asker: &Asker, id: &WorkspaceId, wanted: OpenPipe) -> Result<Pipe, NotDone> {
        self.core.visible(&asker.principal, id).await?;
        let variables: Vec<&String> = wanted.env.keys().collect();
        let arguments = json!({"workspace_id": id, "argv": wanted.argv, "cwd": wanted.cwd, "variables": variables});
        let key = match &arguments {
            Value::Object(arguments) => slot("workspace_open_pipe", arguments, &asker.principal, &asker.trace_id),
            _ => return Err(NotDone::new(ProblemCode::Internal, "the arguments of an act are no object")),
        };
        lock(&self.core.environments).insert(key, wanted.env);
        let (sender, mut handed) = oneshot::channel();
        let completed = self.core.submit(asker, "workspace_open_pipe", arguments, sender).await;
        lock(&self.core.environments).remove(&key);
        match handed.try_recv() {
            Ok(Handed::Pipe(pipe)) => Ok(*pipe),
            Ok(Handed::Problem(problem)) => Err(NotDone::Problem(problem)),
            _ => match completed?.outcome {
                Ok(_) => Err(NotDone::new(ProblemCode::Unavailable, "the program was started, and is gone already")),
                Err(failure) => Err(NotDone::new(ProblemCode::Unavailable, failure.message)),
            },
        }
    }
}

fn told_again(result: ExecResult) -> EventStream<ExecEvent> {
    let out = |stream, text: String| ExecEvent::Output { stream, data: text.into_bytes() };
    let phase = result.outcome.phase;
    let events = [
        ExecEvent::Start { id: result.id, phase, argv: result.argv },
        out(OutputStream::Stdout, result.stdout),
        out(OutputStream::Stderr, result.stderr),
        ExecEvent::Exit(result.outcome),
    ];
    futures_util::stream::iter(events.into_iter().map(Ok::<_, WorkspaceError>)).boxed()
}

/// Output that is kept: its head and its tail.
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    left_out: u64,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), half: most / 2, left_out: 0 }
    }

    fn take(&mut self, data: &[u8]) {
        let (first, rest) = data.split_at(data.len().min(self.half.saturating_sub(self.head.len())));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    fn text(self) -> String {
        let tail: Vec<u8> = self.tail.into();
        if self.left_out == 0 {
            return String::from_utf8_lossy(&[self.head, tail].concat()).into_owned();
        }
        let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
        format!("{head}\n[{} bytes left out]\n{tail}", self.left_out)
    }
}

/// A run that is put together from its events.
pub(super) struct Whole {
    id: ExecutionId,
    argv: Vec<String>,
    out: Kept,
    err: Kept,
}

impl Whole {
    pub(super) fn new(id: ExecutionId, most: usize) -> Self {
        Self { id, argv: Vec::new(), out: Kept::new(most), err: Kept::new(most) }
    }

    /// Takes an event; the last one makes it whole.
    pub(super) fn take(&mut self, event: ExecEvent) -> Option<ExecResult> {
        match event {
            ExecEvent::Start { argv, .. } => self.argv = argv,
            ExecEvent::Output { stream: OutputStream::Stdout, data } => self.out.take(&data),
            ExecEvent::Output { stream: OutputStream::Stderr, data } => self.err.take(&data),
            ExecEvent::Exit(mut outcome) => {
                outcome.truncated |= self.out.left_out + self.err.left_out > 0;
                let out = std::mem::replace(&mut self.out, Kept::new(0));
                let err = std::mem::replace(&mut self.err, Kept::new(0));
                return Some(ExecResult {
                    id: self.id.clone(),
                    argv: std::mem::take(&mut self.argv),
                    stdout: out.text(),
                    stderr: err.text(),
                    outcome,
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_output_head_and_tail_are_kept_and_the_gap_is_said() {
        let mut kept = Kept::new(8);
        for piece in ["abc", "def", "ghijkl", "mn"] {
            kept.take(piece.as_bytes());
        }
        assert_eq!(kept.text(), "abcd\n[6 bytes left out]\nklmn");
        let mut short = Kept::new(8);
        short.take("größe".as_bytes());
        assert_eq!(short.text(), "größe");
    }
}
