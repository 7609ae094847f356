//! Figures of the whole program: start, memory, governed reads. Prints, never fails.
//!
//! `cargo bench -p reeve`; needs the programs of PostgreSQL on this machine. `REEVE_BENCH_RECORDS` says how large the log is
//! for the second start (1,000,000 unless set); `REEVE_BENCH_ONLY=start` or `=reads` runs one part.
//!
//! Callers, server and PostgreSQL share this machine's processors, so a figure of the reads holds for all of them together.
//! The processor time beside it says whose it was.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reeve_gate::{
    Clock as _, Entry, Gate, GateOptions, Ledger as _, Registry, Request, Submission, SystemClock, ToolCall,
};
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_postgres::conninfo::{Surroundings, Target};
use reeve_postgres::tools::{Archive, Snapshot, SnapshotQuery, Targets, ToolOptions, Upload};
use reeve_store::Store;
use reeve_testkit::postgres::PostgresServer;
use reeve_types::event::SessionPart;
use reeve_types::{
    Arguments, AuthMethod, Event, EventType, Origin, Principal, PrincipalKind, Purpose, Resource, TenantId, ToolOutput,
    TraceId,
};
use serde_json::json;

const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
const CALLERS: usize = 16;
/// Reads of each caller that are counted.
const ROUNDS: usize = 500;
/// Reads of each caller before that: they open connections and prepare statements.
const WARM_UP: usize = 25;
/// `check_connection` opens a connection for each call, because that is the question it answers. The others ask within
/// sessions that are kept open for a while.
const READS: [&str; 4] = ["check_connection", "get_connection_stats", "get_wait_events", "get_active_connections"];

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let only = std::env::var("REEVE_BENCH_ONLY").unwrap_or_default();
    if only != "reads" {
        starts()?;
    }
    if only != "start" {
        reads_over_http()?;
        reads_in_process()?;
    }
    Ok(())
}

fn starts() -> Outcome<()> {
    let empty = tempfile::tempdir()?;
    let mut starts = Vec::new();
    for round in 0..10 {
        let (server, took, _) = start(&empty.path().join(round.to_string()), &[])?;
        starts.push(took);
        drop(server);
    }
    starts.sort();
    println!("start to healthy, empty data directory   {:>8.1} ms (median of 10)", ms(starts[5]));

    let (server, _, _) = start(&empty.path().join("idle"), &[])?;
    std::thread::sleep(Duration::from_secs(3));
    println!("resident memory, idle after start        {:>8.1} MB", resident_mb(server.0.id())?);
    drop(server);

    let records: u64 = std::env::var("REEVE_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let large = tempfile::tempdir()?;
    let built = Instant::now();
    fill(large.path(), records)?;
    println!("(a log of {records} records was built in {:.0} s)", built.elapsed().as_secs_f64());
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(start(large.path(), &[])?.1);
    }
    starts.sort();
    println!("start to healthy, {records} records      {:>8.1} ms (median of 5)", ms(starts[2]));
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Started = (Running, Duration, String);

fn start(data: &Path, variables: &[(&str, &str)]) -> Outcome<Started> {
    let begun = Instant::now();
    let mut child = Command::new(REEVE)
        .args(["up", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("HOME", data)
        .env("REEVE_DATA_DIR", data)
        .envs(variables.iter().copied())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let log = child.stderr.take().ok_or("no log")?;
    let running = Running(child);
    let mut lines = BufReader::new(log).lines();
    let url = loop {
        let line = lines.next().ok_or("the server ended")??;
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split([',', ' ', '"']).next().unwrap_or_default().to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    let health = reqwest::blocking::get(format!("{url}/health"))?;
    assert!(health.status().is_success());
    Ok((running, begun.elapsed(), url))
}

fn resident_mb(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kb: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kb / 1024.0)
}

/// A log as long as one of a busy year, made by the same writer that a server uses.
fn fill(dir: &Path, records: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let store = Store::open(dir, clock.clone())?;
        let mut left = records;
        while left > 0 {
            let batch = left.min(2000);
            let entries = (0..batch)
                .map(|_| {
                    let trace = TraceId::new("tr", clock.now(), clock.random());
                    let mut event = Event::new(
                        EventType::ToolExecution,
                        TenantId::default_tenant(),
                        trace,
                        clock.now(),
                        clock.random(),
                    );
                    event.note = "a record of ordinary length, with the words that such a record has".repeat(6);
                    Entry::from(event)
                })
                .collect();
            store.record(vec![], entries).await?;
            left -= batch;
        }
        store.close().await;
        Ok(())
    })
}

/// Sixteen callers, each asking for one read after another over HTTP; every read has three records, all on disk.
fn reads_over_http() -> Outcome<()> {
    let postgres = PostgresServer::start();
    let home = tempfile::tempdir()?;
    let inventory = home.path().join("infrastructure.json");
    let servers =
        json!({"db_servers": {"shop": {"connection_string": postgres.superuser_dsn(), "tags": ["production"]}}});
    std::fs::write(&inventory, servers.to_string())?;
    let inventory = inventory.display().to_string();
    let (server, _, url) = start(&home.path().join("data"), &[("REEVE_INVENTORY_FILE", &inventory)])?;
    let token = std::fs::read_to_string(home.path().join("data/admin.token"))?.trim().to_owned();
    let address = url.trim_start_matches("http://").to_owned();
    let body = json!({"arguments": {"connection_string": "shop"}, "purpose": "diagnostic"}).to_string();
    for tool in READS {
        let request = format!(
            "POST /api/v1/tools/{tool}/run HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let ask = |rounds| ask_over_http(&address, &request, rounds);
        all_callers(&ask, WARM_UP)?;
        let (cpu, begun) = (Cpu::of(server.0.id(), postgres.pid())?, Instant::now());
        let times = all_callers(&ask, ROUNDS)?;
        report(tool, "over HTTP", times, begun.elapsed(), Cpu::of(server.0.id(), postgres.pid())?.since(cpu));
    }
    Ok(())
}

fn all_callers(ask: &(dyn Fn(usize) -> Outcome<Vec<Duration>> + Sync), rounds: usize) -> Outcome<Vec<Duration>> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| ask(rounds))).collect();
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.join().map_err(|_| "a caller failed")??);
        }
        Ok(times)
    })
}

