//! The way to a running agent: its turns, its end, and why it ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::workspace::{EventStream, PipeEnd, PipeError};
use reeve_platform::sessions::{ExternalFailure, ExternalLink, ExternalUsage};
use reeve_types::WorkspaceError;
use reeve_types::session::{PermissionMode, TurnEnd};
use tokio::sync::watch;

use super::calls::without_secrets;
use super::dials::ModelRefused;
use super::door::Keeper;
use super::hearing::Hearing;
use super::steering::Helm;
use super::words::{cut, plain};
use crate::acp::{AcpError, Connection, ContentBlock, StopReason};

/// How long is waited for news of a program whose output has ended.
const END_WITHIN: Duration = Duration::from_secs(6);
/// How long an agent in an unsafe mode may take to end its turn before it is stopped.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
/// How often a workspace is said to be used while a turn is in flight.
const USED_EVERY: Duration = Duration::from_secs(20);
/// How much of an agent's last errors is told, in characters.
const LAST_ERRORS_CHARS_MAX: usize = 2000;
/// How many lines of them.
const LAST_ERRORS_LINES_MAX: usize = 20;

/// What became of a program.
type Remains = watch::Receiver<Option<Result<PipeEnd, WorkspaceError>>>;

/// Waits for a program's end. Dropping it ends the program, when its streams are dropped too.
pub(super) struct Watch {
    remains: Remains,
    task: tokio::task::AbortHandle,
}

impl Watch {
    pub(super) fn begin(
        exit: BoxFuture<'static, Result<PipeEnd, WorkspaceError>>,
        errors: EventStream<PipeError>,
    ) -> Self {
        let (told, remains) = watch::channel(None);
        let task = tokio::spawn(async move {
            let end = exit.await;
            // What is not read of its errors is left out; the last of them come with the end.
            drop(errors);
            told.send_replace(Some(end));
        });
        Self { remains, task: task.abort_handle() }
    }

