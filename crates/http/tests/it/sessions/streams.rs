//! Events as streams and as pages: in order, resumed, live, beside each other, and their end.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use reeve_http::StreamLimits;
use reeve_testkit::models::Scripted;
use serde_json::{Value, json};

use super::{Room, Watched, at, begin, events_until, kinds, looks, open, says};
use crate::platform::Setup;
use crate::workspaces::server::{Followed, Served};

#[tokio::test]
async fn a_prompt_is_answered_in_events_that_a_stream_and_a_page_tell_alike() {
    let room = Room::with(looks());
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut watched = Watched::open(&alice, &at(&id, "/events")).await;
    let (no_id, connected) = watched.told().await;
    assert_eq!((no_id, &connected), (None, &json!({"event": "connected", "session_id": id, "last_seq": 1})));
    let accepted = alice.post(&at(&id, "/prompts"), json!({"text": "how many rows?"})).await.expect(202);
    assert_eq!(accepted["position"], 0);
    let told = watched.until("turn_ended").await;
    let mut steps = kinds(&told);
    steps.retain(|kind| *kind != "delta");
    assert_eq!(
        steps,
        [
            "created",
            "prompt",
            "turn_started",
            "model_asked",
            "model_replied",
            "tool_called",
            "tool_finished",
            "model_asked",
            "message",
            "model_replied",
            "turn_ended"
        ]
    );
    assert_eq!((&told[0]["seq"], &told[1]["prompt_id"]), (&json!(1), &accepted["prompt_id"]));

    let page = alice.get(&at(&id, "/events")).await.expect(200);
    assert_eq!((page["events"].as_array().unwrap(), &page["next_seq"]), (&told, &Value::Null));
    let first = alice.get(&at(&id, "/events?limit=3")).await.expect(200);
    assert_eq!((first["events"].as_array().unwrap().as_slice(), &first["next_seq"]), (&told[..3], &json!(3)));
    let rest = alice.post(&at(&id, "/events/replay"), json!({"since": 3})).await.expect(200);
    assert_eq!((rest["events"].as_array().unwrap().as_slice(), &rest["nextSeq"]), (&told[3..], &Value::Null));
    let text = alice.get("/metrics").await.text;
    assert!(text.contains(&format!("reeve_session_events_total {}", told.len())), "{text}");
    assert!(text.contains("reeve_sessions_created_total 1") && text.contains("aegis_sessions_created_total 1"));
    assert!(text.contains("reeve_sessions{state=\"idle\"} 1") && text.contains("reeve_sse_clients 1"), "{text}");
    assert!(text.contains("aegis_prompts_sent_total 1") && text.contains("aegis_sessions_active 0"), "{text}");
}

