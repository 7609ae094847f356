//! Programs: what they are given, what they give back, and that nothing of them is left.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use reeve_types::workspace::processes::{EXECUTION_OUTPUT_BYTES_MAX, ExecEvent, ExecPhase, ExecRequest};
use serde_json::json;
use tokio::time::Instant;

use crate::running::{Events, Ran, Running, resident, shell, until};

#[tokio::test]
async fn a_program_gets_its_arguments_input_environment_and_directory_and_no_shell() {
    let runtime = Running::start().await;
    runtime.write("a dir/x", "");
    let script = r#"printf '%s|' "$@" "$GREETING" "$PWD" "$(pwd)" "$HOME"; cat"#;
    let argv = ["bash", "-c", script, "me", "$(id)", "a b;c", "ü\n", "-rf"].map(str::to_owned).to_vec();
    let ran = runtime
        .run(ExecRequest {
            argv,
            cwd: "a dir".parse().expect("a path"),
            env: BTreeMap::from([("GREETING".to_owned(), "hello $USER".to_owned())]),
            stdin: Some("typed\n".to_owned()),
            ..ExecRequest::default()
        })
        .await;
    let root = runtime.root().display().to_string();
    let expected = format!("$(id)|a b;c|ü\n|-rf|hello $USER|{root}/a dir|{root}/a dir|");
    let (said, typed) = ran.stdout.rsplit_once('|').expect("all of it");
    assert!(said.starts_with(expected.trim_end_matches('|')), "{said}");
    assert_eq!((typed, ran.outcome.exit_code), ("typed\n", 0));
}

#[tokio::test]
async fn no_program_sees_what_is_the_runtimes() {
    let runtime = Running::start().await;
    let ran =
        runtime.sh("env; cat /proc/$PPID/environ /proc/$PPID/cmdline | tr '\\0' '\\n'; ls -l /proc/self/fd").await;
    assert!(!ran.stdout.contains("REEVE_") && !ran.stdout.contains(crate::running::TOKEN), "{}", ran.stdout);
    assert!(!ran.stdout.contains("socket:"), "no handle of the runtime's is passed on: {}", ran.stdout);
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let runtime = Running::start().await;
    let seven = runtime.sh("exit 7").await.outcome;
    assert_eq!((seven.exit_code, seven.signal, seven.phase), (7, None, ExecPhase::Run));
    let killed = runtime.sh("kill -SEGV $$").await.outcome;
    assert_eq!((killed.exit_code, killed.signal.as_deref()), (139, Some("SIGSEGV")));
    assert!(!killed.out_of_memory && !killed.timed_out && !killed.cancelled);
}

