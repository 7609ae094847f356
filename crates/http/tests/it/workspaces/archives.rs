//! Files in and out as archives; those that mean harm write nothing.

use std::path::Path;

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use super::{Desk, Yard};
use crate::platform::Answer;

async fn extract(desk: &Desk, query: &str, archive: Vec<u8>) -> Answer {
    let request = desk.client.request(Method::POST, &desk.at(&format!("/files/extract?{query}")));
    desk.client.send(request.body(Body::from(archive)).unwrap()).await
}

#[tokio::test]
async fn a_directory_travels_as_zip_and_as_tar() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("site/index.html", "<h1>hi</h1>").await;
    desk.save("site/css/a.css", "h1{}").await;
    for (format, kind, end) in [("zip", "application/zip", ".zip"), ("tar_gz", "application/gzip", ".tar.gz")] {
        let packed = desk.get(&format!("/files/archive?path=site&format={format}")).await;
        assert_eq!((packed.status.as_u16(), packed.header("content-type")), (200, kind));
        assert!(packed.header("content-disposition").contains(&format!("filename=\"site{end}\"")));
        let directory = json!({"op": "create_directory", "path": format!("copy-{format}")});
        desk.post("/files/operations", directory).await.expect(200);
        let unpacked =
            extract(&desk, &format!("path=copy-{format}&format={format}"), packed.bytes.to_vec()).await.expect(200);
        assert_eq!((&unpacked["files"], &unpacked["bytes"]), (&json!(2), &json!(15)), "{unpacked}");
        let read = desk.get(&format!("/files/content?path=copy-{format}/site/css/a.css")).await;
        let read = if read.status == 200 {
            read
        } else {
            desk.get(&format!("/files/content?path=copy-{format}/css/a.css")).await
        };
        assert_eq!(read.text, "h1{}");
    }
    desk.get("/files/archive?path=nothing").await.problem("not_found");
    desk.get("/files/archive?path=site&format=rar").await.problem("bad_request");
}

fn shell(directory: &Path, line: &str) {
    let ended = std::process::Command::new("bash").args(["-ec", line]).current_dir(directory).status().unwrap();
    assert!(ended.success(), "{line}");
}

#[tokio::test]
async fn an_archive_that_leads_out_is_refused_whole() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    for path in ["in", "bomb"] {
        desk.post("/files/operations", json!({"op": "create_directory", "path": path})).await.expect(200);
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("climbing", "echo x >evil; tar -czf a.tgz --transform 's,^,../../,' -P evil"),
        ("absolute", "echo x >evil; tar -czf a.tgz --transform 's,^,/tmp/reeve-,' -P evil"),
        (
            "by a link",
            "ln -s /tmp out; tar -cf a.tar out; rm out; mkdir out; echo x >out/evil; tar -rf a.tar out/evil; gzip -c a.tar >a.tgz",
        ),
        ("a device", "mkfifo pipe; tar -czf a.tgz pipe"),
        ("no archive", "head -c 4096 /dev/urandom >a.tgz"),
        ("cut short", "head -c 100000 /dev/urandom >big; tar -czf whole.tgz big; head -c 5000 whole.tgz >a.tgz"),
    ] {
        let place = dir.path().join(name.replace(' ', "-"));
        std::fs::create_dir(&place).unwrap();
        shell(&place, line);
        let answer = extract(&desk, "path=in&format=tar_gz", std::fs::read(place.join("a.tgz")).unwrap()).await;
        assert!(answer.status.is_client_error(), "{name}: {} {}", answer.status, answer.text);
        assert!(!answer.json()["code"].is_null(), "{name}: {}", answer.text);
        assert!(!yard.files(&desk).join("in/out/evil").exists(), "{name}");
    }
    assert!(!Path::new("/tmp/reeve-evil").exists() && !Path::new("/tmp/evil").exists());
    assert!(!yard.files(&desk).join("../evil").exists());
    let bomb = {
        shell(
            dir.path(),
            "head -c 400000000 /dev/zero | gzip -9 >zeros; mkdir b; cd b; mv ../zeros .; gunzip <zeros >z; tar -czf ../bomb.tgz z; rm z",
        );
        std::fs::read(dir.path().join("bomb.tgz")).unwrap()
    };
    let answer = extract(&desk, "path=bomb&format=tar_gz", bomb).await;
    assert!(answer.status.is_client_error(), "a bomb: {} {}", answer.status, answer.text);
    extract(&desk, "path=../x&format=zip", Vec::new()).await.problem("path_escape");
}
