//! People are told: a webhook and a mail server that a test plays, the webhook refusing at first.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use reeve_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::server::{ASK, Home, eventually};

type Received = Arc<Mutex<Vec<String>>>;

/// A receiver that answers 500 to the first post and 204 to the others.
fn webhook_receiver() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/hook/secret-part", listener.local_addr().expect("an address"));
    let received: Received = Arc::default();
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().flatten().enumerate() {
            let body = read_post(&stream);
            let answer = if at == 0 { "500 Internal Server Error" } else { "204 No Content" };
            let _ = write!(&stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if at > 0 {
                kept.lock().expect("the bodies").push(body);
            }
        }
    });
    (address, received)
}

fn read_post(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    String::from_utf8_lossy(&body).into_owned()
}

/// A mail server that takes every letter and offers no TLS.
fn mail_receiver() -> (u16, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let received: Received = Arc::default();
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || take_letter(&stream, &kept));
        }
    });
    (port, received)
}

fn take_letter(mut stream: &TcpStream, kept: &Received) {
    let mut reader = BufReader::new(stream);
    let _ = stream.write_all(b"220 test\r\n");
    let mut letter: Option<String> = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match &mut letter {
            Some(text) if line == ".\r\n" => {
                kept.lock().expect("the letters").push(std::mem::take(text));
                letter = None;
                let _ = stream.write_all(b"250 taken\r\n");
            }
            Some(text) => text.push_str(&line),
            None if line.starts_with("DATA") => {
                letter = Some(String::new());
                let _ = stream.write_all(b"354 go on\r\n");
            }
            None if line.starts_with("QUIT") => {
                let _ = stream.write_all(b"221 bye\r\n");
                return;
            }
            None => {
                let _ = stream.write_all(b"250 fine\r\n");
            }
        }
    }
}

#[test]
fn a_question_and_its_answer_reach_the_webhook_and_the_mailbox_although_the_first_try_fails() {
    let (hook, posts) = webhook_receiver();
    let (mail_port, letters) = mail_receiver();
    let postgres = PostgresServer::start();
    let home = Home::new()
        .inventory(&postgres.superuser_dsn())
        .policy(ASK)
        .with("HELPDESK_APPROVAL_WEBHOOK", &hook)
        .with("HELPDESK_APPROVAL_BASE_URL", "https://reeve.example")
        .with("SMTP_HOST", "127.0.0.1")
        .with("SMTP_PORT", mail_port.to_string())
        .with("HELPDESK_EMAIL_FROM", "reeve@example.org")
        .with("HELPDESK_EMAIL_TO", "ops@example.org");
    let server = home.start();
    let agent = server.service("night-agent", &["sre-automation"]);
    let body = json!({"arguments": {"connection_string": "shop", "table": "public.t"}, "purpose": "maintenance"});
    let asked = server.post_as(&agent, "/api/v1/tools/run_vacuum/run", &body).expect(202);
    let approval = asked["approval_id"].as_str().expect("an id");
    server.post(&format!("/api/v1/approvals/{approval}/deny"), &json!({"reason": "not by day"})).expect(200);

    eventually(|| (posts.lock().expect("the bodies").len() >= 2).then_some(()));
    let bodies: Vec<Value> =
        posts.lock().expect("the bodies").iter().map(|body| serde_json::from_str(body).expect("JSON")).collect();
    let of = |kind: &str| {
        bodies.iter().find(|body| body["event_type"] == kind).unwrap_or_else(|| panic!("{kind}: {bodies:?}"))
    };
    assert_eq!(of("approval_created")["approval_id"], approval);
    assert_eq!(of("approval_created")["tool"], "run_vacuum");
    let resolved = of("approval_resolved");
    assert_eq!((&resolved["status"], &resolved["reason"]), (&json!("denied"), &json!("not by day")));

    eventually(|| (letters.lock().expect("the letters").len() >= 2).then_some(()));
    let letters = letters.lock().expect("the letters").join("\n");
    assert!(letters.contains("[APPROVAL REQUIRED] write - run_vacuum"), "{letters}");
    assert!(letters.contains("[APPROVAL DENIED] write - run_vacuum"), "{letters}");
    assert!(!server.log().contains("secret-part"), "a webhook's path is a secret: {}", server.log());
}

#[test]
fn who_may_answer_finds_links_in_the_letter_and_answers_with_one_from_any_device() {
    let (mail_port, letters) = mail_receiver();
    let postgres = PostgresServer::start();
    let home = Home::new()
        .inventory(&postgres.superuser_dsn())
        .policy(ASK)
        .with("HELPDESK_APPROVAL_BASE_URL", "https://reeve.example")
        .with("SMTP_HOST", "127.0.0.1")
        .with("SMTP_PORT", mail_port.to_string())
        .with("HELPDESK_EMAIL_FROM", "reeve@example.org")
        .with("HELPDESK_EMAIL_TO", "ops@example.org,lea@example.org");
    let server = home.start();
    let lea = json!({"email": "lea@example.org", "name": "Lea", "roles": ["dba"]});
    server.post("/api/v1/accounts", &lea).expect(201);
    let agent = server.service("night-agent", &["sre-automation"]);
    let body = json!({"arguments": {"connection_string": "shop", "table": "public.t"}, "purpose": "maintenance"});
    let asked = server.post_as(&agent, "/api/v1/tools/run_vacuum/run", &body).expect(202);
    let approval = asked["approval_id"].as_str().expect("an id").to_owned();

    eventually(|| (letters.lock().expect("the letters").len() >= 2).then_some(()));
    let kept = letters.lock().expect("the letters").clone();
    let with_links: Vec<&String> = kept.iter().filter(|letter| letter.contains("#/answer/")).collect();
    let [hers] = with_links.as_slice() else { panic!("one letter has links: {kept:?}") };
    assert!(hers.contains("lea@example.org") && !hers.contains("ops@example.org"), "{hers}");
    // Lines of letters are folded (RFC 2045, quoted-printable).
    let text = hers.replace("=\r\n", "").replace("=3D", "=");
    let links: Vec<&str> = text
        .split("https://reeve.example/#/answer/")
        .skip(1)
        .map(|rest| rest.split_whitespace().next().expect("a token"))
        .collect();
    let [approve, deny] = links.as_slice() else { panic!("two links: {text}") };

    let would = server.request("POST", "/api/v1/answer-links/look", None, Some(&json!({"link": deny}))).expect(200);
    assert_eq!((&would["choice"], &would["name"], &would["open"]), (&json!("deny"), &json!("Lea"), &json!(true)));
    let answer = json!({"link": approve, "reason": "from the train"});
    let settled = server.request("POST", "/api/v1/answer-links/answer", None, Some(&answer)).expect(200);
    assert_eq!((&settled["status"], &settled["resolved_by"]), (&json!("approved"), &json!("user:lea@example.org")));
    server.request("POST", "/api/v1/answer-links/answer", None, Some(&json!({"link": deny}))).expect(409);
    let shown = server.get(&format!("/api/v1/approvals/{approval}")).expect(200);
    assert_eq!(shown["resolution_reason"], "from the train");
    assert!(!server.log().contains(approve), "a link is a secret: {}", server.log());
}
