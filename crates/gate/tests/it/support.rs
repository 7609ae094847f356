//! A gate over the real store in a directory of its own, with tools whose behaviour each test chooses.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{
    Admission, Clock, Entry, Expectation, Gate, GateOptions, Inventory, Ledger, LedgerError, Permitted, ProbeVerdict,
    Recorded, Refusal, Registry, Request, ResumableAct, Submission, TaskCx, Tool, ToolCall, ToolFailure, UnknownTarget,
};
use reeve_policy::{Format, PolicySet, Source};
use reeve_store::{EventFilter, Store};
use reeve_types::event::SessionPart;
use reeve_types::{
    ActionClass, ActionId, ActionState, Approval, ApprovalStatus, Arguments, AuthMethod, Digest, Event, EventType,
    Origin, Principal, PrincipalKind, Resource, ResourceKind, Reversibility, TenantId, ToolOutput, ToolSpec, TraceId,
    mask_dsn,
};
use serde_json::{Value, json};

/// A clock that stands still until it is set.
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(text.parse().unwrap())))
    }
    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
    pub(crate) fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.parse().unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn random(&self) -> u128 {
        rand::random()
    }
}

pub(crate) type Answer = Result<ToolOutput, ToolFailure>;
type Behaviour = Arc<dyn Fn(ToolCall, TaskCx) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A tool that does what its test says, and counts.
pub(crate) struct TestTool {
    spec: ToolSpec,
    behaviour: Behaviour,
    verdict: Mutex<ProbeVerdict>,
    pub(crate) runs: AtomicUsize,
    pub(crate) probes: AtomicUsize,
}

impl TestTool {
    pub(crate) fn new(
        name: &str,
        class: ActionClass,
        behaviour: impl Fn(ToolCall, TaskCx) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let spec = ToolSpec {
            name: name.to_owned(),
            agent: "database".to_owned(),
            description: "a tool of a test".to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "connection_string": {"type": "string"},
                    "pid": {"type": "integer", "minimum": 1},
                    "password": {"type": "string", "maxLength": 40},
                },
                "additionalProperties": false,
            }),
            action_class: class,
            resource_kind: ResourceKind::Database,
            target_argument: Some("connection_string".to_owned()),
            reversibility: Reversibility::Irreversible { reason: "it is a test".to_owned() },
            capabilities: Vec::new(),
            supersedes: Vec::new(),
            fleet_eligible: false,
            auto_remediation_eligible: false,
            timeout_ms: 50,
        };
        let verdict = Mutex::new(ProbeVerdict::CannotTell("it left no trace".to_owned()));
        let behaviour = Arc::new(behaviour);
        Arc::new(Self { spec, behaviour, verdict, runs: AtomicUsize::new(0), probes: AtomicUsize::new(0) })
    }

    /// A tool that answers at once.
    pub(crate) fn answering(name: &str, class: ActionClass, answer: &'static str) -> Arc<Self> {
        Self::new(name, class, move |_, _| Box::pin(async move { Ok(ToolOutput::text(answer)) }))
    }

    pub(crate) fn takes_up_to(&mut self, timeout_ms: u64) {
        self.spec.timeout_ms = timeout_ms;
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    pub(crate) fn will_say(&self, verdict: ProbeVerdict) {
        *self.verdict.lock().unwrap() = verdict;
    }
}

impl Tool for TestTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Answer> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.behaviour)(call.open().0, cx.clone())
    }
    fn probe<'a>(&'a self, _: Permitted<ToolCall>, _: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        let verdict = self.verdict.lock().unwrap().clone();
        Box::pin(async move { verdict })
    }
}

/// An inventory with one database, `orders`, whose tags a test may change; other targets are taken as they are.
#[derive(Default)]
pub(crate) struct TestInventory {
    pub(crate) tags: Mutex<BTreeSet<String>>,
    pub(crate) sensitivity: Mutex<BTreeSet<String>>,
    pub(crate) closed: AtomicBool,
}

