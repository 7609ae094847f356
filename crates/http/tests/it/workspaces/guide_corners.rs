//! What clients of the guide to VibeCode rely on beside its main paths: numbers of people, names of containers, 422,
//! finding and replacing, whole files, the proxy, repositories, and the switches for what is safe to leave out.

use reeve_platform::accounts::AccountOptions;
use reeve_platform::workspaces::WorkspacesOptions;
use serde_json::{Value, json};

use super::server::{Served, until};
use super::{Desk, Yard};
use crate::accounts::PASSWORD;
use crate::platform::{Answer, Setup};

async fn ask(desk: &Desk, path: &str, mut body: Value) -> Answer {
    body["session_id"] = json!(desk.id);
    desk.client.post(path, body).await
}

pub(super) async fn yard(setup: Setup) -> Yard {
    let accounts = AccountOptions { registration: true, ..AccountOptions::default() };
    Yard::with(Setup { accounts, ..setup }, WorkspacesOptions::default()).await
}

/// Somebody who has made an account as the guide says, with their access token and a workspace.
pub(super) async fn signed_up(yard: &Yard) -> (Desk, String) {
    let body = json!({"username": "dora", "email": "dora@example.org", "password": PASSWORD});
    let made = yard.t.client(&[]).post("/api/auth/signup", body).await.expect(200);
    let token = made["access_token"].as_str().unwrap().to_owned();
    let client = yard.t.client(&[("authorization", &format!("Bearer {token}"))]);
    let made = client.post("/api/vibecode/sessions/create", json!({"name": "demo"})).await.expect(200);
    let id = made["session_id"].as_str().unwrap().to_owned();
    client.post("/api/vibecode/sessions/open", json!({"session_id": id})).await.expect(200);
    (Desk { client, id }, token)
}

#[tokio::test]
async fn people_are_known_by_their_number() {
    let yard = yard(Setup::default()).await;
    let (desk, _) = signed_up(&yard).await;
    let me = desk.client.get("/api/me").await.expect(200);
    let number = me["id"].as_u64().filter(|number| *number > 0).unwrap();
    for oneself in [number.to_string(), me["account_id"].as_str().unwrap().to_owned()] {
        let mine = desk.client.get(&format!("/api/vibecoding/sessions/{oneself}")).await.expect(200);
        assert_eq!(mine["sessions"][0]["session_id"], desk.id, "{oneself}");
    }
    desk.client.get(&format!("/api/vibecoding/sessions/{}", number + 1)).await.problem("forbidden");
    for oneself in [json!(number), json!(number.to_string())] {
        ask(&desk, "/api/vibecode/container/create", json!({"user_id": oneself})).await.expect(200);
    }
    for other in [json!(number + 1), json!((number + 1).to_string()), json!("eve")] {
        ask(&desk, "/api/vibecode/container/create", json!({"user_id": other})).await.problem("forbidden");
    }
    let stats = desk.client.get("/api/auth/stats").await.expect(200);
    assert_eq!((&stats["cache_enabled"], &stats["sign_ins"]), (&json!(false), &json!(1)));
}

