//! Reading: records, proofs, governance, keys, inventory, files.

use axum::body::Body;
use axum::http::Method;
use reeve_types::{PrincipalKind, TenantId};
use serde_json::{Value, json};

use crate::platform::TestPlatform;

const LOOK: &str = "/api/v1/tools/test_look/run";

#[tokio::test]
async fn anybody_may_see_whether_it_is_well() {
    let t = TestPlatform::new();
    let anybody = t.client(&[]);
    for path in ["/health", "/v1/health", "/api/health", "/api/v1/health"] {
        assert_eq!(anybody.get(path).await.expect(200)["status"], "ok");
    }
    assert_eq!(anybody.get("/readyz").await.expect(200)["ready"], true);
    let page = anybody.get("/problems/own_request").await;
    assert!(page.text.starts_with("# Someone else must decide"));
    anybody.get("/problems/nonsense").await.problem("not_found");
    let docs = anybody.get("/docs").await;
    assert!(docs.text.contains("/api/v1/tools/{name}/run"));
    assert!(docs.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(anybody.get("/openapi.json").await.expect(200)["openapi"], "3.1.0");
}

#[tokio::test]
async fn tools_agents_and_roles_are_listed() {
    let t = TestPlatform::new();
    let nobody = t.user("nobody", &[]).await;
    let tools = nobody.get("/api/v1/tools").await.expect(200);
    assert_eq!(tools["count"], 3);
    assert_eq!(tools["tools"][2], nobody.get("/v1/tools/test_look").await.expect(200));
    insta::assert_json_snapshot!(tools["tools"][2]);
    assert_eq!(nobody.get("/api/v1/agents").await.expect(200)[0]["skills"].as_array().unwrap().len(), 3);
    let roles = nobody.get("/api/v1/roles").await.expect(200);
    let dba = roles["roles"].as_array().unwrap().iter().find(|role| role["name"] == "dba").unwrap();
    assert_eq!(
        dba["grants"],
        json!([
            "public",
            "look",
            "ask",
            "run_tools",
            "run_database_tools",
            "use_workspaces",
            "use_sessions",
            "approve",
            "cancel",
            "check_policy",
            "own_account"
        ])
    );
    let who = nobody.get("/api/v1/whoami").await.expect(200);
    assert_eq!(
        (who["label"].as_str(), &who["permissions"]),
        (Some("user:nobody"), &json!(["public", "look", "ask", "cancel"]))
    );
}

#[tokio::test]
async fn records_are_filtered_paged_and_proved() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    let body = json!({"arguments": {"connection_string": "orders"}});
    let trace = alice.post(LOOK, body.clone()).await.expect(200)["trace_id"].as_str().unwrap().to_owned();
    alice.post(LOOK, body).await.expect(200);

    let journey = alice.get(&format!("/api/v1/events?trace_id={trace}")).await.expect(200);
    let types: Vec<&str> = journey.as_array().unwrap().iter().map(|e| e["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["tool_invoked", "policy_decision", "tool_execution"]);
    let newest = alice.get("/v1/events?types=tool_execution,policy_decision&since=1h").await.expect(200);
    assert_eq!(newest.as_array().unwrap().len(), 4);
    assert_eq!(newest[0]["event_type"], "tool_execution");
    let first = alice.get("/api/v1/events?limit=4").await;
    let rest = alice.get(&format!("/api/v1/events?limit=4&cursor={}", first.header("x-next-cursor"))).await;
    assert_eq!((first.expect(200).as_array().unwrap().len(), rest.expect(200).as_array().unwrap().len()), (4, 2));
    assert_eq!(rest.header("x-next-cursor"), "");
    alice.get("/api/v1/events?event_type=nonsense").await.problem("bad_request");
    alice.get("/api/v1/events?colour=red").await.problem("bad_request");
    alice.get("/api/v1/events/apr").await.problem("bad_request");

    let verified = alice.get("/v1/verify").await.expect(200);
    assert_eq!(
        (&verified["valid"], &verified["total_events"], &verified["broken_at"]),
        (&json!(true), &json!(6), &json!(-1))
    );
    assert_eq!(verified["last_hash"], newest[0]["event_hash"]);
    let proof = alice.get(&format!("/api/v1/audit/proofs/{}", journey[0]["event_id"].as_str().unwrap())).await;
    let key = alice.get("/api/v1/audit/key").await.text.trim().parse().unwrap();
    reeve_audit::ProofFile::parse(&proof.text).unwrap().check(&[key]).unwrap();
    let journeys = alice.get("/v1/journeys?user=alice").await.expect(200);
    assert_eq!(journeys.as_array().unwrap().len(), 2);
    assert_eq!(alice.get("/v1/journeys?incident_only=true").await.expect(200), json!([]));
}

#[tokio::test]
async fn a_witness_cosigns_the_head() {
    let t = TestPlatform::new();
    let admin = t.user("root", &["admin"]).await;
    admin.get("/api/v1/audit/checkpoint").await.problem("conflict");
    admin.post("/api/v1/policy/reload", json!({})).await.expect(200);
    let asked = admin.get("/api/v1/audit/witness?old=0").await;
    let request = reeve_audit::AddCheckpoint::parse(&asked.text).unwrap();
    let witness = reeve_audit::SigningKey::from_seed("witness.test", reeve_audit::KeyRole::Witness, &[7; 32]).unwrap();
    let cosigned = reeve_audit::cosign(&request.note, &witness, 1_700_000_000).unwrap().to_string();
    let send = |key: String, body: String| {
        let request = admin.request(Method::POST, "/api/v1/audit/cosignatures").header("x-witness-key", key);
        admin.send(request.body(Body::from(body)).unwrap())
    };
    let key = witness.verifying_key().to_string();
    assert_eq!(send(key.clone(), cosigned.clone()).await.expect(200), json!({"size": 1, "witness": "witness.test"}));
    send("nonsense".to_owned(), cosigned).await.problem("bad_request");
    send(key.clone(), request.note.to_string()).await.problem("bad_request");
    let whole = admin.post("/api/v1/audit/verify", json!({"witnesses": [key]})).await.expect(200);
    assert_eq!((&whole["valid"], whole["anchored"].as_array().unwrap().len()), (&json!(true), 1));
}

#[tokio::test]
async fn another_program_brings_records_and_results() {
    let t = TestPlatform::new();
    let bot = t.key(TenantId::default_tenant(), PrincipalKind::Service, "srebot", &[]).await;
    let brought = json!({
        "event_id": "tool_1", "event_type": "tool_execution", "trace_id": "tr_x", "some": "thing",
        "session": {"id": "s1"}, "input": {"user_query": "why"}, "outcome": {"status": "success"},
        "tool": {"name": "ps", "parameters": {"password": "hunter2"}},
    });
    let kept = bot.post("/v1/events", brought).await.expect(201);
    let record = bot.get(&format!("/v1/events/{}", kept["event_id"].as_str().unwrap())).await;
    assert!(!record.text.contains("hunter2"));
    let record = record.expect(200);
    assert_eq!(
        (record["event_type"].as_str(), record["note"].as_str()),
        (Some("external"), Some("type there: tool_execution; id there: tool_1"))
    );
    assert_eq!((&record["event_hash"], &record["prev_hash"]), (&kept["event_hash"], &kept["prev_hash"]));
    assert_eq!(record["principal"]["id"], "srebot");

    let result = json!({"server_name": "orders", "tool_name": "get_locks", "output": "none", "success": true});
    let recorder = t.user("rec", &["recorder"]).await;
    let id = recorder.post("/v1/tool-results", result).await.expect(201)["result_id"].clone();
    let listed = bot.get("/v1/tool-results?server=orders&since=5m").await.expect(200);
    assert_eq!((&listed["count"], &listed["results"][0]["result_id"]), (&json!(1), &id));
}

#[tokio::test]
async fn policy_is_asked_for_somebody_else_and_the_decision_is_recorded() {
    let t = TestPlatform::new();
    let (bot, nobody) =
        (t.key(TenantId::default_tenant(), PrincipalKind::Service, "bot", &[]).await, t.user("nobody", &[]).await);
    let check = |action: &str| {
        json!({"resource_type": "database", "resource_name": "orders", "action": action, "tool_name": "x",
               "principal": {"user_id": "carol", "roles": ["dba"]}})
    };
    let allowed = bot.post("/v1/governance/check", check("read")).await.expect(200);
    assert_eq!((allowed["effect"].as_str(), allowed["requires_approval"].as_bool()), (Some("allow"), Some(false)));
    assert!(allowed["trace_id"].as_str().unwrap().starts_with("chk_"));
    assert_eq!(bot.post("/v1/governance/check", check("write")).await.expect(200)["effect"], "require_approval");
    let denied = bot.post("/api/v1/governance/check", check("destructive")).await.expect(403);
    assert_eq!(denied["effect"], "deny");
    let record = bot.get(&format!("/v1/events/{}", denied["event_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(
        (&record["policy_decision"]["tags"], &record["principal"]["id"]),
        (&json!(["production"]), &json!("carol"))
    );
    assert!(record["note"].as_str().unwrap().contains("service:bot asked for"));
    bot.post("/v1/governance/check", json!({"resource_type": "database", "action": "read"}))
        .await
        .problem("bad_request");
    let mut by_agent = check("read");
    by_agent["agent_name"] = json!("a");
    bot.post("/v1/governance/check", by_agent).await.problem("bad_request");
    nobody.post("/v1/governance/check", check("read")).await.problem("forbidden");

    let own = "/v1/governance/explain?resource_type=database&resource_name=orders&action=write";
    assert_eq!(nobody.get(own).await.expect(200)["decision"]["effect"], "require_approval");
    nobody.get(&format!("{own}&user_id=carol&role=dba")).await.problem("forbidden");
    assert_eq!(
        bot.get(&format!("{own}&user_id=carol&role=dba")).await.expect(200)["replayed_with"],
        "current policies"
    );
}

#[tokio::test]
async fn governance_is_told_at_a_glance() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    alice.ask_for_change(1).await;
    let info = alice.get("/v1/governance/info").await.expect(200);
    assert_eq!(
        (&info["approvals"]["pending_count"], &info["approvals"]["default_timeout"]),
        (&json!(1), &json!("60m"))
    );
    assert_eq!((&info["audit"]["events_total"], &info["audit"]["chain_valid"]), (&json!(3), &json!(true)));
    assert_eq!((&info["policy"]["policies_count"], &info["policy"]["rules_count"]), (&json!(1), &json!(3)));
    assert_eq!(alice.get("/api/v1/governance").await.expect(200)["config"]["auth_mode"], "enforcing");
}

#[tokio::test]
async fn a_broken_policy_file_keeps_what_was_in_force() {
    let t = TestPlatform::new();
    let admin = t.user("root", &["admin"]).await;
    let before = admin.post("/v1/policy/reload", json!({})).await.expect(200)["policy_digest"].clone();
    std::fs::write(&t.policy_file, "policies: 7").unwrap();
    let problem = admin.post("/v1/policy/reload", json!({})).await.problem("conflict");
    assert!(problem["detail"].as_str().unwrap().ends_with("what was in force before stays in force"));
    let now = admin.get("/v1/governance/policies").await.expect(200);
    assert_eq!(now["digest"], before);
    assert!(now["trouble"].as_str().is_some());
    assert_eq!(admin.get("/v1/config").await.expect(200), json!({"listen": "127.0.0.1:0"}));
}

#[tokio::test]
async fn keys_are_made_once_listed_without_their_text_and_taken_back() {
    let t = TestPlatform::new();
    let admin = t.user("root", &["admin"]).await;
    let wanted = json!({"principal": "bob", "roles": ["dba"], "note": "laptop"});
    let keyed = admin.and("idempotency-key", "k");
    let made = keyed.post("/api/v1/keys", wanted.clone()).await.expect(201);
    let again = keyed.post("/api/v1/keys", wanted).await;
    assert_eq!(again.header("idempotent-replay"), "true");
    let again = again.expect(201);
    assert_eq!((&again["key_id"], &again["key"]), (&made["key_id"], &Value::Null));
    let text = made["key"].as_str().unwrap();
    let listed = admin.get("/api/v1/keys").await;
    assert!(!listed.text.contains(text));
    assert_eq!(listed.expect(200)[1]["principal"], "bob");
    let bob = t.client(&[("authorization", &format!("Bearer {text}"))]);
    assert_eq!(bob.get("/api/v1/whoami").await.expect(200)["roles"], json!(["dba"]));
    assert_eq!(admin.get("/api/v1/users").await.expect(200).as_array().unwrap().len(), 2);

    let path = format!("/api/v1/keys/{}", made["key_id"].as_str().unwrap());
    assert_eq!(admin.delete(&path).await.status.as_u16(), 204);
    admin.delete(&path).await.problem("not_found");
    bob.get("/api/v1/whoami").await.problem("unauthenticated");
    let records = admin.get("/api/v1/events?event_type=identity_changed").await.expect(200);
    assert_eq!(records.as_array().unwrap().len(), 2);
    assert!(records[1]["note"].as_str().unwrap().ends_with("was made for user `bob` with the roles dba"));
    admin.post("/api/v1/keys", json!({"principal": ""})).await.problem("bad_request");
    admin.post("/api/v1/keys", json!({"principal": "x", "kind": "agent"})).await.problem("bad_request");
}

#[tokio::test]
async fn the_inventory_is_shown_without_passwords() {
    let t = TestPlatform::new();
    let nobody = t.user("nobody", &[]).await;
    let whole = nobody.get("/api/v1/infrastructure").await;
    assert!(!whole.text.contains("hunter2"));
    assert_eq!(whole.expect(200)["databases"].as_array().unwrap().len(), 2);
    let databases = nobody.get("/api/v1/databases").await.expect(200);
    assert_eq!(databases["databases"][1]["connection_string"], "host=db1 dbname=orders password=***");
    assert_eq!(databases["count"], 2);
}

#[tokio::test]
async fn a_file_is_kept_and_given_back_as_plain_text() {
    let t = TestPlatform::new();
    let nobody = t.user("nobody", &[]).await;
    let request = nobody.request(Method::POST, "/v1/uploads?filename=../a.html").header("content-type", "text/html");
    let kept = nobody.send(request.body(Body::from("<script>")).unwrap()).await.expect(201);
    assert_eq!((&kept["filename"], &kept["size"]), (&json!("a.html"), &json!(8)));
    let path = format!("/v1/uploads/{}", kept["upload_id"].as_str().unwrap());
    assert_eq!(nobody.get(&path).await.expect(200)["size"], 8);
    let content = nobody.get(&format!("{path}/content")).await;
    assert_eq!(content.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(content.text, "<script>");
    let large =
        nobody.request(Method::POST, "/api/v1/fleet/uploads").body(Body::from(vec![b'x'; 2 * 1024 * 1024])).unwrap();
    assert_eq!(nobody.send(large).await.expect(201)["size"], 2 * 1024 * 1024);
}

#[tokio::test]
async fn the_numbers_hold_no_names() {
    let t = TestPlatform::new();
    let alice = t.user("alice", &["dba"]).await;
    alice.post(LOOK, json!({"arguments": {"connection_string": "orders"}})).await.expect(200);
    alice.ask_for_change(1).await;
    let numbers = t.client(&[]).get("/metrics").await;
    for line in [
        "reeve_http_requests_total{method=\"POST\",route=\"/api/v1/tools/{name}/run\",status=\"200\"} 1",
        "reeve_acts_total{what=\"allowed\"} 1",
        "reeve_acts_total{what=\"asked\"} 1",
        "reeve_approvals_pending 1",
        "reeve_audit_records 6",
    ] {
        assert!(numbers.text.contains(line), "{line} is not in\n{}", numbers.text);
    }
    for name in ["alice", "orders", "test_"] {
        assert!(!numbers.text.contains(name), "{name}");
    }
}
