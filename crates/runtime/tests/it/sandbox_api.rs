//! The sandbox runtime API, as its clients speak it.

use std::os::unix::fs::symlink;

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::running::Running;

async fn execute(runtime: &Running, command: &str) -> Value {
    let (status, ran) = runtime.post("/exec", json!({ "command": command })).await;
    assert_eq!(status, StatusCode::OK, "{ran}");
    ran
}

#[tokio::test]
async fn commands_are_split_and_no_shell_reads_them() {
    let runtime = Running::start().await;
    let ran = execute(&runtime, "printf '%s|' 'a b' $HOME ';' \"c d\"").await;
    assert_eq!(ran, json!({"stdout": "a b|$HOME|;|c d|", "stderr": "", "exit_code": 0}));
    let ran = execute(&runtime, "sh -c 'echo out; echo err >&2; exit 5'").await;
    assert_eq!(ran, json!({"stdout": "out\n", "stderr": "err\n", "exit_code": 5}));
    assert_eq!(
        runtime.post("/execute", json!({"command": "pwd"})).await.1["stdout"],
        format!("{}\n", runtime.root().display())
    );
}

#[tokio::test]
async fn what_goes_wrong_is_in_the_answer() {
    let runtime = Running::start_with(&[("SANDBOX_EXEC_TIMEOUT_S", "1")]).await;
    let bad = execute(&runtime, "echo 'open").await;
    assert_eq!(
        (&bad["exit_code"], bad["stderr"].as_str().is_some_and(|said| said.starts_with("Invalid command:"))),
        (&json!(2), true)
    );
    let missing = execute(&runtime, "no-such-program x").await;
    assert_eq!(missing["exit_code"], 1);
    assert!(missing["stderr"].as_str().is_some_and(|said| said.starts_with("Failed to execute command:")), "{missing}");
    let odd = execute(&runtime, "echo a\0b").await;
    assert_eq!(odd["exit_code"], 1);
    assert!(odd["stderr"].as_str().is_some_and(|said| said.starts_with("Failed to execute command:")), "{odd}");
    let slow = execute(&runtime, "sleep 600").await;
    assert_eq!(slow, json!({"stdout": "", "stderr": "Command timed out after 1s", "exit_code": 124}));
    let long = execute(&runtime, "python3 -c 'print(\"ü\" * 300000)'").await;
    let said = long["stdout"].as_str().expect("text");
    assert!(
        said.ends_with("ü\n<output truncated>") && said.chars().count() == 200_000 + 19,
        "{}",
        said.chars().count()
    );
    let server = execute(&runtime, "sh -c 'sleep 600 & echo up'").await;
    assert_eq!(server["stdout"], "up\n");
    assert_eq!(runtime.offspring(), Vec::<String>::new());
}

fn lay_out(runtime: &Running) {
    for (path, content) in [
        ("src/a.js", "a"),
        ("src/deep/b.js", "bb"),
        ("app/root.tsx", "x"),
        (".hidden", "h"),
        ("node_modules/m/index.js", "m"),
        ("src/node_modules/n.js", "n"),
        (".git/HEAD", "g"),
    ] {
        runtime.write(path, content);
    }
    std::fs::create_dir(runtime.root().join("empty")).expect("a directory");
    symlink("/etc", runtime.root().join("etc")).expect("a link");
    symlink("src/a.js", runtime.root().join("link.js")).expect("a link");
    std::fs::write(runtime.root().join("../outside"), "secret").expect("a file");
}

#[tokio::test]
async fn files_are_listed_without_what_is_hidden() {
    let runtime = Running::start().await;
    lay_out(&runtime);
    assert_eq!(runtime.get("/list?dir=/").await, json!({"files": ["app/root.tsx", "src/a.js", "src/deep/b.js"]}));
    assert_eq!(runtime.get("/list?dir=src").await, json!({"files": ["src/a.js", "src/deep/b.js"]}));
    assert_eq!(runtime.ask(Method::GET, "/list?dir=none", "").await.0, StatusCode::NOT_FOUND);
    for dir in ["..", "/../etc", "etc"] {
        assert_eq!(runtime.ask(Method::GET, &format!("/list?dir={dir}"), "").await.0, StatusCode::BAD_REQUEST, "{dir}");
    }
}

