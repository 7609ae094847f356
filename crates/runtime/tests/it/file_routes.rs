//! Files over the socket: streaming both ways, and what breaks off is never taken for whole.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use reeve_types::workspace::files::{FileEvent, FileHead, SaveFile, SearchEvent};
use reeve_types::{Digest, WorkspacePath};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::running::{Events, Running, TOKEN, resident, until};

fn announced(path: &str, content: &[u8]) -> SaveFile {
    SaveFile {
        path: WorkspacePath::from_bytes(path.as_bytes()).expect("a path"),
        sha256: Digest(Sha256::digest(content).into()),
        size: u64::try_from(content.len()).expect("a size"),
        if_match: None,
        if_none_match: false,
        create_parents: true,
        origin: Some("a client".to_owned()),
    }
}

fn saving(runtime: &Running, method: Method, address: &str, save: &SaveFile, content: &[u8]) -> Request<Full<Bytes>> {
    let mut request = runtime.request(method, address, content.to_vec());
    let header: String =
        serde_json::to_string(save).expect("JSON").bytes().map(|byte| format!("%{byte:02X}")).collect();
    request.headers_mut().insert("x-reeve-save", header.parse().expect("a header"));
    request
}

async fn save(runtime: &Running, path: &str, content: &[u8]) -> (StatusCode, Value) {
    let response = runtime.send(saving(runtime, Method::PUT, "/v1/content", &announced(path, content), content)).await;
    (response.status(), value(response).await)
}

async fn body(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.expect("a body").to_bytes()
}

async fn value(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&body(response).await).expect("JSON")
}

