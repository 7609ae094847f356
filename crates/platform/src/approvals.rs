//! Settling questions to people.
//!
//! The rules: only a pending question can be answered, and only until the moment it expires; nobody decides about
//! their own act, nor does an agent about the act of whom it serves (what an agent asks of the one it works for is the
//! one exception, see [`crate::sessions`]); each being answers once; one no settles it; as many
//! yeses as the quorum says settle it; then the act begins by itself, once, if it is still the same act.

use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::{Completed, Expectation, Ledger as _, Refusal};
use reeve_store::ApprovalFilter;
use reeve_types::event::ApprovalPart;
use reeve_types::limits::REASON_BYTES_MAX;
use reeve_types::{
    ActionState, Approval, ApprovalId, ApprovalStatus, AuthMethod, Event, EventType, Principal, PrincipalKind,
    TenantId, Vote, VoteChoice,
};
use tokio_util::sync::CancellationToken;

use crate::sessions::is_asked;
use crate::{Permission, Platform, PlatformError};

/// Longest wait of one long poll.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long an approved act that cannot be recorded waits before it is tried again.
const BEGIN_AGAIN: Duration = Duration::from_secs(2);
/// How often the log is looked at for expired questions when nothing else says when.
const EXPIRY_IDLE: Duration = Duration::from_secs(30);
/// The pause after an expiry that could not be recorded.
const EXPIRY_RETRY: Duration = Duration::from_secs(2);

impl Platform {
    /// One question, as it stands at this moment.
    pub async fn approval(&self, tenant: &TenantId, id: &ApprovalId) -> Result<Approval, PlatformError> {
        let found = self.store().approval(tenant, id).await?;
        let mut approval = found.ok_or_else(|| PlatformError::NoSuchApproval(id.clone()))?;
        approval.status = approval.status_at(self.clock().now());
        Ok(approval)
    }

    /// Questions, newest first, as they stand at this moment.
    pub async fn approvals(&self, tenant: &TenantId, filter: ApprovalFilter) -> Result<Vec<Approval>, PlatformError> {
        let now = self.clock().now();
        let mut list = self.store().approvals(tenant, filter, now).await?;
        for approval in &mut list {
            approval.status = approval.status_at(now);
        }
        Ok(list)
    }

