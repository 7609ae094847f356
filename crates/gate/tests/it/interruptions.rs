//! Panics, timeouts, callers that leave, servers that stop: none repeats an act and none hides how it ended.

use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{FailureKind, ProbeVerdict, Refusal, ResumableAct, Submission, ToolFailure};
use reeve_types::{ActionClass, ActionId, ActionState, ToolOutput};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{Answer, GRADED, House, OPEN, TestTool, alice, done, request};

fn panicking(name: &str, class: ActionClass, at_once: bool) -> Arc<TestTool> {
    TestTool::new(name, class, move |_, _| {
        assert!(!at_once, "before its first wait");
        Box::pin(async { panic!("in the middle") })
    })
}

#[tokio::test]
async fn a_fault_inside_a_tool_leaves_a_change_unknown_and_a_read_failed() {
    let late = panicking("late", ActionClass::Write, false);
    let early = panicking("early", ActionClass::Write, true);
    let look = panicking("look", ActionClass::Read, true);
    let house = House::new(OPEN, &[&late, &early, &look]);

    for name in ["late", "early"] {
        let completed = done(house.submit(name, json!({})).await);
        let failure = completed.outcome.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown);
        assert_eq!(failure.message, format!("`{name}` broke off because of a fault inside it"));
        assert_eq!(house.state(&completed.action_id).await, ActionState::Unknown);
    }
    let read = done(house.submit("look", json!({})).await);
    assert_eq!(read.outcome.unwrap_err().kind, FailureKind::Timeout);
    let last = house.events().await.pop().unwrap();
    assert_eq!(last.outcome.unwrap().status, "error");
}

fn endless(name: &str, class: ActionClass) -> Arc<TestTool> {
    TestTool::new(name, class, |_, _| Box::pin(std::future::pending::<Answer>()))
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_does_not_end_in_its_time_leaves_a_change_unknown_and_a_read_failed() {
    let (change, look) = (endless("change", ActionClass::Write), endless("look", ActionClass::Read));
    let house = House::new(OPEN, &[&change, &look]);

    let changed = done(house.submit("change", json!({})).await);
    let looked = done(house.submit("look", json!({})).await);

    assert_eq!(changed.outcome.unwrap_err().message, "`change` did not end within 50ms");
    assert_eq!(house.state(&changed.action_id).await, ActionState::Unknown);
    assert_eq!(looked.outcome.unwrap_err().kind, FailureKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_started_beside_itself_is_told_to_stop_when_it_is_cut_off() {
    let stopped = Arc::new(Notify::new());
    let told = Arc::clone(&stopped);
    let tool = TestTool::new("change", ActionClass::Write, move |_, cx| {
        let told = Arc::clone(&told);
        let token = cx.cancelled().clone();
        tokio::spawn(async move {
            token.cancelled().await;
            told.notify_one();
        });
        Box::pin(std::future::pending::<Answer>())
    });
    let house = House::new(OPEN, &[&tool]);
    done(house.submit("change", json!({})).await);
    tokio::time::timeout(Duration::from_secs(60), stopped.notified()).await.expect("it was told");
}

/// A tool that says when it has begun and ends when it is let go.
fn held(name: &str) -> (Arc<TestTool>, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let mut tool = TestTool::new(name, ActionClass::Write, move |_, _| {
        let (says, waits) = (Arc::clone(&says), Arc::clone(&waits));
        Box::pin(async move {
            says.notify_one();
            waits.notified().await;
            Ok(ToolOutput::text("changed"))
        })
    });
    Arc::get_mut(&mut tool).unwrap().takes_up_to(60_000);
    (tool, begun, go)
}

async fn reaches(house: &House, id: &ActionId, wanted: ActionState) {
    let mut records = house.store().subscribe();
    let wait = async {
        while house.state(id).await != wanted {
            let _ = records.recv().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it gets there");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_nothing() {
    let (tool, begun, go) = held("change");
    let house = House::new(GRADED, &[&tool]);
    let approval = house.approved("change", json!({})).await;
    let (gate, id) = (Arc::clone(&house.gate), approval.action_id.clone());
    let caller = tokio::spawn(async move { gate.resume(id).await });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    let meanwhile = house.submit("change", json!({})).await.unwrap();
    assert!(
        matches!(&meanwhile, Submission::InProgress(action) if action.action_id == approval.action_id),
        "{meanwhile:?}"
    );
    go.notify_one();
    reaches(&house, &approval.action_id, ActionState::Succeeded).await;

    assert_eq!(done(house.submit("change", json!({})).await).outcome.unwrap().output, "changed");
    assert_eq!(tool.runs(), 1);
}

#[tokio::test]
async fn an_act_that_this_server_has_in_hand_is_not_taken_for_one_that_a_crash_left() {
    let (tool, begun, go) = held("change");
    let house = House::new(OPEN, &[&tool]);
    let gate = Arc::clone(&house.gate);
    let caller = tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({}))).await });
    begun.notified().await;
    let action = house.store().interrupted_actions().await.unwrap().pop().unwrap();

    let settled = house.gate.settle_interrupted(ResumableAct { action, approval: None }).await.unwrap_err();
    go.notify_one();
    let completed = done(caller.await.unwrap());

    assert!(settled.to_string().ends_with("is being carried out by this server"), "{settled}");
    assert_eq!(tool.probes.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(completed.event_id.is_some(), "its real outcome is on record");
    assert_eq!(house.state(&completed.action_id).await, ActionState::Succeeded);
}

#[tokio::test]
async fn an_act_that_a_crash_left_is_looked_at_and_never_repeated() {
    let verdicts = [
        (ProbeVerdict::Happened("the session is gone".to_owned()), ActionState::Succeeded),
        (ProbeVerdict::DidNotHappen("the session is still there".to_owned()), ActionState::Failed),
        (ProbeVerdict::CannotTell("it left no trace".to_owned()), ActionState::Unknown),
    ];
    for (verdict, wanted) in verdicts {
        let (tool, begun, _go) = held("change");
        tool.will_say(verdict);
        let house = House::new(OPEN, &[&tool]);
        let gate = Arc::clone(&house.gate);
        let caller = tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({}))).await });
        begun.notified().await;
        let action = house.store().interrupted_actions().await.unwrap().pop().unwrap();
        // Another process on the same record: it has nothing in hand.
        let after = house.gate_with(OPEN, &[&tool]);

        let act = ResumableAct { action: action.clone(), approval: None };
        assert_eq!(after.settle_interrupted(act.clone()).await.unwrap(), wanted);
        let second = after.settle_interrupted(act).await.unwrap_err();

        assert!(matches!(second, Refusal::Conflict(_)), "{second:?}");
        assert_eq!(house.state(&action.action_id).await, wanted);
        assert_eq!(tool.runs(), 1);
        caller.abort();
    }
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_refuses_what_is_new() {
    let (tool, begun, go) = held("change");
    let house = House::new(OPEN, &[&tool]);
    let gate = Arc::clone(&house.gate);
    let caller = tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({}))).await });
    begun.notified().await;
    let gate = Arc::clone(&house.gate);
    let drain = tokio::spawn(async move { gate.drain(Duration::from_secs(30), Duration::from_secs(5)).await });
    tokio::task::yield_now().await;

    let refused = house.submit("change", json!({})).await.unwrap_err();
    go.notify_one();

    assert!(matches!(refused, Refusal::ShuttingDown), "{refused:?}");
    assert_eq!(drain.await.unwrap(), 0);
    assert_eq!(done(caller.await.unwrap()).outcome.unwrap().output, "changed");
}

