//! Making sessions, alone and in batches, listing them, changing and ending them.

use serde_json::{Value, json};

use super::{Room, at, begin, events_until, says};
use crate::platform::TestPlatform;

#[tokio::test]
async fn agents_and_models_can_be_chosen_from() {
    let room = Room::with([]);
    let found = room.developer("alice").await.get("/api/v1/agents/definitions").await.expect(200);
    let names: Vec<_> =
        found["agents"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["coder", "database", "general"]);
    assert_eq!((&found["agents"][0]["kind"], &found["agents"][0]["needs_workspace"]), (&json!("own"), &json!(true)));
    assert_eq!(found["models"], json!([{"name": "scripted/model", "kind": "replay", "is_default": true}]));
    assert_eq!(found["host_directories"], false, "this server has no workspaces");
}

#[tokio::test]
async fn a_session_is_made_once_for_each_key() {
    let room = Room::with([]);
    let alice = room.developer("alice").await.and("idempotency-key", "k1");
    let wanted = json!({"agent": "general", "title": "Once"});
    let (first, again) = (begin(&alice, wanted.clone()).await, begin(&alice, wanted).await);
    assert_eq!(first, again);
    alice.post("/api/v1/sessions", json!({"agent": "database"})).await.problem("idempotency_mismatch");
    let listed = alice.get("/api/v1/sessions").await.expect(200);
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_with_the_reason() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    for (wanted, words) in [
        (json!({"agent": "nobody"}), "there is no agent `nobody`"),
        (json!({"agent": "coder"}), "works in a workspace"),
        (json!({"agent": "general", "colour": "red"}), "colour"),
        (json!({"agent": "general", "prompt": "  "}), "empty"),
        (json!({"agent": "general", "title": "x".repeat(201)}), "200 characters"),
        (json!({"agent": "general", "parent": "x"}), "parent"),
    ] {
        let problem = alice.post("/api/v1/sessions", wanted).await.problem("bad_request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words) || words == "parent", "{detail}");
    }
    alice
        .post("/api/v1/sessions", json!({"agent": "general", "prompt": "x".repeat(100_001)}))
        .await
        .problem("too_large");
    assert_eq!(alice.get("/api/v1/sessions").await.expect(200)["sessions"], json!([]));
}

#[tokio::test]
async fn a_batch_makes_what_can_be_made() {
    let room = Room::with([]);
    let alice = room.developer("alice").await;
    let wanted = json!({"sessions": [{"agent": "general", "title": "one"}, {"agent": "nobody"}, {"label": "three"}]});
    let done = alice.post("/v1/sessions/batch", wanted).await.expect(201);
    assert_eq!((&done["created"], &done["failed"]), (&json!(2), &json!(1)));
    assert_eq!((&done["errors"][0]["index"], &done["errors"][0]["code"]), (&json!(1), &json!("bad_request")));
    let titles: Vec<_> = done["sessions"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["one", "three"]);
    for count in [0, 51] {
        let many = vec![json!({"agent": "general"}); count];
        alice.post("/v1/sessions/batch", json!({"sessions": many})).await.problem("bad_request");
    }
    assert_eq!(alice.get("/v1/sessions/stats").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn lists_are_paged_filtered_and_counted() {
    let room = Room::with([]);
    let (alice, root) = (room.developer("alice").await, room.admin().await);
    let mut ids = Vec::new();
    for n in 0..5 {
        let agent = if n == 2 { "database" } else { "general" };
        ids.push(begin(&alice, json!({"agent": agent, "title": format!("Number {n}")})).await);
    }
    ids.reverse();
    let listed = async |path: &str| {
        let page = alice.get(&format!("/api/v1/sessions{path}")).await.expect(200);
        let found: Vec<String> =
            page["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        (found, page["next_cursor"].as_str().map(str::to_owned), page)
    };
    let (first, cursor, page) = listed("?limit=2").await;
    assert_eq!((first.as_slice(), &page["pagination"]), (&ids[..2], &json!({"page": 1, "limit": 2})));
    let (second, ..) = listed(&format!("?limit=2&cursor={}", cursor.unwrap())).await;
    assert_eq!(second, ids[2..4]);
    let (third, last, _) = listed("?limit=2&page=3").await;
    assert_eq!((third.as_slice(), last), (&ids[4..], None));
    assert_eq!(listed("?limit=2&page=9").await.0, Vec::<String>::new());
    assert_eq!(listed("?agent=database").await.0, ids[2..3]);
    assert_eq!(listed("?search=NUMBER%204").await.0, ids[..1]);
    assert_eq!(listed("?status=working").await.0, Vec::<String>::new());
    alice.patch(&at(&ids[0], ""), json!({"archived": true})).await.expect(200);
    alice.post(&at(&ids[1], "/kill"), json!({"reason": "enough"})).await.expect(200);
    assert_eq!((listed("").await.0, listed("?archived=true").await.0), (ids[1..].to_vec(), ids[..1].to_vec()));
    assert_eq!(listed("?state=closed").await.0, ids[1..2]);
    for bad in ["?state=asleep", "?cursor=x", "?parent=x", "?colour=red", "?limit=100&page=1000000"] {
        alice.get(&format!("/api/v1/sessions{bad}")).await.problem("bad_request");
    }
    let by_state = json!({"idle": 4, "running": 0, "waiting": 0, "failed": 0, "closed": 1});
    for client in [&alice, &root] {
        let stats = client.get("/api/v1/sessions/stats").await.expect(200);
        assert_eq!(stats, json!({"active": 0, "by_state": by_state, "total": 5}));
    }
}

#[tokio::test]
async fn a_session_is_ended_and_taken_up_again() {
    let room = Room::with([says("hello")]);
    let alice = room.developer("alice").await;
    for verb in ["kill", "terminate", "stop"] {
        let id = begin(&alice, json!({"agent": "general"})).await;
        let closed = alice.post(&at(&id, &format!("/{verb}")), json!({"reason": "enough"})).await.expect(200);
        assert_eq!((&closed["state"], &closed["reason"]), (&json!("closed"), &json!("enough")));
    }
    let id = begin(&alice, json!({"agent": "general"})).await;
    assert_eq!(alice.delete(&at(&id, "")).await.expect(200)["state"], "closed");
    alice.delete(&at(&id, "")).await.problem("conflict");
    alice.post(&at(&id, "/prompts"), json!({"text": "hi"})).await.problem("conflict");
    assert_eq!(alice.post(&at(&id, "/resume"), json!({})).await.expect(200)["state"], "idle");
    alice.post(&at(&id, "/resume"), json!({})).await.problem("conflict");
    alice.post(&at(&id, "/prompts"), json!({"text": "hi"})).await.expect(202);
    events_until(&alice, &id, "turn_ended").await;
}

#[tokio::test]
async fn a_session_is_forked_at_an_event_and_spawns_others() {
    let room = Room::with([says("first answer"), says("other answer")]);
    let alice = room.developer("alice").await;
    let id = begin(&alice, json!({"agent": "database", "title": "Trunk", "prompt": "first"})).await;
    let events = events_until(&alice, &id, "turn_ended").await;
    let fork = alice.post(&at(&id, "/fork"), json!({"at": 2, "title": "Branch"})).await.expect(201);
    assert_eq!((&fork["parent"], &fork["title"]), (&json!(id), &json!("Branch")));
    let shared = alice.get(&at(fork["id"].as_str().unwrap(), "/events")).await.expect(200);
    assert_eq!(shared["events"][1]["text"], events[1]["text"]);
    assert_eq!(shared["events"].as_array().unwrap().len(), 3);
    alice.post(&at(&id, "/fork"), json!({"at": 999})).await.problem("bad_request");
    let child = alice.post(&at(&id, "/spawn"), json!({"name": "Helper"})).await.expect(201);
    assert_eq!((&child["parent"], &child["agent"]), (&json!(id), &json!("database")));
    let children = alice.get(&at(&id, "/children")).await.expect(200);
    let titles: Vec<&Value> = children["children"].as_array().unwrap().iter().map(|c| &c["title"]).collect();
    assert_eq!(titles, ["Helper", "Branch"]);
}

#[tokio::test]
async fn a_server_without_sessions_says_so() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["developer"]).await;
    let problem = alice.get("/api/v1/sessions").await.problem("unavailable");
    assert_eq!(problem["detail"], "sessions are not set up on this server");
    alice.post("/api/v1/sessions", json!({})).await.problem("unavailable");
    t.client(&[]).get("/v1/health").await.expect(200)["uptime"].as_u64().unwrap();
}
