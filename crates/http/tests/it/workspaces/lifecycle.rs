//! Making workspaces, and the states they go through.

use std::time::Duration;

use reeve_platform::workspaces::{NewWorkspace, Quota, WorkspacesOptions};
use serde_json::{Value, json};

use super::Yard;
use crate::platform::{Client, Setup, TestPlatform};
use crate::unconfined::SOON;

#[tokio::test]
async fn a_workspace_is_made_listed_changed_rested_deleted_and_taken_back() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await;
    let body = json!({"name": "My site", "template": "python", "description": "a shop", "tags": ["shop"], "limits": {"pids": 64}});
    let made = alice.post("/api/v1/workspaces", body).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("wsp_"));
    assert_eq!(
        (&made["state"], &made["owner"], &made["template"]),
        (&json!("running"), &json!("alice"), &json!("python"))
    );
    assert_eq!((&made["limits"]["pids"], &made["tags"]), (&json!(64), &json!(["shop"])));
    assert_eq!(made["isolation"]["tier"], "unconfined");
    assert!(made["suspends_at"].is_string() && made["created_at"].is_string());

    let second = alice.post("/api/v1/workspaces", json!({"name": "two", "start": false})).await.expect(201);
    assert_eq!((&second["state"], &second["template"]), (&json!("stopped"), &json!("base")));
    let list = alice.get("/api/v1/workspaces").await.expect(200);
    let names: Vec<_> = list["workspaces"].as_array().unwrap().iter().map(|seen| seen["name"].clone()).collect();
    assert_eq!(names, ["two", "My site"]);
    let page = alice.get("/api/v1/workspaces?limit=1").await.expect(200);
    let next = format!("/api/v1/workspaces?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(alice.get(&next).await.expect(200)["workspaces"][0]["id"], id);
    assert_eq!(alice.get("/api/v1/workspaces?state=stopped").await.expect(200)["workspaces"][0]["id"], second["id"]);
    alice.get("/api/v1/workspaces?state=asleep").await.problem("bad_request");

    let at = |rest: &str| format!("/api/v1/workspaces/{id}{rest}");
    let changed = alice.patch(&at(""), json!({"name": "Shop", "idle_timeout_ms": 60_000})).await.expect(200);
    assert_eq!((&changed["name"], &changed["limits"]["idle_timeout_ms"]), (&json!("Shop"), &json!(60_000)));
    alice.patch(&at(""), json!({"name": "a/b"})).await.problem("bad_request");
    alice.patch(&at(""), json!({"owner": "eve"})).await.problem("bad_request");
    assert_eq!(alice.get(&at("/usage")).await.expect(200)["memory_bytes"], 1 << 20);

    assert_eq!(alice.post(&at("/suspend"), json!({})).await.expect(200)["state"], "suspended");
    let again = alice.post(&at("/suspend"), json!({})).await;
    assert!(again.problem("conflict")["detail"].as_str().unwrap().contains("suspended"), "{}", again.text);
    alice.get(&at("/tree")).await.problem("not_running");
    assert_eq!(alice.post(&at("/resume"), json!({})).await.expect(200)["state"], "running");
    assert_eq!(alice.post(&at("/start"), json!({})).await.expect(200)["state"], "running", "it runs already");

    let deleted = alice.delete(&at("")).await.expect(200);
    assert_eq!(deleted["state"], "deleted");
    assert!(deleted["purged_at"].is_string());
    assert_eq!(alice.get("/api/v1/workspaces").await.expect(200)["workspaces"].as_array().unwrap().len(), 1);
    assert_eq!(alice.get("/api/v1/workspaces?state=deleted").await.expect(200)["workspaces"][0]["id"], id);
    assert_eq!(alice.post(&at("/restore"), json!({})).await.expect(200)["state"], "stopped");
    assert_eq!(alice.delete(&at("?force=true")).await.expect(200), json!({"purged": true}));
    alice.get(&at("")).await.problem("not_found");
    assert!(!yard.driver.files(&id).exists());
}

