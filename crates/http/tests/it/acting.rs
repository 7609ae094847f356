//! Asking for acts: what comes back, what is refused and how, and what is not done twice.

use reeve_store::Claim;
use reeve_types::{Digest, TenantId};
use serde_json::json;

use crate::platform::TestPlatform;

#[tokio::test]
async fn a_read_runs_and_names_its_record() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await.and("x-trace-id", "my-trace.1").and("x-purpose", "diagnostic");
    let answer = alice.post("/api/v1/tools/test_look/run", json!({"arguments": {"connection_string": "orders"}})).await;
    let body = answer.expect(200);
    assert_eq!(body["state"], "completed");
    assert_eq!(body["agent"], "database");
    assert_eq!(body["text"], "test_look looked at orders");
    assert_eq!(body["output"], body["text"]);
    assert_eq!(body["data"]["rows"], 3);
    assert_eq!(body["trace_id"], "my-trace.1");
    assert_eq!(answer.header("x-trace-id"), "my-trace.1");
    let record = alice.get(&format!("/api/v1/events/{}", body["event_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(record["event_type"], "tool_execution");
    assert_eq!(record["purpose"], "diagnostic");
    assert_eq!(record["event_hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn the_guides_body_runs_the_same_tool() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["sre"]).await;
    let plain = alice.post("/api/v1/db/test_look", json!({"connection_string": "orders"})).await;
    assert_eq!(plain.expect(200)["text"], "test_look looked at orders");
    assert!(plain.header("x-trace-id").starts_with("dt_"));
    let wrapped = alice
        .post("/v1/db/test_look", json!({"args": {"connection_string": "billing"}, "purpose": "maintenance"}))
        .await;
    assert_eq!(wrapped.expect(200)["text"], "test_look looked at billing");
    alice.post("/api/v1/db/test_lock", json!({})).await.problem("not_found");
}

#[tokio::test]
async fn a_denied_act_says_why_and_what_was_recorded() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let answer =
        alice.post("/api/v1/tools/test_destroy/run", json!({"arguments": {"connection_string": "orders"}})).await;
    let problem = answer.problem("policy_denied");
    assert_eq!(problem["detail"], "denied by policy `reads-are-free`: nothing is destroyed here");
    assert!(problem["explanation"].as_str().unwrap().contains("reads-are-free"));
    assert_eq!(problem["decision"]["effect"], "deny");
    let id = problem["event_id"].as_str().unwrap();
    let why = alice.get(&format!("/api/v1/governance/explain?event_id={id}")).await.expect(200);
    assert_eq!(why["decision"]["effect"], "deny");
    assert_eq!(why["replayed_with"], "same policies");
    assert_eq!(t.runs(), 0);
}

#[tokio::test]
async fn what_cannot_be_begun_says_what_to_do() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let run = |tool: &str, body: serde_json::Value| {
        let (alice, path) = (alice.clone(), format!("/api/v1/tools/{tool}/run"));
        async move { alice.post(&path, body).await }
    };
    let unknown = run("test_lock", json!({})).await;
    assert_eq!(unknown.problem("not_found")["similar"], "test_look");
    let wrong = run("test_look", json!({"arguments": {"connection_string": "orders", "pid": "seven"}})).await;
    assert!(wrong.problem("invalid_arguments")["reasons"][0].as_str().unwrap().starts_with("pid: "));
    let target = run("test_look", json!({"arguments": {"connection_string": "host=x password=hunter2"}})).await;
    let problem = target.problem("unknown_target");
    assert!(!target.text.contains("hunter2"));
    assert_eq!(problem["known"], json!(["billing", "orders"]));
    let purpose = run("test_look", json!({"arguments": {}, "purpose": "curiosity"})).await;
    assert!(purpose.problem("bad_request")["detail"].as_str().unwrap().contains("`curiosity` is not a purpose"));
    let header = alice.and("x-purpose", "fun").post("/api/v1/tools/test_look/run", json!({})).await;
    header.problem("bad_request");
    let key = run("test_look", json!({"argument": {}})).await;
    assert!(key.problem("bad_request")["detail"].as_str().unwrap().contains("unknown field `argument`"));
}

#[tokio::test]
async fn a_tool_that_fails_is_422_with_its_report() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let body = json!({"arguments": {"connection_string": "orders", "fail": true}});
    let problem = alice.post("/api/v1/tools/test_look/run", body).await.problem("tool_failed");
    assert_eq!(problem["report"], "the whole report of the failure");
    assert_eq!(problem["failure"], "failed");
    assert!(problem["action_id"].as_str().unwrap().starts_with("act_"));
}

#[tokio::test]
async fn a_write_waits_for_people_and_its_result_is_collected() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let body = json!({"arguments": {"connection_string": "orders", "pid": 7}});
    let asked = alice.post("/api/v1/tools/test_change/run", body.clone()).await.expect(202);
    assert_eq!(asked["state"], "awaiting_approval");
    assert_eq!(asked["joined"], false);
    let id = asked["approval_id"].as_str().unwrap();
    assert!(asked["message"].as_str().unwrap().contains(&format!("reeve approvals approve {id}")));
    let again = alice.post("/api/v1/tools/test_change/run", body.clone()).await.expect(202);
    assert_eq!((again["approval_id"].as_str().unwrap(), &again["joined"]), (id, &json!(true)));
    assert_eq!(t.runs(), 0);

    bob.post(&format!("/api/v1/approvals/{id}/approve"), json!({"reason": "fine"})).await.expect(200);
    let action = asked["action_id"].as_str().unwrap();
    let done = loop {
        let action = bob.get(&format!("/api/v1/actions/{action}")).await.expect(200);
        if !["approved", "running"].contains(&action["state"].as_str().unwrap()) {
            break action;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(done["state"], "succeeded");
    assert_eq!(done["result"]["output"], "test_change looked at orders");
    assert_eq!(alice.post("/api/v1/tools/test_change/run", body.clone()).await.expect(200)["action_id"], action);
    assert_eq!(t.runs(), 1);
    let anew = alice.post("/api/v1/tools/test_change/run", body).await.expect(202);
    assert_ne!(anew["action_id"], action, "a result is collected once; after that it is another act");
}

#[tokio::test]
async fn a_requester_who_has_read_the_result_asks_for_another_act() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let body = json!({"arguments": {"connection_string": "orders", "pid": 7}});
    let asked = alice.post("/api/v1/tools/test_change/run", body.clone()).await.expect(202);
    let (id, action) = (asked["approval_id"].as_str().unwrap(), asked["action_id"].as_str().unwrap());
    bob.post(&format!("/api/v1/approvals/{id}/approve"), json!({"reason": "fine"})).await.expect(200);
    while alice.get(&format!("/api/v1/actions/{action}")).await.expect(200)["state"] != "succeeded" {
        tokio::task::yield_now().await;
    }
    let anew = alice.post("/api/v1/tools/test_change/run", body).await.expect(202);
    assert_ne!(anew["action_id"], action);
}

#[tokio::test]
async fn the_result_of_an_act_is_for_whoever_asked_for_it() {
    let t = TestPlatform::new();
    let (alice, nosy) = (t.user("alice", &["dba"]).await, t.user("nosy", &["developer"]).await);
    let (bob, id) = (t.user("bob", &["dba"]).await, alice.ask_for_change(3).await);
    let action =
        bob.get(&format!("/api/v1/approvals/{id}")).await.expect(200)["action_id"].as_str().unwrap().to_owned();
    bob.post(&format!("/api/v1/approvals/{id}/approve"), json!({})).await.expect(200);
    loop {
        let seen = nosy.get(&format!("/api/v1/actions/{action}")).await.expect(200);
        assert!(seen["result"].is_null(), "{seen}");
        if seen["state"] == "succeeded" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_same_idempotency_key_is_answered_once() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await.and("idempotency-key", "k1");
    let body = json!({"arguments": {"connection_string": "orders"}});
    let first = alice.post("/api/v1/tools/test_look/run", body.clone()).await;
    let second = alice.post("/api/v1/tools/test_look/run", body).await;
    assert_eq!(first.expect(200), second.expect(200));
    assert_eq!(second.header("idempotent-replay"), "true");
    assert_eq!(t.runs(), 1);
    let other = alice.post("/api/v1/tools/test_look/run", json!({"arguments": {"connection_string": "billing"}})).await;
    other.problem("idempotency_mismatch");
    // A key belongs to whoever sent it.
    let bob = t.user("bob", &["dba"]).await.and("idempotency-key", "k1");
    bob.post("/api/v1/tools/test_look/run", json!({"arguments": {"connection_string": "billing"}})).await.expect(200);
    assert_eq!(t.runs(), 2);
}

#[tokio::test]
async fn a_failure_is_replayed_as_the_same_problem() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await.and("idempotency-key", "k2");
    let body = json!({"arguments": {"connection_string": "orders", "fail": true}});
    let first = alice.post("/api/v1/tools/test_look/run", body.clone()).await.expect(422);
    let again = alice.post("/api/v1/tools/test_look/run", body).await;
    assert_eq!(again.header("content-type"), "application/problem+json");
    assert_eq!(again.expect(422), first);
    assert_eq!(t.runs(), 1);
}

#[tokio::test]
async fn a_dry_run_of_a_tool_without_one_asks_policy_only() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let body = json!({"arguments": {"connection_string": "orders"}, "dry_run": true});
    let answer = alice.post("/api/v1/tools/test_change/run", body).await.expect(200);
    assert_eq!(answer["state"], "dry_run");
    assert_eq!(answer["decision"]["effect"], "require_approval");
    assert_eq!(t.runs(), 0);
    assert_eq!(alice.get("/api/v1/approvals").await.expect(200), json!([]));
}