#[tokio::test]
async fn a_hard_stop_cuts_off_a_change_and_says_unknown() {
    let tool = endless("change", ActionClass::Write);
    let house = House::new(OPEN, &[&tool]);
    let gate = Arc::clone(&house.gate);
    let caller = tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({}))).await });
    while tool.runs() == 0 {
        tokio::task::yield_now().await;
    }

    house.gate.stop_now();

    let completed = done(caller.await.unwrap());
    assert_eq!(completed.outcome.unwrap_err().message, "`change` was cut off because the server stopped");
    assert_eq!(house.state(&completed.action_id).await, ActionState::Unknown);
}

#[tokio::test]
async fn a_tool_that_is_told_to_stop_may_say_how_it_left_things() {
    let tool = TestTool::new("change", ActionClass::Write, |_, cx| {
        Box::pin(async move {
            cx.cancelled().cancelled().await;
            // Taking things back needs a moment, and more than one wait.
            tokio::task::yield_now().await;
            Err(ToolFailure::new(FailureKind::Failed, "told to stop; everything was rolled back"))
        })
    });
    let house = House::new(OPEN, &[&tool]);
    let gate = Arc::clone(&house.gate);
    let caller = tokio::spawn(async move { gate.submit(request(&alice(), "change", json!({}))).await });
    while tool.runs() == 0 {
        tokio::task::yield_now().await;
    }

    house.gate.stop_now();

    let completed = done(caller.await.unwrap());
    assert_eq!(completed.outcome.unwrap_err().message, "told to stop; everything was rolled back");
    assert_eq!(house.state(&completed.action_id).await, ActionState::Failed);
}