#[tokio::test]
async fn a_container_is_called_what_the_engine_calls_it_and_an_absent_one_is_not_created() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let made = ask(&desk, "/api/vibecode/container/create", json!({"user_id": "alice"})).await.expect(200);
    let name = format!("vibecode-alice-{}", desk.id);
    assert_eq!((&made["container_name"], &made["container_id"]), (&json!(name), &json!(name)));
    assert_eq!(made["volume_name"], format!("{name}-ws"));
    let missing = "wsp_00000000000000000000000000";
    let eve = yard.developer("eve").await;
    for (client, id) in [(&desk.client, missing), (&eve, desk.id.as_str())] {
        for root in ["/api/vibecode", "/api/vibecoding"] {
            let told = client.get(&format!("{root}/container/{id}/status")).await.expect(200);
            assert_eq!(told["status"], "not_created", "{told}");
            assert!(told["container_name"].is_null() && told["message"].is_string(), "{told}");
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_422_and_what_leads_out_is_400() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    for (path, body) in [
        ("/api/vibecode/sessions/create", json!({})),
        ("/api/vibecode/sessions/create", json!({"name": "a/b"})),
        ("/api/vibecode/sessions/suspend", json!({"session_id": "nonsense"})),
        ("/api/vibecode/files/create", json!({"session_id": desk.id, "path": "x", "type": "pipe"})),
        ("/api/vibecode/files/save", json!({"session_id": desk.id, "path": "x"})),
        ("/api/vibecode/exec", json!({"session_id": desk.id})),
        ("/api/vibecode/exec", json!({"session_id": desk.id, "cmd": "x".repeat(10_001)})),
        ("/api/vibecoding/files", json!({"session_id": desk.id, "action": "dance"})),
        ("/api/vibecode/repo/import", json!({"session_id": desk.id, "url": "git@github.com:o/r.git"})),
    ] {
        let problem = desk.client.post(path, body).await.problem("unprocessable");
        assert_eq!(problem["status"], 422, "{path}: {problem}");
        assert!(problem["detail"].is_string());
    }
    desk.client.post("/api/vibecode/sessions/open", json!({})).await.problem("bad_request");
    ask(&desk, "/api/vibecode/files/read", json!({"path": "../etc/passwd"})).await.problem("path_escape");
    desk.client.get("/api/v1/workspaces/nonsense").await.problem("bad_request");
}

#[tokio::test]
async fn the_strict_mode_blocks_what_the_guides_filter_blocks_and_is_off() {
    let open = Yard::new().await;
    let desk = open.at_work("alice").await;
    assert_eq!(ask(&desk, "/api/vibecode/exec", json!({"cmd": "echo a | wc -l"})).await.expect(200)["stdout"], "1\n");
    let strict = Yard::with(Setup { strict_exec: true, ..Setup::default() }, WorkspacesOptions::default()).await;
    let desk = strict.at_work("alice").await;
    for line in
        ["a | b", "a; b", "a && b", "echo $(id)", "echo ${x}", "echo `id`", "a > b", "a < b", "a &", "a\nb", "a\rb"]
    {
        for path in ["/api/vibecode/exec", "/api/vibecode/exec/stream"] {
            let problem = ask(&desk, path, json!({"cmd": line})).await.problem("command_blocked");
            assert_eq!(problem["status"], 400, "{line}");
        }
        ask(&desk, "/api/vibecoding/container/execute", json!({"command": line})).await.problem("command_blocked");
    }
    assert_eq!(ask(&desk, "/api/vibecode/exec", json!({"cmd": "echo fine"})).await.expect(200)["stdout"], "fine\n");
}

#[tokio::test]
async fn files_are_found_replaced_and_carried_whole() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("src/a.py", "colour = 'red'\nprint(colour)\n").await;
    desk.save("src/b.py", "Colour\n").await;
    desk.save("c.txt", "colour").await;
    let files = |what: &str| format!("/api/vibecode/files/{what}");
    let found = ask(&desk, &files("search"), json!({"query": "colour", "include": ["*.py"]})).await.expect(200);
    let lines: Vec<(&str, u64)> = found["matches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| (hit["path"].as_str().unwrap(), hit["line"].as_u64().unwrap()))
        .collect();
    assert!(lines.contains(&("/workspace/src/a.py", 2)) && lines.contains(&("/workspace/src/b.py", 1)), "{found}");
    assert_eq!(found["truncated"], false);

    let wanted = |apply: bool| json!({"query": "colour", "replacement": "color", "apply": apply});
    let preview = ask(&desk, &files("replace"), wanted(false)).await.expect(200);
    assert_eq!((&preview["replaced"], preview["files"].as_array().unwrap().len()), (&json!(3), 2), "{preview}");
    let of_a = preview["files"].as_array().unwrap().iter().find(|file| file["path"] == "/workspace/src/a.py").unwrap();
    assert!(of_a["diff"].as_str().unwrap().contains("-colour = 'red'\n"), "{of_a}");
    assert_eq!(desk.get("/files/content?path=c.txt").await.text, "colour", "a preview writes nothing");
    let applied = ask(&desk, &files("replace"), wanted(true)).await.expect(200);
    assert_eq!((&applied["replaced"], &applied["applied"]), (&json!(3), &json!(true)), "{applied}");
    assert_eq!(desk.get("/files/content?path=src/a.py").await.text, "color = 'red'\nprint(color)\n");
    assert_eq!(desk.get("/files/content?path=src/b.py").await.text, "Colour\n", "letters of another case are others");
    let swapped = json!({"query": r"(\w+) = '(\w+)'", "replacement": "$2 = '$1'", "regex": true, "apply": true});
    assert_eq!(ask(&desk, &files("replace"), swapped).await.expect(200)["replaced"], 1);
    assert_eq!(desk.get("/files/content?path=src/a.py").await.text, "red = 'color'\nprint(color)\n");
    let broken = json!({"query": "(", "replacement": "b", "regex": true});
    assert!(ask(&desk, &files("replace"), broken).await.status.is_client_error());

    let at = |what: &str, path: &str| format!("/api/vibecode/files/{what}?session_id={}&path={path}", desk.id);
    let body = vec![0u8, 255, 10, 13];
    let request = desk.client.request(axum::http::Method::POST, &at("upload", "bin/x.dat"));
    let sent = request.header("content-type", "application/octet-stream").body(axum::body::Body::from(body.clone()));
    assert_eq!(desk.client.send(sent.unwrap()).await.expect(200)["size"], 4);
    let got = desk.client.get(&at("download", "bin/x.dat")).await;
    assert_eq!((got.bytes.as_ref(), got.header("content-type")), (body.as_slice(), "application/octet-stream"));
    assert!(got.header("content-disposition").starts_with("attachment; filename=\"x.dat\""));
    let packed = desk.client.get(&at("download", "src")).await;
    assert_eq!((packed.header("content-type"), packed.bytes.get(..2)), ("application/zip", Some(b"PK".as_slice())));

    let work = |body: Value| ask(&desk, "/api/vibecoding/files", body);
    work(json!({"action": "write", "path": "n.txt", "content": "note"})).await.expect(200);
    assert_eq!(work(json!({"action": "read", "path": "n.txt"})).await.expect(200)["content"], "note");
    assert_eq!(work(json!({"action": "execute", "command": "cat n.txt"})).await.expect(200)["output"], "note");
    let listed = desk.client.get(&format!("/api/vibecoding/files?session_id={}&path=src", desk.id)).await.expect(200);
    assert_eq!(listed["files"].as_array().unwrap().len(), 2, "{listed}");
}

#[tokio::test]
async fn the_guides_proxy_leads_to_what_a_program_serves() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let root = format!("/api/vibecode/sessions/{}/proxy", desk.id);
    desk.save("page.txt", "it is served").await;
    // The port is the machine's here, so it has to be a free one.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let body = json!({"argv": ["python3", "-m", "http.server", port.to_string(), "--bind", "127.0.0.1"]});
    desk.post("/terminals", body).await.expect(201);
    let request = |path: &str| {
        let request = axum::http::Request::builder().uri(path).header("host", served.address.to_string());
        request.header("authorization", desk.client.authorization()).body(axum::body::Body::empty()).unwrap()
    };
    until("it is served below the guide's path", || async {
        served.send(request(&format!("{root}/{port}/page.txt"))).await.text == "it is served"
    })
    .await;
    let eve = yard.developer("eve").await;
    let stranger = axum::http::Request::builder().uri(format!("{root}/{port}/page.txt")).header("host", "h");
    let refused =
        eve.send(stranger.header("authorization", eve.authorization()).body(axum::body::Body::empty()).unwrap()).await;
    assert!(!refused.status.is_success() && !refused.text.contains("it is served"), "{}", refused.status);
    let led = desk.client.get(&format!("{root}?port={port}")).await;
    assert_eq!(led.status.as_u16(), 307, "{}", led.text);
    let location = led.header("location");
    assert!(location.contains(&port.to_string()) && location.contains("reeve_preview="), "{location}");
}

