//! The records that an act leaves on its way.

use jiff::Timestamp;
use reeve_types::event::{InputPart, OutcomePart, ToolPart};
use reeve_types::limits::RECORD_OUTPUT_CHARS_MAX;
use reeve_types::{ActionId, Event, EventType, ToolOutput, VerifyStatus};
use serde_json::Value;

use super::{Act, Gate};
use crate::{Completed, FailureKind, StoredAction, ToolFailure, masked_arguments};

impl Gate {
    pub(super) fn outcome_events(&self, act: &Act<'_>, completed: &Completed) -> (Event, Option<Event>) {
        let now = self.clock.now();
        let duration_ms = u64::try_from(now.duration_since(act.now).as_millis()).unwrap_or(0);
        let mut event = self.event(act, EventType::ToolExecution, None);
        event.timestamp = now;
        event.action_id = Some(completed.action_id.clone());
        let (status, error) = status_of(&completed.outcome);
        if let Some(tool) = &mut event.tool {
            tool.duration_ms = Some(duration_ms);
            match &completed.outcome {
                Ok(output) => {
                    tool.result = output.output.chars().take(RECORD_OUTPUT_CHARS_MAX).collect();
                    tool.pre_state = output.pre_state.clone();
                    tool.verify_status = output.verify_status;
                    tool.affected = output.affected;
                }
                Err(failure) => tool.error = failure.message.chars().take(RECORD_OUTPUT_CHARS_MAX).collect(),
            }
        }
        let error_message = error.chars().take(RECORD_OUTPUT_CHARS_MAX).collect();
        event.outcome = Some(OutcomePart { status: status.to_owned(), error_message, duration_ms: Some(duration_ms) });
        let verification = self.verification_event(act, completed, &event);
        (event, verification)
    }

    pub(super) fn verification_event(&self, act: &Act<'_>, completed: &Completed, parent: &Event) -> Option<Event> {
        let output = completed.outcome.as_ref().ok()?;
        let status = match output.verify_status? {
            VerifyStatus::Ok => return None,
            VerifyStatus::Warning => "verified_warning",
            VerifyStatus::Failed => "verified_failed",
            VerifyStatus::EscalationRequired => "escalation_required",
        };
        let mut event = self.event(act, EventType::VerificationOutcome, Some(parent));
        event.timestamp = parent.timestamp;
        event.outcome = Some(OutcomePart {
            status: status.to_owned(),
            error_message: format!("re-checked {} times", output.retry_count.unwrap_or(0)),
            duration_ms: None,
        });
        // The action is already settled by its own record; this one only adds to the journey.
        event.action_id = None;
        Some(event)
    }

    pub(super) fn event(&self, act: &Act<'_>, kind: EventType, parent: Option<&Event>) -> Event {
        let request = act.request;
        let mut event =
            Event::new(kind, request.principal.tenant.clone(), request.trace_id.clone(), act.now, self.clock.random());
        event.parent_id = parent.map(|p| p.event_id.clone());
        event.action_id = match parent {
            Some(parent) => parent.action_id.clone(),
            None => Some(ActionId::new(act.now, self.clock.random())),
        };
        event.origin = Some(request.origin);
        event.action_class = Some(act.class);
        event.principal = Some(request.principal.clone());
        event.purpose = request.purpose;
        event.purpose_note.clone_from(&request.purpose_note);
        event.session.clone_from(&request.session);
        event.input = InputPart { user_query: request.user_query.clone() };
        let shown = masked_arguments(&request.arguments, act.spec.target_argument.as_deref());
        event.tool = Some(ToolPart {
            name: act.spec.name.clone(),
            agent: act.spec.agent.clone(),
            parameters: Value::Object(shown),
            ..ToolPart::default()
        });
        event.resource = Some(act.resource.clone());
        event
    }

    pub(super) fn event_for(&self, action: &StoredAction, kind: EventType, at: Timestamp) -> Event {
        let mut event =
            Event::new(kind, action.requester.tenant.clone(), action.trace_id.clone(), at, self.clock.random());
        event.action_id = Some(action.action_id.clone());
        event.action_class = Some(action.action_class);
        event.principal = Some(action.requester.clone());
        event.purpose = action.purpose;
        event.resource = Some(action.resource.clone());
        event.tool = Some(ToolPart {
            name: action.tool.clone(),
            parameters: Value::Object(action.arguments.clone()),
            ..ToolPart::default()
        });
        event
    }
}

pub(super) fn status_of(outcome: &Result<ToolOutput, ToolFailure>) -> (&'static str, String) {
    match outcome {
        Ok(_) => ("success", String::new()),
        Err(failure) => {
            let status = match failure.kind {
                FailureKind::Unknown => "unknown",
                FailureKind::LimitExceeded => "denied",
                _ => "error",
            };
            (status, failure.message.clone())
        }
    }
}
