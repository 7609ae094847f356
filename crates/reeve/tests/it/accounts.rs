//! People's accounts on a real server: the first link, the commands, and a start that refuses a known secret.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::json;

use crate::server::{Home, PATIENCE, REEVE, Server, text};

#[test]
fn the_first_start_prints_a_link_that_signs_the_administrator_in_once() {
    let home = Home::new();
    let mut command = home.command(REEVE);
    command.args(["up", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let (base, secret) = line
        .trim()
        .strip_prefix("Sign in at ")
        .and_then(|url| url.split_once("/#/sign-in?link="))
        .unwrap_or_else(|| panic!("it prints a link: {line}"));
    // The first link leads on to a new workspace, where there can be one.
    let secret = secret.strip_suffix("&to=%2Fworkspaces%3Fnew%3Dpython").unwrap_or(secret);
    assert!(!secret.contains('&'), "{secret}");
    let client = reqwest::blocking::Client::builder().timeout(PATIENCE).build().expect("a client");
    let enter =
        || client.post(format!("{base}/api/v1/auth/login")).json(&json!({"link": secret})).send().expect("an answer");
    let first = enter();
    assert_eq!(first.status().as_u16(), 200);
    let body: serde_json::Value = first.json().expect("JSON");
    assert_eq!(body["account"]["roles"], json!(["admin"]));
    assert_eq!(enter().status().as_u16(), 401, "once");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_server_does_not_start_with_a_secret_that_everybody_knows() {
    for secret in ["key", "0123456789", "change-me-change-me-change-me-change-me"] {
        let home = Home::new().with("JWT_SECRET", secret);
        let ended = home.command(REEVE).args(["up", "--listen", "127.0.0.1:0"]).output().expect("it ends");
        assert!(!ended.status.success(), "{secret}");
        let said = text(&ended);
        assert!(said.contains("JWT_SECRET: the secret that signs access tokens"), "{said}");
        assert!(!home.data().join("reeve.db").exists(), "nothing was begun");
    }
    let home = Home::new().with("JWT_SECRET", "4f1c0d2ab97e4c58a1d1b3f5e6079c8d4f1c0d2ab97e4c58");
    assert_eq!(home.start().get_as(None, "/health").status, 200);
}

#[test]
fn accounts_are_kept_with_commands() {
    let home = Home::new();
    let server = home.start();
    let run = |arguments: &[&str]| {
        let output = server.cli(&home, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    let link = run(&["users", "add", "dora@example.com", "--name", "Dora", "--role", "dba"]);
    let secret = link.lines().find_map(|line| line.split_once("link=")).expect("a link").1;
    let entered = server.post_as("none", "/api/v1/auth/login", &json!({"link": secret})).expect(200);
    assert_eq!(entered["account"]["email"], "dora@example.com");
    let token = entered["access_token"].as_str().expect("a token").to_owned();

    assert!(password(&home, &server, "dora@example.com", "short").contains("at least 10 characters"));
    assert!(password(&home, &server, "dora@example.com", "a longer password\n").contains("has another password"));
    assert_eq!(server.get_as(Some(&token), "/api/v1/whoami").status, 401, "every sign-in has ended");
    let body = json!({"email": "dora@example.com", "password": "a longer password"});
    let token = server.post_as("none", "/api/v1/auth/login", &body).expect(200)["access_token"].clone();
    let token = token.as_str().expect("a token");
    run(&["users", "roles", "dora@example.com", "--role", "auditor"]);
    assert_eq!(server.get_as(Some(token), "/api/v1/whoami").expect(200)["roles"], json!(["auditor"]));
    assert!(run(&["users", "rotate-secret"]).contains("new secret"));
    assert_eq!(server.get_as(Some(token), "/api/v1/whoami").status, 200, "old tokens run out by themselves");
    run(&["users", "disable", "dora@example.com"]);
    assert_eq!(server.get_as(Some(token), "/api/v1/whoami").status, 401);
    assert!(run(&["users"]).contains("switched off"));
    run(&["users", "enable", "dora@example.com"]);
    let url = run(&["sign-in-link", "dora@example.com"]);
    assert!(url.starts_with(&format!("{}/#/sign-in?link=", server.url)), "{url}");
    let unknown = server.cli(&home, &["sign-in-link", "nobody@example.com"]);
    assert!(!unknown.status.success() && text(&unknown).contains("there is no account"), "{}", text(&unknown));
    assert!(!server.log().contains("a longer password") && !server.log().contains(secret));
}

fn password(home: &Home, server: &Server, account: &str, secret: &str) -> String {
    let mut command = home.command(REEVE);
    command.env("REEVE_SERVER", &server.url).args(["users", "passwd", account, "--password-stdin"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    child.stdin.take().expect("its input").write_all(secret.as_bytes()).expect("it reads");
    text(&child.wait_with_output().expect("it ends"))
}

#[test]
fn a_link_made_without_a_server_works_at_the_one_that_starts_next() {
    let home = Home::new();
    let made = home.command(REEVE).arg("sign-in-link").output().expect("the command runs");
    let said = text(&made);
    let secret =
        said.lines().find_map(|line| line.split_once("link=")).unwrap_or_else(|| panic!("{said}")).1.to_owned();
    let server = home.start();
    let entered = server.post_as("none", "/api/v1/auth/login", &json!({"link": secret})).expect(200);
    assert_eq!(entered["account"]["name"], "Administrator");
}
