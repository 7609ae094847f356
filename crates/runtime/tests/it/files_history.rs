//! Files: what they were before they were saved over.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use reeve_runtime::files::Files;
use reeve_types::workspace::files::{FileOperation, FileVersion, SaveFile, TRASH_DIR, VERSION_BYTES_MAX, VERSIONS_MAX};
use reeve_types::{ProblemCode, VersionId};

use crate::files::{Place, code, path, wish};

impl Place {
    fn versions(&self, name: &[u8]) -> Vec<FileVersion> {
        self.files.history(&path(name)).expect("a history")
    }

    fn version(&self, name: &[u8], id: &VersionId) -> Vec<u8> {
        use std::io::Read as _;
        let (head, mut file) = self.files.open_version(&path(name), id).expect("a version");
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("its bytes");
        assert_eq!(head.size, content.len() as u64);
        content
    }

    fn contents(&self, name: &[u8]) -> Vec<Vec<u8>> {
        self.versions(name).iter().map(|version| self.version(name, &version.id)).collect()
    }

    fn by(&self, origin: &str, name: &[u8], content: &[u8]) {
        self.save_as(SaveFile { origin: Some(origin.to_owned()), ..wish(name, content) }, content).expect("saved");
    }

    /// The directories of the history, one for each file.
    fn kept(&self) -> Vec<PathBuf> {
        let found = std::fs::read_dir(self.at(TRASH_DIR).join("history")).expect("the history");
        found.map(|entry| entry.expect("an entry").path()).collect()
    }
}

#[test]
fn what_was_there_before_a_save_can_be_read_byte_for_byte() {
    let place = Place::new();
    let odd = b"dir/\xff na me\n".as_slice();
    assert_eq!(place.versions(b"none"), []);
    place.save(odd, b"one\r\n\0\xff").expect("saved");
    assert_eq!(place.versions(odd), [], "what was never replaced has no history");
    let inode = std::fs::metadata(
        place.outer.path().join("workspace/dir").read_dir().expect("it").next().expect("it").expect("it").path(),
    );
    let inode = inode.expect("a file").ino();
    let first = place.save(odd, b"two").expect("saved");
    place.save(odd, b"two").expect("the same again");
    place.save(odd, b"three").expect("saved");
    assert_eq!(place.contents(odd), [b"two".to_vec(), b"one\r\n\0\xff".to_vec()]);
    let versions = place.versions(odd);
    assert_eq!((&versions[0].etag, versions[0].size), (&first.etag, 3));
    assert!(versions[0].replaced_at >= versions[1].replaced_at && versions[0].replaced_at <= Timestamp::now());
    let kept = std::fs::metadata(place.kept()[0].join(versions[1].id.as_str())).expect("a file");
    assert_eq!(kept.ino(), inode, "a version is the old file itself, not a copy");
    let upload = place.files.begin_upload(wish(odd, b"four")).expect("an upload");
    place.files.append_upload(&upload.id, 0, b"four").expect("a piece");
    place.files.finish_upload(&upload.id).expect("finished");
    assert_eq!(place.contents(odd)[0], b"three", "an upload is a save");
    let again = Files::open(&place.at("")).expect("a new start");
    assert_eq!(again.history(&path(odd)).expect("a history").len(), 3);
    place.nothing_left_behind();
}

#[test]
fn a_save_that_fails_and_a_file_that_is_empty_or_large_leave_no_version() {
    let place = Place::new();
    place.save(b"f", b"").expect("saved");
    place.save(b"f", b"one").expect("saved");
    let late = SaveFile { if_match: Some("another".to_owned()), ..wish(b"f", b"two") };
    assert_eq!(code(place.save_as(late, b"two")), ProblemCode::EditConflict);
    assert_eq!(place.versions(b"f"), []);
    let most = usize::try_from(VERSION_BYTES_MAX).expect("a size");
    place.write("large", vec![b'x'; most + 1]);
    place.write("just", vec![b'x'; most]);
    place.save(b"large", b"small").expect("saved");
    place.save(b"just", b"small").expect("saved");
    assert_eq!((place.versions(b"large").len(), place.versions(b"just").len()), (0, 1));
}

