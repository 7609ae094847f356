//! Looking through the files of a workspace, and changing their names.

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Desk, Yard, events};

fn paths(page: &Value) -> Vec<String> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
}

async fn operate(desk: &Desk, body: Value) -> crate::platform::Answer {
    desk.post("/files/operations", body).await
}

#[tokio::test]
async fn the_tree_is_listed_level_by_level_and_page_by_page() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    for path in ["src/main.py", "src/deep/er/x.py", "README.md", "b.txt", ".gitignore", "out/log"] {
        desk.save(path, if path == ".gitignore" { "out/\n" } else { "x" }).await;
    }
    let root = desk.get("/tree").await.expect(200);
    assert_eq!(paths(&root), ["out", "src", ".gitignore", "b.txt", "README.md"], "directories first, then by name");
    let of =
        |path: &str| root["entries"].as_array().unwrap().iter().find(|entry| entry["path"] == path).unwrap().clone();
    assert_eq!((&of("src")["type"], &of("src")["has_children"]), (&json!("directory"), &json!(true)));
    assert_eq!((&of("out")["ignored"], &of("b.txt")["ignored"]), (&json!(true), &Value::Null));
    assert_eq!(paths(&desk.get("/tree?ignored=false").await.expect(200)), ["src", ".gitignore", "b.txt", "README.md"]);
    assert_eq!(
        paths(&desk.get("/tree?path=src&depth=2").await.expect(200)),
        ["src/deep", "src/deep/er", "src/main.py"]
    );
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = desk.get(&format!("/tree?depth=10&limit=2&cursor={next}")).await.expect(200);
        assert!(page["entries"].as_array().unwrap().len() <= 2);
        seen.extend(paths(&page));
        match page["next_cursor"].as_str() {
            Some(cursor) => {
                next = cursor.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
            }
            None => break,
        }
    }
    assert_eq!(seen, paths(&desk.get("/tree?depth=10").await.expect(200)));
    let entry = desk.get("/files/stat?path=/workspace/src/main.py").await.expect(200);
    assert_eq!((&entry["name"], &entry["size"], &entry["mode"]), (&json!("main.py"), &json!(1), &json!(0o644)));
}

#[tokio::test]
async fn a_path_that_leads_out_is_refused_wherever_one_is_taken() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    std::os::unix::fs::symlink("/etc", yard.files(&desk).join("etc")).unwrap();
    for path in ["../x", "/etc/passwd", "/workspace2/x", "a/../b", "%2e%2e/x", "etc/passwd"] {
        for get in ["/files/content?path=", "/files/stat?path=", "/tree?path=", "/files/archive?path="] {
            let answer = desk.get(&format!("{get}{path}")).await;
            assert_eq!(answer.problem("path_escape")["status"], 400, "{get}{path}");
        }
        let save = desk.client.put(&desk.at(&format!("/files/content?path={path}")), "x").await;
        assert_eq!(save.problem("path_escape")["status"], 400, "{path}");
        let plain = path.replace("%2e", ".");
        operate(&desk, json!({"op": "create_file", "path": plain})).await.problem("path_escape");
        let upload = json!({"path": plain, "size": 1, "sha256": "0".repeat(64)});
        desk.post("/files/uploads", upload).await.problem("path_escape");
    }
    for (path, code) in [("a%00b", "bad_request"), (&*"x".repeat(300), "bad_request"), ("nothing", "not_found")] {
        desk.get(&format!("/files/content?path={path}")).await.problem(code);
    }
    for name in ["a..b.txt", "..hidden", "file~", "src/dev/x", "my/etc/z", "$(id);x", "-rf", "a b'c\"d"] {
        let made = operate(&desk, json!({"op": "create_file", "path": name})).await.expect(200);
        assert_eq!(made["entry"]["path"], name);
    }
}

