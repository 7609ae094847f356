//! The gate itself. [`Gate::submit`] is the whole story of one act, top to bottom.

mod asking;
mod records;
mod resuming;
mod running;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use reeve_policy::PolicySet;
use reeve_types::event::{OutcomePart, PolicyPart};
use reeve_types::limits::ARGUMENTS_BYTES_MAX;
use reeve_types::{
    ActionClass, ActionId, ActionState, Arguments, Decision, Digest, Effect, Event, EventType, Measured, Obligations,
    PolicyRequest, Resource, ToolSpec, TraceId, canonical_json,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use crate::registry::Registered;
use crate::{
    Clock, Completed, Entry, Expectation, Explained, GateOptions, Inventory, Ledger, LedgerError, OperatingMode,
    Refusal, Registry, Request, ResumableAct, Submission, ToolCall, UnknownTarget, act_digest,
};

/// Counters for metrics; they start at zero with the process.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    allowed: AtomicU64,
    denied: AtomicU64,
    asked: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    unrecorded_reads: AtomicU64,
}

/// The one door. `reeve::boot` and the test kit are the only callers of [`Gate::new`].
pub struct Gate {
    registry: Registry,
    policy: ArcSwap<PolicySet>,
    inventory: Arc<dyn Inventory>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    options: GateOptions,
    tasks: TaskTracker,
    hard_stop: CancellationToken,
    counters: Counters,
    /// Acts whose intent this process has recorded and whose outcome it has not.
    in_hand: Mutex<BTreeSet<ActionId>>,
}

