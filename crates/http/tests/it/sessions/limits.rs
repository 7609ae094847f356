//! How many may watch, and who is cut off.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use reeve_http::{ServeLimits, StreamLimits};
use reeve_testkit::models::Scripted;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Room, Watched, at, begin, open};
use crate::platform::{Client, Setup};
use crate::workspaces::server::{Followed, Served, until};

async fn refused(client: &Client, path: &str, code: &str, reason: &str) {
    let request = client.request(Method::GET, path).header("accept", "text/event-stream");
    let answer = client.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.problem(code)["reason"], reason);
    assert_eq!(answer.header("retry-after"), "10");
}

#[tokio::test]
async fn one_caller_has_so_many_streams_and_all_together_so_many() {
    let streams = StreamLimits { connections: 3, per_caller: 2, ..StreamLimits::default() };
    let room = Room::of(Setup { streams, ..Setup::default() }, []);
    let (alice, bob, carol) =
        (room.developer("alice").await, room.developer("bob").await, room.developer("carol").await);
    let id = begin(&alice, json!({"agent": "general"})).await;
    let path = at(&id, "/events");
    let first = Watched::open(&alice, &path).await;
    let _second = Watched::open(&alice, "/api/v1/events/sessions").await;
    refused(&alice, &path, "rate_limited", "per_ip_limit").await;
    let _third = Watched::open(&bob, "/api/v1/events/sessions").await;
    refused(&carol, "/api/v1/events/sessions", "unavailable", "global_limit").await;
    alice.get(&path).await.expect(200);
    assert!(alice.get("/metrics").await.text.contains("reeve_sse_clients 3"));
    drop(first);
    assert_eq!(open(&carol, "/api/v1/events/sessions").await.status(), 200);
    // A handshake that fails for another reason takes no place.
    bob.get(&at(&id, "/stream")).await.problem("not_found");
    Watched::open(&alice, &path).await;
}

#[tokio::test]
async fn only_a_client_that_takes_nothing_is_cut_off() {
    const WORDS: usize = 100_000;
    let room = Room::with([Scripted::WaitsThenSays("done".to_owned())]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general", "prompt": "x".repeat(WORDS)})).await;
    let limits = ServeLimits { client_timeout: Duration::from_millis(500), ..ServeLimits::default() };
    let served = Served::within(limits, &room.t).await;
    let quiet = alice.request(Method::GET, "/api/v1/events/sessions").body(Body::empty()).unwrap();
    let (response, _line) = served.open(quiet).await;
    let mut quiet = Followed::of(response);
    assert_eq!(quiet.next().await["event"], "connected");

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(served.address).await.unwrap();
    let ask = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: {}\r\n\r\n",
        at(&id, "/events"),
        alice.authorization()
    );
    deaf.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0u8; 12];
    deaf.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let watching =
        async |count: usize| alice.get("/metrics").await.text.contains(&format!("reeve_sse_clients {count}\n"));
    assert!(watching(2).await);
    until("the deaf client is cut off", || watching(1)).await;
    // The quiet one had nothing to take, and is there still.
    alice.patch(&at(&id, ""), json!({"title": "Still here"})).await.expect(200);
    quiet.until(|event| event["session"]["title"] == "Still here").await;
}