#[tokio::test]
async fn a_client_of_the_guide_reads_its_own_shape_and_resumes_in_it() {
    let room = Room::with(looks());
    let alice = room.developer("alice").await;
    let mut all = Watched::open(&alice, "/v1/events?format=aegis").await;
    let (no_id, connected) = all.told().await;
    assert_eq!(
        (no_id, &connected["event"], &connected["data"]),
        (None, &json!("connected"), &json!({"activeSessions": 0}))
    );
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut watched = Watched::open(&alice, &at(&id, "/events?format=aegis")).await;
    let (_, connected) = watched.told().await;
    assert_eq!((&connected["event"], &connected["sessionId"]), (&json!("connected"), &json!(id)));
    assert!(connected["timestamp"].is_string() && connected.get("last_seq").is_none(), "{connected}");
    alice.post(&at(&id, "/prompts"), json!({"text": "how many rows?"})).await.expect(202);
    let mut told = Vec::new();
    while told.last().is_none_or(|last: &Value| last["data"]["detail"] != "completed") {
        let (number, event) = watched.told().await;
        assert_eq!((number, &event["sessionId"]), (event["id"].as_u64(), &json!(id)), "{event}");
        assert!(event["emittedAt"].is_i64() && event["timestamp"].is_string(), "{event}");
        told.push(event);
    }
    let steps: Vec<String> = told
        .iter()
        .map(|event| {
            let data = &event["data"];
            let what = if event["event"] == "message" { &data["contentType"] } else { &data["status"] };
            format!("{} {}", event["event"].as_str().unwrap(), what.as_str().unwrap())
        })
        .collect();
    assert_eq!(
        steps,
        [
            "status idle",
            "message text",
            "status working",
            "message tool_use",
            "message tool_result",
            "message text",
            "status idle"
        ]
    );
    assert_eq!((&told[1]["data"]["role"], &told[5]["data"]["role"]), (&json!("user"), &json!("assistant")));
    assert_eq!(told[3]["data"]["tool_id"], told[4]["data"]["tool_id"]);
    let seen = told[3]["id"].to_string();
    let mut resumed = Watched::open(&alice.and("last-event-id", &seen), &at(&id, "/events?format=aegis")).await;
    assert_eq!(resumed.told().await.1["event"], "connected");
    assert_eq!(resumed.told().await.1, told[4]);

    let mut heard = Vec::new();
    while heard.last().is_none_or(|last: &Value| last["data"]["status"] != "idle") {
        heard.push(all.told().await.1);
    }
    assert_eq!((&heard[0]["event"], &heard[0]["sessionId"]), (&json!("session_created"), &json!(id)));
    assert!(heard.iter().any(|event| event["event"] == "session_message" && event["data"]["role"] == "assistant"));
    alice.get(&at(&id, "/events?format=other")).await.problem("bad_request");
}

