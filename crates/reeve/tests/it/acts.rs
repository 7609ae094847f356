//! One governed act on a real database, from request to proof, as its users see it.

use reeve_testkit::postgres::PostgresServer;
use serde_json::json;

use crate::server::{ASK, Home, text};

fn shop(postgres: &PostgresServer) -> Home {
    Home::new().inventory(&postgres.superuser_dsn()).policy(ASK)
}

#[test]
fn an_agent_asks_a_person_approves_and_the_record_proves_it() {
    let postgres = PostgresServer::start();
    let home = shop(&postgres);
    let server = home.start();
    postgres.psql("create table t (id int primary key)");
    let agent = server.service("night-agent", &["sre-automation"]);

    let body = json!({"arguments": {"connection_string": "shop", "statement": "insert into t values (1)"}, "purpose": "remediation"});
    let asked = server.post_as(&agent, "/api/v1/tools/execute_statement/run", &body).expect(202);
    let (approval, action) = (asked["approval_id"].as_str().unwrap(), asked["action_id"].as_str().unwrap());
    assert_eq!(postgres.psql("select count(*) from t"), "0", "nothing happens before the answer");

    let again = server.post_as(&agent, "/api/v1/tools/execute_statement/run", &body).expect(202);
    assert_eq!(again["approval_id"], asked["approval_id"], "asking again joins the open question");

    let own = server.post_as(&agent, &format!("/api/v1/approvals/{approval}/approve"), &json!({}));
    assert_eq!(own.status, 403, "{}", own.text);

    let said = text(&server.cli(&home, &["approvals", "approve", approval, "--reason", "looks right"]));
    assert!(said.contains("approved"), "{said}");
    assert_eq!(server.settled(action)["state"], "succeeded");
    assert_eq!(postgres.psql("select count(*) from t"), "1");

    let collected = server.post_as(&agent, "/api/v1/tools/execute_statement/run", &body).expect(200);
    assert_eq!(collected["action_id"], asked["action_id"], "the requester collects the result");
    assert_eq!(postgres.psql("select count(*) from t"), "1", "and nothing runs twice");

    let events = server
        .get("/api/v1/events?action_class=write&tool_name=execute_statement&event_type=tool_execution")
        .expect(200);
    let event = events[0]["event_id"].as_str().expect("its record").to_owned();
    let proof = home.path().join("act.proof");
    let key = home.path().join("log.pub");
    std::fs::write(&key, server.cli(&home, &["audit", "log-key"]).stdout).expect("the key");
    let proved = server.cli(&home, &["audit", "prove", &event, "--file", proof.to_str().unwrap()]);
    assert!(proved.status.success(), "{}", text(&proved));
    server.kill();
    std::fs::remove_dir_all(home.data()).expect("the log is gone");
    let checked = home
        .command(crate::server::REEVE)
        .args(["audit", "check-proof", proof.to_str().unwrap(), "--key", key.to_str().unwrap()])
        .output()
        .expect("it runs");
    assert!(checked.status.success(), "{}", text(&checked));
    let forged = std::fs::read_to_string(&proof).unwrap().replacen("index ", "index 1", 1);
    std::fs::write(&proof, forged).unwrap();
    let refused = home
        .command(crate::server::REEVE)
        .args(["audit", "check-proof", proof.to_str().unwrap(), "--key", key.to_str().unwrap()])
        .output()
        .expect("it runs");
    assert!(!refused.status.success(), "a forged proof is refused: {}", text(&refused));
}

#[test]
fn a_changed_policy_makes_an_open_question_stale() {
    let postgres = PostgresServer::start();
    let home = shop(&postgres);
    let server = home.start();
    postgres.psql("create table t (id int primary key)");
    let agent = server.service("night-agent", &["sre-automation"]);
    let body = json!({"arguments": {"connection_string": "shop", "statement": "insert into t values (1)"}});
    let asked = server.post_as(&agent, "/api/v1/tools/execute_statement/run", &body).expect(202);
    let stricter = ASK.replace("a person decides", "two people decide");
    std::fs::write(home.path().join("policies.yaml"), stricter).expect("a write");
    server.signal("HUP");
    crate::server::eventually(|| server.log().contains("policies were read again").then_some(()));
    let approval = asked["approval_id"].as_str().unwrap();
    server.post(&format!("/api/v1/approvals/{approval}/approve"), &json!({"reason": "too late"}));
    let action = server.settled(asked["action_id"].as_str().unwrap());
    assert_eq!(action["state"], "stale", "{action}");
    assert_eq!(postgres.psql("select count(*) from t"), "0");
}

#[test]
fn a_row_limit_holds_before_the_fact() {
    let postgres = PostgresServer::start();
    let limited = "
policies:
  - name: few
    priority: 1
    resources: [{type: database}]
    rules:
      - {action: read, effect: allow}
      - {action: write, effect: allow, conditions: {max_rows_affected: 5}}
";
    let home = Home::new().inventory(&postgres.superuser_dsn()).policy(limited);
    let server = home.start();
    postgres.psql("create table t as select n as id from generate_series(1, 10) n");
    let body = |sql: &str| json!({"arguments": {"connection_string": "shop", "statement": sql}});
    let few =
        server.post("/api/v1/tools/execute_statement/run", &body("update t set id = -id where id <= 5")).expect(200);
    assert_eq!(few["affected"], 5, "{few}");
    let many = server.post("/api/v1/tools/execute_statement/run", &body("update t set id = 0 where id > -100"));
    assert_eq!(many.status, 422, "{}", many.text);
    assert_eq!(postgres.psql("select count(*) from t where id = 0"), "0", "it was rolled back");
}

#[test]
fn a_diagnosis_works_without_a_server_and_says_what_is_wrong() {
    let postgres = PostgresServer::start();
    let home = Home::new();
    let dsn = postgres.dsn("postgres", "no_such_database");
    let output =
        home.command(crate::server::REEVE).args(["diagnose", &dsn, "--output", "json"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(diagnosis["findings"].as_array().map(Vec::len), Some(1), "{diagnosis}");
    assert_eq!(diagnosis["findings"][0]["severity"], "critical");
    let log =
        home.command(crate::server::REEVE).args(["audit", "verify", "--output", "json"]).output().expect("it runs");
    let verdict: serde_json::Value = serde_json::from_slice(&log.stdout).expect("JSON");
    assert_eq!(verdict["valid"], true, "{verdict}");
    assert!(verdict["total_events"].as_u64().unwrap() >= 3, "the look was recorded: {verdict}");
}

#[test]
fn a_password_in_a_target_reaches_no_file_and_no_output() {
    let home = Home::new();
    let secret = "hunter2-unlikely-text";
    let dsn = format!("host=127.0.0.1 port=1 user=u dbname=d password={secret}");
    for arguments in [
        vec!["diagnose", &dsn],
        vec!["tool", "run", "check_connection", "--target", &dsn],
        vec!["tool", "run", "run_vacuum", "table=public.t", "--target", &dsn],
    ] {
        let output = home.command(crate::server::REEVE).args(&arguments).output().expect("it runs");
        assert!(!text(&output).contains(secret), "{arguments:?} printed it");
    }
    for entry in std::fs::read_dir(home.data()).expect("the data") {
        let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "it was stored");
    }
}
