//! Workspaces on a directory of the host: what both sides see of each other, and what stays when the workspace goes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use reeve_gate::workspace::WorkspaceDriver as _;
use reeve_types::ProblemCode;
use reeve_types::workspace::{Confines, HostDirectory, WorkspaceSpec};

use crate::actor::{snapshot_id, spec};
use crate::stage::{Stage, directory};

/// Directories of somebody, beside each other.
struct Host {
    dir: tempfile::TempDir,
    uid: u32,
}

impl Host {
    fn new() -> Self {
        let me = rustix::process::geteuid();
        let host = Self { dir: directory(), uid: if me.is_root() { 1234 } else { me.as_raw() } };
        for name in ["project", "neighbour"] {
            std::fs::create_dir(host.at(name)).expect("a directory");
            host.give(name);
            host.write(&format!("{name}/note"), &format!("{name}\n"));
        }
        host
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn give(&self, below: &str) {
        if rustix::process::geteuid().is_root() {
            chown(self.at(below), Some(self.uid), Some(self.uid)).expect("given");
        }
    }

    fn write(&self, below: &str, text: &str) {
        std::fs::write(self.at(below), text).expect("written");
        self.give(below);
    }

    fn text(&self, below: &str) -> String {
        std::fs::read_to_string(self.at(below)).expect("a file")
    }

    /// A workspace on one of them, confined to all of them.
    fn spec(&self, below: &str) -> WorkspaceSpec {
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let within = Confines { root: text(&self.at("project")), below: Vec::new() };
        WorkspaceSpec { directory: Some(HostDirectory { path: text(&self.at(below)), within: Some(within) }), ..spec() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_change_what_the_other_made() {
    let (stage, host) = (Stage::new().await, Host::new());
    let (actor, spec) = (stage.actor(), host.spec("project"));
    let isolation = actor.begin(&spec).await;
    assert_eq!((isolation.disk.as_str(), isolation.own_user, isolation.seccomp), ("host", false, true));
    assert_eq!(actor.told(&spec.id, &["cat", "note"]).await, "project");
    assert_eq!(actor.told(&spec.id, &["ls", "-A"]).await, ".reeve-trash\nnote", "no template's files are put there");
    assert_eq!(actor.told(&spec.id, &["id", "-u"]).await, "1000");

    actor
        .told(&spec.id, &["bash", "-c", "echo inside >> note; mkdir new; echo made > new/file; chmod 600 new/file"])
        .await;
    assert_eq!(host.text("project/note"), "project\ninside\n");
    for made in ["project/new", "project/new/file"] {
        let meta = std::fs::metadata(host.at(made)).expect("it is there");
        assert_eq!((meta.uid(), meta.gid()), (host.uid, host.uid), "{made} belongs to the owner of the directory");
    }
    host.write("project/note", "outside\n");
    actor.save(&spec.id, "saved", b"by the API").await;
    assert_eq!(actor.told(&spec.id, &["cat", "note"]).await, "outside");
    assert_eq!(host.text("project/saved"), "by the API");
    assert_eq!(std::fs::metadata(host.at("project/saved")).expect("it is there").uid(), host.uid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_all_that_is_seen_of_the_host() {
    let (stage, host) = (Stage::new().await, Host::new());
    symlink(host.at("neighbour"), host.at("project/absolute")).expect("a link");
    symlink("../neighbour", host.at("project/relative")).expect("a link");
    let (actor, spec) = (stage.actor(), host.spec("project"));
    actor.begin(&spec).await;
    let outside = host.at("neighbour/note").display().to_string();
    for path in ["absolute/note", "relative/note", "../neighbour/note", outside.as_str()] {
        let ran = actor.run(&spec.id, &["cat", path]).await;
        assert_ne!(ran.outcome.exit_code, 0, "{path}: {ran:?}");
        assert!(!ran.stdout.contains("neighbour"), "{path}: {ran:?}");
    }
    // No handle of the host's is left open: with one, `..` would lead out.
    let open = actor.shell(&spec.id, "for fd in /proc/1/fd/* /proc/self/fd/*; do readlink $fd; done").await;
    assert!(
        !open.stdout.contains("project") && !open.stdout.contains(host.dir.path().to_str().expect("plain")),
        "{open:?}"
    );
    assert!(open.stdout.contains("socket:") || open.stdout.contains("pipe:"), "something was looked at: {open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_stay_whatever_becomes_of_the_workspace() {
    let (stage, host) = (Stage::new().await, Host::new());
    let (actor, spec) = (stage.actor(), host.spec("project"));
    actor.begin(&spec).await;
    actor.told(&spec.id, &["bash", "-c", "echo kept > kept; echo home > ~/note"]).await;
    actor.suspend(&spec.id).await.expect("suspended");
    host.write("project/meanwhile", "while it rests\n");
    actor.start(&spec).await.expect("started");
    assert_eq!(actor.told(&spec.id, &["cat", "kept", "meanwhile"]).await, "kept\nwhile it rests");
    assert_eq!(actor.told(&spec.id, &["bash", "-c", "cat ~/note"]).await, "home");

    actor.delete(&spec.id, false).await.expect("deleted");
    actor.start(&spec).await.expect("restored and started");
    actor.delete(&spec.id, true).await.expect("gone for good");
    assert_eq!(stage.traces(), Vec::<String>::new());
    assert_eq!((host.text("project/kept").as_str(), host.text("project/note").as_str()), ("kept\n", "project\n"));

    // What a restored database knows, and this machine does not, can be started.
    actor.start(&spec).await.expect("started anew");
    assert_eq!(actor.told(&spec.id, &["cat", "kept"]).await, "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_hosts_is_not_copied() {
    let (stage, host) = (Stage::new().await, Host::new());
    let (actor, spec) = (stage.actor(), host.spec("project"));
    actor.begin(&spec).await;
    let fork = WorkspaceSpec { id: crate::actor::workspace_id(), directory: None, ..spec.clone() };
    let leave = actor.leave(&spec.id).await;
    for refused in [
        actor.snapshot(&spec.id, &snapshot_id()).await.err(),
        actor.fork(&fork, &spec.id, None).await.err(),
        stage.driver.export(&leave).await.err(),
    ] {
        let refused = refused.expect("it is refused");
        assert_eq!(refused.code, ProblemCode::BadRequest);
        assert!(refused.message.contains("copy them there"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_lies_is_looked_at_whenever_it_is_started() {
    let (stage, host) = (Stage::new().await, Host::new());
    std::fs::create_dir(host.at("project/shop")).expect("a directory");
    host.give("project/shop");
    host.write("project/shop/note", "shop\n");
    let (actor, spec) = (stage.actor(), host.spec("project/shop"));
    actor.begin(&spec).await;
    std::fs::rename(host.at("project/shop"), host.at("project/moved")).expect("moved");
    symlink(host.at("neighbour"), host.at("project/shop")).expect("a link");
    assert_eq!(actor.told(&spec.id, &["cat", "note"]).await, "shop", "what was mounted stays what it is");

    actor.suspend(&spec.id).await.expect("suspended");
    let denied = actor.start(&spec).await.expect_err("the link leads out");
    assert_eq!(denied.code, ProblemCode::TenantWorkdirDenied, "{denied}");
    let denied = actor.create(&host.spec("neighbour")).await.expect_err("it lies elsewhere");
    assert_eq!(denied.code, ProblemCode::TenantWorkdirDenied, "{denied}");
    let own = stage.options.root.to_str().expect("plain").to_owned();
    let of_reeve = WorkspaceSpec { directory: Some(HostDirectory { path: own, within: None }), ..crate::actor::spec() };
    assert_eq!(actor.create(&of_reeve).await.expect_err("it is Reeve's").code, ProblemCode::Forbidden);
}

/// What takes root to be tried.
mod as_root {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_owner_who_changed_is_noticed() {
        let (stage, host) = (Stage::new().await, Host::new());
        let (actor, spec) = (stage.actor(), host.spec("project"));
        actor.begin(&spec).await;
        actor.suspend(&spec.id).await.expect("suspended");
        chown(host.at("project"), Some(4321), Some(4321)).expect("given away");
        std::fs::set_permissions(host.at("project"), std::fs::Permissions::from_mode(0o755)).expect("open");
        assert_eq!(actor.start(&spec).await.expect_err("another owner").code, ProblemCode::Conflict);
    }
}
