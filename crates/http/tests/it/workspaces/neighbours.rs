//! What is somebody else's is not there: every route of workspaces, from the table of routes.

use std::collections::BTreeSet;

use axum::body::Body;
use reeve_http::RouteEntry;
use reeve_platform::Permission;
use reeve_types::PrincipalKind;
use serde_json::{Value, json};

use super::Yard;
use super::server::Served;
use crate::platform::{Answer, Client};

/// What a route takes beside its path: enough to get as far as the workspace.
fn body(route: &RouteEntry, id: &str) -> Value {
    if is_a_guides(route) {
        return json!({
            "session_id": id, "path": "a.txt", "type": "file", "content": "x", "old_path": "a.txt", "new_name": "b.txt",
            "source_path": "a.txt", "target_dir": "dir", "trash_id": "trs_00000000000000000000000000", "cmd": "true",
            "command": "true", "filepath": "a.txt", "file_path": "a.txt", "draft_content": "x", "name": "copy",
            "message": "x", "instructions": "x", "query": "x", "replacement": "y", "url": "https://example.org/r",
            "action": "list",
        });
    }
    let own = |end: &str| route.path.ends_with(end);
    match route.method.as_str() {
        _ if route.path.contains("/files/replace") => json!({"text": "x", "replacement": "y"}),
        _ if own("/snapshots") || own("/fork") => json!({"name": "x"}),
        _ if own("/history/restore") => json!({"path": "a.txt", "version": "ver_00000000000000000000000000"}),
        _ if own("/operations") => json!({"op": "create_file", "path": "x"}),
        _ if own("/search") => json!({"text": "x"}),
        _ if own("/uploads") => json!({"path": "x", "size": 1, "sha256": "0".repeat(64)}),
        _ if own("/executions") => json!({"argv": ["true"]}),
        _ if own("/preview") => json!({"port": 3000}),
        _ if own("/ws-tickets") => json!({"workspace_id": id}),
        "PATCH" if own("/workspaces/{id}") => json!({"name": "mine now"}),
        _ => json!({}),
    }
}

/// A path of a guide that names its workspace in the body, or after `?`.
fn is_a_guides(route: &RouteEntry) -> bool {
    let names_it = route.path.contains("{id}") && !route.path.contains("/exec/");
    let ours = route.path.starts_with("/api/v1/") || route.path.starts_with("/v1/");
    !names_it && !ours
}

fn concrete(route: &RouteEntry, id: &str) -> String {
    let execution = "exe_00000000000000000000000000";
    let own = if route.path.contains("/exec/") { execution } else { id };
    let path = route.path.replace("{id}", own).replace("{eid}", execution);
    let path =
        path.replace("{sid}", "snp_00000000000000000000000000").replace("{uid}", "upl_00000000000000000000000000");
    let path = path.replace("{tid}", "trm_00000000000000000000000000");
    let ends = |end: &str| route.path.ends_with(end);
    match () {
        () if is_a_guides(route) => format!("{path}?session_id={id}&path=a.txt"),
        () if ends("/history/content") => format!("{path}?path=a.txt&version=ver_00000000000000000000000000"),
        () if ends("/content") || ends("/stat") || ends("/history") => format!("{path}?path=a.txt"),
        () => path,
    }
}

async fn call(client: &Client, route: &RouteEntry, id: &str) -> Answer {
    let request = client.request(route.method.parse().unwrap(), &concrete(route, id));
    let request = request.header("content-type", "application/json").header("upload-offset", "0");
    client.send(request.body(Body::from(body(route, id).to_string())).unwrap()).await
}

/// Those that name one workspace, by path or by body.
fn of_one_workspace() -> Vec<RouteEntry> {
    let of_all = |path: &str| {
        let api = ["/workspaces", "/workspaces/events", "/workspaces/import", "/workspace-templates"];
        let ours =
            ["/api/v1", "/v1"].into_iter().filter_map(|root| path.strip_prefix(root)).any(|own| api.contains(&own));
        let ends = ["/sessions", "/sessions/create", "/container/cleanup"];
        let sessions = ends.iter().any(|end| path.ends_with(end));
        // This one names a person.
        ours || sessions || path == "/api/vibecoding/sessions/{id}"
    };
    let routes = reeve_http::route_table().into_iter();
    routes.filter(|route| route.permission == Permission::UseWorkspaces && !of_all(&route.path)).collect()
}