#[tokio::test]
async fn the_server_without_the_tool_says_that_it_cannot_diagnose() {
    let t = TestPlatform::new();
    t.user("alice", &[]).await.post("/api/v1/diagnose", json!({"target": "orders"})).await.problem("unavailable");
}

#[tokio::test]
async fn a_request_that_was_cut_off_says_where_to_look() {
    let t = TestPlatform::new();
    let body = json!({"arguments": {"connection_string": "orders"}});
    let digest = Digest::of_value(&json!(["run", "test_look", body])).unwrap().to_string();
    let now = t.platform.clock().now();
    let (tenant, who) = (TenantId::default_tenant(), "user:alice|user:alice");
    let claimed = t.platform.store().claim(&tenant, who, "k", digest, now).await.unwrap();
    assert_eq!(claimed, Claim::Fresh);
    let alice = t.user("alice", &["dba"]).await.and("idempotency-key", "k");
    let answer = alice.post("/api/v1/tools/test_look/run", body).await;
    assert!(answer.problem("conflict")["detail"].as_str().unwrap().contains("/api/v1/actions"));
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(t.runs(), 0);
}

#[tokio::test]
async fn the_purpose_of_the_header_beats_that_of_the_body() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let body = json!({"arguments": {"connection_string": "orders"}, "purpose": "maintenance", "purpose_note": "body"});
    for (client, purpose, note) in [
        (alice.and("x-purpose", "emergency").and("x-purpose-note", "header"), "emergency", "header"),
        (alice, "maintenance", "body"),
    ] {
        let id = client.post("/api/v1/tools/test_look/run", body.clone()).await.expect(200)["event_id"].clone();
        let record = client.get(&format!("/api/v1/events/{}", id.as_str().unwrap())).await.expect(200);
        assert_eq!((&record["purpose"], &record["purpose_note"]), (&json!(purpose), &json!(note)));
    }
}
