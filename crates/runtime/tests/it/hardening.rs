//! Who may ask, what the runtime gives up, and how it ends.

use std::process::Command;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::running::{Events, Running, SOON, TOKEN, resident, shell, until};
use crate::terminals_shared::{Viewer, open};

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let runtime = Running::start().await;
    let paths = [
        "/v1/stat",
        "/v1/tree",
        "/v1/content",
        "/v1/operations",
        "/v1/trash",
        "/v1/history",
        "/v1/history/content",
        "/v1/search",
        "/v1/archive",
        "/v1/extract",
        "/v1/watch",
        "/v1/uploads",
        "/v1/languages",
        "/v1/executions",
        "/v1/terminals",
        "/v1/ports",
        "/v1/dial",
        "/v1/stats",
        "/v1/nothing",
        "/exec",
        "/execute",
        "/list",
        "/download/x",
        "/download_many",
        "/manifest",
        "/write_b64",
        "/hot-restart",
        "/nothing",
    ];
    for path in paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            for wrong in [None, Some(String::new()), Some(format!("Bearer {TOKEN}x")), Some(TOKEN.to_owned())] {
                let mut request = runtime.request(method.clone(), path, "{}");
                request.headers_mut().remove("authorization");
                if let Some(wrong) = &wrong {
                    request.headers_mut().insert("authorization", wrong.parse().expect("a value"));
                }
                assert_eq!(runtime.send(request).await.status(), StatusCode::UNAUTHORIZED, "{method} {path} {wrong:?}");
            }
        }
    }
    let mut request = runtime.request(Method::GET, "/healthz", "");
    request.headers_mut().remove("authorization");
    assert_eq!(runtime.send(request).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_there_and_what_does_not_fit_is_said() {
    let runtime = Running::start().await;
    assert_eq!(runtime.ask(Method::GET, "/v1/nothing", "").await.1["code"], "not_found");
    assert_eq!(runtime.ask(Method::GET, "/v1/terminals/x/y/z", "").await.1["code"], "not_found");
    assert_eq!(runtime.ask(Method::DELETE, "/v1/stat", "").await.1["code"], "method_not_allowed");
    assert_eq!(runtime.ask(Method::GET, "/v1/executions", "").await.1["code"], "method_not_allowed");
    assert_eq!(runtime.ask(Method::DELETE, "/v1/terminals/trm_%", "").await.1["code"], "bad_request");
    assert_eq!(runtime.post("/v1/tree", json!("x")).await.1["code"], "bad_request");
}

#[tokio::test]
async fn headers_are_bounded() {
    let runtime = Running::start().await;
    let mut stream = UnixStream::connect(runtime.socket()).await.expect("a connection");
    let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(200_000));
    let sending = async { stream.write_all(head.as_bytes()).await };
    let _cut_off = tokio::time::timeout(SOON, sending).await.expect("in time");
    let mut answer = String::new();
    let _cut_off = tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(runtime.get("/healthz").await["status"], "ok");
}

/// A directory of the test's where programs of a workspace have no business: wherever the project is, it is not there.
fn a_directory_outside() -> tempfile::TempDir {
    let theirs = ["/tmp", "/var/tmp", "/home", "/dev/shm"];
    let own = format!("/run/user/{}", rustix::process::getuid().as_raw());
    let places = [env!("CARGO_TARGET_TMPDIR"), "/run", &own, "/var/lib", "/srv"];
    let mut places = places.into_iter().filter(|place| !theirs.iter().any(|one| place.starts_with(one)));
    places.find_map(|place| tempfile::tempdir_in(place).ok()).expect("a directory outside of what programs may write")
}

#[tokio::test]
async fn writes_outside_are_denied_where_the_kernel_has_landlock() {
    let outside = a_directory_outside();
    let runtime = Running::start().await;
    let holds = runtime.get("/healthz").await["landlock"] == true;
    let file = outside.path().join("x").display().to_string();
    let script = format!(
        "echo x > {file}; echo in > here && cat here; echo t > /tmp/$$ && rm /tmp/$$; echo n > /dev/null; head -1 /etc/passwd | wc -l"
    );
    let ran = runtime.sh(&script).await;
    assert_eq!(outside.path().join("x").exists(), !holds, "{}", ran.stderr);
    assert_eq!(ran.stdout.split_whitespace().collect::<Vec<_>>(), ["in", "1"], "{}", ran.stderr);
    let status = runtime.sh("grep NoNewPrivs /proc/self/status; ulimit -c").await.stdout;
    assert_eq!(status.split_whitespace().collect::<Vec<_>>(), ["NoNewPrivs:", "1", "0"]);
}