#[tokio::test]
async fn what_cannot_be_made_is_told_and_leaves_nothing() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await;
    for (body, code) in [
        (json!({}), "bad_request"),
        (json!({"name": "x", "colour": "red"}), "bad_request"),
        (json!({"name": "x", "driver": "vm"}), "bad_request"),
        (json!({"name": ""}), "bad_request"),
        (json!({"name": "x", "limits": {"memory_bytes": 1}}), "bad_request"),
        (json!({"name": "x", "template": "nothing"}), "unknown_target"),
        (json!({"name": "x", "template": "sealed"}), "policy_denied"),
    ] {
        let answer = alice.post("/api/v1/workspaces", body.clone()).await;
        assert_eq!(answer.problem(code)["code"], code, "{body}");
    }
    let templates = alice.get("/api/v1/workspace-templates").await.expect(200);
    let python = templates["templates"].as_array().unwrap().iter().find(|found| found["name"] == "python").unwrap();
    assert_eq!((&python["ports"], &python["drivers"]), (&json!([8000]), &json!(["namespace"])));
    assert_eq!((&python["egress"], &python["limits"]), (&json!({"mode": "none"}), &templates["rules"]["limits"]));
    let offered = json!([{"name": "namespace", "default": true, "networks": ["none"],
                          "without_network": "workspaces of a test have no way to the network"}]);
    assert_eq!(templates["drivers"], offered);
    assert_eq!(alice.get("/api/v1/workspaces").await.expect(200)["workspaces"], json!([]));
    yard.driver.refuse_to_start(true);
    let failed = alice.post("/api/v1/workspaces", json!({"name": "x"})).await.expect(201);
    assert_eq!(failed["state"], "error");
    assert!(failed["problem"].as_str().unwrap().contains("told to refuse"), "{failed}");
    yard.driver.refuse_to_start(false);
    let path = format!("/api/v1/workspaces/{}/start", failed["id"].as_str().unwrap());
    assert_eq!(alice.post(&path, json!({})).await.expect(200)["state"], "running");
}

#[tokio::test]
async fn people_are_asked_first_and_the_act_begins_when_they_say_yes() {
    let yard = Yard::new().await;
    let (alice, boss) = (yard.developer("alice").await, yard.t.user("boss", &["dba"]).await);
    let wanted = json!({"name": "careful", "template": "guarded"});
    let asked = alice.post("/api/v1/workspaces", wanted.clone()).await.expect(202);
    let approval = asked["approval_id"].as_str().unwrap().to_owned();
    assert_eq!(asked["state"], "awaiting_approval", "{asked}");
    let joined = alice.post("/api/v1/workspaces", wanted.clone()).await.expect(202);
    assert_eq!(joined["approval_id"], approval, "the same act is one question");
    assert_eq!(alice.get("/api/v1/workspaces").await.expect(200)["workspaces"], json!([]));
    boss.post(&format!("/api/v1/approvals/{approval}/approve"), json!({"reason": "fine"})).await.expect(200);
    // Starting what was made is a question of its own.
    let made = until_listed(&alice, |made| made["state"] == "stopped").await;
    assert_eq!((&made["owner"], &made["template"]), (&json!("alice"), &json!("guarded")));
    let start = until_asked(&boss, "workspace_start").await;
    boss.post(&format!("/api/v1/approvals/{start}/approve"), json!({"reason": "fine"})).await.expect(200);
    let made = until_listed(&alice, |made| made["state"] == "running").await;

    let at = |rest: &str| format!("/api/v1/workspaces/{}{rest}", made["id"].as_str().unwrap());
    alice.get(&at("/tree")).await.expect(200);
    let saving = alice.put(&at("/files/content?path=a.txt"), "hello").await.expect(202);
    assert!(saving["approval_id"].is_string(), "{saving}");
    let running = alice.post(&at("/executions"), json!({"argv": ["true"]})).await.expect(202);
    boss.post(&format!("/api/v1/approvals/{}/deny", running["approval_id"].as_str().unwrap()), json!({"reason": "no"}))
        .await
        .expect(200);
    alice.get(&at("/files/content?path=a.txt")).await.problem("not_found");
}

