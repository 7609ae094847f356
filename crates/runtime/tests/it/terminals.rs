//! Terminals: a shell in a real pseudo-terminal, from opening to the end of everything in it.

use std::time::Duration;

use hyper::{Method, StatusCode};
use reeve_types::workspace::processes::{TerminalInput, TerminalOutput};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::running::{Running, resident, until};
use crate::terminals_shared::{Viewer, open};

#[tokio::test]
async fn a_shell_echoes_what_is_typed_and_tells_its_exit_code() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    assert!(
        matches!(&viewer.ready, TerminalOutput::Ready { cols: 80, rows: 24, resumed: false, .. }),
        "{:?}",
        viewer.ready
    );
    viewer.type_in("echo $((6*7)) $TERM $COLORTERM; tty; echo täst | od -c | head -1\n").await;
    let screen = viewer.until("303 244").await;
    assert!(screen.contains("42 xterm-256color truecolor") && screen.contains("/dev/pts/"), "{screen}");
    viewer.type_in("exit 7\n").await;
    assert_eq!(viewer.until_exit().await, 7);
    until("it is gone", || async { runtime.get("/v1/terminals").await == json!([]) }).await;
    runtime.until_childless().await;
}

#[tokio::test]
async fn it_is_a_login_shell_with_job_control_and_without_what_is_the_runtimes() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("shopt -q login_shell && echo log''in; echo $-; env | grep -c '^REEVE'; ps -o tpgid= -p $$\n").await;
    viewer.type_in("sleep 600 & jobs; echo do''ne\n").await;
    let screen = viewer.until("done").await;
    assert!(screen.contains("\nlogin") && screen.contains("\n0\r"), "{screen}");
    assert!(!screen.contains("no job control") && screen.contains("[1]+  Running"), "{screen}");
}

#[tokio::test]
async fn a_new_size_is_seen_by_the_program() {
    let runtime = Running::start().await;
    let script = "trap 'stty size' WINCH; stty size; sleep 600 & while :; do wait; done";
    let id = open(&runtime, json!({"cols": 100, "rows": 30, "argv": ["bash", "-c", script]})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.until("30 100").await;
    viewer.control(&TerminalInput::Resize { cols: 1, rows: 50 }).await;
    assert!(matches!(viewer.word().await, TerminalOutput::Error { .. }));
    viewer.control(&TerminalInput::Resize { cols: 132, rows: 50 }).await;
    viewer.until("50 132").await;
    let listed = runtime.get("/v1/terminals").await;
    assert_eq!((&listed[0]["cols"], &listed[0]["rows"], &listed[0]["attached"]), (&json!(132), &json!(50), &json!(1)));
}

#[tokio::test]
async fn an_interrupt_is_prompt_under_a_flood() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("yes\n").await;
    viewer.skip(5_000_000).await;
    let began = Instant::now();
    viewer.type_in("\x03").await;
    viewer.until("^C").await;
    viewer.type_in("echo al''ive\n").await;
    viewer.until("alive").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_interrupt_is_prompt_when_whoever_looks_reads_nothing() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("yes\n").await;
    until("the flood is held back", || async { runtime.waits("yes") }).await;
    let began = Instant::now();
    viewer.type_in("\x03").await;
    until("the shell is in front again", || async { runtime.get("/v1/terminals").await[0]["title"] == "bash" }).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(resident(runtime.pid()) < 40 << 20);
}

#[tokio::test]
async fn an_interrupt_comes_through_when_the_program_reads_nothing() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("stty -echo -icanon; sleep 600; stty sane; echo fr''ee\n").await;
    until("sleep is in front", || async { runtime.get("/v1/terminals").await[0]["title"] == "sleep" }).await;
    viewer.type_in(&"x".repeat(700_000)).await;
    viewer.type_in("\x03").await;
    viewer.type_in("\nstty sane; echo ba''ck\n").await;
    viewer.until("back").await;
}

