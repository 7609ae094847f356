//! The gate itself. [`Gate::submit`] is the whole story of one act, top to bottom.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use reeve_policy::PolicySet;
use reeve_types::event::{ApprovalPart, InputPart, OutcomePart, PolicyPart, SessionPart, ToolPart};
use reeve_types::limits::{ARGUMENTS_BYTES_MAX, RECORD_OUTPUT_CHARS_MAX};
use reeve_types::{
    ActionClass, ActionId, ActionState, Approval, ApprovalId, ApprovalStatus, Arguments, Decision, Digest, Effect,
    Event, EventId, EventType, Measured, Obligations, Origin, PolicyRequest, Principal, Purpose, Resource, ToolOutput,
    ToolSpec, TraceId, VerifyStatus, canonical_json,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::registry::Registered;
use crate::{
    Admission, Clock, Entry, Expectation, FailureKind, Inventory, Ledger, LedgerError, Permitted, ProbeVerdict,
    Registry, ResumableAct, StoredAction, TaskCx, ToolCall, ToolFailure, UnknownTarget, act_digest, masked_arguments,
};

/// How long the platform waits for a tool beyond its own time before it calls the outcome unknown.
const TOOL_OVERTIME: Duration = Duration::from_secs(2);
/// How long a tool that was told to stop has to end by itself, so that it can say how it left things.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What the whole installation may do, whatever policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OperatingMode {
    /// Policy alone decides.
    #[default]
    Normal,
    /// Nothing that changes anything, whatever policy says.
    ReadOnlyGoverned,
    /// Changes are expected; the start-up check insists on policy, audit and approvals.
    Fix,
}

impl OperatingMode {
    /// The mode that a configuration word names.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "normal" | "readonly" => Some(Self::Normal),
            "readonly-governed" => Some(Self::ReadOnlyGoverned),
            "fix" => Some(Self::Fix),
            _ => None,
        }
    }
}

/// Settings of the gate.
#[derive(Debug, Clone, Copy)]
pub struct GateOptions {
    /// What the whole installation may do.
    pub mode: OperatingMode,
    /// Whether acts on `pii` and `critical` resources need a declared purpose.
    pub purpose_for_sensitive: bool,
    /// How long people have to answer.
    pub approval_expiry: Duration,
    /// How long an approved act may wait before it must have begun.
    pub approval_valid_for: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self {
            mode: OperatingMode::Normal,
            purpose_for_sensitive: false,
            approval_expiry: Duration::from_secs(reeve_types::limits::APPROVAL_EXPIRY_SECS),
            approval_valid_for: Duration::from_secs(10 * 60),
        }
    }
}

/// One act, asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// Which tool.
    pub tool: String,
    /// With which arguments.
    pub arguments: Arguments,
    /// Declared reason.
    pub purpose: Option<Purpose>,
    /// In the requester's words.
    pub purpose_note: String,
    /// The journey it belongs to.
    pub trace_id: TraceId,
    /// By which way it came.
    pub origin: Origin,
    /// The conversation it belongs to.
    pub session: SessionPart,
    /// The question that led to it, in words.
    pub user_query: String,
}

/// An act that has run.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The action.
    pub action_id: ActionId,
    /// The journey.
    pub trace_id: TraceId,
    /// The record of the outcome; absent when it could not be recorded (reads only).
    pub event_id: Option<EventId>,
    /// What it gave back, or why it failed.
    pub outcome: Result<ToolOutput, ToolFailure>,
}

/// What became of a request.
#[expect(clippy::large_enum_variant, reason = "one lives per request, and the large variant is the usual one")]
#[derive(Debug, Clone)]
pub enum Submission {
    /// It ran.
    Done(Completed),
    /// People were asked; the act runs when enough of them say yes.
    AwaitingApproval {
        /// The question.
        approval: Box<Approval>,
        /// Whether the same act was already waiting and this request joined it.
        joined: bool,
    },
    /// The same act is running at this moment.
    InProgress(Box<StoredAction>),
}