impl Inventory for TestInventory {
    fn resolve(&self, kind: ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget> {
        let name = target.map_or_else(|| "orders".to_owned(), mask_dsn);
        if self.closed.load(Ordering::SeqCst) && name != "orders" {
            return Err(UnknownTarget { target: name, known: vec!["orders".to_owned()] });
        }
        let mut resource = Resource::new(kind, name);
        resource.tags.clone_from(&self.tags.lock().unwrap());
        resource.sensitivity.clone_from(&self.sensitivity.lock().unwrap());
        Ok(resource)
    }
}

/// The real store as the ledger, with a switch that makes it refuse to record.
pub(crate) struct TestLedger {
    pub(crate) store: Store,
    pub(crate) full: AtomicBool,
}

impl Ledger for TestLedger {
    fn record<'a>(
        &'a self,
        expect: Vec<Expectation>,
        entries: Vec<Entry>,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, LedgerError>> {
        if self.full.load(Ordering::SeqCst) {
            return Box::pin(async { Err(LedgerError::Unavailable("the disk is full".to_owned())) });
        }
        self.store.record(expect, entries)
    }
    fn find_act<'a>(&'a self, act_digest: Digest) -> BoxFuture<'a, Result<Admission, LedgerError>> {
        self.store.find_act(act_digest)
    }
    fn action<'a>(&'a self, id: &'a ActionId) -> BoxFuture<'a, Result<Option<ResumableAct>, LedgerError>> {
        self.store.action(id)
    }
    fn collect<'a>(&'a self, id: &'a ActionId, at: Timestamp) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.store.collect(id, at)
    }
}

/// Reads are allowed, writes ask one person, destructive acts are denied.
pub(crate) const GRADED: &str = "version: '1'
policies:
  - name: graded
    resources: [{type: any}]
    rules:
      - {action: read, effect: allow}
      - {action: write, effect: require_approval, message: a person decides}
      - {action: destructive, effect: deny, message: never}
";

/// Everything is allowed.
pub(crate) const OPEN: &str = "version: '1'
policies:
  - name: open
    resources: [{type: any}]
    rules:
      - {action: [read, write, destructive], effect: allow}
";

pub(crate) fn policy(yaml: &str) -> Arc<PolicySet> {
    let source = Source { name: "test.yaml".to_owned(), text: yaml.to_owned(), format: Format::Yaml };
    match PolicySet::compile(&[source], &|_| None) {
        Ok(set) => Arc::new(set),
        Err(errors) => panic!("the test's policy does not compile: {errors}"),
    }
}

