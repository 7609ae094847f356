//! Files: paths, saving, reading, names, trash, uploads.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use reeve_runtime::files::Files;
use reeve_types::workspace::files::{ByteRange, FileChanged, FileOperation, FileType, SaveFile, Saved, TRASH_DIR};
use reeve_types::{Digest, ProblemCode, WorkspaceError, WorkspacePath};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) outer: TempDir,
    pub(crate) files: Files,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::of(tempfile::tempdir().expect("a directory"))
    }

    /// In memory where that can be had: for many files, of which nothing matters but that they are many.
    pub(crate) fn in_memory() -> Self {
        Self::of(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory"))
    }

    fn of(outer: TempDir) -> Self {
        std::fs::create_dir(outer.path().join("workspace")).expect("a workspace");
        std::fs::write(outer.path().join("canary"), "sings").expect("a canary");
        let files = Files::open(&outer.path().join("workspace")).expect("its files");
        Self { outer, files }
    }

    pub(crate) fn at(&self, path: &str) -> std::path::PathBuf {
        self.outer.path().join("workspace").join(path)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let at = self.at(name);
        std::fs::create_dir_all(at.parent().expect("a parent")).expect("directories");
        std::fs::write(at, content).expect("a file");
    }

    pub(crate) fn read(&self, name: &[u8]) -> Result<Vec<u8>, WorkspaceError> {
        use std::io::Read as _;
        let (_, mut file) = self.files.open_file(&path(name), None)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("its bytes");
        Ok(content)
    }

    pub(crate) fn save(&self, name: &[u8], content: &[u8]) -> Result<Saved, WorkspaceError> {
        self.save_as(wish(name, content), content)
    }

    pub(crate) fn save_as(&self, save: SaveFile, content: &[u8]) -> Result<Saved, WorkspaceError> {
        let mut pending = self.files.begin_save(save)?;
        for piece in content.chunks(100_000) {
            pending.write(piece)?;
        }
        pending.finish()
    }

    pub(crate) fn do_(&self, operation: FileOperation) -> Result<FileChanged, WorkspaceError> {
        self.files.operate(&operation)
    }

    /// Nothing half-written is left.
    pub(crate) fn nothing_left_behind(&self) {
        for staging in std::fs::read_dir(self.at(TRASH_DIR).join("staging")).expect("staging") {
            let inside = std::fs::read_dir(staging.expect("an entry").path()).expect("its entries").count();
            assert_eq!(inside, 0, "something half-done was left");
        }
    }
}

pub(crate) fn path(name: &[u8]) -> WorkspacePath {
    WorkspacePath::from_bytes(name).expect("a path")
}

pub(crate) fn wish(name: &[u8], content: &[u8]) -> SaveFile {
    SaveFile {
        path: path(name),
        sha256: Digest::of(content),
        size: content.len() as u64,
        if_match: None,
        if_none_match: false,
        create_parents: true,
        origin: None,
    }
}

pub(crate) fn code<T>(answer: Result<T, WorkspaceError>) -> ProblemCode {
    match answer {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.code,
    }
}

