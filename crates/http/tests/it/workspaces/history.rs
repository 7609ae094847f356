//! What files were before: listed, read, and brought back by a save that is a save as any other.

use reeve_types::Digest;
use serde_json::json;

use super::Yard;
use super::server::until;

#[tokio::test]
async fn what_a_file_was_is_listed_read_and_saved_again_as_an_act() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.get("/files/history?path=none").await.expect(200);
    desk.save("dir/a.txt", "one\r\n").await;
    desk.save("dir/a.txt", "two").await;
    let present = desk.save("dir/a.txt", "three").await["etag"].as_str().unwrap().to_owned();
    let versions = desk.get("/files/history?path=dir/a.txt").await.expect(200)["versions"].clone();
    assert_eq!(versions.as_array().unwrap().len(), 2, "{versions}");
    let first = &versions[1];
    let digest = Digest::of("one\r\n".as_bytes()).to_string();
    assert_eq!((&first["size"], &first["etag"]), (&json!(5), &json!(digest)));
    let id = first["id"].as_str().unwrap();
    let read = desk.get(&format!("/files/history/content?path=dir/a.txt&version={id}")).await;
    assert_eq!((read.status.as_u16(), read.text.as_str()), (200, "one\r\n"));
    assert_eq!((read.header("etag"), read.header("x-file-binary")), (format!("\"{digest}\"").as_str(), "false"));
    desk.get(&format!("/files/history/content?path=dir/b.txt&version={id}")).await.problem("not_found");
    desk.get("/files/history/content?path=dir/a.txt&version=../../x").await.problem("bad_request");
    desk.get("/files/history?path=dir").await.problem("wrong_file_type");
    desk.get("/files/history?path=.reeve-trash/history").await.problem("not_found");
    desk.get("/files/history?path=../x").await.problem("path_escape");
    assert_eq!(desk.get("/files/archive?path=dir").await.status.as_u16(), 200);

    let restore = |if_match: &str| {
        desk.post("/files/history/restore", json!({"path": "dir/a.txt", "version": id, "if_match": if_match}))
    };
    restore("0").await.problem("edit_conflict");
    let restored = restore(&present).await;
    assert_eq!(restored.header("etag"), format!("\"{digest}\""));
    assert_eq!(restored.expect(200)["etag"], json!(digest));
    assert_eq!(desk.get("/files/content?path=dir/a.txt").await.text, "one\r\n");
    let versions = desk.get("/files/history?path=dir/a.txt").await.expect(200)["versions"].clone();
    assert_eq!((versions.as_array().unwrap().len(), &versions[0]["etag"]), (3, &json!(present)), "{versions}");

    let admin = yard.t.user("root", &["admin"]).await;
    let found = async || admin.get("/api/v1/events?event_type=tool_execution&tool_name=workspace_save_file").await;
    until("it is recorded", || async { found().await.text.matches(&digest).count() >= 2 }).await;

    let forget = json!({"op": "forget_history", "path": "dir"});
    assert_eq!(desk.post("/files/operations", forget).await.expect(200)["count"], 3);
    assert_eq!(desk.get("/files/history?path=dir/a.txt").await.expect(200)["versions"], json!([]));
    desk.post("/files/history/restore", json!({"path": "dir/a.txt", "version": id})).await.problem("not_found");
}
