//! Bad days: power that fails in the middle of a save, disks without room, what a workspace does to Reeve's own
//! directory, and what was left lying for too long.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_runtime::files::Files;
use reeve_types::workspace::files::{FileOperation, SaveFile, TRASH_DIR, TreeQuery};
use reeve_types::{Digest, ProblemCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;

use crate::files::{code, path, wish};
use crate::running::{Running, resident, until};

/// Saves over a connection of its own; nothing when the runtime dies meanwhile.
async fn save(socket: &Path, request: Request<Full<Bytes>>) -> Option<StatusCode> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    response.into_body().collect().await.ok()?;
    Some(status)
}

fn half_done(root: &Path) -> u64 {
    let staging = std::fs::read_dir(root.join(TRASH_DIR).join("staging")).into_iter().flatten().flatten();
    let drafts = staging.flat_map(|one| std::fs::read_dir(one.path()).into_iter().flatten().flatten());
    drafts.filter_map(|draft| draft.metadata().ok()).map(|data| data.len()).sum()
}

/// The runtime is killed when a save has come so far, again and again, further each time.
#[tokio::test]
async fn power_that_fails_in_the_middle_of_a_save_leaves_the_old_content_or_the_new() {
    const SIZE: usize = 6 << 20;
    let mut runtime = Running::start().await;
    let mut known = vec![b'0'; SIZE];
    std::fs::write(runtime.root().join("f"), &known).expect("a file");
    let mut acknowledged = 0;
    for (round, letter) in (b'a'..=b'l').enumerate() {
        let content = vec![letter; SIZE];
        let mut request = runtime.request(Method::PUT, "/v1/content", content.clone());
        let header = serde_json::to_string(&wish(b"f", &content)).expect("JSON");
        request.headers_mut().insert("x-reeve-save", header.parse().expect("a header"));
        let socket = runtime.socket();
        let saving = tokio::spawn(async move { save(&socket, request).await });
        let so_far = (SIZE * round / 10) as u64;
        let root = runtime.root();
        until("the save has come so far, or is done", || async {
            saving.is_finished() || half_done(&root) >= so_far.max(1)
        })
        .await;
        runtime = runtime.kill_and_restart().await;
        let answered = saving.await.expect("an answer or none");
        let found = std::fs::read(runtime.root().join("f")).expect("the file");
        assert!(found == known || found == content, "round {round}: neither the old content nor the new");
        if answered.is_some_and(|status| status.is_success()) {
            assert!(found == content, "round {round}: what was acknowledged is lost");
            acknowledged += 1;
        }
        assert_eq!(half_done(&runtime.root()), 0, "round {round}: something half-done was left");
        known = found;
    }
    println!("{acknowledged} of 12 saves were acknowledged before the power failed");
}

#[tokio::test]
async fn a_large_upload_goes_on_after_the_power_failed_and_is_never_held_in_memory() {
    const SIZE: u64 = 384 << 20;
    const PIECE: usize = 32 << 20;
    let piece = Bytes::from(vec![0u8; PIECE]);
    let mut hasher = Sha256::new();
    for _ in 0..SIZE / PIECE as u64 {
        hasher.update(&piece);
    }
    let save = SaveFile { sha256: Digest(hasher.finalize().into()), size: SIZE, ..wish(b"big/zeros", b"") };
    let mut runtime = Running::start().await;
    let (status, upload) = runtime.post("/v1/uploads", serde_json::to_value(&save).expect("JSON")).await;
    assert_eq!(status, StatusCode::CREATED, "{upload}");
    let address = format!("/v1/uploads/{}", upload["id"].as_str().expect("an id"));
    let mut offset = 0;
    while offset < SIZE {
        if offset == SIZE / 2 {
            runtime = runtime.kill_and_restart().await;
            assert_eq!(runtime.get(&address).await["offset"], offset, "what was acknowledged is there");
        }
        let mut request = runtime.request(Method::PATCH, &address, piece.clone());
        request.headers_mut().insert("upload-offset", offset.to_string().parse().expect("a value"));
        let response = runtime.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let told: Value = serde_json::from_slice(&response.into_body().collect().await.expect("a body").to_bytes())
            .expect("an upload");
        offset += PIECE as u64;
        assert_eq!(told["offset"], offset);
    }
    let (status, saved) = runtime.post(&format!("{address}/finish"), json!({})).await;
    assert_eq!((status, &saved["size"]), (StatusCode::CREATED, &json!(SIZE)), "{saved}");
    assert_eq!(std::fs::metadata(runtime.root().join("big/zeros")).expect("the file").len(), SIZE);
    assert!(resident(runtime.pid()) < 40 << 20, "{}", resident(runtime.pid()));
}

