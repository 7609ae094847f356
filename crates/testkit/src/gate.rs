//! A gate for tests of tools: the real gate and the real policy engine over a record that forgets when it is dropped.
//!
//! Only the gate can permit a call, so tests of tools go through it as everybody does.
#![expect(clippy::panic, reason = "a test that cannot have its gate must fail with a sentence")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{
    Admission, Clock, Entry, Expectation, Gate, GateOptions, Inventory, Ledger, LedgerError, Recorded, Refusal,
    Registry, Request, ResumableAct, StoredAction, Submission, SystemClock, Tool, ToolFailure, UnknownTarget,
};
use reeve_policy::{Format, PolicySet, Source};
use reeve_types::event::SessionPart;
use reeve_types::{
    ActionId, ActionState, Arguments, AuthMethod, Digest, Event, EventType, Origin, Principal, PrincipalKind, Resource,
    ResourceKind, ToolOutput, TraceId, mask_dsn,
};
use serde_json::Value;

/// A policy under which everybody may do everything.
pub fn allow_all() -> String {
    allow_within("")
}

/// A policy under which everything is allowed within limits: conditions such as `max_rows_affected: 10`.
pub fn allow_within(conditions: &str) -> String {
    let kinds: Vec<String> = ResourceKind::ALL.iter().map(|kind| format!("{{type: {kind}}}")).collect();
    let conditions =
        if conditions.is_empty() { String::new() } else { format!("\n        conditions: {{{conditions}}}") };
    format!(
        "version: '1'\npolicies:\n  - name: tests-may-do-this\n    resources: [{}]\n    rules:\n      \
         - action: [read, write, destructive]\n        effect: allow{conditions}\n",
        kinds.join(", ")
    )
}

/// A record in memory: a test double. It holds expectations about running actions, and knows no approvals.
#[derive(Default)]
pub struct InMemoryTestLedger {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    events: Vec<Event>,
    states: BTreeMap<ActionId, ActionState>,
}

impl InMemoryTestLedger {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.kept().events.clone()
    }
}

impl Kept {
    fn check(&self, expected: &Expectation) -> Result<(), LedgerError> {
        match expected {
            Expectation::ActionIn(id, state) if self.states.get(id) == Some(state) => Ok(()),
            Expectation::NoLiveAct { .. } => Ok(()),
            other => Err(LedgerError::Conflict(format!("the test ledger does not know that {other:?}"))),
        }
    }

    fn append(&mut self, event: Event) -> Recorded {
        if let Some(id) = &event.action_id {
            let state = match (event.event_type, event.outcome.as_ref().map(|o| o.status.as_str())) {
                (EventType::EffectIntent, _) => Some(ActionState::Running),
                (EventType::ToolExecution, Some("success")) => Some(ActionState::Succeeded),
                (EventType::ToolExecution, Some("unknown")) => Some(ActionState::Unknown),
                (EventType::ToolExecution, _) => Some(ActionState::Failed),
                _ => None,
            };
            if let Some(state) = state {
                self.states.insert(id.clone(), state);
            }
        }
        let seq = self.events.len() as u64;
        self.events.push(event);
        Recorded { seq, event_hash: Digest::of(&seq.to_be_bytes()) }
    }
}

impl Ledger for InMemoryTestLedger {
    fn record<'a>(
        &'a self,
        expect: Vec<Expectation>,
        entries: Vec<Entry>,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, LedgerError>> {
        Box::pin(async move {
            let mut kept = self.kept();
            expect.iter().try_for_each(|expected| kept.check(expected))?;
            Ok(entries.into_iter().map(|entry| kept.append(entry.event)).collect())
        })
    }

    fn find_act<'a>(&'a self, _: Digest) -> BoxFuture<'a, Result<Admission, LedgerError>> {
        Box::pin(async { Ok(Admission::New) })
    }

    fn action<'a>(&'a self, _: &'a ActionId) -> BoxFuture<'a, Result<Option<ResumableAct>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }

    fn collect<'a>(&'a self, _: &'a ActionId, _: Timestamp) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async { Ok(true) })
    }
}

/// An inventory that takes every target as it is: a test double.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyTargetTestInventory;