#[tokio::test]
async fn names_that_are_no_text_can_be_listed_read_saved_and_moved() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let name = b"caf\xe9 \xff.txt";
    let b64 = STANDARD.encode(name);
    let query = b64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let saved = desk.client.put(&desk.at(&format!("/files/content?path_b64={query}")), "latin").await.expect(201);
    assert_eq!(saved["path"], json!({"b64": b64}));
    let listed = desk.get("/tree").await.expect(200)["entries"][0].clone();
    assert_eq!((&listed["path"], &listed["name"]), (&json!({"b64": b64}), &json!("caf\\xE9 \\xFF.txt")));
    let read = desk.get(&format!("/files/content?path_b64={query}")).await;
    assert_eq!(read.text, "latin");
    assert!(read.header("content-disposition").contains("filename*=UTF-8''caf%E9%20%FF.txt"), "{:?}", read.headers);
    assert_eq!(desk.get(&format!("/files/stat?path_b64={query}")).await.expect(200)["size"], 5);
    operate(&desk, json!({"op": "move", "from": {"b64": b64}, "to": "plain.txt"})).await.expect(200);
    assert_eq!(desk.get("/files/content?path=plain.txt").await.text, "latin");
    desk.get("/files/content?path_b64=%25%25").await.problem("bad_request");
}

#[tokio::test]
async fn names_are_changed_and_nothing_is_ever_replaced() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.txt", "a").await;
    desk.save("b.txt", "b").await;
    let made = operate(&desk, json!({"op": "create_directory", "path": "dir/sub"})).await.expect(200);
    assert_eq!(made["entry"]["type"], "directory");
    assert_eq!(
        operate(&desk, json!({"op": "rename", "path": "a.txt", "new_name": "c.txt"})).await.expect(200)["entry"]["path"],
        "c.txt"
    );
    operate(&desk, json!({"op": "move", "from": "c.txt", "to": "dir/c.txt"})).await.expect(200);
    let copied = operate(&desk, json!({"op": "copy", "from": "dir", "to": "copy"})).await.expect(200);
    assert_eq!(copied["count"], 3, "two directories and a file: {copied}");
    for (body, code, status) in [
        (json!({"op": "move", "from": "b.txt", "to": "dir/c.txt"}), "already_exists", 409),
        (json!({"op": "rename", "path": "b.txt", "new_name": "copy"}), "already_exists", 409),
        (json!({"op": "create_file", "path": "b.txt"}), "already_exists", 409),
        (json!({"op": "move", "from": "dir", "to": "dir/sub/dir"}), "invalid_move", 409),
        (json!({"op": "rename", "path": "b.txt", "new_name": "x/y"}), "bad_name", 400),
        (json!({"op": "delete", "path": "nothing"}), "not_found", 404),
        (json!({"op": "delete", "path": ""}), "bad_request", 400),
        (json!({"op": "explode", "path": "b.txt"}), "bad_request", 400),
    ] {
        let answer = operate(&desk, body.clone()).await;
        assert_eq!(answer.problem(code)["status"], status, "{body}");
    }
    let keyed = Desk { client: desk.client.and("idempotency-key", "once"), id: desk.id.clone() };
    for _ in 0..2 {
        operate(&keyed, json!({"op": "delete", "path": "b.txt"})).await.expect(200);
    }
    desk.get("/files/content?path=b.txt").await.problem("not_found");
}

#[tokio::test]
async fn what_is_trashed_comes_back_until_it_is_purged() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("src/a.txt", "precious").await;
    let trashed = operate(&desk, json!({"op": "trash", "path": "src"})).await.expect(200);
    assert_eq!(paths(&desk.get("/tree").await.expect(200)), [""; 0]);
    let entries = desk.get("/files/trash").await.expect(200)["entries"].clone();
    assert_eq!((&entries[0]["id"], &entries[0]["path"]), (&trashed["trash_id"], &json!("src")));
    assert_eq!(entries[0]["size"], 8);
    operate(&desk, json!({"op": "restore", "id": trashed["trash_id"]})).await.expect(200);
    assert_eq!(desk.get("/files/content?path=src/a.txt").await.text, "precious");
    let trashed = operate(&desk, json!({"op": "trash", "path": "src"})).await.expect(200);
    desk.save("src/a.txt", "new").await;
    operate(&desk, json!({"op": "restore", "id": trashed["trash_id"]})).await.problem("already_exists");
    let back = operate(&desk, json!({"op": "restore", "id": trashed["trash_id"], "to": "old"})).await.expect(200);
    assert_eq!(back["entry"]["path"], "old");
    operate(&desk, json!({"op": "trash", "path": "old"})).await.expect(200);
    operate(&desk, json!({"op": "purge"})).await.expect(200);
    assert_eq!(desk.get("/files/trash").await.expect(200)["entries"], json!([]));
}