#[tokio::test]
async fn it_does_not_start_without_a_token() {
    for token in ["", "short"] {
        let output = Command::new(env!("CARGO_BIN_EXE_reeve-runtime")).env("REEVE_RUNTIME_TOKEN", token).output();
        let output = output.expect("it ran");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("REEVE_RUNTIME_TOKEN must hold a secret"));
    }
}

#[tokio::test]
async fn told_to_end_it_ends_everything_within_three_seconds() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.type_in("(trap '' HUP TERM; setsid sleep 600) & echo u''p\n").await;
    viewer.until("up").await;
    let mut events = Events::of(runtime.begin("", shell("trap '' TERM; echo up; while :; do sleep 1; done")).await);
    events.until_said("up").await;
    let offspring = runtime.offspring();
    assert!(offspring.len() >= 3, "two shells and what lies behind one of them: {offspring:?}");
    assert!(runtime.terminate().await < Duration::from_secs(3));
    until("nothing of it lives", || async { !offspring.iter().any(|one| alive(one)) }).await;
}

fn alive(one: &str) -> bool {
    let pid = one.split(' ').next().unwrap_or_default();
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn killed_outright_it_takes_everything_with_it() {
    let runtime = Running::start().await;
    let mut events = Events::of(runtime.begin("", shell("(setsid sleep 600 &); echo up; sleep 600")).await);
    events.until_said("up").await;
    runtime.kill();
    runtime.until_childless().await;
}

#[tokio::test]
async fn as_the_first_process_of_a_namespace_it_reaps_whatever_is_lost() {
    let before = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
    let may = Command::new(before[0]).args(&before[1..]).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: only root can make a namespace for processes here");
        return;
    }
    let runtime = Running::start_prepared(&before, &[], |_| {}).await;
    assert_eq!(runtime.get("/healthz").await["pid"], 1);
    let lost =
        "(setsid setsid sleep 600 &); (setsid sh -c 'trap \"\" TERM HUP; sleep 601; sleep 602' &); kill -KILL $PPID";
    assert_ne!(runtime.sh(lost).await.outcome.exit_code, 0);
    until("only the runtime is left", || async {
        runtime.offspring().iter().all(|one| one.ends_with(" reeve-runtime"))
    })
    .await;
    let counted = "cat /proc/[0-9]*/stat | grep -c ') Z '";
    assert_eq!(runtime.sh(counted).await.stdout, "0\n", "no zombie is left");
    assert_eq!(runtime.sh("echo fine").await.stdout, "fine\n");
}

#[tokio::test]
async fn what_starting_costs_is_printed() {
    let began = Instant::now();
    let runtime = Running::start().await;
    let started = began.elapsed();
    let began = Instant::now();
    assert_eq!(runtime.sh("echo x").await.stdout, "x\n");
    let first = began.elapsed();
    let began = Instant::now();
    for _ in 0..20 {
        runtime
            .run(reeve_types::workspace::processes::ExecRequest { argv: vec!["true".to_owned()], ..Default::default() })
            .await;
    }
    let memory = resident(runtime.pid());
    println!(
        "started in {started:?}, first command {first:?}, each further {:?}, {memory} bytes",
        began.elapsed() / 20
    );
    if !cfg!(debug_assertions) {
        assert!(memory < 10_000_000, "{memory}");
    }
}

#[test]
fn confine_joins_limits_and_gives_up_what_it_may() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let groups = tempfile::tempdir().expect("a directory");
    std::fs::write(groups.path().join("cgroup.procs"), "").expect("a file");
    let group = groups.path().display().to_string();
    let words = ["confine", "--cgroup", &group, "--rlimit", "nofile=100:200", "--uid", "12345", "--gid", "12346", "--"];
    let script = "id -u; id -g; id -G; ulimit -Sn; ulimit -Hn";
    let output = Command::new(env!("CARGO_BIN_EXE_reeve-runtime")).args(words).args(["sh", "-c", script]).output();
    let said = String::from_utf8(output.expect("it ran").stdout).expect("text");
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["12345", "12346", "12346", "100", "200"]);
    assert_eq!(std::fs::read_to_string(groups.path().join("cgroup.procs")).expect("read"), "0");
    let output = Command::new(env!("CARGO_BIN_EXE_reeve-runtime"))
        .args(["confine", "--cgroup", "/no/such", "--", "id"])
        .output();
    let output = output.expect("it ran");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), b"".as_slice()));
}
