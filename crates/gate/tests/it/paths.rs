//! Allow, deny and ask: exactly which records, in which order, and what they say of each other.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use reeve_gate::{FailureKind, Refusal, Submission, ToolFailure};
use reeve_types::{ActionClass, ActionState, Effect, EventType, ToolOutput, VerifyStatus};
use serde_json::json;

use crate::support::{GRADED, House, OPEN, TestTool, done};

#[tokio::test]
async fn a_read_that_policy_allows_leaves_request_decision_and_outcome() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let house = House::new(GRADED, &[&look]);

    let completed = done(house.submit("look", json!({"pid": 7})).await);

    assert_eq!(completed.outcome.unwrap().output, "42 rows");
    let events = house.events().await;
    assert_eq!(house.kinds().await, ["tool_invoked", "policy_decision", "tool_execution"]);
    assert_eq!(events[1].parent_id.as_ref(), Some(&events[0].event_id));
    for event in &events {
        assert_eq!(event.action_id.as_ref(), Some(&completed.action_id));
        assert_eq!(event.trace_id, completed.trace_id);
    }
    assert_eq!(events[1].policy_decision.as_ref().unwrap().effect, Effect::Allow);
    assert_eq!(completed.event_id.as_ref(), Some(&events[2].event_id));
    assert_eq!(events[2].tool.as_ref().unwrap().result, "42 rows");
    house.verify().await;
}

#[tokio::test]
async fn a_change_that_policy_allows_has_its_intent_on_disk_before_it_runs() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let house_slot: Arc<Mutex<Option<reeve_store::Store>>> = Arc::default();
    let (slot, into) = (Arc::clone(&house_slot), Arc::clone(&seen));
    let change = TestTool::new("change", ActionClass::Write, move |call, _| {
        let store = slot.lock().unwrap().clone().unwrap();
        let into = Arc::clone(&into);
        Box::pin(async move {
            let records = store.records_from(0, 100).await.unwrap();
            let action = store.action_of(&call.principal.tenant, &call.action_id).await.unwrap().unwrap();
            *into.lock().unwrap() = records.iter().map(|record| record.event.event_type).collect();
            assert_eq!(action.state, ActionState::Running);
            Ok(ToolOutput::text("changed"))
        })
    });
    let house = House::new(OPEN, &[&change]);
    *house_slot.lock().unwrap() = Some(house.store().clone());

    let completed = done(house.submit("change", json!({})).await);

    assert_eq!(completed.outcome.unwrap().output, "changed");
    let before = [EventType::ToolInvoked, EventType::PolicyDecision, EventType::EffectIntent];
    assert_eq!(*seen.lock().unwrap(), before, "what the tool found on disk while it ran");
    assert_eq!(house.kinds().await, ["tool_invoked", "policy_decision", "effect_intent", "tool_execution"]);
    let events = house.events().await;
    assert_eq!(events[2].parent_id.as_ref(), Some(&events[1].event_id));
    assert_eq!(events[2].action_id, events[3].action_id);
    assert_eq!(house.state(&completed.action_id).await, ActionState::Succeeded);
}

