//! How long a person waits for a workspace: from asking for one to the first output of its first command. Prints, never
//! fails.
//!
//! `cargo build --release -p reeve-runtime && cargo bench -p reeve-workspace`. `REEVE_BENCH_COUNT` says how many workspaces
//! each part makes (100 unless set), `REEVE_BENCH_ONLY` runs one part: `sequence` or
//! `at_once`. What a spare of the service saves is printed by the bench of the whole program, `making`.
#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a bench prints its figures")]
#![expect(dead_code, reason = "the bench needs part of what tests share")]

#[path = "../tests/it/actor.rs"]
mod actor;
#[path = "../tests/it/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reeve_gate::Permitted;
use reeve_gate::workspace::WorkspaceDriver;
use reeve_types::workspace::WorkspaceSpec;
use reeve_types::workspace::processes::{ExecEvent, ExecRequest};
use reeve_types::{WorkspaceError, WorkspaceId, WorkspaceLimits};

use actor::{Actor, execution_id, spec};
use stage::Stage;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let only = std::env::var("REEVE_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    runtime.block_on(async {
        if wanted("sequence") {
            one_after_another().await;
        }
        if wanted("at_once") {
            all_at_once().await;
        }
    });
}

fn count() -> usize {
    std::env::var("REEVE_BENCH_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

async fn one_after_another() {
    let stage = Stage::new().await;
    let actor = stage.actor();
    let (mut waits, mut steps, mut removals) = (Vec::new(), [const { Vec::new() }; 3], Vec::new());
    let (before, load) = (cpu_ms(), busy());
    for _ in 0..count() {
        let asked = Asked::new(&actor).await;
        let id = asked.id.clone();
        let (wait, parts) = asked.first_output(&stage.driver).await.expect("a first output");
        waits.push(wait);
        for (all, part) in steps.iter_mut().zip(parts) {
            all.push(part);
        }
        let began = Instant::now();
        actor.delete(&id, true).await.expect("deleted");
        removals.push(began.elapsed());
    }
    print("create to first output, one after another", waits);
    for (what, all) in ["create", "start", "first output"].into_iter().zip(steps) {
        print(&format!("  of this: {what}"), all);
    }
    print("  delete", removals);
    println!("  processor time of one life: {:.1} ms; load {load} to {}", (cpu_ms() - before) / count() as f64, busy());
    leftovers(&stage).await;
}

async fn all_at_once() {
    let stage = Stage::new().await;
    let actor = stage.actor();
    let mut asked = Vec::new();
    for _ in 0..count() {
        asked.push(Asked::new(&actor).await);
    }
    let ids: Vec<WorkspaceId> = asked.iter().map(|one| one.id.clone()).collect();
    let (before, load, began) = (cpu_ms(), busy(), Instant::now());
    let waits = futures_util::future::join_all(asked.into_iter().map(|one| one.first_output(&stage.driver))).await;
    let all = began.elapsed();
    let good: Vec<Duration> = waits.iter().filter_map(|wait| wait.as_ref().ok().map(|(wait, _)| *wait)).collect();
    for error in waits.iter().filter_map(|wait| wait.as_ref().err()).take(3) {
        println!("failed: {error}");
    }
    println!("{} at once: {} worked, all of them after {:.0} ms", ids.len(), good.len(), all.as_secs_f64() * 1e3);
    print("create to first output, at once", good);
    let began = Instant::now();
    for removed in futures_util::future::join_all(ids.iter().map(|id| actor.delete(id, true))).await {
        removed.expect("deleted");
    }
    println!(
        "  processor time of one life: {:.1} ms; load {load} to {}",
        (cpu_ms() - before) / ids.len() as f64,
        busy()
    );
    println!("  all removed after {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    leftovers(&stage).await;
}

/// Somebody who asks for a workspace. The gate has admitted everything: here the driver is measured.
struct Asked {
    id: WorkspaceId,
    create: Permitted<WorkspaceSpec>,
    start: Permitted<WorkspaceSpec>,
    execute: Permitted<ExecRequest>,
}

impl Asked {
    async fn new(actor: &Actor<'_>) -> Self {
        let spec = WorkspaceSpec { limits: WorkspaceLimits::default(), ..spec() };
        let request = ExecRequest { argv: vec!["echo".to_owned(), "hello".to_owned()], ..ExecRequest::default() };
        Self {
            id: spec.id.clone(),
            create: actor.permit(spec.clone()).await,
            start: actor.permit(spec).await,
            execute: actor.permit(request).await,
        }
    }

    /// The whole wait, and its parts.
    async fn first_output(self, driver: &dyn WorkspaceDriver) -> Result<(Duration, [Duration; 3]), WorkspaceError> {
        let began = Instant::now();
        driver.create(self.create).await?;
        let created = began.elapsed();
        driver.start(self.start).await?;
        let started = began.elapsed();
        let link = driver.connect(&self.id).await?;
        let mut events = link.execute(execution_id(), self.execute).await?;
        while let Some(event) = events.next().await {
            if matches!(event?, ExecEvent::Output { .. }) {
                let wait = began.elapsed();
                return Ok((wait, [created, started - created, wait - started]));
            }
        }
        panic!("the command ended without a word");
    }
}

/// Processor time of this process and of all that it has seen end, in milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(4);
    // The kernel counts in hundredths of a second.
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// What the machine has to do besides: with more than a few, waits are somebody else's.
fn busy() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!("{what}: median {:.1} ms, p95 {:.1} ms, worst {:.1} ms", at(0.5), at(0.95), at(1.0));
}

async fn leftovers(stage: &Stage) {
    stage.driver.close().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stage.traces().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("  left behind: {}", stage.traces().len());
}