#[tokio::test]
async fn a_hundred_megabytes_pass_without_a_byte_lost_and_without_memory() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("stty -opost; PS1=; head -c 1000000 /dev/zero | tr '\\0' y; echo; echo sta''rt\n").await;
    viewer.until("start").await;
    let before = resident(runtime.pid());
    viewer.type_in("head -c 100000000 /dev/zero | tr '\\0' '\\176'; echo; echo fi''nished\n").await;
    let mut counted = 0usize;
    let mut tail = Vec::new();
    while !tail.windows(8).any(|window| window == b"finished") {
        let bytes = viewer.bytes().await;
        counted += bytes.iter().filter(|byte| **byte == b'~').count();
        tail.extend_from_slice(&bytes);
        tail.drain(..tail.len().saturating_sub(64));
        viewer.acknowledge().await;
    }
    let grown = resident(runtime.pid()).saturating_sub(before);
    assert_eq!(counted, 100_000_000);
    assert!(grown < 8 << 20, "grown by {grown} bytes");
}

#[tokio::test]
async fn a_viewer_that_acknowledges_is_sent_no_more_than_a_window() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.control(&TerminalInput::Ack { bytes: 1 }).await;
    viewer.type_in("yes\n").await;
    let mut received = 0;
    while let Some(bytes) = viewer.bytes_within(Duration::from_millis(500)).await {
        received += bytes.len();
        assert!(received < 1 << 20, "the window is bounded");
    }
    assert!(received > 100_000, "{received}");
    viewer.acknowledge().await;
    assert!(!viewer.bytes().await.is_empty(), "it goes on when what was sent was shown");
}

#[tokio::test]
async fn what_is_replayed_counts_as_sent_until_it_is_shown() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("seq 200000; echo e''nd\n").await;
    viewer.until("\nend").await;
    drop(viewer);
    let mut again = Viewer::attach(&runtime, &id).await;
    again.control(&TerminalInput::Ack { bytes: 0 }).await;
    let mut received = 0;
    while let Some(bytes) = again.bytes_within(Duration::from_millis(500)).await {
        received += bytes.len();
    }
    assert!((400_000..=512 * 1024).contains(&received), "a window of the replay, and no more: {received}");
    again.control(&TerminalInput::Ack { bytes: 300_000 }).await;
    let mut more = 0;
    while let Some(bytes) = again.bytes_within(Duration::from_millis(500)).await {
        more += bytes.len();
    }
    assert!((1..=300_000).contains(&more), "as much more as was shown: {more}");
}

#[tokio::test]
async fn closing_the_browser_leaves_it_alone_and_coming_back_shows_the_last_of_it() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("PS1='$ '; export KEPT=value; seq 200000; echo e''nd\n").await;
    viewer.until("\nend").await;
    drop(viewer);
    until("nobody looks", || async { runtime.get("/v1/terminals").await[0]["attached"] == 0 }).await;
    let mut again = Viewer::attach(&runtime, &id).await;
    assert!(matches!(again.ready, TerminalOutput::Ready { resumed: true, .. }));
    let replay = again.until("\nend").await;
    assert!((900_000..=1_048_576).contains(&replay.len()), "{}", replay.len());
    assert!(replay.contains("\n199999\r\n200000\r\n"));
    let first = replay.lines().next().unwrap_or_default();
    assert!(first.parse::<u32>().is_ok(), "it begins with a whole line: {first:?}");
    again.type_in("echo $KEPT\n").await;
    again.until("\nvalue").await;
}

#[tokio::test]
async fn what_a_flood_writes_while_nobody_looks_goes_by() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("head -c 30000000 /dev/zero | tr '\\0' y; echo o''ver\n").await;
    viewer.until("yyyy").await;
    drop(viewer);
    let mut again = Viewer::attach(&runtime, &id).await;
    again.until("over").await;
    assert!(resident(runtime.pid()) < 40 << 20);
}