#[tokio::test]
async fn a_search_tells_what_it_finds_as_it_goes() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("src/one.py", "import os\nprint('größe', os.name)\n").await;
    desk.save("two.txt", "nothing here\n").await;
    let search = async |body: Value| {
        let answer = desk.post("/files/search", body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "text/event-stream"),
            "{}",
            answer.text
        );
        assert!(answer.text.starts_with("id: 1\n"), "{}", answer.text);
        events(&answer.text)
    };
    let found = search(json!({"text": "os.name"})).await;
    assert_eq!(
        (&found[0]["event"], &found[0]["path"], &found[0]["line"]),
        (&json!("match"), &json!("src/one.py"), &json!(2))
    );
    assert_eq!(found[0]["spans"], json!([[15, 22]]));
    assert_eq!((&found[1]["event"], &found[1]["matches"]), (&json!("done"), &json!(1)));
    let regex = search(json!({"text": "^import \\w+$", "regex": true, "include": ["*.py"]})).await;
    assert_eq!((&regex[0]["line"], regex.len()), (&json!(1), 2));
    let named = search(json!({"text": "onepy", "kind": "names"})).await;
    assert_eq!((&named[0]["event"], &named[0]["entry"]["path"]), (&json!("file"), &json!("src/one.py")));
    desk.post("/files/search", json!({"text": ""})).await.problem("bad_request");
    desk.post("/files/search", json!({"text": "(", "regex": true})).await.problem("invalid_arguments");
}

#[tokio::test]
async fn whoever_follows_along_hears_of_saves_and_by_whom() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let request = desk.client.request(Method::GET, &desk.at("/files/events")).body(axum::body::Body::empty()).unwrap();
    let mut follow = super::server::Followed::of(desk.client.open(request).await);
    assert_eq!(follow.next().await["event"], "hello");
    let tab = desk.client.and("x-client-id", "tab-7");
    let saved = tab.put(&desk.at("/files/content?path=a.txt"), "x").await.expect(201);
    let told = follow.until(|event| event["path"] == "a.txt" && event["origin"] == "tab-7").await;
    assert_eq!(told["etag"], saved["etag"], "{told}");
    std::fs::remove_file(yard.files(&desk).join("a.txt")).unwrap();
    follow.until(|event| event["event"] == "deleted" && event["path"] == "a.txt").await;
}

#[tokio::test]
async fn whoever_has_workspaces_hears_of_their_own_and_of_nobody_elses() {
    let yard = Yard::new().await;
    let alice = yard.developer("alice").await;
    let request = alice.request(Method::GET, "/api/v1/workspaces/events").body(axum::body::Body::empty()).unwrap();
    let mut follow = super::server::Followed::of(alice.open(request).await);
    assert_eq!(follow.next().await, json!({"event": "hello"}));
    yard.at_work("bob").await;
    let made = alice.post("/api/v1/workspaces", json!({"name": "mine", "start": false})).await.expect(201);
    let told = follow.next().await;
    assert_eq!((&told["event"], &told["workspace"]["id"]), (&json!("workspace"), &made["id"]), "{told}");
    alice.delete(&format!("/api/v1/workspaces/{}?force=true", made["id"].as_str().unwrap())).await.expect(200);
    follow.until(|event| event["event"] == "gone" && event["id"] == made["id"]).await;
}
