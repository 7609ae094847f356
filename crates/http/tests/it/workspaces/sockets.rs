//! Terminals over real WebSockets: tickets, framings, sharing, closing.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::server::{Served, Socket, until};
use super::{Desk, Yard};

async fn terminal(desk: &Desk) -> String {
    let opened =
        desk.post("/terminals", json!({"cols": 90, "rows": 20, "argv": ["bash", "--norc", "-i"]})).await.expect(201);
    assert_eq!((&opened["cols"], &opened["rows"]), (&json!(90), &json!(20)));
    opened["id"].as_str().unwrap().to_owned()
}

async fn ticket(desk: &Desk, body: Value) -> String {
    desk.client.post("/api/v1/ws-tickets", body).await.expect(200)["ticket"].as_str().unwrap().to_owned()
}

async fn attach(served: &Served, desk: &Desk, terminal: &str, ticket: &str) -> Socket {
    let path = desk.at(&format!("/terminals/{terminal}/socket?ticket={ticket}"));
    served.socket(&path, &[("sec-websocket-protocol", "reeve.term.v1")]).await.unwrap()
}

async fn attached(served: &Served, desk: &Desk, terminal: &str) -> Socket {
    let ticket = ticket(desk, json!({"workspace_id": desk.id, "terminal_id": terminal})).await;
    attach(served, desk, terminal, &ticket).await
}

#[tokio::test]
async fn a_terminal_takes_keys_and_control_and_ends_with_its_program() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let id = terminal(&desk).await;
    let mut socket = attached(&served, &desk, &id).await;
    assert_eq!(socket.headers["sec-websocket-protocol"], "reeve.term.v1");
    let ready = socket.told().await;
    assert_eq!((&ready["type"], &ready["terminal_id"], &ready["cols"]), (&json!("ready"), &json!(id), &json!(90)));
    socket.type_in("stty size; echo $((6*7))-größe\n").await;
    let shown = socket.until_shown("42-größe").await;
    assert!(shown.contains("20 90"), "{shown}");
    socket.control(json!({"type": "resize", "cols": 120, "rows": 30})).await;
    socket.control(json!({"type": "ping", "t": 7})).await;
    assert_eq!(socket.told().await, json!({"type": "pong", "t": 7}));
    socket.type_in("stty size\n").await;
    socket.until_shown("30 120").await;
    socket.control(json!({"type": "dance"})).await;
    let complaint = socket.told().await;
    assert_eq!((&complaint["type"], &complaint["code"]), (&json!("error"), &json!("bad_request")));
    socket.type_in("yes\n").await;
    socket.until_shown("y\r\ny\r\ny\r\n").await;
    socket.type_in("\x03").await;
    socket.type_in("echo after-$((1+1))\n").await;
    socket.until_shown("after-2").await;
    socket.type_in("exit 7\n").await;
    let (code, last) = socket.closed().await;
    assert_eq!((code, last), (1000, json!({"type": "exit", "code": 7})));
    until("it is gone from the list", || async { desk.get("/terminals").await.expect(200)["terminals"] == json!([]) })
        .await;
}

#[tokio::test]
async fn a_terminal_outlives_its_socket_and_is_shown_again_from_the_start() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let id = terminal(&desk).await;
    let mut first = attached(&served, &desk, &id).await;
    first.type_in("echo remember-$((40+2))\n").await;
    first.until_shown("remember-42").await;
    let mut second = attached(&served, &desk, &id).await;
    assert_eq!(second.told().await["resumed"], true);
    second.until_shown("remember-42").await;
    second.type_in("echo both-$((1+1))\n").await;
    first.until_shown("both-2").await;
    assert_eq!(desk.get("/terminals").await.expect(200)["terminals"][0]["attached"], 2);
    drop((first, second));
    let mut later = attached(&served, &desk, &id).await;
    let shown = later.until_shown("both-2").await;
    assert!(shown.contains("remember-42"), "{shown}");
    let closed = desk.client.delete(&desk.at(&format!("/terminals/{id}"))).await.expect(200);
    assert_eq!(closed, json!({"closed": true}));
    assert_eq!(later.closed().await.0, 1000);
}

/// Writes what it is told to in pieces of one to seven bytes, so that every character of several bytes is cut.
const SHOW: &str = "import os, sys, tty\ntty.setraw(0)\nshown = open(sys.argv[1], 'rb').read()\nat = size = 0\n\
    while at < len(shown):\n size = size % 7 + 1\n at += os.write(1, shown[at:at + size])\n";