#[tokio::test]
async fn another_persons_and_another_tenants_workspace_is_nowhere() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.txt", "private").await;
    let stranger = yard.developer("eve").await;
    let elsewhere = yard.t.key("other".parse().unwrap(), PrincipalKind::User, "alice", &["admin", "developer"]).await;
    let missing = "wsp_00000000000000000000000000";
    let routes = of_one_workspace();
    assert!(routes.len() > 120, "{} routes of one workspace", routes.len());
    for route in &routes {
        for who in [&stranger, &elsewhere] {
            let theirs = call(who, route, &desk.id).await;
            let nobodys = call(who, route, missing).await;
            // The guide's clients are told of a container that is not there, whoever asks.
            if route.path.ends_with("/container/{id}/status") {
                let told = |answer: &Answer, id: &str| answer.expect(200).to_string().replace(id, "…");
                assert_eq!(told(&theirs, &desk.id), told(&nobodys, missing), "{route:?}");
                continue;
            }
            assert_eq!(theirs.problem("not_found")["status"], 404, "{route:?}");
            let same = |answer: &Answer, id: &str| {
                let mut problem = answer.json();
                problem
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| !["request_id", "instance", "trace_id"].contains(&key.as_str()));
                problem.to_string().replace(id, "…")
            };
            assert_eq!(
                same(&theirs, &desk.id),
                same(&nobodys, missing),
                "{route:?}: a stranger cannot tell them apart"
            );
        }
    }
    assert_eq!(desk.get("/files/content?path=a.txt").await.text, "private");
    assert_eq!(desk.get("").await.expect(200)["name"], "site");
    let tree = desk.get("/tree").await.expect(200);
    assert_eq!(tree["entries"].as_array().unwrap().len(), 1, "{tree}");
}

#[tokio::test]
async fn without_the_role_no_route_of_workspaces_answers() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let nobody = yard.t.user("nobody", &[]).await;
    for route in of_one_workspace() {
        assert_eq!(
            call(&nobody, &route, &desk.id).await.problem("forbidden")["permission"],
            "use_workspaces",
            "{route:?}"
        );
        call(&yard.t.client(&[]), &route, &desk.id).await.problem("unauthenticated");
    }
}

#[tokio::test]
async fn an_administrator_sees_the_tenants_and_lists_tell_everybody_their_own() {
    let yard = Yard::new().await;
    let (alice, bob) = (yard.at_work("alice").await, yard.at_work("bob").await);
    let admin = yard.t.user("root", &["admin"]).await;
    let ids = async |client: &Client, path: &str, key: &str| -> BTreeSet<String> {
        let list = client.get(path).await.expect(200);
        list[key].as_array().unwrap().iter().map(|seen| seen["id"].as_str().unwrap().to_owned()).collect()
    };
    let both: BTreeSet<String> = [alice.id.clone(), bob.id.clone()].into();
    let own: BTreeSet<String> = [alice.id.clone()].into();
    for (path, key) in [("/api/v1/workspaces", "workspaces"), ("/api/vibecode/sessions", "sessions")] {
        assert_eq!(ids(&admin, path, key).await, both, "{path}");
        assert_eq!(ids(&alice.client, path, key).await, own, "{path}");
    }
    admin.get(&bob.at("/tree")).await.expect(200);
    let other = yard.t.key("other".parse().unwrap(), PrincipalKind::User, "root", &["admin"]).await;
    assert_eq!(ids(&other, "/api/v1/workspaces", "workspaces").await, BTreeSet::new());
}

#[tokio::test]
async fn a_neighbours_preview_is_unknown() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let eve = yard.developer("eve").await;
    let host = format!("3000--{}.preview.localhost", desk.id.trim_start_matches("wsp_"));
    for (client, status, kind) in [(&eve, 404, "unknown"), (&desk.client, 502, "nothing_listens")] {
        let request =
            axum::http::Request::get("/").header("host", &host).header("authorization", client.authorization());
        let answer = served.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-reeve-preview")), (status, kind), "{}", answer.text);
    }
}
