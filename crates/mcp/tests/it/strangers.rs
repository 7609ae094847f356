//! Whoever may not, does not: no key, no role, another tenant, another user, a page of another site.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, modern};

const BEGIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

async fn post(house: &House, headers: &[(&str, &str)], body: &str) -> (StatusCode, Value) {
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(house.url());
    let request = request.header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap_or(Value::Null))
}

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

#[tokio::test]
async fn nobody_speaks_without_a_key_or_from_a_page_of_another_site() {
    let house = House::new([]).await;
    let key = format!("Bearer {}", house.key("default", "alice", &["dba"]).await);
    let auth = ("authorization", key.as_str());
    assert_eq!(post(&house, &[BOTH], BEGIN).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&house, &[BOTH, ("authorization", "Bearer reeve_x")], BEGIN).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&house, &[BOTH, auth], BEGIN).await.0, StatusCode::OK);
    for origin in ["https://evil.example", "null"] {
        assert_eq!(post(&house, &[BOTH, auth, ("origin", origin)], BEGIN).await.0, StatusCode::FORBIDDEN, "{origin}");
    }
    let rebound = [BOTH, auth, ("origin", "http://evil.example"), ("host", "evil.example")];
    assert_eq!(post(&house, &rebound, BEGIN).await.0, StatusCode::FORBIDDEN);
    let own = format!("http://{}", house.address);
    assert_eq!(post(&house, &[BOTH, auth, ("origin", &own)], BEGIN).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_message_is_answered_as_the_protocol_has_it() {
    let house = House::new([]).await;
    let key = format!("Bearer {}", house.key("default", "alice", &["dba"]).await);
    let auth = ("authorization", key.as_str());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, code) in
        [("{", -32700), ("{\"a\":", -32700), (&deep, -32600), ("{\"x\":1}", -32600), ("[]", -32600), ("7", -32600)]
    {
        let (status, answer) = post(&house, &[BOTH, auth], body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{answer}");
    }
    let (status, answer) = post(&house, &[("accept", "application/json"), auth], BEGIN).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_ACCEPTABLE, &json!(-32600)));
    let large = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}",
        "x".repeat(9 << 20)
    );
    assert_eq!(post(&house, &[BOTH, auth], &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let unknown = r#"{"jsonrpc":"2.0","id":"a","method":"tools/steal"}"#;
    let (_, answer) = post(&house, &[BOTH, auth], unknown).await;
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32601), &json!("a")));
}

#[tokio::test]
async fn without_a_role_there_are_few_tools_and_the_rest_is_forbidden() {
    let house = House::new([]).await;
    let nobody = house.user("nobody", &[]).await;
    assert_eq!(nobody.tools().await, ["get_action", "server_health", "wait_for_action"]);
    assert!(nobody.0.list_all_resources().await.unwrap().iter().all(|resource| resource.uri.ends_with("health")));
    for (tool, arguments) in [
        ("test_look", json!({"connection_string": "db"})),
        ("list_sessions", json!({})),
        ("create_session", json!({"agent": "database"})),
        ("kill_session", json!({"sessionId": "ses_00000000000000000000000000"})),
    ] {
        let refused = nobody.refused(tool, arguments).await;
        assert_eq!(refused["code"], "FORBIDDEN", "{tool}: {refused}");
    }
    assert_eq!(house.runs(), 0);
    let developer = house.user("dev", &["developer"]).await;
    assert_eq!(developer.refused("test_look", json!({"connection_string": "db"})).await["code"], "FORBIDDEN");
    let denied = house.user("alice", &["dba"]).await.refused("test_destroy", json!({"connection_string": "db"})).await;
    assert_eq!((&denied["code"], &denied["problem"]), (&json!("FORBIDDEN"), &json!("policy_denied")));
    assert_eq!(house.runs(), 0);
}

#[tokio::test]
async fn sessions_and_acts_of_others_are_not_there() {
    let house = House::new([]).await;
    let alice = house.user("alice", &["dba"]).await;
    let session = alice.data("create_session", json!({"agent": "database", "name": "Mine"})).await["id"].clone();
    let act = alice.data("test_change", json!({"connection_string": "db"})).await["action_id"].clone();
    let other_tenant = house.key("acme", "alice", &["admin", "dba"]).await;
    let strangers = [house.client(&other_tenant, modern()).await, house.user("mallory", &["dba", "developer"]).await];
    for (at, stranger) in strangers.iter().enumerate() {
        for tool in [
            "get_status",
            "get_transcript",
            "get_session_summary",
            "get_session_metrics",
            "acp_get_events",
            "approve_permission",
            "reject_permission",
            "escape_session",
            "interrupt_session",
            "acp_cancel_session",
            "acp_resume_session",
            "kill_session",
        ] {
            let refused = stranger.refused(tool, json!({"sessionId": session})).await;
            assert_eq!(refused["code"], "INVALID_SESSION_ID", "{tool}: {refused}");
        }
        for tool in ["send_message", "acp_send_prompt"] {
            let refused = stranger.refused(tool, json!({"sessionId": session, "text": "x"})).await;
            assert_eq!(refused["code"], "INVALID_SESSION_ID", "{tool}: {refused}");
        }
        let refused = stranger.refused("acp_respond_approval", json!({"sessionId": session, "approved": true})).await;
        assert_eq!(refused["code"], "INVALID_SESSION_ID");
        assert_eq!(stranger.data("list_sessions", json!({})).await["sessions"], json!([]));
        let uri = format!("aegis://sessions/{}/transcript", session.as_str().unwrap());
        assert!(stranger.0.read_resource(rmcp::model::ReadResourceRequestParams::new(uri)).await.is_err());
        if at == 0 {
            let refused = stranger.refused("get_action", json!({"action_id": act})).await;
            assert_eq!(refused["problem"], "not_found");
        }
    }
    let not_an_id = alice.refused("get_status", json!({"sessionId": "ses_nonsense"})).await;
    assert_eq!(not_an_id["code"], "INVALID_SESSION_ID");
}
