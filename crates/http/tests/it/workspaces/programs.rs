//! Running programs: whole, followed, and ended by whoever leaves.

use axum::body::Body;
use axum::http::{Method, Request};
use reeve_platform::workspaces::WorkspacesOptions;
use serde_json::{Value, json};

use super::server::{Followed, Served, until};
use super::{Desk, Yard, events};
use crate::platform::Setup;

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
async fn a_flood_of_output_keeps_its_head_and_tail_and_whoever_follows_gets_all_of_it() {
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
    assert!(text.starts_with("first\n") && text.ends_with("last\n"), "{}", text.len());
    assert_eq!(text.len(), 5_000_000 + "first\nlast\n".len(), "nothing is left out");
    assert_eq!((&told.last().unwrap()["event"], &told.last().unwrap()["truncated"]), (&json!("exit"), &json!(false)));
}

#[tokio::test]
async fn what_is_written_late_is_told_while_the_program_runs() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    // A server that has logged two megabytes, and goes on.
    let line = "yes | head -c 2000000; echo; echo listening; until [ -e go ]; do sleep 0.01; done";
    let (mut told, _line) = begin(&served, &desk, line).await;
    told.until(|event| event["text"].as_str().is_some_and(|text| text.contains("listening"))).await;
    std::fs::write(yard.files(&desk).join("go"), "").unwrap();
    let end = told.until(|event| event["event"] == "exit").await;
    assert_eq!((&end["exit_code"], &end["truncated"]), (&json!(0), &json!(false)), "{end}");
}

#[tokio::test]
async fn a_program_waits_for_whoever_follows_it_and_does_not_read() {
    const WRITTEN: u64 = 64;
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let line = format!(
        "for n in $(seq {WRITTEN}); do yes | head -c 1048576; echo $n > progress.new; mv progress.new progress; done"
    );
    let (told, open) = begin(&served, &desk, &line).await;
    let progress = || {
        let text = std::fs::read_to_string(yard.files(&desk).join("progress")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    // It has come to rest when a second passes without another megabyte.
    let mut seen = (progress(), std::time::Instant::now());
    until("it waits", || {
        if progress() != seen.0 {
            seen = (progress(), std::time::Instant::now());
        }
        let rests = seen.0 > 0 && seen.1.elapsed() > std::time::Duration::from_secs(1);
        async move { rests }
    })
    .await;
    assert!(progress() < WRITTEN / 2, "{} MB went somewhere although nobody reads", progress());
    drop((told, open));
}

#[tokio::test]
async fn how_long_a_program_may_run_is_the_installations_to_say() {
    let options =
        WorkspacesOptions { run_max: std::time::Duration::from_secs(2 * 3600), ..WorkspacesOptions::default() };
    let yard = Yard::with(Setup::default(), options).await;
    let desk = yard.at_work("alice").await;
    let told = desk.client.get("/api/v1/workspace-templates").await.expect(200);
    let rules = &told["rules"];
    assert_eq!((&rules["run_ms_max"], &rules["whole_run_ms_max"]), (&json!(7_200_000), &json!(3_600_000)), "{rules}");
    assert_eq!(rules["limits"]["memory_bytes"], json!(2_u64 << 30));
    let follower = desk.client.and("accept", "text/event-stream");
    for (client, ms, status) in [
        (&desk.client, 3_600_000_u64, 200),
        (&desk.client, 3_600_001, 400),
        (&follower, 7_200_000, 200),
        (&follower, 7_200_001, 400),
        (&follower, 0, 400),
    ] {
        let answer = client.post(&desk.at("/executions"), json!({"argv": ["true"], "timeout_ms": ms})).await;
        assert_eq!(answer.status.as_u16(), status, "{ms}: {}", answer.text);
    }
}
