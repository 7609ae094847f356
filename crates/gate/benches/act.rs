//! What the gate costs: a governed read of something in memory, sixteen at a time, over the real store, recorded and
//! durable before it is answered.
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run stops")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reeve_gate::{
    Clock as _, Gate, GateOptions, Inventory, Permitted, Registry, Request, Submission, SystemClock, TaskCx, Tool,
    ToolCall, ToolFailure, UnknownTarget,
};
use reeve_policy::PolicySet;
use reeve_store::Store;
use reeve_types::event::SessionPart;
use reeve_types::{
    ActionClass, Arguments, AuthMethod, Origin, Principal, PrincipalKind, Resource, ResourceKind, Reversibility,
    ToolOutput, ToolSpec, TraceId,
};
use serde_json::json;

const AT_ONCE: usize = 16;
const MEASURED: Duration = Duration::from_secs(5);

struct InMemory(ToolSpec);

impl Tool for InMemory {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    fn run<'a>(&'a self, _: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async { Ok(ToolOutput::text("42 rows")) })
    }
}

struct AnyTarget;

impl Inventory for AnyTarget {
    fn resolve(&self, kind: ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget> {
        Ok(Resource::new(kind, target.unwrap_or("orders")))
    }
}

fn gate(store: Store) -> Arc<Gate> {
    let mut registry = Registry::new();
    let spec = ToolSpec {
        name: "look".to_owned(),
        agent: "database".to_owned(),
        description: "looks at something in memory".to_owned(),
        input_schema: json!({"type": "object", "properties": {"pid": {"type": "integer"}}, "additionalProperties": false}),
        action_class: ActionClass::Read,
        resource_kind: ResourceKind::Database,
        target_argument: None,
        reversibility: Reversibility::NotNeeded,
        capabilities: Vec::new(),
        supersedes: Vec::new(),
        fleet_eligible: false,
        auto_remediation_eligible: false,
        timeout_ms: 1_000,
    };
    registry.register(Arc::new(InMemory(spec))).unwrap();
    let (policy, clock) = (Arc::new(PolicySet::built_in()), Arc::new(SystemClock));
    Gate::new(registry, policy, Arc::new(AnyTarget), Arc::new(store), clock, GateOptions::default())
}

fn request(pid: usize) -> Request {
    Request {
        action_id: None,
        principal: Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey).with_roles(["dba"]),
        tool: "look".to_owned(),
        arguments: Arguments::from_iter([("pid".to_owned(), json!(pid))]),
        purpose: None,
        purpose_note: String::new(),
        trace_id: TraceId::new("dt", SystemClock.now(), SystemClock.random()),
        origin: Origin::DirectTool,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir.path(), Arc::new(SystemClock)).unwrap();
        let gate = gate(store.clone());
        let started = Instant::now();
        let tasks = (0..AT_ONCE).map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while started.elapsed() < MEASURED {
                    let asked = Instant::now();
                    match gate.submit(request(waits.len() % 100)).await {
                        Ok(Submission::Done(completed)) if completed.event_id.is_some() => waits.push(asked.elapsed()),
                        other => panic!("{other:?}"),
                    }
                }
                waits
            })
        });
        let mut waits = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            waits.extend(task.await.unwrap());
        }
        waits.sort();
        println!(
            "governed reads, {AT_ONCE} at a time: {:.0}/s, p50 {:.2?}, p99 {:.2?}; {} records",
            waits.len() as f64 / started.elapsed().as_secs_f64(),
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            store.log_head().await.unwrap().size
        );
        store.close().await;
    });
}
