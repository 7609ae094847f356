//! Every way to act leaves a record: each registered tool, each route that changes something.

use reeve_testkit::postgres::PostgresServer;
use serde_json::{Map, Value, json};

use crate::server::{ASK, Home, Server};

fn events(server: &Server, query: &str) -> Vec<Value> {
    server.get(&format!("/api/v1/events?limit=1000&{query}")).expect(200).as_array().cloned().unwrap_or_default()
}

/// Arguments that fit a schema, as small as possible.
fn fitting(schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut arguments = Map::new();
    for name in required.iter().filter_map(Value::as_str) {
        let wanted = &schema["properties"][name];
        let value = match wanted["type"].as_str() {
            _ if wanted["enum"].is_array() => wanted["enum"][0].clone(),
            Some("integer" | "number") => json!(wanted["minimum"].as_i64().unwrap_or(1).max(1)),
            Some("boolean") => json!(false),
            Some("array") => json!([]),
            _ => match name {
                "table" => json!("public.t"),
                "namespace" => json!("default"),
                "pod_name" | "service_name" => json!("web"),
                "statement" | "query" => json!("select 1"),
                _ => json!("work_mem"),
            },
        };
        arguments.insert(name.to_owned(), value);
    }
    if schema["properties"].get("connection_string").is_some() {
        arguments.insert("connection_string".to_owned(), json!("shop"));
    }
    arguments
}

#[test]
fn every_tool_leaves_a_decision_whatever_becomes_of_the_call() {
    let postgres = PostgresServer::start();
    let inventory = json!({
        "db_servers": {"shop": {"connection_string": postgres.superuser_dsn(), "tags": ["production"]}},
        "k8s_clusters": {"home": {}},
    });
    let home = Home::new().with_file("REEVE_INVENTORY_FILE", "infrastructure.json", &inventory.to_string()).policy(ASK);
    let server = home.start();
    let tools = server.get("/api/v1/tools").expect(200);
    let tools = tools["tools"].as_array().expect("a list").clone();
    assert!(tools.len() >= 33, "the catalogue is whole: {}", tools.len());
    for tool in &tools {
        let name = tool["name"].as_str().expect("a name");
        let body = json!({"arguments": fitting(&tool["input_schema"]), "purpose": "diagnostic"});
        let reply = server.post(&format!("/api/v1/tools/{name}/run"), &body);
        assert!(matches!(reply.status, 200 | 202 | 422), "{name}: {} {}", reply.status, reply.text);
        let decided = events(&server, &format!("event_type=policy_decision&tool_name={name}"));
        assert!(!decided.is_empty(), "{name} acted without a decision on record");
        let ran = events(&server, &format!("event_type=tool_execution&tool_name={name}"));
        let class = tool["action_class"].as_str().expect("a class");
        match reply.status {
            202 => assert!(ran.is_empty() && class != "read", "{name} ran before anybody said yes"),
            _ => assert_eq!(ran.len(), 1, "{name} ran without a record of its outcome"),
        }
    }
}

#[test]
fn every_route_that_changes_something_needs_a_permission_and_says_which() {
    let home = Home::new();
    let server = home.start();
    let document = server.get_as(None, "/api/v1/openapi.json").expect(200);
    let nobody = server.user("nobody", &[]);
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let Some(permission) = operation.get("x-permission").and_then(Value::as_str) else {
                panic!("{method} {path} names no permission");
            };
            let concrete = path.replace("{id}", "apr_00000000000000000000000000").replace(['{', '}'], "");
            if permission == "public" {
                continue;
            }
            walked += 1;
            let body = (method != "get").then(|| json!({}));
            let anonymous = server.request(method, &concrete, None, body.as_ref());
            assert_eq!(anonymous.status, 401, "{method} {path} without credentials: {}", anonymous.text);
            if !matches!(permission, "look" | "ask" | "cancel") {
                let roleless = server.request(method, &concrete, Some(&nobody), body.as_ref());
                assert_eq!(roleless.status, 403, "{method} {path} without a role: {}", roleless.text);
            }
        }
    }
    assert!(walked > 30, "the document describes the API: {walked}");
}

#[test]
fn what_an_administrator_changes_is_on_record() {
    let home = Home::new();
    let server = home.start();
    server.service("robot", &["dba"]);
    let keys = server.get("/api/v1/keys").expect(200);
    let list = keys.as_array().cloned().or_else(|| keys["keys"].as_array().cloned()).expect("a list");
    let robot = list.iter().find(|key| key["principal"] == "robot").expect("the new key");
    let id = robot["key_id"].as_str().expect("an id");
    let revoked = server.request("delete", &format!("/api/v1/keys/{id}"), Some(server.token()), None);
    assert!(revoked.status < 300, "{}", revoked.text);
    let changes = events(&server, "event_type=identity_changed");
    assert!(changes.len() >= 3, "made the administrator's key, made a key, revoked it: {changes:?}");
}
