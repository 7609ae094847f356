//! A second party with a key of its own: it cosigns a log that has only grown, and notices one that was taken back.

use std::path::Path;

use serde_json::Value;

use crate::server::{Home, Server, text};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn witness(home: &Home, server: &Server) -> std::process::Output {
    server.cli(home, &["audit", "witness", "--log-key", "log.pub", "--key", "witness.key"])
}

#[test]
fn a_log_that_was_taken_back_is_not_cosigned_again() {
    let home = Home::new();
    let mut server = home.start();
    let key = server.cli(&home, &["audit", "log-key"]);
    assert!(key.status.success(), "{}", text(&key));
    std::fs::write(home.path().join("log.pub"), &key.stdout).expect("the key");
    let made = server.cli(&home, &["audit", "keygen", "second-party", "--file", "witness.key"]);
    assert!(made.status.success(), "{}", text(&made));
    let public = String::from_utf8_lossy(&made.stdout).trim().to_owned();

    server.signal("TERM");
    server.wait(crate::server::PATIENCE).expect("it ends");
    let earlier = home.path().join("earlier");
    copy(&home.data(), &earlier);

    let mut server = home.start();
    for name in ["a", "b", "c"] {
        server.service(name, &[]);
    }
    let cosigned = witness(&home, &server);
    assert!(cosigned.status.success(), "{}", text(&cosigned));
    let verified = server.cli(&home, &["audit", "verify", "--witness", &public, "--output", "json"]);
    let verdict: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(verdict["valid"], true, "{verdict}");
    assert_eq!(verdict["anchored"][0]["from"], 0, "the records are vouched for: {verdict}");

    server.service("d", &[]);
    let again = witness(&home, &server);
    assert!(again.status.success(), "a log that has grown is cosigned again: {}", text(&again));

    server.signal("TERM");
    server.wait(crate::server::PATIENCE).expect("it ends");
    std::fs::remove_dir_all(home.data()).expect("the log is removed");
    copy(&earlier, &home.data());
    let server = home.start();
    let refused = witness(&home, &server);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
}
