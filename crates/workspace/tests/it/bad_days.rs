//! Days on which somebody takes all there is: a workspace bears it, its neighbour notices nothing, and nothing is left.
//! Every driver's tests can hold their driver to these.

use std::time::{Duration, Instant};

use reeve_types::workspace::WorkspaceSpec;
use reeve_types::workspace::files::SaveFile;
use reeve_types::workspace::processes::ExecRequest;
use reeve_types::{Digest, ProblemCode, WorkspaceId, WorkspaceLimits};

use crate::actor::{Actor, Ran, bytes, path, spec, until};
use crate::contract::Ground;

/// A workspace with little of everything.
fn small() -> WorkspaceSpec {
    let limits =
        WorkspaceLimits { memory_bytes: 128 << 20, pids: 48, disk_bytes: 48 << 20, ..WorkspaceLimits::default() };
    WorkspaceSpec { limits, ..spec() }
}

async fn python(actor: &Actor<'_>, id: &WorkspaceId, program: &str, within: Duration) -> Ran {
    let request = ExecRequest {
        argv: ["/usr/bin/python3", "-c", program].map(str::to_owned).to_vec(),
        timeout_ms: Some(u64::try_from(within.as_millis()).expect("a short time")),
        ..ExecRequest::default()
    };
    actor.execute(id, request).await
}

/// A workspace that was hard pressed works, and so does its neighbour.
async fn both_work(actor: &Actor<'_>, one: &WorkspaceId, neighbour: &WorkspaceId) {
    let began = Instant::now();
    assert_eq!(actor.told(neighbour, &["echo", "well"]).await, "well");
    assert!(began.elapsed() < Duration::from_secs(5), "the neighbour waited {:?}", began.elapsed());
    until("the workspace works again", async || actor.run(one, &["true"]).await.outcome.exit_code == 0).await;
}

