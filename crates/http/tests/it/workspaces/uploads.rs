//! Large files in pieces, gone on with where they broke off.

use axum::body::Body;
use axum::http::Method;
use reeve_types::Digest;
use serde_json::{Value, json};

use super::{Desk, Yard};
use crate::platform::Answer;

async fn send(desk: &Desk, upload: &str, offset: u64, bytes: &[u8]) -> Answer {
    let request = desk.client.request(Method::PATCH, &desk.at(&format!("/files/uploads/{upload}")));
    let request = request.header("upload-offset", offset.to_string());
    desk.client.send(request.body(Body::from(bytes.to_vec())).unwrap()).await
}

async fn begin(desk: &Desk, content: &[u8], more: Value) -> Value {
    let mut body = json!({"path": "big.bin", "size": content.len(), "sha256": Digest::of(content).to_string()});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    desk.post("/files/uploads", body).await.expect(201)
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let content: Vec<u8> = (0..3_000_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let begun = begin(&desk, &content, json!({})).await;
    let id = begun["id"].as_str().unwrap();
    assert_eq!((&begun["offset"], &begun["path"]), (&json!(0), &json!("big.bin")));
    assert_eq!(send(&desk, id, 0, &content[..1_000_000]).await.expect(200)["offset"], 1_000_000);

    let (first, broken) = (content[1_000_000..1_500_000].to_vec(), std::io::Error::other("the line broke"));
    let pieces = futures_util::stream::iter([Ok(axum::body::Bytes::from(first)), Err(broken)]);
    let request = desk.client.request(Method::PATCH, &desk.at(&format!("/files/uploads/{id}")));
    let request = request.header("upload-offset", "1000000").body(Body::from_stream(pieces)).unwrap();
    let answer = desk.client.send(request).await;
    assert!(!answer.status.is_success(), "{}", answer.text);

    let there = desk.get(&format!("/files/uploads/{id}")).await;
    let offset = there.expect(200)["offset"].as_u64().unwrap();
    assert_eq!(there.header("upload-offset"), offset.to_string());
    assert!((1_000_000..=1_500_000).contains(&offset), "{offset}");
    let wrong = send(&desk, id, 7, b"x").await;
    assert!(wrong.status.is_client_error(), "{} {}", wrong.status, wrong.text);
    desk.post(&format!("/files/uploads/{id}/finish"), json!({})).await.problem("bad_request");
    let rest = usize::try_from(offset).unwrap();
    assert_eq!(send(&desk, id, offset, &content[rest..]).await.expect(200)["offset"], 3_000_000);
    let saved = desk.post(&format!("/files/uploads/{id}/finish"), json!({})).await.expect(200);
    assert_eq!(saved["etag"], Digest::of(&content).to_string());
    assert_eq!(std::fs::read(yard.files(&desk).join("big.bin")).unwrap(), content);
    desk.get(&format!("/files/uploads/{id}")).await.problem("not_found");
}

#[tokio::test]
async fn what_arrived_must_be_what_was_admitted() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let begun = begin(&desk, b"right", json!({})).await;
    let id = begun["id"].as_str().unwrap();
    send(&desk, id, 0, b"wrong").await.expect(200);
    let finished = desk.post(&format!("/files/uploads/{id}/finish"), json!({})).await;
    assert!(finished.status.is_client_error(), "{} {}", finished.status, finished.text);
    desk.get("/files/content?path=big.bin").await.problem("not_found");
    let longer = begin(&desk, b"12345", json!({"path": "b.bin"})).await;
    let over = send(&desk, longer["id"].as_str().unwrap(), 0, b"1234567").await;
    assert!(over.status.is_client_error(), "{} {}", over.status, over.text);

    desk.save("big.bin", "somebody was quicker").await;
    let begun = begin(&desk, b"right", json!({"if_none_match": true})).await;
    let id = begun["id"].as_str().unwrap();
    send(&desk, id, 0, b"right").await.expect(200);
    desk.post(&format!("/files/uploads/{id}/finish"), json!({})).await.problem("edit_conflict");
    assert_eq!(
        desk.client.delete(&desk.at(&format!("/files/uploads/{id}"))).await.expect(200),
        json!({"removed": true})
    );
    desk.get(&format!("/files/uploads/{id}")).await.problem("not_found");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    let body = json!({"path": "x", "size": (1u64 << 30) + 1, "sha256": "0".repeat(64)});
    desk.post("/files/uploads", body).await.problem("too_large");
    desk.post("/files/uploads", json!({"path": "x", "size": 1, "sha256": "short"})).await.problem("bad_request");
    let huge = desk
        .client
        .request(Method::PUT, &desk.at("/files/content?path=x"))
        .header("content-length", ((1u64 << 30) + 1).to_string());
    desk.client.send(huge.body(Body::empty()).unwrap()).await.problem("too_large");
}
