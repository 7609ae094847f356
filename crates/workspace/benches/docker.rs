//! Figures of workspaces that Docker Engine holds, image present: from asking for one to the first command's output.
//! Prints, never fails.
//!
//! `cargo build --release -p reeve-runtime && cargo bench -p reeve-workspace --bench docker`; needs root and `dockerd`,
//! which it starts for itself. `REEVE_BENCH_DOCKER` names the address of another engine, which has `reeve/base:1`.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its figures, or why there are none")]

#[path = "../tests/it/actor.rs"]
#[allow(dead_code, clippy::panic, reason = "words shared with tests, which use others of them")]
mod actor;
#[path = "../tests/docker/daemon.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod daemon;
#[path = "../tests/docker/image.rs"]
#[allow(dead_code, reason = "shared with tests")]
mod image;
#[path = "../tests/docker/program.rs"]
mod program;

use std::time::{Duration, Instant};

use reeve_workspace::{DockerDriver, DockerOptions, Templates};

use actor::{Actor, spec};

/// Workspaces made one after the other.
const MAKINGS: usize = 30;

#[tokio::main]
async fn main() {
    let elsewhere = std::env::var("REEVE_BENCH_DOCKER").ok();
    if elsewhere.is_none() && !can_start_an_engine() {
        println!("docker: not measured: dockerd is not there, or this is not root (scripts/ensure docker)");
        return;
    }
    let root = tempfile::Builder::new().prefix("rv").tempdir().expect("a directory");
    let daemon = match &elsewhere {
        Some(_) => None,
        None => {
            let daemon = daemon::Daemon::start(&root.path().join("d"), serde_json::json!({})).await;
            image::import(&daemon.client().await, image::With::Nothing).await;
            Some(daemon)
        }
    };
    let templates = Templates::built_in().expect("the built-in templates");
    let mut options = DockerOptions::new(root.path().join("workspaces"), program::runtime(), templates);
    options.host = elsewhere.or_else(|| daemon.as_ref().map(daemon::Daemon::host));
    let driver = DockerDriver::open(options).await.expect("the driver opens");
    measure(&Actor::new(&driver)).await;
}

fn can_start_an_engine() -> bool {
    let found = std::process::Command::new("dockerd").arg("--version").output();
    rustix::process::geteuid().is_root() && found.is_ok_and(|output| output.status.success())
}

async fn measure(actor: &Actor<'_>) {
    let (mut made, mut started, mut ran, mut whole, mut removed) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..MAKINGS {
        let spec = spec();
        let began = Instant::now();
        actor.create(&spec).await.expect("created");
        made.push(began.elapsed());
        actor.start(&spec).await.expect("started");
        started.push(began.elapsed() - made.last().copied().unwrap_or_default());
        let before = Instant::now();
        assert_eq!(actor.told(&spec.id, &["echo", "hello"]).await, "hello");
        ran.push(before.elapsed());
        whole.push(began.elapsed());
        let before = Instant::now();
        actor.delete(&spec.id, true).await.expect("deleted");
        removed.push(before.elapsed());
    }
    println!("docker: {MAKINGS} workspaces one after the other, image present");
    tell("create → first command's output", &mut whole);
    tell("  create", &mut made);
    tell("  start until the program inside answers", &mut started);
    tell("  first command", &mut ran);
    tell("delete with files", &mut removed);
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    let ms = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
    println!("{what:<44} median {:>5} ms   p95 {:>5} ms", ms(at(50)), ms(at(95)));
}
