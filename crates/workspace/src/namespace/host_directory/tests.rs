//! Which directories a workspace gets, whatever stands in the way and whatever changes meanwhile.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reeve_types::ProblemCode;
use reeve_types::workspace::{Confines, HostDirectory};
use rustix::fs::{CWD, RenameFlags};

use super::{Doorkeeper, Opened};

/// Whose directories the tests are about.
fn somebody() -> u32 {
    let me = rustix::process::geteuid();
    if me.is_root() { 1234 } else { me.as_raw() }
}

/// A place with directories of two tenants; everybody may walk through.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn lay() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ground = Self { dir };
        std::fs::set_permissions(ground.at(""), PermissionsExt::from_mode(0o755)).expect("walkable");
        let all = [
            "a",
            "a/projects",
            "a/projects/shop",
            "a/workspace",
            "a/private",
            "ab",
            "b",
            "b/secret",
            "reeve",
            "reeve/in",
        ];
        for name in all {
            ground.make(name);
        }
        ground
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn make(&self, below: &str) {
        std::fs::create_dir(self.at(below)).expect("a directory");
        self.give(below, somebody());
    }

    fn give(&self, below: &str, uid: u32) {
        if rustix::process::geteuid().is_root() {
            chown(self.at(below), Some(uid), Some(uid)).expect("given");
        }
    }

    fn link(&self, to: impl AsRef<Path>, below: &str) {
        symlink(to, self.at(below)).expect("a link");
    }

    fn doorkeeper(&self) -> Doorkeeper {
        let as_root = rustix::process::geteuid().is_root();
        Doorkeeper { own: vec![self.at("reeve")], users: 200_000..265_536, as_root }
    }

    fn confines(&self, root: &str, below: &[&str]) -> Confines {
        Confines { root: self.text(root), below: below.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn text(&self, below: &str) -> String {
        format!("{}/{below}", self.dir.path().display())
    }

    fn open(&self, path: String, within: Option<Confines>) -> Result<Opened, ProblemCode> {
        self.doorkeeper().open(&HostDirectory { path, within }).map_err(|error| error.code)
    }

    fn is(&self, opened: &Opened, below: &str) -> bool {
        let there = std::fs::metadata(self.at(below)).expect("it is there");
        super::identity(&opened.handle).expect("it is open") == (there.dev(), there.ino())
    }
}

use ProblemCode::{BadRequest, Forbidden, NotFound, TenantWorkdirDenied as Denied, WrongFileType};

#[test]
fn a_tenant_gets_what_is_below_its_root_wherever_links_lead() {
    let ground = Ground::lay();
    std::fs::write(ground.at("a/file"), "").expect("a file");
    ground.link("projects/shop", "a/inside");
    ground.link(ground.at("a/projects"), "a/absolute");
    ground.link("../b", "a/out");
    ground.link(ground.at("b/secret"), "a/far");
    ground.link("../b/nothing", "a/dangling");
    ground.link("/proc/self/cwd", "a/magic");
    ground.link(ground.at("a/projects"), "b/in");
    let whole = || Some(ground.confines("a", &[]));
    let parts = || Some(ground.confines("a", &["projects", "workspace"]));
    let table: [(&str, Option<Confines>, Result<&str, ProblemCode>); 28] = [
        ("a", whole(), Ok("a")),
        ("a/", whole(), Ok("a")),
        ("a//projects/./shop///", whole(), Ok("a/projects/shop")),
        ("a/projects", whole(), Ok("a/projects")),
        ("a/inside", whole(), Ok("a/projects/shop")),
        ("a/absolute", whole(), Ok("a/projects")),
        ("b/in", whole(), Ok("a/projects")),
        ("a/private", whole(), Ok("a/private")),
        ("a/private", parts(), Err(Denied)),
        ("a", parts(), Err(Denied)),
        ("a/projects", parts(), Ok("a/projects")),
        ("a/projects/shop", parts(), Ok("a/projects/shop")),
        ("a/inside", parts(), Ok("a/projects/shop")),
        ("ab", whole(), Err(Denied)),
        ("b", whole(), Err(Denied)),
        ("", whole(), Err(Denied)),
        ("a/out", whole(), Err(Denied)),
        ("a/out/secret", whole(), Err(Denied)),
        ("a/far", whole(), Err(Denied)),
        ("a/dangling", whole(), Err(Denied)),
        ("b/nothing", whole(), Err(Denied)),
        ("a/nothing", whole(), Err(NotFound)),
        ("a/file", whole(), Err(WrongFileType)),
        ("a/projects/../private", whole(), Err(BadRequest)),
        ("a/../b", whole(), Err(BadRequest)),
        ("a/magic", whole(), Err(Denied)),
        ("b/nothing", None, Err(NotFound)),
        ("b", None, Ok("b")),
    ];
    for (path, within, wanted) in table {
        let found = ground.open(ground.text(path), within);
        match (&found, wanted) {
            (Ok(opened), Ok(below)) => assert!(ground.is(opened, below), "{path}"),
            (Err(code), Err(expected)) => assert_eq!(*code, expected, "{path}"),
            _ => panic!("{path}: {found:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn a_link_in_the_place_of_an_allowed_path_opens_nothing_else() {
    let ground = Ground::lay();
    std::fs::remove_dir(ground.at("a/workspace")).expect("removed");
    ground.link(ground.at("b"), "a/workspace");
    let within = || Some(ground.confines("a", &["workspace"]));
    assert_eq!(ground.open(ground.text("a/workspace"), within()).expect_err("refused"), Denied);
    assert_eq!(ground.open(ground.text("b"), within()).expect_err("refused"), Denied);
    assert_eq!(ground.open(ground.text("b/secret"), within()).expect_err("refused"), Denied);
}

#[test]
fn some_places_are_nobodys() {
    let ground = Ground::lay();
    ground.link("/etc", "a/etc");
    ground.link(ground.at("reeve/in"), "a/reeve");
    for path in [
        "/",
        "/etc",
        "/etc/ssl",
        "/proc",
        "/proc/self",
        "/sys",
        "/dev",
        "/boot",
        "/usr",
        "/usr/lib",
        "/var",
        "/var/lib",
        "/run",
    ] {
        if Path::new(path).is_dir() {
            assert_eq!(ground.open(path.to_owned(), None).expect_err("refused"), Forbidden, "{path}");
        }
    }
    for below in ["", "reeve", "reeve/in", "a/etc", "a/reeve"] {
        assert_eq!(ground.open(ground.text(below), None).expect_err("refused"), Forbidden, "{below}");
    }
    for path in ["a", "", "./a"] {
        assert_eq!(ground.open(path.to_owned(), None).expect_err("refused"), BadRequest, "relative: `{path}`");
    }
}

#[test]
fn what_is_decided_about_is_what_is_had() {
    let ground = Ground::lay();
    let opened = ground.open(ground.text("a/projects/shop"), Some(ground.confines("a", &[]))).expect("allowed");
    let was = std::fs::metadata(ground.at("a/projects/shop")).expect("it is there");
    std::fs::rename(ground.at("a/projects/shop"), ground.at("a/moved")).expect("moved");
    ground.link(ground.at("b"), "a/projects/shop");
    assert_eq!(super::identity(&opened.handle).expect("it is open"), (was.dev(), was.ino()));
}

#[test]
fn whoever_swaps_a_directory_for_a_link_meanwhile_gains_nothing() {
    let ground = Arc::new(Ground::lay());
    ground.link(ground.at("b"), "a/link");
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (ground, stop) = (Arc::clone(&ground), Arc::clone(&stop));
        std::thread::spawn(move || {
            let (one, other) = (ground.at("a/projects"), ground.at("a/link"));
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("swapped");
            }
        })
    };
    let b = std::fs::metadata(ground.at("b")).expect("it is there");
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..200_000 {
        if allowed >= 200 && refused >= 200 {
            break;
        }
        match ground.open(ground.text("a/projects"), Some(ground.confines("a", &[]))) {
            Ok(opened) => {
                assert_ne!(super::identity(&opened.handle).expect("it is open"), (b.dev(), b.ino()), "it led out");
                allowed += 1;
            }
            Err(code) => {
                assert_eq!(code, Denied);
                refused += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapping.join().expect("it ends");
    assert!(allowed > 0 && refused > 0, "both were met: {allowed} allowed, {refused} refused");
}

/// What takes root to be tried.
mod as_root {
    use super::*;

    #[test]
    fn nobody_works_as_root_nor_as_a_user_of_other_workspaces_nor_where_the_owner_cannot_go() {
        let ground = Ground::lay();
        for uid in [0, 200_001] {
            ground.give("b", uid);
            assert_eq!(ground.open(ground.text("b"), None).expect_err("refused"), Forbidden, "{uid}");
        }
        ground.give("b", somebody());
        assert_eq!(ground.open(ground.text("b"), None).expect("allowed").owner.uid, somebody());
        ground.give("a", 4321);
        std::fs::set_permissions(ground.at("a"), PermissionsExt::from_mode(0o700)).expect("closed");
        assert_eq!(ground.open(ground.text("a/projects"), None).expect_err("refused"), Forbidden);
        assert_eq!(ground.open(ground.text("a"), None).expect("its owner may").owner.uid, 4321);
    }

    #[test]
    fn a_group_of_roots_is_not_handed_on() {
        let ground = Ground::lay();
        chown(ground.at("b"), None, Some(0)).expect("given");
        let owner = ground.open(ground.text("b"), None).expect("allowed").owner;
        assert_eq!((owner.uid, owner.gid), (somebody(), somebody()));
    }

    #[test]
    fn a_server_that_is_not_root_takes_its_own_only() {
        let ground = Ground::lay();
        let modest = Doorkeeper { as_root: false, ..ground.doorkeeper() };
        let said = modest.open(&HostDirectory { path: ground.text("b"), within: None }).expect_err("refused");
        assert_eq!(said.code, Forbidden);
        assert!(said.message.contains("belongs to user 1234") && said.message.contains("run Reeve as"), "{said}");
    }
}
