//! Figures of sessions: reading, making, following, resuming. Prints, never fails.
//!
//! `cargo bench -p reeve --bench sessions`. `REEVE_BENCH_ONLY` runs one part: `reads`, `create`, `follow`, `crowd`, `resume`,
//! `idle` or `agents`. `REEVE_BENCH_CLIENTS` says how many follow at once in `crowd` (10,000 unless set; each takes a descriptor here
//! and one in the server).
//!
//! Callers and server share this machine's processors.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod live_agents;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reeve_gate::SystemClock;
use reeve_store::{SessionChange, Store};
use reeve_types::session::Happening;
use reeve_types::{SessionId, TenantId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
const CALLERS: usize = 16;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let only = std::env::var("REEVE_BENCH_ONLY").unwrap_or_default();
    let wants = |part: &str| only.is_empty() || only == part;
    for (part, run) in [
        ("reads", reads as fn() -> Outcome<()>),
        ("create", create),
        ("follow", follow),
        ("crowd", crowd),
        ("resume", resume),
        ("idle", idle),
        ("agents", live_agents::agents),
    ] {
        if wants(part) {
            run()?;
        }
    }
    Ok(())
}

/// A server with a directory of its own.
struct Server {
    child: Child,
    address: String,
    token: String,
    data: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(data: &Path) -> Outcome<Self> {
        Self::start_with(data, &[("REEVE_WORKSPACES_DRIVER", "none")])
    }

    fn start_with(data: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        let mut child = Command::new(REEVE)
            .args(["up", "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", data)
            .env("PATH", "/usr/bin:/bin")
            .env("REEVE_DATA_DIR", data)
            .envs(settings.iter().copied())
            .env("REEVE_SSE_MAX_PER_CALLER", "50000")
            .env("REEVE_SSE_MAX_CONNECTIONS", "50000")
            .env("REEVE_LIMITS_KEY_CALLS_PER_MINUTE", "0")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let log = child.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let url = loop {
            let line = lines.next().ok_or("the server ended")??;
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([',', ' ', '"']).next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(data.join("admin.token"))?.trim().to_owned();
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Self { child, address, token, data: data.to_owned() })
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let body = body.map(Value::to_string).unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        )
    }

    fn caller(&self) -> Outcome<Caller> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let mut caller = self.caller()?;
        caller.ask(&self.request(method, path, body))?;
        Ok(serde_json::from_slice(&caller.body)?)
    }

    fn new_session(&self, title: &str) -> Outcome<SessionId> {
        let made = self.ask("POST", "/api/v1/sessions", Some(&json!({"agent": "general", "title": title})))?;
        Ok(made["id"].as_str().ok_or_else(|| format!("no session: {made}"))?.parse()?)
    }

    fn resident_kb(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
    }
}

/// A bare socket, so that what is measured is the server and not a client library.
struct Caller {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Caller {
    fn ask(&mut self, request: &str) -> Outcome<()> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        for number in 0.. {
            self.line.clear();
            self.stream.read_line(&mut self.line)?;
            match self.line.trim_end().split_once(": ") {
                _ if number == 0 && self.line.contains(" 20") => {}
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
                Some(_) => {}
                None if number > 0 && self.line == "\r\n" => break,
                None => return Err(format!("answered with {}", self.line).into()),
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(())
    }
}

fn told(what: &str, mut times: Vec<Duration>, took: Duration) {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 1000).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let rate = times.len() as f64 / took.as_secs_f64();
    println!("{what:<52} {rate:>8.0}/s  p50 {:>7.2}  p99 {:>7.2} ms", at(500), at(990));
}

fn reads() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    for n in 0..21 {
        server.new_session(&format!("session {n}"))?;
    }
    for (what, path) in [
        ("GET /v1/health, 16 connections", "/v1/health"),
        ("GET /v1/sessions, 21 sessions, 16 connections", "/v1/sessions?limit=50"),
    ] {
        let request = server.request("GET", path, None);
        let round = |rounds: usize| -> Outcome<Vec<Duration>> {
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..CALLERS)
                    .map(|_| {
                        scope.spawn(|| -> Outcome<Vec<Duration>> {
                            let mut caller = server.caller()?;
                            (0..rounds)
                                .map(|_| {
                                    let asked = Instant::now();
                                    caller.ask(&request)?;
                                    Ok(asked.elapsed())
                                })
                                .collect()
                        })
                    })
                    .collect();
                let mut times = Vec::new();
                for caller in callers {
                    times.extend(caller.join().map_err(|_| "a caller failed")??);
                }
                Ok(times)
            })
        };
        round(200)?;
        let begun = Instant::now();
        told(what, round(2000)?, begun.elapsed());
    }
    Ok(())
}