/// One caller: a bare socket, so that what is measured is the server and not a client library.
fn ask_over_http(address: &str, request: &str, rounds: usize) -> Outcome<Vec<Duration>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    (0..rounds)
        .map(|_| {
            let asked = Instant::now();
            stream.get_mut().write_all(request.as_bytes())?;
            let mut length = 0;
            for number in 0.. {
                line.clear();
                stream.read_line(&mut line)?;
                match line.trim_end().split_once(": ") {
                    _ if number == 0 && line.contains(" 200 ") => {}
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
                    Some(_) => {}
                    None if number > 0 && line == "\r\n" => break,
                    None => return Err(format!("a read was answered with {line}").into()),
                }
            }
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
            Ok(asked.elapsed())
        })
        .collect()
}

/// The same reads, asked of the gate inside this process: what the gate, the record and the tool cost without a way in.
fn reads_in_process() -> Outcome<()> {
    let postgres = PostgresServer::start();
    let home = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let target = postgres.superuser_dsn();
    runtime.block_on(async {
        let store = Store::open(home.path(), Arc::new(SystemClock))?;
        let gate = gate_over(&store)?;
        for tool in READS {
            ask_gate(&gate, tool, &target, WARM_UP).await?;
            let (cpu, begun) = (Cpu::of(std::process::id(), postgres.pid())?, Instant::now());
            let times = ask_gate(&gate, tool, &target, ROUNDS).await?;
            report(tool, "in process", times, begun.elapsed(), Cpu::of(std::process::id(), postgres.pid())?.since(cpu));
        }
        store.close().await;
        Ok(())
    })
}

fn gate_over(store: &Store) -> Outcome<Arc<Gate>> {
    let (_, policy) = Policies::load(Vec::new(), Arc::new(|_| None), SystemClock.now())?;
    let mut registry = Registry::new();
    let targets = AsGiven(Surroundings::of_process());
    for tool in reeve_postgres::tools::all(Arc::new(targets), Arc::new(NothingKept), ToolOptions::default()) {
        registry.register(tool)?;
    }
    let inventory = InventoryHolder::load(None, Arc::new(|given, known| given == known))?;
    let (policy, inventory, clock) = (Arc::new(policy), Arc::new(inventory), Arc::new(SystemClock));
    Ok(Gate::new(registry, policy, inventory, Arc::new(store.clone()), clock, GateOptions::default()))
}

