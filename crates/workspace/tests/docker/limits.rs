//! Limits hold for everything that runs inside, and for the disk.

use std::time::Duration;

use reeve_gate::workspace::WorkspaceDriver as _;
use reeve_types::WorkspaceLimits;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::workspace::processes::ExecRequest;

use crate::actor::{spec, until};
use crate::stage::Stage;

fn limited(change: impl FnOnce(&mut WorkspaceLimits)) -> WorkspaceSpec {
    let mut spec = spec();
    change(&mut spec.limits);
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_hurt_nobody_else() {
    let stage = Stage::new().await;
    let actor = stage.actor();
    let spec = limited(|limits| {
        limits.memory_bytes = 96 << 20;
        limits.pids = 40;
    });
    actor.begin(&spec).await;
    let forks = "for i in $(seq 100); do sleep 20 & done 2>/dev/null; jobs -r | wc -l";
    let counted = ExecRequest {
        argv: ["bash", "-c", forks].map(str::to_owned).to_vec(),
        timeout_ms: Some(20_000),
        ..ExecRequest::default()
    };
    let bomb = actor.execute(&spec.id, counted).await;
    let made: u32 = bomb.stdout.trim().parse().unwrap_or_default();
    assert!(made < 40, "40 processes are 40 processes: {bomb:?}");

    let hog = actor.run(&spec.id, &["tail", "/dev/zero"]).await;
    assert!(hog.outcome.out_of_memory, "a program that wants too much memory is told apart: {hog:?}");
    let usage = stage.driver.usage(&spec.id).await.expect("usage");
    assert!(usage.out_of_memory.is_some_and(|times| times >= 1), "{usage:?}");
    assert_eq!(actor.told(&spec.id, &["echo", "well"]).await, "well", "the workspace goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_that_fills_the_disk_is_suspended_where_the_engine_sets_no_end() {
    let stage = Stage::with(|options| options.measure_every = Duration::from_millis(200)).await;
    let actor = stage.actor();
    let spec = limited(|limits| limits.disk_bytes = 8 << 20);
    let isolation = actor.begin(&spec).await;
    let filled = actor.shell(&spec.id, "head -c 32M /dev/urandom > ~/big; sync").await;
    if isolation.disk == "kernel" {
        assert_ne!(filled.outcome.exit_code, 0, "full is full: {filled:?}");
        return;
    }
    assert_eq!(isolation.disk, "swept");
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