    /// How the program ended, in words, and what it said last.
    pub(super) async fn told(&self) -> (String, String) {
        let mut remains = self.remains.clone();
        let end = match tokio::time::timeout(END_WITHIN, remains.wait_for(Option::is_some)).await {
            Ok(Ok(end)) => end.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match end {
            None => ("closed its output and did not end".to_owned(), String::new()),
            Some(Err(error)) => (format!("is gone: {}", cut(&plain(&error.to_string()), 500)), String::new()),
            Some(Ok(end)) => {
                let how = match &end.exit.signal {
                    Some(signal) => format!("was ended by {}", cut(&plain(signal), 40)),
                    None => format!("ended with exit code {}", end.exit.exit_code),
                };
                (how, last_lines(&end.last_errors))
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(plain).collect();
    let from = lines.len().saturating_sub(LAST_ERRORS_LINES_MAX);
    let last = without_secrets(&lines.get(from..).unwrap_or_default().join("\n"));
    let skipped = last.chars().count().saturating_sub(LAST_ERRORS_CHARS_MAX);
    last.chars().skip(skipped).collect()
}

/// A running agent with one session.
pub(super) struct Link {
    parts: Mutex<Option<Arc<Parts>>>,
    session_id: String,
    hearing: Arc<Hearing>,
    /// Whether the agent hears of its model in its environment.
    told_at_start: bool,
    /// Says that the workspace is used: what an agent does with its own hands, nobody else sees.
    in_use: Box<dyn Fn() + Send + Sync>,
}

/// What ends the program when it is dropped.
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) watch: Watch,
    pub(super) _door: Option<Keeper>,
}

impl Link {
    pub(super) fn new(
        parts: Parts,
        session_id: String,
        hearing: Arc<Hearing>,
        told_at_start: bool,
        in_use: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let parts = Mutex::new(Some(Arc::new(parts)));
        Self { parts, session_id, hearing, told_at_start, in_use: Box::new(in_use) }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Parts>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> Option<Arc<Parts>> {
        self.slot().clone()
    }

    fn helm<'a>(&'a self, parts: &'a Parts) -> Helm<'a> {
        let (hearing, session_id) = (&*self.hearing, self.session_id.as_str());
        Helm { connection: &parts.connection, hearing, session_id, told_at_start: self.told_at_start }
    }

    async fn turn(&self, parts: &Parts, text: &str) -> Result<(TurnEnd, String), ExternalFailure> {
        let mut prompt = Box::pin(parts.connection.prompt(&self.session_id, vec![ContentBlock::text(text)]));
        let stopped = tokio::select! {
            biased;
            () = self.hearing.unsafe_mode.cancelled() => None,
            stopped = &mut prompt => Some(stopped),
        };
        let Some(stopped) = stopped else {
            let _it_may_be_gone = parts.connection.cancel(&self.session_id).await;
            let _it_may_not_listen = tokio::time::timeout(CANCEL_WITHIN, prompt).await;
            self.slot().take();
            return Err(failure(
                "the agent went into a mode in which it asks nobody before it acts, and was stopped; go on with another \
                 prompt, and it is started again",
            ));
        };
        let stopped = stopped.map(|done| {
            if let Some(usage) = done.usage {
                self.hearing.spending.told(usage);
            }
            done.stop
        });
        match stopped {
            Ok(StopReason::EndTurn) => Ok((TurnEnd::Completed, String::new())),
            Ok(StopReason::MaxTokens) => {
                Ok((TurnEnd::LimitReached, "the model's answer was as long as it may be".to_owned()))
            }
            Ok(StopReason::MaxTurnRequests) => {
                Ok((TurnEnd::LimitReached, "the agent has asked its model as often as it may in one turn".to_owned()))
            }
            Ok(StopReason::Refusal) => Ok((TurnEnd::Refused, "the agent would not do it".to_owned())),
            Ok(StopReason::Cancelled) => Ok((TurnEnd::Cancelled, String::new())),
            Ok(StopReason::Other(word)) => {
                Ok((TurnEnd::Completed, format!("the agent calls its end `{}`", cut(&plain(&word), 100))))
            }
            Err(AcpError::Ended { why }) => {
                let (how, last) = parts.watch.told().await;
                if !last.is_empty() {
                    self.hearing.warn(&format!("the agent's last words: {last}")).await;
                }
                let said = format!("the agent {how}{}", last_line(&last));
                // An end that is not the program's own has a reason of its own.
                let why = match why {
                    crate::acp::End::Closed => String::new(),
                    why => format!(" ({why})"),
                };
                Err(failure(&format!("{said}{why}; go on with another prompt, and it is started again")))
            }
            Err(error) => Err(failure(&error.to_string())),
        }
    }
}

/// The last line, to follow a sentence.
pub(super) fn last_line(lines: &str) -> String {
    match lines.lines().last() {
        Some(line) => format!(": {}", cut(line, 500)),
        None => String::new(),
    }
}

/// A failure in an agent's words, without secrets.
pub(super) fn failure(message: &str) -> ExternalFailure {
    ExternalFailure { message: cut(&without_secrets(&plain(message)), 2000) }
}

impl ExternalLink for Link {
    fn prompt<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<(TurnEnd, String), ExternalFailure>> {
        Box::pin(async move {
            let parts = self.parts().ok_or_else(|| failure("the agent was stopped; go on with another prompt"))?;
            let mut turn = Box::pin(self.turn(&parts, text));
            let mut often = tokio::time::interval(USED_EVERY);
            let ended = loop {
                tokio::select! {
                    ended = &mut turn => break ended,
                    _ = often.tick() => (self.in_use)(),
                }
            };
            self.hearing.settle("the turn ended before this did").await;
            ended
        })
    }

    fn cancel(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(parts) = self.parts()
                && let Err(error) = parts.connection.cancel(&self.session_id).await
            {
                tracing::debug!("an agent could not be told to end its turn: {error}");
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let parts = self.slot().take();
            if let Some(parts) = parts
                && let Err(error) = parts.connection.close(&self.session_id).await
            {
                tracing::debug!("an agent was not told that its session is over: {error}");
            }
        })
    }

    fn set_mode(&self, mode: PermissionMode) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(parts) = self.parts()
                && let Err(error) = self.helm(&parts).set_mode(mode).await
            {
                tracing::debug!("an agent could not be told of its session's mode: {error}");
            }
        })
    }

    fn check_model(&self, model: Option<&str>) -> Result<(), ExternalFailure> {
        match self.hearing.dials().model_for(model) {
            Err(refused @ ModelRefused::NotOffered { .. }) => Err(failure(&refused.to_string())),
            // It is told to the session when it comes to that.
            Err(ModelRefused::NoChoice) | Ok(_) => Ok(()),
        }
    }

    fn set_model<'a>(&'a self, model: Option<&'a str>) -> BoxFuture<'a, Result<(), ExternalFailure>> {
        Box::pin(async move {
            let Some(parts) = self.parts() else { return Ok(()) };
            self.helm(&parts).set_model(model).await.map_err(|reason| failure(&reason))
        })
    }

    fn take_used(&self) -> Option<ExternalUsage> {
        let own_model = self.hearing.dials().models().map(|(model, _)| model);
        self.hearing.spending.take(own_model)
    }

    fn is_alive(&self) -> bool {
        !self.hearing.unsafe_mode.is_cancelled() && self.parts().is_some_and(|parts| parts.connection.end().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_an_agent_said_last_the_end_is_told_without_secrets() {
        let said = "noise\n".repeat(100) + "\n key ghp_abcdefghijklmnopqrstuvwxyz0123456789\nboom \u{1b}[0m\n";
        let last = last_lines(&said);
        assert!(last.lines().count() <= LAST_ERRORS_LINES_MAX && !last.contains("ghp_"), "{last}");
        assert_eq!(last_line(&last), ": boom  [0m");
        assert_eq!(last_line(""), "");
    }
}