#[test]
fn names_that_look_dangerous_are_names_and_paths_that_lead_out_are_refused() {
    let place = Place::new();
    let names = [
        "a/b.py",
        "a..b.txt",
        "..hidden",
        "file~",
        "src/dev/x",
        "my/etc/z",
        "a/system/y",
        "a/process/p",
        "x;id",
        "$(id)",
        "new\nline",
        "quo'te\"s",
        "-rf",
        " ",
        " padded ",
        "back\\slash",
        "tab\t",
    ];
    for name in names {
        let saved = place.save(name.as_bytes(), name.as_bytes()).expect(name);
        assert!(saved.created, "{name:?}");
        assert_eq!(std::fs::read(place.at(name)).expect(name), name.as_bytes());
        assert_eq!(place.read(name.as_bytes()).expect(name), name.as_bytes());
    }
    assert_eq!(place.read(b"/workspace/a/b.py").expect("the same file"), b"a/b.py");
    symlink("../canary", place.at("out")).expect("a link");
    symlink("/etc", place.at("etc")).expect("a link");
    symlink("..", place.at("up")).expect("a link");
    symlink("/proc/self/root", place.at("magic")).expect("a link");
    for name in ["out", "etc/passwd", "up/canary", "magic/etc/passwd"] {
        assert_eq!(code(place.read(name.as_bytes())), ProblemCode::PathEscape, "{name}");
        assert_eq!(code(place.save(name.as_bytes(), b"x")), ProblemCode::PathEscape, "{name}");
    }
    for to in ["etc/x", "up/x", "magic/tmp/x"] {
        let moved = FileOperation::Move { from: path(b"a/b.py"), to: path(to.as_bytes()) };
        assert_eq!(code(place.do_(moved)), ProblemCode::PathEscape, "{to}");
        let made = FileOperation::CreateDirectory { path: path(to.as_bytes()) };
        assert_eq!(code(place.do_(made)), ProblemCode::PathEscape, "{to}");
    }
    assert_eq!(std::fs::read(place.outer.path().join("canary")).expect("a canary"), b"sings");
    let gone = place.do_(FileOperation::Delete { path: path(b"out") }).expect("the link is removed, not what it names");
    assert_eq!(gone.count, 1);
    assert!(place.outer.path().join("canary").exists());
}

#[test]
fn the_root_is_no_file_and_cannot_be_moved_or_removed() {
    let place = Place::new();
    let root = WorkspacePath::root;
    assert_eq!(place.files.stat(&root()).expect("the root").name, "workspace");
    assert_eq!(code(place.save(b"", b"x")), ProblemCode::BadRequest);
    assert_eq!(code(place.do_(FileOperation::Delete { path: root() })), ProblemCode::BadRequest);
    assert_eq!(code(place.do_(FileOperation::Trash { path: root() })), ProblemCode::BadRequest);
    assert_eq!(code(place.read(b"")), ProblemCode::WrongFileType);
}

#[test]
fn what_is_saved_is_what_is_read_byte_for_byte() {
    let place = Place::new();
    let contents: [&[u8]; 7] = [
        b"",
        b"no newline at the end",
        b"dos\r\nlines\r\n",
        b"\xef\xbb\xbfwith a mark\n",
        b"\xff\xfe\x00 no text \x80",
        &vec![b'x'; 10 * 1024 * 1024],
        &vec![b'y'; 200_000],
    ];
    for content in contents {
        let saved = place.save(b"f", content).expect("a save");
        assert_eq!(place.read(b"f").expect("a read"), content);
        assert_eq!(std::fs::read(place.at("f")).expect("on disk"), content);
        assert_eq!(saved.etag, hex::encode(Digest::of(content).as_bytes()));
        assert_eq!(place.files.open_file(&path(b"f"), None).expect("a head").0.etag, saved.etag);
    }
    for name in [&b"with ' and \" and $(x)\n.txt"[..], b"\xff\xfe.bin", "ümläut/日本.txt".as_bytes()] {
        place.save(name, b"content").expect("a save");
        assert_eq!(place.read(name).expect("a read"), b"content");
    }
    let entry = place.files.stat(&path(b"\xff\xfe.bin")).expect("an entry");
    assert_eq!(entry.name, "\\xFF\\xFE.bin");
    place.nothing_left_behind();
}

#[test]
fn text_and_binary_are_told_apart_and_parts_are_read() {
    let place = Place::new();
    let head = |name: &[u8], part| place.files.open_file(&path(name), part).map(|(head, _)| head);
    place.write("text", "grüße".repeat(30_000));
    place.write("nul", b"a\0b");
    place.write("latin", b"gr\xfc\xdfe");
    assert!(!head(b"text", None).expect("text").binary);
    assert!(head(b"nul", None).expect("nul").binary && head(b"latin", None).expect("latin").binary);
    place.write("ten", "0123456789");
    let part = |start, end| head(b"ten", Some(ByteRange { start, end })).map(|head| (head.start, head.end, head.size));
    assert_eq!(part(2, Some(5)).expect("a part"), (2, 5, 10));
    assert_eq!(part(7, Some(99)).expect("a part"), (7, 10, 10));
    assert_eq!(part(7, None).expect("a part"), (7, 10, 10));
    assert_eq!(code(part(10, None)), ProblemCode::RangeNotSatisfiable);
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0)
        .expect("a pipe");
    assert_eq!(code(head(b"pipe", None)), ProblemCode::WrongFileType);
    assert_eq!(code(place.save(b"pipe", b"x")), ProblemCode::WrongFileType);
    assert_eq!(code(place.read(b"ten/x")), ProblemCode::WrongFileType);
    assert_eq!(code(place.read(b"absent")), ProblemCode::NotFound);
}

