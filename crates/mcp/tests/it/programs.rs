//! A server that is a program: its environment, and its end.

use std::time::Duration;

use reeve_mcp::client::McpConfig;
use reeve_testkit::gate::TestGate;
use serde_json::{Value, json};

use crate::others::start;

/// A server of the older revision in a few lines. It leaves a helper running, and floods its standard error.
const PROGRAM: &str = r#"
import json, os, subprocess, sys
helper = subprocess.Popen(["sleep", "600"])
print("x" * 5000, file=sys.stderr)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, result, error = asked["method"], None, None
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "small", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "environment", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        found = {"names": sorted(os.environ), "token": os.environ.get("TOKEN"), "pids": [os.getpid(), helper.pid]}
        result = {"content": [], "structuredContent": found}
    else:
        error = {"code": -32601, "message": "no such method"}
    print("not JSON")
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    answer.update({"error": error} if error else {"result": result})
    print(json.dumps(answer), flush=True)
"#;

fn config() -> McpConfig {
    let settings = json!({"command": ["python3", "-c", PROGRAM], "env": {"TOKEN": "its own"}});
    serde_json::from_value(json!({"servers": {"small": settings}})).unwrap()
}

fn lives(pid: i32) -> bool {
    // A zombie has ended; only its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_program_gets_nothing_of_our_environment_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let servers = start(dir.path(), config()).await;
    let report = servers.report().await;
    assert_eq!(report[0].state, "connected", "{report:?}");
    assert_eq!(report[0].protocol_version.as_deref(), Some("2025-06-18"));
    let gate = TestGate::new(servers.tools());
    let found = gate.call("small__environment", json!({})).await.unwrap().data.unwrap();
    assert_eq!(found["token"], "its own");
    let names: Vec<&str> = found["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"PATH") && !names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
    let pids: Vec<i32> = found["pids"].as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap() as i32).collect();
    assert!(pids.iter().all(|pid| lives(*pid)));

    servers.close().await;
    let gone = async {
        while pids.iter().any(|pid| lives(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the program and its helper have ended");

    // The next call starts it again.
    let again = gate.call("small__environment", json!({})).await.unwrap().data.unwrap();
    assert_ne!(again["pids"], found["pids"]);
    servers.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_start_or_ends_at_once_is_said_to() {
    let dir = tempfile::tempdir().unwrap();
    for (command, said) in [(json!(["/nowhere/to/be/found"]), "cannot be started"), (json!(["true"]), "did not open")] {
        let config = serde_json::from_value(json!({"servers": {"bad": {"command": command}}})).unwrap();
        let servers = start(dir.path(), config).await;
        let report = servers.report().await;
        assert!(report[0].reason.as_deref().unwrap().contains(said), "{report:?}");
        assert!(servers.tools().is_empty());
    }
}
