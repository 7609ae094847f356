//! An approval is for one act, is used once, and goes stale when anything it was bound to changes.

use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{Clock as _, Refusal, Submission};
use reeve_types::{ActionClass, ActionState, Approval, ApprovalStatus, AuthMethod, Principal, PrincipalKind};
use serde_json::json;

use crate::support::{GRADED, House, OPEN, TestTool, alice, done, policy, request};

fn change() -> Arc<TestTool> {
    TestTool::answering("change", ActionClass::Write, "changed")
}

#[tokio::test]
async fn an_approved_act_runs_once_and_its_result_is_collected_once() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({"pid": 7})).await;

    let completed = house.gate.resume(approval.action_id.clone()).await.unwrap();
    let second = house.gate.resume(approval.action_id.clone()).await.unwrap_err();

    assert_eq!(completed.outcome.unwrap().output, "changed");
    assert!(matches!(&second, Refusal::Conflict(_)), "{second:?}");
    assert_eq!(second.to_string(), format!("action `{}` is succeeded, not approved", approval.action_id));
    assert_eq!(tool.runs(), 1);
    assert_eq!(
        house.kinds().await[2..],
        ["approval_requested", "approval_resolved", "effect_intent", "tool_execution"]
    );

    let collected = done(house.submit("change", json!({"pid": 7})).await);
    assert_eq!((collected.action_id, collected.outcome.unwrap().output), (approval.action_id, "changed".to_owned()));
    let anew = house.question("change", json!({"pid": 7})).await;
    assert_ne!(anew.approval_id, approval.approval_id, "what was collected is asked for anew");
    assert_eq!(tool.runs(), 1);
}

#[tokio::test]
async fn many_resumes_at_once_run_it_once() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    for round in 1..=20 {
        let approval = house.approved("change", json!({"pid": round})).await;
        let tries = (0..8).map(|_| {
            let (gate, id) = (Arc::clone(&house.gate), approval.action_id.clone());
            tokio::spawn(async move { gate.resume(id).await })
        });
        let mut ran = 0;
        for one in tries.collect::<Vec<_>>() {
            match one.await.unwrap() {
                Ok(_) => ran += 1,
                Err(Refusal::Conflict(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((ran, tool.runs()), (1, round));
    }
}

#[tokio::test]
async fn only_the_very_same_act_joins_one_that_waits() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let first = house.question("change", json!({"pid": 7})).await;
    let id_of = |submission: Result<Submission, Refusal>| match submission {
        Ok(Submission::AwaitingApproval { approval, joined }) => (approval.approval_id, joined),
        other => panic!("{other:?}"),
    };

    assert_eq!(id_of(house.submit("change", json!({"pid": 7})).await), (first.approval_id.clone(), true));
    assert!(!id_of(house.submit("change", json!({"pid": 8})).await).1, "other arguments");
    let bob = Principal::new(PrincipalKind::User, "bob", AuthMethod::ApiKey);
    assert!(!id_of(house.gate.submit(request(&bob, "change", json!({"pid": 7}))).await).1, "another requester");
    let mut elsewhere = alice();
    elsewhere.tenant = "other".parse().unwrap();
    assert!(!id_of(house.gate.submit(request(&elsewhere, "change", json!({"pid": 7}))).await).1, "another tenant");
    house.gate.replace_policy(policy(&GRADED.replace("a person decides", "two eyes")));
    assert!(!id_of(house.submit("change", json!({"pid": 7})).await).1, "another policy");
}

#[tokio::test]
async fn the_same_act_asked_many_times_at_once_is_one_question() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let gate = Arc::clone(&house.gate);
            tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({"pid": 7}))).await })
        })
        .collect();
    let mut firsts = 0;
    for one in asked {
        let Ok(Submission::AwaitingApproval { joined, .. }) = one.await.unwrap() else { panic!("all must wait") };
        firsts += usize::from(!joined);
    }
    assert_eq!(firsts, 1);
    assert_eq!(house.kinds().await.iter().filter(|kind| **kind == "approval_requested").count(), 1);
}

#[tokio::test]
async fn a_question_past_its_time_does_not_stand_in_the_way_although_nobody_swept_it() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let first = house.question("change", json!({"pid": 7})).await;
    house.clock.forward(house.gate.options().approval_expiry);

    let second = house.question("change", json!({"pid": 7})).await;

    assert_ne!(first.approval_id, second.approval_id);
    assert_eq!(second.status_at(house.clock.now()), ApprovalStatus::Pending);
}

async fn goes_stale(house: &House, approval: &Approval, reason: &str) {
    let refused = house.gate.resume(approval.action_id.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("the approval no longer fits the act: {reason}"));
    assert_eq!(house.state(&approval.action_id).await, ActionState::Stale);
    let last = house.events().await.pop().unwrap();
    assert_eq!(last.approval.unwrap().status, ApprovalStatus::Stale);
    let again = house.gate.resume(approval.action_id.clone()).await.unwrap_err();
    assert!(matches!(again, Refusal::Conflict(_)), "{again:?}");
}

#[tokio::test]
async fn it_is_stale_when_the_policies_have_changed() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({})).await;
    house.gate.replace_policy(policy(OPEN));
    goes_stale(&house, &approval, "the policies have changed since people were asked").await;
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn it_is_stale_when_the_inventory_describes_the_target_differently() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({})).await;
    house.inventory.tags.lock().unwrap().insert("production".to_owned());
    goes_stale(&house, &approval, "the inventory now describes `orders` differently").await;
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn it_is_stale_when_its_time_is_over() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({})).await;
    house.clock.forward(Duration::from_secs(600));
    let reason = "it was approved, but did not begin in the time that the approval was given for";
    goes_stale(&house, &approval, reason).await;
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn it_is_stale_when_the_tool_is_gone() {
    let tool = change();
    let mut house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({})).await;
    house.gate = house.gate_with(GRADED, &[]);
    goes_stale(&house, &approval, "the tool `change` is gone").await;
}

#[tokio::test]
async fn it_is_stale_when_a_schedule_denies_by_now() {
    let tool = change();
    let frozen = format!(
        "{GRADED}  - name: freeze
    priority: 700
    resources: [{{type: any}}]
    rules:
      - action: write
        effect: deny
        message: frozen
        conditions:
          schedule: {{days: [mon], hours: [13], timezone: UTC}}
"
    );
    let house = House::new(&frozen, &[&tool]);
    house.clock.set("2026-03-02T12:59:00Z");
    let approval = house.approved("change", json!({})).await;
    house.clock.set("2026-03-02T13:01:00Z");
    goes_stale(&house, &approval, "policy `freeze` denies it at this moment: frozen").await;
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn what_nobody_approved_cannot_be_resumed() {
    let tool = change();
    let house = House::new(GRADED, &[&tool]);
    let asked = house.question("change", json!({"pid": 1})).await;
    let denied = house.question("change", json!({"pid": 2})).await;
    house.settle(&denied, ApprovalStatus::Denied).await;

    for approval in [&asked, &denied] {
        let refused = house.gate.resume(approval.action_id.clone()).await.unwrap_err();
        assert!(matches!(refused, Refusal::Conflict(_)), "{refused:?}");
    }
    assert_eq!(tool.runs(), 0);
}
