//! An agent's acts: asked of the gate under an id that is on disk before, waited for while people decide, and found again
//! after a crash.

use reeve_gate::{Ledger as _, Refusal, Request, StoredAction, Submission};
use reeve_types::event::SessionPart;
use reeve_types::session::{Happening, SessionState};
use reeve_types::{
    ActionId, ActionState, Approval, ApprovalId, ApprovalStatus, Arguments, EventId, Origin, Purpose, ResourceKind,
    ToolOutput, ToolSpec,
};
use serde_json::Value;
use tracing::Instrument as _;

use super::turn::{Stop, TurnCx};
use crate::approvals::WAIT_MAX;
use crate::{Permission, PlatformError};

/// Why a question is answered yes without asking: it was allowed for as long as the session lasts.
const BY_GRANT: &str = "allowed for the whole session";
/// Or the session's mode says that such questions need not be asked.
const BY_MODE: &str = "the session's mode allows it without asking";

/// Whether an answer with this reason was given beforehand, by a grant or by a session's mode.
pub fn stood_before(reason: &str) -> bool {
    reason == BY_GRANT || reason == BY_MODE
}

/// What came of an act.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) is_error: bool,
    pub(super) content: String,
    pub(super) data: Option<Value>,
    pub(super) record: Option<EventId>,
}

impl Outcome {
    pub(super) fn failed(content: impl Into<String>) -> Self {
        Self { is_error: true, content: content.into(), data: None, record: None }
    }

    pub(super) fn said(content: impl Into<String>) -> Self {
        Self { is_error: false, content: content.into(), data: None, record: None }
    }

    fn of(output: ToolOutput, record: Option<EventId>) -> Self {
        Self { is_error: false, content: output.output, data: output.data, record }
    }
}

impl TurnCx {
    /// Asks for one act and waits until it has ended, or was refused. An act that was begun before, under the same id, is
    /// found instead of being asked for again.
    pub(super) async fn act(
        &self,
        call_id: &str,
        action_id: &ActionId,
        tool: &str,
        arguments: Arguments,
        purpose: Option<Purpose>,
    ) -> Result<Outcome, Stop> {
        if let Some(known) = self.platform().store().action_of(self.tenant(), action_id).await? {
            return self.follow(call_id, known).await;
        }
        self.look_anew().await?;
        let who = self.who();
        let platform = self.platform();
        if let Some(spec) = platform.gate().spec(tool)
            && !self.may_run(spec)
        {
            let owner = who.owner.label();
            return Ok(Outcome::failed(format!(
                "{owner} may not run `{tool}`, and so neither may an agent that acts for them"
            )));
        }
        if let Err(error) = platform.may_ask_for(&who.principal, tool, &arguments).await {
            return Ok(Outcome::failed(error.to_string()));
        }
        let request = Request {
            action_id: Some(action_id.clone()),
            principal: who.principal.clone(),
            tool: tool.to_owned(),
            arguments,
            purpose,
            purpose_note: String::new(),
            trace_id: self.trace_id.clone(),
            origin: Origin::Agent,
            session: SessionPart { id: self.id.to_string(), agent_name: self.session.agent.clone() },
            user_query: String::new(),
        };
        // A program's calls come by a way of their own; they belong to the turn all the same.
        match platform.gate().submit(request).instrument(self.span.clone()).await {
            Ok(Submission::Done(completed)) => Ok(match completed.outcome {
                Ok(output) => Outcome::of(output, completed.event_id),
                Err(failure) => {
                    Outcome { record: completed.event_id, ..Outcome::failed(failure.report.unwrap_or(failure.message)) }
                }
            }),
            Ok(Submission::AwaitingApproval { approval, .. }) => self.wait_for_people(call_id, *approval).await,
            Ok(Submission::InProgress(action)) => self.follow(call_id, *action).await,
            Err(Refusal::ShuttingDown) => Err(Stop::Paused),
            Err(Refusal::Denied { explanation, event_id, .. }) => Ok(Outcome {
                record: Some(event_id),
                ..Outcome::failed(format!("Policy denied this; it was not done.\n{explanation}"))
            }),
            Err(refusal) => Ok(Outcome::failed(refusal.to_string())),
        }
    }

