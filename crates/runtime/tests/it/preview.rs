//! The preview process: started with the runtime, watched over, and given its restart key.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::running::{Running, until};

/// Tells every key that it is given, and ends on `q`.
const SERVER: &str = "bash -c 'echo up-$$; while read -rsn1 key; do echo key-$key; [ \"$key\" = q ] && exit 9; done'";

async fn start(command: &str, more: &[(&str, &str)]) -> (Running, tempfile::TempDir) {
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("preview.log").display().to_string();
    let mut variables = vec![("REEVE_RUNTIME_PREVIEW", command), ("REEVE_RUNTIME_PREVIEW_LOG", log.as_str())];
    variables.extend(more);
    (Running::start_with(&variables).await, logs)
}

fn logged(logs: &tempfile::TempDir) -> String {
    std::fs::read_to_string(logs.path().join("preview.log")).unwrap_or_default()
}

async fn standing(runtime: &Running) -> (StatusCode, Value) {
    let (status, health) = runtime.ask(Method::GET, "/healthz", "").await;
    (status, health["preview"].clone())
}

#[tokio::test]
async fn it_is_started_again_when_it_ends_and_its_health_is_told() {
    let (runtime, logs) = start(SERVER, &[]).await;
    until("it runs", || async { standing(&runtime).await.1["running_pid"].is_i64() }).await;
    until("it has written", || async { logged(&logs).contains("up-") }).await;
    let (status, first) = standing(&runtime).await;
    let pid = first["running_pid"].as_i64().expect("a process");
    assert_eq!((status, &first["restart_count"], &first["max_restarts"]), (StatusCode::OK, &json!(0), &json!(100)));
    assert!(logged(&logs).contains(&format!("up-{pid}\r\n")), "{}", logged(&logs));
    let noted = || std::fs::read_to_string(logs.path().join("preview.pid")).unwrap_or_default();
    until("its process is noted", || async { noted() == format!("{pid}\n") }).await;
    let ended = runtime.sh(&format!("kill -TERM {pid}")).await;
    assert_eq!(ended.outcome.exit_code, 0, "{ended:?}");
    until("it is known to have ended", || async { standing(&runtime).await.0 == StatusCode::SERVICE_UNAVAILABLE })
        .await;
    until("it runs again", || async { standing(&runtime).await.1["restart_count"] == 1 }).await;
    until("it has a process", || async { standing(&runtime).await.1["running_pid"].is_i64() }).await;
    let (_, again) = standing(&runtime).await;
    assert_eq!((&again["last_exit_code"], &again["exhausted"]), (&json!(143), &json!(false)));
    assert!(again["last_exit_ts_ms"].as_i64().is_some() && again["running_pid"] != json!(pid), "{again}");
    assert_eq!(runtime.get("/v1/terminals").await, json!([]), "it is nobody's terminal");
}

#[tokio::test]
async fn the_restart_key_is_pressed_when_asked_and_after_changes() {
    let (runtime, logs) = start(SERVER, &[("REEVE_RUNTIME_HOT_RESTART", "1")]).await;
    until("it has written", || async { logged(&logs).contains("up-") }).await;
    assert_eq!(runtime.post("/hot-restart", json!({})).await, (StatusCode::OK, json!({"ok": true})));
    until("the key came", || async { logged(&logs).matches("key-R").count() == 1 }).await;
    for number in 0..5 {
        let write = json!({"path": format!("lib/{number}.dart"), "content_b64": "AA=="});
        assert_eq!(runtime.post("/write_b64", write).await.0, StatusCode::OK);
    }
    until("the key came once for all of them", || async { logged(&logs).matches("key-R").count() == 2 }).await;
    runtime.post("/exec", json!({"command": "true"})).await;
    until("and once for the command", || async { logged(&logs).matches("key-R").count() == 3 }).await;
}

#[tokio::test]
async fn what_cannot_be_started_is_told_and_nothing_is_left_at_the_end() {
    let (runtime, _logs) = start("no-such-server --port 3000", &[]).await;
    until("it is degraded", || async { standing(&runtime).await.1["last_exit_code"] == 127 }).await;
    let (status, health) = runtime.ask(Method::GET, "/healthz", "").await;
    assert_eq!((status, &health["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("degraded")));
    assert_eq!(runtime.post("/hot-restart", json!({})).await.0, StatusCode::CONFLICT);
    assert!(runtime.terminate().await < std::time::Duration::from_secs(3));
    let without = Running::start().await;
    assert_eq!(without.post("/hot-restart", json!({})).await.0, StatusCode::NOT_FOUND);
    let (running, logs) = start(SERVER, &[]).await;
    until("it has written", || async { logged(&logs).contains("up-") }).await;
    let offspring = running.offspring();
    assert!(!offspring.is_empty());
    assert!(running.terminate().await < std::time::Duration::from_secs(3));
    let alive = |one: &String| {
        let pid = one.split(' ').next().unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    until("nothing of it lives", || async { !offspring.iter().any(alive) }).await;
}