#[tokio::test]
async fn what_a_full_screen_program_draws_passes_byte_for_byte_through_every_terminal() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let mut drawn = b"\x1b[?1049h\x1b[2J\x1b[H".to_vec();
    for colour in 0..256 {
        let ground = 255 - colour;
        drawn.extend(format!("\x1b[38;5;{colour}m\x1b[48;5;{ground}m漢字🦀👩‍👩‍👧\x1b[0m\r\n").bytes());
    }
    drawn.extend(0..=255u8);
    drawn.extend(b"\xc3\xff\xe6\xbc\x1b[?1049l");
    std::fs::write(yard.files(&desk).join("drawn"), &drawn).unwrap();
    let key = ("authorization", desk.client.authorization());
    let newer = ("sec-websocket-protocol", "harvis.term.v2");
    let guides = format!("/api/vibecode/ws/terminal?session_id={}", desk.id);
    for own in [true, false] {
        // The guide's terminal is a shell, which becomes the program.
        let (mut socket, begins) = if own {
            let argv = json!(["sh", "-c", "read line; printf begin; exec python3 -c \"$0\" drawn", SHOW]);
            let id =
                desk.post("/terminals", json!({"argv": argv})).await.expect(201)["id"].as_str().unwrap().to_owned();
            let path = desk.at(&format!("/terminals/{id}/socket"));
            let mut socket = served.socket(&path, &[newer, key]).await.unwrap();
            socket.type_in("go\n").await;
            (socket, "begin")
        } else {
            std::fs::write(yard.files(&desk).join("show.py"), SHOW).unwrap();
            let mut socket = served.socket(&guides, &[key]).await.unwrap();
            socket.type_in("PS1=; printf 'be''gin'; exec python3 show.py drawn\n").await;
            (socket, "begin")
        };
        let mut shown = Vec::new();
        let code = loop {
            match socket.next().await {
                Message::Binary(bytes) => shown.extend_from_slice(&bytes),
                Message::Text(_) => {}
                Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, Some(1000));
        let at = shown.windows(begins.len()).position(|window| window == begins.as_bytes()).expect("its beginning");
        let after = &shown[at + begins.len()..];
        assert!(after == drawn, "own {own}: {} bytes for {}", after.len(), drawn.len());
    }
}

#[tokio::test]
async fn a_ticket_opens_its_own_terminal_once() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let (id, other) = (terminal(&desk).await, terminal(&desk).await);
    let issued = desk.client.post("/api/v1/ws-tickets", json!({"workspace_id": desk.id, "terminal_id": id})).await;
    let issued = issued.expect(200);
    let until: jiff::Timestamp = issued["expires_at"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((25..=30).contains(&left), "{left} s");
    let secret = issued["ticket"].as_str().unwrap();
    let (code, last) = attach(&served, &desk, &other, secret).await.closed().await;
    assert_eq!((code, &last["code"]), (4403, &json!("forbidden")), "{last}");
    let (code, last) = attach(&served, &desk, &id, secret).await.closed().await;
    assert_eq!((code, &last["code"]), (4401, &json!("unauthenticated")), "it is used up: {last}");
    let any = ticket(&desk, json!({"workspace_id": desk.id})).await;
    let mut socket = attach(&served, &desk, &id, &any).await;
    assert_eq!(socket.told().await["type"], "ready");

    let eve = Desk { client: yard.developer("eve").await, id: desk.id.clone() };
    let wanted = json!({"workspace_id": desk.id, "terminal_id": id});
    eve.client.post("/api/v1/ws-tickets", wanted).await.problem("not_found");
    let own = yard.at_work("eve").await;
    let theirs = ticket(&own, json!({"workspace_id": own.id})).await;
    let (code, _) = attach(&served, &desk, &id, &theirs).await.closed().await;
    assert_eq!(code, 4403, "a ticket for another workspace");
}

#[tokio::test]
async fn a_socket_says_why_it_is_closed() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let id = terminal(&desk).await;
    let path = desk.at(&format!("/terminals/{id}/socket"));
    let control = ("sec-websocket-protocol", "harvis.term.v2");
    let eve = yard.developer("eve").await;
    let (code, last) =
        served.socket(&path, &[control, ("authorization", eve.authorization())]).await.unwrap().closed().await;
    assert_eq!((code, &last["code"]), (4404, &json!("not_found")), "somebody else's does not exist");
    let key = ("authorization", desk.client.authorization());
    let missing = desk.at("/terminals/trm_00000000000000000000000000/socket");
    assert_eq!(served.socket(&missing, &[control, key]).await.unwrap().closed().await.0, 4404);
    let nobody = yard.t.user("nobody", &[]).await;
    let lacking = served.socket(&path, &[control, ("authorization", nobody.authorization())]).await.unwrap();
    assert_eq!(lacking.closed().await.0, 4403);
    assert_eq!(served.socket(&path, &[control]).await.unwrap().closed().await.0, 4401);
    let (code, last) = served.socket(&path, &[]).await.unwrap().closed().await;
    assert_eq!((code, last["error"].is_string()), (1008, true), "old clients: {last}");
    let foreign = [control, key, ("origin", "https://evil.example")];
    let foreign = served.socket(&path, &foreign).await;
    assert!(matches!(foreign, Ok(_) | Err(StatusCode::FORBIDDEN)));
    if let Ok(socket) = foreign {
        assert_eq!(socket.closed().await.0, 4403);
    }
    // No handshake at all.
    desk.client.get(&path).await.problem("bad_request");
    yard.t.client(&[]).get(&path).await.problem("unauthenticated");

    let mut live = served.socket(&path, &[control, key]).await.unwrap();
    assert_eq!(live.told().await["type"], "ready");
    desk.post("/suspend", json!({})).await.expect(200);
    let (code, last) = live.closed().await;
    assert!(code == 4409 || (code == 1000 && last["type"] == "exit"), "{code} {last}");
    let (code, last) = served.socket(&path, &[control, key]).await.unwrap().closed().await;
    assert_eq!((code, &last["code"]), (4409, &json!("not_running")), "{last}");
}

#[tokio::test]
async fn the_ninth_terminal_is_one_too_many() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    for _ in 0..8 {
        terminal(&desk).await;
    }
    desk.post("/terminals", json!({})).await.problem("rate_limited");
    let path = format!("/ws/vibecoding/terminal?session_id={}", desk.id);
    let headers = [("sec-websocket-protocol", "harvis.term.v2"), ("authorization", desk.client.authorization())];
    let (code, last) = served.socket(&path, &headers).await.unwrap().closed().await;
    assert_eq!((code, &last["code"]), (4429, &json!("rate_limited")), "{last}");
}