fn create() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    let request = server.request("POST", "/api/v1/sessions", Some(&json!({"agent": "general", "title": "a session"})));
    let mut caller = server.caller()?;
    for _ in 0..50 {
        caller.ask(&request)?;
    }
    let begun = Instant::now();
    let times: Outcome<Vec<Duration>> = (0..1000)
        .map(|_| {
            let asked = Instant::now();
            caller.ask(&request)?;
            Ok(asked.elapsed())
        })
        .collect();
    told("session created, no model, one after another", times?, begun.elapsed());
    Ok(())
}

/// One client that follows one session: from the moment an event is made to the moment it is read.
fn follow() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    let id = server.new_session("followed")?;
    let stream = TcpStream::connect(&server.address)?;
    let mut reader = BufReader::new(stream);
    reader.get_mut().write_all(follow_request(&server, &id, 1).as_bytes())?;
    let mut line = String::new();
    while !line.contains("connected") {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut caller = server.caller()?;
    let mut times = Vec::new();
    let begun = Instant::now();
    for n in 0..1000 {
        let body = json!({"title": format!("title {n}")});
        caller.ask(&server.request("PATCH", &format!("/api/v1/sessions/{id}"), Some(&body)))?;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(late) = lateness(&line)? {
                times.push(late);
                break;
            }
        }
    }
    told("event appended to read by a client (SSE)", times, begun.elapsed());
    Ok(())
}

fn follow_request(server: &Server, id: &SessionId, after: u64) -> String {
    format!(
        "GET /api/v1/sessions/{id}/events?after={after} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Accept: text/event-stream\r\n\r\n",
        server.address, server.token
    )
}

/// How old the event of a line is, when the line is one.
fn lateness(line: &str) -> Outcome<Option<Duration>> {
    let Some(data) = line.trim_end().strip_prefix("data: ") else { return Ok(None) };
    let event: Value = serde_json::from_str(data)?;
    let Some(at) = event["at"].as_str() else { return Ok(None) };
    let at: jiff::Timestamp = at.parse()?;
    Ok(Some(Duration::try_from(jiff::Timestamp::now().duration_since(at)).unwrap_or_default()))
}

