//! A session read back: messages, numbers, and files.

use serde_json::{Value, json};

use super::{Room, at, begin, changes, events_until, looks};
use crate::platform::Client;

/// A session in which something was looked up, and something was changed with leave.
async fn worked(room: &Room, alice: &Client) -> String {
    let root = room.admin().await;
    let id = begin(alice, json!({"agent": "general", "title": "Rows", "prompt": "how many rows?"})).await;
    let last = events_until(alice, &id, "turn_ended").await.len();
    alice.post(&at(&id, "/prompts"), json!({"text": "change one"})).await.expect(202);
    let mut watched = super::Watched::open(alice, &at(&id, &format!("/events?after={last}"))).await;
    watched.told().await;
    watched.until("tool_waiting").await;
    root.post(&at(&id, "/approve"), json!({})).await.expect(200);
    watched.until("turn_ended").await;
    id
}

fn column<'v>(messages: &'v Value, key: &str) -> Vec<&'v str> {
    messages.as_array().unwrap().iter().map(|message| message[key].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_conversation_is_read_as_messages() {
    let room = Room::with(looks().into_iter().chain(changes()));
    let alice = room.developer("alice").await;
    let id = worked(&room, &alice).await;
    let all = alice.get(&at(&id, "/transcript")).await.expect(200);
    assert_eq!((&all["total"], &all["hasMore"], &all["page"]), (&json!(9), &json!(false), &json!(1)));
    assert_eq!(
        column(&all["messages"], "contentType"),
        ["text", "tool_use", "tool_result", "text", "text", "tool_use", "permission_request", "tool_result", "text"]
    );
    assert_eq!(column(&all["messages"], "role")[..4], ["user", "assistant", "user", "assistant"]);
    assert_eq!(all["messages"][1]["toolName"], "test_look");
    assert_eq!(all["messages"][1]["toolUseId"], all["messages"][2]["toolUseId"]);
    let second = alice.get(&at(&id, "/transcript?page=2&limit=4")).await.expect(200);
    assert_eq!((&second["messages"][0], &second["hasMore"]), (&all["messages"][4], &json!(true)));
    let spoken = alice.get(&at(&id, "/transcript?role=assistant")).await.expect(200);
    assert_eq!(spoken["total"], 4);
    alice.get(&at(&id, "/transcript?role=robot")).await.problem("bad_request");

    let newest = alice.get(&at(&id, "/transcript/cursor?limit=4")).await.expect(200);
    assert_eq!(newest["messages"].as_array().unwrap().as_slice(), &all["messages"].as_array().unwrap()[5..]);
    assert_eq!((&newest["has_more"], &newest["oldest_id"]), (&json!(true), &newest["messages"][0]["_cursor_id"]));
    let before =
        alice.get(&at(&id, &format!("/transcript/cursor?before_id={}", newest["oldest_id"]))).await.expect(200);
    assert_eq!(before["messages"].as_array().unwrap().as_slice(), &all["messages"].as_array().unwrap()[..5]);
    assert_eq!(before["has_more"], false);

    let summary = alice.get(&at(&id, "/summary")).await.expect(200);
    assert_eq!(
        (&summary["totalMessages"], &summary["displayName"], &summary["status"]),
        (&json!(9), &json!("Rows"), &json!("idle"))
    );
    assert_eq!(
        summary["messages"][3],
        json!({"role": "assistant", "contentType": "text", "text": "There are three rows."})
    );
}

#[tokio::test]
async fn a_session_is_told_in_numbers() {
    let room = Room::with(looks().into_iter().chain(changes()));
    let alice = room.developer("alice").await;
    let id = worked(&room, &alice).await;
    let numbers = alice.get(&at(&id, "/metrics")).await.expect(200);
    assert_eq!((&numbers["messages"], &numbers["toolCalls"], &numbers["approvals"]), (&json!(4), &json!(2), &json!(1)));
    assert_eq!(numbers["tokenUsage"]["inputTokens"], 40);
    assert_eq!(
        column(&numbers["statusChanges"], "status"),
        ["idle", "running", "idle", "running", "waiting", "running", "idle"]
    );
    let cost = alice.get(&at(&id, "/cost")).await.expect(200);
    assert_eq!((&cost["usage"]["output_tokens"], &cost["estimatedCostUsd"]), (&json!(20), &Value::Null));
    assert_eq!((&cost["turns"][1]["turn"], &cost["turns"][1]["usage"]["input_tokens"]), (&json!(2), &json!(20)));
}

#[tokio::test]
async fn a_session_is_taken_away_as_a_file() {
    let room = Room::with(looks().into_iter().chain(changes()));
    let alice = room.developer("alice").await;
    let id = worked(&room, &alice).await;
    let events = alice.get(&at(&id, "/events")).await.expect(200)["events"].clone();
    let lines = alice.get(&at(&id, "/export")).await;
    assert_eq!((lines.status.as_u16(), lines.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(lines.header("content-disposition"), format!("attachment; filename=\"{id}.jsonl\""));
    let read: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(read), events);
    let page = alice.get(&at(&id, "/export?format=markdown")).await;
    assert!(page.header("content-type").starts_with("text/markdown"));
    for part in ["# Rows\n", "## User\n", "how many rows?", "`test_look`:", "There are three rows.", "## Question\n"] {
        assert!(page.text.contains(part), "{part:?} is missing in {}", page.text);
    }
    alice.get(&at(&id, "/export?format=pdf")).await.problem("bad_request");
}

#[tokio::test]
async fn a_result_too_long_for_its_event_is_read_whole() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let whole = "a line of a long result\n".repeat(2000);
    let digest = room.t.platform.store().keep_session_text(&id.parse().unwrap(), whole.clone()).await.unwrap();
    let answer = alice.get(&at(&id, &format!("/texts/{digest}"))).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert_eq!(answer.text, whole);
    alice.get(&at(&id, &format!("/texts/{}", "0".repeat(64)))).await.problem("not_found");
    alice.get(&at(&id, "/texts/x")).await.problem("bad_request");
}