#[tokio::test]
async fn a_public_repository_is_cloned_where_the_network_allows_it() {
    let yard = Yard::new().await;
    let client = yard.developer("alice").await;
    let closed = yard.at_work("bob").await;
    let body = json!({"url": "https://git.example.org/o/r.git"});
    let refused = ask(&closed, "/api/vibecode/repo/import", body).await.problem("forbidden");
    assert!(refused["detail"].as_str().unwrap().contains("no network"), "{refused}");

    let body = json!({"name": "open", "egress": {"mode": "allow", "hosts": ["git.example.org"]}});
    let id = client.post("/api/v1/workspaces", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let desk = Desk { client, id };
    // A repository of this machine stands in for the one at the address.
    let line = "set -e; git init -q -b main up; cd up; mkdir docs; echo hello > docs/a.md; echo top > top.md; git add .; \
                git -c user.name=a -c user.email=a@b commit -qm one; cd ..; \
                git config --file \"$HOME/.gitconfig\" url.\"file://$PWD/up\".insteadOf https://git.example.org/o/r.git";
    let made = desk.sh(line).await;
    assert_eq!(made["exit_code"], 0, "{made}");
    let import = |more: Value| {
        let mut body = json!({"url": "https://git.example.org/o/r.git"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&desk, "/api/vibecode/repo/import", body)
    };
    let whole = import(json!({"dest": "/workspace/whole"})).await.expect(200);
    assert_eq!((&whole["ok"], &whole["dest"]), (&json!(true), &json!("/workspace/whole")));
    assert_eq!(desk.sh("cat whole/docs/a.md whole/top.md").await["stdout"], "hello\ntop\n");
    import(json!({"dest": "/workspace/part", "subdir": "docs"})).await.expect(200);
    assert_eq!(desk.sh("ls part").await["stdout"], "a.md\n");
    import(json!({"dest": "/workspace/whole"})).await.problem("already_exists");
    let missing = import(json!({"dest": "x", "branch": "none"})).await.problem("tool_failed");
    assert!(missing["log"].is_string(), "{missing}");
    for bad in
        [json!({"branch": "--upload-pack=touch x"}), json!({"subdir": "../up"}), json!({"url": "https://u:p@h/r"})]
    {
        import(bad).await.problem("unprocessable");
    }
    assert_eq!(desk.client.get("/api/vibecode/github/status").await.expect(200)["connected"], false);
    let none = desk.client.get("/api/vibecode/repo/list").await.problem("unavailable");
    assert!(none["detail"].as_str().unwrap().contains("not configured"), "{none}");
    assert_eq!(yard.t.client(&[]).get("/livez").await.expect(200)["status"], "ok");
}

const NEWER: [(&str, &str); 1] = [("sec-websocket-protocol", "harvis.term.v2")];

#[tokio::test]
async fn a_message_beyond_a_megabyte_ends_the_socket_and_not_the_terminal() {
    let yard = Yard::new().await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let key = desk.client.authorization().trim_start_matches("Bearer ").to_owned();
    let address = format!("/ws/vibecoding/terminal?session_id={}&token={key}", desk.id);
    let mut socket = served.socket(&address, &NEWER).await.unwrap();
    let id = socket.told().await["terminal_id"].as_str().unwrap().to_owned();
    let large = vec![b'x'; (1 << 20) + 1];
    socket.ends_with(tokio_tungstenite::tungstenite::Message::binary(large)).await;
    let listed = desk.get("/terminals").await.expect(200);
    assert_eq!(listed["terminals"][0]["id"], id, "{listed}");
}

#[tokio::test]
async fn tokens_in_addresses_can_be_switched_off_and_tickets_stay() {
    let yard = Yard::with(Setup { token_in_address: false, ..Setup::default() }, WorkspacesOptions::default()).await;
    let (desk, served) = (yard.at_work("alice").await, Served::of(&yard.t).await);
    let key = desk.client.authorization().trim_start_matches("Bearer ").to_owned();
    let address = format!("/ws/vibecoding/terminal?session_id={}&token={key}", desk.id);
    assert_eq!(served.socket(&address, &NEWER).await.unwrap().closed().await.0, 4401);
    let issued = ask(&desk, "/api/vibecode/ws-ticket", json!({})).await.expect(200);
    let address =
        format!("/ws/vibecoding/terminal?session_id={}&ticket={}", desk.id, issued["ticket"].as_str().unwrap());
    let mut socket = served.socket(&address, &NEWER).await.unwrap();
    assert_eq!(socket.told().await["type"], "ready");
}