#[test]
fn what_stood_for_a_moment_between_saves_of_one_saver_is_left_out_and_nothing_else() {
    let place = Place::new();
    place.write("f", "by a program, before");
    place.by("alice", b"f", b"alice types for a while");
    place.by("alice", b"f", b"alice types for a while, and more");
    place.by("alice", b"f", b"alice types for a while, and more, and more");
    assert_eq!(place.contents(b"f"), [b"by a program, before".to_vec()]);
    place.by("bob", b"f", b"bob saves over what alice wrote last, which is kept");
    place.by("bob", b"f", b"most");
    place.write("f", "a program writes");
    place.by("bob", b"f", b"bob saves over what the program wrote");
    let kept: Vec<String> =
        place.contents(b"f").into_iter().map(|text| String::from_utf8(text).expect("text")).collect();
    let wanted = [
        "a program writes",
        "bob saves over what alice wrote last, which is kept",
        "alice types for a while, and more, and more",
        "by a program, before",
    ];
    assert_eq!(kept, wanted);
}

#[test]
fn links_lead_to_the_history_of_what_they_name_and_never_outside() {
    let place = Place::new();
    place.write("real/f", "one");
    symlink("real", place.at("way")).expect("a link");
    symlink("real/f", place.at("name")).expect("a link");
    symlink(place.outer.path().join("canary"), place.at("out")).expect("a link");
    place.save(b"way/f", b"two").expect("saved");
    place.save(b"name", b"three").expect("saved");
    for name in [&b"real/f"[..], b"way/f", b"name"] {
        assert_eq!(place.contents(name), [b"two".to_vec(), b"one".to_vec()]);
    }
    assert_eq!(code(place.files.history(&path(b"out"))), ProblemCode::PathEscape);
    assert_eq!(code(place.files.history(&path(b"real"))), ProblemCode::WrongFileType);
    assert_eq!(code(place.files.history(&path(TRASH_DIR.as_bytes()))), ProblemCode::NotFound);
    assert_eq!(code(place.files.history(&path(b""))), ProblemCode::BadRequest);
}

#[test]
fn what_programs_put_into_the_history_is_not_followed_and_not_believed() {
    let place = Place::new();
    place.save(b"f", b"one").expect("saved");
    place.save(b"f", b"two").expect("saved");
    let dir = place.kept().remove(0);
    let forged = || VersionId::new(Timestamp::now(), rand::random());
    let (link, large, pipe, inner) = (forged(), forged(), forged(), forged());
    symlink(place.outer.path().join("canary"), dir.join(link.as_str())).expect("a link");
    let sparse = std::fs::File::create(dir.join(large.as_str())).expect("a file");
    sparse.set_len(VERSION_BYTES_MAX + 1).expect("it is long");
    std::process::Command::new("mkfifo").arg(dir.join(pipe.as_str())).status().expect("a pipe");
    std::fs::create_dir(dir.join(inner.as_str())).expect("a directory");
    std::fs::write(dir.join("ver_nothing"), "no id").expect("a file");
    for id in [&link, &large, &pipe, &inner] {
        assert_eq!(code(place.files.open_version(&path(b"f"), id)), ProblemCode::NotFound);
    }
    assert_eq!(place.contents(b"f"), [b"one"]);
    for _ in 0..VERSIONS_MAX {
        std::fs::write(dir.join(forged().as_str()), "x").expect("a file");
    }
    place.save(b"f", b"three").expect("saved");
    assert!(place.versions(b"f").len() <= VERSIONS_MAX);
    std::fs::remove_dir_all(&dir).expect("gone");
    symlink("..", &dir).expect("a link");
    place.save(b"f", b"four").expect("what cannot be kept keeps no save back");
    assert_eq!(place.versions(b"f"), []);
    std::fs::write(place.at(TRASH_DIR).join("history/flood"), "a file").expect("a file");
    place.files.sweep_history(Timestamp::now()).expect("a sweep");
    place.do_(FileOperation::ForgetHistory { path: None }).expect("forgotten");
    place.save(b"f", b"five").expect("saved");
    assert_eq!(place.contents(b"f"), [b"four"]);
    assert_eq!(std::fs::read(place.outer.path().join("canary")).expect("the canary"), b"sings");
}