async fn ask_gate(gate: &Arc<Gate>, tool: &'static str, target: &str, rounds: usize) -> Outcome<Vec<Duration>> {
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (gate, arguments) =
                (Arc::clone(gate), Arguments::from_iter([("connection_string".to_owned(), json!(target))]));
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(rounds);
                for _ in 0..rounds {
                    let asked = Instant::now();
                    match gate.submit(request(tool, arguments.clone())).await? {
                        Submission::Done(done) if done.event_id.is_some() => _ = done.outcome?,
                        other => return Err(format!("a read was not carried out and recorded: {other:?}").into()),
                    }
                    times.push(asked.elapsed());
                }
                Outcome::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await??);
    }
    Ok(times)
}

fn request(tool: &str, arguments: Arguments) -> Request {
    Request {
        action_id: None,
        principal: Principal::new(PrincipalKind::User, "admin", AuthMethod::ApiKey).with_roles(["admin"]),
        tool: tool.to_owned(),
        arguments,
        purpose: Some(Purpose::Diagnostic),
        purpose_note: String::new(),
        trace_id: TraceId::new("dt", SystemClock.now(), SystemClock.random()),
        origin: Origin::DirectTool,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}

struct AsGiven(Surroundings);

impl Targets for AsGiven {
    fn target(&self, _: &Resource, given: Option<&str>) -> Result<Target, String> {
        Target::parse(given.unwrap_or_default(), &self.0).map_err(|error| error.to_string())
    }
}

/// None of the reads here looks at earlier work.
struct NothingKept;

impl Archive for NothingKept {
    fn snapshots<'a>(&'a self, _: &'a Principal, _: SnapshotQuery) -> BoxFuture<'a, Result<Vec<Snapshot>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn upload<'a>(&'a self, _: &'a Principal, _: &'a str) -> BoxFuture<'a, Result<Option<Upload>, String>> {
        Box::pin(async { Ok(None) })
    }
    fn save<'a>(&'a self, _: &'a ToolCall, _: &'a ToolOutput) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async { Err("nothing is kept here".to_owned()) })
    }
}

fn report(tool: &str, way: &str, mut times: Vec<Duration>, took: Duration, cpu: Cpu) {
    times.sort();
    let count = times.len();
    let at = |share: f64| ms(times[((count - 1) as f64 * share) as usize]);
    let each = |seconds: f64| seconds * 1e6 / count as f64;
    println!(
        "governed read `{tool}` {way}, {CALLERS} callers: p50 {:.2} ms, p99 {:.2} ms, {:.0}/s; processor time each: {:.0} µs Reeve, {:.0} µs PostgreSQL",
        at(0.50),
        at(0.99),
        count as f64 / took.as_secs_f64(),
        each(cpu.reeve),
        each(cpu.postgres)
    );
}

/// Processor time so far, in seconds.
#[derive(Clone, Copy)]
struct Cpu {
    reeve: f64,
    postgres: f64,
}

impl Cpu {
    fn of(reeve: u32, postmaster: Option<u32>) -> Outcome<Self> {
        let postmaster = postmaster.ok_or("the PostgreSQL server has stopped")?;
        let mut postgres = 0.0;
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ends meanwhile counts with its parent.
            let Ok((parent, own, ended_children)) = times_of(pid) else { continue };
            if pid == postmaster {
                postgres += own + ended_children;
            } else if parent == postmaster {
                postgres += own;
            }
        }
        Ok(Self { reeve: times_of(reeve)?.1, postgres })
    }

    fn since(self, earlier: Self) -> Self {
        Self { reeve: self.reeve - earlier.reeve, postgres: self.postgres - earlier.postgres }
    }
}

/// A process's parent, its own processor time, and that of its children that have ended. See proc_pid_stat(5).
fn times_of(pid: u32) -> Outcome<(u32, f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // Linux shows ticks of a hundredth of a second to programs, whatever its own are.
    let seconds =
        |at: usize| -> Outcome<f64> { Ok(fields.get(at).ok_or("stat is too short")?.parse::<f64>()? / 100.0) };
    let parent = fields.get(1).ok_or("stat is too short")?.parse()?;
    Ok((parent, seconds(11)? + seconds(12)?, seconds(13)? + seconds(14)?))
}