async fn nothing_is_left(ground: &impl Ground, actor: &Actor<'_>, ids: [&WorkspaceId; 2]) {
    for id in ids {
        actor.delete(id, true).await.expect("deleted");
    }
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

/// `counted`: whether this driver limits the processes of a workspace as a whole.
pub(crate) async fn a_fork_bomb_is_held(ground: &impl Ground, counted: bool) {
    let (actor, one, neighbour) = (ground.actor(), small(), spec());
    actor.begin(&one).await;
    actor.begin(&neighbour).await;
    let bomb = "import os,signal,time\n\
                signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                end = time.time() + 60\n\
                while time.time() < end:\n try:\n  os.fork()\n except OSError:\n  time.sleep(0.01)\n";
    let mut bombing = Box::pin(python(&actor, &one.id, bomb, Duration::from_secs(6)));
    let mut most = 0;
    let bombed = loop {
        most = most.max(ground.driver().usage(&one.id).await.expect("usage").pids.unwrap_or_default());
        if let Ok(bombed) = tokio::time::timeout(Duration::from_millis(20), &mut bombing).await {
            break bombed;
        }
    };
    assert!(bombed.outcome.timed_out, "{bombed:?}");
    if counted {
        assert!((40..=48).contains(&most), "{most} processes at once where 48 are allowed");
    }
    both_work(&actor, &one.id, &neighbour.id).await;
    let left = actor.told(&one.id, &["bash", "-c", "ls -d /proc/[0-9]* | wc -l"]).await;
    assert!(left.parse::<u32>().expect("a number") < 12, "{left} processes are left");
    nothing_is_left(ground, &actor, [&one.id, &neighbour.id]).await;
}

/// `told_apart`: whether this driver knows why a program was killed.
pub(crate) async fn a_memory_bomb_ends_alone(ground: &impl Ground, told_apart: bool) {
    let (actor, one, neighbour) = (ground.actor(), small(), spec());
    actor.begin(&one).await;
    actor.begin(&neighbour).await;
    let bomb = "held = []\nwhile True: held.append(bytearray(b'x' * (8 << 20)))";
    let bombed = python(&actor, &one.id, bomb, Duration::from_secs(30)).await;
    assert_ne!(bombed.outcome.exit_code, 0, "{bombed:?}");
    assert!(!bombed.outcome.timed_out, "{bombed:?}");
    assert_eq!(bombed.outcome.out_of_memory, told_apart, "{:?}", bombed.outcome);
    let ended = actor.shell(&one.id, "kill -9 $$").await;
    assert!(!ended.outcome.out_of_memory && ended.outcome.signal.is_some(), "another kill is another thing: {ended:?}");
    if told_apart {
        let usage = ground.driver().usage(&one.id).await.expect("usage");
        assert!(usage.out_of_memory.is_some_and(|count| count >= 1), "{usage:?}");
        assert!(usage.memory_bytes.is_some_and(|bytes| bytes <= 128 << 20), "{usage:?}");
    }
    both_work(&actor, &one.id, &neighbour.id).await;
    nothing_is_left(ground, &actor, [&one.id, &neighbour.id]).await;
}

/// Memory taken through files in memory is memory.
pub(crate) async fn files_in_memory_are_bounded(ground: &impl Ground) {
    let (actor, one) = (ground.actor(), small());
    actor.begin(&one).await;
    for place in ["/tmp", "/dev/shm"] {
        let filled = actor.shell(&one.id, &format!("head -c 1G /dev/zero > {place}/big; stat -c %s {place}/big")).await;
        let bytes: u64 = filled.stdout.trim().parse().unwrap_or_default();
        assert!(bytes <= 128 << 20, "{place}: {filled:?}");
        actor.shell(&one.id, &format!("rm {place}/big")).await;
    }
    assert_eq!(actor.told(&one.id, &["echo", "well"]).await, "well");
}

/// Where the kernel holds the disk's end while programs write.
pub(crate) async fn a_full_disk_is_told_and_can_be_emptied(ground: &impl Ground) {
    let (actor, one, neighbour) = (ground.actor(), small(), spec());
    let isolation = actor.begin(&one).await;
    assert_eq!(isolation.disk, "kernel");
    actor.begin(&neighbour).await;
    let filled = actor.shell(&one.id, "cat /dev/zero > big; stat -c %s big; echo more > other && cat other").await;
    assert!(filled.stderr.contains("No space left on device"), "{filled:?}");
    let written: u64 = filled.stdout.lines().next().and_then(|line| line.parse().ok()).expect("a size");
    assert!(((46 << 20)..=(52 << 20)).contains(&written), "{written} bytes where 48 MiB are allowed");
    let usage = ground.driver().usage(&one.id).await.expect("usage");
    assert!(usage.disk_bytes.is_some_and(|bytes| bytes >= 44 << 20), "{usage:?}");
    let content = vec![7; 1 << 20];
    let save = SaveFile {
        path: path("saved.bin"),
        sha256: Digest::of(&content),
        size: content.len() as u64,
        if_match: None,
        if_none_match: false,
        create_parents: false,
        origin: None,
    };
    let link = actor.link(&one.id).await;
    let refused = link.save(actor.permit(save.clone()).await, bytes(&content)).await.expect_err("it is full");
    assert_eq!(refused.code, ProblemCode::DiskFull, "{refused}");
    both_work(&actor, &one.id, &neighbour.id).await;
    actor.suspend(&one.id).await.expect("suspended although it is full");
    actor.start(&one).await.expect("started although it is full");
    actor.shell(&one.id, "rm big").await;
    let link = actor.link(&one.id).await;
    link.save(actor.permit(save).await, bytes(&content)).await.expect("there is room again");
    nothing_is_left(ground, &actor, [&one.id, &neighbour.id]).await;
}

pub(crate) async fn a_million_small_files_end_somewhere(ground: &impl Ground) {
    let (actor, one) = (ground.actor(), small());
    actor.begin(&one).await;
    let filler = "import os\ncount = 0\ntry:\n while True:\n  os.close(os.open(f'f{count}', os.O_CREAT | os.O_WRONLY)); \
                  count += 1\nexcept OSError as error: print(count, error.errno)";
    let filled = python(&actor, &one.id, filler, Duration::from_secs(120)).await;
    let told: Vec<u64> = filled.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(told[..], [count, 28] if count < 200_000), "{filled:?}");
    actor.delete(&one.id, true).await.expect("deleted");
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn a_zombie_maker_leaves_none(ground: &impl Ground) {
    let (actor, one) = (ground.actor(), small());
    actor.begin(&one).await;
    // Children of children whose parent is gone come to whoever reaps.
    let maker = "import os\nfor _ in range(200):\n pid = os.fork()\n if pid == 0:\n  if os.fork() == 0: os._exit(0)\n  \
                 os._exit(0)\n os.waitpid(pid, 0)\nprint('made')";
    let made = python(&actor, &one.id, maker, Duration::from_secs(30)).await;
    assert_eq!(made.stdout, "made\n", "{made:?}");
    let count = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    until("no zombie is left", async || actor.told(&one.id, &["bash", "-c", count]).await == "0").await;
}

pub(crate) async fn whoever_leaves_its_session_ends_with_the_workspace(ground: &impl Ground) {
    let (actor, one) = (ground.actor(), small());
    actor.begin(&one).await;
    let escape = "import os,signal,time\n\
                  for number in range(1, 65):\n try: signal.signal(number, signal.SIG_IGN)\n except (OSError, ValueError): pass\n\
                  if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n\
                  for handle in range(3): os.close(handle)\ntime.sleep(1000)";
    python(&actor, &one.id, escape, Duration::from_secs(30)).await;
    actor.shell(&one.id, "setsid -f sleep 1000; nohup setsid sleep 1000 >/dev/null 2>&1 &").await;
    let began = Instant::now();
    actor.suspend(&one.id).await.expect("suspended");
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    until("no process is left", async || !ground.traces().await.iter().any(|trace| trace.starts_with("process"))).await;
}
