//! Several tenants on one installation: made by its operator, and blind to each other.

use reeve_platform::workspaces::WorkspacesOptions;
use reeve_testkit::models::ScriptedModels;
use reeve_types::PrincipalKind;
use serde_json::{Value, json};

use crate::platform::{Client, Setup, TestPlatform};
use crate::workspaces::Yard;

const TENANTS: &str = "/api/v1/tenants";

async fn made(t: &TestPlatform, operator: &Client, name: &str) -> Client {
    let made = operator.post(TENANTS, json!({"name": name})).await.expect(201);
    t.client(&[("authorization", &format!("Bearer {}", made["key"].as_str().unwrap()))])
}

#[tokio::test]
async fn only_an_administrator_of_the_first_tenant_makes_tenants() {
    let t = TestPlatform::new();
    let operator = t.user("root", &["admin"]).await;
    let acme = made(&t, &operator, "acme").await;
    let who = acme.get("/api/v1/whoami").await.expect(200);
    assert_eq!(
        (&who["tenant"], &who["label"], &who["roles"]),
        (&json!("acme"), &json!("user:admin"), &json!(["admin"]))
    );
    assert!(!who["permissions"].as_array().unwrap().contains(&json!("operate")), "{who}");

    for client in [acme, t.user("dora", &["dba", "sre"]).await] {
        for refused in [client.post(TENANTS, json!({"name": "mine"})).await, client.get(TENANTS).await] {
            assert_eq!(refused.problem("forbidden")["permission"], "operate");
        }
    }
    let list = operator.get(TENANTS).await.expect(200);
    let names: Vec<&Value> = list["tenants"].as_array().unwrap().iter().map(|tenant| &tenant["name"]).collect();
    assert_eq!(names, ["default", "acme"]);
    assert_eq!(list["tenants"][1]["made_by"], "user:root");
}

#[tokio::test]
async fn a_name_is_given_once_and_the_key_is_shown_once() {
    let t = TestPlatform::new();
    let operator = t.user("root", &["admin"]).await;
    let once = operator.and("idempotency-key", "one");
    let first = once.post(TENANTS, json!({"name": "acme"})).await.expect(201);
    let again = once.post(TENANTS, json!({"name": "acme"})).await.expect(201);
    assert_eq!((&again["key"], &again["key_id"]), (&Value::Null, &first["key_id"]));
    for (name, code) in [("acme", "conflict"), ("default", "conflict"), ("Acme", "bad_request"), ("", "bad_request")] {
        operator.post(TENANTS, json!({"name": name})).await.problem(code);
    }
    let records = operator.get("/api/v1/events?event_type=identity_changed").await.expect(200);
    let notes: Vec<&str> = records.as_array().unwrap().iter().filter_map(|event| event["note"].as_str()).collect();
    let said = format!(
        "the tenant acme was made, with the key {} for its first administrator",
        first["key_id"].as_str().unwrap()
    );
    assert_eq!(notes.iter().filter(|note| **note == said).count(), 1, "{notes:?}");
    assert!(!records.to_string().contains(first["key"].as_str().unwrap()), "no record holds the key");

    let acme = t.client(&[("authorization", &format!("Bearer {}", first["key"].as_str().unwrap()))]);
    let own = acme.get("/api/v1/events").await.expect(200);
    assert_eq!(
        (own.as_array().unwrap().len(), &own[0]["note"]),
        (1, &json!(said)),
        "the tenant's own log begins with it"
    );
}

