//! Answering questions: who may, in whose name, and how it looks in the inbox.

use axum::http::Method;
use reeve_platform::IdentityProvider;
use serde_json::json;

use crate::platform::{TestPlatform, without_chance};

#[tokio::test]
async fn a_question_holds_what_a_person_needs_to_decide() {
    let t = TestPlatform::new();
    let alice =
        t.user("alice", &["dba"]).await.and("x-purpose", "remediation").and("x-purpose-note", "it is stuck — gelöst?");
    let id = alice.ask_for_change(9).await;
    let shown = alice.get(&format!("/api/v1/approvals/{id}")).await.expect(200);
    insta::assert_json_snapshot!(without_chance(&shown));
    let listed = alice.get("/v1/approvals/pending").await.expect(200);
    assert_eq!(listed[0], shown);
    assert_eq!(alice.get("/api/v1/governance/approvals?status=pending&requested_by=alice").await.expect(200)[0], shown);
    assert_eq!(alice.get("/api/v1/approvals?status=denied").await.expect(200), json!([]));
}

#[tokio::test]
async fn nobody_decides_about_their_own_act() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba", "admin"]).await;
    let id = alice.ask_for_change(1).await;
    let answer = alice.post(&format!("/api/v1/approvals/{id}/approve"), json!({"approved_by": "bob"})).await;
    answer.problem("own_request");
    assert_eq!(alice.get(&format!("/api/v1/approvals/{id}")).await.expect(200)["status"], "pending");
}

#[tokio::test]
async fn the_proven_name_beats_the_claimed_one() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let id = alice.ask_for_change(1).await;
    let denied = bob
        .post(&format!("/api/v1/approvals/{id}/deny"), json!({"denied_by": "carol", "reason": "no"}))
        .await
        .expect(200);
    assert_eq!(denied["status"], "denied");
    assert_eq!(denied["votes"][0]["by"], "user:bob");
    assert_eq!(denied["resolution_reason"], "no");
    bob.post(&format!("/api/v1/approvals/{id}/approve"), json!({})).await.problem("conflict");
}

#[tokio::test]
async fn where_callers_are_taken_at_their_word_the_body_may_name_the_approver() {
    let t = TestPlatform::with(IdentityProvider::None);
    let (alice, anybody) = (t.client(&[("x-user", "alice")]), t.client(&[]));
    let id = alice.ask_for_change(1).await;
    let approved = anybody
        .post(
            &format!("/v1/approvals/{id}/approve"),
            json!({"approved_by": "bob", "reason": "ok", "valid_for_minutes": 5}),
        )
        .await;
    let approved = approved.expect(200);
    assert_eq!(
        (approved["status"].as_str(), approved["votes"][0]["by"].as_str()),
        (Some("approved"), Some("user:bob"))
    );
    let id = alice.ask_for_change(2).await;
    anybody.post(&format!("/v1/approvals/{id}/approve"), json!({"approved_by": "alice"})).await.problem("own_request");
}

#[tokio::test]
async fn an_answer_is_not_given_twice_under_one_key() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await.and("idempotency-key", "a"));
    let id = alice.ask_for_change(1).await;
    let first = bob.post(&format!("/api/v1/approvals/{id}/deny"), json!({"reason": "no"})).await.expect(200);
    let again = bob.post(&format!("/api/v1/approvals/{id}/deny"), json!({"reason": "no"})).await;
    assert_eq!(again.expect(200), first);
    assert_eq!(again.header("idempotent-replay"), "true");
}

#[tokio::test]
async fn whoever_asked_may_take_it_back_and_others_may_not() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let id = alice.ask_for_change(1).await;
    bob.post(&format!("/api/v1/approvals/{id}/cancel"), json!({})).await.problem("forbidden");
    let taken =
        alice.post(&format!("/api/v1/approvals/{id}/cancel"), json!({"reason": "not needed"})).await.expect(200);
    assert_eq!(taken["status"], "cancelled");
}

#[tokio::test]
async fn a_wait_ends_when_the_question_is_settled() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["dba"]).await);
    let id = alice.ask_for_change(1).await;
    assert_eq!(alice.get(&format!("/api/v1/approvals/{id}/wait?timeout=10ms")).await.expect(200)["status"], "pending");
    let waiting = {
        let (alice, id) = (alice.clone(), id.clone());
        tokio::spawn(async move { alice.get(&format!("/api/v1/approvals/{id}/wait?timeout=8s")).await })
    };
    bob.post(&format!("/api/v1/approvals/{id}/deny"), json!({})).await.expect(200);
    assert_eq!(waiting.await.unwrap().expect(200)["status"], "denied");
    alice.get(&format!("/api/v1/approvals/{id}/wait?timeout=soon")).await.problem("bad_request");
}

#[tokio::test]
async fn the_inbox_shows_and_settles_the_same_questions() {
    let t = TestPlatform::new();
    let (alice, bob) = (t.user("alice", &["dba"]).await, t.user("bob", &["fleet-approver"]).await);
    let id = alice.ask_for_change(1).await;
    let inbox = bob.get("/api/v1/decisions?type=approval&action_class=write").await.expect(200);
    assert_eq!(inbox["total"], 1);
    let url = inbox["decisions"][0]["resolve_url"].as_str().unwrap().to_owned();
    assert_eq!(inbox["decisions"][0]["summary"], "test_change (write) on database:orders");
    let settled = bob.post(&url, json!({"resolution": "denied", "reason": "no"})).await.expect(200);
    assert_eq!(settled["status"], "denied");
    assert_eq!(bob.get("/api/v1/decisions").await.expect(200)["total"], 0);
    assert_eq!(
        bob.get("/api/v1/decisions?status=denied").await.expect(200)["decisions"][0]["id"],
        format!("approval:{id}")
    );
    for (path, code) in [
        ("step:apr_1", "not_found"),
        ("fleet:apr_1", "not_found"),
        ("apr_1", "bad_request"),
        ("approval:act_1", "bad_request"),
    ] {
        bob.get(&format!("/api/v1/decisions/{path}")).await.problem(code);
    }
}

#[tokio::test]
async fn a_question_cannot_be_put_by_itself() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["admin"]).await;
    let answer = alice.post("/api/v1/approvals", json!({"action_class": "write", "requested_by": "x"})).await;
    answer.problem("method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let put =
        alice.send(alice.request(Method::PUT, "/api/v1/approvals").body(axum::body::Body::empty()).unwrap()).await;
    put.problem("method_not_allowed");
    assert!(put.header("allow").contains("GET"), "{put:?}");
}

#[tokio::test]
async fn questions_page_with_a_cursor() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let mut asked = Vec::new();
    for pid in 0..5 {
        asked.push(alice.ask_for_change(pid).await);
    }
    asked.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = alice.get(&format!("/api/v1/approvals?limit=2{cursor}")).await;
        seen.extend(
            answer.expect(200).as_array().unwrap().iter().map(|a| a["approval_id"].as_str().unwrap().to_owned()),
        );
        match answer.header("x-next-cursor") {
            "" => break,
            next => cursor = format!("&cursor={next}"),
        }
    }
    assert_eq!(seen, asked);
}