#[test]
fn a_save_keeps_the_mode_and_follows_a_link_inside() {
    let place = Place::new();
    place.write("dir/script", "old");
    std::fs::set_permissions(place.at("dir/script"), std::fs::Permissions::from_mode(0o750)).expect("a mode");
    symlink("dir/script", place.at("link")).expect("a link");
    let saved = place.save(b"link", b"new").expect("a save");
    assert!(!saved.created);
    assert_eq!(std::fs::read(place.at("dir/script")).expect("the file"), b"new");
    assert!(place.at("link").is_symlink());
    assert_eq!(std::fs::metadata(place.at("dir/script")).expect("data").permissions().mode() & 0o7777, 0o750);
}

#[test]
fn a_save_that_is_not_what_was_announced_changes_nothing() {
    let place = Place::new();
    place.write("f", "old");
    let announced = wish(b"f", b"four");
    assert_eq!(code(place.save_as(announced.clone(), b"FOUR")), ProblemCode::BadRequest);
    assert_eq!(code(place.save_as(announced.clone(), b"fou")), ProblemCode::BadRequest);
    assert_eq!(code(place.save_as(announced.clone(), b"fours")), ProblemCode::BadRequest);
    drop(place.files.begin_save(announced).expect("a save that is given up"));
    assert_eq!(place.read(b"f").expect("a read"), b"old");
    place.nothing_left_behind();
}

#[test]
fn of_savers_who_saw_the_same_exactly_one_wins() {
    let place = Place::new();
    let mut etag = place.save(b"f", b"first").expect("a save").etag;
    for round in 0..20 {
        let answers: Vec<_> = std::thread::scope(|scope| {
            let savers: Vec<_> = (0..6)
                .map(|saver| {
                    let (place, etag) = (&place, etag.clone());
                    scope.spawn(move || {
                        let content = format!("round {round} of {saver}");
                        let save = SaveFile { if_match: Some(etag), ..wish(b"f", content.as_bytes()) };
                        place.save_as(save, content.as_bytes())
                    })
                })
                .collect();
            savers.into_iter().map(|saver| saver.join().expect("a saver")).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 5));
        etag = won.into_iter().next().expect("a winner").expect("it won").etag;
        for error in lost.into_iter().map(|answer| answer.expect_err("it lost")) {
            assert_eq!((error.code, error.current_etag), (ProblemCode::EditConflict, Some(etag.clone())));
        }
        assert_eq!(hex::encode(Digest::of(&std::fs::read(place.at("f")).expect("on disk")).as_bytes()), etag);
    }
    let new = SaveFile { if_none_match: true, ..wish(b"f", b"x") };
    assert_eq!(code(place.save_as(new, b"x")), ProblemCode::EditConflict);
    let vanished = SaveFile { if_match: Some(etag), ..wish(b"absent", b"x") };
    assert_eq!(code(place.save_as(vanished, b"x")), ProblemCode::EditConflict);
    place.nothing_left_behind();
}

