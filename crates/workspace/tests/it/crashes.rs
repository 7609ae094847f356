//! A server that is killed in the middle of making and removing workspaces: the next one finds whole workspaces or
//! nothing, and what it sweeps is gone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reeve_gate::workspace::WorkspaceDriver as _;
use reeve_workspace::NamespaceDriver;

use crate::actor::{Actor, spec, until};
use crate::stage::{directory, options, traces};

/// Where the server that will be killed has its data.
const ROOT: &str = "TEST_WORKSPACES_ROOT";

/// Makes and removes workspaces until it is killed. Run by the test below, in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs until it is killed; the test below does that"]
async fn a_server_that_never_ends() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let driver = NamespaceDriver::open(options(Path::new(&root))).await.expect("the driver opens");
    std::fs::write(Path::new(&root).join("open"), "").expect("told");
    let actor = Actor::new(&driver);
    let make_and_remove = async || {
        let spec = spec();
        actor.begin(&spec).await;
        actor.shell(&spec.id, "setsid -f sleep 1000").await;
        actor.delete(&spec.id, true).await.expect("deleted");
    };
    let forever = async || loop {
        make_and_remove().await;
    };
    tokio::join!(forever(), forever());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_half_made_or_half_removed_outlives_the_next_server() {
    let root = directory();
    // Nobody knows which moment is the bad one, so many are tried.
    for after_ms in [0, 15, 35, 60, 90, 125, 165, 210, 260, 330] {
        let mut server = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "crashes::a_server_that_never_ends", "--ignored"])
            .env(ROOT, root.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let open = root.path().join("open");
        until("the server is open", async || open.exists()).await;
        std::fs::remove_file(&open).expect("told");
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        server.kill().expect("killed");
        server.wait().expect("gone");
        the_next_server_clears_up(root.path()).await;
    }
}

async fn the_next_server_clears_up(root: &Path) {
    let driver = NamespaceDriver::open(options(root)).await.expect("the next server opens");
    let actor = Actor::new(&driver);
    for found in driver.found().await.expect("found") {
        assert!(found.files, "what was not finished is gone: {found:?}");
        if found.running {
            assert_eq!(actor.told(&found.workspace, &["echo", "well"]).await, "well");
        }
        driver.sweep(&found.workspace).await.expect("swept");
    }
    driver.close().await;
    let installation = driver.installation();
    until("nothing is left", async || traces(root, &installation).is_empty()).await;
    assert!(!root.join("reach").exists(), "a server that is closed leaves nothing reachable");
}
