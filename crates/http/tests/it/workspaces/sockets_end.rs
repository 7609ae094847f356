//! Sockets that neither side closes: signing out ends them, the end of a token does, and so does a client's silence.

use std::pin::pin;
use std::time::Duration;

use reeve_http::SocketLimits;
use serde_json::{Value, json};

use super::Desk;
use super::guide_corners::{signed_up, yard};
use super::server::{Served, Socket, until};
use crate::accounts::StandingClock;
use crate::platform::Setup;

const NEWER: [(&str, &str); 1] = [("sec-websocket-protocol", "harvis.term.v2")];

/// Every kind of socket of a workspace, opened with an access token: the guide's events of files with it in a header, the
/// guide's terminal by both of its paths with it in the address, and our own terminal.
async fn opened(served: &Served, desk: &Desk, token: &str) -> Vec<(String, Socket)> {
    let id = &desk.id;
    let bearer = format!("Bearer {token}");
    let terminal = desk.post("/terminals", json!({})).await.expect(201)["id"].as_str().unwrap().to_owned();
    let own = desk.at(&format!("/terminals/{terminal}/socket"));
    let mut all = Vec::new();
    for (path, header) in [
        (format!("/api/vibecode/container/{id}/fs-events"), Some(bearer.as_str())),
        (format!("/api/vibecode/ws/terminal?session_id={id}&token={token}"), None),
        (format!("/ws/vibecoding/terminal?session_id={id}&token={token}"), None),
        (own, Some(bearer.as_str())),
    ] {
        let headers = NEWER.into_iter().chain(header.map(|value| ("authorization", value)));
        let mut socket = served.socket(&path, &headers.collect::<Vec<_>>()).await.unwrap();
        let first = socket.told().await["type"].clone();
        assert!(first == "ready" || first == "hello", "{path}: {first}");
        all.push((path, socket));
    }
    all
}

async fn all_closed(sockets: Vec<(String, Socket)>, with: u16) {
    for (path, socket) in sockets {
        assert_eq!(socket.closed().await.0, with, "{path}");
    }
}

#[tokio::test]
async fn signing_out_closes_every_socket_and_opens_none() {
    let yard = yard(Setup::default()).await;
    let (desk, token) = signed_up(&yard).await;
    let served = Served::of(&yard.t).await;
    let mut sockets = opened(&served, &desk, &token).await;
    for (path, socket) in &mut sockets[1..] {
        socket.type_in("echo typed-$((40+2))\n").await;
        assert!(socket.until_shown("typed-42").await.contains("typed-42"), "{path}");
    }
    desk.client.post("/api/auth/logout", json!({})).await;
    all_closed(sockets, 4401).await;
    let address = format!("/api/vibecode/ws/terminal?session_id={}&token={token}", desk.id);
    assert_eq!(served.socket(&address, &NEWER).await.unwrap().closed().await.0, 4401);
    let (code, last) = served.socket(&address, &[]).await.unwrap().closed().await;
    assert_eq!((code, last["error"].is_string()), (1008, true), "clients of the older framing: {last}");
}

