//! The driver `namespace` on real bubblewrap: held to what every driver promises, and to what it alone does.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use reeve_gate::workspace::WorkspaceDriver;
use reeve_types::workspace::processes::ExecRequest;
use reeve_workspace::NamespaceDriver;
use reeve_workspace::namespace::Toolchain;

use crate::actor::{Actor, execution_id, spec, until};
use crate::contract::{Ground, contract};
use crate::stage::{Stage, directory, runtime};
use crate::{bad_days, escapes};

impl Ground for Stage {
    fn driver(&self) -> &dyn WorkspaceDriver {
        &self.driver
    }

    async fn next_server(&self) -> Box<dyn WorkspaceDriver> {
        Box::new(NamespaceDriver::open(self.options.clone()).await.expect("the next server opens"))
    }

    async fn traces(&self) -> Vec<String> {
        self.traces()
    }
}

contract!(Stage::new);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_out_is_shut() {
    escapes::every_way_is_shut(&Stage::new().await, &[], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_the_machine_are_not_seen() {
    escapes::files_of_the_machine_are_not_seen(&Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_and_the_machine_cannot_be_reached() {
    escapes::neighbours_and_the_machine_cannot_be_reached(&Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_lead_out_lead_nowhere() {
    escapes::links_that_lead_out_lead_nowhere(&Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_became_a_link_is_not_followed() {
    let stage = Stage::new().await;
    let (actor, spec) = (stage.actor(), spec());
    let outside = directory();
    let listener = UnixListener::bind(outside.path().join("victim.sock")).expect("a socket");
    listener.set_nonblocking(true).expect("not blocking");
    actor.begin(&spec).await;
    let target = outside.path().display();
    let swapped = format!("rm /run/reeve/*.sock; ln -s {target}/victim.sock /run/reeve/runtime.sock; ls -l /run/reeve");
    let ran = actor.shell(&spec.id, &swapped).await;
    assert!(ran.stdout.contains("victim.sock"), "{ran:?}");
    let fresh = stage.next_server().await;
    let link = fresh.connect(&spec.id).await.expect("it runs");
    let leave = actor.leave(&spec.id).await;
    assert!(link.terminals(&leave).await.is_err());
    assert!(link.dial(&leave, 80).await.is_err());
    assert!(listener.accept().is_err(), "somebody followed the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_is_held() {
    bad_days::a_fork_bomb_is_held(&Stage::new().await, is_root()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb_ends_alone() {
    bad_days::a_memory_bomb_ends_alone(&Stage::new().await, is_root()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_memory_are_bounded() {
    bad_days::files_in_memory_are_bounded(&Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_maker_leaves_none() {
    bad_days::a_zombie_maker_leaves_none(&Stage::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_its_session_ends_with_the_workspace() {
    bad_days::whoever_leaves_its_session_ends_with_the_workspace(&Stage::new().await).await;
}

/// What takes root to be had.
mod as_root {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_disk_is_told_and_can_be_emptied() {
        bad_days::a_full_disk_is_told_and_can_be_emptied(&Stage::new().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_million_small_files_end_somewhere() {
        bad_days::a_million_small_files_end_somewhere(&Stage::new().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_tier_is_reported_as_it_is() {
        let stage = Stage::new().await;
        let (actor, spec) = (stage.actor(), spec());
        let isolation = actor.begin(&spec).await;
        assert_eq!((isolation.tier.as_str(), isolation.disk.as_str()), ("namespace", "kernel"));
        assert!(isolation.limits.starts_with("cgroup") && isolation.own_user && isolation.seccomp, "{isolation:?}");
        let users = stage.options.users.clone();
        let found = std::fs::read_dir("/proc").expect("processes").flatten().any(|entry| {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            let uid =
                status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
            groups.contains(&stage.driver.installation()) && uid.is_some_and(|uid: u32| users.contains(&uid))
        });
        assert!(found, "the workspace runs as a user of its own");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_rests_needs_no_place_to_be_reached_in() {
        let stage = Stage::new().await;
        let (actor, spec) = (stage.actor(), spec());
        let reach = stage.options.reach.clone().expect("a place");
        actor.begin(&spec).await;
        actor.save(&spec.id, "a.txt", b"kept").await;
        let next = NamespaceDriver::open(stage.options.clone()).await.expect("the next server opens");
        stage.driver.close().await;
        assert!(reach.join("etc/passwd").exists(), "the next server and the workspace need it");
        Actor::new(&next).suspend(&spec.id).await.expect("suspended");
        next.close().await;
        assert!(!reach.exists(), "nothing runs, and no server is open");
        let last = NamespaceDriver::open(stage.options.clone()).await.expect("the last server opens");
        let heir = Actor::new(&last);
        heir.start(&spec).await.expect("started");
        assert_eq!(heir.read(&spec.id, "a.txt").await.expect("read"), b"kept");
        heir.delete(&spec.id, true).await.expect("deleted");
        last.close().await;
        assert!(!reach.exists(), "everything was purged");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_toolchain_is_out_of_reach_of_whoever_tidies_up_by_hand() {
        let own = tempfile::tempdir().expect("a directory that only its owner walks into");
        std::fs::write(own.path().join("rustc"), "a compiler").expect("a file");
        let toolchain = Toolchain { from: own.path().to_owned(), inside: "/opt/tools".into(), programs: None };
        let stage = Stage::with(|options| options.toolchains = vec![toolchain]).await;
        let (actor, spec) = (stage.actor(), spec());
        actor.begin(&spec).await;
        assert_eq!(actor.told(&spec.id, &["cat", "/opt/tools/rustc"]).await, "a compiler");
        let mounted = stage.options.reach.as_ref().expect("a place").join("bin");
        let _refused = std::fs::remove_dir_all(&mounted);
        assert_eq!(std::fs::read_to_string(own.path().join("rustc")).expect("it is still there"), "a compiler");
        actor.delete(&spec.id, true).await.expect("deleted");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_images_files_lie_in_a_directory_and_that_is_reported() {
        let stage = Stage::with(|options| options.images = false).await;
        let (actor, spec) = (stage.actor(), spec());
        assert_eq!(actor.begin(&spec).await.disk, "swept");
        actor.save(&spec.id, "a.txt", b"kept").await;
        actor.suspend(&spec.id).await.expect("suspended");
        actor.start(&spec).await.expect("started");
        assert_eq!(actor.read(&spec.id, "a.txt").await.expect("read"), b"kept");
        actor.delete(&spec.id, true).await.expect("deleted");
        until("nothing is left", async || stage.traces().is_empty()).await;
    }

    /// The whole contract once more, for a server that is an ordinary user of this machine.
    #[test]
    fn an_ordinary_user_can_do_the_same() {
        let own = directory();
        std::os::unix::fs::chown(own.path(), Some(65_533), Some(65_533)).expect("given away");
        // Beside each other where that user can read them; the tree may lie in root's own directory.
        let program = own.path().join("tests");
        std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
        std::fs::copy(runtime(), own.path().join("reeve-runtime")).expect("copied");
        let told = Command::new("setpriv")
            .args(["--reuid=65533", "--regid=65533", "--clear-groups", "--"])
            .arg(&program)
            .current_dir(own.path())
            .args(["namespace::", "--skip", "as_root::", "--test-threads", "2"])
            .env("TMPDIR", own.path())
            .env("HOME", own.path())
            .output()
            .expect("setpriv runs");
        let said = String::from_utf8_lossy(&told.stdout);
        let passed =
            said.lines().find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok());
        let enough = passed.is_some_and(|passed: u32| passed >= 25);
        assert!(told.status.success() && enough, "{said}{}", String::from_utf8_lossy(&told.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_end_of_the_disk_whoever_takes_far_too_much_is_suspended() {
    let stage = Stage::with(|options| {
        options.images = false;
        options.measure_every = Duration::from_millis(100);
    })
    .await;
    let (actor, modest, greedy) = (stage.actor(), spec(), spec());
    actor.begin(&modest).await;
    actor.begin(&greedy).await;
    actor.shell(&modest.id, "head -c 20M /dev/zero > file").await;
    let filling = ExecRequest {
        argv: ["bash", "-c", "head -c 200M /dev/zero > file; sleep 50"].map(str::to_owned).to_vec(),
        ..ExecRequest::default()
    };
    let link = actor.link(&greedy.id).await;
    let _kept_running = link.execute(execution_id(), actor.permit(filling).await).await.expect("begun");
    until("it is suspended", async || stage.driver.connect(&greedy.id).await.is_err()).await;
    assert_eq!(actor.told(&modest.id, &["echo", "well"]).await, "well");
    actor.start(&greedy).await.expect("its owner can make room");
    actor.shell(&greedy.id, "rm file").await;
    assert_eq!(actor.told(&greedy.id, &["echo", "well"]).await, "well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_machine_lacks_is_told() {
    let stage = Stage::new().await;
    let all = stage.driver.readiness().await;
    let missing: Vec<_> = all.iter().filter(|one| one.needed && !one.ready).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let broken = Stage::with(|options| options.runtime = options.root.join("no-such-program")).await;
    let all = broken.driver.readiness().await;
    assert!(all.iter().any(|one| one.what == "reeve-runtime" && !one.ready && one.needed), "{all:?}");
    let (actor, spec) = (Actor::new(&broken.driver), spec());
    actor.create(&spec).await.expect("files can be laid out");
    let refused = actor.start(&spec).await.expect_err("nothing to start");
    assert!(refused.message.contains("reeve doctor") || refused.message.contains("cannot start"), "{refused}");
    actor.delete(&spec.id, true).await.expect("deleted");
}