#[tokio::test]
async fn names_that_are_no_text_go_through_every_route() {
    use std::os::unix::ffi::OsStrExt as _;
    let runtime = Running::start().await;
    let name = std::ffi::OsStr::from_bytes(b"gr\xfc\xdfe \xff.txt");
    std::fs::write(runtime.root().join(name), "no text, but a name").expect("a file");
    let (_, page) = runtime.post("/v1/tree", json!({})).await;
    let listed = page["entries"][0]["path"].clone();
    let encoded = listed["b64"].as_str().expect("an opaque id").to_owned();
    let query: String = encoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let response = runtime.send(runtime.request(Method::GET, &format!("/v1/content?path_b64={query}"), "")).await;
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes().as_ref(), b"no text, but a name");
    let (status, trashed) = runtime.post("/v1/operations", json!({"op": "trash", "path": listed})).await;
    assert_eq!(status, StatusCode::OK, "{trashed}");
    let restore = json!({"op": "restore", "id": trashed["trash_id"]});
    assert_eq!(runtime.post("/v1/operations", restore).await.0, StatusCode::OK);
    assert!(runtime.root().join(name).exists());
    let (status, moved) = runtime.post("/v1/operations", json!({"op": "move", "from": listed, "to": "text.txt"})).await;
    assert_eq!(status, StatusCode::OK, "{moved}");
    assert!(runtime.root().join("text.txt").exists());
}

#[test]
fn what_a_workspace_does_to_reeves_own_directory_keeps_nobody_from_opening_it() {
    let spoil: [fn(&Path); 5] = [
        |own| std::fs::write(own, "a file").expect("a file"),
        |own| symlink("/etc", own).expect("a link"),
        |own| std::fs::create_dir(own).and_then(|()| symlink("..", own.join("staging"))).expect("a link"),
        |own| {
            std::fs::create_dir_all(own.join("staging/left")).expect("directories");
            std::fs::write(own.join("uploads"), "a file").expect("a file");
        },
        |own| {
            std::fs::create_dir(own).expect("a directory");
            std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o000)).expect("no permissions");
        },
    ];
    for (at, spoil) in spoil.iter().enumerate() {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("f"), "old").expect("a file");
        spoil(&place.path().join(TRASH_DIR));
        let files = Files::open(place.path()).expect("it opens");
        let mut pending = files.begin_save(wish(b"f", b"new")).unwrap_or_else(|error| panic!("{at}: {error:?}"));
        pending.write(b"new").expect("bytes");
        pending.finish().expect("saved");
        assert_eq!(std::fs::read(place.path().join("f")).expect("a file"), b"new", "{at}");
        files.operate(&FileOperation::Trash { path: path(b"f") }).unwrap_or_else(|error| panic!("{at}: {error:?}"));
        assert_eq!(files.trash().expect("the trash").len(), 1, "{at}");
        files.begin_upload(wish(b"g", b"x")).unwrap_or_else(|error| panic!("{at}: {error:?}"));
        assert!(std::fs::symlink_metadata(place.path().join(TRASH_DIR)).expect("it").is_dir(), "{at}");
    }
    assert!(!Path::new("/etc/staging").exists());
}

struct FullDisk(tempfile::TempDir);

impl FullDisk {
    /// A disk with room for so many names, and no more.
    fn of_names(names: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size=4m,nr_inodes={names}"), "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_workspace_whose_disk_is_full_opens_and_can_be_cleared() {
    let Some(disk) = FullDisk::of_names(32) else {
        println!("skipped: only root can mount a small disk");
        return;
    };
    let root = disk.0.path();
    std::fs::create_dir(root.join("many")).expect("a directory");
    let filled = (0..100).take_while(|at| std::fs::write(root.join(format!("many/{at}")), "").is_ok()).count();
    assert!((1..100).contains(&filled), "{filled}");
    let files = Files::open(root).expect("it opens");
    assert_eq!(files.tree(&TreeQuery { depth: 2, ..TreeQuery::default() }).expect("a page").entries.len(), filled + 1);
    assert_eq!(code(files.begin_save(wish(b"new", b"x"))), ProblemCode::DiskFull);
    let gone = files.operate(&FileOperation::Delete { path: path(b"many") }).expect("there is no room to keep it");
    assert_eq!(gone.count, u64::try_from(filled).expect("a count") + 1);
    let mut pending = files.begin_save(wish(b"new", b"x")).expect("there is room again");
    pending.write(b"x").expect("bytes");
    pending.finish().expect("saved");
    drop(files);
}

#[tokio::test]
async fn what_has_lain_for_too_long_is_swept_at_the_start() {
    let prepare = |root: &Path| {
        let files = Files::open(root).expect("its files");
        for name in ["old", "young"] {
            std::fs::write(root.join(name), name).expect("a file");
            let put = FileOperation::Trash { path: path(name.as_bytes()) };
            let id = files.operate(&put).expect("trashed").trash_id.expect("an id");
            let upload = files.begin_upload(wish(name.as_bytes(), b"four")).expect("an upload");
            if name == "old" {
                let own = root.join(TRASH_DIR);
                let note = own.join("items").join(id.as_str()).join("note.json");
                let mut entry: Value = serde_json::from_slice(&std::fs::read(&note).expect("a note")).expect("JSON");
                entry["deleted_at"] = json!(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 31));
                std::fs::write(&note, entry.to_string()).expect("a note");
                let part = std::fs::File::options().append(true).open(own.join(format!("uploads/{}.part", upload.id)));
                let long_ago = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
                part.expect("a part").set_modified(long_ago).expect("a time");
            }
        }
    };
    let runtime = Running::start_prepared(&[], &[], prepare).await;
    let uploads = runtime.root().join(TRASH_DIR).join("uploads");
    until("what is old is gone", || async {
        let trash = runtime.get("/v1/trash").await;
        trash.as_array().is_some_and(|all| all.len() == 1) && std::fs::read_dir(&uploads).expect("uploads").count() == 2
    })
    .await;
    assert_eq!(runtime.get("/v1/trash").await[0]["path"], "young");
}
