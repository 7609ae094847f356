//! Streams: replay, live, resumption, and their end.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::StreamExt as _;
use reeve_gate::Ledger as _;
use reeve_types::{EventType, TenantId};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::platform::{Client, TestPlatform};

/// A stream as it is read, frame by frame.
struct Frames {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Frames {
    async fn open(t: &TestPlatform, client: &Client, path: &str) -> Self {
        let request = client.request(Method::GET, path).body(Body::empty()).unwrap();
        let response = t.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next frame; nothing when the stream has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = frame.to_owned();
                self.text = rest.to_owned();
                return Some(frame);
            }
            let bytes = tokio::time::timeout(Duration::from_secs(10), self.body.next())
                .await
                .expect("a frame comes in time")?;
            self.text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        }
    }

    /// The next frame that holds data: its id and the object in it.
    async fn data(&mut self) -> (u64, Value) {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            let field =
                |name: &str| frame.lines().find_map(|line| line.strip_prefix(name).map(|v| v.trim().to_owned()));
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                return (id.parse().unwrap(), serde_json::from_str(&data).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_stream_replays_goes_on_live_and_is_resumed_without_a_gap() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let look = json!({"arguments": {"connection_string": "orders"}});
    alice.post("/api/v1/tools/test_look/run", look.clone()).await.expect(200);
    let mut stream = Frames::open(&t, &alice, "/api/v1/events/stream?from=0").await;
    for seq in 0..3 {
        let (id, data) = stream.data().await;
        assert_eq!((id, &data["seq"], data["event"].clone()), (seq, &json!(seq), data["record"]["event_type"].clone()));
    }
    alice.post("/api/v1/tools/test_look/run", look).await.expect(200);
    assert_eq!(stream.data().await.0, 3);
    drop(stream);
    let mut resumed = Frames::open(&t, &alice.and("last-event-id", "3"), "/v1/events/stream?from=0").await;
    assert_eq!((resumed.data().await.0, resumed.data().await.0), (4, 5));
}

#[tokio::test]
async fn a_stream_shows_the_records_of_its_own_tenant_only() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let other = t.key("other".parse().unwrap(), reeve_types::PrincipalKind::User, "eve", &["admin"]).await;
    let mut stream = Frames::open(&t, &other, "/api/v1/events/stream?from=0").await;
    alice.ask_for_change(1).await;
    other.get("/api/v1/nothing").await;
    other.post("/api/v1/keys", json!({"principal": "bot", "kind": "service", "roles": ["dba"]})).await.expect(201);
    assert_eq!(stream.data().await.1["event"], "identity_changed");
}

#[tokio::test]
async fn what_happens_to_a_question_is_followed() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let mut stream = Frames::open(&t, &bob, "/api/v1/approvals/stream").await;
    let id = alice.ask_for_change(1).await;
    let (_, asked) = stream.data().await;
    assert_eq!(
        (asked["event"].as_str(), asked["question"]["approval_id"].as_str()),
        (Some("approval_requested"), Some(id.as_str()))
    );
    bob.post(&format!("/api/v1/approvals/{id}/deny"), json!({})).await.expect(200);
    let (_, settled) = stream.data().await;
    assert_eq!(
        (settled["event"].as_str(), settled["approval"]["status"].as_str()),
        (Some("approval_resolved"), Some("denied"))
    );
}

#[tokio::test]
async fn a_stream_can_be_resumed_before_its_first_record() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    alice.ask_for_change(1).await;
    let mut stream = Frames::open(&t, &alice, "/api/v1/events/stream").await;
    let opening = stream.next().await.unwrap();
    assert!(opening.contains("id: 2") && !opening.contains("data:"), "{opening}");
    drop(stream);
    alice.ask_for_change(2).await;
    let mut resumed = Frames::open(&t, &alice.and("last-event-id", "2"), "/api/v1/events/stream").await;
    assert_eq!(resumed.data().await.0, 3);
    alice.and("last-event-id", "x").get("/api/v1/events/stream").await.problem("bad_request");
}

#[tokio::test]
async fn a_reader_that_falls_behind_misses_nothing() {
    const RECORDS: u64 = 5_000;
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let mut stream = Frames::open(&t, &alice, "/api/v1/events/stream").await;
    let trace = t.platform.new_trace("sys");
    let one = || t.platform.event(EventType::Lifecycle, &TenantId::default_tenant(), trace.clone());
    t.platform.record(one()).await.unwrap();
    assert_eq!(stream.data().await.0, 0);
    // From here on the stream is live. More comes than the live channel holds, while nobody reads.
    for _ in 0..10 {
        let batch = (0..RECORDS / 10).map(|_| one().into()).collect();
        t.platform.store().record(vec![], batch).await.unwrap();
    }
    for seq in 1..=RECORDS {
        assert_eq!(stream.data().await.0, seq);
    }
}
