//! Running programs: whole, followed, and ended by whoever leaves.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::server::{Followed, Served, until};
use super::{Desk, Yard, events};

#[tokio::test]
async fn a_program_runs_to_its_end_and_tells_how_it_was() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let body = json!({"argv": ["bash", "-c", "read x; echo $x $GREETING; pwd; echo no >&2; exit 3"], "stdin": "in\n", "env": {"GREETING": "hi"}});
    let ran = desk.post("/executions", body).await.expect(200);
    assert_eq!((&ran["exit_code"], &ran["stderr"], &ran["phase"]), (&json!(3), &json!("no\n"), &json!("run")));
    assert!(ran["stdout"].as_str().unwrap().starts_with("in hi\n/"), "{ran}");
    assert!(ran["id"].as_str().unwrap().starts_with("exe_") && ran["duration_ms"].is_u64() && ran["cpu_ms"].is_u64());
    let data = desk.post("/executions", json!({"argv": ["printf", "%s|", "a;b", "$(id)", "c d"]})).await.expect(200);
    assert_eq!(data["stdout"], "a;b|$(id)|c d|", "no shell reads arguments");
    let late = desk.post("/executions", json!({"argv": ["sleep", "60"], "timeout_ms": 100})).await.expect(200);
    assert_eq!((&late["exit_code"], &late["timed_out"]), (&json!(124), &json!(true)));
    let missing = desk.post("/executions", json!({"argv": ["no-such-program"]})).await.expect(200);
    assert_eq!(missing["exit_code"], 127);
    let killed = desk.sh("kill -9 $$").await;
    assert_eq!((&killed["exit_code"], &killed["signal"]), (&json!(137), &json!("SIGKILL")));
    for body in [json!({}), json!({"argv": ["true"], "cwd": "../.."}), json!({"argv": ["true"], "user": "root"})] {
        let answer = desk.post("/executions", body.clone()).await;
        assert_eq!(answer.status.as_u16(), 400, "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_file_runs_in_the_language_of_its_extension() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("app/hello.py", "import sys\nprint('hello', *sys.argv[1:])\n").await;
    let ran = desk.post("/executions", json!({"file": "app/hello.py", "args": ["you"]})).await.expect(200);
    assert_eq!((&ran["stdout"], &ran["exit_code"]), (&json!("hello you\n"), &json!(0)), "{ran}");
    let languages = desk.get("/languages").await.expect(200)["languages"].clone();
    let python = languages.as_array().unwrap().iter().find(|language| language["id"] == "python").unwrap();
    assert_eq!((&python["available"], &python["extensions"][0]), (&json!(true), &json!("py")));
    let missing = desk.post("/executions", json!({"file": "none.py"})).await;
    assert!(missing.status == 404 || missing.json()["exit_code"] != 0, "{}", missing.text);
}

async fn begin(served: &Served, desk: &Desk, line: &str) -> (Followed, super::server::Line) {
    let request = Request::builder()
        .method(Method::POST)
        .uri(desk.at("/executions"))
        .header("host", served.address.to_string())
        .header("authorization", desk.client.authorization())
        .header("accept", "text/event-stream")
        .header("content-type", "application/json")
        .body(Body::from(json!({"argv": ["bash", "-c", line]}).to_string()))
        .unwrap();
    let (response, connection) = served.open(request).await;
    (Followed::of(response), connection)
}

#[tokio::test]
async fn a_program_can_be_followed_as_it_goes() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let line = "echo one; until [ -e go ]; do sleep 0.01; done; echo two >&2; printf '\\xc3'; sleep 0.05; printf '\\xa9'; exit 5";
    let (mut told, _line) = begin(&served, &desk, line).await;
    let start = told.next().await;
    assert_eq!((&start["event"], &start["argv"][0]), (&json!("start"), &json!("bash")));
    // What is not there yet cannot be told: the first line comes before the program goes on.
    assert_eq!(told.next().await, json!({"event": "stdout", "text": "one\n"}));
    std::fs::write(yard.files(&desk).join("go"), "").unwrap();
    let mut rest: Vec<Value> = Vec::new();
    while rest.last().is_none_or(|event| event["event"] != "exit") {
        rest.push(told.next().await);
    }
    let text = |kind: &str| {
        rest.iter().filter(|e| e["event"] == kind).map(|e| e["text"].as_str().unwrap()).collect::<String>()
    };
    assert_eq!(text("stderr"), "two\n", "{rest:?}");
    assert_eq!(text("stdout"), "é", "a character in two pieces is one");
    assert_eq!(rest.last().unwrap()["exit_code"], 5);
}

#[tokio::test]
async fn whoever_leaves_ends_what_they_started() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let (mut told, line) = begin(&served, &desk, "sleep 4000 & echo $! $$; setsid sleep 4001 & wait").await;
    let pids: Vec<i32> = {
        let event = told.until(|event| event["event"] == "stdout").await;
        event["text"].as_str().unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let lives = |pid: i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.iter().all(|pid| lives(*pid)));
    drop((told, line));
    until("nothing of it is left", || async { !pids.iter().any(|pid| lives(*pid)) }).await;

    let (mut told, _line) = begin(&served, &desk, "sleep 4002").await;
    let id = told.next().await["id"].as_str().unwrap().to_owned();
    let cancelled = desk.client.delete(&desk.at(&format!("/executions/{id}"))).await.expect(200);
    assert_eq!(cancelled, json!({"cancelled": true}));
    let end = told.until(|event| event["event"] == "exit").await;
    assert_eq!(end["cancelled"], true, "{end}");
    desk.client.delete(&desk.at(&format!("/executions/{id}"))).await.problem("not_found");
}

#[tokio::test]
async fn a_flood_of_output_keeps_its_head_and_tail() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let ran = desk.sh("echo first; yes | head -c 5000000; echo last").await;
    let out = ran["stdout"].as_str().unwrap();
    assert!(out.starts_with("first\n") && out.ends_with("last\n") && out.len() < 1_200_000, "{}", out.len());
    assert_eq!(ran["truncated"], true);
    let follower = desk.client.and("accept", "text/event-stream");
    let body = json!({"argv": ["bash", "-c", "echo first; yes | head -c 5000000; echo last"]});
    let told = follower.post(&desk.at("/executions"), body).await;
    let told = events(&told.text);
    let text: String = told.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(text.starts_with("first\n") && text.ends_with("last\n") && text.len() < 1_200_000, "{}", text.len());
    assert_eq!(told.last().unwrap()["truncated"], true);
}
