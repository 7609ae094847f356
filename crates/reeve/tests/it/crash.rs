//! Killed at any moment around an approved act: nothing lost, nothing twice.

use std::time::Duration;

use reeve_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::server::{ASK, Home, Server};

/// How often the server is killed.
const ROUNDS: u32 = 200;

/// Pauses that fall before, into and after the act, the same in every run.
fn pause(round: u32) -> Duration {
    let spread = round.wrapping_mul(2_654_435_761) >> 16;
    Duration::from_micros(u64::from(spread % 24_000))
}

fn ask(server: &Server, agent: &str, round: u32) -> Value {
    let sql = format!("insert into done values ({round})");
    let body = json!({"arguments": {"connection_string": "shop", "statement": sql}, "purpose": "remediation"});
    server.post_as(agent, "/api/v1/tools/execute_statement/run", &body).expect(202)
}

#[test]
fn an_approved_act_happens_once_however_often_the_server_is_killed() {
    let postgres = PostgresServer::start();
    postgres.psql("create table done (round int)");
    let home = Home::new().inventory(&postgres.superuser_dsn()).policy(ASK);
    let mut server = home.start();
    let agent = server.service("night-agent", &["sre-automation"]);
    let mut asked: Vec<(u32, String)> = Vec::new();
    let client = reqwest::blocking::Client::new();

    for round in 0..ROUNDS {
        let question = ask(&server, &agent, round);
        let approval = question["approval_id"].as_str().expect("an id").to_owned();
        asked.push((round, question["action_id"].as_str().expect("an id").to_owned()));
        let (url, token, client) = (server.url.clone(), server.token().to_owned(), client.clone());
        // The answer may never come: the server is killed while it works on it.
        let approving = std::thread::spawn(move || {
            let answer = client
                .post(format!("{url}/api/v1/approvals/{approval}/approve"))
                .bearer_auth(token)
                .json(&json!({"reason": "crash test"}))
                .send();
            answer.is_ok_and(|answer| answer.status().is_success())
        });
        std::thread::park_timeout(pause(round));
        server.kill();
        let answered = approving.join().expect("the approver");
        server = home.start();
        let (_, action) = asked.last().expect("this round's");
        let state = server.get(&format!("/api/v1/actions/{action}")).expect(200)["state"].clone();
        assert!(!answered || state != "awaiting_approval", "round {round}: an answer that was given is never lost");
    }

    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for (round, action) in &asked {
        let state = server.get(&format!("/api/v1/actions/{action}")).expect(200)["state"].clone();
        let state = if state == "awaiting_approval" {
            "awaiting_approval".to_owned()
        } else {
            server.settled(action)["state"].as_str().unwrap_or_default().to_owned()
        };
        let rows: u32 =
            postgres.psql(&format!("select count(*) from done where round = {round}")).parse().expect("a number");
        match state.as_str() {
            "succeeded" => assert_eq!(rows, 1, "round {round} is recorded as done"),
            "awaiting_approval" | "failed" | "stale" => {
                assert_eq!(rows, 0, "round {round} is recorded as not done ({state})")
            }
            "unknown" => assert!(rows <= 1, "round {round} happened twice"),
            other => panic!("round {round} ended as {other}"),
        }
        *counts.entry(state).or_default() += 1;
    }
    assert!(counts.get("succeeded").copied().unwrap_or(0) > 0, "the kills fell on both sides of the act: {counts:?}");
    let verdict = server.post("/api/v1/audit/verify", &json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    println!("{ROUNDS} kills: {counts:?}");
}