    /// Answers yes. With enough yeses the act begins before this returns the settled question; it goes on by itself.
    pub async fn approve(
        &self,
        caller: &Principal,
        id: &ApprovalId,
        reason: &str,
        valid_for: Option<Duration>,
    ) -> Result<Approval, PlatformError> {
        let approval = self.answerable(caller, id, reason).await?;
        let role = approver_role(caller, &approval)?;
        let vote = self.vote(caller, role, VoteChoice::Approve, reason);
        let yeses = approval.votes.iter().filter(|vote| vote.choice == VoteChoice::Approve).count() + 1;
        let until = self.valid_until(valid_for);
        if yeses >= approval.quorum as usize {
            self.settle(caller, &approval, ApprovalStatus::Approved, Some(vote), reason, Some(until)).await?;
            self.begin(&approval);
            return self.approval(&caller.tenant, id).await;
        }
        self.record_vote(caller, &approval, vote).await?;
        // Two people may have answered at the same moment, each seeing one yes too few: count again.
        let counted = self.approval(&caller.tenant, id).await?;
        let yeses = counted.votes.iter().filter(|vote| vote.choice == VoteChoice::Approve).count();
        if counted.status == ApprovalStatus::Pending && yeses >= counted.quorum as usize {
            match self.settle(caller, &counted, ApprovalStatus::Approved, None, reason, Some(until)).await {
                Ok(()) => self.begin(&counted),
                Err(PlatformError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.approval(&caller.tenant, id).await
    }

    fn valid_until(&self, valid_for: Option<Duration>) -> Timestamp {
        let valid_for = valid_for.unwrap_or(self.gate().options().approval_valid_for);
        self.clock().now().checked_add(valid_for).unwrap_or(Timestamp::MAX)
    }

    /// Answers no. One is enough.
    pub async fn deny(&self, caller: &Principal, id: &ApprovalId, reason: &str) -> Result<Approval, PlatformError> {
        let approval = self.answerable(caller, id, reason).await?;
        let role = approver_role(caller, &approval)?;
        let vote = self.vote(caller, role, VoteChoice::Deny, reason);
        self.settle(caller, &approval, ApprovalStatus::Denied, Some(vote), reason, None).await?;
        self.approval(&caller.tenant, id).await
    }

    /// Takes a question back: whoever asked, or an administrator.
    pub async fn cancel(&self, caller: &Principal, id: &ApprovalId, reason: &str) -> Result<Approval, PlatformError> {
        check_reason(reason)?;
        let approval = self.approval(&caller.tenant, id).await?;
        if !caller.is_same_party(&approval.requester) && !Permission::Administer.allows(caller) {
            return Err(PlatformError::NotAnApprover { who: caller.label(), roles: vec!["admin".to_owned()] });
        }
        self.settle(caller, &approval, ApprovalStatus::Cancelled, None, reason, None).await?;
        self.approval(&caller.tenant, id).await
    }

    /// Waits until a question is settled, at most `limit`, and says how it stands then.
    pub async fn wait_for_approval(
        &self,
        tenant: &TenantId,
        id: &ApprovalId,
        limit: Duration,
    ) -> Result<Approval, PlatformError> {
        let deadline = tokio::time::Instant::now() + limit.min(WAIT_MAX);
        let mut records = self.store().subscribe();
        loop {
            let approval = self.approval(tenant, id).await?;
            if approval.status != ApprovalStatus::Pending {
                return Ok(approval);
            }
            let expires_in = self.until(approval.expires_at);
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return self.approval(tenant, id).await,
                () = tokio::time::sleep(expires_in) => {}
                () = next_about(&mut records, id) => {}
            }
        }
    }

    async fn answerable(&self, caller: &Principal, id: &ApprovalId, reason: &str) -> Result<Approval, PlatformError> {
        check_reason(reason)?;
        let approval = self.approval(&caller.tenant, id).await?;
        not_their_own(caller, &approval)?;
        still_open(&approval)?;
        Ok(approval)
    }

    fn vote(&self, caller: &Principal, role: Option<String>, choice: VoteChoice, reason: &str) -> Vote {
        Vote { by: caller.root().label(), role, choice, reason: reason.to_owned(), at: self.clock().now() }
    }

    async fn record_vote(&self, caller: &Principal, approval: &Approval, vote: Vote) -> Result<(), PlatformError> {
        let expect = vec![
            Expectation::ApprovalPending(approval.approval_id.clone(), self.clock().now()),
            Expectation::NotVoted(approval.approval_id.clone(), vote.by.clone()),
        ];
        let mut event = self.approval_event(EventType::ApprovalVote, caller, approval);
        event.approval = Some(part(approval, ApprovalStatus::Pending, Some(vote), "", None));
        self.store().record(expect, vec![event.into()]).await?;
        Ok(())
    }

    async fn settle(
        &self,
        caller: &Principal,
        approval: &Approval,
        status: ApprovalStatus,
        vote: Option<Vote>,
        reason: &str,
        valid_until: Option<Timestamp>,
    ) -> Result<(), PlatformError> {
        let id = approval.approval_id.clone();
        let mut expect = match status {
            // An expired question is settled at its time, whenever the clock comes round to it.
            ApprovalStatus::Expired => vec![Expectation::ApprovalUnsettled(id.clone())],
            _ => vec![Expectation::ApprovalPending(id.clone(), self.clock().now())],
        };
        expect.push(Expectation::ActionIn(approval.action_id.clone(), ActionState::AwaitingApproval));
        if let Some(vote) = &vote {
            expect.push(Expectation::NotVoted(id, vote.by.clone()));
        }
        let mut event = self.approval_event(EventType::ApprovalResolved, caller, approval);
        event.approval = Some(part(approval, status, vote, reason, valid_until));
        self.store().record(expect, vec![event.into()]).await?;
        Ok(())
    }

    fn approval_event(&self, kind: EventType, caller: &Principal, approval: &Approval) -> Event {
        let mut event = self.event(kind, &caller.tenant, approval.trace_id.clone());
        event.action_id = Some(approval.action_id.clone());
        event.action_class = Some(approval.action_class);
        event.principal = Some(caller.clone());
        event.resource = Some(approval.resource.clone());
        event
    }

    /// Lets an approved act begin, without waiting for it.
    fn begin(&self, approval: &Approval) {
        let (gate, action_id) = (self.gate().clone(), approval.action_id.clone());
        tokio::spawn(async move {
            let begun = loop {
                match gate.resume(action_id.clone()).await {
                    // It ends by itself: when the approval's time is over, the act is stale.
                    Err(Refusal::RecordUnavailable(reason)) => {
                        tracing::error!(action.id = %action_id, "an approved act cannot begin yet: {reason}");
                        tokio::time::sleep(BEGIN_AGAIN).await;
                    }
                    other => break other,
                }
            };
            match begun {
                Ok(Completed { outcome: Ok(_), .. }) => {
                    tracing::info!(action.id = %action_id, "an approved act was carried out")
                }
                Ok(Completed { outcome: Err(failure), .. }) => {
                    tracing::warn!(action.id = %action_id, "an approved act failed: {failure}");
                }
                Err(refusal) => tracing::warn!(action.id = %action_id, "an approved act was not begun: {refusal}"),
            }
        });
    }

    /// Settles what a stopped process left: approved acts that had not begun are begun, acts that were running are
    /// looked at and never repeated.
    pub async fn settle_interrupted(&self) {
        let interrupted = match self.store().interrupted_actions().await {
            Ok(list) => list,
            Err(error) => {
                tracing::error!("interrupted acts could not be read: {}", error.chain());
                return;
            }
        };
        for action in interrupted {
            let id = action.action_id.clone();
            let settled = match action.state {
                ActionState::Approved => self.gate().resume(id.clone()).await.map(|_| ()),
                _ => {
                    let act = reeve_gate::ResumableAct { action, approval: None };
                    self.gate().settle_interrupted(act).await.map(|_| ())
                }
            };
            match settled {
                Ok(()) => tracing::info!(action.id = %id, "an act that a stopped server had left was settled"),
                // It has been settled or begun by a request that came in since the start.
                Err(Refusal::Conflict(reason)) => tracing::debug!(action.id = %id, "{reason}"),
                Err(refusal) => tracing::warn!(action.id = %id, "an act that a stopped server had left: {refusal}"),
            }
        }
    }

    /// Records expiries at their moment. Whether a question has expired never depends on this: it is read from its time.
    pub(crate) async fn expire_on_time(&self, stop: CancellationToken) {
        let mut records = self.store().subscribe();
        loop {
            let settled = self.expire_overdue().await;
            let next = self.store().next_expiry().await.ok().flatten();
            let nap = next.map_or(EXPIRY_IDLE, |at| self.until(at)).min(EXPIRY_IDLE);
            // What could not be recorded is still overdue; it is tried again, but not a thousand times a second.
            let nap = if settled { nap } else { nap.max(EXPIRY_RETRY) };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(nap) => {}
                // A new question may expire sooner than the one slept for.
                () = next_question(&mut records) => {}
            }
        }
    }

    /// Returns whether every overdue question could be settled.
    async fn expire_overdue(&self) -> bool {
        let now = self.clock().now();
        let Ok(overdue) = self.store().overdue_approvals(now).await else { return false };
        let mut all = true;
        for approval in overdue {
            let mut system = Principal::new(PrincipalKind::Service, "reeve", AuthMethod::System);
            system.tenant = approval.requester.tenant.clone();
            let reason = "nobody, or not enough people, answered in time";
            let settled = self.settle(&system, &approval, ApprovalStatus::Expired, None, reason, None).await;
            if let Err(error) = settled {
                all = false;
                tracing::warn!(approval.id = %approval.approval_id, "an expiry was not recorded: {error}");
            }
        }
        all
    }

    fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.clock().now())).unwrap_or(Duration::ZERO) + Duration::from_millis(1)
    }
}