/// A directory and a link that leads out take turns at one name while files below that name are read and saved.
#[test]
fn ten_thousand_swaps_of_a_link_touch_nothing_outside() {
    let place = Place::new();
    let outside = place.outer.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(outside.join("f"), "secret").expect("a secret");
    place.write("real/f", "inside");
    symlink("../outside", place.at("trap")).expect("a link");
    let (done, turns) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut swaps = 0;
            while swaps < 10_000 || turns.load(Ordering::Acquire) < 2000 {
                swaps += 1;
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    place.at("real"),
                    rustix::fs::CWD,
                    place.at("trap"),
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .expect("a swap");
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let turn = turns.fetch_add(1, Ordering::AcqRel);
            match place.read(b"real/f") {
                Ok(content) => {
                    assert_ne!(content, b"secret", "a byte from outside was read");
                    inside += 1;
                }
                Err(_) => refused += 1,
            }
            let made = path(format!("real/new{turn}").as_bytes());
            let _ = place.save(b"real/f", b"inside");
            let _ = place.do_(FileOperation::CreateFile { path: made.clone() });
            let _ = place.do_(FileOperation::Delete { path: made });
        }
    });
    assert!(inside > 0 && refused > 0, "the race was never run: {inside} inside, {refused} refused");
    let left: Vec<_> =
        std::fs::read_dir(&outside).expect("outside").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left, ["f"], "something was made outside");
    assert_eq!(std::fs::read(outside.join("f")).expect("the secret"), b"secret");
}

#[test]
fn names_change_and_nothing_is_ever_replaced() {
    let place = Place::new();
    place.write("a/one", "1");
    place.write("b/two", "2");
    symlink("one", place.at("a/link")).expect("a link");
    let rename = |from: &str, name: &str| FileOperation::Rename { path: path(from.as_bytes()), new_name: name.into() };
    for bad in ["x/y", "..", ".", ""] {
        assert_eq!(code(place.do_(rename("a/one", bad))), ProblemCode::BadName, "{bad:?}");
    }
    let moved = |from: &str, to: &str| FileOperation::Move { from: path(from.as_bytes()), to: path(to.as_bytes()) };
    let copied = |from: &str, to: &str| FileOperation::Copy { from: path(from.as_bytes()), to: path(to.as_bytes()) };
    assert_eq!(code(place.do_(moved("a/one", "b/two"))), ProblemCode::AlreadyExists);
    assert_eq!(code(place.do_(copied("a/one", "b/two"))), ProblemCode::AlreadyExists);
    assert_eq!(code(place.do_(moved("a", "a/inside"))), ProblemCode::InvalidMove);
    assert_eq!(code(place.do_(copied("a", "a/inside"))), ProblemCode::InvalidMove);
    assert_eq!(code(place.do_(moved("absent", "c"))), ProblemCode::NotFound);
    assert_eq!(code(place.do_(moved("a/one", "nowhere/one"))), ProblemCode::NotFound);
    let copy = place.do_(copied("a", "c")).expect("a copy");
    assert_eq!(copy.count, 3);
    assert_eq!(std::fs::read_link(place.at("c/link")).expect("a link stays a link"), Path::new("one"));
    let entry = place.do_(rename("a/one", "uno")).expect("renamed").entry.expect("an entry");
    assert_eq!((entry.path, entry.kind), (path(b"a/uno"), FileType::File));
    place.do_(moved("a", "b/a")).expect("moved");
    assert_eq!(place.read(b"b/a/uno").expect("there"), b"1");
    let made = place.do_(FileOperation::CreateDirectory { path: path(b"x/y/z") }).expect("made");
    assert_eq!(made.count, 3);
    assert_eq!(code(place.do_(FileOperation::CreateFile { path: path(b"b/two") })), ProblemCode::AlreadyExists);
    assert_eq!(place.do_(FileOperation::Delete { path: path(b"b") }).expect("deleted").count, 5);
    assert!(!place.at("b").exists());
    place.nothing_left_behind();
}

#[test]
fn a_directory_deeper_than_any_path_can_be_removed() {
    let place = Place::new();
    let mut dir = rustix::fs::open(place.at(""), rustix::fs::OFlags::PATH, 0.into()).expect("the workspace");
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "d", 0o755.into()).expect("a directory");
        dir = rustix::fs::openat(&dir, "d", rustix::fs::OFlags::PATH, 0.into()).expect("it");
    }
    assert_eq!(place.do_(FileOperation::Delete { path: path(b"d") }).expect("deleted").count, 3000);
    place.nothing_left_behind();
}
