//! Another runtime of containers: what it is told by, and gVisor where this machine has it and can start it.

use reeve_gate::workspace::WorkspaceDriver as _;
use serde_json::json;

use crate::actor::spec;
use crate::image::With;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_makes_no_sandbox() {
    let runtimes = json!({"runtimes": {"runsc-by-name": {"path": "runc"}}});
    let other = |options: &mut reeve_workspace::DockerOptions| {
        options.container_runtime = Some("runsc-by-name".to_owned());
    };
    let stage = Stage::on(With::Nothing, runtimes, other).await;
    if stage.daemon.given {
        // Its runtimes are not the test's to set.
        return;
    }
    let isolation = stage.actor().begin(&spec()).await;
    assert_eq!(isolation.tier, "container", "the program behind the name is what counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gvisor_holds_a_workspace_where_it_starts() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(runsc) = std::env::split_paths(&path).map(|directory| directory.join("runsc")).find(|file| file.is_file())
    else {
        eprintln!("skipped: this machine has no `runsc`; install gVisor to have it tried");
        return;
    };
    // A name of its own: the engine tells which program is behind it.
    let arguments = ["--network=none", "--host-uds=create", "--ignore-cgroups"];
    let runtimes = json!({"runtimes": {"sandboxed": {"path": runsc, "runtimeArgs": arguments}}});
    let other = |options: &mut reeve_workspace::DockerOptions| options.container_runtime = Some("sandboxed".to_owned());
    let stage = Stage::on(With::Nothing, runtimes, other).await;
    if stage.daemon.given {
        eprintln!("skipped: the runtimes of an engine that was given are not the test's to set");
        return;
    }
    let (actor, spec) = (stage.actor(), spec());
    actor.create(&spec).await.expect("created");
    let isolation = match actor.start(&spec).await {
        Ok(isolation) => isolation,
        Err(error) => {
            eprintln!("skipped: `runsc` starts no workspace here: {error}");
            return;
        }
    };
    assert_eq!(isolation.tier, "gvisor", "{isolation:?}");
    let version = actor.told(&spec.id, &["cat", "/proc/version"]).await;
    let of_machine = std::fs::read_to_string("/proc/version").expect("this machine's kernel");
    assert_ne!(version.trim(), of_machine.trim(), "another kernel serves its calls");
    actor.save(&spec.id, "a.txt", b"kept").await;
    actor.suspend(&spec.id).await.expect("suspended");
    actor.start(&spec).await.expect("started again");
    assert_eq!(actor.read(&spec.id, "a.txt").await.expect("read"), b"kept");
    assert!(stage.driver.usage(&spec.id).await.is_ok());
}