/// A gate and everything around it.
pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<TestLedger>,
    pub(crate) inventory: Arc<TestInventory>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new(yaml: &str, tools: &[&Arc<TestTool>]) -> Self {
        Self::with(yaml, tools, GateOptions::default())
    }

    pub(crate) fn with(yaml: &str, tools: &[&Arc<TestTool>], options: GateOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at("2026-03-02T12:00:00Z");
        let store = Store::open(dir.path(), Arc::<TestClock>::clone(&clock)).unwrap();
        let ledger = Arc::new(TestLedger { store, full: AtomicBool::new(false) });
        let inventory = Arc::new(TestInventory::default());
        let gate = gate_over(yaml, tools, options, &ledger, &inventory, &clock);
        Self { gate, ledger, inventory, clock, dir }
    }

    /// The same house with other tools, as after a restart with another version.
    pub(crate) fn gate_with(&self, yaml: &str, tools: &[&Arc<TestTool>]) -> Arc<Gate> {
        gate_over(yaml, tools, GateOptions::default(), &self.ledger, &self.inventory, &self.clock)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.ledger.store
    }

    pub(crate) async fn submit(&self, tool: &str, arguments: Value) -> Result<Submission, Refusal> {
        self.gate.submit(request(&alice(), tool, arguments)).await
    }

    /// Asks for an act that needs approval and gives the question.
    pub(crate) async fn question(&self, tool: &str, arguments: Value) -> Approval {
        match self.submit(tool, arguments).await {
            Ok(Submission::AwaitingApproval { approval, .. }) => *approval,
            other => panic!("people should have been asked: {other:?}"),
        }
    }

    /// Records that enough people said yes, without beginning the act.
    pub(crate) async fn settle(&self, approval: &Approval, status: ApprovalStatus) {
        let now = self.clock.now();
        let tenant = approval.requester.tenant.clone();
        let mut event = Event::new(EventType::ApprovalResolved, tenant, approval.trace_id.clone(), now, rand::random());
        event.action_id = Some(approval.action_id.clone());
        event.approval = Some(reeve_types::event::ApprovalPart {
            approval_id: approval.approval_id.clone(),
            status,
            policy_name: approval.policy_name.clone(),
            act_digest: approval.act_digest,
            requested_by: approval.requester.label(),
            vote: None,
            expires_at: approval.expires_at,
            valid_until: Some(now.checked_add(Duration::from_secs(600)).unwrap()),
            question: None,
            reason: "looked fine".to_owned(),
        });
        self.store().record(vec![], vec![event.into()]).await.unwrap();
    }

    pub(crate) async fn approved(&self, tool: &str, arguments: Value) -> Approval {
        let approval = self.question(tool, arguments).await;
        self.settle(&approval, ApprovalStatus::Approved).await;
        approval
    }

    /// Every record, oldest first.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let filter = EventFilter { limit: 5000, ascending: true, ..EventFilter::default() };
        let page = self.store().events(&TenantId::default_tenant(), filter).await.unwrap();
        page.events.into_iter().map(|stored| stored.event).collect()
    }

    /// The types of every record, oldest first.
    pub(crate) async fn kinds(&self) -> Vec<&'static str> {
        self.events().await.iter().map(|event| event.event_type.as_str()).collect()
    }

    pub(crate) async fn state(&self, id: &ActionId) -> ActionState {
        self.store().action_of(&TenantId::default_tenant(), id).await.unwrap().unwrap().state
    }

    pub(crate) async fn verify(&self) {
        let verdict = self.store().verify_audit(vec![], vec![], |_| {}).await.unwrap();
        assert!(verdict.valid, "{verdict:?}");
    }
}

fn gate_over(
    yaml: &str,
    tools: &[&Arc<TestTool>],
    options: GateOptions,
    ledger: &Arc<TestLedger>,
    inventory: &Arc<TestInventory>,
    clock: &Arc<TestClock>,
) -> Arc<Gate> {
    let mut registry = Registry::new();
    for tool in tools {
        registry.register(Arc::<TestTool>::clone(tool)).unwrap();
    }
    Gate::new(
        registry,
        policy(yaml),
        Arc::<TestInventory>::clone(inventory),
        Arc::<TestLedger>::clone(ledger),
        Arc::<TestClock>::clone(clock),
        options,
    )
}

pub(crate) fn alice() -> Principal {
    Principal::new(PrincipalKind::User, "alice", AuthMethod::ApiKey).with_roles(["dba"])
}

pub(crate) fn request(principal: &Principal, tool: &str, arguments: Value) -> Request {
    let arguments: Arguments = arguments.as_object().cloned().unwrap();
    Request {
        action_id: None,
        principal: principal.clone(),
        tool: tool.to_owned(),
        arguments,
        purpose: None,
        purpose_note: String::new(),
        trace_id: TraceId::new("dt", "2026-03-02T12:00:00Z".parse().unwrap(), rand::random()),
        origin: Origin::DirectTool,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}

/// What a submission gave back.
pub(crate) fn done(submission: Result<Submission, Refusal>) -> reeve_gate::Completed {
    match submission {
        Ok(Submission::Done(completed)) => completed,
        other => panic!("it should have run: {other:?}"),
    }
}
