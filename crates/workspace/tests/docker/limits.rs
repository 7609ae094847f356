//! Limits hold for everything that runs inside, and for the disk.

use std::time::Duration;

use reeve_gate::workspace::WorkspaceDriver as _;
use reeve_types::WorkspaceLimits;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::workspace::processes::ExecRequest;

use crate::actor::{execution_id, spec, until};
use crate::bad_days;
use crate::stage::Stage;

fn limited(change: impl FnOnce(&mut WorkspaceLimits)) -> WorkspaceSpec {
    let mut spec = spec();
    change(&mut spec.limits);
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_hurt_nobody_else() {
    let stage = Stage::with_python().await;
    bad_days::a_fork_bomb_is_held(&stage, true).await;
    bad_days::a_memory_bomb_ends_alone(&stage, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_more_than_there_is_or_stays_behind() {
    let stage = Stage::with_python().await;
    // First the one that looks whether any process is left.
    bad_days::whoever_leaves_its_session_ends_with_the_workspace(&stage).await;
    bad_days::files_in_memory_are_bounded(&stage).await;
    bad_days::a_zombie_maker_leaves_none(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_that_fills_the_disk_is_suspended_where_the_engine_sets_no_end() {
    let stage = Stage::with(|options| options.measure_every = Duration::from_millis(200)).await;
    let actor = stage.actor();
    let spec = limited(|limits| limits.disk_bytes = 8 << 20);
    let isolation = actor.begin(&spec).await;
    if isolation.disk == "kernel" {
        let filled = actor.shell(&spec.id, "head -c 32M /dev/urandom > ~/big; sync").await;
        assert_ne!(filled.outcome.exit_code, 0, "full is full: {filled:?}");
        return;
    }
    assert_eq!(isolation.disk, "swept");
    let filling = ExecRequest {
        argv: ["bash", "-c", "head -c 32M /dev/urandom > ~/big; sleep 60"].map(str::to_owned).to_vec(),
        ..ExecRequest::default()
    };
    let link = actor.link(&spec.id).await;
    let _kept_running = link.execute(execution_id(), actor.permit(filling).await).await.expect("begun");
    until("it is suspended", async || {
        let found = stage.driver.found().await.expect("found");
        found.iter().all(|found| found.workspace == spec.id && !found.running && found.files)
    })
    .await;
    let sockets = actor.begin_again_and_fill_sockets(&spec).await;
    assert_ne!(sockets.outcome.exit_code, 0, "the sockets' directory is no disk: {sockets:?}");
}

impl crate::actor::Actor<'_> {
    async fn begin_again_and_fill_sockets(&self, spec: &WorkspaceSpec) -> crate::actor::Ran {
        self.start(spec).await.expect("it may be started to make room");
        self.shell(&spec.id, "rm -f ~/big; head -c 1M /dev/zero > /run/reeve/much").await
    }
}
