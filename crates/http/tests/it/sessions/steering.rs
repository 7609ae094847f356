//! Prompts that wait, turns that are ended, and questions that are answered, in the session itself.

use reeve_testkit::models::Scripted;
use serde_json::{Value, json};

use super::{Room, at, begin, changes, events_until, kinds, says};

fn waits(words: &str) -> Scripted {
    Scripted::WaitsThenSays(words.to_owned())
}

#[tokio::test]
async fn two_clients_that_speak_at_once_are_both_heard_in_order() {
    let room = Room::with([waits("one"), says("two"), says("three")]);
    let (alice, root) = (room.developer("alice").await, room.admin().await);
    let id = begin(&alice, json!({"agent": "general", "prompt": "first"})).await;
    let (prompts, input) = (at(&id, "/prompts"), at(&id, "/input"));
    let (left, right) = tokio::join!(
        alice.post(&prompts, json!({"text": "from alice"})),
        root.post(&input, json!({"text": "from root"})),
    );
    let (left, right) = (left.expect(202), right.expect(200));
    assert_eq!((&right["ok"], &right["delivered"], &right["attempts"]), (&json!(true), &json!(true), &json!(1)));
    let mut places = [left["position"].as_u64().unwrap(), right["position"].as_u64().unwrap()];
    places.sort_unstable();
    assert_eq!(places, [1, 2]);
    assert_eq!(alice.get(&at(&id, "")).await.expect(200)["queued"], 2);
    room.models.release();
    let mut watched = super::Watched::open(&alice, &at(&id, "/events")).await;
    watched.told().await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(watched.until("turn_ended").await);
    }
    let of = |kind: &str| -> Vec<Value> {
        events.iter().filter(|event| event["event"] == kind).map(|event| event["prompt_id"].clone()).collect()
    };
    assert_eq!(of("prompt"), of("turn_started"), "answered in the order in which they were said");
    let by: Vec<&Value> = events.iter().filter(|e| e["event"] == "prompt").map(|e| &e["by"]).collect();
    assert!(by.contains(&&json!("user:alice")) && by.contains(&&json!("user:root")), "{by:?}");
}

#[tokio::test]
async fn a_prompt_that_waits_is_taken_back() {
    let room = Room::with([waits("one")]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general", "prompt": "first"})).await;
    let second = alice.post(&at(&id, "/prompts"), json!({"text": "second"})).await.expect(202);
    let path = at(&id, &format!("/prompts/{}", second["prompt_id"].as_str().unwrap()));
    assert_eq!(alice.delete(&path).await.expect(200), json!({"dropped": true}));
    alice.delete(&path).await.problem("conflict");
    room.models.release();
    let events = events_until(&alice, &id, "turn_ended").await;
    assert!(kinds(&events).contains(&"prompt_dropped"));
    assert_eq!(alice.get(&at(&id, "")).await.expect(200)["queued"], 0);
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let room = Room::with([waits("one")]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general", "prompt": "first"})).await;
    for n in 0..32 {
        alice.post(&at(&id, "/prompts"), json!({"text": format!("number {n}")})).await.expect(202);
    }
    let problem = alice.post(&at(&id, "/prompts"), json!({"text": "one more"})).await.problem("conflict");
    assert!(problem["detail"].as_str().unwrap().contains("32 prompts wait"), "{problem}");
    alice.post(&at(&id, "/interrupt"), json!({})).await.expect(200);
    let events = events_until(&alice, &id, "turn_ended").await;
    assert_eq!(events.last().unwrap()["end"], "cancelled");
    assert_eq!(kinds(&events).iter().filter(|kind| **kind == "prompt_dropped").count(), 32);
}

#[tokio::test]
async fn a_turn_is_cancelled_and_nothing_else_can_be() {
    let room = Room::with([waits("one"), says("two")]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    for verb in ["cancel", "interrupt", "escape"] {
        alice.post(&at(&id, &format!("/{verb}")), json!({})).await.problem("conflict");
    }
    alice.post(&at(&id, "/prompts"), json!({"text": "first"})).await.expect(202);
    events_until(&alice, &id, "model_asked").await;
    assert_eq!(alice.post(&at(&id, "/escape"), json!({})).await.expect(200), json!({"ok": true}));
    let events = events_until(&alice, &id, "turn_ended").await;
    assert_eq!(events.last().unwrap()["end"], "cancelled");
    alice.post(&at(&id, "/prompts"), json!({"text": ""})).await.problem("bad_request");
    alice.post(&at(&id, "/prompts"), json!({"words": "x"})).await.problem("bad_request");
}

#[tokio::test]
async fn a_question_is_answered_in_the_session_by_whoever_may() {
    let room = Room::with(changes().into_iter().chain(changes()));
    let (alice, root) = (room.developer("alice").await, room.admin().await);
    let id = begin(&alice, json!({"agent": "general"})).await;
    assert_eq!(alice.get(&at(&id, "/approval/pending")).await.expect(200), json!({"pending": null}));
    for path in ["/approve", "/reject", "/approval/approve", "/approval/reject"] {
        alice.post(&at(&id, path), json!({})).await.problem("conflict");
    }
    alice.post(&at(&id, "/prompts"), json!({"text": "change it"})).await.expect(202);
    let asked = events_until(&alice, &id, "tool_waiting").await.pop().unwrap();
    let pending = alice.get(&at(&id, "/approval/pending")).await.expect(200)["pending"].clone();
    assert_eq!((&pending["approvalId"], &pending["sessionId"]), (&asked["approval_id"], &json!(id)));
    assert_eq!(
        (&pending["tool"]["toolName"], &pending["tool"]["input"]["connection_string"]),
        (&json!("test_change"), &json!("orders"))
    );
    alice.post(&at(&id, "/approve"), json!({})).await.problem("own_request");
    let other = json!({"approval_id": "apr_00000000000000000000000000"});
    root.post(&at(&id, "/approve"), other).await.problem("conflict");
    let approved = root.post(&at(&id, "/approve"), json!({"reason": "go ahead"})).await.expect(200);
    assert_eq!(approved["status"], "approved");
    let events = events_until(&alice, &id, "turn_ended").await;
    let answered = events.iter().find(|event| event["event"] == "tool_answered").unwrap();
    assert_eq!((&answered["by"], &answered["reason"]), (&json!("user:root"), &json!("go ahead")));
    assert_eq!(room.t.runs(), 1);

    alice.post(&at(&id, "/prompts"), json!({"text": "change it again"})).await.expect(202);
    let mut watched = super::Watched::open(&alice, &at(&id, &format!("/events?after={}", events.len()))).await;
    watched.told().await;
    let asked = watched.until("tool_waiting").await.pop().unwrap();
    let no = json!({"approvalId": asked["approval_id"], "reason": "not on a Friday"});
    assert_eq!(root.post(&at(&id, "/approval/reject"), no).await.expect(200)["status"], "denied");
    watched.until("turn_ended").await;
    assert_eq!(room.t.runs(), 1);
    alice.delete(&at(&id, "/grants?tool=test_change")).await.problem("conflict");
}