#[tokio::test]
async fn a_stream_is_resumed_in_the_middle_and_goes_on_live() {
    let room = Room::with([Scripted::WaitsThenSays("late".to_owned())]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general", "prompt": "hello"})).await;
    let before = events_until(&alice, &id, "model_asked").await;
    let mut resumed = Watched::open(&alice.and("last-event-id", "2"), &at(&id, "/stream")).await;
    assert_eq!(resumed.told().await.1["event"], "connected");
    assert_eq!(resumed.until("model_asked").await, before[2..]);
    room.models.release();
    let after = resumed.until("turn_ended").await;
    assert_eq!(after[0]["seq"], before.len() + 1);
    let mut later = Watched::open(&alice, &at(&id, &format!("/events?after={}", before.len()))).await;
    assert_eq!(later.told().await.1["event"], "connected");
    assert_eq!(later.until("turn_ended").await, after);
    open_badly(&alice.and("last-event-id", "x"), &at(&id, "/events")).await;
}

async fn open_badly(client: &crate::platform::Client, path: &str) {
    let request = client.request(Method::GET, path).header("accept", "text/event-stream");
    client.send(request.body(Body::empty()).unwrap()).await.problem("bad_request");
}

#[tokio::test]
async fn a_client_that_has_seen_more_than_there_is_hears_of_what_comes() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut watched = Watched::open(&alice.and("last-event-id", "4000"), &at(&id, "/events")).await;
    assert_eq!(watched.told().await.1["last_seq"], 1);
    alice.patch(&at(&id, ""), json!({"title": "Another"})).await.expect(200);
    let (seq, event) = watched.told().await;
    assert_eq!((seq, &event["event"], &event["title"]), (Some(2), &json!("renamed"), &json!("Another")));
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up_and_misses_nothing() {
    const CHANGES: usize = 400;
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut slow = Watched::open(&alice, &at(&id, "/events")).await;
    let mut quick = Watched::open(&alice, &at(&id, "/events")).await;
    for watched in [&mut slow, &mut quick] {
        assert_eq!(watched.told().await.1["event"], "connected");
        assert_eq!(watched.told().await.0, Some(1));
    }
    // More than the live channel holds, while one reads and the other does not.
    for n in 0..CHANGES {
        alice.patch(&at(&id, ""), json!({"title": format!("title {n}")})).await.expect(200);
        assert_eq!(quick.told().await.0, Some(n as u64 + 2));
    }
    for n in 0..CHANGES {
        let (seq, event) = slow.told().await;
        assert_eq!((seq, event["title"].as_str()), (Some(n as u64 + 2), Some(format!("title {n}").as_str())));
    }
}

#[tokio::test]
async fn taking_a_key_back_ends_what_was_opened_with_it() {
    let room = Room::with([]);
    let admin = room.admin().await;
    let made = admin.post("/api/v1/keys", json!({"principal": "carol", "roles": ["developer"]})).await.expect(201);
    let key = format!("Bearer {}", made["key"].as_str().unwrap());
    let carol = room.t.client(&[("authorization", &key)]);
    let id = begin(&carol, json!({"agent": "general"})).await;
    let served = Served::of(&room.t).await;
    let mut socket = served.socket(&at(&id, "/ws"), &[("authorization", &key)]).await.unwrap();
    assert_eq!(socket.told().await["event"], "connected");
    let mut watched = Watched::open(&carol, &at(&id, "/events")).await;
    let mut all = Watched::open(&carol, "/api/v1/events/sessions").await;
    for stream in [&mut watched, &mut all] {
        assert_eq!(stream.told().await.1["event"], "connected");
    }
    let path = format!("/api/v1/keys/{}", made["key_id"].as_str().unwrap());
    assert_eq!(admin.delete(&path).await.status.as_u16(), 204);
    while watched.frame().await.is_some() {}
    assert_eq!(all.frame().await, None);
    assert_eq!(socket.closed().await.0, 4401);
}

#[tokio::test]
async fn silence_is_broken_by_a_ping() {
    let streams = StreamLimits { idle: Duration::from_millis(10), ..StreamLimits::default() };
    let room = Room::of(Setup { streams, ..Setup::default() }, []);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut watched = Watched::open(&alice, &at(&id, "/events?after=1")).await;
    assert_eq!(watched.told().await.1["event"], "connected");
    assert_eq!(watched.frame().await.as_deref(), Some(":ping"));
    assert_eq!(watched.frame().await.as_deref(), Some(":ping"));
}

#[tokio::test]
async fn whoever_watches_is_told_when_the_server_stops() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let served = Served::of(&room.t).await;
    let mut streams = Vec::new();
    for path in [at(&id, "/stream"), "/v1/events/sessions".to_owned()] {
        let (response, line) = served.open(alice.request(Method::GET, &path).body(Body::empty()).unwrap()).await;
        let mut followed = Followed::of(response);
        assert_eq!(followed.next().await["event"], "connected");
        streams.push((followed, line));
    }
    room.t.stop.cancel();
    for (followed, _line) in &mut streams {
        followed.until(|event| event["event"] == "shutdown").await;
    }
}

#[tokio::test]
async fn lists_follow_the_sessions_of_their_reader_and_nobody_elses() {
    let room = Room::with([says("done")]);
    let (alice, eve, root) = (room.developer("alice").await, room.developer("eve").await, room.admin().await);
    let mut of_eve = Watched::open(&eve, "/api/v1/events/sessions").await;
    // A guide's clients follow them where the records are listed.
    let mut of_root = Watched::open(&root, "/v1/events").await;
    for watched in [&mut of_eve, &mut of_root] {
        assert_eq!(watched.told().await, (None, json!({"event": "connected"})));
    }
    let hers = begin(&alice, json!({"agent": "general"})).await;
    let own = begin(&eve, json!({"agent": "general"})).await;
    for (watched, id) in [(&mut of_eve, &own), (&mut of_root, &hers)] {
        let (_, event) = watched.told().await;
        assert_eq!((&event["event"], &event["kind"]), (&json!("session"), &json!("created")));
        assert_eq!(&event["session"]["id"], id.as_str());
    }
    eve.get("/v1/events?limit=1").await.expect(200);
    let nobody = room.t.user("nobody", &[]).await;
    assert_eq!(open(&nobody, "/v1/events").await.status(), 403);
}
