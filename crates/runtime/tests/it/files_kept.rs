//! Files: the trash, uploads in pieces, and what else is kept out of sight.

use std::os::unix::fs::symlink;

use reeve_runtime::files::Files;
use reeve_types::ProblemCode;
use reeve_types::workspace::files::{FileOperation, TRASH_DIR, TreeQuery};

use crate::files::{Place, code, path, wish};

#[test]
fn what_is_in_the_trash_comes_back_or_goes_for_good() {
    let place = Place::new();
    place.write("dir/a", "aaa");
    place.write("dir/b", "bb");
    place.write("solo", "s");
    let put = |name: &str| {
        let changed = place.do_(FileOperation::Trash { path: path(name.as_bytes()) }).expect("trashed");
        (changed.trash_id.expect("an id"), changed.count)
    };
    let (dir, count) = put("dir");
    let (solo, _) = put("solo");
    assert_eq!(count, 3);
    let entries = place.files.trash().expect("the trash");
    let told: Vec<_> = entries.iter().map(|entry| (&entry.id, entry.path.to_string(), entry.size)).collect();
    assert_eq!(told, [(&solo, "/workspace/solo".to_owned(), 1), (&dir, "/workspace/dir".to_owned(), 5)]);
    place.write("solo", "another");
    let restore = |id: &reeve_types::TrashId, to: Option<&str>| {
        let to = to.map(|to| path(to.as_bytes()));
        place.do_(FileOperation::Restore { id: id.clone(), to })
    };
    assert_eq!(code(restore(&solo, None)), ProblemCode::AlreadyExists);
    restore(&solo, Some("back/solo")).expect("restored elsewhere");
    restore(&dir, None).expect("restored");
    assert_eq!(place.read(b"back/solo").expect("back"), b"s");
    assert_eq!(place.read(b"dir/a").expect("back"), b"aaa");
    assert!(place.files.trash().expect("the trash").is_empty());
    let (dir, _) = put("dir");
    put("solo");
    assert_eq!(place.do_(FileOperation::Purge { id: Some(dir.clone()) }).expect("purged").count, 3);
    assert_eq!(code(restore(&dir, None)), ProblemCode::NotFound);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 29);
    assert_eq!(place.files.sweep_trash(later).expect("a sweep"), 0);
    assert_eq!(place.files.sweep_trash(later + jiff::SignedDuration::from_hours(48)).expect("a sweep"), 1);
    assert!(place.files.trash().expect("the trash").is_empty());
}

#[test]
fn nobody_comes_into_what_is_reeves_own() {
    let place = Place::new();
    place.write("f", "x");
    place.do_(FileOperation::Trash { path: path(b"f") }).expect("trashed");
    symlink(TRASH_DIR, place.at("way")).expect("a link");
    for name in [TRASH_DIR.to_owned(), format!("{TRASH_DIR}/items"), "way/items".to_owned()] {
        let query = TreeQuery { path: path(name.as_bytes()), ..TreeQuery::default() };
        assert_eq!(code(place.files.tree(&query)), ProblemCode::NotFound, "{name}");
        let made = FileOperation::CreateFile { path: path(format!("{name}/x").as_bytes()) };
        assert_eq!(code(place.do_(made)), ProblemCode::NotFound, "{name}");
    }
    assert_eq!(code(place.do_(FileOperation::Delete { path: path(TRASH_DIR.as_bytes()) })), ProblemCode::NotFound);
    let page = place.files.tree(&TreeQuery::default()).expect("a page");
    assert_eq!(page.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["way"]);
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let place = Place::new();
    let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let upload = place.files.begin_upload(wish(b"big/file", &content)).expect("an upload");
    let (first, rest) = content.split_at(100_000);
    assert_eq!(place.files.append_upload(&upload.id, 0, first).expect("a piece").offset, 100_000);
    assert_eq!(code(place.files.finish_upload(&upload.id)), ProblemCode::BadRequest);
    let again = Files::open(&place.at("")).expect("a new start");
    assert_eq!(again.upload(&upload.id).expect("it is there").offset, 100_000);
    assert_eq!(code(again.append_upload(&upload.id, 99_999, rest)), ProblemCode::Conflict);
    again.append_upload(&upload.id, 100_000, rest).expect("the rest");
    assert_eq!(code(again.append_upload(&upload.id, 300_000, b"more")), ProblemCode::BadRequest);
    let saved = again.finish_upload(&upload.id).expect("finished");
    assert!(saved.created);
    assert_eq!(place.read(b"big/file").expect("there"), content);
    assert_eq!(code(again.upload(&upload.id)), ProblemCode::NotFound);
    let other = again.begin_upload(wish(b"other", b"x")).expect("an upload");
    again.abandon_upload(&other.id).expect("given up");
    let stale = again.begin_upload(wish(b"stale", b"x")).expect("an upload");
    let day = std::time::Duration::from_secs(25 * 60 * 60);
    assert_eq!(again.sweep_uploads(std::time::SystemTime::now()).expect("a sweep"), 0);
    assert_eq!(again.sweep_uploads(std::time::SystemTime::now() + day).expect("a sweep"), 1);
    assert_eq!(code(again.upload(&stale.id)), ProblemCode::NotFound);
    assert_eq!(std::fs::read_dir(place.at(TRASH_DIR).join("uploads")).expect("uploads").count(), 0);
}

#[test]
fn what_a_dead_process_left_half_done_is_swept_and_what_lives_is_left() {
    let place = Place::new();
    let half = place.at(TRASH_DIR).join("staging/dead");
    std::fs::create_dir_all(&half).expect("a directory");
    std::fs::write(half.join("half"), "written").expect("a file");
    let mut living = place.files.begin_save(wish(b"f", b"alive")).expect("a save");
    Files::open(&place.at("")).expect("another start");
    assert!(!half.exists());
    living.write(b"alive").expect("bytes");
    living.finish().expect("saved");
    assert_eq!(place.read(b"f").expect("there"), b"alive");
}

struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_the_old_content_stays() {
    let outer = tempfile::tempdir().expect("a directory");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(outer.path());
    if !mount.output().is_ok_and(|output| output.status.success()) {
        println!("skipped: only root can mount a small disk");
        return;
    }
    let _disk = SmallDisk(outer.path().to_owned());
    let files = Files::open(outer.path()).expect("its files");
    let save = |content: &[u8]| {
        let mut pending = files.begin_save(wish(b"f", content))?;
        pending.write(content)?;
        pending.finish()
    };
    save(b"small").expect("a small save");
    assert_eq!(code(save(&vec![b'x'; 3 << 20])), ProblemCode::DiskFull);
    assert_eq!(std::fs::read(outer.path().join("f")).expect("the file"), b"small");
    save(&vec![b'y'; 1 << 20]).expect("what was half-written gave its room back");
    drop(files);
}