#[tokio::test]
async fn the_manifest_tells_links_as_links() {
    let runtime = Running::start().await;
    lay_out(&runtime);
    let manifest = runtime.get("/manifest?dir=.&include_hidden=1").await;
    let entries = manifest["entries"].as_array().expect("entries");
    let paths: Vec<&str> = entries.iter().filter_map(|entry| entry["path"].as_str()).collect();
    let expected =
        [".hidden", "app", "app/root.tsx", "empty", "etc", "link.js", "src", "src/a.js", "src/deep", "src/deep/b.js"];
    assert_eq!(paths, expected);
    let of = |path: &str| entries.iter().find(|entry| entry["path"] == path).expect("it is listed").clone();
    let etc = of("etc");
    assert_eq!((&etc["kind"], &etc["link_target"], &etc["size"]), (&json!("symlink"), &json!("/etc"), &Value::Null));
    assert_eq!((&of("src/deep/b.js")["size"], &of("src/deep/b.js")["kind"]), (&json!(2), &json!("file")));
    assert_eq!(of("empty")["kind"], "dir");
    assert!(of("src/a.js")["mtime_ns"].as_u64().is_some_and(|at| at > 1_600_000_000_000_000_000));
    assert_eq!(of("src/a.js")["mode"].as_u64().map(|mode| mode & 0o600), Some(0o600));
    let shown = runtime.get("/manifest").await;
    assert!(shown["entries"].as_array().expect("entries").iter().all(|entry| entry["path"] != ".hidden"));
}

#[tokio::test]
async fn files_are_written_and_read_back() {
    let runtime = Running::start().await;
    lay_out(&runtime);
    let (status, written) = runtime.post("/write_b64", json!({"path": "/new/dir/x.bin", "content_b64": "AP8K"})).await;
    assert_eq!((status, written), (StatusCode::OK, json!({"ok": true, "path": "/new/dir/x.bin"})));
    assert_eq!(std::fs::read(runtime.root().join("new/dir/x.bin")).expect("a file"), [0, 255, 10]);
    let response = runtime.send(runtime.request(Method::GET, "/download/new/dir/x.bin", "")).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes().as_ref(), [0, 255, 10]);
    let response = runtime.send(runtime.request(Method::GET, "/download/app/root.tsx", "")).await;
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes().as_ref(), b"x", "nothing is stripped");
    for (path, content, status) in [
        ("x", "no base64!", StatusCode::BAD_REQUEST),
        ("../x", "AA==", StatusCode::BAD_REQUEST),
        ("etc/x", "AA==", StatusCode::BAD_REQUEST),
        ("", "AA==", StatusCode::BAD_REQUEST),
    ] {
        let (got, problem) = runtime.post("/write_b64", json!({"path": path, "content_b64": content})).await;
        assert_eq!(got, status, "{path}: {problem}");
    }
    for (path, status) in [("missing", 404), ("..%2foutside", 400), ("etc/passwd", 400), ("%2f", 400), ("src", 409)] {
        assert_eq!(runtime.ask(Method::GET, &format!("/download/{path}"), "").await.0.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn many_files_come_in_one_document() {
    let runtime = Running::start().await;
    lay_out(&runtime);
    let large: Vec<u8> = (0..1_000_003u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(runtime.root().join("large"), &large).expect("a file");
    let paths = json!({"paths": ["/src/a.js", "large", "missing", "src", "../outside", "etc/passwd"]});
    let (status, many) = runtime.post("/download_many", paths).await;
    assert_eq!(status, StatusCode::OK);
    let files = many["files"].as_array().expect("files");
    assert_eq!(files[0], json!({"path": "/src/a.js", "content_b64": "YQ==", "error": null}));
    let content = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        files[1]["content_b64"].as_str().expect("text"),
    );
    assert!(content.expect("base64") == large);
    let errors: Vec<&Value> = files[2..].iter().map(|file| &file["error"]).collect();
    assert_eq!(errors, ["file_not_found", "is_directory", "invalid_path", "invalid_path"]);
}

#[tokio::test]
async fn it_is_open_only_when_it_is_said_so() {
    let runtime = Running::start_with(&[("REEVE_RUNTIME_OPEN", "1")]).await;
    let strange = |path: &str| {
        let mut request = runtime.request(Method::GET, path, "");
        request.headers_mut().remove("authorization");
        request
    };
    assert_eq!(runtime.send(strange("/list")).await.status(), StatusCode::OK);
    assert_eq!(runtime.send(strange("/v1/stats")).await.status(), StatusCode::UNAUTHORIZED);
}
