//! Reading a file and saving it: byte for byte, in parts, and never over somebody else's work.

use axum::body::Body;
use axum::http::Method;
use reeve_types::Digest;
use serde_json::json;

use super::Yard;

#[tokio::test]
async fn what_was_saved_is_what_is_read_byte_for_byte() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let line: Vec<u8> = vec![b'x'; 200 << 10];
    let large: Vec<u8> = (0..10u32 << 20).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    for (name, content, binary) in [
        ("empty", &b""[..], "false"),
        ("no-newline", b"a", "false"),
        ("crlf", b"a\r\nb\r\n", "false"),
        ("bom", b"\xef\xbb\xbfa", "false"),
        ("delimiters", b"EOF\n--boundary\n%00${x}`id`\n", "false"),
        ("not-utf8", b"caf\xe9", "true"),
        ("nul", b"a\0b", "true"),
        ("one-line", &line, "false"),
        ("ten-megabytes", &large, "true"),
    ] {
        let path = desk.at(&format!("/files/content?path={name}"));
        let saved = desk.client.put(&path, content.to_vec()).await;
        let body = saved.expect(201);
        let hash = Digest::of(content).to_string();
        assert_eq!((&body["size"], &body["etag"]), (&json!(content.len()), &json!(hash)), "{name}");
        assert_eq!(saved.header("etag"), format!("\"{hash}\""));
        let read = desk.client.get(&path).await;
        assert_eq!((read.status.as_u16(), &read.bytes[..] == content), (200, true), "{name}");
        assert_eq!((read.header("etag"), read.header("x-file-binary")), (saved.header("etag"), binary), "{name}");
        assert_eq!(std::fs::read(yard.files(&desk).join(name)).unwrap(), content, "{name}: on disk");
    }
}

#[tokio::test]
async fn of_two_who_save_one_is_told_what_is_there_now() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let path = desk.at("/files/content?path=a.txt");
    let first = desk.save("a.txt", "one").await["etag"].as_str().unwrap().to_owned();
    let mine = desk.client.and("if-match", &format!("\"{first}\""));
    let second = mine.put(&path, "two").await.expect(200);
    let late = mine.put(&path, "three").await;
    let problem = late.problem("edit_conflict");
    assert_eq!((late.status.as_u16(), &problem["current_etag"]), (412, &second["etag"]));
    assert_eq!(desk.client.get(&path).await.text, "two");
    desk.client.and("if-none-match", "*").put(&path, "new").await.problem("edit_conflict");
    desk.client.and("if-none-match", "*").put(&desk.at("/files/content?path=b.txt"), "new").await.expect(201);
    desk.client.and("if-match", "*").put(&desk.at("/files/content?path=none.txt"), "x").await.problem("edit_conflict");
    desk.client.and("if-match", "*").put(&path, "any").await.expect(200);
    let wrong = desk.client.and("x-content-sha256", &"0".repeat(64)).put(&path, "x").await;
    assert!(matches!(wrong.status.as_u16(), 400 | 409 | 412 | 422), "{} {}", wrong.status, wrong.text);
    assert_eq!(desk.client.get(&path).await.text, "any");
    desk.client.put(&desk.at("/files/content?path=no/such/dir.txt"), "x").await.problem("not_found");
    desk.client.put(&desk.at("/files/content?path=/workspace"), "x").await.problem("bad_request");
}

#[tokio::test]
async fn of_many_who_save_at_once_exactly_one_wins() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let base = desk.save("a.txt", "base").await["etag"].as_str().unwrap().to_owned();
    let saves = (0..8).map(|n| {
        let client = desk.client.and("if-match", &format!("\"{base}\""));
        let path = desk.at("/files/content?path=a.txt");
        async move { client.put(&path, format!("writer {n}")).await }
    });
    let answers = futures_util::future::join_all(saves).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status.is_success()).collect();
    assert_eq!(won.len(), 1, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    let on_disk = std::fs::read(yard.files(&desk).join("a.txt")).unwrap();
    assert_eq!(won[0].json()["etag"], Digest::of(&on_disk).to_string());
}

#[tokio::test]
async fn a_reader_asks_for_parts_and_for_what_is_new_only() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.txt", "0123456789").await;
    let path = desk.at("/files/content?path=a.txt");
    let whole = desk.client.get(&path).await;
    assert_eq!((whole.header("accept-ranges"), whole.header("content-length")), ("bytes", "10"));
    assert!(whole.header("last-modified").ends_with(" GMT"), "{}", whole.header("last-modified"));
    for (range, part, text) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=8-99", "bytes 8-9/10", "89"),
    ] {
        let answer = desk.client.and("range", range).get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (206, text), "{range}");
        assert_eq!((answer.header("content-range"), answer.header("content-length")), (part, &*text.len().to_string()));
    }
    let beyond = desk.client.and("range", "bytes=10-").get(&path).await;
    beyond.problem("range_not_satisfiable");
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */10"));
    let etag = whole.header("etag");
    let same = desk.client.and("if-none-match", etag).get(&path).await;
    assert_eq!((same.status.as_u16(), same.text.as_str(), same.header("etag")), (304, "", etag));
    let stale = desk.client.and("range", "bytes=2-4").and("if-range", "\"old\"").get(&path).await;
    assert_eq!((stale.status.as_u16(), stale.text.as_str()), (200, "0123456789"));
    let fresh = desk.client.and("range", "bytes=2-4").and("if-range", etag).get(&path).await;
    assert_eq!(fresh.status.as_u16(), 206);
    let head = desk.client.request(Method::HEAD, &path).body(Body::empty()).unwrap();
    let head = desk.client.send(head).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.text.as_str()), (200, "10", ""));
}

#[tokio::test]
async fn a_file_is_shown_as_nothing_that_runs() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("index.html", "<script>alert(1)</script>").await;
    let shown = desk.get("/files/content?path=index.html").await;
    assert_eq!(shown.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(shown.header("x-content-type-options"), "nosniff");
    assert!(shown.header("content-security-policy").starts_with("sandbox; default-src 'none'"));
    assert!(shown.header("content-disposition").starts_with("inline; filename=\"index.html\""));
    let saved = desk.get("/files/content?path=index.html&download=1").await;
    assert!(saved.header("content-disposition").starts_with("attachment; "));
    desk.get("/files/content?path=").await.problem("wrong_file_type");
}
