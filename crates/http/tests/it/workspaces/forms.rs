//! Forms with files, as browsers and `curl -F` send them.

use axum::body::Body;
use axum::http::Method;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{Desk, Yard};
use crate::platform::Answer;

const KIND: &str = "multipart/form-data; boundary=cut";

/// One part with a file.
fn part(name: &str, content: &str) -> String {
    format!("--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n")
}

async fn send(desk: &Desk, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = desk.client.request(Method::POST, path).header("content-type", kind);
    desk.client.send(request.body(body.into()).unwrap()).await
}

async fn form(desk: &Desk, query: &str, body: impl Into<Body>) -> Answer {
    send(desk, &format!("/api/v1/workspaces/{}/files/form{query}", desk.id), KIND, body).await
}

#[tokio::test]
async fn every_file_of_a_form_is_saved_byte_for_byte_where_its_name_leads() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let field = "--cut\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nno file\r\n";
    let body = [&part("a.txt", "one\r\n\r\n--cu"), field, &part("docs/b ä.md", ""), "--cut--\r\n"].concat();
    let saved = form(&desk, "?path=in", body.clone()).await;
    assert_eq!(saved.status.as_u16(), 201, "{}", saved.text);
    let files = saved.expect(201)["files"].clone();
    assert_eq!((&files[0]["path"], &files[1]["path"]), (&json!("in/a.txt"), &json!("in/docs/b ä.md")), "{files}");
    assert_eq!(desk.get("/files/content?path=in/a.txt").await.text, "one\r\n\r\n--cu");
    assert_eq!(files.as_array().map(Vec::len), Some(2));
    form(&desk, "?path=in&overwrite=false", body.clone()).await.problem("edit_conflict");
    form(&desk, "?path=in", body).await.expect(201);

    let guide = |path: &str| format!("/api/vibecode/files/upload?session_id={}&path={path}", desk.id);
    let one = part("c.txt", "guide") + "--cut--\r\n";
    let named = send(&desk, &guide("named.txt"), KIND, one.clone()).await.expect(200);
    assert_eq!(named["files"][0]["path"], "/workspace/named.txt");
    assert_eq!(send(&desk, &guide("in"), KIND, one).await.expect(200)["files"][0]["path"], "/workspace/in/c.txt");
    let two = [part("a", "1"), part("b", "2"), "--cut--\r\n".to_owned()].concat();
    send(&desk, &guide("one.txt"), KIND, two).await.problem("unprocessable");
}

#[tokio::test]
async fn a_hostile_or_broken_form_writes_nothing_outside_and_nothing_half() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    for (name, code) in [("../x", "path_escape"), ("/etc/x", "bad_request"), ("a/../../x", "path_escape")] {
        let refused = form(&desk, "", part(name, "x") + "--cut--\r\n").await;
        assert!(refused.status.is_client_error(), "{name}: {code} {}", refused.text);
    }
    form(&desk, "?path=../..", part("x", "x") + "--cut--\r\n").await.problem("path_escape");
    form(&desk, "", "--cut--\r\n").await.problem("bad_request");
    form(&desk, "", "no form at all").await.problem("bad_request");
    form(&desk, "", part("half.txt", "it breaks off")).await.problem("bad_request");
    send(&desk, &format!("/api/v1/workspaces/{}/files/form", desk.id), "text/plain", "x")
        .await
        .problem("unsupported_media_type");
    // A large file that breaks off has begun to be written by then.
    let start = stream::iter([part("large", "").trim_end().to_owned() + "\r\n\r\n"]).map(bytes::Bytes::from);
    let pieces = start.chain(stream::repeat(bytes::Bytes::from(vec![7u8; 1 << 20])).take(20));
    form(&desk, "", Body::from_stream(pieces.map(Ok::<_, std::io::Error>))).await.problem("bad_request");
    for missing in ["half.txt", "large", "x"] {
        desk.get(&format!("/files/stat?path={missing}")).await.problem("not_found");
    }
}

#[tokio::test]
async fn a_large_file_of_a_form_goes_through_and_another_follows() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let start = stream::iter([part("large", "").trim_end().to_owned() + "\r\n\r\n"]).map(bytes::Bytes::from);
    let end = format!("\r\n{}--cut--\r\n", part("after", "small"));
    let pieces = start
        .chain(stream::repeat(bytes::Bytes::from(vec![7u8; 1 << 20])).take(24))
        .chain(stream::iter([bytes::Bytes::from(end)]));
    let saved = form(&desk, "", Body::from_stream(pieces.map(Ok::<_, std::io::Error>))).await.expect(201);
    assert_eq!((&saved["files"][0]["size"], &saved["files"][1]["size"]), (&json!(24 << 20), &json!(5)), "{saved}");
}
