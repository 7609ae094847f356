//! Whoever may not see a session is told on every route that there is none.

use axum::body::Body;
use axum::http::Method;
use reeve_http::RouteEntry;
use reeve_platform::Permission;
use reeve_types::PrincipalKind;
use serde_json::{Value, json};

use super::{Room, at, begin, events_until, says};
use crate::platform::{Answer, Client};

/// A body that each route can read.
fn body_for(path: &str) -> Value {
    match path.rsplit('/').next() {
        Some("prompts" | "send" | "input") => json!({"text": "hello"}),
        Some("command") => json!({"command": "/compact"}),
        Some("replay") => json!({"since": 0}),
        Some("spawn") => json!({"agent": "general"}),
        _ => json!({}),
    }
}

fn path_of(route: &RouteEntry, id: &str) -> String {
    let path = route
        .path
        .replace("{id}", id)
        .replace("{prompt_id}", "prm_00000000000000000000000000")
        .replace("{digest}", &"0".repeat(64));
    if path.ends_with("/grants") { format!("{path}?tool=test_look") } else { path }
}

async fn call(client: &Client, route: &RouteEntry, id: &str, accept: &str) -> Answer {
    let method: Method = route.method.parse().unwrap();
    let body = match method {
        Method::GET => Body::empty(),
        _ => Body::from(body_for(&route.path).to_string()),
    };
    let request = client.request(method, &path_of(route, id)).header("content-type", "application/json");
    client.send(request.header("accept", accept).body(body).unwrap()).await
}

#[tokio::test]
async fn anothers_session_is_not_there_on_any_route() {
    let room = Room::with([says("done")]);
    let (alice, bob) = (room.developer("alice").await, room.developer("bob").await);
    let other = "other".parse().unwrap();
    let eve = room.t.key(other, PrincipalKind::User, "alice", &["admin"]).await;
    let id = begin(&alice, json!({"agent": "general", "prompt": "mine"})).await;
    let before = events_until(&alice, &id, "turn_ended").await;
    let table: Vec<RouteEntry> = reeve_http::route_table()
        .into_iter()
        .filter(|route| route.permission == Permission::UseSessions && route.path.contains("{id}"))
        .collect();
    assert!(table.len() > 60, "{}", table.len());
    for route in &table {
        for (who, client) in [("a neighbour", &bob), ("another tenant", &eve)] {
            for accept in ["application/json", "text/event-stream"] {
                let answer = call(client, route, &id, accept).await;
                assert_eq!(answer.status.as_u16(), 404, "{who}: {route:?}: {}", answer.text);
                let problem = answer.problem("not_found");
                // Nothing tells it from a session that never was.
                let nothing = call(client, route, "ses_00000000000000000000000000", accept).await.problem("not_found");
                let words = |problem: &Value, id: &str| problem["detail"].as_str().unwrap().replace(id, "ID");
                assert_eq!(words(&problem, &id), words(&nothing, "ses_00000000000000000000000000"), "{route:?}");
            }
        }
    }
    assert_eq!(alice.get(&at(&id, "/events")).await.expect(200)["events"].as_array().unwrap(), &before);
    for client in [&bob, &eve] {
        assert_eq!(client.get("/api/v1/sessions").await.expect(200)["sessions"], json!([]));
        assert_eq!(client.get(&format!("/api/v1/sessions?parent={id}")).await.expect(200)["sessions"], json!([]));
        assert_eq!(client.get("/api/v1/sessions/stats").await.expect(200)["total"], 0);
        assert_eq!(client.get("/api/v1/sessions/health").await.expect(200), json!({}));
        assert_eq!(client.get("/api/v1/sessions/history").await.expect(200)["records"], json!([]));
        client.post("/api/v1/sessions", json!({"agent": "general", "parent": id})).await.problem("not_found");
    }
}

#[tokio::test]
async fn a_role_that_has_no_sessions_is_refused_everywhere() {
    let room = Room::with([]);
    let nobody = room.t.user("nobody", &["auditor"]).await;
    for path in ["/api/v1/sessions", "/api/v1/agents/definitions", "/api/v1/sessions/stats", "/api/v1/events/sessions"]
    {
        assert_eq!(nobody.get(path).await.problem("forbidden")["permission"], "use_sessions", "{path}");
    }
    nobody.post("/api/v1/auth/sse-token", json!({})).await.problem("forbidden");
}
