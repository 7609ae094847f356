//! Figures of the whole program: start, memory, governed reads. Prints, never fails.
//!
//! `cargo bench -p reeve`; needs a PostgreSQL server on this machine. `REEVE_BENCH_RECORDS` says how large the log is for the
//! second start (1,000,000 unless set).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve_gate::{Clock as _, Entry, Ledger as _, SystemClock};
use reeve_store::Store;
use reeve_testkit::postgres::PostgresServer;
use reeve_types::{Event, EventType, TenantId, TraceId};
use serde_json::json;

const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
const CALLERS: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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

    governed_reads()?;
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

fn start(data: &Path, variables: &[(&str, &str)]) -> Result<Started, Box<dyn std::error::Error>> {
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

fn resident_mb(pid: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kb: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kb / 1024.0)
}

/// A log as long as one of a busy year, made by the same writer that a server uses.
fn fill(dir: &Path, records: u64) -> Result<(), Box<dyn std::error::Error>> {
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
fn governed_reads() -> Result<(), Box<dyn std::error::Error>> {
    let postgres = PostgresServer::start();
    let home = tempfile::tempdir()?;
    let inventory = home.path().join("infrastructure.json");
    let servers =
        json!({"db_servers": {"shop": {"connection_string": postgres.superuser_dsn(), "tags": ["production"]}}});
    std::fs::write(&inventory, servers.to_string())?;
    let inventory = inventory.display().to_string();
    let (_server, _, url) = start(&home.path().join("data"), &[("REEVE_INVENTORY_FILE", &inventory)])?;
    let token = std::fs::read_to_string(home.path().join("data/admin.token"))?.trim().to_owned();
    let body = json!({"arguments": {"connection_string": "shop"}, "purpose": "diagnostic"});
    for tool in ["check_connection", "get_active_connections"] {
        let address = format!("{url}/api/v1/tools/{tool}/run");
        let begun = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (address, token, body) = (address.clone(), token.clone(), body.clone());
                std::thread::spawn(move || -> Result<Vec<Duration>, reqwest::Error> {
                    let client = reqwest::blocking::Client::new();
                    let mut times = Vec::new();
                    for round in 0..250 {
                        let asked = Instant::now();
                        let reply = client.post(&address).bearer_auth(&token).json(&body).send()?;
                        reply.error_for_status()?.bytes()?;
                        // The first few open connections on both sides.
                        if round >= 10 {
                            times.push(asked.elapsed());
                        }
                    }
                    Ok(times)
                })
            })
            .collect();
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.join().map_err(|_| "a caller failed")??);
        }
        let per_second = (CALLERS * 250) as f64 / begun.elapsed().as_secs_f64();
        times.sort();
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
        println!(
            "governed read `{tool}` over HTTP, {CALLERS} callers: p50 {:.2} ms, p99 {:.2} ms, {per_second:.0}/s",
            at(0.50),
            at(0.99)
        );
    }
    Ok(())
}
