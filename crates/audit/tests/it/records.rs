//! What the hash of a record covers: everything.

use reeve_audit::{SealError, seal, served_json};
use reeve_types::decision::ConditionResult;
use reeve_types::event::{
    ApprovalPart, DelegationPart, InputPart, OutcomePart, PolicyPart, SessionPart, SpanPart, ToolPart,
};
use reeve_types::{
    ActionClass, ActionId, Approval, ApprovalId, ApprovalStatus, AuthMethod, Digest, Effect, Event, EventId, EventType,
    Measured, Origin, Principal, PrincipalKind, Purpose, Resource, ResourceKind, TenantId, TraceId, VerifyStatus, Vote,
    VoteChoice,
};
use serde_json::{Value, json};

use crate::log::{at, event};

fn alice() -> Principal {
    Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey).with_roles(["dba"])
}

/// The whole question that an approval asks.
fn question() -> Approval {
    Approval {
        approval_id: ApprovalId::new(at(1), 3),
        action_id: ActionId::new(at(1), 2),
        trace_id: TraceId::new("tr", at(1), 1),
        status: ApprovalStatus::Pending,
        tool_name: "terminate_connection".to_owned(),
        agent_name: "database".to_owned(),
        action_class: ActionClass::Destructive,
        resource: Resource::new(ResourceKind::Database, "prod-db"),
        arguments: json!({"pid": 4711, "queryid": 9_007_199_254_740_993_i64}),
        act_digest: Digest::of(b"act"),
        policy_digest: Digest::of(b"policies"),
        policy_name: "production".to_owned(),
        message: "ask the owner".to_owned(),
        requester: alice(),
        purpose: Some(Purpose::Remediation),
        purpose_note: "locks".to_owned(),
        quorum: 2,
        approver_roles: vec!["dba".to_owned()],
        votes: Vec::new(),
        requested_at: at(1),
        expires_at: at(3_601),
        approval_valid_until: None,
        resolved_by: None,
        resolved_at: None,
        resolution_reason: String::new(),
    }
}

/// An event with every part.
fn full() -> Event {
    let vote =
        Vote { by: "bob".to_owned(), role: None, choice: VoteChoice::Approve, reason: "ok".to_owned(), at: at(9) };
    let condition = ConditionResult { name: "quorum".to_owned(), passed: true, detail: "2 of 2".to_owned() };
    Event {
        v: 2,
        event_id: EventId::new(EventType::ToolExecution, at(0), 1),
        timestamp: at(0),
        event_type: EventType::ToolExecution,
        tenant: TenantId::default_tenant(),
        trace_id: TraceId::new("tr", at(0), 1),
        parent_id: Some(EventId::new(EventType::ToolInvoked, at(0), 2)),
        action_id: Some(ActionId::new(at(0), 1)),
        origin: Some(Origin::Agent),
        action_class: Some(ActionClass::Destructive),
        principal: Some(Principal { on_behalf_of: Some(Box::new(alice())), ..alice() }),
        purpose: Some(Purpose::Remediation),
        purpose_note: "locks".to_owned(),
        resource: Some(Resource::new(ResourceKind::Database, "prod-db")),
        session: SessionPart { id: "ses_1".to_owned(), agent_name: "database".to_owned() },
        input: InputPart { user_query: "why <slow> & \"stuck\"?".to_owned() },
        tool: Some(ToolPart {
            name: "terminate_connection".to_owned(),
            agent: "database".to_owned(),
            parameters: json!({"pid": 4711, "ratio": 0.1}),
            raw_command: "select pg_terminate_backend(4711)".to_owned(),
            result: "done".to_owned(),
            error: "none".to_owned(),
            duration_ms: Some(12),
            pre_state: Some(json!({"state": "idle in transaction"})),
            verify_status: Some(VerifyStatus::Ok),
            affected: Some(1),
        }),
        policy_decision: Some(PolicyPart {
            resource_type: "database".to_owned(),
            resource_name: "prod-db".to_owned(),
            action: ActionClass::Destructive,
            tags: vec!["production".to_owned()],
            sensitivity: vec!["pii".to_owned()],
            effect: Effect::RequireApproval,
            policy_name: "production".to_owned(),
            rule_index: 1,
            message: "ask the owner".to_owned(),
            conditions: vec![condition],
            policy_digest: Digest::of(b"policies"),
            measured: Measured { rows_affected: 3, pods_affected: 0, xact_age_secs: 60 },
        }),
        approval: Some(ApprovalPart {
            approval_id: ApprovalId::new(at(1), 3),
            status: ApprovalStatus::Approved,
            policy_name: "production".to_owned(),
            act_digest: Digest::of(b"act"),
            requested_by: "user:alice".to_owned(),
            vote: Some(vote),
            expires_at: at(3_601),
            valid_until: Some(at(7_201)),
            question: Some(Box::new(question())),
            reason: "agreed".to_owned(),
        }),
        decision: Some(DelegationPart {
            agent: "database".to_owned(),
            request_category: "locks".to_owned(),
            confidence: 0.9,
            user_intent: "unblock".to_owned(),
            reasoning_chain: vec!["lock wait".to_owned()],
        }),
        delegation_verification: None,
        outcome: Some(OutcomePart {
            status: "success".to_owned(),
            error_message: "none".to_owned(),
            duration_ms: Some(12),
        }),
        note: "note".to_owned(),
        span: Some(SpanPart {
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            span_id: "b7ad6b7169203331".to_owned(),
        }),
    }
}