impl Gate {
    /// A gate over these tools, this policy and this record.
    pub fn new(
        registry: Registry,
        policy: Arc<PolicySet>,
        inventory: Arc<dyn Inventory>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        options: GateOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry,
            policy: ArcSwap::new(policy),
            inventory,
            ledger,
            clock,
            options,
            tasks: TaskTracker::new(),
            hard_stop: CancellationToken::new(),
            counters: Counters::default(),
            in_hand: Mutex::default(),
        })
    }

    /// The policy set in force.
    pub fn policy(&self) -> Arc<PolicySet> {
        self.policy.load_full()
    }

    /// Puts another policy set in force, at once and as a whole.
    pub fn replace_policy(&self, policy: Arc<PolicySet>) {
        self.policy.store(policy);
    }

    /// What each tool is, by name.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.registry.specs()
    }

    /// What one tool is.
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.registry.spec(name)
    }

    /// The settings.
    pub fn options(&self) -> GateOptions {
        self.options
    }

    /// Counters by name, for metrics.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        let c = &self.counters;
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        [
            ("allowed", of(&c.allowed)),
            ("denied", of(&c.denied)),
            ("asked", of(&c.asked)),
            ("succeeded", of(&c.succeeded)),
            ("failed", of(&c.failed)),
            ("unknown", of(&c.unknown)),
            ("unrecorded_reads", of(&c.unrecorded_reads)),
        ]
    }

    /// Carries one act from request to record. A caller that goes away ends nothing: the act goes on by itself.
    pub async fn submit(self: &Arc<Self>, request: Request) -> Result<Submission, Refusal> {
        let gate = Arc::clone(self);
        let span = span_of(self.known(&request.tool), &request.trace_id);
        self.on_task(async move { gate.admit_and_run(request).await }.instrument(span)).await
    }

    /// Runs an act that people have approved, if it is still the same act.
    pub async fn resume(self: &Arc<Self>, action_id: ActionId) -> Result<Completed, Refusal> {
        let gate = Arc::clone(self);
        self.on_task(async move { gate.begin_approved(&action_id).await }).await
    }

    /// Settles an act that was running when the process ended: it is looked at, never repeated.
    pub async fn settle_interrupted(self: &Arc<Self>, act: ResumableAct) -> Result<ActionState, Refusal> {
        let gate = Arc::clone(self);
        self.on_task(async move { gate.probe_and_settle(act.action).await }).await
    }

    /// What policy would say of an act, without a record.
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Explained {
        let policy = self.policy.load();
        let decision = policy.explain(request);
        let text = reeve_policy::explain_text(request, &decision);
        let json = reeve_policy::explain_json(request, &decision);
        Explained { decision, text, json }
    }

    /// What a call of a tool acts on, in the inventory's words.
    pub fn target_of(&self, tool: &str, arguments: &Arguments) -> Option<String> {
        self.registry.get(tool)?.tool.target_of(arguments)
    }

    /// The resource that a target names.
    pub fn resolve(&self, kind: reeve_types::ResourceKind, target: Option<&str>) -> Result<Resource, UnknownTarget> {
        self.inventory.resolve(kind, target)
    }

    /// Waits until running acts have ended, at most `grace`; then tells the rest to stop and waits `last` longer.
    /// Whatever still runs after that is found as interrupted at the next start. Returns how many were cut off.
    pub async fn drain(&self, grace: Duration, last: Duration) -> usize {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.hard_stop.cancel();
        let _ = tokio::time::timeout(last, self.tasks.wait()).await;
        self.tasks.len()
    }

    /// Tells running acts to stop now.
    pub fn stop_now(&self) {
        self.hard_stop.cancel();
    }

    async fn on_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        if self.tasks.is_closed() {
            return Err(Refusal::ShuttingDown);
        }
        match self.tasks.spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::RecordUnavailable("the act was interrupted inside the server".to_owned())),
        }
    }

    async fn admit_and_run(self: Arc<Self>, request: Request) -> Result<Submission, Refusal> {
        let entry = self.lookup(&request.tool)?;
        let spec = entry.tool.spec();
        check_arguments(entry, &request.arguments)?;
        let target = entry.tool.target_of(&request.arguments);
        let resource = self.inventory.resolve(spec.resource_kind, target.as_deref()).map_err(Refusal::UnknownTarget)?;
        let class = entry.tool.class_of(&request.arguments);

        let policy = self.policy.load_full();
        let now = self.clock.now();
        let asked = PolicyRequest {
            principal: &request.principal,
            purpose: request.purpose,
            resource: &resource,
            class,
            tool: &spec.name,
            measured: Measured::default(),
            at: now,
        };
        let decision = self.overridden(&asked, policy.digest()).unwrap_or_else(|| policy.decide(&asked));

        let act = Act { spec, class, resource: &resource, request: &request, now };
        let mut invoked = self.event(&act, EventType::ToolInvoked, None);
        if let Some(chosen) = &act.request.action_id {
            invoked.action_id = Some(chosen.clone());
        }
        let mut decided = self.event(&act, EventType::PolicyDecision, Some(&invoked));
        decided.policy_decision = Some(PolicyPart::of(&asked, &decision));
        let action_id = invoked.action_id.clone().unwrap_or_else(|| ActionId::new(now, self.clock.random()));
        decided.action_id = Some(action_id.clone());

        let span = Span::current();
        span.record("reeve.decision", decision.effect.as_str());
        span.record("reeve.action_id", display(&action_id));
        match decision.effect {
            Effect::Deny => self.refuse(&asked, &policy, decision, vec![invoked, decided]).await,
            Effect::RequireApproval => self.ask_people(&act, action_id, decision, vec![invoked, decided]).await,
            Effect::Allow => {
                self.counters.allowed.fetch_add(1, Ordering::Relaxed);
                let call = act.call(action_id);
                let completed = self.run_allowed(&act, call, decision.obligations, vec![invoked, decided]).await?;
                Ok(Submission::Done(completed))
            }
        }
    }

    /// The tool's name, if it is one: what callers make up stands in no span.
    fn known(&self, tool: &str) -> &str {
        self.registry.spec(tool).map_or("unknown", |spec| &spec.name)
    }

    fn lookup(&self, name: &str) -> Result<&Registered, Refusal> {
        self.registry.get(name).ok_or_else(|| Refusal::UnknownTool {
            name: name.chars().take(80).collect(),
            similar: self.registry.specs().map(|s| &s.name).find(|known| is_close(known, name)).cloned(),
        })
    }

    /// What stands above policy: the operating mode, and the duty to say why when something is sensitive.
    fn overridden(&self, asked: &PolicyRequest<'_>, policy: Digest) -> Option<Decision> {
        if self.options.mode == OperatingMode::ReadOnlyGoverned && asked.class.mutates() {
            let message =
                "this installation runs in the mode readonly-governed: nothing that changes anything is carried out";
            return Some(denied_by("readonly_governed_mode", message, policy));
        }
        let sensitive = asked.resource.sensitivity.iter().any(|s| s == "pii" || s == "critical");
        if self.options.purpose_for_sensitive && sensitive && asked.purpose.is_none() {
            let message =
                "this resource is sensitive: say why you need it with a purpose (header X-Purpose, option --purpose)";
            return Some(denied_by("purpose_required", message, policy));
        }
        None
    }

    async fn refuse(
        &self,
        asked: &PolicyRequest<'_>,
        policy: &PolicySet,
        decision: Decision,
        mut events: Vec<Event>,
    ) -> Result<Submission, Refusal> {
        self.counters.denied.fetch_add(1, Ordering::Relaxed);
        let traced = if decision.policy_name == "readonly_governed_mode" || decision.policy_name == "purpose_required" {
            decision
        } else {
            policy.explain(asked)
        };
        let explanation = reeve_policy::explain_text(asked, &traced);
        let (mut event_id, mut trace_id) = (None, None);
        if let Some(last) = events.last_mut() {
            last.outcome = Some(OutcomePart {
                status: "denied".to_owned(),
                error_message: traced.message.clone(),
                duration_ms: None,
            });
            event_id = Some(last.event_id.clone());
            trace_id = Some(last.trace_id.clone());
        }
        self.append(vec![], events).await?;
        match (event_id, trace_id) {
            (Some(event_id), Some(trace_id)) => {
                Err(Refusal::Denied { decision: Box::new(traced), explanation, event_id, trace_id })
            }
            _ => Err(Refusal::RecordUnavailable("the decision has no record".to_owned())),
        }
    }

    async fn append(&self, expect: Vec<Expectation>, events: Vec<Event>) -> Result<(), Refusal> {
        let entries = events.into_iter().map(Entry::from).collect();
        self.ledger.record(expect, entries).await.map(|_| ()).map_err(refusal)
    }
}

