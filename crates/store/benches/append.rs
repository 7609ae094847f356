//! How fast records become durable, next to a bare loop that writes and syncs the same bytes in the same batches; how
//! long a start takes; how long verifying takes; how large a proof is.
//!
//! `cargo bench -p reeve-store`. `REEVE_BENCH_RECORDS` sets the size of the large log (1,000,000 unless given).
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run stops")]

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reeve_gate::{Clock as _, Entry, Ledger as _, SystemClock};
use reeve_store::Store;
use reeve_types::event::{OutcomePart, ToolPart};
use reeve_types::{
    ActionClass, ActionId, AuthMethod, Event, EventType, Origin, Principal, PrincipalKind, Resource, ResourceKind,
    TenantId, TraceId,
};
use tokio::sync::oneshot;

const CALLERS: usize = 16;
const MEASURED: Duration = Duration::from_secs(5);

/// A record as a tool call leaves it.
fn entry() -> Entry {
    let now = SystemClock.now();
    let random = SystemClock.random();
    let trace = TraceId::new("dt", now, random);
    let mut event = Event::new(EventType::ToolExecution, TenantId::default_tenant(), trace, now, random);
    event.action_id = Some(ActionId::new(now, random));
    event.action_class = Some(ActionClass::Read);
    event.origin = Some(Origin::DirectTool);
    event.principal = Some(Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey).with_roles(["dba"]));
    event.resource = Some(Resource::new(ResourceKind::Database, "orders"));
    event.tool = Some(ToolPart {
        name: "get_active_connections".to_owned(),
        agent: "database".to_owned(),
        result: "pid 7 active 3 s select 1".to_owned(),
        duration_ms: Some(3),
        ..ToolPart::default()
    });
    event.outcome =
        Some(OutcomePart { status: "success".to_owned(), error_message: String::new(), duration_ms: Some(3) });
    event.into()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = std::env::var("REEVE_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into);
    let dir = tempfile::tempdir_in(place).unwrap();
    runtime.block_on(appends(&dir.path().join("appends"), dir.path()));
    starts_empty(&dir.path().join("empty"));
    let records = std::env::var("REEVE_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    runtime.block_on(large(&dir.path().join("large"), records));
}

async fn appends(dir: &Path, beside: &Path) {
    let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
    let written = bytes_written();
    let shared = store.clone();
    let of_store = callers("the store", move || {
        let store = shared.clone();
        async move {
            store.record(vec![], vec![entry()]).await.unwrap();
        }
    })
    .await;
    let each = (bytes_written() - written) / of_store.count;
    let alone = store.records_from(0, 1).await.unwrap()[0].json.len();
    store.close().await;
    for (what, size) in [("the record alone", alone), ("what the store writes for it", usize::try_from(each).unwrap())]
    {
        let bare = Bare::start(&beside.join("bare"), size);
        let of_bare = callers(&format!("bare write and fdatasync, {size} bytes ({what})"), move || {
            let bare = bare.clone();
            async move { bare.append().await }
        })
        .await;
        println!("  the store reaches {:.0} % of it", of_store.rate / of_bare.rate * 100.0);
    }
}

struct Measured {
    count: u64,
    rate: f64,
}

/// Callers that each ask, wait for the answer, and ask again.
async fn callers<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    one: impl Fn() -> F + Clone + Send + 'static,
) -> Measured {
    let started = Instant::now();
    let tasks = (0..CALLERS).map(|_| {
        let one = one.clone();
        let mut waits = Vec::new();
        tokio::spawn(async move {
            while started.elapsed() < MEASURED {
                let asked = Instant::now();
                one().await;
                waits.push(asked.elapsed());
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        waits.extend(task.await.unwrap());
    }
    let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
    waits.sort();
    let (p50, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    println!("{what}: {rate:.0}/s, p50 {p50:.1?}, p99 {p99:.1?} ({CALLERS} callers, each answered after its sync)");
    Measured { count: waits.len() as u64, rate }
}

/// The same batching with nothing around it: a thread that takes all that wait, writes their bytes once, and syncs.
#[derive(Clone)]
struct Bare(mpsc::Sender<oneshot::Sender<()>>);

impl Bare {
    fn start(path: &Path, size: usize) -> Self {
        let mut file = std::fs::File::create(path).unwrap();
        let (ask, waiting) = mpsc::channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
                file.write_all(&vec![7u8; size * batch.len()]).unwrap();
                file.sync_data().unwrap();
                for answer in batch {
                    let _ = answer.send(());
                }
            }
        });
        Self(ask)
    }

    async fn append(&self) {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).unwrap();
        answered.await.unwrap();
    }
}

/// Bytes that this process has handed to the system for writing.
fn bytes_written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    field.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn starts_empty(dir: &Path) {
    let mut times: Vec<Duration> = (0..11)
        .map(|n| {
            let started = Instant::now();
            drop(Store::open(&dir.join(n.to_string()), Arc::new(SystemClock)).unwrap());
            started.elapsed()
        })
        .collect();
    times.sort();
    println!("start with an empty directory: median {:?}, worst {:?}", times[5], times[10]);
}

async fn large(dir: &Path, records: usize) {
    let started = Instant::now();
    let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
    for _ in 0..records / 2000 {
        store.record(vec![], (0..2000).map(|_| entry()).collect()).await.unwrap();
    }
    println!("a log of {records} records was made in {:.1} s", started.elapsed().as_secs_f64());
    store.close().await;
    drop(store);
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
        times.push(started.elapsed());
        store.close().await;
    }
    times.sort();
    println!("start with {records} records: median {:?}, worst {:?}", times[2], times[4]);

    let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
    let started = Instant::now();
    let verdict = store.verify_audit(vec![], vec![], |_| {}).await.unwrap();
    assert!(verdict.valid && verdict.total_events == records as u64);
    println!("verifying {records} records: {:.2} s", started.elapsed().as_secs_f64());
    let middle = store.records_from(records as u64 / 2, 1).await.unwrap();
    let started = Instant::now();
    let proof = store.prove(&middle[0].event.event_id).await.unwrap();
    let took = started.elapsed();
    println!(
        "a proof: {} bytes ({} with record and checkpoint), made in {took:?}",
        proof.proof_bytes(),
        proof.to_string().len()
    );
    store.close().await;
}
