//! Every route, from the table and from the description: who is let in, who is not, and what a stranger sees.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;
use reeve_http::RouteEntry;
use reeve_platform::Permission;
use reeve_testkit::models::ScriptedModels;
use reeve_types::PrincipalKind;
use serde_json::Value;

use crate::platform::{Answer, Client, Setup, TestPlatform};

fn concrete(path: &str) -> String {
    // Ids that parse, but name nothing.
    let id = if path.contains("/approvals/") {
        "apr_00000000000000000000000000"
    } else if path.contains("/decisions/") {
        "approval:apr_00000000000000000000000000"
    } else if path.contains("/actions/") {
        "act_00000000000000000000000000"
    } else if path.contains("/sessions/") && !path.contains("/auth/") {
        "ses_00000000000000000000000000"
    } else if path.contains("/keys/") {
        "key_00000000000000000000000000"
    } else {
        "evt_00000000000000000000000000"
    };
    let path = &path
        .replace("{prompt_id}", "prm_00000000000000000000000000")
        .replace("{digest}", "0000000000000000000000000000000000000000000000000000000000000000")
        .replace("{token}", "shr_nothing");
    ["{id}", "{event_id}"].iter().fold(
        path.replace("{name}", "test_look").replace("{tool}", "test_look").replace("{code}", "conflict"),
        |path, p| path.replace(p, id),
    )
}