#[tokio::test]
async fn a_token_that_ends_closes_every_socket_a_grace_later() {
    let clock = StandingClock::new();
    let sockets = SocketLimits { looked_every: Duration::from_millis(5), ..SocketLimits::default() };
    let yard = yard(Setup { clock: clock.clone(), sockets, ..Setup::default() }).await;
    let (desk, token) = signed_up(&yard).await;
    let served = Served::of(&yard.t).await;
    let issued = desk.client.post("/api/vibecode/ws-ticket", json!({"session_id": desk.id})).await.expect(200);
    let ticket = issued["ticket"].as_str().unwrap().to_owned();
    let mut open = opened(&served, &desk, &token).await;
    clock.forward(Duration::from_secs(60 * 60 + 29));
    desk.client.get("/api/auth/me").await.problem("unauthenticated");
    for (_, socket) in &mut open[1..] {
        socket.type_in("echo still-$((40+2))\n").await;
        socket.until_shown("still-42").await;
    }
    clock.forward(Duration::from_secs(2));
    all_closed(open, 4401).await;
    // A ticket lasts no longer than the token that it was asked for with.
    let late = format!("/api/vibecode/ws/terminal?session_id={}&ticket={ticket}", desk.id);
    assert_eq!(served.socket(&late, &NEWER).await.unwrap().closed().await.0, 4401);
    let late = format!("/api/vibecode/ws/terminal?session_id={}&token={token}", desk.id);
    assert_eq!(served.socket(&late, &NEWER).await.unwrap().closed().await.0, 4401);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone_and_one_that_does_stays() {
    let sockets = SocketLimits {
        ping_every: Duration::from_millis(100),
        silent_for: Duration::from_secs(2),
        ..SocketLimits::default()
    };
    let yard = yard(Setup { sockets, ..Setup::default() }).await;
    let (desk, token) = signed_up(&yard).await;
    let served = Served::of(&yard.t).await;
    // Whoever reads answers pings; these are not read until they were given up, the one that is no terminal first of all.
    let silent = opened(&served, &desk, &token).await;
    let address = format!("/ws/vibecoding/terminal?session_id={}&token={token}", desk.id);
    let mut heard = served.socket(&address, &NEWER).await.unwrap();
    let attached = async || -> u64 {
        let listed: Value = desk.get("/terminals").await.expect(200);
        listed["terminals"].as_array().unwrap().iter().filter_map(|one| one["attached"].as_u64()).sum()
    };
    {
        let mut given_up = pin!(until("only the one that answers is attached", || async { attached().await == 1 }));
        let mut reads = pin!(heard.until_shown("never shown"));
        tokio::select! {
            () = &mut given_up => {}
            _ = &mut reads => panic!("it says nothing of the kind"),
        }
    }
    all_closed(silent, 4408).await;
    heard.type_in("echo there-$((40+2))\n").await;
    heard.until_shown("there-42").await;
}

#[tokio::test]
async fn a_server_that_stops_and_a_workspace_that_rests_say_so() {
    let yard = yard(Setup::default()).await;
    let (desk, token) = signed_up(&yard).await;
    let served = Served::of(&yard.t).await;
    let mut follows = opened(&served, &desk, &token).await;
    desk.post("/suspend", json!({})).await.expect(200);
    let (_, events) = follows.remove(0);
    let (code, last) = events.closed().await;
    assert_eq!((code, &last["code"]), (4409, &json!("not_running")), "{last}");
    desk.post("/start", json!({})).await.expect(200);
    let open = opened(&served, &desk, &token).await;
    yard.t.stop.cancel();
    all_closed(open, 1001).await;
}

/// A session's socket ends as a workspace's does.
#[tokio::test]
async fn a_sessions_socket_ends_with_the_token_too() {
    let clock = StandingClock::new();
    let sockets = SocketLimits { looked_every: Duration::from_millis(5), ..SocketLimits::default() };
    let models = reeve_testkit::models::ScriptedModels::new([]);
    let setup = Setup { clock: clock.clone(), sockets, models: Some(models), ..Setup::default() };
    let yard = yard(setup).await;
    let (desk, token) = signed_up(&yard).await;
    let served = Served::of(&yard.t).await;
    let begun = desk.client.post("/api/v1/sessions", json!({"agent": "general"})).await.expect(201);
    let path = format!("/api/v1/sessions/{}/ws", begun["id"].as_str().unwrap());
    let bearer = format!("Bearer {token}");
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = served.socket(&path, &[("authorization", &bearer)]).await.unwrap();
        assert_eq!(socket.told().await["event"], "connected");
        open.push((path.clone(), socket));
    }
    clock.forward(Duration::from_secs(60 * 60 + 31));
    all_closed(open, 4401).await;
}
