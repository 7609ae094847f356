//! Running an admitted act: intent, effect, outcome, each within its time.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use reeve_types::{ActionId, ActionState, Event, EventType, Obligations};

use super::{Act, Gate};
use crate::registry::Registered;
use crate::{Completed, Entry, Expectation, FailureKind, Permitted, Refusal, TaskCx, ToolCall, ToolFailure};

/// How long the platform waits for a tool beyond its own time before it calls the outcome unknown.
const TOOL_OVERTIME: Duration = Duration::from_secs(2);
/// How long a tool that was told to stop has to end by itself, so that it can say how it left things.
const STOP_GRACE: Duration = Duration::from_millis(500);

impl Gate {
    pub(super) async fn run_allowed(
        &self,
        act: &Act<'_>,
        call: ToolCall,
        obligations: Obligations,
        events: Vec<Event>,
    ) -> Result<Completed, Refusal> {
        let entry = self.lookup(&act.spec.name)?;
        if act.class.mutates() {
            return self.run_recorded(act, entry, call, obligations, vec![], events).await;
        }
        // A read is served even when it cannot be recorded; it is counted and logged, so that nobody is fooled.
        let recorded = self.append(vec![], events).await;
        let completed = self.run_tool(act, entry, call, obligations).await;
        let (event, verification) = self.outcome_events(act, &completed);
        let event_id = event.event_id.clone();
        let settled = self.append(vec![], [Some(event), verification].into_iter().flatten().collect()).await;
        let complete = recorded.and(settled);
        if let Err(error) = &complete {
            self.counters.unrecorded_reads.fetch_add(1, Ordering::Relaxed);
            tracing::error!(tool.name = %act.spec.name, trace.id = %act.request.trace_id, "a read was served without a record: {error}");
        }
        Ok(Completed { event_id: complete.is_ok().then_some(event_id), ..completed })
    }

    /// Intent, effect, outcome: a change never begins before its intent is on disk.
    pub(super) async fn run_recorded(
        &self,
        act: &Act<'_>,
        entry: &Registered,
        call: ToolCall,
        obligations: Obligations,
        expect: Vec<Expectation>,
        mut events: Vec<Event>,
    ) -> Result<Completed, Refusal> {
        let mut intent = self.event(act, EventType::EffectIntent, events.last());
        intent.action_id = Some(call.action_id.clone());
        intent.timestamp = self.clock.now();
        events.push(intent);
        // Before the intent is on disk, so that nobody who finds it there takes it for one that a crash left.
        let _in_hand = InHand::take(self, call.action_id.clone());
        self.append(expect, events).await?;

        let completed = self.run_tool(act, entry, call, obligations).await;
        let (event, verification) = self.outcome_events(act, &completed);
        let event_id = event.event_id.clone();
        let first = Entry { event, result: completed.outcome.as_ref().ok().cloned() };
        let entries: Vec<Entry> = std::iter::once(first).chain(verification.map(Entry::from)).collect();
        let expect = vec![Expectation::ActionIn(completed.action_id.clone(), ActionState::Running)];
        match self.ledger.record(expect, entries).await {
            Ok(_) => Ok(Completed { event_id: Some(event_id), ..completed }),
            Err(error) => {
                // The deed is done and its intent is on disk: after a restart it is found and looked at.
                tracing::error!(action.id = %completed.action_id, "the outcome of an act could not be recorded: {error}");
                Ok(Completed { event_id: None, ..completed })
            }
        }
    }

    pub(super) async fn run_tool(
        &self,
        act: &Act<'_>,
        entry: &Registered,
        call: ToolCall,
        limits: Obligations,
    ) -> Completed {
        let limit = Duration::from_millis(act.spec.timeout_ms.max(1));
        let stop = self.hard_stop.child_token();
        let cx = TaskCx::new(Arc::clone(&self.clock), stop.clone(), limit);
        // Whatever the tool has started beside itself ends with it, however it ends.
        let _stopped_at_the_end = stop.drop_guard();
        let (action_id, trace_id) = (call.action_id.clone(), call.trace_id.clone());
        // Inside the future, so that a tool that breaks off before its first wait is caught as well.
        let run = AssertUnwindSafe(async { entry.tool.run(Permitted::mint(call, limits), &cx).await }).catch_unwind();
        let cut_off = if act.class.mutates() { FailureKind::Unknown } else { FailureKind::Timeout };
        let outcome = tokio::select! {
            ended = tokio::time::timeout(limit + TOOL_OVERTIME, run) => match ended {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(ToolFailure::new(cut_off, format!("`{}` broke off because of a fault inside it", act.spec.name))),
                Err(_) => Err(ToolFailure::new(cut_off, format!("`{}` did not end within {limit:?}", act.spec.name))),
            },
            () = self.told_to_stop() => {
                Err(ToolFailure::new(cut_off, format!("`{}` was cut off because the server stopped", act.spec.name)))
            }
        };
        let (counter, word) = match &outcome {
            Ok(_) => (&self.counters.succeeded, "succeeded"),
            Err(f) if f.kind == FailureKind::Unknown => (&self.counters.unknown, "unknown"),
            Err(_) => (&self.counters.failed, "failed"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let span = tracing::Span::current();
        span.record("reeve.outcome", word);
        if outcome.is_err() {
            span.record("otel.status_code", "error");
        }
        Completed { action_id, trace_id, event_id: None, outcome }
    }

    pub(super) async fn told_to_stop(&self) {
        self.hard_stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }
}

/// Notes that this process has an act in hand, for as long as it lives.
pub(super) struct InHand<'a> {
    gate: &'a Gate,
    action_id: ActionId,
}

impl<'a> InHand<'a> {
    fn take(gate: &'a Gate, action_id: ActionId) -> Self {
        gate.in_hand.lock().unwrap_or_else(PoisonError::into_inner).insert(action_id.clone());
        Self { gate, action_id }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.gate.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.action_id);
    }
}
