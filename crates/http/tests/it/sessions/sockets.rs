//! Sessions over real WebSockets: events one way, words the other.

use serde_json::{Value, json};

use super::{Room, at, begin, changes, says};
use crate::platform::Client;
use crate::workspaces::Yard;
use crate::workspaces::server::{Served, Socket};

async fn path(client: &Client, id: &str, more: &str) -> String {
    let given = client.post("/api/v1/auth/sse-token", json!({})).await.expect(201);
    at(id, &format!("/ws?token={}{more}", given["token"].as_str().unwrap()))
}

async fn attach(served: &Served, client: &Client, id: &str) -> Socket {
    let mut socket = served.socket(&path(client, id, "").await, &[]).await.unwrap();
    assert_eq!(socket.told().await["event"], "connected");
    socket
}

async fn until(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let event = socket.told().await;
        if event["event"] == kind {
            return event;
        }
    }
}

#[tokio::test]
async fn a_socket_takes_prompts_and_answers_and_shows_every_event() {
    let room = Room::with(changes());
    let (alice, root) = (room.developer("alice").await, room.admin().await);
    let served = Served::of(&room.t).await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let (mut hers, mut roots) = (attach(&served, &alice, &id).await, attach(&served, &root, &id).await);
    hers.control(json!({"type": "prompt", "text": "change it"})).await;
    let asked = until(&mut hers, "tool_waiting").await;
    hers.control(json!({"type": "approve", "approval_id": asked["approval_id"]})).await;
    assert_eq!(until(&mut hers, "error").await["code"], "own_request");
    roots.control(json!({"type": "approve", "approval_id": asked["approval_id"], "reason": "go"})).await;
    assert_eq!(until(&mut hers, "tool_answered").await["reason"], "go");
    let ended = until(&mut hers, "turn_ended").await;
    assert_eq!((&ended["end"], room.t.runs()), (&json!("completed"), 1));
    // A socket of its own begins after the event that it names.
    let last = ended["seq"].as_u64().unwrap();
    let mut later = served.socket(&path(&alice, &id, &format!("&after={}", last - 1)).await, &[]).await.unwrap();
    assert_eq!(later.told().await["last_seq"], last);
    assert_eq!(later.told().await, ended);
}

#[tokio::test]
async fn what_is_not_done_is_said_and_the_socket_goes_on() {
    let room = Room::with([says("hello")]);
    let alice = room.developer("alice").await;
    let served = Served::of(&room.t).await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let mut socket = attach(&served, &alice, &id).await;
    for (frame, code) in [
        (json!({"type": "dance"}), "bad_request"),
        (json!({"type": "prompt"}), "bad_request"),
        (json!({"type": "prompt", "text": ""}), "bad_request"),
        (json!({"type": "approve", "approval_id": "x"}), "bad_request"),
        (json!({"type": "cancel"}), "conflict"),
        (json!({"type": "reject"}), "conflict"),
        (json!([]), "bad_request"),
    ] {
        socket.control(frame.clone()).await;
        assert_eq!(until(&mut socket, "error").await["code"], code, "{frame}");
    }
    socket.type_in("bytes").await;
    assert_eq!(until(&mut socket, "error").await["code"], "bad_request");
    socket.control(json!({"type": "prompt", "text": "hi"})).await;
    until(&mut socket, "turn_ended").await;
    room.t.stop.cancel();
    assert_eq!(until(&mut socket, "shutdown").await, json!({"event": "shutdown"}));
    assert_eq!(socket.closed().await.0, 1001);
}

#[tokio::test]
async fn a_socket_says_why_it_is_not_opened() {
    let room = Room::with([]);
    let (alice, eve) = (room.developer("alice").await, room.developer("eve").await);
    let served = Served::of(&room.t).await;
    let id = begin(&alice, json!({"agent": "general"})).await;
    let used = path(&alice, &id, "").await;
    let mut socket = served.socket(&used, &[]).await.unwrap();
    assert_eq!(socket.told().await["event"], "connected");
    let key = alice.authorization().strip_prefix("Bearer ").unwrap().to_owned();
    let bearer = ("authorization", alice.authorization());
    for (path, headers, closed) in [
        (used, vec![], (4401, "unauthenticated")),
        (at(&id, "/ws"), vec![], (4401, "unauthenticated")),
        (at(&id, &format!("/ws?token={key}")), vec![], (4401, "unauthenticated")),
        (path(&eve, &id, "").await, vec![], (4404, "not_found")),
        (at(&id, "/ws"), vec![bearer, ("origin", "https://elsewhere.example")], (4403, "forbidden")),
    ] {
        let (code, last) = served.socket(&path, &headers).await.unwrap().closed().await;
        assert_eq!((code, last["code"].as_str()), (closed.0, Some(closed.1)), "{path}: {last}");
        assert_eq!(last["event"], "error");
    }
    let mut by_key = served.socket(&at(&id, "/ws"), &[bearer]).await.unwrap();
    assert_eq!(by_key.told().await["event"], "connected");
}

/// An agent asks the one it works for, who allows it for as long as the session lasts.
#[tokio::test]
async fn what_is_allowed_for_the_session_is_asked_once() {
    use reeve_testkit::models::{Scripted, ScriptedModels};

    let run = |id: &str| Scripted::call(id, "run_command", json!({"argv": ["true"]}));
    let models = ScriptedModels::new([run("c1"), run("c2"), says("done"), run("c3"), says("done")]);
    let setup = crate::platform::Setup { models: Some(models), ..Default::default() };
    let yard = Yard::with(setup, Default::default()).await;
    let desk = yard.at_work("alice").await;
    let served = Served::of(&yard.t).await;
    let id = begin(&desk.client, json!({"workspace_id": desk.id, "prompt": "run it twice"})).await;
    let mut socket = attach(&served, &desk.client, &id).await;
    let asked = until(&mut socket, "tool_waiting").await;
    let pending = desk.client.get(&at(&id, "/approval/pending")).await.expect(200);
    assert_eq!(pending["pending"]["tool"]["toolName"], "run_command");
    socket.control(json!({"type": "approve", "approvalId": asked["approval_id"], "remember": true})).await;
    assert_eq!(until(&mut socket, "granted").await["grant"]["tool"], "run_command");
    let answered = until(&mut socket, "turn_ended").await;
    assert_eq!(answered["end"], "completed");
    let events = desk.client.get(&at(&id, "/events")).await.expect(200);
    let count = |kind: &str| events["events"].as_array().unwrap().iter().filter(|e| e["event"] == kind).count();
    assert_eq!((count("tool_waiting"), count("tool_finished")), (1, 2));

    let session = desk.client.delete(&at(&id, "/grants?tool=run_command&kind=execute")).await.expect(200);
    assert_eq!(session.get("grants"), None);
    socket.control(json!({"type": "prompt", "text": "once more"})).await;
    until(&mut socket, "tool_waiting").await;
    socket.control(json!({"type": "reject", "reason": "enough"})).await;
    assert_eq!(until(&mut socket, "tool_answered").await["status"], "denied");
    until(&mut socket, "turn_ended").await;
}