/// Why a request was not even begun.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// There is no such tool.
    #[error("there is no tool named `{name}`{}", did_you_mean(.similar))]
    UnknownTool {
        /// The name as given.
        name: String,
        /// A tool whose name is close.
        similar: Option<String>,
    },
    /// The arguments do not fit the tool's schema.
    #[error("the arguments do not fit `{tool}`: {}", .reasons.join("; "))]
    InvalidArguments {
        /// The tool.
        tool: String,
        /// What is wrong, one sentence each.
        reasons: Vec<String>,
    },
    /// The target is not in the inventory.
    #[error(transparent)]
    UnknownTarget(UnknownTarget),
    /// Policy says no.
    #[error("policy denied: {explanation}")]
    Denied {
        /// The decision with its whole trace.
        decision: Box<Decision>,
        /// The same in words.
        explanation: String,
        /// The record of the decision.
        event_id: EventId,
        /// The journey.
        trace_id: TraceId,
    },
    /// People would have to be asked, but the target holds a password that must not be stored.
    #[error(
        "`{tool}` needs approval, and an act with a password inside its connection string is never stored; name the target by its inventory id, or keep the password in a pgpass file"
    )]
    SecretInArguments {
        /// The tool.
        tool: String,
    },
    /// Nothing can be recorded, so nothing is done.
    #[error("{0}; nothing was done, because what cannot be recorded is not carried out")]
    RecordUnavailable(String),
    /// The action is not in a state in which it can begin.
    #[error("{0}")]
    Conflict(String),
    /// The approval no longer fits the act.
    #[error("the approval no longer fits the act: {0}")]
    Stale(String),
    /// The server is stopping.
    #[error("the server is shutting down; ask again when it is back")]
    ShuttingDown,
}