fn json_of(canonical: &[u8]) -> Value {
    serde_json::from_slice(canonical).unwrap()
}

#[test]
fn a_record_holds_the_whole_event_and_its_place() {
    let mut event = full();
    let prev_hash = Digest::of(b"before");
    let sealed = seal(&event, 41, prev_hash).unwrap();
    assert_eq!(sealed.event_hash, Digest::of(&sealed.canonical));
    assert_eq!(sealed.leaf_hash, Digest::of_parts(&[&[0], &sealed.canonical]));
    let json = json_of(&sealed.canonical);
    assert_eq!((&json["seq"], &json["prev_hash"]), (&json!(41), &json!(prev_hash.to_string())));
    assert_eq!(reeve_types::canonical_json(&json).unwrap(), sealed.canonical);
    // Read back it is the event, but for the number that JSON cannot keep.
    event.approval.as_mut().unwrap().question.as_mut().unwrap().arguments["queryid"] = json!("9007199254740993");
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
}

/// The names of the fields that a change of the event changes in its record.
fn changed(change: impl FnOnce(&mut Event)) -> Vec<String> {
    let mut event = full();
    let before = seal(&event, 7, Digest::ZERO).unwrap();
    change(&mut event);
    let after = seal(&event, 7, Digest::ZERO).unwrap();
    assert_ne!(before.event_hash, after.event_hash);
    assert_ne!(before.leaf_hash, after.leaf_hash);
    let (before, after) = (json_of(&before.canonical), json_of(&after.canonical));
    let names = before.as_object().unwrap().keys();
    names.filter(|name| before.get(name.as_str()) != after.get(name.as_str())).cloned().collect()
}