/// Everything about one act that is fixed before it runs.
struct Act<'a> {
    spec: &'a ToolSpec,
    class: ActionClass,
    resource: &'a Resource,
    request: &'a Request,
    now: Timestamp,
}

impl Act<'_> {
    fn digest(&self, policy: Digest) -> Result<Digest, Refusal> {
        act_digest(&self.spec.name, &self.request.arguments, self.resource, policy, &self.request.principal)
            .map_err(|e| Refusal::InvalidArguments { tool: self.spec.name.clone(), reasons: vec![e.to_string()] })
    }

    fn call(&self, action_id: ActionId) -> ToolCall {
        ToolCall {
            action_id,
            trace_id: self.request.trace_id.clone(),
            tool: self.spec.name.clone(),
            arguments: self.request.arguments.clone(),
            resource: self.resource.clone(),
            principal: self.request.principal.clone(),
            purpose: self.request.purpose,
        }
    }
}

/// The span of one act, for traces (GenAI conventions). It holds names and ids, never arguments or results.
fn span_of(tool: &str, trace_id: &TraceId) -> Span {
    tracing::debug_span!(
        "execute_tool",
        otel.kind = "internal",
        otel.name = format!("execute_tool {tool}"),
        otel.status_code = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        reeve.trace_id = %trace_id,
        reeve.action_id = Empty,
        reeve.decision = Empty,
        reeve.outcome = Empty,
    )
}

fn check_arguments(entry: &Registered, arguments: &Arguments) -> Result<(), Refusal> {
    let tool = || entry.tool.spec().name.clone();
    let size = canonical_json(arguments).map_or(usize::MAX, |bytes| bytes.len());
    if size > ARGUMENTS_BYTES_MAX {
        let reasons = vec![format!("they are larger than {ARGUMENTS_BYTES_MAX} bytes")];
        return Err(Refusal::InvalidArguments { tool: tool(), reasons });
    }
    let reasons = entry.check(arguments);
    if reasons.is_empty() { Ok(()) } else { Err(Refusal::InvalidArguments { tool: tool(), reasons }) }
}

fn denied_by(policy: &str, message: &str, digest: Digest) -> Decision {
    Decision {
        effect: Effect::Deny,
        policy_name: policy.to_owned(),
        rule_index: -1,
        message: message.to_owned(),
        conditions: Vec::new(),
        requires_approval: false,
        approval_quorum: 1,
        approver_roles: Vec::new(),
        obligations: Obligations::default(),
        policy_digest: digest,
        policies_evaluated: Vec::new(),
        default_applied: false,
        errors: Vec::new(),
    }
}

fn refusal(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Conflict(reason) => Refusal::Conflict(reason),
        LedgerError::Unavailable(_) => Refusal::RecordUnavailable(error.to_string()),
    }
}

/// Whether two names differ by at most two edits, so that a slip of the finger gets a hint.
fn is_close(known: &str, given: &str) -> bool {
    if given.len() > 80 || known.len().abs_diff(given.len()) > 2 {
        return false;
    }
    let given: Vec<char> = given.chars().collect();
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (i, a) in known.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in given.iter().enumerate() {
            let replace = row.get(j).copied().unwrap_or(0) + usize::from(a != *b);
            let insert = next.get(j).copied().unwrap_or(0) + 1;
            let delete = row.get(j + 1).copied().unwrap_or(0) + 1;
            next.push(replace.min(insert).min(delete));
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= 2)
}
