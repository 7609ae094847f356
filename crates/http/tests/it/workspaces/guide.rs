//! The paths of the guide to VibeCode, asked with the guide's own bodies.

use serde_json::{Value, json};

use super::server::{Served, until};
use super::{Yard, events};
use crate::platform::{Answer, Client};

/// A client of the guide in a session of its own.
struct Guest {
    client: Client,
    id: String,
}

impl Guest {
    async fn of(yard: &Yard) -> Self {
        let client = yard.developer("alice").await;
        let made = client.post("/api/vibecode/sessions/create", json!({"name": "demo"})).await.expect(200);
        let id = made["session_id"].as_str().unwrap().to_owned();
        client.post("/api/vibecode/sessions/open", json!({"session_id": id})).await.expect(200);
        Self { client, id }
    }

    /// Sends a body with the session's id in it.
    async fn ask(&self, path: &str, mut body: Value) -> Answer {
        body["session_id"] = json!(self.id);
        self.client.post(path, body).await
    }

    async fn files(&self, what: &str, body: Value) -> Answer {
        self.ask(&format!("/api/vibecode/files/{what}"), body).await
    }
}

#[tokio::test]
async fn the_guides_checks_answer() {
    let yard = Yard::new().await;
    let stranger = yard.t.client(&[]);
    for path in ["/health", "/api/health"] {
        assert_eq!(stranger.get(path).await.expect(200)["status"], "ok");
    }
    assert_eq!(stranger.get("/api/docs").await.status.as_u16(), 200);
    assert!(stranger.get("/api/openapi.json").await.expect(200)["paths"].is_object());
    for path in ["/api/vibecode/sessions", "/api/vibecoding/sessions/alice", "/api/me"] {
        let refused = stranger.get(path).await;
        assert!(refused.problem("unauthenticated")["detail"].is_string());
    }
}

#[tokio::test]
async fn a_session_is_made_opened_rested_renamed_copied_and_deleted() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await;
    let body = json!({"name": "My app", "template": "flask", "description": "a shop"});
    let made = alice.post("/api/vibecode/sessions/create", body).await.expect(200);
    let id = made["session_id"].as_str().unwrap().to_owned();
    assert_eq!((&made["session"]["session_id"], &made["id"]), (&json!(id), &json!(id)), "either spelling");
    assert_eq!(
        (&made["status"], &made["container_id"], &made["template"]),
        (&json!("stopped"), &Value::Null, &json!("python"))
    );
    for field in [
        "description",
        "volume_name",
        "created_at",
        "updated_at",
        "last_activity",
        "container_status",
        "activity_status",
    ] {
        assert!(made[field].is_string(), "{field}: {made}");
    }
    assert_eq!(alice.post("/api/vibecode/sessions/create", json!({})).await.status.as_u16(), 422);
    assert_eq!(alice.post("/api/vibecode/sessions/open", json!({})).await.status.as_u16(), 400);
    let opened = alice.post("/api/vibecode/sessions/open", json!({"session_id": id})).await.expect(200);
    assert_eq!((&opened["session"]["status"], &opened["container"]["status"]), (&json!("running"), &json!("running")));
    assert!(opened["message"].is_string() && opened["session"]["container_id"].is_string());
    let list = alice.get("/api/vibecode/sessions?active_only=true").await.expect(200);
    assert_eq!((&list["total"], &list["sessions"][0]["session_id"]), (&json!(1), &json!(id)));
    // The source takes the id after `?`, the page sends it in the body: both.
    let rested = alice.post(&format!("/api/vibecode/sessions/suspend?session_id={id}"), json!({})).await.expect(200);
    assert_eq!(rested["success"], true);
    alice.post("/api/vibecode/sessions/open", json!({"session_id": id})).await.expect(200);
    alice.post("/api/vibecode/sessions/suspend", json!({"session_id": id})).await.expect(200);
    let shown = alice.get(&format!("/api/vibecode/sessions/{id}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["container_status"]), (&json!("suspended"), &json!("stopped")));
    let renamed = alice.patch(&format!("/api/vibecode/sessions/{id}"), json!({"name": "Shop"})).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["project_name"]), (&json!("Shop"), &json!("Shop")));
    let copy = alice.post(&format!("/api/vibecode/sessions/{id}/duplicate"), json!({})).await.expect(200);
    assert_eq!(copy["name"], "Shop copy");
    let taken = alice.post(&format!("/api/vibecode/sessions/{id}/snapshots"), json!({"name": "one"})).await.expect(201);
    assert_eq!(
        alice.get(&format!("/api/vibecode/sessions/{id}/snapshots")).await.expect(200)["snapshots"][0]["id"],
        taken["id"]
    );
    assert_eq!(
        alice.post("/api/vibecode/sessions/delete", json!({"session_id": id})).await.expect(200)["success"],
        true
    );
    assert_eq!(
        alice.post(&format!("/api/vibecode/sessions/{id}/restore"), json!({})).await.expect(200)["status"],
        "stopped"
    );
    alice.post(&format!("/api/vibecode/sessions/delete?session_id={id}&force=true"), json!({})).await.expect(200);
    alice.get(&format!("/api/vibecode/sessions/{id}")).await.problem("not_found");
}

