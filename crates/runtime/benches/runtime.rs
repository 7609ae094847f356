//! What a runtime costs: from its start to its first healthy answer, its memory at rest and after work, a program's start,
//! an echo of a keystroke, an interrupt, a flood through a terminal, a small file read and saved.
//!
//! `cargo bench -p reeve-runtime`. It prints figures and never fails. `REEVE_BENCH_ROUNDS` scales the counts (100 unless
//! given).
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run stops")]

#[allow(dead_code, reason = "tests use more of it")]
#[path = "../tests/it/running.rs"]
mod running;
#[allow(dead_code, reason = "tests use more of it")]
#[path = "../tests/it/terminals_shared.rs"]
mod terminals_shared;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use reeve_types::Digest;
use reeve_types::workspace::files::SaveFile;
use reeve_types::workspace::processes::{ExecRequest, TerminalInput};
use running::{Running, resident};
use serde_json::json;
use terminals_shared::{Viewer, open};
use tokio::net::UnixStream;

fn main() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rounds = std::env::var("REEVE_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    println!("{:<52} {:>10} {:>10} {:>10}", "", "median", "p95", "p99");
    tokio.block_on(async {
        starts(rounds / 2).await;
        programs(rounds).await;
        echoes(rounds * 10).await;
        interrupts(rounds / 5).await;
        files(rounds * 5).await;
        floods().await;
    });
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!("{what:<52} {:>7.3} ms {:>7.3} ms {:>7.3} ms", at(50), at(95), at(99));
}

fn memory(what: &str, runtime: &Running) {
    println!("{what:<52} {:>7.2} MB", resident(runtime.pid()) as f64 / 1e6);
}

async fn starts(rounds: usize) {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut began = Instant::now();
        let runtime = Running::start_prepared(&[], &[], |_| began = Instant::now()).await;
        runtime.get("/healthz").await;
        times.push(began.elapsed());
    }
    told("start to the first healthy answer", times);
}

async fn programs(rounds: usize) {
    let runtime = Running::start().await;
    runtime.get("/healthz").await;
    memory("memory at rest", &runtime);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        runtime.run(ExecRequest { argv: vec!["true".to_owned()], ..ExecRequest::default() }).await;
        times.push(began.elapsed());
    }
    told("`true`, from the request to its exit", times);
    memory("memory after so many programs", &runtime);
}

async fn echoes(rounds: usize) {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({ "argv": ["cat"] })).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        viewer.type_in("x").await;
        viewer.bytes().await;
        times.push(began.elapsed());
        if times.len() % 64 == 0 {
            viewer.type_in("\x15").await;
            viewer.bytes().await;
        }
    }
    told("echo of a keystroke", times);
    memory("memory with a terminal", &runtime);
}

/// From the key to the last word of the terminal, with all that was written before it.
async fn interrupts(rounds: usize) {
    let runtime = Running::start().await;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let id = open(&runtime, json!({ "argv": ["yes"] })).await;
        let mut viewer = Viewer::attach(&runtime, &id).await;
        viewer.skip(2_000_000).await;
        let began = Instant::now();
        viewer.type_in("\x03").await;
        viewer.until_exit().await;
        times.push(began.elapsed());
    }
    told("Ctrl-C under a flood, to the terminal's last word", times);
}

async fn floods() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({ "argv": ["sh", "-c", "read x; head -c 100000000 /dev/zero; read x"] })).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.control(&TerminalInput::Ack { bytes: 0 }).await;
    viewer.type_in("\n").await;
    let (began, mut seen) = (Instant::now(), 0);
    while seen < 100_000_000 {
        seen += viewer.bytes().await.len();
        viewer.acknowledge().await;
    }
    let took = began.elapsed();
    println!("{:<52} {:>7.0} MB/s", "100 MB through a terminal", seen as f64 / 1e6 / took.as_secs_f64());
    memory("memory after it", &runtime);
}

/// As a client of the runtime asks: many requests on one connection.
async fn files(rounds: usize) {
    let runtime = Running::start().await;
    let stream = UnixStream::connect(runtime.socket()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (mut saves, mut reads) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let content: Vec<u8> = format!("{round:>10}").repeat(1024).into_bytes();
        let save = SaveFile {
            path: "file.txt".parse().unwrap(),
            sha256: Digest::of(&content),
            size: content.len() as u64,
            if_match: None,
            if_none_match: false,
            create_parents: false,
            origin: None,
        };
        let mut request = runtime.request(Method::PUT, "/v1/content", content);
        request.headers_mut().insert("x-reeve-save", serde_json::to_string(&save).unwrap().parse().unwrap());
        saves.push(timed(&mut sender, request).await);
        reads.push(timed(&mut sender, runtime.request(Method::GET, "/v1/content?path=file.txt", "")).await);
    }
    told("10 kB saved, on disk when it is answered", saves);
    told("10 kB read", reads);
}

async fn timed(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Duration {
    let began = Instant::now();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body().collect().await.unwrap();
    began.elapsed()
}
