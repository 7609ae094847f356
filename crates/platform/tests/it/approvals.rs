//! Who may answer, until when, how often, and that an approved act runs once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reeve_gate::{Clock as _, Ledger as _};
use reeve_platform::PlatformError;
use reeve_store::{ActionFilter, EventFilter};
use reeve_types::{
    ActionClass, ActionState, ApprovalStatus, AuthMethod, Event, EventType, Principal, PrincipalKind, TenantId,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{House, Plan, TestTool, acting_for, asks, service, user};

#[tokio::test]
async fn an_approved_act_begins_by_itself_and_runs_once() {
    let house = House::new(Plan::default()).await;
    let (alice, bob) = (user("alice", &["dba"]), user("bob", &["dba"]));
    let asked = house.question(&alice, json!({"pid": 7})).await;

    let settled = house.platform.approve(&bob, &asked.approval_id, "go on", None).await.unwrap();

    assert_eq!(settled.status, ApprovalStatus::Approved);
    assert_eq!((settled.resolved_by.as_deref(), settled.resolution_reason.as_str()), (Some("user:bob"), "go on"));
    house.reaches(&asked.action_id, ActionState::Succeeded).await;
    let again = house.platform.approve(&bob, &asked.approval_id, "", None).await.unwrap_err();
    assert!(again.to_string().ends_with("is approved and can no longer be answered"), "{again}");
    assert_eq!(house.tool.runs(), 1);
}

#[tokio::test]
async fn nobody_decides_about_what_they_had_a_hand_in() {
    let house = House::new(Plan::default()).await;
    let alice = user("alice", &["dba", "admin"]);
    let agent = Principal::new(PrincipalKind::Agent, "helper", AuthMethod::ApiKey).with_roles(["dba"]);
    let bot = service("srebot");
    let own = [
        (alice.clone(), alice.clone()),
        (acting_for(agent.clone(), alice.clone()), alice.clone()),
        (alice.clone(), acting_for(agent.clone(), alice.clone())),
        (acting_for(bot.clone(), alice.clone()), alice.clone()),
        (alice.clone(), acting_for(bot.clone(), alice.clone())),
        (acting_for(bot.clone(), alice.clone()), bot.clone()),
        (bot.clone(), bot.clone()),
        // A service may name people; it must not name one to answer itself.
        (bot.clone(), acting_for(bot.clone(), user("bob", &["dba"]))),
        (acting_for(agent.clone(), bot.clone()), bot.clone()),
    ];
    for (pid, (requester, approver)) in own.into_iter().enumerate() {
        let asked = house.question(&requester, json!({"pid": pid})).await;
        let refused = house.platform.approve(&approver, &asked.approval_id, "", None).await.unwrap_err();
        assert!(matches!(refused, PlatformError::OwnRequest { .. }), "case {pid}: {refused:?}");
        let refused = house.platform.deny(&approver, &asked.approval_id, "").await.unwrap_err();
        assert!(matches!(refused, PlatformError::OwnRequest { .. }), "case {pid}: {refused:?}");
    }
    assert_eq!(house.tool.runs(), 0);
}

#[tokio::test]
async fn two_people_whom_one_service_speaks_for_may_answer_each_other() {
    let house = House::new(Plan::default()).await;
    let (alice, bob) = (user("alice", &["dba"]), user("bob", &["dba"]));
    let asked = house.question(&acting_for(service("desk"), alice), json!({})).await;
    let settled =
        house.platform.approve(&acting_for(service("desk"), bob), &asked.approval_id, "", None).await.unwrap();
    assert_eq!(settled.status, ApprovalStatus::Approved);
    assert_eq!(settled.votes[0].by, "user:bob");
}

#[tokio::test]
async fn only_those_who_may_approve_can_and_agents_never() {
    let house = House::new(Plan::default()).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let agent = Principal::new(PrincipalKind::Agent, "helper", AuthMethod::ApiKey).with_roles(["dba", "admin"]);
    for who in [user("dave", &["developer"]), acting_for(agent, user("bob", &["dba"]))] {
        let refused = house.platform.approve(&who, &asked.approval_id, "", None).await.unwrap_err();
        assert!(matches!(refused, PlatformError::NotAnApprover { .. }), "{refused:?}");
    }
    let mut elsewhere = user("bob", &["dba"]);
    elsewhere.tenant = "other".parse().unwrap();
    let refused = house.platform.approve(&elsewhere, &asked.approval_id, "", None).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("there is no approval `{}`", asked.approval_id));
    assert_eq!(house.platform.approval(&TenantId::default_tenant(), &asked.approval_id).await.unwrap().votes, []);
}

#[tokio::test]
async fn policy_may_name_the_roles_of_approvers() {
    let plan = Plan { policy: asks("approver_roles: [dba-lead, sre-lead]"), ..Plan::default() };
    let house = House::new(plan).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let refused =
        house.platform.approve(&user("bob", &["dba", "admin"]), &asked.approval_id, "", None).await.unwrap_err();
    assert_eq!(refused.to_string(), "this takes one of the roles dba-lead, sre-lead, and user:bob has none of them");
    let settled = house.platform.approve(&user("lea", &["sre-lead"]), &asked.approval_id, "", None).await.unwrap();
    assert_eq!(settled.votes[0].role.as_deref(), Some("sre-lead"));
}