async fn call(client: &Client, route: &RouteEntry) -> Answer {
    let method: Method = route.method.parse().unwrap();
    let request = client.request(method, &concrete(&route.path)).header("content-type", "application/json");
    let body = if route.path.contains("/answer-links/") { r#"{"link": "nothing"}"# } else { "{}" };
    client.send(request.body(Body::from(body)).unwrap()).await
}

/// Signing in needs no credentials, but it does need something to sign in with.
fn is_way_in(route: &RouteEntry) -> bool {
    route.permission == Permission::Public && route.path.contains("/auth/")
}

fn is_stream(route: &RouteEntry) -> bool {
    route.path.ends_with("/stream") || route.path.ends_with("/events/sessions")
}

/// What a link opens, which is nothing without one.
fn is_shared(route: &RouteEntry) -> bool {
    route.path.contains("/shared/") || route.path.contains("/answer-links/")
}

/// A platform with everything there is.
fn whole() -> TestPlatform {
    TestPlatform::of(Setup { models: Some(ScriptedModels::new([])), ..Setup::default() })
}

#[tokio::test]
async fn nobody_comes_in_without_credentials_except_where_everybody_may() {
    let t = whole();
    let stranger = t.client(&[]);
    let wrong = t.client(&[("authorization", "Bearer reeve_00000000000000000000000000_wrong")]);
    for route in reeve_http::route_table() {
        for client in [&stranger, &wrong] {
            let answer = call(client, &route).await;
            if is_way_in(&route) {
                assert!(matches!(answer.status.as_u16(), 401 | 403), "{route:?}: {} {}", answer.status, answer.text);
                assert!(answer.headers.get("set-cookie").is_none(), "{route:?}");
            } else if is_shared(&route) {
                answer.problem("not_found");
            } else if route.permission == Permission::Public {
                assert!(answer.status.is_success(), "{route:?}: {}", answer.text);
            } else {
                answer.problem("unauthenticated");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{route:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_without_roles_may_look_and_ask_and_nothing_else() {
    let t = whole();
    let nobody = t.user("nobody", &[]).await;
    for route in reeve_http::route_table().into_iter().filter(|route| !is_stream(route) && !is_way_in(route)) {
        let answer = call(&nobody, &route).await;
        let free =
            [Permission::Public, Permission::Look, Permission::Ask, Permission::Cancel].contains(&route.permission);
        if free {
            assert_ne!(answer.status.as_u16(), 401, "{route:?}: {}", answer.text);
            assert_ne!(answer.status.as_u16(), 403, "{route:?}: {}", answer.text);
        } else {
            let problem = answer.problem("forbidden");
            assert_eq!(problem["permission"], route.permission.as_str(), "{route:?}");
        }
        assert!(!answer.status.is_server_error() || answer.status.as_u16() == 503, "{route:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn no_route_answers_an_administrator_with_a_fault() {
    let t = whole();
    let admin = t.user("root", &["admin"]).await;
    for route in reeve_http::route_table().into_iter().filter(|route| !is_stream(route)) {
        let answer = call(&admin, &route).await;
        assert!(answer.status.as_u16() != 500, "{route:?}: {}", answer.text);
        if !answer.status.is_success() && answer.status.as_u16() != 403 {
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            answer.problem(&code);
        }
    }
}

#[tokio::test]
async fn the_description_holds_every_route_of_the_api_with_its_permission() {
    let document: Value = serde_json::from_str(&reeve_http::openapi_document("0.1.0")).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let table = reeve_http::route_table();
    let mut described = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let route = table.iter().find(|r| r.path == *path && r.method.eq_ignore_ascii_case(method));
            let route = route.unwrap_or_else(|| panic!("{method} {path} is described and not served"));
            assert_eq!(operation["x-permission"], route.permission.as_str(), "{path}");
            assert!(
                operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                "{method} {path} has no summary"
            );
            assert!(operation["responses"]["default"].is_object(), "{method} {path} does not say that it may fail");
            assert!(
                names.insert(operation["operationId"].clone().to_string()),
                "{method} {path}: operationId is not unique"
            );
            described.insert((route.method.clone(), route.path.clone()));
        }
    }
    for route in table.iter().filter(|route| route.documented) {
        assert!(
            described.contains(&(route.method.clone(), route.path.clone())),
            "{route:?} is served and not described"
        );
    }
}

/// A route that changes its permission shows here.
#[test]
fn each_route_names_the_permission_that_it_was_given() {
    let mut lines: Vec<String> = reeve_http::route_table()
        .iter()
        .map(|route| {
            format!(
                "{:<6} {:<50} {}{}",
                route.method,
                route.path,
                route.permission.as_str(),
                if route.documented { "" } else { " (alias)" }
            )
        })
        .collect();
    lines.sort_by(|a, b| a[7..].cmp(&b[7..]));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let document: Value = serde_json::from_str(&reeve_http::openapi_document("0.1.0")).unwrap();
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| walk(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

/// `REEVE_UPDATE=1 cargo test -p reeve-http` writes it anew.
#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/reeve.json");
    let now = reeve_http::openapi_document(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("REEVE_UPDATE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == now, "openapi/reeve.json is stale: run REEVE_UPDATE=1 cargo test -p reeve-http");
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_not_there() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let approval = alice.ask_for_change(1).await;
    let action =
        alice.get(&format!("/api/v1/approvals/{approval}")).await.expect(200)["action_id"].as_str().unwrap().to_owned();
    let event = alice.get("/api/v1/events?limit=1").await.expect(200)[0]["event_id"].as_str().unwrap().to_owned();

    let other = t.key("other".parse().unwrap(), PrincipalKind::User, "eve", &["admin"]).await;
    for path in [
        format!("/api/v1/approvals/{approval}"),
        format!("/api/v1/approvals/{approval}/wait?timeout=1"),
        format!("/api/v1/decisions/approval:{approval}"),
        format!("/api/v1/actions/{action}"),
        format!("/api/v1/events/{event}"),
        format!("/api/v1/audit/proofs/{event}"),
        format!("/api/v1/governance/explain?event_id={event}"),
    ] {
        other.get(&path).await.problem("not_found");
    }
    for verb in ["approve", "deny", "cancel"] {
        other.post(&format!("/api/v1/approvals/{approval}/{verb}"), serde_json::json!({})).await.problem("not_found");
    }
    for path in ["/api/v1/approvals", "/api/v1/events", "/api/v1/journeys", "/api/v1/actions"] {
        assert_eq!(other.get(path).await.expect(200), serde_json::json!([]), "{path}");
    }
    assert_eq!(t.runs(), 0);
}

#[tokio::test]
async fn refusals_are_recorded() {
    let t = TestPlatform::new();
    let nobody = t.user("nobody", &[]).await;
    nobody.get("/api/v1/keys").await.problem("forbidden");
    t.client(&[]).get("/api/v1/tools").await.problem("unauthenticated");
    let records = nobody.get("/api/v1/events?event_type=access_denied").await.expect(200);
    assert_eq!(records.as_array().unwrap().len(), 2);
    assert_eq!(records[1]["principal"]["id"], "nobody");
    assert_eq!(records[1]["note"], "GET /api/v1/keys: user:nobody may not do this: it needs the role admin");
    assert!(records[0]["principal"].is_null());
}
