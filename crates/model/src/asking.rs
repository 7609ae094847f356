//! One question: which models are asked, how often, and what is told meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use reeve_gate::TaskCx;
use reeve_gate::model::{ModelEvent, ModelFailure, ModelFailureKind, ModelStream};
use reeve_types::TenantId;
use reeve_types::model::{Prompt, Reply};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::catalog::Candidate;
use crate::patience::wait_after;
use crate::replay::Recorder;
use crate::trouble::Trouble;

/// Events that may wait for a slow listener; then the provider has to wait too.
const WAITING_EVENTS: usize = 64;

/// A question that is about to be asked.
pub(crate) struct Asking {
    pub(crate) tenant: TenantId,
    /// In order; the first one is the one that was wanted.
    pub(crate) candidates: Vec<Result<Candidate, ModelFailure>>,
    pub(crate) prompt: Prompt,
    pub(crate) attempts: u32,
    pub(crate) recorder: Option<Arc<Recorder>>,
    pub(crate) cx: TaskCx,
}

impl Asking {
    /// The answer as it comes. Nothing is sent before it is polled.
    pub(crate) fn stream(self) -> ModelStream {
        let (said, heard) = channel(WAITING_EVENTS);
        let work = Box::pin(async move { self.run(said).await });
        Box::pin(Answering { heard, work: Some(work), outcome: None })
    }

    async fn run(self, said: Sender<ModelEvent>) -> Result<Reply, ModelFailure> {
        let stopped = |kind, message: &str| Err(ModelFailure { kind, message: message.to_owned() });
        let reply = tokio::select! {
            biased;
            () = self.cx.cancelled().cancelled() => {
                return stopped(ModelFailureKind::Cancelled, "the question was called off");
            }
            () = tokio::time::sleep_until(self.cx.deadline()) => {
                return stopped(ModelFailureKind::Timeout, "the time for this answer ran out before the model was done");
            }
            reply = self.ask_each(&said) => reply?,
        };
        if let Some(recorder) = &self.recorder {
            recorder.keep(&self.prompt, &reply).await;
        }
        Ok(reply)
    }

    async fn ask_each(&self, said: &Sender<ModelEvent>) -> Result<Reply, ModelFailure> {
        let mut attempt = 1;
        let mut failed: Option<ModelFailure> = None;
        for candidate in &self.candidates {
            let failure = match candidate {
                Err(failure) => failure.clone(),
                Ok(candidate) => {
                    if let Some(before) = &failed {
                        attempt += 1;
                        let reason = format!("{} Asking {} instead.", before.message, candidate.name);
                        tell(said, ModelEvent::Retrying { attempt, after: Duration::ZERO, reason }).await;
                    }
                    match self.ask_one(candidate, &mut attempt, said).await {
                        Ok(reply) => return Ok(reply),
                        Err(failure) => failure,
                    }
                }
            };
            let goes_on = candidate.is_err() || falls_back(failure.kind);
            // What was wanted first is what people want to hear of first.
            failed = Some(match failed {
                None => failure,
                Some(first) => {
                    let message = format!("{} {}", first.message, failure.message);
                    ModelFailure { kind: if goes_on { first.kind } else { failure.kind }, message }
                }
            });
            if !goes_on {
                break;
            }
        }
        Err(failed.unwrap_or_else(|| ModelFailure {
            kind: ModelFailureKind::NotConfigured,
            message: "no model is configured".to_owned(),
        }))
    }

    async fn ask_one(
        &self,
        candidate: &Candidate,
        attempt: &mut u32,
        said: &Sender<ModelEvent>,
    ) -> Result<Reply, ModelFailure> {
        let mut turn = 1;
        loop {
            let trouble = match candidate.ask(&self.tenant, &self.prompt, &self.cx, said).await {
                Ok(reply) => return Ok(reply),
                Err(trouble) => trouble,
            };
            let wait = wait_after(turn, self.attempts, &trouble, self.cx.random());
            let wait = wait.filter(|wait| *wait < self.cx.remaining());
            tracing::debug!(
                model = candidate.name,
                turn,
                kind = trouble.kind.as_str(),
                ?wait,
                "a model did not answer"
            );
            let Some(after) = wait else { return Err(failure(candidate, &trouble, turn)) };
            turn += 1;
            *attempt += 1;
            let reason = format!("{} {}", candidate.name, trouble.what);
            tell(said, ModelEvent::Retrying { attempt: *attempt, after, reason }).await;
            tokio::time::sleep(after).await;
        }
    }
}

async fn tell(said: &Sender<ModelEvent>, event: ModelEvent) {
    // The listener is gone only together with this very task.
    let _ = said.send(event).await;
}

/// Whether another model may do better.
fn falls_back(kind: ModelFailureKind) -> bool {
    matches!(kind, ModelFailureKind::NotConfigured | ModelFailureKind::Limited | ModelFailureKind::Unreachable)
}

fn failure(candidate: &Candidate, trouble: &Trouble, turns: u32) -> ModelFailure {
    use ModelFailureKind as Kind;
    let next = match trouble.kind {
        Kind::Unauthorized => format!("Give a valid key: {}.", candidate.key_hint),
        Kind::Rejected => format!("Check the model's name and `models.providers.{}`.", candidate.provider),
        Kind::TooLong => "Shorten the conversation, or ask a model that reads more.".to_owned(),
        Kind::Limited => "Wait a while, or name another model in `models.fallbacks`.".to_owned(),
        Kind::Unreachable => {
            format!("Check that it runs and that `models.providers.{}.base_url` is right.", candidate.provider)
        }
        Kind::Malformed => {
            format!("Check that `models.providers.{}` has the right `kind` and `base_url`.", candidate.provider)
        }
        Kind::Timeout => format!("Raise `models.providers.{}.answer_timeout_ms`, or ask for less.", candidate.provider),
        Kind::NotConfigured | Kind::Cancelled => String::new(),
    };
    let attempts = if turns > 1 { format!(" ({turns} attempts)") } else { String::new() };
    let message = format!("{} at {} {}{attempts}. {next}", candidate.name, candidate.place, trouble.what);
    ModelFailure { kind: trouble.kind, message: message.trim_end().to_owned() }
}

/// The work and what it says, in one: whoever polls for events drives it, and dropping it ends it.
struct Answering {
    heard: Receiver<ModelEvent>,
    work: Option<BoxFuture<'static, Result<Reply, ModelFailure>>>,
    outcome: Option<Result<Reply, ModelFailure>>,
}

impl Stream for Answering {
    type Item = Result<ModelEvent, ModelFailure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(Some(event)) = self.heard.poll_recv(cx) {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(work) = &mut self.work else {
                let last = self.outcome.take();
                return Poll::Ready(last.map(|outcome| outcome.map(|reply| ModelEvent::Finished(Box::new(reply)))));
            };
            match work.as_mut().poll(cx) {
                // What it said last is still to be heard.
                Poll::Ready(outcome) => {
                    self.outcome = Some(outcome);
                    self.work = None;
                }
                Poll::Pending => {
                    return match self.heard.poll_recv(cx) {
                        Poll::Ready(Some(event)) => Poll::Ready(Some(Ok(event))),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }
}