#[tokio::test]
async fn what_cannot_be_started_says_so_and_is_127() {
    let runtime = Running::start().await;
    runtime.write("not-executable", "#!/bin/sh\n");
    for program in ["no-such-program", "./not-executable", "/no/such/path"] {
        let ran = runtime.run(ExecRequest { argv: vec![program.to_owned()], ..ExecRequest::default() }).await;
        assert_eq!(ran.outcome.exit_code, 127, "{program}");
        assert!(ran.stderr.starts_with(&format!("reeve: `{program}` cannot be started: ")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anything_runs() {
    let runtime = Running::start().await;
    std::os::unix::fs::symlink("/", runtime.root().join("out")).expect("a link");
    let refused = [
        (json!({}), "bad_request"),
        (json!({"argv": ["a\0b"]}), "bad_request"),
        (json!({"argv": ["x".repeat(131_072)]}), "bad_request"),
        (json!({"argv": ["true"], "timeout_ms": 0}), "bad_request"),
        (json!({"argv": ["true"], "timeout_ms": 604_800_001}), "bad_request"),
        (json!({"argv": ["true"], "env": {"A=B": "c"}}), "bad_request"),
        (json!({"argv": ["true"], "file": "x.py"}), "bad_request"),
        (json!({"argv": ["true"], "cwd": "missing"}), "not_found"),
        (json!({"argv": ["true"], "cwd": "out"}), "path_escape"),
        (json!({"file": "out/etc/passwd"}), "path_escape"),
        (json!({"file": "missing.py"}), "not_found"),
        (json!({"file": ""}), "wrong_file_type"),
        (json!({"argv": ["true"], "beer": 1}), "bad_request"),
    ];
    for (request, code) in refused {
        let (_, problem) = runtime.post("/v1/executions", request.clone()).await;
        assert_eq!(problem["code"], code, "{request} {problem}");
    }
    let (status, problem) = runtime.post("/v1/executions", json!({"argv": ["x".repeat(2_000_000)]})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
}

#[tokio::test]
async fn an_argument_of_the_greatest_length_arrives() {
    let runtime = Running::start().await;
    let long = "x".repeat(131_071);
    let ran = runtime.run(ExecRequest { argv: vec!["echo".to_owned(), long.clone()], ..ExecRequest::default() }).await;
    assert_eq!(ran.stdout.trim_end().len(), long.len());
}

#[tokio::test]
async fn time_that_runs_out_ends_the_tree_escapees_and_all() {
    let runtime = Running::start().await;
    let script = "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' & \
                  (setsid setsid sleep 600 &) ; python3 -c 'import os,time\n\
                  for _ in range(20):\n  if os.fork() == 0: os._exit(0)\n\
                  time.sleep(600)' & echo started; sleep 600";
    let began = Instant::now();
    let ran = runtime.run(ExecRequest { timeout_ms: Some(700), ..shell(script) }).await;
    assert!(ran.outcome.timed_out && ran.outcome.exit_code == 124, "{:?}", ran.outcome);
    assert_eq!(ran.stdout, "started\n");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(runtime.offspring(), Vec::<String>::new(), "when the end is told, nothing is left");
}

#[tokio::test]
async fn a_program_that_multiplies_is_ended_whole() {
    let runtime = Running::start().await;
    let bomb = "import os,time\nfor _ in range(7): os.fork()\nprint('ready', flush=True)\n\
                while True:\n  if os.fork() == 0: os._exit(0)\n  os.waitpid(-1, 0)";
    let argv = ["python3", "-c", bomb].map(str::to_owned).to_vec();
    let ran = runtime.run(ExecRequest { argv, timeout_ms: Some(1500), ..ExecRequest::default() }).await;
    assert!(ran.outcome.timed_out);
    assert_eq!(runtime.offspring(), Vec::<String>::new());
}

#[tokio::test]
async fn zombies_are_reaped_while_their_maker_runs() {
    let runtime = Running::start().await;
    let script = "for i in $(seq 50); do (setsid sh -c 'exit 0' &); done; echo made; sleep 600";
    let mut events = Events::of(runtime.begin("", shell(script)).await);
    events.until_said("made").await;
    until("no zombie is left", || async { zombies_below(runtime.pid()) == 0 }).await;
}

fn zombies_below(top: u32) -> usize {
    let stats = std::fs::read_dir("/proc").expect("processes").flatten();
    let all: Vec<(u32, u32, bool)> = stats
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some((entry.file_name().to_str()?.parse().ok()?, rest[1].parse().ok()?, rest[0] == "Z"))
        })
        .collect();
    let mut below = vec![top];
    let mut at = 0;
    while at < below.len() {
        let parent = below[at];
        below.extend(all.iter().filter(|(_, above, _)| *above == parent).map(|(pid, ..)| *pid));
        at += 1;
    }
    all.iter().filter(|(pid, _, zombie)| *zombie && below.contains(pid)).count()
}

#[tokio::test]
async fn an_answer_does_not_wait_for_what_was_left_in_the_background() {
    let runtime = Running::start().await;
    let began = Instant::now();
    let ran = runtime.sh("sleep 600 & setsid sleep 600 & echo done").await;
    assert_eq!((ran.stdout.as_str(), ran.outcome.exit_code), ("done\n", 0));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(runtime.offspring(), Vec::<String>::new());
}

#[tokio::test]
async fn cancelling_ends_the_tree() {
    let runtime = Running::start().await;
    let id = "exe_01h455vb4pex5vsknk084sn02q";
    let mut events =
        Events::of(runtime.begin(&format!("?id={id}"), shell("(setsid sleep 600 &); echo up; sleep 600")).await);
    events.until_said("up").await;
    let (status, problem) = runtime.post(&format!("/v1/executions?id={id}"), json!({"argv": ["true"]})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")), "an id is taken once");
    assert_eq!(runtime.get("/v1/stats").await["executions"], 1);
    assert_eq!(runtime.ask(Method::DELETE, &format!("/v1/executions/{id}"), "").await.0, StatusCode::NO_CONTENT);
    let Some(ExecEvent::Exit(outcome)) = events.all().await.pop() else { panic!("an exit") };
    assert!(outcome.cancelled && outcome.signal.as_deref() == Some("SIGTERM"), "{outcome:?}");
    assert_eq!(runtime.offspring(), Vec::<String>::new());
    assert_eq!(runtime.ask(Method::DELETE, &format!("/v1/executions/{id}"), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(runtime.get("/v1/stats").await["executions"], 0);
}

#[tokio::test]
async fn whoever_hangs_up_ends_the_program() {
    let runtime = Running::start().await;
    let mut events = Events::of(runtime.begin("", shell("trap '' TERM; echo up; while :; do sleep 1; done")).await);
    events.until_said("up").await;
    drop(events);
    runtime.until_childless().await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_or_stopped_by_its_own_program_changes_nothing() {
    let runtime = Running::start().await;
    let killed = runtime.sh("(setsid sleep 600 &); kill -KILL $PPID; sleep 600").await;
    assert_ne!(killed.outcome.exit_code, 0);
    runtime.until_childless().await;
    let stopped = ExecRequest { timeout_ms: Some(300), ..shell("(setsid sleep 600 &); kill -STOP $PPID; sleep 600") };
    assert_eq!(runtime.run(stopped).await.outcome.exit_code, 124);
    runtime.until_childless().await;
}

#[tokio::test]
async fn long_output_keeps_head_and_tail() {
    let runtime = Running::start().await;
    let ran = runtime.sh("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last; echo short >&2").await;
    assert!(ran.outcome.truncated);
    assert!(ran.stdout.starts_with("first\nxxx") && ran.stdout.ends_with("xxx\nlast\n"));
    assert!(ran.stdout.contains(" bytes left out …]"));
    assert!(ran.stdout.len() < EXECUTION_OUTPUT_BYTES_MAX + 100, "{}", ran.stdout.len());
    assert_eq!(ran.stderr, "short\n");
}

#[tokio::test]
async fn a_flood_is_cut_in_the_middle_and_memory_stays_flat() {
    let runtime = Running::start().await;
    let _warm = runtime.sh("head -c 3000000 /dev/zero | tr '\\0' x").await;
    let before = resident(runtime.pid());
    let flood =
        ExecRequest { timeout_ms: Some(120_000), ..shell("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end") };
    let ran = runtime.run(flood).await;
    assert!(ran.outcome.truncated && ran.stdout.ends_with("xxx\nend\n"), "{:?}", ran.outcome);
    let left_out = 100_000_005 - EXECUTION_OUTPUT_BYTES_MAX;
    assert!(ran.stdout.contains(&format!("[… {left_out} bytes left out …]")));
    let grown = resident(runtime.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "grown by {grown} bytes");
}

#[tokio::test]
async fn input_that_a_program_does_not_read_is_no_failure_and_input_is_bounded() {
    let runtime = Running::start().await;
    let deaf = ExecRequest { stdin: Some("x".repeat(900_000)), ..shell("exec 0<&-; echo fine") };
    let ran = runtime.run(deaf).await;
    assert_eq!((ran.stdout.as_str(), ran.outcome.exit_code), ("fine\n", 0));
    let counted = ExecRequest { stdin: Some("x".repeat(900_000)), ..shell("wc -c") };
    assert_eq!(runtime.run(counted).await.stdout.trim(), "900000");
    let (status, problem) =
        runtime.post("/v1/executions", json!({"argv": ["cat"], "stdin": "x".repeat(2_000_000)})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
}

#[tokio::test]
async fn all_of_the_output_comes_when_all_is_wanted_and_memory_stays_flat() {
    let runtime = Running::start().await;
    let _warm = runtime.sh("true").await;
    let before = resident(runtime.pid());
    let request = ExecRequest { timeout_ms: Some(120_000), ..shell("head -c 100000000 /dev/zero") };
    let mut body = runtime.begin("?output=all", request).await.into_body();
    let (mut on_the_wire, mut last) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let bytes = frame.expect("a frame").into_data().expect("data");
        on_the_wire += bytes.len();
        last.extend_from_slice(bytes.get(bytes.len().saturating_sub(1000)..).unwrap_or(&bytes));
        last.drain(..last.len().saturating_sub(1000));
    }
    let grown = resident(runtime.pid()).saturating_sub(before);
    let last = String::from_utf8(last).expect("text");
    let exit = last.trim_end().rsplit('\n').next().expect("a line");
    let Ok(ExecEvent::Exit(outcome)) = serde_json::from_str(exit) else { panic!("{exit}") };
    assert!(!outcome.truncated && outcome.exit_code == 0, "{outcome:?}");
    // Base64 makes four bytes of three; the rest is what stands around it.
    assert!((133_333_333..140_000_000).contains(&on_the_wire), "{on_the_wire}");
    assert!(grown < 8 << 20, "grown by {grown} bytes");
}

#[tokio::test]
async fn a_flood_that_nobody_reads_is_held_back() {
    let runtime = Running::start().await;
    let request = ExecRequest { timeout_ms: Some(60_000), ..shell("yes") };
    let response = runtime.begin("?output=all", request).await;
    until("the program waits", || async { runtime.waits("yes") }).await;
    assert!(resident(runtime.pid()) < 40 << 20);
    drop(response);
    runtime.until_childless().await;
}

#[tokio::test]
async fn what_a_run_used_is_told() {
    let runtime = Running::start().await;
    let script = "import hashlib\nb = bytearray(80 * 1024 * 1024)\nfor _ in range(3): hashlib.sha256(b).digest()";
    let argv = ["python3", "-c", script].map(str::to_owned).to_vec();
    let used = runtime.run(ExecRequest { argv, ..ExecRequest::default() }).await.outcome;
    assert_eq!(used.exit_code, 0);
    assert!(used.cpu_ms >= 50 && used.duration_ms >= 50, "{used:?}");
    assert!((80 << 20..400 << 20).contains(&used.max_rss_bytes), "{used:?}");
}

#[tokio::test]
async fn there_are_only_so_many_at_once() {
    let runtime = Running::start().await;
    let mut kept = Vec::new();
    for _ in 0..32 {
        let mut events = Events::of(runtime.begin("", shell("echo up; sleep 600")).await);
        events.until_said("up").await;
        kept.push(events);
    }
    let (status, problem) = runtime.post("/v1/executions", json!({"argv": ["true"]})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limited")));
    drop(kept);
    runtime.until_childless().await;
    until("there is room again", || async { runtime.get("/v1/stats").await["executions"] == 0 }).await;
    assert_eq!(runtime.sh("echo again").await.stdout, "again\n");
}

#[tokio::test]
async fn the_count_of_the_control_group_tells_memory_from_a_plain_kill() {
    let counts = tempfile::tempdir().expect("a directory");
    let count = counts.path().join("memory.events");
    std::fs::write(&count, "oom 0\noom_kill 3\n").expect("a count");
    let cgroup = counts.path().display().to_string();
    let runtime = Running::start_with(&[("REEVE_RUNTIME_CGROUPS", &cgroup)]).await;
    assert!(!runtime.sh("kill -KILL $$").await.outcome.out_of_memory);
    let mut happening = Events::of(runtime.begin("", shell("until [ -e go ]; do :; done; kill -KILL $$")).await);
    let Some(started @ ExecEvent::Start { .. }) = happening.next().await else { panic!("a start") };
    std::fs::write(&count, "oom 1\noom_kill 4\n").expect("a count");
    runtime.write("go", "");
    let ran = Ran::of(std::iter::once(started).chain(happening.all().await).collect());
    assert!(ran.outcome.out_of_memory && ran.outcome.signal.as_deref() == Some("SIGKILL"), "{:?}", ran.outcome);
    assert_eq!(runtime.get("/v1/stats").await["out_of_memory"], 4);
}

/// A control group of its own below the kernel's memory controller. Removed when dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn of(bytes: u64) -> Option<Self> {
        let name = format!("reeve-runtime-test-{:x}", rand::random::<u64>());
        let v1 = std::path::Path::new("/sys/fs/cgroup/memory");
        let (above, limit) = if v1.is_dir() { (v1, "memory.limit_in_bytes") } else { (v1.parent()?, "memory.max") };
        let group = Self(above.join(name));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        // Where there is swap, it is no way out.
        for swap in ["memory.memsw.limit_in_bytes", "memory.swap.max"] {
            let _none =
                std::fs::write(group.0.join(swap), if swap.ends_with("max") { "0".into() } else { bytes.to_string() });
        }
        Some(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn a_memory_bomb_is_ended_by_the_kernel_and_called_what_it_is() {
    let Some(group) = MemoryGroup::of(96 << 20) else {
        println!("skipped: no control group for memory can be made here");
        return;
    };
    let path = group.0.display().to_string();
    let before = [env!("CARGO_BIN_EXE_reeve-runtime"), "confine", "--cgroup", &path, "--"];
    let runtime = Running::start_prepared(&before, &[("REEVE_RUNTIME_CGROUPS", &path)], |_| {}).await;
    let bomb = "b = []\nwhile True: b.append(bytearray(4 * 1024 * 1024))";
    let argv = ["python3", "-c", bomb].map(str::to_owned).to_vec();
    let outcome = runtime.run(ExecRequest { argv, ..ExecRequest::default() }).await.outcome;
    assert!(outcome.out_of_memory && outcome.signal.as_deref() == Some("SIGKILL"), "{outcome:?}");
    assert_eq!(outcome.exit_code, 137);
    assert!(outcome.max_rss_bytes > 32 << 20, "{outcome:?}");
    let plain = runtime.sh("kill -KILL $$").await.outcome;
    assert!(!plain.out_of_memory, "a plain kill afterwards is a plain kill: {plain:?}");
    runtime.terminate().await;
    drop(group);
}
