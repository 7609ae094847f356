//! Records as the gate would write them, in a store of its own directory.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::{Clock, Entry, Expectation, Ledger as _, Recorded, SystemClock};
use reeve_store::Store;
use reeve_types::event::{ApprovalPart, OutcomePart, ToolPart};
use reeve_types::{
    ActionClass, ActionId, Approval, ApprovalId, ApprovalStatus, AuthMethod, Digest, Event, EventType, Principal,
    PrincipalKind, Resource, ResourceKind, TenantId, TraceId, Vote, VoteChoice,
};
use serde_json::json;

pub(crate) fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, Arc::new(SystemClock)).unwrap()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn alice(tenant: &TenantId) -> Principal {
    Principal { tenant: tenant.clone(), ..Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey) }
}

pub(crate) fn event(kind: EventType, tenant: &TenantId, trace: &str) -> Event {
    Event::new(kind, tenant.clone(), trace.parse().unwrap(), SystemClock.now(), SystemClock.random())
}

pub(crate) async fn record(store: &Store, event: Event) -> Recorded {
    store.record(vec![], vec![event.into()]).await.unwrap()[0]
}

/// Appends `count` plain records.
pub(crate) async fn fill(store: &Store, count: usize) {
    let plain = || Entry::from(event(EventType::Lifecycle, &TenantId::default_tenant(), "sys_1"));
    store.record(vec![], (0..count).map(|_| plain()).collect()).await.unwrap();
}

/// One question and the records about it.
pub(crate) struct Story {
    pub(crate) approval: Approval,
}

impl Story {
    pub(crate) fn new(tenant: &TenantId, tool: &str, at: Timestamp) -> Self {
        let trace = TraceId::new("dt", at, rand::random());
        let act_digest = Digest::of(&rand::random::<[u8; 16]>());
        let approval = Approval {
            approval_id: ApprovalId::new(at, rand::random()),
            action_id: ActionId::new(at, rand::random()),
            trace_id: trace,
            status: ApprovalStatus::Pending,
            tool_name: tool.to_owned(),
            agent_name: "database".to_owned(),
            action_class: ActionClass::Destructive,
            resource: Resource::new(ResourceKind::Database, "orders"),
            arguments: json!({"pid": 7}),
            act_digest,
            policy_digest: Digest::ZERO,
            policy_name: "asks".to_owned(),
            message: String::new(),
            requester: alice(tenant),
            purpose: None,
            purpose_note: String::new(),
            quorum: 1,
            approver_roles: Vec::new(),
            votes: Vec::new(),
            requested_at: at,
            expires_at: at.checked_add(Duration::from_secs(3600)).unwrap(),
            approval_valid_until: None,
            resolved_by: None,
            resolved_at: None,
            resolution_reason: String::new(),
        };
        Self { approval }
    }

    fn about(&self, kind: EventType) -> Event {
        let mut event = event(kind, &self.approval.requester.tenant, self.approval.trace_id.as_str());
        event.action_id = Some(self.approval.action_id.clone());
        event.action_class = Some(self.approval.action_class);
        event.principal = Some(self.approval.requester.clone());
        event.resource = Some(self.approval.resource.clone());
        let parameters = self.approval.arguments.clone();
        event.tool = Some(ToolPart { name: self.approval.tool_name.clone(), parameters, ..ToolPart::default() });
        event
    }

    fn part(&self, status: ApprovalStatus, vote: Option<Vote>, reason: &str) -> ApprovalPart {
        ApprovalPart {
            approval_id: self.approval.approval_id.clone(),
            status,
            policy_name: self.approval.policy_name.clone(),
            act_digest: self.approval.act_digest,
            requested_by: self.approval.requester.label(),
            vote,
            expires_at: self.approval.expires_at,
            valid_until: Some(self.approval.expires_at),
            question: None,
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn asked(&self) -> Event {
        let mut event = self.about(EventType::ApprovalRequested);
        let question = Some(Box::new(self.approval.clone()));
        event.approval = Some(ApprovalPart { question, ..self.part(ApprovalStatus::Pending, None, "") });
        event
    }

    pub(crate) fn voted(&self, by: &str) -> Event {
        let vote = Vote {
            by: by.to_owned(),
            role: None,
            choice: VoteChoice::Approve,
            reason: String::new(),
            at: SystemClock.now(),
        };
        let mut event = self.about(EventType::ApprovalVote);
        event.approval = Some(self.part(ApprovalStatus::Pending, Some(vote), ""));
        event
    }

    pub(crate) fn resolved(&self, status: ApprovalStatus) -> Event {
        let mut event = self.about(EventType::ApprovalResolved);
        event.approval = Some(self.part(status, None, "because"));
        event
    }

    pub(crate) fn begun(&self) -> Event {
        self.about(EventType::EffectIntent)
    }

    pub(crate) fn ended(&self, status: &str, answer: &str) -> Event {
        let mut event = self.about(EventType::ToolExecution);
        let error_message = if status == "success" { String::new() } else { answer.to_owned() };
        event.outcome = Some(OutcomePart { status: status.to_owned(), error_message, duration_ms: Some(3) });
        if let Some(tool) = event.tool.as_mut().filter(|_| status == "success") {
            tool.result = answer.to_owned();
        }
        event
    }
}

/// Records an event under one expectation and says whether it went in.
pub(crate) async fn record_if(store: &Store, expect: Expectation, event: Event) -> Result<(), String> {
    store.record(vec![expect], vec![event.into()]).await.map(|_| ()).map_err(|e| e.to_string())
}