#[test]
fn of_one_file_and_of_all_the_oldest_versions_go_first() {
    let place = Place::in_memory();
    let most = VERSIONS_MAX as u64;
    for at in 0..most + 4 {
        place.save(b"often", format!("{at}").as_bytes()).expect("saved");
    }
    let contents = place.contents(b"often");
    assert_eq!(contents.len() as u64, most);
    assert_eq!((contents[0].as_slice(), contents[contents.len() - 1].as_slice()), (&b"52"[..], &b"3"[..]));
    let large = vec![b'x'; 4 << 20];
    for at in 0..16u8 {
        let name = format!("large-{at}");
        place.write(&name, [&[at], large.as_slice()].concat());
        place.save(name.as_bytes(), b"now").expect("saved");
    }
    assert!(place.versions(b"often").is_empty(), "the oldest made room");
    let kept = (0..16).filter(|at| !place.versions(format!("large-{at}").as_bytes()).is_empty());
    assert_eq!(kept.collect::<Vec<_>>(), (5..16).collect::<Vec<_>>()[..].to_vec());
    assert_eq!(place.kept().len(), 11, "what holds nothing is removed");
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 29);
    assert_eq!(place.files.sweep_history(later).expect("a sweep"), 0);
    assert_eq!(place.files.sweep_history(later + SignedDuration::from_hours(48)).expect("a sweep"), 11);
    assert!(place.kept().is_empty());
}

#[test]
fn a_history_goes_along_with_a_new_name_and_goes_for_good_with_its_file() {
    let place = Place::new();
    for name in [&b"dir/a"[..], b"dir/deep/b", b"dirty"] {
        place.save(name, b"one").expect("saved");
        place.save(name, b"two").expect("saved");
    }
    place.do_(FileOperation::Rename { path: path(b"dir/a"), new_name: "c".to_owned() }).expect("renamed");
    place.do_(FileOperation::Move { from: path(b"dir"), to: path(b"moved") }).expect("moved");
    for name in [&b"moved/c"[..], b"moved/deep/b", b"dirty"] {
        assert_eq!(place.contents(name), [b"one"]);
    }
    assert_eq!(place.versions(b"dir/a"), []);
    place.save(b"moved/c", b"three").expect("saved");
    assert_eq!(place.contents(b"moved/c"), [b"two".to_vec(), b"one".to_vec()]);
    let trashed = place.do_(FileOperation::Trash { path: path(b"moved/c") }).expect("trashed");
    assert_eq!(place.versions(b"moved/c").len(), 2, "what is gone has its history still");
    place.do_(FileOperation::Restore { id: trashed.trash_id.expect("an id"), to: None }).expect("restored");
    let forget = |name: &[u8]| place.do_(FileOperation::ForgetHistory { path: Some(path(name)) }).expect("gone").count;
    assert_eq!(
        (forget(b"moved/c"), place.versions(b"moved/c").len(), place.versions(b"moved/deep/b").len()),
        (2, 0, 1)
    );
    place.do_(FileOperation::Delete { path: path(b"moved") }).expect("deleted");
    assert_eq!(place.versions(b"moved/deep/b"), []);
    assert_eq!(place.contents(b"dirty"), [b"one"]);
    place.do_(FileOperation::Delete { path: path(b"dirty") }).expect("deleted");
    assert!(place.kept().is_empty());
}