impl Inventory for AnyTargetTestInventory {
    fn resolve(&self, kind: ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget> {
        Ok(Resource::new(kind, target.map_or_else(|| "default".to_owned(), mask_dsn)))
    }
}

/// A gate over some tools.
pub struct TestGate {
    gate: Arc<Gate>,
    ledger: Arc<InMemoryTestLedger>,
}

impl TestGate {
    /// A gate that lets everything through.
    pub fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        Self::with_policy(tools, &allow_all())
    }

    /// A gate with a policy in YAML.
    pub fn with_policy(tools: Vec<Arc<dyn Tool>>, yaml: &str) -> Self {
        let source = Source { name: "test.yaml".to_owned(), text: yaml.to_owned(), format: Format::Yaml };
        let policy = match PolicySet::compile(&[source], &|_| None) {
            Ok(policy) => Arc::new(policy),
            Err(errors) => panic!("the test's policy does not compile: {errors}"),
        };
        let mut registry = Registry::new();
        for tool in tools {
            if let Err(error) = registry.register(tool) {
                panic!("a tool cannot be registered: {error}");
            }
        }
        let ledger = Arc::new(InMemoryTestLedger::default());
        let record: Arc<dyn Ledger> = Arc::<InMemoryTestLedger>::clone(&ledger);
        let gate = Gate::new(
            registry,
            policy,
            Arc::new(AnyTargetTestInventory),
            record,
            Arc::new(SystemClock),
            GateOptions::default(),
        );
        Self { gate, ledger }
    }

    /// The gate itself.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Every record so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.ledger.events()
    }

    /// Asks for one act as the user `tester` and gives what the gate says.
    pub async fn submit(&self, tool: &str, arguments: Value) -> Result<Submission, Refusal> {
        self.gate.submit(request(tool, arguments)).await
    }

    /// Runs one tool. Panics when the gate does not let it through.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<ToolOutput, ToolFailure> {
        match self.submit(tool, arguments).await {
            Ok(Submission::Done(completed)) => completed.outcome,
            Ok(other) => panic!("`{tool}` did not run: {other:?}"),
            Err(refusal) => panic!("`{tool}` was refused: {refusal}"),
        }
    }

    /// Lets a tool look whether a call, asked for at `asked` and cut off since, took effect. Gives how the action is
    /// settled, and the tool's words.
    pub async fn probe(&self, tool: &str, arguments: Value, asked: Timestamp) -> (ActionState, String) {
        let request = request(tool, arguments);
        let Some(spec) = self.gate.spec(tool).cloned() else { panic!("there is no tool `{tool}`") };
        let target = spec.target_argument.as_deref().and_then(|key| request.arguments.get(key)).and_then(Value::as_str);
        let action_id = ActionId::new(asked, SystemClock.random());
        self.ledger.kept().states.insert(action_id.clone(), ActionState::Running);
        let action = StoredAction {
            action_id: action_id.clone(),
            trace_id: request.trace_id.clone(),
            state: ActionState::Running,
            tool: tool.to_owned(),
            action_class: spec.action_class,
            arguments: request.arguments.clone(),
            resource: Resource::new(spec.resource_kind, target.map_or_else(|| "default".to_owned(), mask_dsn)),
            requester: request.principal.clone(),
            purpose: None,
            act_digest: Digest::ZERO,
            approval_id: None,
            created_at: asked,
            updated_at: asked,
            result: None,
            error: None,
            collected_at: None,
        };
        let state = match self.gate.settle_interrupted(ResumableAct { action, approval: None }).await {
            Ok(state) => state,
            Err(refusal) => panic!("`{tool}` could not be settled: {refusal}"),
        };
        let event = self.events().into_iter().rev().find(|event| event.action_id.as_ref() == Some(&action_id));
        let words =
            event.and_then(|event| event.tool).map(|tool| if tool.error.is_empty() { tool.result } else { tool.error });
        (state, words.unwrap_or_default())
    }
}

fn request(tool: &str, arguments: Value) -> Request {
    let arguments: Arguments = match arguments {
        Value::Object(arguments) => arguments,
        other => panic!("arguments are an object, not {other}"),
    };
    let (now, random) = (SystemClock.now(), SystemClock.random());
    Request {
        action_id: None,
        principal: Principal::new(PrincipalKind::User, "tester", AuthMethod::ApiKey),
        tool: tool.to_owned(),
        arguments,
        purpose: None,
        purpose_note: String::new(),
        trace_id: TraceId::new("dt", now, random),
        origin: Origin::DirectTool,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}