#[tokio::test]
async fn a_quorum_of_two_takes_two_people_and_one_no() {
    let house = House::new(Plan { policy: asks("approval_quorum: 2"), ..Plan::default() }).await;
    let (alice, bob, carol) = (user("alice", &["dba"]), user("bob", &["dba"]), user("carol", &["dba"]));
    let first = house.question(&alice, json!({"pid": 1})).await;
    let half = house.platform.approve(&bob, &first.approval_id, "fine", None).await.unwrap();
    assert_eq!((half.status, half.votes.len()), (ApprovalStatus::Pending, 1));
    let twice = house.platform.approve(&bob, &first.approval_id, "fine", None).await.unwrap_err();
    assert_eq!(twice.to_string(), format!("user:bob has already answered approval `{}`", first.approval_id));
    let twice = house.platform.approve(&acting_for(service("desk"), bob.clone()), &first.approval_id, "", None).await;
    assert!(matches!(twice, Err(PlatformError::Conflict(_))), "the same person by another way: {twice:?}");
    assert_eq!(house.tool.runs(), 0);
    house.platform.approve(&carol, &first.approval_id, "fine", None).await.unwrap();
    house.reaches(&first.action_id, ActionState::Succeeded).await;

    let second = house.question(&alice, json!({"pid": 2})).await;
    house.platform.approve(&bob, &second.approval_id, "fine", None).await.unwrap();
    let denied = house.platform.deny(&carol, &second.approval_id, "not now").await.unwrap();
    assert_eq!(denied.status, ApprovalStatus::Denied);
    assert_eq!(house.platform.action(&alice, &second.action_id).await.unwrap().state, ActionState::Denied);
    assert_eq!(house.tool.runs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_at_the_same_moment_settle_it_once() {
    let house = Arc::new(House::new(Plan { policy: asks("approval_quorum: 2"), ..Plan::default() }).await);
    let alice = user("alice", &["dba"]);
    for round in 1..=40 {
        let asked = house.question(&alice, json!({"pid": round})).await;
        let votes = ["bob", "carol", "dora"].map(|name| {
            let (house, id) = (Arc::clone(&house), asked.approval_id.clone());
            tokio::spawn(async move { house.platform.approve(&user(name, &["dba"]), &id, "", None).await })
        });
        for vote in votes {
            match vote.await.unwrap() {
                Ok(_) | Err(PlatformError::Conflict(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        house.reaches(&asked.action_id, ActionState::Succeeded).await;
        assert_eq!(house.tool.runs(), round);
    }
    let filter = EventFilter { types: vec![EventType::EffectIntent], limit: 1000, ..EventFilter::default() };
    assert_eq!(house.platform.store().events(&alice.tenant, filter).await.unwrap().events.len(), 40);
}

#[tokio::test]
async fn only_who_asked_or_an_administrator_takes_it_back() {
    let house = House::new(Plan::default()).await;
    let (alice, bob, root) = (user("alice", &["dba"]), user("bob", &["dba"]), user("root", &["admin"]));
    for (pid, who) in [(1, &alice), (2, &root)] {
        let asked = house.question(&alice, json!({"pid": pid})).await;
        let refused = house.platform.cancel(&bob, &asked.approval_id, "").await.unwrap_err();
        assert_eq!(refused.to_string(), "this takes one of the roles admin, and user:bob has none of them");
        let cancelled = house.platform.cancel(who, &asked.approval_id, "changed my mind").await.unwrap();
        assert_eq!(cancelled.status, ApprovalStatus::Cancelled);
        let late = house.platform.approve(&bob, &asked.approval_id, "", None).await.unwrap_err();
        assert!(matches!(late, PlatformError::Conflict(_)), "{late:?}");
    }
    assert_eq!(house.tool.runs(), 0);
}

#[tokio::test]
async fn it_can_be_answered_until_its_moment_and_not_after_although_nobody_swept() {
    let house = House::new(Plan::default()).await;
    let (alice, bob) = (user("alice", &["dba"]), user("bob", &["dba"]));
    let late = house.question(&alice, json!({"pid": 1})).await;
    let in_time = house.question(&alice, json!({"pid": 2})).await;
    house.clock.set(late.expires_at.checked_sub(Duration::from_millis(1)).unwrap());
    house.platform.approve(&bob, &in_time.approval_id, "", None).await.unwrap();
    house.clock.set(late.expires_at.checked_add(Duration::from_millis(1)).unwrap());
    for refused in [
        house.platform.approve(&bob, &late.approval_id, "", None).await.unwrap_err(),
        house.platform.deny(&bob, &late.approval_id, "").await.unwrap_err(),
    ] {
        let expected = format!("approval `{}` is expired and can no longer be answered", late.approval_id);
        assert_eq!(refused.to_string(), expected);
    }
    let stands = house.platform.approval(&alice.tenant, &late.approval_id).await.unwrap();
    assert_eq!(stands.status, ApprovalStatus::Expired);
}

#[tokio::test]
async fn an_expiry_is_recorded_when_its_time_comes_and_whoever_waits_is_told() {
    let house = Arc::new(House::new(Plan::default()).await);
    let alice = user("alice", &["dba"]);
    let asked = house.question(&alice, json!({})).await;
    house.clock.set(asked.expires_at.checked_sub(Duration::from_millis(50)).unwrap());
    let (stop, platform) = (CancellationToken::new(), house.platform.clone());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { platform.run(stop).await }
    });
    let waiting = tokio::spawn({
        let (platform, tenant, id) = (house.platform.clone(), alice.tenant.clone(), asked.approval_id.clone());
        async move { platform.wait_for_approval(&tenant, &id, Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;

    house.clock.forward(Duration::from_millis(60));

    assert_eq!(waiting.await.unwrap().unwrap().status, ApprovalStatus::Expired);
    house.reaches(&asked.action_id, ActionState::Expired).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("everything stops in time").unwrap();
}

#[tokio::test]
async fn whoever_waits_is_told_when_it_is_settled() {
    let house = House::new(Plan::default()).await;
    let (alice, bob) = (user("alice", &["dba"]), user("bob", &["dba"]));
    let asked = house.question(&alice, json!({})).await;
    let soon = Duration::from_millis(20);
    let unanswered = house.platform.wait_for_approval(&alice.tenant, &asked.approval_id, soon).await.unwrap();
    assert_eq!(unanswered.status, ApprovalStatus::Pending);
    let waiting = tokio::spawn({
        let (platform, tenant, id) = (house.platform.clone(), alice.tenant.clone(), asked.approval_id.clone());
        async move { platform.wait_for_approval(&tenant, &id, Duration::from_secs(60)).await }
    });
    house.platform.deny(&bob, &asked.approval_id, "no").await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it wakes").unwrap().unwrap();
    assert_eq!(told.status, ApprovalStatus::Denied);
}

#[tokio::test]
async fn what_a_stopped_server_left_is_begun_once_or_looked_at_and_never_repeated() {
    let tool = TestTool::new("change", ActionClass::Write, "changed");
    let plan = || Plan { tools: vec![Arc::clone(&tool)], ..Plan::default() };
    let house = House::new(plan()).await;
    let alice = user("alice", &["dba"]);
    let approved = house.question(&alice, json!({"pid": 1})).await;
    let running = house.question(&alice, json!({"pid": 2})).await;
    // The server stops after the answer and before the beginning, and after the intent and before the outcome.
    let at = house.clock.now();
    let left = |kind, of: &reeve_types::Approval| {
        let mut event = Event::new(kind, alice.tenant.clone(), of.trace_id.clone(), at, rand::random());
        event.action_id = Some(of.action_id.clone());
        event.principal = Some(user("bob", &["dba"]));
        event.approval = Some(reeve_types::event::ApprovalPart {
            approval_id: of.approval_id.clone(),
            status: ApprovalStatus::Approved,
            policy_name: of.policy_name.clone(),
            act_digest: of.act_digest,
            requested_by: of.requester.label(),
            vote: None,
            expires_at: of.expires_at,
            valid_until: Some(of.expires_at),
            question: None,
            reason: String::new(),
        });
        event.into()
    };
    let records = vec![
        left(EventType::ApprovalResolved, &approved),
        left(EventType::ApprovalResolved, &running),
        left(EventType::EffectIntent, &running),
    ];
    house.platform.store().record(vec![], records).await.unwrap();
    let (dir, clock) = house.end().await;

    let house = House::on(Arc::clone(&dir), Arc::clone(&clock), plan()).await;
    tokio::join!(house.platform.settle_interrupted(), house.platform.settle_interrupted());
    house.reaches(&approved.action_id, ActionState::Succeeded).await;
    house.reaches(&running.action_id, ActionState::Unknown).await;
    assert_eq!(tool.runs(), 1, "the approved one, once");
    assert!(tool.probes.load(Ordering::SeqCst) >= 1);
    let (dir, clock) = house.end().await;

    let house = House::on(dir, clock, plan()).await;
    house.platform.settle_interrupted().await;
    assert_eq!(tool.runs(), 1, "another restart changes nothing");
    let filter = ActionFilter { limit: 10, ..ActionFilter::default() };
    assert_eq!(house.platform.actions(&alice.tenant, filter).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reason_has_an_end() {
    let house = House::new(Plan::default()).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let long = "x".repeat(5000);
    let refused = house.platform.deny(&user("bob", &["dba"]), &asked.approval_id, &long).await.unwrap_err();
    assert_eq!(refused.to_string(), "the reason is longer than 4096 bytes");
}