#[tokio::test]
async fn a_container_is_there_while_its_session_runs() {
    let yard = Yard::new().await;
    let guest = Guest::of(&yard).await;
    let of = |rest: &str| format!("/api/vibecode/container/{}/{rest}", guest.id);
    let stopped = guest.client.post(&of("stop"), json!({})).await.expect(200);
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(guest.client.get(&of("status")).await.expect(200)["status"], "stopped");
    let body = json!({"user_id": "alice", "template": "base"});
    let made = guest.ask("/api/vibecode/container/create", body).await.expect(200);
    assert_eq!((&made["status"], &made["workspace_path"]), (&json!("running"), &json!("/workspace")));
    for field in ["container_id", "container_name", "volume_name"] {
        assert!(made[field].is_string(), "{field}: {made}");
    }
    guest.ask("/api/vibecode/container/create", json!({"user_id": "eve"})).await.problem("forbidden");
    guest.client.post(&of("stop"), json!({})).await.expect(200);
    assert_eq!(guest.client.post(&of("start"), json!({})).await.expect(200)["status"], "running");
}

#[tokio::test]
async fn files_are_worked_with_as_the_guide_says() {
    let yard = Yard::new().await;
    let guest = Guest::of(&yard).await;
    assert_eq!(guest.files("create", json!({"path": "src", "type": "folder"})).await.expect(200)["success"], true);
    for _ in 0..2 {
        guest.files("create", json!({"path": "/workspace/src/main.py", "type": "file"})).await.expect(200);
    }
    let text = "print('größe')\r\n\u{feff}no newline at the end";
    let saved = guest.files("save", json!({"path": "src/main.py", "content": text})).await.expect(200);
    assert_eq!(saved["etag"], reeve_types::Digest::of(text.as_bytes()).to_string());
    let read = guest.files("read", json!({"path": "/workspace/src/main.py"})).await.expect(200);
    assert_eq!(
        (&read["content"], &read["path"], &read["etag"]),
        (&json!(text), &json!("/workspace/src/main.py"), &saved["etag"])
    );
    let by_query = format!("/api/vibecode/files/read?session_id={}&path=src/main.py", guest.id);
    assert_eq!(guest.client.get(&by_query).await.expect(200)["content"], text);

    let tree = guest.files("tree", json!({"path": "/workspace", "depth": 3})).await.expect(200);
    assert_eq!((&tree["name"], &tree["type"]), (&json!("workspace"), &json!("directory")));
    let main = &tree["children"][0]["children"][0];
    assert_eq!((&main["name"], &main["type"], &main["children"]), (&json!("main.py"), &json!("file"), &Value::Null));
    assert_eq!((&main["permissions"], &main["size"]), (&json!("-rw-r--r--"), &json!(text.len())));

    guest.files("rename", json!({"old_path": "src/main.py", "new_name": "app.py"})).await.expect(200);
    guest.files("create", json!({"path": "lib", "type": "directory"})).await.expect(200);
    guest.files("move", json!({"source_path": "src/app.py", "target_dir": "/workspace/lib"})).await.expect(200);
    guest.files("copy", json!({"source_path": "lib/app.py", "target_dir": "src"})).await.expect(200);
    assert_eq!(guest.files("stat", json!({"path": "src/app.py"})).await.expect(200)["size"], text.len());
    for (what, body, status) in [
        ("move", json!({"source_path": "lib/app.py", "target_dir": "src"}), 409),
        ("rename", json!({"old_path": "lib", "new_name": "src"}), 409),
        ("rename", json!({"old_path": "lib", "new_name": "a/b"}), 400),
        ("move", json!({"source_path": "lib", "target_dir": "lib"}), 409),
        ("read", json!({"path": "../etc/passwd"}), 400),
        ("save", json!({"path": "/etc/passwd", "content": "x"}), 400),
        ("delete", json!({"path": "/workspace"}), 422),
        ("create", json!({"path": "x", "type": "pipe"}), 422),
        ("read", json!({"path": "nothing"}), 404),
    ] {
        let answer = guest.files(what, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{what} {body}: {}", answer.text);
        assert!(answer.json()["detail"].is_string(), "{}", answer.text);
    }
    let gone = guest.files("delete", json!({"path": "lib/app.py"})).await.expect(200);
    assert_eq!(guest.files("trash", json!({})).await.expect(200)["entries"][0]["id"], gone["trash_id"]);
    guest.files("restore", json!({"trash_id": gone["trash_id"]})).await.expect(200);
    guest.files("delete", json!({"path": "lib/app.py", "soft": false})).await.expect(200);
    guest.files("delete", json!({"path": "src/app.py"})).await.expect(200);
    guest.files("purge", json!({})).await.expect(200);
    assert_eq!(guest.files("trash", json!({})).await.expect(200)["entries"], json!([]));

    std::fs::write(yard.driver.files(&guest.id).join("raw"), b"\xff\0").unwrap();
    let raw = guest.files("read", json!({"path": "raw"})).await.expect(200);
    assert_eq!((&raw["encoding"], &raw["content"]), (&json!("base64"), &json!("/wA=")));
    let body = json!({"path": "raw2", "content": "/wA=", "encoding": "base64"});
    guest.files("save", body).await.expect(200);
    assert_eq!(std::fs::read(yard.driver.files(&guest.id).join("raw2")).unwrap(), b"\xff\0");
}

#[tokio::test]
async fn a_proposed_change_is_saved_unless_the_file_has_moved_on() {
    let yard = Yard::new().await;
    let guest = Guest::of(&yard).await;
    let first = guest.files("save", json!({"path": "a.py", "content": "one"})).await.expect(200);
    let apply = |content: &str, base: &Value| {
        guest.ask("/api/ide/diff/apply", json!({"filepath": "a.py", "draft_content": content, "base_etag": base}))
    };
    let applied = apply("two", &first["etag"]).await.expect(200);
    assert_eq!((&applied["saved"], &applied["bytes"]), (&json!(true), &json!(3)));
    assert_eq!(applied["new_etag"], reeve_types::Digest::of(b"two").to_string());
    assert!(applied["updated_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let late = apply("three", &first["etag"]).await;
    assert_eq!(late.status.as_u16(), 409, "{}", late.text);
    let body = late.json();
    for place in [&body, &body["detail"]] {
        assert_eq!(
            (&place["conflict"], &place["current_etag"], &place["current_content"]),
            (&json!(true), &applied["new_etag"], &json!("two"))
        );
    }
    let saved = json!({"path": "a.py", "content": "x", "base_etag": first["etag"]});
    assert_eq!(guest.files("save", saved).await.status.as_u16(), 409);
    apply("four", &applied["new_etag"]).await.expect(200);
}

#[tokio::test]
async fn programs_run_as_the_guide_says() {
    let yard = Yard::new().await;
    let guest = Guest::of(&yard).await;
    let ran = guest.ask("/api/vibecode/exec", json!({"cmd": "echo one && echo two >&2; exit 3"})).await.expect(200);
    assert_eq!((&ran["stdout"], &ran["stderr"], &ran["exit_code"]), (&json!("one\n"), &json!("two\n"), &json!(3)));
    assert_eq!(ran["command"], "echo one && echo two >&2; exit 3");
    let (began, ended) = (ran["started_at"].as_i64().unwrap(), ran["finished_at"].as_i64().unwrap());
    assert!(began > 1_700_000_000_000 && ended >= began && ran["execution_time_ms"].is_u64());
    guest.files("save", json!({"path": "a b.py", "content": "import sys; print(sys.argv[1:])"})).await.expect(200);
    let body = json!({"file": "a b.py", "lang": "python", "args": ["x y", "$(id)"]});
    assert_eq!(guest.ask("/api/vibecode/exec", body).await.expect(200)["stdout"], "['x y', '$(id)']\n");
    assert_eq!(guest.ask("/api/vibecode/exec", json!({})).await.status.as_u16(), 422);
    let told = guest.ask("/api/vibecode/exec/stream", json!({"cmd": "echo hi"})).await;
    let told = events(&told.text);
    assert_eq!(
        told.iter().map(|event| event["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["start", "stdout", "exit"]
    );
    guest.ask("/api/vibecode/sessions/suspend", json!({})).await.expect(200);
    guest.ask("/api/vibecode/exec", json!({"cmd": "true"})).await.problem("not_running");
}

#[tokio::test]
async fn the_guides_terminal_is_plain_and_the_newer_one_is_not() {
    let yard = Yard::new().await;
    let (guest, served) = (Guest::of(&yard).await, Served::of(&yard.t).await);
    let key = guest.client.authorization().trim_start_matches("Bearer ").to_owned();
    for path in ["/api/vibecode/ws/terminal", "/ws/vibecoding/terminal"] {
        let address = format!("{path}?session_id={}&token={key}", guest.id);
        let mut socket = served.socket(&address, &[]).await.unwrap();
        assert!(socket.headers.get("sec-websocket-protocol").is_none());
        socket.send(tokio_tungstenite::tungstenite::Message::text("echo typed-$((40+2))\n")).await;
        socket.until_shown("typed-42").await;
        socket.type_in("exit\n").await;
        assert_eq!(socket.closed().await.0, 1000);
        let wrong = format!("{path}?session_id={}&token=nonsense", guest.id);
        let (code, last) = served.socket(&wrong, &[]).await.unwrap().closed().await;
        assert_eq!((code, last["error"].is_string()), (1008, true), "{last}");
        let nowhere = format!("{path}?session_id=wsp_00000000000000000000000000&token={key}");
        assert_eq!(served.socket(&nowhere, &[]).await.unwrap().closed().await.0, 1008);
    }
    until("nobody keeps the terminals of old clients", || async {
        guest.client.get(&format!("/api/v1/workspaces/{}/terminals", guest.id)).await.expect(200)["terminals"]
            == json!([])
    })
    .await;
    let issued = guest.ask("/api/vibecode/ws-ticket", json!({})).await.expect(200);
    assert_eq!(issued["expires_in"], 30);
    let ticket = issued["ticket"].as_str().unwrap();
    let address = format!("/ws/vibecoding/terminal?session_id={}&ticket={ticket}", guest.id);
    let newer = [("sec-websocket-protocol", "harvis.term.v2")];
    let mut socket = served.socket(&address, &newer).await.unwrap();
    let ready = socket.told().await;
    assert_eq!((&ready["type"], &ready["resumed"]), (&json!("ready"), &json!(false)));
    let terminal = ready["terminal_id"].as_str().unwrap().to_owned();
    socket.type_in("echo kept-$((1+1))\n").await;
    socket.until_shown("kept-2").await;
    drop(socket);
    assert_eq!(served.socket(&address, &newer).await.unwrap().closed().await.0, 4401, "the ticket is used up");
    let again = format!("/ws/vibecoding/terminal?session_id={}&terminal_id={terminal}&token={key}", guest.id);
    served.socket(&again, &newer).await.unwrap().until_shown("kept-2").await;
}

#[tokio::test]
async fn changes_of_files_are_told_in_the_guides_words() {
    let yard = Yard::new().await;
    let (guest, served) = (Guest::of(&yard).await, Served::of(&yard.t).await);
    let path = format!("/api/vibecode/container/{}/fs-events", guest.id);
    let key = [("authorization", guest.client.authorization())];
    let mut socket = served.socket(&path, &key).await.unwrap();
    assert_eq!(socket.told().await, json!({"type": "hello", "rev": 0}));
    guest
        .client
        .and("x-client-id", "tab-1")
        .put(&format!("/api/v1/workspaces/{}/files/content?path=a.txt", guest.id), "hello")
        .await
        .expect(201);
    let mut rev = 0;
    let mut told = async |so: &dyn Fn(&Value) -> bool| loop {
        let event = socket.told().await;
        assert!(event["rev"].as_u64().unwrap() > rev, "{event}");
        rev = event["rev"].as_u64().unwrap();
        if so(&event) {
            return event;
        }
    };
    let saved = told(&|event| event["origin"] == "tab-1").await;
    assert_eq!((&saved["filePath"], &saved["size"]), (&json!("/workspace/a.txt"), &json!(5)), "{saved}");
    assert!(saved["etag"].is_string() && saved["mtime"].is_string());
    guest.files("rename", json!({"old_path": "a.txt", "new_name": "b.txt"})).await.expect(200);
    let renamed = told(&|event| event["type"] == "file-renamed" || event["type"] == "file-deleted").await;
    if renamed["type"] == "file-renamed" {
        assert_eq!(
            (&renamed["oldPath"], &renamed["filePath"]),
            (&json!("/workspace/a.txt"), &json!("/workspace/b.txt"))
        );
    }
    guest.files("delete", json!({"path": "b.txt", "soft": false})).await.expect(200);
    told(&|event| event["type"] == "file-deleted" && event["filePath"] == "/workspace/b.txt").await;
    let eve = yard.developer("eve").await;
    let (code, _) = served.socket(&path, &[("authorization", eve.authorization())]).await.unwrap().closed().await;
    assert_eq!(code, 4404);
}

#[tokio::test]
async fn clients_of_the_generation_before_are_served_too() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await;
    let made = alice
        .post("/api/vibecoding/sessions/create", json!({"project_name": "old", "description": "x"}))
        .await
        .expect(200);
    let id = made["session_id"].as_str().unwrap().to_owned();
    let guest = Guest { client: alice, id: id.clone() };
    let at = |rest: &str| format!("/api/vibecoding/{rest}");
    guest.ask(&at("container/create"), json!({})).await.expect(200);
    let written =
        guest.ask(&at("container/files/write"), json!({"file_path": "src/a.txt", "content": "hi"})).await.expect(200);
    assert_eq!((&written["success"], &written["file_path"]), (&json!(true), &json!("/workspace/src/a.txt")));
    assert_eq!(
        guest.ask(&at("container/files/read"), json!({"file_path": "src/a.txt"})).await.expect(200)["content"],
        "hi"
    );
    let list = guest.ask(&at("container/files/list"), json!({"path": "/workspace"})).await.expect(200);
    assert_eq!((&list["files"][0]["name"], &list["path"]), (&json!("src"), &json!("/workspace")));
    assert_eq!(
        guest.ask(&at("container/files/tree"), json!({"path": "/workspace"})).await.expect(200)["files"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let ran = guest.ask(&at("container/execute"), json!({"command": "cat src/a.txt"})).await.expect(200);
    assert_eq!((&ran["output"], &ran["success"], &ran["exit_code"]), (&json!("hi"), &json!(true), &json!(0)));
    assert!(ran["execution_time_ms"].is_u64());
    let mine = guest.client.get(&at("sessions/alice?active_only=true")).await.expect(200);
    assert_eq!(mine["sessions"][0]["session_id"], id);
    guest.client.get(&at("sessions/bob")).await.problem("forbidden");
    let history = async || guest.client.get(&at(&format!("sessions/{id}/history?limit=5"))).await.expect(200);
    until("the run is in the records", || async { history().await["history"] != json!([]) }).await;
    let history = history().await;
    assert_eq!(
        (&history["history"][0]["command"], &history["session_id"]),
        (&json!("cat src/a.txt"), &json!(id)),
        "{history}"
    );
    assert_eq!(
        guest.client.get(&at(&format!("sessions/{id}/files"))).await.expect(200)["files"].as_array().unwrap().len(),
        2
    );
    assert_eq!(guest.client.get(&at(&format!("container/{id}/status"))).await.expect(200)["status"], "running");
    assert_eq!(guest.client.post(&at("container/cleanup"), json!({})).await.expect(200)["success"], true);
    let gone = guest.client.delete(&at(&format!("container/{id}"))).await.expect(200);
    assert_eq!((&gone["success"], &gone["session_id"]), (&json!(true), &json!(id)));
}
