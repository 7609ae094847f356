//! Tickets: what a browser opens a stream with.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Room, Watched, at, begin, open};
use crate::accounts::{StandingClock, signed_in_to};
use crate::platform::{Client, Setup};

async fn ticket(client: &Client) -> Value {
    client.post("/v1/auth/sse-token", json!({})).await.expect(201)
}

fn with(id: &str, ticket: &Value) -> String {
    at(id, &format!("/events?token={}", ticket["token"].as_str().unwrap()))
}

#[tokio::test]
async fn a_ticket_opens_one_stream_in_the_name_of_whoever_asked_for_it() {
    let room = Room::with([]);
    let (alice, eve) = (room.developer("alice").await, room.developer("eve").await);
    let stranger = room.t.client(&[]);
    let id = begin(&alice, json!({"agent": "general"})).await;
    let given = ticket(&alice).await;
    assert!(given["token"].as_str().unwrap().starts_with("sse_") && given["token"].as_str().unwrap().len() == 68);
    let until: jiff::Timestamp = given["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!((50..=60).contains(&until.duration_since(jiff::Timestamp::now()).as_secs()));
    // The guide's clients bring it without saying what they accept.
    let mut watched = Watched::of(
        stranger
            .open(
                stranger.request(axum::http::Method::GET, &with(&id, &given)).body(axum::body::Body::empty()).unwrap(),
            )
            .await,
    );
    assert_eq!(watched.told().await.1["event"], "connected");
    stranger.get(&with(&id, &given)).await.problem("unauthenticated");

    let bearer = ticket(&alice).await;
    let bearer = room.t.client(&[("authorization", &format!("Bearer {}", bearer["token"].as_str().unwrap()))]);
    Watched::open(&bearer, &at(&id, "/stream")).await;
    assert_eq!(open(&bearer, &at(&id, "/stream")).await.status(), 401);

    let foreign = ticket(&eve).await;
    stranger.get(&with(&id, &foreign)).await.problem("not_found");
    let everything = ticket(&eve).await;
    let all = format!("/api/v1/events/sessions?token={}", everything["token"].as_str().unwrap());
    Watched::open(&stranger, &all).await;
}

#[tokio::test]
async fn a_ticket_opens_nothing_but_streams_and_a_key_in_an_address_opens_nothing() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let stranger = room.t.client(&[]);
    let id = begin(&alice, json!({"agent": "general"})).await;
    let given = ticket(&alice).await;
    let token = given["token"].as_str().unwrap();
    let bearer = room.t.client(&[("authorization", &format!("Bearer {token}"))]);
    for path in [at(&id, ""), "/api/v1/sessions".to_owned(), "/api/v1/whoami".to_owned()] {
        stranger.get(&format!("{path}?token={token}")).await.problem("unauthenticated");
        bearer.get(&path).await.problem("unauthenticated");
    }
    let key = alice.authorization().strip_prefix("Bearer ").unwrap();
    stranger.get(&at(&id, &format!("/events?token={key}"))).await.problem("unauthenticated");
    // None of that has used it up.
    Watched::open(&stranger, &with(&id, &given)).await;
}

#[tokio::test]
async fn a_ticket_is_too_old_after_a_minute_and_five_may_wait() {
    let clock = StandingClock::new();
    let room = Room::of(Setup { clock: Arc::<StandingClock>::clone(&clock), ..Setup::default() }, []);
    let (alice, eve) = (room.developer("alice").await, room.developer("eve").await);
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut given = Vec::new();
    for _ in 0..5 {
        given.push(ticket(&alice).await);
    }
    let refused = alice.post("/v1/auth/sse-token", json!({})).await;
    refused.problem("rate_limited");
    assert_eq!(refused.header("retry-after"), "61");
    ticket(&eve).await;
    let stranger = room.t.client(&[]);
    Watched::open(&stranger, &with(&id, &given[0])).await;
    ticket(&alice).await;
    clock.forward(Duration::from_secs(60));
    stranger.get(&with(&id, &given[1])).await.problem("unauthenticated");
    for _ in 0..5 {
        ticket(&alice).await;
    }
}

#[tokio::test]
async fn a_stream_opened_with_a_ticket_ends_with_the_sign_in_behind_it() {
    let room = Room::with([]);
    let person = signed_in_to(&room.t, &["developer"]).await;
    let id = begin(&person, json!({"agent": "general"})).await;
    let given = ticket(&person).await;
    let mut watched = Watched::open(&room.t.client(&[]), &with(&id, &given)).await;
    assert_eq!(watched.told().await.1["event"], "connected");
    assert_eq!(watched.told().await.0, Some(1));
    person.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(watched.frame().await, None);
}