#[tokio::test]
async fn several_look_at_one_and_all_see_the_same() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut one = Viewer::attach(&runtime, &id).await;
    let mut two = Viewer::attach(&runtime, &id).await;
    assert_eq!(runtime.get("/v1/terminals").await[0]["attached"], 2);
    one.type_in("echo from-$((1))\n").await;
    two.until("from-1").await;
    two.type_in("echo from-$((2))\n").await;
    one.until("from-2").await;
}

#[tokio::test]
async fn signals_and_pings_are_answered() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.control(&TerminalInput::Ping { t: 7 }).await;
    assert_eq!(viewer.word().await, TerminalOutput::Pong { t: 7 });
    viewer.type_in("sleep 600; echo code-$?\n").await;
    until("sleep is in front", || async { runtime.get("/v1/terminals").await[0]["title"] == "sleep" }).await;
    viewer.control(&TerminalInput::Signal { name: "SIGTERM".to_owned() }).await;
    viewer.until("code-143").await;
    viewer.control(&TerminalInput::Signal { name: "SIGSTOP".to_owned() }).await;
    assert!(matches!(viewer.word().await, TerminalOutput::Error { .. }));
}

#[tokio::test]
async fn closing_ends_everything_that_was_started_in_it() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer
        .type_in("nohup sleep 600 & setsid -f sleep 601; (trap '' HUP TERM; sleep 602; sleep 603) & echo u''p\n")
        .await;
    viewer.until("up").await;
    assert_eq!(runtime.ask(Method::DELETE, &format!("/v1/terminals/{id}"), "").await.0, StatusCode::NO_CONTENT);
    viewer.until_exit().await;
    runtime.until_childless().await;
    assert_eq!(runtime.get("/v1/terminals").await, json!([]));
    assert_eq!(runtime.ask(Method::DELETE, &format!("/v1/terminals/{id}"), "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_program_of_ones_own_runs_in_it_and_a_missing_one_is_127() {
    let runtime = Running::start().await;
    runtime.write("sub/x", "");
    let id = open(&runtime, json!({"argv": ["sh", "-c", "read line; pwd; exit 3"], "cwd": "sub"})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("go\n").await;
    viewer.until("/sub").await;
    assert_eq!(viewer.until_exit().await, 3);
    let id = open(&runtime, json!({"argv": ["no-such-program"]})).await;
    if let Some(mut viewer) = Viewer::try_attach(&runtime, &id).await {
        assert_eq!(viewer.until_exit().await, 127);
    }
}

#[tokio::test]
async fn there_are_only_so_many_and_only_of_sane_sizes() {
    let runtime = Running::start().await;
    for size in [json!({"cols": 1}), json!({"cols": 501}), json!({"rows": 0}), json!({"rows": 301})] {
        assert_eq!(runtime.post("/v1/terminals", size.clone()).await.0, StatusCode::BAD_REQUEST, "{size}");
    }
    let mut ids: Vec<Value> = Vec::new();
    for _ in 0..8 {
        ids.push(json!(open(&runtime, json!({"argv": ["sleep", "600"]})).await));
    }
    let (status, problem) = runtime.post("/v1/terminals", json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limited")));
    assert_eq!(runtime.get("/v1/stats").await["terminals"], 8);
    let listed = runtime.get("/v1/terminals").await;
    assert_eq!(listed.as_array().expect("terminals").iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn what_is_no_frame_ends_the_view_and_not_the_terminal() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    for frame in [&[9u8, 0, 0, 0, 1, 0][..], &[0, 0xff, 0xff, 0xff, 0xff], &[1, 0, 1, 0, 1]] {
        let mut viewer = Viewer::attach(&runtime, &id).await;
        viewer.raw(frame).await;
        viewer.until_closed().await;
    }
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.raw(&[1, 0, 0, 0, 1, b'x']).await;
    assert!(matches!(viewer.word().await, TerminalOutput::Error { .. }));
    viewer.type_in("echo al''ive\n").await;
    viewer.until("alive").await;
}