/// The question about an act of this tool, once it is asked: what was made is there a moment earlier.
async fn until_asked(who: &Client, tool: &str) -> String {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let pending = who.get("/api/v1/approvals/pending").await.expect(200);
        let question = pending.as_array().unwrap().iter().find(|asked| asked["tool_name"] == tool);
        if let Some(id) = question.and_then(|asked| asked["approval_id"].as_str()) {
            return id.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody asks about {tool}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_listed(alice: &Client, so: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let list = alice.get("/api/v1/workspaces").await.expect(200);
        match list["workspaces"].as_array().unwrap().first() {
            Some(made) if so(made) => return made.clone(),
            other => assert!(tokio::time::Instant::now() < deadline, "it never comes: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_quota_is_told_with_what_to_do() {
    let quota_per_owner = Quota { workspaces: 1, running: 0, disk_bytes: 0 };
    let yard =
        Yard::with(Setup::default(), WorkspacesOptions { quota_per_owner, ..WorkspacesOptions::default() }).await;
    let desk = yard.at_work("alice").await;
    let full = desk.client.post("/api/v1/workspaces", json!({"name": "two"})).await;
    assert_eq!(full.problem("quota_reached")["status"], full.status.as_u16());
    yard.developer("bob").await.post("/api/v1/workspaces", json!({"name": "two"})).await.expect(201);
}

#[tokio::test]
async fn the_same_key_makes_one_workspace() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await.and("idempotency-key", "make-it-once");
    let first = alice.post("/api/v1/workspaces", json!({"name": "one"})).await.expect(201);
    let again = alice.post("/api/v1/workspaces", json!({"name": "one"})).await.expect(201);
    assert_eq!(first["id"], again["id"]);
    assert_eq!(alice.get("/api/v1/workspaces").await.expect(200)["workspaces"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn files_come_back_from_snapshots_and_go_along_with_forks_and_exports() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.txt", "before").await;
    let taken = desk.post("/snapshots", json!({"name": "first"})).await.expect(201);
    assert_eq!((&taken["name"], &taken["workspace_id"]), (&json!("first"), &json!(desk.id)));
    desk.save("a.txt", "after").await;
    assert_eq!(desk.get("/snapshots").await.expect(200)["snapshots"], json!([taken]));
    let snapshot = taken["id"].as_str().unwrap();

    let back = format!("/snapshots/{snapshot}/roll-back");
    desk.post(&back, json!({})).await.problem("conflict");
    desk.post("/suspend", json!({})).await.expect(200);
    desk.post(&back, json!({})).await.expect(200);
    desk.post("/start", json!({})).await.expect(200);
    assert_eq!(desk.get("/files/content?path=a.txt").await.text, "before");

    let fork = desk.post("/fork", json!({"name": "copy", "start": true})).await.expect(201);
    assert_eq!((&fork["forked_from"], &fork["state"]), (&json!(desk.id), &json!("running")));
    let copied = format!("/api/v1/workspaces/{}/files/content?path=a.txt", fork["id"].as_str().unwrap());
    assert_eq!(desk.client.get(&copied).await.text, "before");

    let export = desk.get("/export").await;
    assert_eq!(export.status, 200, "{}", export.text);
    let import = desk.client.request(axum::http::Method::POST, "/api/v1/workspaces/import?name=again&template=base");
    let import = import.body(axum::body::Body::from(export.bytes)).unwrap();
    let imported = desk.client.send(import).await.expect(201);
    let copied = format!("/api/v1/workspaces/{}", imported["id"].as_str().unwrap());
    desk.client.post(&format!("{copied}/start"), json!({})).await.expect(200);
    assert_eq!(desk.client.get(&format!("{copied}/files/content?path=a.txt")).await.text, "before");

    let gone = desk.client.delete(&desk.at(&format!("/snapshots/{snapshot}"))).await.expect(200);
    assert_eq!(gone, json!({"removed": true}));
    assert_eq!(desk.get("/snapshots").await.expect(200)["snapshots"], json!([]));
}

#[tokio::test]
async fn without_workspaces_the_routes_say_so() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["developer"]).await;
    alice.get("/api/v1/workspaces").await.problem("unavailable");
    alice.post("/api/v1/workspaces", json!(NewWorkspace::named("x", "base"))).await.problem("unavailable");
}
