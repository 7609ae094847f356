//! Asking people: an act that waits, and the same act asked for again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use reeve_types::event::{ApprovalPart, OutcomePart};
use reeve_types::{
    ActionId, ActionState, Approval, ApprovalId, ApprovalStatus, Arguments, Decision, Digest, Event, EventType,
    ToolOutput,
};
use serde_json::Value;

use super::{Act, Gate, refusal};
use crate::{
    Admission, Completed, Expectation, FailureKind, Refusal, StoredAction, Submission, ToolFailure, masked_arguments,
};

impl Gate {
    pub(super) async fn ask_people(
        &self,
        act: &Act<'_>,
        action_id: ActionId,
        decision: Decision,
        mut events: Vec<Event>,
    ) -> Result<Submission, Refusal> {
        let shown = masked_arguments(&act.request.arguments, act.spec.target_argument.as_deref());
        if shown != act.request.arguments {
            let refused = Refusal::SecretInArguments { tool: act.spec.name.clone() };
            if let Some(decided) = events.last_mut() {
                let error_message = refused.to_string();
                decided.outcome = Some(OutcomePart { status: "denied".to_owned(), error_message, duration_ms: None });
            }
            self.append(vec![], events).await?;
            return Err(refused);
        }
        let digest = act.digest(decision.policy_digest)?;
        if let Some(known) = self.join(digest).await? {
            return Ok(known);
        }
        let approval = self.question(act, action_id, digest, &decision, shown);
        let mut asked = self.event(act, EventType::ApprovalRequested, events.last());
        asked.action_id = Some(approval.action_id.clone());
        asked.approval = Some(approval_part(&approval, Some(approval.clone())));
        if let Some(decided) = events.last_mut() {
            decided.outcome = Some(OutcomePart {
                status: "require_approval".to_owned(),
                error_message: String::new(),
                duration_ms: None,
            });
        }
        events.push(asked);
        match self.append(vec![Expectation::NoLiveAct { act_digest: digest, at: act.now }], events).await {
            Ok(()) => {
                self.counters.asked.fetch_add(1, Ordering::Relaxed);
                Ok(Submission::AwaitingApproval { approval: Box::new(approval), joined: false })
            }
            // Someone asked for the very same act between our look and our record.
            Err(Refusal::Conflict(reason)) => self.join(digest).await?.ok_or(Refusal::Conflict(reason)),
            Err(other) => Err(other),
        }
    }

    pub(super) fn question(
        &self,
        act: &Act<'_>,
        action_id: ActionId,
        digest: Digest,
        decision: &Decision,
        shown: Arguments,
    ) -> Approval {
        Approval {
            approval_id: ApprovalId::new(act.now, self.clock.random()),
            action_id,
            trace_id: act.request.trace_id.clone(),
            status: ApprovalStatus::Pending,
            tool_name: act.spec.name.clone(),
            agent_name: act.spec.agent.clone(),
            action_class: act.class,
            resource: act.resource.clone(),
            arguments: Value::Object(shown),
            act_digest: digest,
            policy_digest: decision.policy_digest,
            policy_name: decision.policy_name.clone(),
            message: decision.message.clone(),
            requester: act.request.principal.clone(),
            purpose: act.request.purpose,
            purpose_note: act.request.purpose_note.clone(),
            quorum: decision.approval_quorum.max(1),
            approver_roles: decision.approver_roles.clone(),
            votes: Vec::new(),
            requested_at: act.now,
            expires_at: later(act.now, self.options.approval_expiry),
            approval_valid_until: None,
            resolved_by: None,
            resolved_at: None,
            resolution_reason: String::new(),
        }
    }

    /// An act that is asked for again while it waits, runs, or has ended unseen is the same act, not another one.
    pub(super) async fn join(&self, digest: Digest) -> Result<Option<Submission>, Refusal> {
        let Admission::Known(known) = self.ledger.find_act(digest).await.map_err(refusal)? else {
            return Ok(None);
        };
        match known.state {
            ActionState::AwaitingApproval | ActionState::Approved => {
                let found = self.ledger.action(&known.action_id).await.map_err(refusal)?;
                let Some(approval) = found.and_then(|act| act.approval) else { return Ok(None) };
                let expired = approval.status_at(self.clock.now()) == ApprovalStatus::Expired;
                Ok((!expired).then(|| Submission::AwaitingApproval { approval: Box::new(approval), joined: true }))
            }
            ActionState::Running => Ok(Some(Submission::InProgress(known))),
            ActionState::Succeeded | ActionState::Failed | ActionState::Unknown => {
                let first = self.ledger.collect(&known.action_id, self.clock.now()).await.map_err(refusal)?;
                Ok(first.then(|| Submission::Done(completed_from(*known))))
            }
            _ => Ok(None),
        }
    }
}

/// What a record says of an approval.
pub(crate) fn approval_part(approval: &Approval, question: Option<Approval>) -> ApprovalPart {
    ApprovalPart {
        approval_id: approval.approval_id.clone(),
        status: approval.status,
        policy_name: approval.policy_name.clone(),
        act_digest: approval.act_digest,
        requested_by: approval.requester.label(),
        vote: None,
        expires_at: approval.expires_at,
        valid_until: approval.approval_valid_until,
        question: question.map(Box::new),
        reason: approval.resolution_reason.clone(),
    }
}

/// An ended action as its requester gets it.
pub(super) fn completed_from(action: StoredAction) -> Completed {
    let outcome = match (action.state, action.result) {
        (ActionState::Succeeded, Some(output)) => Ok(output),
        (ActionState::Succeeded, None) => {
            Ok(ToolOutput::text("done; the whole answer was not kept, its record holds an excerpt"))
        }
        (state, _) => {
            let kind = if state == ActionState::Unknown { FailureKind::Unknown } else { FailureKind::Failed };
            Err(ToolFailure::new(kind, action.error.unwrap_or_else(|| format!("the action is {state}"))))
        }
    };
    Completed { action_id: action.action_id, trace_id: action.trace_id, event_id: None, outcome }
}

/// A moment later by a duration, at most the end of time.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