fn did_you_mean(similar: &Option<String>) -> String {
    similar.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// How policy would decide, or did decide, in words and as data.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The decision with its whole trace.
    pub decision: Decision,
    /// The stable text.
    pub text: String,
    /// The stable JSON.
    pub json: Value,
}

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
        self.on_task(async move { gate.admit_and_run(request).await }).await
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
        let target = spec.target_argument.as_deref().and_then(|key| request.arguments.get(key)).and_then(Value::as_str);
        let resource = self.inventory.resolve(spec.resource_kind, target).map_err(Refusal::UnknownTarget)?;
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
        let invoked = self.event(&act, EventType::ToolInvoked, None);
        let mut decided = self.event(&act, EventType::PolicyDecision, Some(&invoked));
        decided.policy_decision = Some(PolicyPart::of(&asked, &decision));
        let action_id = invoked.action_id.clone().unwrap_or_else(|| ActionId::new(now, self.clock.random()));
        decided.action_id = Some(action_id.clone());

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

    async fn ask_people(
        &self,
        act: &Act<'_>,
        action_id: ActionId,
        decision: Decision,
        mut events: Vec<Event>,
    ) -> Result<Submission, Refusal> {
        let shown = masked_arguments(&act.request.arguments, act.spec.target_argument.as_deref());
        if shown != act.request.arguments {
            let refused = Refusal::SecretInArguments { tool: act.spec.name.clone() };
            if let Some(decided) = events.last_mut() {
                let error_message = refused.to_string();
                decided.outcome = Some(OutcomePart { status: "denied".to_owned(), error_message, duration_ms: None });
            }
            self.append(vec![], events).await?;
            return Err(refused);
        }
        let digest = act.digest(decision.policy_digest)?;
        if let Some(known) = self.join(digest).await? {
            return Ok(known);
        }
        let approval = self.question(act, action_id, digest, &decision, shown);
        let mut asked = self.event(act, EventType::ApprovalRequested, events.last());
        asked.action_id = Some(approval.action_id.clone());
        asked.approval = Some(approval_part(&approval, Some(approval.clone())));
        if let Some(decided) = events.last_mut() {
            decided.outcome = Some(OutcomePart {
                status: "require_approval".to_owned(),
                error_message: String::new(),
                duration_ms: None,
            });
        }
        events.push(asked);
        match self.append(vec![Expectation::NoLiveAct { act_digest: digest, at: act.now }], events).await {
            Ok(()) => {
                self.counters.asked.fetch_add(1, Ordering::Relaxed);
                Ok(Submission::AwaitingApproval { approval: Box::new(approval), joined: false })
            }
            // Someone asked for the very same act between our look and our record.
            Err(Refusal::Conflict(reason)) => self.join(digest).await?.ok_or(Refusal::Conflict(reason)),
            Err(other) => Err(other),
        }
    }

    fn question(
        &self,
        act: &Act<'_>,
        action_id: ActionId,
        digest: Digest,
        decision: &Decision,
        shown: Arguments,
    ) -> Approval {
        Approval {
            approval_id: ApprovalId::new(act.now, self.clock.random()),
            action_id,
            trace_id: act.request.trace_id.clone(),
            status: ApprovalStatus::Pending,
            tool_name: act.spec.name.clone(),
            agent_name: act.spec.agent.clone(),
            action_class: act.class,
            resource: act.resource.clone(),
            arguments: Value::Object(shown),
            act_digest: digest,
            policy_digest: decision.policy_digest,
            policy_name: decision.policy_name.clone(),
            message: decision.message.clone(),
            requester: act.request.principal.clone(),
            purpose: act.request.purpose,
            purpose_note: act.request.purpose_note.clone(),
            quorum: decision.approval_quorum.max(1),
            approver_roles: decision.approver_roles.clone(),
            votes: Vec::new(),
            requested_at: act.now,
            expires_at: later(act.now, self.options.approval_expiry),
            approval_valid_until: None,
            resolved_by: None,
            resolved_at: None,
            resolution_reason: String::new(),
        }
    }

    /// An act that is asked for again while it waits, runs, or has ended unseen is the same act, not another one.
    async fn join(&self, digest: Digest) -> Result<Option<Submission>, Refusal> {
        let Admission::Known(known) = self.ledger.find_act(digest).await.map_err(refusal)? else {
            return Ok(None);
        };
        match known.state {
            ActionState::AwaitingApproval | ActionState::Approved => {
                let found = self.ledger.action(&known.action_id).await.map_err(refusal)?;
                let Some(approval) = found.and_then(|act| act.approval) else { return Ok(None) };
                let expired = approval.status_at(self.clock.now()) == ApprovalStatus::Expired;
                Ok((!expired).then(|| Submission::AwaitingApproval { approval: Box::new(approval), joined: true }))
            }
            ActionState::Running => Ok(Some(Submission::InProgress(known))),
            ActionState::Succeeded | ActionState::Failed | ActionState::Unknown => {
                let first = self.ledger.collect(&known.action_id, self.clock.now()).await.map_err(refusal)?;
                Ok(first.then(|| Submission::Done(completed_from(*known))))
            }
            _ => Ok(None),
        }
    }

    async fn begin_approved(self: Arc<Self>, action_id: &ActionId) -> Result<Completed, Refusal> {
        let found = self.ledger.action(action_id).await.map_err(refusal)?;
        let Some(ResumableAct { action, approval: Some(approval) }) = found else {
            return Err(Refusal::Conflict(format!("there is no approved action `{action_id}`")));
        };
        if action.state != ActionState::Approved {
            return Err(Refusal::Conflict(format!("action `{action_id}` is {}, not approved", action.state)));
        }
        let now = self.clock.now();
        let request = request_of(&action);
        match self.still_the_same(&action, &approval, now) {
            Err(reason) => {
                self.mark_stale(&action, &approval, &reason, now).await?;
                Err(Refusal::Stale(reason))
            }
            Ok((entry, obligations)) => {
                let spec = entry.tool.spec();
                let act = Act { spec, class: action.action_class, resource: &action.resource, request: &request, now };
                let call = act.call(action_id.clone());
                let expect = vec![Expectation::ActionIn(action_id.clone(), ActionState::Approved)];
                self.run_recorded(&act, entry, call, obligations, expect, vec![]).await
            }
        }
    }

    /// Holds everything the approval is bound to against the present. What differs is said in words.
    fn still_the_same(
        &self,
        action: &StoredAction,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<(&Registered, Obligations), String> {
        if approval.approval_valid_until.is_some_and(|until| now >= until) {
            return Err("it was approved, but did not begin in the time that the approval was given for".to_owned());
        }
        let entry = self.registry.get(&action.tool).ok_or_else(|| format!("the tool `{}` is gone", action.tool))?;
        let spec = entry.tool.spec();
        let target = spec.target_argument.as_deref().and_then(|key| action.arguments.get(key)).and_then(Value::as_str);
        let resource = self.inventory.resolve(spec.resource_kind, target).map_err(|e| e.to_string())?;
        if resource != action.resource {
            return Err(format!("the inventory now describes `{}` differently", action.resource.name));
        }
        let policy = self.policy.load_full();
        if policy.digest() != approval.policy_digest {
            return Err("the policies have changed since people were asked".to_owned());
        }
        let digest = act_digest(&action.tool, &action.arguments, &resource, policy.digest(), &action.requester)
            .map_err(|e| e.to_string())?;
        if digest != approval.act_digest || entry.tool.class_of(&action.arguments) != action.action_class {
            return Err("the act is not the one that was approved".to_owned());
        }
        let asked = PolicyRequest {
            principal: &action.requester,
            purpose: action.purpose,
            resource: &resource,
            class: action.action_class,
            tool: &spec.name,
            measured: Measured::default(),
            at: now,
        };
        let decision = self.overridden(&asked, policy.digest()).unwrap_or_else(|| policy.decide(&asked));
        if decision.effect == Effect::Deny {
            return Err(format!("policy `{}` denies it at this moment: {}", decision.policy_name, decision.message));
        }
        if decision.approval_quorum > approval.quorum || decision.approver_roles != approval.approver_roles {
            return Err("policy asks for other approvers at this moment".to_owned());
        }
        Ok((entry, decision.obligations))
    }

    async fn mark_stale(
        &self,
        action: &StoredAction,
        approval: &Approval,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut event = self.event_for(action, EventType::ApprovalResolved, now);
        let mut settled = approval.clone();
        settled.status = ApprovalStatus::Stale;
        settled.resolution_reason = reason.to_owned();
        event.approval = Some(approval_part(&settled, None));
        let expect = vec![Expectation::ActionIn(action.action_id.clone(), ActionState::Approved)];
        self.append(expect, vec![event]).await
    }

    async fn run_allowed(
        &self,
        act: &Act<'_>,
        call: ToolCall,
        obligations: Obligations,
        events: Vec<Event>,
    ) -> Result<Completed, Refusal> {
        let entry = self.lookup(&act.spec.name)?;
        if act.class.mutates() {
            return self.run_recorded(act, entry, call, obligations, vec![], events).await;
        }
        // A read is served even when it cannot be recorded; it is counted and logged, so that nobody is fooled.
        let recorded = self.append(vec![], events).await;
        let completed = self.run_tool(act, entry, call, obligations).await;
        let (event, verification) = self.outcome_events(act, &completed);
        let event_id = event.event_id.clone();
        let settled = self.append(vec![], [Some(event), verification].into_iter().flatten().collect()).await;
        let complete = recorded.and(settled);
        if let Err(error) = &complete {
            self.counters.unrecorded_reads.fetch_add(1, Ordering::Relaxed);
            tracing::error!(tool.name = %act.spec.name, trace.id = %act.request.trace_id, "a read was served without a record: {error}");
        }
        Ok(Completed { event_id: complete.is_ok().then_some(event_id), ..completed })
    }

    /// Intent, effect, outcome: a change never begins before its intent is on disk.
    async fn run_recorded(
        &self,
        act: &Act<'_>,
        entry: &Registered,
        call: ToolCall,
        obligations: Obligations,
        expect: Vec<Expectation>,
        mut events: Vec<Event>,
    ) -> Result<Completed, Refusal> {
        let mut intent = self.event(act, EventType::EffectIntent, events.last());
        intent.action_id = Some(call.action_id.clone());
        intent.timestamp = self.clock.now();
        events.push(intent);
        // Before the intent is on disk, so that nobody who finds it there takes it for one that a crash left.
        let _in_hand = InHand::take(self, call.action_id.clone());
        self.append(expect, events).await?;

        let completed = self.run_tool(act, entry, call, obligations).await;
        let (event, verification) = self.outcome_events(act, &completed);
        let event_id = event.event_id.clone();
        let first = Entry { event, result: completed.outcome.as_ref().ok().cloned() };
        let entries: Vec<Entry> = std::iter::once(first).chain(verification.map(Entry::from)).collect();
        let expect = vec![Expectation::ActionIn(completed.action_id.clone(), ActionState::Running)];
        match self.ledger.record(expect, entries).await {
            Ok(_) => Ok(Completed { event_id: Some(event_id), ..completed }),
            Err(error) => {
                // The deed is done and its intent is on disk: after a restart it is found and looked at.
                tracing::error!(action.id = %completed.action_id, "the outcome of an act could not be recorded: {error}");
                Ok(Completed { event_id: None, ..completed })
            }
        }
    }

    async fn run_tool(&self, act: &Act<'_>, entry: &Registered, call: ToolCall, limits: Obligations) -> Completed {
        let limit = Duration::from_millis(act.spec.timeout_ms.max(1));
        let stop = self.hard_stop.child_token();
        let cx = TaskCx::new(Arc::clone(&self.clock), stop.clone(), limit);
        // Whatever the tool has started beside itself ends with it, however it ends.
        let _stopped_at_the_end = stop.drop_guard();
        let (action_id, trace_id) = (call.action_id.clone(), call.trace_id.clone());
        // Inside the future, so that a tool that breaks off before its first wait is caught as well.
        let run = AssertUnwindSafe(async { entry.tool.run(Permitted::mint(call, limits), &cx).await }).catch_unwind();
        let cut_off = if act.class.mutates() { FailureKind::Unknown } else { FailureKind::Timeout };
        let outcome = tokio::select! {
            ended = tokio::time::timeout(limit + TOOL_OVERTIME, run) => match ended {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(ToolFailure::new(cut_off, format!("`{}` broke off because of a fault inside it", act.spec.name))),
                Err(_) => Err(ToolFailure::new(cut_off, format!("`{}` did not end within {limit:?}", act.spec.name))),
            },
            () = self.told_to_stop() => {
                Err(ToolFailure::new(cut_off, format!("`{}` was cut off because the server stopped", act.spec.name)))
            }
        };
        let counter = match &outcome {
            Ok(_) => &self.counters.succeeded,
            Err(f) if f.kind == FailureKind::Unknown => &self.counters.unknown,
            Err(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Completed { action_id, trace_id, event_id: None, outcome }
    }

    async fn told_to_stop(&self) {
        self.hard_stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    fn outcome_events(&self, act: &Act<'_>, completed: &Completed) -> (Event, Option<Event>) {
        let now = self.clock.now();
        let duration_ms = u64::try_from(now.duration_since(act.now).as_millis()).unwrap_or(0);
        let mut event = self.event(act, EventType::ToolExecution, None);
        event.timestamp = now;
        event.action_id = Some(completed.action_id.clone());
        let (status, error) = status_of(&completed.outcome);
        if let Some(tool) = &mut event.tool {
            tool.duration_ms = Some(duration_ms);
            match &completed.outcome {
                Ok(output) => {
                    tool.result = output.output.chars().take(RECORD_OUTPUT_CHARS_MAX).collect();
                    tool.pre_state = output.pre_state.clone();
                    tool.verify_status = output.verify_status;
                    tool.affected = output.affected;
                }
                Err(failure) => tool.error = failure.message.chars().take(RECORD_OUTPUT_CHARS_MAX).collect(),
            }
        }
        let error_message = error.chars().take(RECORD_OUTPUT_CHARS_MAX).collect();
        event.outcome = Some(OutcomePart { status: status.to_owned(), error_message, duration_ms: Some(duration_ms) });
        let verification = self.verification_event(act, completed, &event);
        (event, verification)
    }

    fn verification_event(&self, act: &Act<'_>, completed: &Completed, parent: &Event) -> Option<Event> {
        let output = completed.outcome.as_ref().ok()?;
        let status = match output.verify_status? {
            VerifyStatus::Ok => return None,
            VerifyStatus::Warning => "verified_warning",
            VerifyStatus::Failed => "verified_failed",
            VerifyStatus::EscalationRequired => "escalation_required",
        };
        let mut event = self.event(act, EventType::VerificationOutcome, Some(parent));
        event.timestamp = parent.timestamp;
        event.outcome = Some(OutcomePart {
            status: status.to_owned(),
            error_message: format!("re-checked {} times", output.retry_count.unwrap_or(0)),
            duration_ms: None,
        });
        // The action is already settled by its own record; this one only adds to the journey.
        event.action_id = None;
        Some(event)
    }

    async fn probe_and_settle(self: Arc<Self>, action: StoredAction) -> Result<ActionState, Refusal> {
        if self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).contains(&action.action_id) {
            return Err(Refusal::Conflict(format!(
                "action `{}` is being carried out by this server",
                action.action_id
            )));
        }
        let verdict = match self.registry.get(&action.tool) {
            None => ProbeVerdict::CannotTell(format!("the tool `{}` is gone", action.tool)),
            Some(entry) => {
                let limit = Duration::from_secs(10);
                let cx = TaskCx::new(Arc::clone(&self.clock), self.hard_stop.child_token(), limit);
                let call = ToolCall {
                    action_id: action.action_id.clone(),
                    trace_id: action.trace_id.clone(),
                    tool: action.tool.clone(),
                    arguments: action.arguments.clone(),
                    resource: action.resource.clone(),
                    principal: action.requester.clone(),
                    purpose: action.purpose,
                };
                let permit = Permitted::mint(call, Obligations::default());
                let look = AssertUnwindSafe(async { entry.tool.probe(permit, &cx).await });
                match tokio::time::timeout(limit, look.catch_unwind()).await {
                    Ok(Ok(verdict)) => verdict,
                    _ => ProbeVerdict::CannotTell("the target could not be looked at in time".to_owned()),
                }
            }
        };
        let (status, state, words) = match verdict {
            ProbeVerdict::Happened(words) => ("success", ActionState::Succeeded, words),
            ProbeVerdict::DidNotHappen(words) => ("error", ActionState::Failed, words),
            ProbeVerdict::CannotTell(words) => ("unknown", ActionState::Unknown, words),
        };
        let mut event = self.event_for(&action, EventType::ToolExecution, self.clock.now());
        let error = if state == ActionState::Succeeded { String::new() } else { words.clone() };
        if let Some(tool) = &mut event.tool {
            tool.error.clone_from(&error);
            if state == ActionState::Succeeded {
                tool.result.clone_from(&words);
            }
        }
        event.note =
            "the server ended while this act was running; it was looked at afterwards and not repeated".to_owned();
        event.outcome = Some(OutcomePart { status: status.to_owned(), error_message: error, duration_ms: None });
        let result = (state == ActionState::Succeeded).then(|| ToolOutput::text(words));
        let expect = vec![Expectation::ActionIn(action.action_id.clone(), ActionState::Running)];
        self.ledger.record(expect, vec![Entry { event, result }]).await.map_err(refusal)?;
        Ok(state)
    }

    async fn append(&self, expect: Vec<Expectation>, events: Vec<Event>) -> Result<(), Refusal> {
        let entries = events.into_iter().map(Entry::from).collect();
        self.ledger.record(expect, entries).await.map(|_| ()).map_err(refusal)
    }

    fn event(&self, act: &Act<'_>, kind: EventType, parent: Option<&Event>) -> Event {
        let request = act.request;
        let mut event =
            Event::new(kind, request.principal.tenant.clone(), request.trace_id.clone(), act.now, self.clock.random());
        event.parent_id = parent.map(|p| p.event_id.clone());
        event.action_id = match parent {
            Some(parent) => parent.action_id.clone(),
            None => Some(ActionId::new(act.now, self.clock.random())),
        };
        event.origin = Some(request.origin);
        event.action_class = Some(act.class);
        event.principal = Some(request.principal.clone());
        event.purpose = request.purpose;
        event.purpose_note.clone_from(&request.purpose_note);
        event.session.clone_from(&request.session);
        event.input = InputPart { user_query: request.user_query.clone() };
        let shown = masked_arguments(&request.arguments, act.spec.target_argument.as_deref());
        event.tool = Some(ToolPart {
            name: act.spec.name.clone(),
            agent: act.spec.agent.clone(),
            parameters: Value::Object(shown),
            ..ToolPart::default()
        });
        event.resource = Some(act.resource.clone());
        event
    }

    fn event_for(&self, action: &StoredAction, kind: EventType, at: Timestamp) -> Event {
        let mut event =
            Event::new(kind, action.requester.tenant.clone(), action.trace_id.clone(), at, self.clock.random());
        event.action_id = Some(action.action_id.clone());
        event.action_class = Some(action.action_class);
        event.principal = Some(action.requester.clone());
        event.purpose = action.purpose;
        event.resource = Some(action.resource.clone());
        event.tool = Some(ToolPart {
            name: action.tool.clone(),
            parameters: Value::Object(action.arguments.clone()),
            ..ToolPart::default()
        });
        event
    }
}

/// Notes that this process has an act in hand, for as long as it lives.
struct InHand<'a> {
    gate: &'a Gate,
    action_id: ActionId,
}

impl<'a> InHand<'a> {
    fn take(gate: &'a Gate, action_id: ActionId) -> Self {
        gate.in_hand.lock().unwrap_or_else(PoisonError::into_inner).insert(action_id.clone());
        Self { gate, action_id }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.gate.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.action_id);
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

/// What a record says of an approval.
pub(crate) fn approval_part(approval: &Approval, question: Option<Approval>) -> ApprovalPart {
    ApprovalPart {
        approval_id: approval.approval_id.clone(),
        status: approval.status,
        policy_name: approval.policy_name.clone(),
        act_digest: approval.act_digest,
        requested_by: approval.requester.label(),
        vote: None,
        expires_at: approval.expires_at,
        valid_until: approval.approval_valid_until,
        question: question.map(Box::new),
        reason: approval.resolution_reason.clone(),
    }
}

fn refusal(error: LedgerError) -> Refusal {
    match error {
        LedgerError::Conflict(reason) => Refusal::Conflict(reason),
        LedgerError::Unavailable(_) => Refusal::RecordUnavailable(error.to_string()),
    }
}

fn status_of(outcome: &Result<ToolOutput, ToolFailure>) -> (&'static str, String) {
    match outcome {
        Ok(_) => ("success", String::new()),
        Err(failure) => {
            let status = match failure.kind {
                FailureKind::Unknown => "unknown",
                FailureKind::LimitExceeded => "denied",
                _ => "error",
            };
            (status, failure.message.clone())
        }
    }
}

fn request_of(action: &StoredAction) -> Request {
    Request {
        principal: action.requester.clone(),
        tool: action.tool.clone(),
        arguments: action.arguments.clone(),
        purpose: action.purpose,
        purpose_note: String::new(),
        trace_id: action.trace_id.clone(),
        origin: Origin::Gateway,
        session: SessionPart::default(),
        user_query: String::new(),
    }
}

/// An ended action as its requester gets it.
fn completed_from(action: StoredAction) -> Completed {
    let outcome = match (action.state, action.result) {
        (ActionState::Succeeded, Some(output)) => Ok(output),
        (ActionState::Succeeded, None) => {
            Ok(ToolOutput::text("done; the whole answer was not kept, its record holds an excerpt"))
        }
        (state, _) => {
            let kind = if state == ActionState::Unknown { FailureKind::Unknown } else { FailureKind::Failed };
            Err(ToolFailure::new(kind, action.error.unwrap_or_else(|| format!("the action is {state}"))))
        }
    };
    Completed { action_id: action.action_id, trace_id: action.trace_id, event_id: None, outcome }
}

/// A moment later by a duration, at most the end of time.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
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