#[tokio::test]
async fn a_new_tenant_makes_its_own_people_and_has_nothing_of_the_first() {
    let t = TestPlatform::new();
    let operator = t.user("root", &["admin"]).await;
    let acme = made(&t, &operator, "acme").await;
    let key = acme.post("/api/v1/keys", json!({"principal": "dora", "roles": ["dba"]})).await.expect(201);
    let dora = t.client(&[("authorization", &format!("Bearer {}", key["key"].as_str().unwrap()))]);
    assert_eq!(dora.get("/api/v1/whoami").await.expect(200)["tenant"], "acme");
    acme.post("/api/v1/accounts", json!({"email": "eve@acme.example", "roles": ["developer"]})).await.expect(201);
    let ids = |users: &Value| users.as_array().unwrap().iter().map(|user| user["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&acme.get("/api/v1/users").await.expect(200)), ["admin", "dora", "eve@acme.example"]);
    assert!(!ids(&operator.get("/api/v1/users").await.expect(200)).contains(&json!("dora")));

    assert_eq!(dora.get("/api/v1/databases").await.expect(200)["count"], 0);
    assert_eq!(dora.get("/api/v1/infrastructure").await.expect(200)["db_servers"], json!({}));
    for target in ["orders", "host=db1 dbname=orders"] {
        let body = json!({"arguments": {"connection_string": target}});
        dora.post("/api/v1/tools/test_look/run", body).await.problem("unknown_target");
    }
    let asked = dora.post("/api/v1/query", json!({"message": "which databases do you know?"})).await.expect(200);
    assert!(!asked.to_string().contains("orders"), "{asked}");
    let check = json!({"resource_type": "database", "resource_name": "orders", "action": "read"});
    let checked = dora.post("/api/v1/governance/check", check).await;
    assert!(!checked.text.contains("production"), "tags of another tenant's database: {}", checked.text);
    assert_eq!(t.runs(), 0);

    for shared in [
        acme.get("/api/v1/config").await,
        acme.post("/api/v1/policy/reload", json!({})).await,
        acme.post("/api/v1/accounts/signing-secret", json!({})).await,
        acme.post("/api/v1/backups", json!({})).await,
    ] {
        shared.problem("forbidden");
    }
}

#[tokio::test]
async fn two_tenants_do_not_see_each_others_sessions_and_approvals() {
    let t = TestPlatform::of(Setup { models: Some(ScriptedModels::new([])), ..Setup::default() });
    let operator = t.user("root", &["admin"]).await;
    let (one, other) = (made(&t, &operator, "one").await, made(&t, &operator, "other").await);
    let session = one.post("/api/v1/sessions", json!({"title": "ours"})).await.expect(201);
    let id = session["id"].as_str().unwrap();
    assert_eq!(session["tenant"], "one");
    // A question to people that waits, of the first tenant.
    let alice = t.key("default".parse().unwrap(), PrincipalKind::User, "alice", &["dba"]).await;
    let approval = alice.ask_for_change(1).await;
    for stranger in [&other, &operator] {
        stranger.get(&format!("/api/v1/sessions/{id}")).await.problem("not_found");
        stranger.get(&format!("/api/v1/sessions/{id}/events")).await.problem("not_found");
        stranger.post(&format!("/api/v1/sessions/{id}/prompts"), json!({"text": "hello"})).await.problem("not_found");
        stranger.delete(&format!("/api/v1/sessions/{id}")).await.problem("not_found");
        assert_eq!(stranger.get("/api/v1/sessions").await.expect(200)["sessions"], json!([]));
    }
    for stranger in [&one, &other] {
        stranger.get(&format!("/api/v1/approvals/{approval}")).await.problem("not_found");
        stranger.post(&format!("/api/v1/approvals/{approval}/approve"), json!({})).await.problem("not_found");
        assert_eq!(stranger.get("/api/v1/approvals").await.expect(200), json!([]));
    }
    assert_eq!(one.get("/api/v1/sessions").await.expect(200)["sessions"][0]["id"], id);
}

/// What becomes of directories is the drivers' tests' matter: here none is mounted.
async fn yard(host_directories: bool) -> Yard {
    let setup = Setup { models: Some(ScriptedModels::new([])), ..Setup::default() };
    Yard::with(setup, WorkspacesOptions { host_directories, ..WorkspacesOptions::default() }).await
}

#[tokio::test]
async fn a_session_that_names_a_directory_works_in_ones_own_workspace_on_it() {
    let yard = yard(true).await;
    let (alice, bob) = (yard.developer("alice").await, yard.developer("bob").await);
    let begun = |path: &'static str| json!({"agent": "coder", "title": "here", "workDir": path});
    let first = alice.post("/api/v1/sessions", begun("/srv/shop")).await.expect(201);
    let workspace =
        alice.get(&format!("/api/v1/workspaces/{}", first["workspace_id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&workspace["directory"], &workspace["name"]), (&json!("/srv/shop"), &json!("shop")));
    let again = alice.post("/api/v1/sessions", begun("/srv//shop/./")).await.expect(201);
    assert_eq!(again["workspace_id"], first["workspace_id"], "the same directory, the same workspace");
    let elsewhere = alice.post("/api/v1/sessions", begun("/srv/other")).await.expect(201);
    assert_ne!(elsewhere["workspace_id"], first["workspace_id"]);
    let bobs = bob.post("/api/v1/sessions", begun("/srv/shop")).await.expect(201);
    assert_ne!(bobs["workspace_id"], first["workspace_id"], "nobody works in somebody else's workspace");

    for path in ["srv/shop", "/srv/../etc"] {
        alice.post("/api/v1/sessions", begun(path)).await.problem("bad_request");
    }
    let mut both = begun("/srv/shop");
    both["workspace_id"] = first["workspace_id"].clone();
    alice.post("/api/v1/sessions", both).await.problem("bad_request");
}

#[tokio::test]
async fn what_is_the_hosts_is_not_copied_and_not_taken_where_it_is_off() {
    let yard = yard(true).await;
    let alice = yard.developer("alice").await;
    let made = alice.post("/api/v1/workspaces", json!({"name": "here", "directory": "/srv/shop"})).await.expect(201);
    let place = format!("/api/v1/workspaces/{}", made["id"].as_str().unwrap());
    for (below, body) in [("snapshots", json!({"name": "one"})), ("fork", json!({"name": "two"}))] {
        let refused = alice.post(&format!("{place}/{below}"), body).await.problem("invalid_arguments");
        assert!(refused["detail"].as_str().unwrap().contains("copy them there"), "{refused}");
    }
    let off = self::yard(false).await;
    let alice = off.developer("alice").await;
    for (path, body) in [
        ("/api/v1/workspaces", json!({"name": "here", "directory": "/srv/shop"})),
        ("/api/v1/sessions", json!({"agent": "coder", "workDir": "/srv/shop"})),
    ] {
        let refused = alice.post(path, body).await.problem("forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("workspaces.host_directories"), "{refused}");
    }
}