#[tokio::test]
async fn a_file_is_saved_read_and_told_byte_for_byte() {
    let runtime = Running::start().await;
    let content = b"one\r\ntwo\0\xff".as_slice();
    let (status, saved) = save(&runtime, "dir/na me ü.txt", content).await;
    assert_eq!((status, &saved["created"]), (StatusCode::CREATED, &json!(true)), "{saved}");
    assert_eq!(save(&runtime, "dir/na me ü.txt", content).await.0, StatusCode::OK);
    let address = "/v1/content?path=dir%2Fna%20me%20%C3%BC.txt";
    let response = runtime.send(runtime.request(Method::GET, address, "")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let head: FileHead = serde_json::from_slice(response.headers()["x-reeve-head"].as_bytes()).expect("a head");
    assert_eq!((head.size, head.binary, head.etag.as_str()), (10, true, saved["etag"].as_str().expect("a tag")));
    assert_eq!(body(response).await, content);
    let stat = runtime.get("/v1/stat?path_b64=ZGlyL25hIG1lIMO8LnR4dA%3D%3D").await;
    assert_eq!((&stat["size"], &stat["type"]), (&json!(10), &json!("file")));
}

#[tokio::test]
async fn parts_of_a_file_are_sent() {
    let runtime = Running::start().await;
    runtime.write("x", "0123456789");
    let table = [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=5-100", 206, "56789", "bytes 5-9/10"),
        ("lines=1-2", 200, "0123456789", ""),
    ];
    for (range, status, content, told) in table {
        let mut request = runtime.request(Method::GET, "/v1/content?path=x", "");
        request.headers_mut().insert("range", range.parse().expect("a value"));
        let response = runtime.send(request).await;
        assert_eq!(response.status().as_u16(), status, "{range}");
        let range_told = response.headers().get("content-range").map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(range_told.unwrap_or_default(), told, "{range}");
        assert_eq!(body(response).await, content, "{range}");
    }
    let mut request = runtime.request(Method::GET, "/v1/content?path=x", "");
    request.headers_mut().insert("range", "bytes=10-".parse().expect("a value"));
    assert_eq!(runtime.send(request).await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn large_files_go_both_ways_without_being_held_in_memory() {
    let runtime = Running::start().await;
    assert_eq!(save(&runtime, "small", b"x").await.0, StatusCode::CREATED);
    let before = resident(runtime.pid());
    let content: Vec<u8> = (0..100_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (status, saved) = save(&runtime, "large", &content).await;
    assert_eq!(status, StatusCode::CREATED, "{saved}");
    let response = runtime.send(runtime.request(Method::GET, "/v1/content?path=large", "")).await;
    assert_eq!(response.headers()["content-length"], "100000000");
    assert!(body(response).await == content);
    let grown = resident(runtime.pid()).saturating_sub(before);
    assert!(grown < 10 << 20, "grown by {grown} bytes");
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let runtime = Running::start().await;
    runtime.write("kept", "as it was");
    let content = vec![b'x'; 100_000];
    let save = serde_json::to_string(&announced("kept", &content)).expect("JSON");
    let mut stream = UnixStream::connect(runtime.socket()).await.expect("a connection");
    let head = format!(
        "PUT /v1/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nx-reeve-save: {save}\r\n\
         content-length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&content[..50_000]).await.expect("sent");
    stream.shutdown().await.expect("closed");
    let mut answer = Vec::new();
    let _cut_off = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(std::fs::read_to_string(runtime.root().join("kept")).expect("a file"), "as it was");
    let (status, problem) = {
        let request = saving(&runtime, Method::PUT, "/v1/content", &announced("kept", b"other"), b"wrong");
        let response = runtime.send(request).await;
        (response.status(), value(response).await)
    };
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("bad_request")));
    assert_eq!(std::fs::read_to_string(runtime.root().join("kept")).expect("a file"), "as it was");
}

#[tokio::test]
async fn a_stale_save_is_refused_with_the_present_tag() {
    let runtime = Running::start().await;
    let (_, first) = save(&runtime, "x", b"one").await;
    let (_, second) = save(&runtime, "x", b"two").await;
    let stale = SaveFile { if_match: first["etag"].as_str().map(str::to_owned), ..announced("x", b"three") };
    let response = runtime.send(saving(&runtime, Method::PUT, "/v1/content", &stale, b"three")).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    let problem = value(response).await;
    assert_eq!((&problem["code"], &problem["current_etag"]), (&json!("edit_conflict"), &second["etag"]));
}

#[tokio::test]
async fn an_upload_arrives_in_pieces_and_goes_on_after_a_break() {
    let runtime = Running::start().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 253) as u8).collect();
    let begun = serde_json::to_value(announced("up/loaded", &content)).expect("JSON");
    let (status, upload) = runtime.post("/v1/uploads", begun).await;
    assert_eq!(status, StatusCode::CREATED, "{upload}");
    let id = upload["id"].as_str().expect("an id").to_owned();
    let append = async |offset: usize, piece: &[u8]| {
        let mut request = runtime.request(Method::PATCH, &format!("/v1/uploads/{id}"), piece.to_vec());
        request.headers_mut().insert("upload-offset", offset.to_string().parse().expect("a value"));
        let response = runtime.send(request).await;
        (response.status(), value(response).await)
    };
    assert_eq!(append(0, &content[..1_000_000]).await.1["offset"], 1_000_000);
    assert_eq!(append(5, b"x").await.1["code"], "conflict");
    let mut stream = UnixStream::connect(runtime.socket()).await.expect("a connection");
    let head = format!(
        "PATCH /v1/uploads/{id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nupload-offset: 1000000\r\n\
         content-length: 2000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&content[1_000_000..1_500_000]).await.expect("sent");
    drop(stream);
    until("what was sent has arrived", || async {
        runtime.get(&format!("/v1/uploads/{id}")).await["offset"] == 1_500_000
    })
    .await;
    assert_eq!(runtime.post(&format!("/v1/uploads/{id}/finish"), json!({})).await.1["code"], "bad_request");
    assert_eq!(append(1_500_000, &content[1_500_000..]).await.1["offset"], 3_000_000);
    let (status, saved) = runtime.post(&format!("/v1/uploads/{id}/finish"), json!({})).await;
    assert_eq!((status, &saved["created"]), (StatusCode::CREATED, &json!(true)), "{saved}");
    assert!(std::fs::read(runtime.root().join("up/loaded")).expect("a file") == content);
    assert_eq!(runtime.ask(Method::GET, &format!("/v1/uploads/{id}"), "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_directory_is_packed_and_unpacked() {
    let runtime = Running::start().await;
    let content: String = (0..200_000).map(|at| format!("{at}\n")).collect();
    runtime.write("from/a.txt", &content);
    runtime.write("from/deep/b.txt", "b");
    for (format, kind) in [("zip", "application/zip"), ("tar_gz", "application/gzip")] {
        let response =
            runtime.send(runtime.request(Method::GET, &format!("/v1/archive?path=from&format={format}"), "")).await;
        assert_eq!(response.headers()["content-type"], kind);
        let packed = body(response).await;
        let into = announced(&format!("to-{format}"), &packed);
        let address = format!("/v1/extract?format={format}");
        let response = runtime.send(saving(&runtime, Method::POST, &address, &into, &packed)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(value(response).await["files"], 2);
        let read = |path: &str| std::fs::read_to_string(runtime.root().join(format!("to-{format}/from/{path}")));
        assert_eq!(
            (read("a.txt").expect("a file"), read("deep/b.txt").expect("a file")),
            (content.clone(), "b".to_owned())
        );
    }
    assert_eq!(runtime.ask(Method::GET, "/v1/archive?path=from&format=rar", "").await.0, StatusCode::BAD_REQUEST);
    let missing = runtime.ask(Method::GET, "/v1/archive?path=missing&format=zip", "").await;
    assert_eq!((missing.0, &missing.1["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
}

#[tokio::test]
async fn searching_streams_and_ends_with_done() {
    let runtime = Running::start().await;
    runtime.write("a.txt", "needle\nhay\n");
    runtime.write("b.txt", "hay needle\n");
    let response = runtime.send(runtime.request(Method::POST, "/v1/search", r#"{"text":"needle"}"#)).await;
    let mut events = Events::of(response);
    let mut found = Vec::new();
    loop {
        match events.next::<SearchEvent>().await.expect("an event") {
            SearchEvent::Match { path, line, .. } => found.push((path.to_string(), line)),
            SearchEvent::Done { matches, .. } => break assert_eq!(matches, 2),
            SearchEvent::File { .. } => {}
        }
    }
    found.sort();
    assert_eq!(found, [("/workspace/a.txt".to_owned(), 1), ("/workspace/b.txt".to_owned(), 1)]);
    let (status, problem) = runtime.post("/v1/search", json!({"text": "(", "regex": true})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

#[tokio::test]
async fn names_change_and_those_who_watch_are_told() {
    let runtime = Running::start().await;
    let mut events = Events::of(runtime.send(runtime.request(Method::GET, "/v1/watch", "")).await);
    assert_eq!(events.next::<FileEvent>().await, Some(FileEvent::Hello));
    let (status, made) = runtime.post("/v1/operations", json!({"op": "create_file", "path": "new.txt"})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    loop {
        if let Some(FileEvent::Created { path, .. }) = events.next().await {
            break assert_eq!(path.to_string(), "/workspace/new.txt");
        }
    }
    let (_, trashed) = runtime.post("/v1/operations", json!({"op": "trash", "path": "new.txt"})).await;
    let trash = runtime.get("/v1/trash").await;
    assert_eq!((&trash[0]["id"], &trash[0]["path"]), (&trashed["trash_id"], &json!("new.txt")));
    let (status, tree) = runtime.post("/v1/tree", json!({"depth": 1})).await;
    assert_eq!((status, tree["entries"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)));
}