fn check_reason(reason: &str) -> Result<(), PlatformError> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(PlatformError::Invalid(format!("the reason is longer than {REASON_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Whether somebody may answer a question as it stands.
pub(crate) fn may_answer(caller: &Principal, approval: &Approval) -> Result<(), PlatformError> {
    not_their_own(caller, approval)?;
    still_open(approval)?;
    approver_role(caller, approval).map(|_| ())
}

/// Nobody answers for their own act, and no agent answers at all.
fn not_their_own(caller: &Principal, approval: &Approval) -> Result<(), PlatformError> {
    if has_a_hand_in(caller, &approval.requester) && !is_asked(caller, approval) {
        return Err(PlatformError::OwnRequest { who: approval.requester.label() });
    }
    if chain(caller).any(|being| being.kind == PrincipalKind::Agent) {
        let roles = vec!["a person who answers without an agent".to_owned()];
        return Err(PlatformError::NotAnApprover { who: caller.label(), roles });
    }
    Ok(())
}

fn still_open(approval: &Approval) -> Result<(), PlatformError> {
    if approval.status == ApprovalStatus::Pending {
        return Ok(());
    }
    let (id, status) = (&approval.approval_id, approval.status);
    Err(PlatformError::Conflict(format!("approval `{id}` is {status} and can no longer be answered")))
}

/// A being and everyone it acts for.
fn chain(principal: &Principal) -> impl Iterator<Item = &Principal> {
    std::iter::successors(Some(principal), |at| at.on_behalf_of.as_deref())
}

/// Whether whoever answers for one of the two stands anywhere in the chain of the other. So neither can a service answer
/// its own question in the name of a person it speaks for, nor one that it carried for that person in its own name. Two
/// people whom the same service speaks for may answer each other.
fn has_a_hand_in(caller: &Principal, requester: &Principal) -> bool {
    let stands_in = |root: &Principal, other: &Principal| {
        chain(other).any(|at| at.tenant == root.tenant && at.kind == root.kind && at.id == root.id)
    };
    stands_in(caller.root(), requester) || stands_in(requester.root(), caller)
}

/// The role in which a caller may answer; refused when it lacks one that policy demands, or, when policy demands none,
/// the permission to approve.
fn approver_role(caller: &Principal, approval: &Approval) -> Result<Option<String>, PlatformError> {
    if approval.approver_roles.is_empty() {
        if Permission::Approve.allows(caller) || is_asked(caller, approval) {
            return Ok(None);
        }
        let roles = Permission::Approve.roles().iter().chain(&["admin"]).map(|role| (*role).to_owned()).collect();
        return Err(PlatformError::NotAnApprover { who: caller.label(), roles });
    }
    match approval.approver_roles.iter().find(|role| caller.root().has_role(role)) {
        Some(role) => Ok(Some(role.clone())),
        None => Err(PlatformError::NotAnApprover { who: caller.label(), roles: approval.approver_roles.clone() }),
    }
}

fn part(
    approval: &Approval,
    status: ApprovalStatus,
    vote: Option<Vote>,
    reason: &str,
    valid_until: Option<Timestamp>,
) -> ApprovalPart {
    ApprovalPart {
        approval_id: approval.approval_id.clone(),
        status,
        policy_name: approval.policy_name.clone(),
        act_digest: approval.act_digest,
        requested_by: approval.requester.label(),
        vote,
        expires_at: approval.expires_at,
        valid_until,
        question: None,
        reason: reason.to_owned(),
    }
}

type Records = tokio::sync::broadcast::Receiver<std::sync::Arc<reeve_store::Published>>;

/// Returns at the next record about an approval, or when records were missed.
async fn next_about(records: &mut Records, id: &ApprovalId) {
    while let Ok(record) = records.recv().await {
        if record.event.approval.as_ref().is_some_and(|part| part.approval_id == *id) {
            return;
        }
    }
}

/// Returns at the next new question, or when records were missed.
async fn next_question(records: &mut Records) {
    while let Ok(record) = records.recv().await {
        if record.event.event_type == EventType::ApprovalRequested {
            return;
        }
    }
}
