//! Starting, stopping, and being started twice.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::server::{Home, PATIENCE, REEVE, text};

#[test]
fn a_first_start_makes_a_private_token_and_is_healthy() {
    let home = Home::new();
    let server = home.start();
    let health = server.get_as(None, "/health").expect(200);
    assert_eq!(health["status"], "ok");
    let mode = std::fs::metadata(home.data().join("admin.token")).expect("a token file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read the token");
    assert_eq!(server.get_as(None, "/api/v1/events").status, 401);
    assert_eq!(server.get("/api/v1/events").status, 200);
}

#[test]
fn a_second_server_on_the_same_directory_says_so_and_ends() {
    let home = Home::new();
    let first = home.start();
    let second = home.command(REEVE).args(["up", "--listen", "127.0.0.1:0"]).output().expect("it runs");
    assert!(!second.status.success());
    let said = text(&second);
    assert!(said.contains("another Reeve") && said.contains(&first.pid().to_string()), "{said}");
    assert_eq!(first.get_as(None, "/health").status, 200, "the first one goes on");
}

#[test]
fn a_server_that_is_told_to_stop_ends_cleanly_and_the_log_says_so() {
    let home = Home::new();
    let mut server = home.start();
    server.signal("TERM");
    let status = server.wait(Duration::from_secs(25)).expect("it ends");
    assert!(status.success(), "{}", server.log());
    let again = home.start();
    let verdict = again.post("/api/v1/audit/verify", &serde_json::json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    let events = again.get("/api/v1/events?event_type=lifecycle").expect(200);
    let notes: Vec<&str> = events.as_array().expect("a list").iter().filter_map(|e| e["note"].as_str()).collect();
    assert!(notes.iter().any(|note| note.starts_with("stopped; every act had ended")), "{notes:?}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let home = Home::new().with("REEVE_SHUTDOWN_GRACE_SECONDS", "50").with("REEVE_SHUTDOWN_HARD_SECONDS", "55");
    let mut server = home.start();
    server.signal("INT");
    server.signal("INT");
    assert!(server.wait(PATIENCE / 3).is_some(), "it did not wait out its grace");
}

#[test]
fn a_broken_policy_file_keeps_the_old_set_in_force_and_says_so() {
    let home = Home::new().policy(crate::server::ASK);
    let server = home.start();
    let before = server.get("/api/v1/governance/info").expect(200);
    std::fs::write(home.path().join("policies.yaml"), "policies:\n  - name: x\n    rulez: []\n").expect("a write");
    server.signal("HUP");
    crate::server::eventually(|| server.log().contains("stays in force").then_some(()));
    let after = server.get("/api/v1/governance/info").expect(200);
    assert_eq!(before["policy"]["digest"], after["policy"]["digest"], "{after}");
    assert!(server.log().contains("policies.yaml:3"), "the place is named: {}", server.log());
}
