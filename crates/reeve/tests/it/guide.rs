//! The deployment guide's governance walk and API examples, as they are written there.

use std::os::unix::fs::symlink;
use std::process::Command;

use reeve_testkit::postgres::PostgresServer;
use serde_json::json;

use crate::server::{Home, REEVE, Server, text};

const FLAT: &str = "
rules:
  - name: allow-read-operations
    match:
      action_class: read
    effect: allow

  - name: require-approval-for-writes
    match:
      action_class: write
    effect: require_approval

  - name: deny-destructive-on-production
    match:
      action_class: destructive
      tags: [production]
    effect: deny
";

/// A server set up with the guide's variables, where everybody on this machine is taken at their word.
fn guide(postgres: &PostgresServer) -> (Home, Server) {
    let inventory = json!({"db_servers": {"prod-db": {"name": "Production", "connection_string": postgres.superuser_dsn(), "tags": ["production"]}}});
    let home = Home::new()
        .with_file("HELPDESK_INFRA_CONFIG", "infrastructure.json", &inventory.to_string())
        .with_file("HELPDESK_POLICY_FILE", "policies.yaml", FLAT)
        .with("HELPDESK_IDENTITY_PROVIDER", "none")
        .with("REEVE_LISTEN", "127.0.0.1:0");
    for name in ["approvals", "govexplain"] {
        symlink(REEVE, home.path().join(name)).expect("a link");
    }
    let server = home.start();
    (home, server)
}

fn named(home: &Home, server: &Server, program: &str, arguments: &[&str]) -> std::process::Output {
    let path = home.path().join(program);
    let mut command: Command = home.command(path.to_str().expect("a path"));
    command.env("HELPDESK_AUDIT_URL", &server.url).env("HELPDESK_GATEWAY_URL", &server.url).args(arguments);
    command.output().expect("it runs")
}

#[test]
fn the_flat_policy_file_means_what_the_guide_says() {
    let postgres = PostgresServer::start();
    let (_home, server) = guide(&postgres);
    let read = server
        .get_as(None, "/api/v1/governance/explain?resource_type=database&resource_name=prod-db&action=read")
        .expect(200);
    assert_eq!(read["decision"]["effect"], "allow", "{read}");
    let write = server
        .get_as(None, "/api/v1/governance/explain?resource_type=database&resource_name=prod-db&action=write")
        .expect(200);
    assert_eq!(write["decision"]["effect"], "require_approval", "{write}");
    let destructive = server
        .get_as(None, "/api/v1/governance/explain?resource_type=database&resource_name=prod-db&action=destructive")
        .expect(200);
    assert_eq!(destructive["decision"]["effect"], "deny", "{destructive}");
}

#[test]
fn approvals_are_managed_as_the_guide_shows() {
    let postgres = PostgresServer::start();
    postgres.psql("create table t (id int)");
    let (home, server) = guide(&postgres);
    let body = json!({"connection_string": "prod-db", "table": "public.t"});
    let ask = || server.request("post", "/api/v1/db/run_vacuum", None, Some(&body)).expect(202);
    let first = ask()["approval_id"].as_str().unwrap().to_owned();

    let list = text(&named(&home, &server, "approvals", &["list", "--status", "pending"]));
    assert!(list.contains(&first) && list.contains("run_vacuum"), "{list}");
    let pending = server.get_as(None, "/v1/approvals/pending").expect(200);
    assert_eq!(pending[0]["approval_id"], first.as_str(), "{pending}");

    let reason = "LGTM, verified and it is safe";
    let approved = named(&home, &server, "approvals", &["--user", "dba-anna", "approve", &first, "--reason", reason]);
    assert!(approved.status.success(), "{}", text(&approved));
    let shown = server.get_as(None, &format!("/v1/approvals/{first}")).expect(200);
    assert_eq!(shown["status"], "approved", "{shown}");
    assert_eq!(shown["resolution_reason"], reason, "the flag after the id counts");

    server.settled(shown["action_id"].as_str().unwrap());
    server.request("post", "/api/v1/db/run_vacuum", None, Some(&body)).expect(200);
    let second = ask()["approval_id"].as_str().unwrap().to_owned();
    let by_hand = json!({"approved_by": "admin", "reason": reason});
    let approved = server.request("post", &format!("/v1/approvals/{second}/approve"), None, Some(&by_hand)).expect(200);
    assert_eq!(approved["status"], "approved", "{approved}");
    assert_eq!(approved["resolution_reason"], reason);
}

