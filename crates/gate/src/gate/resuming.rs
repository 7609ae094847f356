//! Acts that were left: approved ones begin if they are still the same, interrupted ones are looked at.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use reeve_types::event::{OutcomePart, SessionPart};
use reeve_types::{
    ActionId, ActionState, Approval, ApprovalStatus, Effect, EventType, Measured, Obligations, Origin, PolicyRequest,
    ToolOutput,
};
use tracing::Instrument as _;

use super::asking::approval_part;
use super::{Act, Gate, refusal, span_of};
use crate::registry::Registered;
use crate::{
    Completed, Entry, Expectation, Permitted, ProbeVerdict, Refusal, Request, ResumableAct, StoredAction, TaskCx,
    ToolCall, act_digest,
};

impl Gate {
    pub(super) async fn begin_approved(self: Arc<Self>, action_id: &ActionId) -> Result<Completed, Refusal> {
        let found = self.ledger.action(action_id).await.map_err(refusal)?;
        let Some(ResumableAct { action, approval: Some(approval) }) = found else {
            return Err(Refusal::Conflict(format!("there is no approved action `{action_id}`")));
        };
        if action.state != ActionState::Approved {
            return Err(Refusal::Conflict(format!("action `{action_id}` is {}, not approved", action.state)));
        }
        let now = self.clock.now();
        let request = request_of(&action);
        match self.still_the_same(&action, &approval, now) {
            Err(reason) => {
                self.mark_stale(&action, &approval, &reason, now).await?;
                Err(Refusal::Stale(reason))
            }
            Ok((entry, obligations)) => {
                let spec = entry.tool.spec();
                let act = Act { spec, class: action.action_class, resource: &action.resource, request: &request, now };
                let call = act.call(action_id.clone());
                let expect = vec![Expectation::ActionIn(action_id.clone(), ActionState::Approved)];
                let span = span_of(&spec.name, &request.trace_id);
                span.record("reeve.action_id", tracing::field::display(action_id));
                span.record("reeve.decision", "approved");
                self.run_recorded(&act, entry, call, obligations, expect, vec![]).instrument(span).await
            }
        }
    }

    /// Holds everything the approval is bound to against the present. What differs is said in words.
    pub(super) fn still_the_same(
        &self,
        action: &StoredAction,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<(&Registered, Obligations), String> {
        if approval.approval_valid_until.is_some_and(|until| now >= until) {
            return Err("it was approved, but did not begin in the time that the approval was given for".to_owned());
        }
        let entry = self.registry.get(&action.tool).ok_or_else(|| format!("the tool `{}` is gone", action.tool))?;
        let spec = entry.tool.spec();
        let target = entry.tool.target_of(&action.arguments);
        let resource = self.inventory.resolve(spec.resource_kind, target.as_deref()).map_err(|e| e.to_string())?;
        if resource != action.resource {
            return Err(format!("the inventory now describes `{}` differently", action.resource.name));
        }
        let policy = self.policy.load_full();
        if policy.digest() != approval.policy_digest {
            return Err("the policies have changed since people were asked".to_owned());
        }
        let digest = act_digest(&action.tool, &action.arguments, &resource, policy.digest(), &action.requester)
            .map_err(|e| e.to_string())?;
        if digest != approval.act_digest || entry.tool.class_of(&action.arguments) != action.action_class {
            return Err("the act is not the one that was approved".to_owned());
        }
        let asked = PolicyRequest {
            principal: &action.requester,
            purpose: action.purpose,
            resource: &resource,
            class: action.action_class,
            tool: &spec.name,
            measured: Measured::default(),
            at: now,
        };
        let decision = self.overridden(&asked, policy.digest()).unwrap_or_else(|| policy.decide(&asked));
        if decision.effect == Effect::Deny {
            return Err(format!("policy `{}` denies it at this moment: {}", decision.policy_name, decision.message));
        }
        if decision.approval_quorum > approval.quorum || decision.approver_roles != approval.approver_roles {
            return Err("policy asks for other approvers at this moment".to_owned());
        }
        Ok((entry, decision.obligations))
    }

    pub(super) async fn mark_stale(
        &self,
        action: &StoredAction,
        approval: &Approval,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut event = self.event_for(action, EventType::ApprovalResolved, now);
        let mut settled = approval.clone();
        settled.status = ApprovalStatus::Stale;
        settled.resolution_reason = reason.to_owned();
        event.approval = Some(approval_part(&settled, None));
        let expect = vec![Expectation::ActionIn(action.action_id.clone(), ActionState::Approved)];
        self.append(expect, vec![event]).await
    }

    pub(super) async fn probe_and_settle(self: Arc<Self>, action: StoredAction) -> Result<ActionState, Refusal> {
        if self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).contains(&action.action_id) {
            return Err(Refusal::Conflict(format!(
                "action `{}` is being carried out by this server",
                action.action_id
            )));
        }
        let verdict = match self.registry.get(&action.tool) {
            None => ProbeVerdict::CannotTell(format!("the tool `{}` is gone", action.tool)),
            Some(entry) => {
                let limit = Duration::from_secs(10);
                let cx = TaskCx::new(Arc::clone(&self.clock), self.hard_stop.child_token(), limit);
                let call = ToolCall {
                    action_id: action.action_id.clone(),
                    trace_id: action.trace_id.clone(),
                    tool: action.tool.clone(),
                    arguments: action.arguments.clone(),
                    resource: action.resource.clone(),
                    principal: action.requester.clone(),
                    purpose: action.purpose,
                };
                let permit = Permitted::mint(call, Obligations::default());
                let look = AssertUnwindSafe(async { entry.tool.probe(permit, &cx).await });
                match tokio::time::timeout(limit, look.catch_unwind()).await {
                    Ok(Ok(verdict)) => verdict,
                    _ => ProbeVerdict::CannotTell("the target could not be looked at in time".to_owned()),
                }
            }
        };
        let (status, state, words) = match verdict {
            ProbeVerdict::Happened(words) => ("success", ActionState::Succeeded, words),
            ProbeVerdict::DidNotHappen(words) => ("error", ActionState::Failed, words),
            ProbeVerdict::CannotTell(words) => ("unknown", ActionState::Unknown, words),
        };
        let mut event = self.event_for(&action, EventType::ToolExecution, self.clock.now());
        let error = if state == ActionState::Succeeded { String::new() } else { words.clone() };
        if let Some(tool) = &mut event.tool {
            tool.error.clone_from(&error);
            if state == ActionState::Succeeded {
                tool.result.clone_from(&words);
            }
        }
        event.note =
            "the server ended while this act was running; it was looked at afterwards and not repeated".to_owned();
        event.outcome = Some(OutcomePart { status: status.to_owned(), error_message: error, duration_ms: None });
        let result = (state == ActionState::Succeeded).then(|| ToolOutput::text(words));
        let expect = vec![Expectation::ActionIn(action.action_id.clone(), ActionState::Running)];
        self.ledger.record(expect, vec![Entry { event, result }]).await.map_err(refusal)?;
        Ok(state)
    }
}

pub(super) fn request_of(action: &StoredAction) -> Request {
    Request {
        action_id: None,
        principal: action.requester.clone(),
        tool: action.tool.clone(),
        arguments: action.arguments.clone(),
        purpose: action.purpose,
        purpose_note: String::new(),
        trace_id: action.trace_id.clone(),
        origin: Origin::Gateway,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}
