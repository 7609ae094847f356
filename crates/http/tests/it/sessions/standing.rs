//! How sessions stand, one by one and all at once; ending many; and the stream of all sessions, left and come back to.

use axum::body::Body;
use axum::http::Method;
use reeve_types::PrincipalKind;
use serde_json::{Value, json};

use super::{Room, Watched, at, begin, changes, events_until, looks, says};
use crate::platform::{Answer, Client};

/// The stream of all sessions, come back to after a frame.
async fn after(client: &Client, id: &str) -> Watched {
    let request = client.request(Method::GET, "/api/v1/events/sessions").header("last-event-id", id);
    let mut watched = Watched::of(client.open(request.body(Body::empty()).unwrap()).await);
    assert_eq!(watched.told().await.1["event"], "connected");
    watched
}

#[tokio::test]
async fn who_comes_back_to_the_stream_of_all_sessions_hears_what_was_missed_or_that_something_was() {
    let room = Room::with([says("one"), says("two")]);
    let (alice, bob) = (room.developer("alice").await, room.developer("bob").await);
    let mut watched = Watched::open(&alice, "/api/v1/events/sessions").await;
    watched.told().await;
    let first = begin(&alice, json!({"agent": "general"})).await;
    let (place, told) = watched.told().await;
    assert_eq!((&told["kind"], &told["session"]["id"]), (&json!("created"), &json!(first)));
    let place = place.expect("each has a number");
    drop(watched);

    begin(&bob, json!({"agent": "general"})).await;
    let second = begin(&alice, json!({"agent": "general"})).await;
    let mut watched = after(&alice, &place.to_string()).await;
    let (id, told) = watched.told().await;
    assert_eq!((&told["event"], &told["session"]["id"]), (&json!("session"), &json!(second)), "and nothing of bob's");
    assert!(id > Some(place));
    let third = begin(&alice, json!({"agent": "general"})).await;
    assert_eq!(watched.told().await.1["session"]["id"], json!(third), "and then what comes");

    for strange in ["1", &(place + 1_000_000_000).to_string()] {
        let mut watched = after(&alice, strange).await;
        assert_eq!(watched.told().await.1, json!({"event": "resync"}), "a place of another process");
    }
    let request = alice.request(Method::GET, "/api/v1/events/sessions").header("last-event-id", "yesterday");
    assert_eq!(alice.open(request.body(Body::empty()).unwrap()).await.status(), 400);
}

#[tokio::test]
async fn how_a_session_stands_is_told_in_the_guides_words() {
    let room = Room::with(looks().into_iter().chain(changes()));
    let (alice, root) = (room.developer("alice").await, room.admin().await);
    let id = begin(&alice, json!({"agent": "general", "title": "Rows", "prompt": "how many rows?"})).await;
    let seen = events_until(&alice, &id, "turn_ended").await.len();
    let health = alice.get(&at(&id, "/health")).await.expect(200);
    assert_eq!((&health["alive"], &health["status"]), (&json!(true), &json!("idle")));
    assert!(health.get("actionHints").is_none() && health["sessionAge"].as_i64() >= health["lastActivityAgo"].as_i64());

    alice.post(&at(&id, "/command"), json!({"command": "/change one"})).await.expect(200);
    let mut watched = Watched::open(&alice, &at(&id, &format!("/events?after={seen}"))).await;
    watched.told().await;
    let asked = watched.until("tool_waiting").await;
    assert_eq!(asked.iter().find(|event| event["event"] == "prompt").unwrap()["text"], "/change one");
    let health = alice.get("/v1/sessions/health").await.expect(200)[&id].clone();
    assert_eq!(health["actionHints"]["approve"]["url"], format!("/v1/sessions/{id}/approve"));
    let status = alice.get(&at(&id, "/status")).await.expect(200);
    assert_eq!(
        (&status["status"], &status["waitingFor"][0]),
        (&json!("waiting"), &asked.last().unwrap()["approval_id"])
    );
    root.post(&at(&id, "/approve"), json!({})).await.expect(200);
    watched.until("turn_ended").await;

    let tools = alice.get(&at(&id, "/tools")).await.expect(200);
    assert_eq!(tools["totalCalls"], 2);
    assert_eq!(tools["tools"][0], json!({"name": "test_change", "count": 1, "failed": 0}));
    let latency = alice.get(&at(&id, "/latency")).await.expect(200)["aggregated"].clone();
    for (kind, count) in [("turn_ms", 2), ("first_word_ms", 2), ("tool_call_ms", 2), ("permission_response_ms", 1)] {
        assert_eq!(latency[kind]["count"], count, "{kind}: {latency}");
        assert!(latency[kind]["min"].as_i64() <= latency[kind]["max"].as_i64(), "{kind}: {latency}");
    }
}

async fn batch(client: &Client, body: Value) -> Answer {
    let request = client.request(Method::DELETE, "/v1/sessions/batch").header("content-type", "application/json");
    client.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn many_are_ended_at_once_and_stay_in_the_history() {
    let room = Room::with([]);
    let (alice, bob) = (room.developer("alice").await, room.developer("bob").await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(begin(&alice, json!({"agent": "general"})).await);
    }
    let bobs = begin(&bob, json!({"agent": "general"})).await;
    let done = batch(&alice, json!({"ids": [ids[0], ids[1], bobs]})).await.expect(200);
    assert_eq!(done, json!({"deleted": 2, "notFound": [bobs], "errors": []}));
    assert_eq!(bob.get(&at(&bobs, "")).await.expect(200)["state"], "idle", "another's is not there");
    batch(&alice, json!({})).await.problem("bad_request");
    let all = batch(&alice, json!({"status": "idle", "reason": "tidying up"})).await.expect(200);
    assert_eq!(all["deleted"], 3);
    assert_eq!(alice.get(&at(&ids[4], "")).await.expect(200)["reason"], "tidying up");

    let past = alice.get("/v1/sessions/history?status=killed&limit=2&page=2").await.expect(200);
    assert_eq!(past["pagination"], json!({"page": 2, "limit": 2, "total": 5, "totalPages": 3}));
    let seen: Vec<_> = past["records"].as_array().unwrap().iter().map(|record| record["id"].clone()).collect();
    assert_eq!(seen, [json!(ids[2]), json!(ids[1])], "newest first");
    assert_eq!(alice.get("/v1/sessions/history?status=active").await.expect(200)["records"], json!([]));
    assert_eq!(bob.get("/v1/sessions/history").await.expect(200)["pagination"]["total"], 1);
}

#[tokio::test]
async fn the_installations_numbers_are_of_all_tenants() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let eve = room.t.key("other".parse().unwrap(), PrincipalKind::User, "eve", &["admin"]).await;
    for client in [&alice, &eve, &eve] {
        begin(client, json!({"agent": "general"})).await;
    }
    let numbers = alice.get("/metrics").await.text;
    assert!(numbers.contains("reeve_sessions{state=\"idle\"} 3"), "{numbers}");
    assert_eq!(alice.get("/api/v1/sessions/stats").await.expect(200)["total"], 1, "and a tenant sees its own");
}