#[test]
fn decisions_are_explained_as_the_guide_shows() {
    let postgres = PostgresServer::start();
    let (home, server) = guide(&postgres);
    let kill = json!({"connection_string": "prod-db", "pid": 999_999});
    server.request("post", "/api/v1/db/terminate_connection", None, Some(&kill)).expect(403);
    server
        .request("post", "/api/v1/db/get_server_info", None, Some(&json!({"connection_string": "prod-db"})))
        .expect(200);

    let hour = named(&home, &server, "govexplain", &["--list", "--since", "1h"]);
    assert!(hour.status.success() && text(&hour).contains("prod-db"), "{}", text(&hour));
    let denials = text(&named(&home, &server, "govexplain", &["--list", "--since", "24h", "--effect", "deny"]));
    assert!(denials.contains("DENIED") && !denials.contains("ALLOWED\n"), "{denials}");

    // The guide passes the id of a tool's record; the decision of the same act is meant.
    let events = server.get_as(None, "/v1/events?event_type=tool_execution").expect(200);
    let event = events[0]["event_id"].as_str().expect("a record").to_owned();
    assert!(event.starts_with("tool_"), "{event}");
    let explained = named(&home, &server, "govexplain", &["--event", &event]);
    assert_eq!(explained.status.code(), Some(0), "{}", text(&explained));
    assert!(text(&explained).contains("ALLOWED"), "{}", text(&explained));

    let arguments = ["--resource", "database:prod-db", "--action", "write", "--tags", "production"];
    let hypothetical = named(&home, &server, "govexplain", &arguments);
    assert_eq!(hypothetical.status.code(), Some(2), "{}", text(&hypothetical));
    assert!(text(&hypothetical).contains("REQUIRES APPROVAL"), "{}", text(&hypothetical));

    let direct = named(&home, &server, "govexplain", &["--auditd", &server.url, "--list", "--since", "1h"]);
    assert!(direct.status.success(), "{}", text(&direct));
}

#[test]
fn the_gateway_examples_answer() {
    let postgres = PostgresServer::start();
    let (_home, server) = guide(&postgres);
    let question = json!({"agent": "database", "message": "What databases are you aware of?"});
    let answer = server.request("post", "/api/v1/query", None, Some(&question)).expect(200);
    assert!(answer["text"].as_str().unwrap().contains("prod-db"), "{answer}");
    let agents = server.get_as(None, "/api/v1/agents").expect(200);
    assert!(agents.as_array().is_some_and(|list| !list.is_empty()), "{agents}");
    let info = json!({"connection_string": postgres.superuser_dsn()});
    let info = server.request("post", "/api/v1/db/get_server_info", None, Some(&info)).expect(200);
    assert!(info["text"].as_str().unwrap().contains("PostgreSQL"), "{info}");
    assert_eq!(info["state"], "completed");
}

/// A stand-in for a Kubernetes API server, which knows one pod of the namespace `default` and one token.
fn scripted_api_server() -> String {
    use axum::http::{HeaderMap, StatusCode};
    let pods = |headers: HeaderMap| async move {
        let known = headers.get("authorization").is_some_and(|value| value == "Bearer guide-token");
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "default", "creationTimestamp": "2026-03-01T10:00:00Z"},
            "spec": {"nodeName": "node-a", "containers": [{"name": "web"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0}]},
        });
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]});
        if known { Ok(axum::Json(list)) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let router = axum::Router::new().route("/api/v1/namespaces/default/pods", axum::routing::get(pods));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("it serves");
        });
    });
    url
}

#[test]
fn the_guides_cluster_is_asked_as_the_guide_shows() {
    let config = json!({
        "current-context": "guide",
        "clusters": [{"name": "c", "cluster": {"server": scripted_api_server()}}],
        "contexts": [{"name": "guide", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "guide-token"}}],
    });
    let inventory = json!({
        "db_servers": {"prod-db": {"connection_string": "host=nowhere"}},
        "k8s_clusters": {"prod": {"name": "Production", "context": "guide", "tags": ["production"]}},
    });
    let home = Home::new()
        .with_file("HELPDESK_INFRA_CONFIG", "infrastructure.json", &inventory.to_string())
        .with_file("HELPDESK_POLICY_FILE", "policies.yaml", FLAT)
        .with_file("KUBECONFIG", "kubeconfig", &config.to_string())
        .with("REEVE_LISTEN", "127.0.0.1:0")
        .with("HELPDESK_IDENTITY_PROVIDER", "none");
    let server = home.start();
    let ask = |body: serde_json::Value| server.request("post", "/api/v1/k8s/get_pods", None, Some(&body));
    let pods = ask(json!({"namespace": "default"})).expect(200);
    assert_eq!((pods["agent"].as_str(), pods["state"].as_str()), (Some("k8s"), Some("completed")), "{pods}");
    assert_eq!((&pods["data"]["count"], &pods["data"]["pods"][0]["name"]), (&json!(1), &json!("web-0")));

    let agents = server.get_as(None, "/api/v1/agents").expect(200);
    assert!(agents.as_array().is_some_and(|list| list.iter().any(|agent| agent["name"] == "k8s")), "{agents}");
    let elsewhere = ask(json!({"namespace": "default", "context": "staging"}));
    assert_eq!(elsewhere.status, 404, "{}", elsewhere.text);
    assert!(elsewhere.text.contains("`staging` is not in the inventory; it knows prod"), "{}", elsewhere.text);
    let command = home.command(REEVE).args(["tool", "run", "get_pods", "namespace=default"]).output();
    let told = text(&command.expect("it runs"));
    assert!(told.contains("web-0"), "{told}");
}