    /// The record of how an act ended that was followed by another way. It may be written a moment later.
    pub(super) async fn record_of(&self, id: &ActionId) -> Option<EventId> {
        const A_MOMENT: std::time::Duration = std::time::Duration::from_secs(2);
        let store = self.platform().store();
        let mut records = store.subscribe();
        let looking = async {
            loop {
                match store.outcome_of(self.tenant(), &self.trace_id, id).await {
                    Ok(None) => {}
                    Ok(found) => return found,
                    Err(_) => return None,
                }
                if let Err(tokio::sync::broadcast::error::RecvError::Closed) = records.recv().await {
                    return None;
                }
            }
        };
        tokio::time::timeout(A_MOMENT, looking).await.ok().flatten()
    }

    /// Whether the agent, and everyone it acts for, has a role that lets them ask for such a tool at all.
    pub(super) fn may_run(&self, spec: &ToolSpec) -> bool {
        let who = self.who();
        match spec.resource_kind {
            ResourceKind::Workspace => Permission::UseWorkspaces.allows(&who.principal),
            ResourceKind::Agent => true,
            kind => Permission::to_run(kind).allows(&who.principal),
        }
    }

    /// Waits for an act that was asked for before.
    async fn follow(&self, call_id: &str, action: StoredAction) -> Result<Outcome, Stop> {
        let Some(approval_id) = action.approval_id else { return self.wait_for_end(&action.action_id).await };
        let approval = self.platform().approval(self.tenant(), &approval_id).await?;
        if approval.status == ApprovalStatus::Pending {
            return self.wait_for_people(call_id, approval).await;
        }
        // Answered just before a crash, or while nobody listened: the question is told as open, its answer not yet.
        if self.session.waiting_for.contains(&approval_id) {
            self.note_answered(call_id, &approval).await?;
        }
        self.after_answer(approval).await
    }

    async fn wait_for_people(&self, call_id: &str, approval: Approval) -> Result<Outcome, Stop> {
        let id = approval.approval_id.clone();
        let stands = self.answer_that_stands(&approval).filter(|_| approval.status == ApprovalStatus::Pending);
        if let Some(reason) = stands {
            self.sessions.core.counts.not_asked();
            match self.platform().approve(&self.who().owner, &id, reason, None).await {
                Ok(_) | Err(PlatformError::Conflict(_)) => {}
                Err(error) => tracing::warn!(session.id = %self.id, "an answer that stands could not be used: {error}"),
            }
        } else {
            self.note_waiting(call_id, &approval).await?;
        }
        let asked = std::time::Instant::now();
        let settled = self.answer_to(&id).await?;
        self.count_waiting(asked.elapsed());
        if stands.is_none() {
            self.sessions.core.counts.answered(&settled);
        }
        self.note_answered(call_id, &settled).await?;
        self.after_answer(settled).await
    }

    async fn after_answer(&self, settled: Approval) -> Result<Outcome, Stop> {
        match settled.status {
            ApprovalStatus::Approved => self.wait_for_end(&settled.action_id).await,
            status => {
                let by = settled.resolved_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
                let reason = match settled.resolution_reason.as_str() {
                    "" => String::new(),
                    reason => format!(": {reason}"),
                };
                Ok(Outcome::failed(format!("This was not done: the request was {status}{by}{reason}")))
            }
        }
    }

    async fn answer_to(&self, id: &ApprovalId) -> Result<Approval, Stop> {
        loop {
            let tenant = self.tenant();
            let settled = tokio::select! {
                () = self.stopped() => None,
                answer = self.platform().wait_for_approval(tenant, id, WAIT_MAX) => Some(answer?),
            };
            match settled {
                Some(approval) if approval.status != ApprovalStatus::Pending => return Ok(approval),
                Some(_) => {}
                // The server stops: the question stands, and the turn goes on at the next start.
                None if !self.cancel.is_cancelled() => return Err(Stop::Paused),
                None => {
                    let _ = self.platform().cancel(&self.who().owner, id, "the turn that asked was cancelled").await;
                    return Err(Stop::Cancelled);
                }
            }
        }
    }