#[tokio::test]
async fn what_policy_denies_is_recorded_and_explained_and_not_run() {
    let wipe = TestTool::answering("wipe", ActionClass::Destructive, "gone");
    let house = House::new(GRADED, &[&wipe]);

    let refused = house.submit("wipe", json!({})).await.unwrap_err();

    let Refusal::Denied { decision, explanation, event_id, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((decision.policy_name.as_str(), wipe.runs()), ("graded", 0));
    assert!(explanation.contains("graded"), "{explanation}");
    let events = house.events().await;
    assert_eq!(house.kinds().await, ["tool_invoked", "policy_decision"]);
    assert_eq!(events[1].event_id, event_id);
    assert_eq!(events[1].outcome.as_ref().unwrap().status, "denied");
}

#[tokio::test]
async fn what_needs_approval_is_asked_and_not_run() {
    let change = TestTool::answering("change", ActionClass::Write, "changed");
    let house = House::new(GRADED, &[&change]);

    let approval = house.question("change", json!({"pid": 7})).await;

    assert_eq!(change.runs(), 0);
    assert_eq!(house.kinds().await, ["tool_invoked", "policy_decision", "approval_requested"]);
    let events = house.events().await;
    assert_eq!(events[2].parent_id.as_ref(), Some(&events[1].event_id));
    assert_eq!(events[1].outcome.as_ref().unwrap().status, "require_approval");
    assert!(events.iter().all(|event| event.action_id.as_ref() == Some(&approval.action_id)));
    assert_eq!(events[2].approval.as_ref().unwrap().question.as_deref(), Some(&approval));
    assert_eq!(house.state(&approval.action_id).await, ActionState::AwaitingApproval);
}

#[tokio::test]
async fn without_a_record_reads_are_served_and_changes_are_not_begun() {
    let look = TestTool::answering("look", ActionClass::Read, "42 rows");
    let change = TestTool::answering("change", ActionClass::Write, "changed");
    let house = House::new(OPEN, &[&look, &change]);
    house.ledger.full.store(true, Ordering::SeqCst);

    let completed = done(house.submit("look", json!({})).await);
    let refused = house.submit("change", json!({})).await.unwrap_err();

    assert_eq!(completed.outcome.unwrap().output, "42 rows");
    assert_eq!(completed.event_id, None, "nobody may believe that this read is in the log");
    assert!(house.gate.counts().contains(&("unrecorded_reads", 1)));
    assert_eq!(change.runs(), 0);
    assert_eq!(
        refused.to_string(),
        "the audit log cannot commit: the disk is full; nothing was done, because what cannot be recorded is not carried out"
    );
    house.ledger.full.store(false, Ordering::SeqCst);
    done(house.submit("change", json!({})).await);
    assert_eq!(change.runs(), 1);
}

#[tokio::test]
async fn a_failure_and_a_doubtful_re_check_are_said_in_the_records() {
    let fail = TestTool::new("fail", ActionClass::Write, |_, _| {
        Box::pin(async { Err(ToolFailure::new(FailureKind::Failed, "there is no process 7")) })
    });
    let doubt = TestTool::new("doubt", ActionClass::Write, |_, _| {
        let status = Some(VerifyStatus::Warning);
        Box::pin(
            async move { Ok(ToolOutput { verify_status: status, retry_count: Some(2), ..ToolOutput::text("sent") }) },
        )
    });
    let house = House::new(OPEN, &[&fail, &doubt]);

    let failed = done(house.submit("fail", json!({})).await);
    let doubted = done(house.submit("doubt", json!({})).await);

    assert_eq!(house.state(&failed.action_id).await, ActionState::Failed);
    assert_eq!(house.state(&doubted.action_id).await, ActionState::Succeeded);
    let events = house.events().await;
    assert_eq!(events[3].outcome.as_ref().unwrap().error_message, "there is no process 7");
    assert_eq!(events[8].event_type, EventType::VerificationOutcome);
    assert_eq!(events[8].parent_id.as_ref(), Some(&events[7].event_id));
    assert_eq!(events[8].outcome.as_ref().unwrap().status, "verified_warning");
}

#[tokio::test]
async fn no_record_carries_more_of_an_answer_than_its_excerpt() {
    let long = TestTool::new("long", ActionClass::Write, |_, _| {
        Box::pin(async { Err(ToolFailure::new(FailureKind::Failed, "x".repeat(100_000))) })
    });
    let house = House::new(OPEN, &[&long]);

    let completed = done(house.submit("long", json!({})).await);

    assert_eq!(completed.outcome.unwrap_err().message.len(), 100_000, "the caller gets it whole");
    for event in house.events().await {
        assert!(serde_json::to_string(&event).unwrap().len() < 4_000);
    }
}

#[tokio::test]
async fn submissions_that_need_approval_name_the_same_question_to_everybody_who_asks_again() {
    let change = TestTool::answering("change", ActionClass::Write, "changed");
    let house = House::new(GRADED, &[&change]);
    let first = house.question("change", json!({"pid": 7})).await;

    let again = house.submit("change", json!({"pid": 7})).await.unwrap();

    let Submission::AwaitingApproval { approval, joined: true } = again else { panic!("{again:?}") };
    assert_eq!(*approval, first);
}