/// Ten thousand clients on a hundred sessions, a hundred events a second in all.
fn crowd() -> Outcome<()> {
    const SESSIONS: usize = 100;
    const EVENTS: usize = 1000;
    let clients: usize = std::env::var("REEVE_BENCH_CLIENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    let ids: Vec<SessionId> = (0..SESSIONS).map(|n| server.new_session(&format!("s{n}"))).collect::<Outcome<_>>()?;
    let before = server.resident_kb()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let seen = Arc::new(AtomicU64::new(0));
    let joined = Arc::new(AtomicU64::new(0));
    let times = Arc::new(std::sync::Mutex::new(Vec::<u32>::with_capacity(clients * EVENTS / SESSIONS)));
    for n in 0..clients {
        let request = follow_request(&server, &ids[n % SESSIONS], 1);
        let (address, seen, joined, times) = (server.address.clone(), seen.clone(), joined.clone(), times.clone());
        runtime.spawn(async move {
            let Ok(stream) = tokio::net::TcpStream::connect(address).await else { return };
            let mut reader = tokio::io::BufReader::with_capacity(2048, stream);
            if reader.get_mut().write_all(request.as_bytes()).await.is_err() {
                return;
            }
            let mut line = String::new();
            loop {
                line.clear();
                match reader.read_line(&mut line).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line.contains("\"connected\"") => drop(joined.fetch_add(1, Ordering::Relaxed)),
                    Ok(_) => {
                        if let Ok(Some(late)) = lateness(&line) {
                            seen.fetch_add(1, Ordering::Relaxed);
                            if let Ok(mut times) = times.lock() {
                                times.push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
                            }
                        }
                    }
                }
            }
        });
        if n % 200 == 199 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while joined.load(Ordering::Relaxed) < clients as u64 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{} of {clients} clients follow {SESSIONS} sessions", joined.load(Ordering::Relaxed));
    let memory = (server.resident_kb()? - before) / clients as f64;
    let mut caller = server.caller()?;
    let begun = Instant::now();
    for n in 0..EVENTS {
        let body = json!({"title": format!("title {n}")});
        caller.ask(&server.request("PATCH", &format!("/api/v1/sessions/{}", ids[n % SESSIONS]), Some(&body)))?;
        let due = Duration::from_millis(10) * u32::try_from(n + 1).unwrap_or(0);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let took = begun.elapsed();
    let wanted = (clients * EVENTS / SESSIONS) as u64;
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("delivered {} of {wanted}; server memory {memory:.1} kB for each client", seen.load(Ordering::Relaxed));
    let times = times.lock().map_err(|_| "no times")?;
    let times = times.iter().map(|us| Duration::from_micros(u64::from(*us))).collect();
    told(&format!("event to each of {clients} clients"), times, took);
    runtime.shutdown_background();
    Ok(())
}

/// A session of 100,000 events, taken up from the middle.
fn resume() -> Outcome<()> {
    const EVENTS: u64 = 100_000;
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let server = Server::start(&data)?;
    let id = server.new_session("long")?;
    drop(server);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let store = Store::open(&data, Arc::new(SystemClock))?;
        let tenant = TenantId::default_tenant();
        for _ in 0..EVENTS / 1000 {
            let change = store.alter_session(&tenant, &id, jiff::Timestamp::now(), |_, events| {
                let text = "words of an answer of the length that such a piece has".to_owned();
                events.extend((0..1000).map(|_| Happening::Delta { turn: 1, text: text.clone() }));
                Ok(())
            });
            assert!(matches!(change.await?, SessionChange::Done { .. }));
        }
        store.close().await;
        Outcome::Ok(())
    })?;
    let server = Server::start(&data)?;
    let mut times = Vec::new();
    let begun = Instant::now();
    for _ in 0..50 {
        let asked = Instant::now();
        let mut reader = BufReader::new(TcpStream::connect(&server.address)?);
        reader.get_mut().write_all(follow_request(&server, &id, EVENTS / 2).as_bytes())?;
        let mut line = String::new();
        while !line.contains("\"delta\"") {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err("the stream ended".into());
            }
        }
        times.push(asked.elapsed());
    }
    told("first event of 100,000, from the middle", times, begun.elapsed());
    Ok(())
}

fn idle() -> Outcome<()> {
    const SESSIONS: usize = 5000;
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    for n in 0..200 {
        server.new_session(&format!("before {n}"))?;
    }
    let before = server.resident_kb()?;
    for n in 0..SESSIONS {
        server.new_session(&format!("s{n}"))?;
    }
    let each = (server.resident_kb()? - before) / SESSIONS as f64;
    println!("server memory for each idle session        {each:>8.2} kB ({SESSIONS} of them)");
    let _ = &server.data;
    Ok(())
}