    async fn wait_for_end(&self, id: &ActionId) -> Result<Outcome, Stop> {
        let mut records = self.platform().store().subscribe();
        loop {
            let found = self.platform().store().action_of(self.tenant(), id).await?;
            let Some(action) = found else {
                return Ok(Outcome::failed(format!("the action `{id}` is not there any more")));
            };
            if action.state.is_final() {
                let store = self.platform().store();
                let _ = store.collect(id, self.platform().clock().now()).await;
                let record = store.outcome_of(self.tenant(), &action.trace_id, id).await?;
                let outcome = match (action.state, action.result) {
                    (ActionState::Succeeded, Some(output)) => Outcome::of(output, None),
                    (ActionState::Succeeded, None) => {
                        Outcome::said("It was done. Its whole answer was not kept; its record holds an excerpt.")
                    }
                    (ActionState::Unknown, _) => Outcome::failed(
                        "It began, and nobody knows how it ended. It is not repeated by itself: look before you ask again.",
                    ),
                    (state, _) => Outcome::failed(action.error.unwrap_or_else(|| format!("the action is {state}"))),
                };
                return Ok(Outcome { record, ..outcome });
            }
            tokio::select! {
                () = self.stopped() => {
                    return Err(if self.cancel.is_cancelled() { Stop::Cancelled } else { Stop::Paused });
                }
                _ = records.recv() => {}
                // A record that was missed is found in time.
                () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
            }
        }
    }

    /// What the owner has said beforehand about such questions, as the reason of a yes: by a grant, or by the session's
    /// mode. Where policy wants other people, it counts for nothing.
    fn answer_that_stands(&self, approval: &Approval) -> Option<&'static str> {
        let text = |key: &str| approval.arguments.get(key).and_then(Value::as_str).unwrap_or_default();
        if !super::permission::is_owners_question(approval) {
            return None;
        }
        if self.grants().iter().any(|grant| grant.tool == text("tool") && grant.kind == text("kind")) {
            return Some(BY_GRANT);
        }
        (!self.mode().asks(text("kind"))).then_some(BY_MODE)
    }

    /// Takes a question back that is still open.
    pub(super) async fn withdraw(&self, call_id: &str, id: &ApprovalId, reason: &str) -> Result<(), Stop> {
        match self.platform().cancel(&self.who().owner, id, reason).await {
            Ok(_) | Err(PlatformError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if self.session.waiting_for.contains(id) {
            let settled = self.platform().approval(self.tenant(), id).await?;
            self.note_answered(call_id, &settled).await?;
        }
        Ok(())
    }

    async fn note_waiting(&self, call_id: &str, approval: &Approval) -> Result<(), Stop> {
        let (approval_id, action_id) = (approval.approval_id.clone(), approval.action_id.clone());
        let question = question_of(approval);
        let waiting = Happening::ToolWaiting { call_id: call_id.to_owned(), approval_id, action_id, question };
        self.note_with(vec![waiting], {
            let id = approval.approval_id.clone();
            move |row, happened| {
                // Told once, however often a crash makes us come by here.
                if row.session.waiting_for.contains(&id) {
                    happened.clear();
                } else {
                    row.session.waiting_for.push(id);
                }
                row.session.state = SessionState::Waiting;
            }
        })
        .await
    }

    async fn note_answered(&self, call_id: &str, approval: &Approval) -> Result<(), Stop> {
        let answered = Happening::ToolAnswered {
            call_id: call_id.to_owned(),
            approval_id: approval.approval_id.clone(),
            status: approval.status.to_string(),
            by: approval.resolved_by.clone().unwrap_or_default(),
            reason: approval.resolution_reason.clone(),
        };
        let id = approval.approval_id.clone();
        self.note_with(vec![answered], move |row, _| {
            row.session.waiting_for.retain(|waiting| *waiting != id);
            if row.session.waiting_for.is_empty() && row.session.state == SessionState::Waiting {
                row.session.state = SessionState::Running;
            }
        })
        .await
    }
}

/// What people are asked, in one sentence.
fn question_of(approval: &Approval) -> String {
    match approval.arguments.get("title").and_then(Value::as_str) {
        Some(title) if super::permission::is_owners_question(approval) => title.to_owned(),
        _ if approval.message.is_empty() => format!("{} on {}", approval.tool_name, approval.resource.name),
        _ => format!("{} on {}: {}", approval.tool_name, approval.resource.name, approval.message),
    }
}
