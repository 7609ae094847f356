//! What holds for every answer: problems, headers, limits.

use axum::body::Body;
use axum::http::Method;
use reeve_platform::IdentityProvider;
use serde_json::json;

use crate::platform::{TestPlatform, without_chance};

#[tokio::test]
async fn every_failure_is_a_problem() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    alice.get("/nowhere").await.problem("not_found");
    let wrong = alice.delete("/api/v1/tools").await;
    wrong.problem("method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    let post = |kind: &str, body: Vec<u8>| {
        let request = alice.request(Method::POST, "/api/v1/query").header("content-type", kind);
        alice.send(request.body(Body::from(body)).unwrap())
    };
    post("text/plain", b"{}".to_vec()).await.problem("unsupported_media_type");
    post("application/json", vec![b' '; 1024 * 1024 + 1]).await.problem("too_large");
    let broken = post("application/json", b"{\"message\":\n 7}".to_vec()).await.problem("bad_request");
    let detail = broken["detail"].as_str().unwrap();
    assert!(detail.starts_with("the body cannot be read at line 2, column 2: invalid type"), "{detail}");
    post("application/json", b"{".to_vec()).await.problem("bad_request");
    alice.get("/api/v1/approvals?limit=many").await.problem("bad_request");
    let kind = alice.get("/api/v1/approvals/act_1").await.problem("bad_request");
    assert_eq!(kind["detail"], "`act_1` is not an approval id: such an id starts with `apr_`");
    alice.get("/api/v1/tools/%FF").await.problem("bad_request");
}

#[tokio::test]
async fn a_problem_looks_like_this() {
    let t = TestPlatform::new();
    let problem = t.client(&[]).get("/api/v1/tools").await.problem("unauthenticated");
    insta::assert_json_snapshot!(without_chance(&problem));
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await.and("x-trace-id", "t-1");
    for path in ["/api/v1/tools", "/nowhere"] {
        let answer = alice.get(path).await;
        assert!(answer.header("x-request-id").starts_with("req_"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-trace-id"), "t-1");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    }
    let bad = t.user("bob", &[]).await.and("x-trace-id", "no spaces allowed").get("/api/v1/tools").await;
    bad.problem("bad_request");
    assert_eq!(bad.header("x-trace-id"), "");
}

#[tokio::test]
async fn credentials_that_are_not_understood_are_refused() {
    let t = TestPlatform::new();
    for value in ["Basic YTpi", "Bearer", "Bearer ", "Bearer nonsense", "reeve_x"] {
        t.client(&[("authorization", value)]).get("/api/v1/tools").await.problem("unauthenticated");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_act_where_callers_are_taken_at_their_word() {
    let t = TestPlatform::with(IdentityProvider::None);
    let page = t.client(&[("host", "localhost:8080"), ("origin", "https://evil.example")]);
    page.post("/api/v1/tools/test_look/run", json!({})).await.problem("forbidden");
    t.client(&[("host", "rebound.example")]).get("/api/v1/tools").await.problem("forbidden");
    t.client(&[("host", "localhost:8080")]).get("/api/v1/tools").await.expect(200);
    assert_eq!(t.runs(), 0);
}

#[tokio::test]
async fn a_service_cannot_ask_for_somebody_whom_nobody_knows() {
    let t = TestPlatform::new();
    let bot =
        t.key(reeve_types::TenantId::default_tenant(), reeve_types::PrincipalKind::Service, "bot", &["dba"]).await;
    let problem = bot.and("x-user", "mallory").get("/api/v1/whoami").await.problem("forbidden");
    assert!(problem["detail"].as_str().unwrap().contains("`mallory`"));
}