#[test]
fn every_field_is_covered_by_the_hash() {
    let table: Vec<(&str, Vec<String>)> = vec![
        ("v", changed(|e| e.v = 3)),
        ("event_id", changed(|e| e.event_id = EventId::new(EventType::ToolRetry, at(1), 1))),
        ("timestamp", changed(|e| e.timestamp = at(1))),
        ("event_type", changed(|e| e.event_type = EventType::ToolRetry)),
        ("tenant", changed(|e| e.tenant = "other".parse().unwrap())),
        ("trace_id", changed(|e| e.trace_id = TraceId::new("tr", at(2), 2))),
        ("parent_id", changed(|e| e.parent_id = None)),
        ("action_id", changed(|e| e.action_id = None)),
        ("origin", changed(|e| e.origin = Some(Origin::DirectTool))),
        ("action_class", changed(|e| e.action_class = Some(ActionClass::Read))),
        ("principal", changed(|e| e.principal.as_mut().unwrap().id = "mallory".to_owned())),
        ("principal", changed(|e| e.principal.as_mut().unwrap().roles.clear())),
        ("principal", changed(|e| e.principal.as_mut().unwrap().on_behalf_of = None)),
        ("purpose", changed(|e| e.purpose = Some(Purpose::Emergency))),
        ("purpose_note", changed(|e| e.purpose_note.clear())),
        ("resource", changed(|e| e.resource.as_mut().unwrap().name.clear())),
        ("session", changed(|e| e.session.agent_name.clear())),
        ("input", changed(|e| e.input.user_query.push('!'))),
        ("tool", changed(|e| e.tool.as_mut().unwrap().parameters["pid"] = json!(4712))),
        ("tool", changed(|e| e.tool.as_mut().unwrap().pre_state = None)),
        ("policy_decision", changed(|e| e.policy_decision.as_mut().unwrap().effect = Effect::Allow)),
        ("policy_decision", changed(|e| e.policy_decision.as_mut().unwrap().policy_digest = Digest::ZERO)),
        ("approval", changed(|e| e.approval.as_mut().unwrap().vote.as_mut().unwrap().by = "mallory".to_owned())),
        ("approval", changed(|e| e.approval.as_mut().unwrap().question.as_mut().unwrap().quorum = 1)),
        ("decision", changed(|e| e.decision.as_mut().unwrap().confidence = 0.91)),
        ("outcome", changed(|e| e.outcome.as_mut().unwrap().status = "error".to_owned())),
        ("note", changed(|e| e.note.push('!'))),
        ("span", changed(|e| e.span = None)),
    ];
    for (field, changed) in &table {
        assert_eq!(changed, &[*field]);
    }
    // The table names every field that a record has, apart from those that the log assigns.
    let json = json_of(&seal(&full(), 7, Digest::ZERO).unwrap().canonical);
    let fields = json.as_object().unwrap().keys().filter(|name| !["seq", "prev_hash"].contains(&name.as_str()));
    for field in fields {
        assert!(table.iter().any(|(name, _)| name == field), "{field} is not in the table");
    }
}

#[test]
fn the_place_is_covered_by_the_hash() {
    let hash = |seq, prev_hash| seal(&full(), seq, prev_hash).unwrap().event_hash;
    assert_ne!(hash(1, Digest::ZERO), hash(2, Digest::ZERO));
    assert_ne!(hash(1, Digest::ZERO), hash(1, Digest::of(b"x")));
}

#[test]
fn numbers_that_json_would_round_stay_apart() {
    let hash = |number: i64| {
        let mut event = full();
        event.tool.as_mut().unwrap().parameters = json!({"list": [{"queryid": number}]});
        seal(&event, 0, Digest::ZERO).unwrap()
    };
    assert_ne!(hash(9_007_199_254_740_992).event_hash, hash(9_007_199_254_740_993).event_hash);
    let kept = json_of(&hash(i64::MIN).canonical);
    assert_eq!(kept.pointer("/tool/parameters/list/0/queryid"), Some(&json!(i64::MIN.to_string())));
    let exact = json_of(&hash(9_007_199_254_740_991).canonical);
    assert_eq!(exact.pointer("/tool/parameters/list/0/queryid"), Some(&json!(9_007_199_254_740_991_i64)));
}

#[test]
fn a_log_ends_before_its_numbers_blur() {
    assert!(seal(&event(0), (1 << 53) - 1, Digest::ZERO).is_ok());
    assert!(matches!(seal(&event(0), 1 << 53, Digest::ZERO), Err(SealError::TooMany { .. })));
}

#[test]
fn a_record_is_served_with_its_hash() {
    let sealed = seal(&full(), 3, Digest::ZERO).unwrap();
    let served = served_json(&sealed.canonical, &sealed.event_hash).unwrap();
    assert_eq!(served["event_hash"], json!(sealed.event_hash.to_string()));
    assert_eq!(served["prev_hash"], json!(Digest::ZERO.to_string()));
    assert_eq!(served["principal"]["id"], json!("alice"));
    for bad in ["", "[]", "{", "null"] {
        assert!(served_json(bad.as_bytes(), &Digest::ZERO).is_err(), "{bad}");
    }
}
