//! Links with which anybody may read a session, and do nothing else.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use reeve_http::StreamLimits;
use serde_json::json;

use super::{Room, Watched, at, begin, events_until, says};
use crate::accounts::StandingClock;
use crate::platform::Setup;

#[tokio::test]
async fn a_link_reads_and_does_nothing_else_until_it_is_taken_back() {
    let streams = StreamLimits { idle: Duration::from_millis(20), ..StreamLimits::default() };
    let room = Room::of(Setup { streams, ..Setup::default() }, [says("done")]);
    let alice = room.developer("alice").await;
    let stranger = room.t.client(&[]);
    let id = begin(&alice, json!({"agent": "general", "prompt": "hello"})).await;
    let events = events_until(&alice, &id, "turn_ended").await;
    let shared = alice.post(&at(&id, "/share"), json!({})).await.expect(201);
    let token = shared["token"].as_str().unwrap();
    assert!(shared["url"].as_str().unwrap().ends_with(&format!("/shared/sessions/{token}")));
    let path = format!("/api/v1/shared/sessions/{token}");
    assert_eq!(stranger.get(&path).await.expect(200)["id"], id.as_str());
    let page = stranger.get(&format!("{path}/events?after=1")).await.expect(200);
    assert_eq!(page["events"].as_array().unwrap().as_slice(), &events[1..]);
    let mut watched = Watched::open(&stranger, &format!("{path}/events")).await;
    assert_eq!(watched.told().await.1["event"], "connected");
    assert_eq!(watched.until("turn_ended").await, events);

    for verb in ["prompts", "cancel", "approve", "kill", "share"] {
        let answer = stranger.post(&format!("{path}/{verb}"), json!({"text": "x"})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{verb}");
    }
    assert_eq!(stranger.delete(&path).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let holder = room.t.client(&[("authorization", &format!("Bearer {token}"))]);
    holder.get(&at(&id, "")).await.problem("unauthenticated");
    stranger.get(&at(&id, &format!("/events?token={token}"))).await.problem("unauthenticated");

    let second = alice.post(&at(&id, "/share"), json!({"lasting_ms": 1000})).await.expect(201);
    assert_ne!(second["token"], shared["token"]);
    assert_eq!(alice.delete(&at(&id, "/share")).await.expect(200), json!({"revoked": 2}));
    stranger.get(&path).await.problem("not_found");
    stranger.get(&format!("{path}/events")).await.problem("not_found");
    // What was open ends as well: there are pings only, and then nothing more.
    while let Some(frame) = watched.frame().await {
        assert_eq!(frame, ":ping");
    }
}

#[tokio::test]
async fn a_link_ends_by_itself() {
    let clock = StandingClock::new();
    let room = Room::of(Setup { clock: Arc::<StandingClock>::clone(&clock), ..Setup::default() }, []);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let month = 30 * 24 * 3600 * 1000u64;
    for bad in [0, month + 1] {
        alice.post(&at(&id, "/share"), json!({"lasting_ms": bad})).await.problem("bad_request");
    }
    let shared = alice.post(&at(&id, "/share"), json!({"lasting_ms": 60_000})).await.expect(201);
    let path = format!("/v1/shared/sessions/{}", shared["token"].as_str().unwrap());
    room.t.client(&[]).get(&path).await.expect(200);
    clock.forward(Duration::from_secs(60));
    room.t.client(&[]).get(&path).await.problem("not_found");
}
