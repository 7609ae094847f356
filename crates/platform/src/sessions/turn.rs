//! A turn of an agent that Reeve runs itself: model, calls, results, until the model has said all.
//!
//! The loop holds nothing that is not in the events: it reads them, sees what comes next, does it, and writes down what
//! happened before it goes on.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use reeve_gate::model::{ModelEvent, ModelFailureKind};
use reeve_gate::{TaskCx, masked_arguments};
use reeve_store::{OpenTurn, StoreError, StoredSession};
use reeve_types::model::{Block, Prompt, Reply, StopReason, Usage};
use reeve_types::session::{Grant, Happening, INLINE_RESULT_BYTES_MAX, PermissionMode, Session, SessionState, TurnEnd};
use reeve_types::{
    ActionId, Arguments, Digest, Origin, Principal, PrincipalKind, SessionId, TenantId, TraceId, canonical_json,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::asking::Outcome;
use super::definitions::AgentDefinition;
use super::permission::PERMISSION_TOOL;
use super::tools::{Kit, Route, title_of, told_of_program};
use super::transcript::{Next, OpenCall, Transcript, text_of, trim};
use super::{SessionError, Sessions, lock};
use crate::workspaces::{Asker, Workspaces};
use crate::{Platform, PlatformError};

/// How often words of a model are written down while they come.
const DELTA_EVERY: Duration = Duration::from_millis(40);
/// Calls that only look which run at the same time.
const LOOKS_AT_ONCE: usize = 4;
/// How often the very same call may fail in one turn.
const SAME_FAILURE_MAX: usize = 3;
/// How often the very same call may be made in one turn.
const SAME_CALL_MAX: usize = 6;
/// The pause after something could not be written down.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Most databases that an agent is told of by name.
const DATABASES_MAX: usize = 30;
/// What a model is taken to read when nobody says.
const CONTEXT_TOKENS: u32 = 128_000;

/// Why a turn does not go on here.
#[derive(Debug)]
pub(super) enum Stop {
    /// It has ended.
    Ended(TurnEnd, String),
    /// Somebody cancelled it.
    Cancelled,
    /// The server stops; the turn goes on at the next start.
    Paused,
    /// The row says that this turn is no longer the one in flight.
    Superseded,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Paused,
            other => Self::Ended(TurnEnd::Failed, format!("the store failed: {}", other.chain())),
        }
    }
}

impl From<PlatformError> for Stop {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::Store(error) => error.into(),
            other => Self::Ended(TurnEnd::Failed, other.to_string()),
        }
    }
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Store(error) => error.into(),
            SessionError::NoSuchSession(_) => Self::Superseded,
            // The guard of a note refused.
            SessionError::Problem { code: reeve_types::ProblemCode::Conflict, .. } => Self::Superseded,
            other => Self::Ended(TurnEnd::Failed, other.to_string()),
        }
    }
}

/// The surroundings of one turn.
pub(super) struct TurnCx {
    pub(super) sessions: Sessions,
    pub(super) id: SessionId,
    pub(super) number: u64,
    /// The session when the turn began.
    pub(super) session: Session,
    /// Whom the agent acts for.
    pub(super) owner: Principal,
    /// The agent, acting for its owner.
    pub(super) principal: Principal,
    pub(super) trace_id: TraceId,
    pub(super) cancel: CancellationToken,
    /// What the turn's acts and calls of models belong to in traces.
    pub(super) span: Span,
    grants: std::sync::Mutex<(Vec<Grant>, PermissionMode)>,
}

impl TurnCx {
    /// `begun_by` is the span of the request that began the turn, where one did.
    pub(super) fn new(
        sessions: &Sessions,
        row: &StoredSession,
        turn: &OpenTurn,
        cancel: CancellationToken,
        begun_by: Option<Span>,
    ) -> Self {
        let mut principal = Principal::new(PrincipalKind::Agent, &row.session.agent, row.principal.auth_method);
        principal.tenant = row.principal.tenant.clone();
        principal.roles.clone_from(&row.principal.root().roles);
        principal.on_behalf_of = Some(Box::new(row.principal.clone()));
        let trace_id = sessions.platform.new_trace("ses");
        let span = tracing::debug_span!(
            // By reference: the span of the request may be ending, and must be there until this one is made.
            parent: begun_by.as_ref().and_then(tracing::Span::id),
            "invoke_agent",
            otel.kind = "internal",
            otel.name = format!("invoke_agent {}", row.session.agent),
            otel.status_code = Empty,
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = %row.session.agent,
            gen_ai.conversation.id = %row.session.id,
            session.id = %row.session.id,
            reeve.turn = signed(turn.number),
            reeve.turn.end = Empty,
            reeve.trace_id = %trace_id,
        );
        Self {
            id: row.session.id.clone(),
            number: turn.number,
            session: row.session.clone(),
            owner: row.principal.clone(),
            principal,
            trace_id,
            cancel,
            span,
            grants: std::sync::Mutex::new((row.session.grants.clone(), row.session.mode)),
            sessions: sessions.clone(),
        }
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.sessions.platform
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.principal.tenant
    }

    pub(super) fn grants(&self) -> Vec<Grant> {
        lock(&self.grants).0.clone()
    }

    pub(super) fn mode(&self) -> PermissionMode {
        lock(&self.grants).1
    }

    pub(super) fn workspaces(&self) -> Result<Workspaces, String> {
        self.platform().workspaces().cloned().ok_or_else(|| "this server has no workspaces".to_owned())
    }

    pub(super) fn asker(&self) -> Asker {
        Asker {
            principal: self.principal.clone(),
            purpose: None,
            purpose_note: String::new(),
            trace_id: self.trace_id.clone(),
            origin: Origin::Agent,
        }
    }

    /// Fires when the turn is cancelled or the server stops.
    pub(super) async fn stopped(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = self.sessions.core.stop.cancelled() => {}
        }
    }

    fn stop(&self) -> Option<Stop> {
        if self.cancel.is_cancelled() {
            Some(Stop::Cancelled)
        } else if self.sessions.core.stop.is_cancelled() {
            Some(Stop::Paused)
        } else {
            None
        }
    }

    /// Writes down what happened in this turn, as long as it is the one in flight.
    pub(super) async fn note(&self, happened: Vec<Happening>) -> Result<(), Stop> {
        self.note_with(happened, |_, _| {}).await
    }

    pub(super) async fn note_with(
        &self,
        what: Vec<Happening>,
        also: impl FnOnce(&mut StoredSession, &mut Vec<Happening>) + Send + 'static,
    ) -> Result<(), Stop> {
        let number = self.number;
        let (row, ()) = self
            .sessions
            .alter(self.tenant(), &self.id, move |row, happened| {
                if row.turn.as_ref().is_none_or(|turn| turn.number != number) {
                    return Err("another turn is in flight".to_owned());
                }
                happened.extend(what);
                also(row, happened);
                Ok(())
            })
            .await?;
        *lock(&self.grants) = (row.session.grants, row.session.mode);
        Ok(())
    }
}

/// Begins the next turn in a row if none is in flight and a prompt waits. Returns whether it did.
pub(super) fn begin_in_row(row: &mut StoredSession, happened: &mut Vec<Happening>, now: jiff::Timestamp) -> bool {
    if row.turn.is_some() || row.session.state == SessionState::Closed {
        return false;
    }
    let Some(prompt) = row.queue.pop_front() else { return false };
    row.session.turns += 1;
    let number = row.session.turns;
    happened.push(Happening::TurnStarted { turn: number, prompt_id: prompt.id.clone() });
    row.turn = Some(OpenTurn { number, prompt, began_at: now, cancelled: false, sent: false, usage: Usage::default() });
    (row.session.state, row.session.reason) = (SessionState::Running, String::new());
    true
}

/// Ends the turn in flight in a row, if there is one.
pub(super) fn end_in_row(row: &mut StoredSession, happened: &mut Vec<Happening>, end: TurnEnd, reason: &str) {
    let Some(turn) = row.turn.take() else { return };
    row.session.waiting_for.clear();
    let failed = matches!(end, TurnEnd::Failed);
    row.session.state = if failed { SessionState::Failed } else { SessionState::Idle };
    row.session.reason = if failed { reason.to_owned() } else { String::new() };
    happened.push(Happening::TurnEnded { turn: turn.number, end, reason: reason.to_owned(), usage: turn.usage });
}

impl Sessions {
    /// Drives a session's turns until none is in flight. Whoever calls has just begun one, or found one.
    pub(super) fn take_up(&self, row: StoredSession) {
        let this = self.clone();
        let id = row.session.id.clone();
        let begun_by = Span::current();
        self.core.tasks.spawn(async move {
            let tenant = row.session.tenant;
            let driven = AssertUnwindSafe(this.drive(tenant.clone(), id.clone(), begun_by)).catch_unwind().await;
            if driven.is_err() {
                this.break_off(&tenant, &id).await;
            }
        });
    }

    /// A fault inside the server must not leave a session at work for ever.
    async fn break_off(&self, tenant: &TenantId, id: &SessionId) {
        lock(&self.core.turns).remove(id);
        let ended = self.alter(tenant, id, |row, happened| {
            end_in_row(row, happened, TurnEnd::Failed, "a fault inside the server ended the turn; its log says more");
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::error!(session.id = %id, "a turn broke off, and that was not written down: {error}");
        }
    }

    /// Tells the turn in flight to end.
    pub(super) fn stop_turn(&self, id: &SessionId) {
        if let Some(token) = lock(&self.core.turns).get(id) {
            token.cancel();
        }
    }

    async fn drive(&self, tenant: TenantId, id: SessionId, begun_by: Span) {
        let cancel = CancellationToken::new();
        {
            // Two drivers of one session must not be.
            let mut turns = lock(&self.core.turns);
            if turns.contains_key(&id) {
                return;
            }
            turns.insert(id.clone(), cancel.clone());
        }
        let _room = tokio::select! {
            room = Arc::clone(&self.core.room).acquire_owned() => room,
            () = self.core.stop.cancelled() => { lock(&self.core.turns).remove(&id); return; }
        };
        let mut cancel = cancel;
        // Turns of prompts that waited are traces of their own.
        let mut begun_by = Some(begun_by);
        loop {
            let going_on = self.drive_one(&tenant, &id, &cancel, begun_by.take()).await;
            let mut turns = lock(&self.core.turns);
            if !going_on {
                turns.remove(&id);
                break;
            }
            cancel = CancellationToken::new();
            turns.insert(id.clone(), cancel.clone());
        }
        // A prompt may have come between the end of the last turn and our leaving.
        if !self.core.stop.is_cancelled()
            && let Ok(Some(row)) = self.platform.store().session(&tenant, &id).await
            && row.turn.is_some()
        {
            self.take_up(row);
        }
    }

    /// Drives the turn in flight to its end. Returns whether another has begun.
    async fn drive_one(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        cancel: &CancellationToken,
        begun_by: Option<Span>,
    ) -> bool {
        let row = match self.platform.store().session(tenant, id).await {
            Ok(Some(row)) => row,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!("the session cannot be read: {}", error.chain());
                return false;
            }
        };
        let Some(turn) = row.turn.clone() else { return false };
        if turn.cancelled {
            cancel.cancel();
        }
        let cx = Arc::new(TurnCx::new(self, &row, &turn, cancel.clone(), begun_by));
        // This one is for log lines: which session they speak of.
        let session =
            tracing::info_span!(parent: &cx.span, "session", session.id = %id, session.agent = %row.session.agent);
        let stop = async {
            match self.core.parts.definitions.get(&row.session.agent) {
                Some(definition) => run_own(&cx, definition, turn.began_at).await,
                None => self.run_external(&cx, &row, &turn).await,
            }
        };
        let stop = stop.instrument(session.clone()).instrument(cx.span.clone()).await;
        let (end, reason) = match stop {
            Err(Stop::Ended(end, reason)) => (end, reason),
            Err(Stop::Cancelled) => (TurnEnd::Cancelled, String::new()),
            Err(Stop::Paused | Stop::Superseded) => return false,
            Ok(never) => match never {},
        };
        cx.span.record("reeve.turn.end", word_of(end));
        if end == TurnEnd::Failed {
            cx.span.record("otel.status_code", "error");
        }
        cx.span.in_scope(|| session.in_scope(|| {
            tracing::info!(turn = turn.number, end = ?end, "a turn has ended{}", if reason.is_empty() { String::new() } else { format!(": {reason}") });
        }));
        drop((session, cx));
        let (now, number) = (self.platform.clock().now(), turn.number);
        let ended = self
            .alter(tenant, id, move |row, happened| {
                if row.turn.as_ref().is_none_or(|turn| turn.number != number) {
                    return Err("another turn is in flight".to_owned());
                }
                end_in_row(row, happened, end, &reason);
                Ok(begin_in_row(row, happened, now))
            })
            .await;
        match ended {
            Ok((_, begun)) => begun,
            Err(error) => {
                tracing::warn!("the end of a turn was not written down: {error}");
                // It is tried again from what is on disk, and not in a hurry.
                tokio::select! {
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                    () = self.core.stop.cancelled() => {}
                }
                false
            }
        }
    }
}

/// Traces know no other whole numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn word_of(end: TurnEnd) -> &'static str {
    match end {
        TurnEnd::Completed => "completed",
        TurnEnd::Cancelled => "cancelled",
        TurnEnd::LimitReached => "limit_reached",
        TurnEnd::Refused => "refused",
        TurnEnd::Failed => "failed",
    }
}

/// Never made: a turn ends by a [`Stop`].
pub(super) enum Never {}

async fn run_own(cx: &Arc<TurnCx>, definition: &AgentDefinition, began_at: jiff::Timestamp) -> Result<Never, Stop> {
    let models = &cx.sessions.core.parts.models;
    if models.list(cx.tenant()).is_empty() {
        return answer_without_a_model(cx, definition).await;
    }
    let kit = Kit::of(
        definition,
        cx.platform().gate().specs().filter(|spec| cx.may_run(spec)),
        cx.session.workspace_id.is_some(),
    );
    let mut transcript = Transcript::of(&all_events(cx).await?);
    let mut spent = Spent::new(definition, began_at);
    loop {
        if let Some(stop) = cx.stop() {
            return Err(stop);
        }
        match transcript.next() {
            Next::Done(reason) => {
                for unproven in super::claims::unproven(&transcript, cx.platform().gate()) {
                    let (claim, reason) = unproven;
                    cx.note(vec![Happening::ClaimUnproven { turn: cx.number, claim, reason }]).await?;
                }
                let (end, words) = match reason {
                    StopReason::MaxTokens => (TurnEnd::LimitReached, "the answer was cut at its longest"),
                    StopReason::Refusal => (TurnEnd::Refused, "the model would not answer"),
                    _ => (TurnEnd::Completed, ""),
                };
                return Err(Stop::Ended(end, words.to_owned()));
            }
            Next::Answer(calls) => {
                spent.count_calls(&calls)?;
                for finished in answer_calls(cx, &kit, calls, &mut spent).await? {
                    transcript.take(&finished);
                }
            }
            Next::Ask => {
                spent.check()?;
                let asked = Instant::now();
                let replied = ask_model(cx, definition, &kit, &transcript).await?;
                spent.count_reply(&replied, asked.elapsed());
                transcript.take(&replied);
            }
        }
    }
}

async fn all_events(cx: &TurnCx) -> Result<Vec<reeve_types::session::SessionEvent>, Stop> {
    const PAGE: usize = 1000;
    let store = cx.platform().store();
    let Some(row) = store.session(cx.tenant(), &cx.id).await? else { return Err(Stop::Superseded) };
    let mut events: Vec<reeve_types::session::SessionEvent> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = store.session_events(&row, after, PAGE).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// What a turn has used of its limits.
struct Spent {
    steps: u32,
    tokens: u64,
    time: Duration,
    limits: super::AgentLimits,
    made: HashMap<Digest, usize>,
    failed: HashMap<Digest, usize>,
}

impl Spent {
    fn new(definition: &AgentDefinition, _began_at: jiff::Timestamp) -> Self {
        Self {
            steps: 0,
            tokens: 0,
            time: Duration::ZERO,
            limits: definition.limits,
            made: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    fn check(&self) -> Result<(), Stop> {
        let limits = &self.limits;
        let reason = if self.steps >= limits.steps {
            format!("{} calls of the model were not enough", limits.steps)
        } else if self.tokens >= limits.tokens {
            format!("{} tokens were used, as many as the agent may", self.tokens)
        } else if self.time >= limits.time() {
            format!("it has worked for {} seconds, as long as the agent may", limits.time().as_secs())
        } else {
            return Ok(());
        };
        Err(Stop::Ended(TurnEnd::LimitReached, reason))
    }

    fn count_reply(&mut self, replied: &Happening, took: Duration) {
        self.steps += 1;
        self.time += took;
        if let Happening::ModelReplied { reply, .. } = replied {
            self.tokens += reply.usage.input_tokens + reply.usage.output_tokens;
        }
    }

    /// An agent that makes the same call again and again makes no progress.
    fn count_calls(&mut self, calls: &[OpenCall]) -> Result<(), Stop> {
        for call in calls.iter().filter(|call| call.begun.is_none()) {
            let made = self.made.entry(digest_of(call)).or_default();
            *made += 1;
            if *made > SAME_CALL_MAX {
                let reason = format!("it called `{}` {SAME_CALL_MAX} times with the same arguments", call.name);
                return Err(Stop::Ended(TurnEnd::LimitReached, reason));
            }
        }
        Ok(())
    }

    fn count_failure(&mut self, call: &OpenCall, content: &str) -> Result<(), Stop> {
        let key = Digest::of(format!("{}\n{content}", digest_of(call)).as_bytes());
        let failed = self.failed.entry(key).or_default();
        *failed += 1;
        if *failed >= SAME_FAILURE_MAX {
            let reason = format!("`{}` failed {SAME_FAILURE_MAX} times in the same way", call.name);
            return Err(Stop::Ended(TurnEnd::LimitReached, reason));
        }
        Ok(())
    }
}

fn digest_of(call: &OpenCall) -> Digest {
    Digest::of(format!("{} {}", call.name, call.input).as_bytes())
}

/// Answers what the model called: looks beside each other, everything else in order.
async fn answer_calls(
    cx: &Arc<TurnCx>,
    kit: &Kit,
    calls: Vec<OpenCall>,
    spent: &mut Spent,
) -> Result<Vec<Happening>, Stop> {
    let mut all = Vec::with_capacity(calls.len());
    let mut waiting: VecDeque<OpenCall> = calls.into();
    while let Some(first) = waiting.pop_front() {
        let looks = |call: &OpenCall| kit.route(&call.name).is_some_and(Route::only_looks);
        let mut group = vec![first];
        while looks(&group[0]) && waiting.front().is_some_and(looks) {
            group.extend(waiting.pop_front());
        }
        let answers = futures_util::stream::iter(group.clone())
            .map(|call| async move { answer(cx, kit, &call).await })
            .buffered(LOOKS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (call, answer) in group.iter().zip(answers) {
            let finished = answer?;
            if let Happening::ToolFinished { is_error: true, content, .. } = &finished {
                let failed = spent.count_failure(call, content);
                all.push(finished);
                failed?;
                continue;
            }
            all.push(finished);
        }
    }
    Ok(all)
}

/// One call, from what the model wants to what comes back. What comes back is written down.
async fn answer(cx: &TurnCx, kit: &Kit, call: &OpenCall) -> Result<Happening, Stop> {
    let (outcome, diffs) = match kit.route(&call.name) {
        None => {
            begin(cx, call, "other", None).await?;
            let name: String = call.name.chars().take(80).collect();
            (Outcome::failed(format!("there is no tool `{name}`; there are {}", kit.names())), Vec::new())
        }
        Some(_) if !call.input.is_object() => {
            begin(cx, call, "other", None).await?;
            (Outcome::failed("the arguments are no JSON object; call the tool again with one"), Vec::new())
        }
        Some(Route::Recall) => {
            begin(cx, call, "read", None).await?;
            (cx.recall(&call.input).await, Vec::new())
        }
        Some(Route::Workspace(verb)) if kit.route(&call.name).is_some_and(Route::only_looks) => {
            begin(cx, call, "read", None).await?;
            (cx.look(*verb, &call.input).await, Vec::new())
        }
        Some(route @ Route::Workspace(verb)) => {
            let action_id = begin(cx, call, route.kind(), Some(new_action(cx))).await?;
            in_workspace(cx, call, route, *verb, action_id).await?
        }
        Some(route @ Route::Gate(spec)) => {
            let action_id = begin(cx, call, route.kind(), Some(new_action(cx))).await?;
            let action_id = action_id.unwrap_or_else(|| new_action(cx));
            (cx.act(&call.id, &action_id, &spec.name, arguments_of(cx, spec, call)).await?, Vec::new())
        }
    };
    finish(cx, call, outcome, diffs).await
}

fn new_action(cx: &TurnCx) -> ActionId {
    let clock = cx.platform().clock();
    ActionId::new(clock.now(), clock.random())
}

/// The model's arguments. With exactly one database to look at, or a default one, it need not name it.
fn arguments_of(cx: &TurnCx, spec: &reeve_types::ToolSpec, call: &OpenCall) -> Arguments {
    let mut arguments = call.input.as_object().cloned().unwrap_or_default();
    if let (Some(key), Some(target)) = (&spec.target_argument, &cx.sessions.core.parts.options.default_target)
        && spec.resource_kind == reeve_types::ResourceKind::Database
        && !arguments.contains_key(key)
    {
        arguments.insert(key.clone(), json!(target));
    }
    arguments
}

/// Writes down that a call begins, under which action; a call that was begun before a crash keeps its own.
async fn begin(
    cx: &TurnCx,
    call: &OpenCall,
    kind: &str,
    action_id: Option<ActionId>,
) -> Result<Option<ActionId>, Stop> {
    if let Some(begun) = &call.begun {
        return Ok(begun.clone());
    }
    let arguments = match call.input.as_object() {
        Some(arguments) => Value::Object(masked_arguments(arguments, Some("connection_string"))),
        None => call.input.clone(),
    };
    cx.note(vec![Happening::ToolCalled {
        turn: cx.number,
        call_id: call.id.clone(),
        tool: call.name.clone(),
        title: title_of(&call.name, &call.input),
        kind: kind.to_owned(),
        arguments,
        action_id: action_id.clone(),
    }])
    .await?;
    Ok(action_id)
}

/// A change in the workspace: prepared, asked of the owner where the session's mode says so, then carried out.
async fn in_workspace(
    cx: &TurnCx,
    call: &OpenCall,
    route: &Route,
    verb: super::tools::Verb,
    action_id: Option<ActionId>,
) -> Result<(Outcome, Vec<reeve_types::session::FileDiff>), Stop> {
    let action_id = action_id.unwrap_or_else(|| new_action(cx));
    if cx.mode() == PermissionMode::Plan {
        let refused = "This session only plans: files are not changed and programs are not run. Say what you would do.";
        return Ok((Outcome::failed(refused), Vec::new()));
    }
    let begun = cx.platform().store().action_of(cx.tenant(), &action_id).await?.is_some();
    let prepared = match cx.prepare(verb, &call.input).await {
        Ok(prepared) => prepared,
        // What was begun is found by its id, whatever the file looks like now.
        Err(_) if begun => super::tools::Prepared {
            tool: if route.kind() == "execute" { "workspace_execute" } else { "workspace_save_file" },
            arguments: Arguments::new(),
            diffs: Vec::new(),
            detail: String::new(),
        },
        Err(reason) => return Ok((Outcome::failed(reason), Vec::new())),
    };
    if !begun && route.asks(cx.mode()) {
        let asked = ask_owner(cx, call, route.kind(), &prepared.detail).await?;
        if asked.is_error {
            return Ok((asked, Vec::new()));
        }
    }
    let outcome = cx.act(&call.id, &action_id, prepared.tool, prepared.arguments).await?;
    if outcome.is_error {
        return Ok((outcome, Vec::new()));
    }
    if route.kind() == "execute" {
        let (content, is_error) = told_of_program(outcome.data, outcome.content);
        return Ok((Outcome { is_error, content, data: None, record: outcome.record }, Vec::new()));
    }
    Ok((outcome, prepared.diffs))
}

async fn ask_owner(cx: &TurnCx, call: &OpenCall, kind: &str, detail: &str) -> Result<Outcome, Stop> {
    let arguments = json!({
        "agent": cx.session.agent, "session_id": cx.id, "call_id": call.id, "tool": call.name, "kind": kind,
        "title": title_of(&call.name, &call.input), "detail": detail.chars().take(4000).collect::<String>(),
    });
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    cx.act(&call.id, &new_action(cx), PERMISSION_TOOL, arguments).await
}

/// Writes down what came back; a text too long for an event is kept beside it.
async fn finish(
    cx: &TurnCx,
    call: &OpenCall,
    outcome: Outcome,
    diffs: Vec<reeve_types::session::FileDiff>,
) -> Result<Happening, Stop> {
    let (content, whole) = cx.fitting(outcome.content).await?;
    let finished = Happening::ToolFinished {
        call_id: call.id.clone(),
        is_error: outcome.is_error,
        content,
        whole,
        record: outcome.record,
        diffs: if diffs.iter().all(|diff| diff.new.len() + diff.old.as_ref().map_or(0, String::len) < 256 * 1024) {
            diffs
        } else {
            Vec::new()
        },
    };
    cx.note(vec![finished.clone()]).await?;
    Ok(finished)
}

impl TurnCx {
    /// A text as events hold it, and where the whole of it is when it was cut.
    pub(super) async fn fitting(&self, text: String) -> Result<(String, Option<Digest>), Stop> {
        if text.len() <= INLINE_RESULT_BYTES_MAX {
            return Ok((text, None));
        }
        let cut = (0..=INLINE_RESULT_BYTES_MAX / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (head, length) = (text[..cut].to_owned(), text.chars().count());
        let digest = self.platform().store().keep_session_text(&self.id, text).await?;
        let note = format!(
            "\n[cut: the whole result has {length} characters; read more with read_kept_result, result \"{digest}\", from {}]",
            head.chars().count()
        );
        Ok((head + &note, Some(digest)))
    }
}

/// Asks the model, and writes its words down while they come.
async fn ask_model(
    cx: &TurnCx,
    definition: &AgentDefinition,
    kit: &Kit,
    transcript: &Transcript,
) -> Result<Happening, Stop> {
    let models = &cx.sessions.core.parts.models;
    let model = cx.session.model.clone().or_else(|| definition.model.clone());
    let known = models.list(cx.tenant());
    let info = known.iter().find(|info| model.as_ref().map_or(info.is_default, |name| *name == info.name));
    let context =
        definition.limits.context_tokens.or(info.and_then(|info| info.context_tokens)).unwrap_or(CONTEXT_TOKENS);
    let mut messages = transcript.messages();
    let fixed = definition.instructions.len()
        + kit.tools.iter().map(|tool| tool.input_schema.to_string().len() + tool.description.len()).sum::<usize>();
    let trimmed = trim(&mut messages, fixed, context);
    let system = format!("{}\n\n{}", definition.instructions, surroundings(cx));
    let prompt = Prompt { system, messages, tools: kit.tools.clone(), ..Prompt::default() };
    let digest = Digest::of(&canonical_json(&json!(prompt)).unwrap_or_default());
    let call = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut asked = Vec::new();
    if trimmed.results + trimmed.messages > 0 {
        let (results, messages) = (trimmed.results, trimmed.messages);
        asked.push(Happening::ContextTrimmed { turn: cx.number, results, messages });
    }
    let (number, seen) = (cx.number, Arc::clone(&call));
    cx.note_with(asked, move |row, happened| {
        row.calls += 1;
        seen.store(row.calls, std::sync::atomic::Ordering::Relaxed);
        happened.push(Happening::ModelAsked { turn: number, call: row.calls, digest });
    })
    .await?;
    let call = call.load(std::sync::atomic::Ordering::Relaxed);

    let clock = cx.platform().clock().clone();
    let task = TaskCx::new(clock, cx.cancel.child_token(), cx.sessions.core.parts.options.model_timeout);
    let named = model.as_deref().or(info.map(|info| info.name.as_str())).unwrap_or("default");
    let span = tracing::debug_span!(
        "chat",
        otel.kind = "client",
        otel.name = format!("chat {named}"),
        otel.status_code = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = info.map(|info| info.kind),
        gen_ai.conversation.id = %cx.id,
        gen_ai.request.model = named,
        gen_ai.response.model = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
    );
    let counts = &cx.sessions.core.counts;
    let asked_at = Instant::now();
    let heard = hear(cx, call, model.as_deref(), prompt, &task).instrument(span.clone()).await;
    let reply = heard.inspect_err(|stop| {
        if matches!(stop, Stop::Ended(..)) {
            counts.model_failed();
            span.record("otel.status_code", "error");
        }
    })?;
    counts.model_latency.observe(asked_at.elapsed());
    span.record("gen_ai.response.model", reply.model.as_str());
    span.record("gen_ai.usage.input_tokens", signed(reply.usage.input_tokens));
    span.record("gen_ai.usage.output_tokens", signed(reply.usage.output_tokens));
    drop(span);
    let mut happened = Vec::new();
    let text = text_of(&reply.blocks);
    if !text.is_empty() {
        happened.push(Happening::Message { turn: cx.number, text });
    }
    let usage = reply.usage;
    let replied = Happening::ModelReplied { turn: cx.number, call, reply: with_unique_calls(reply, call) };
    happened.push(replied.clone());
    cx.note_with(happened, move |row, _| {
        row.session.usage += usage;
        if let Some(turn) = &mut row.turn {
            turn.usage += usage;
        }
    })
    .await?;
    Ok(replied)
}

/// What the agent should know of where it is.
fn surroundings(cx: &TurnCx) -> String {
    let now = cx.platform().clock().now();
    let mut text = format!("It is {}. You work for {}.", now.strftime("%Y-%m-%d %H:%M UTC"), cx.session.owner);
    if let Some(id) = &cx.session.workspace_id {
        text.push_str(&format!(" Your workspace is `{id}`."));
        if !cx.session.directory.is_empty() {
            text.push_str(&format!(" You work in its directory `{}`.", cx.session.directory));
        }
    }
    if let Some(inventory) = cx.platform().inventory().current().filter(|inventory| !inventory.db_servers.is_empty()) {
        let names: Vec<&str> = inventory.db_servers.keys().take(DATABASES_MAX).map(String::as_str).collect();
        let more = if inventory.db_servers.len() > DATABASES_MAX { " and more" } else { "" };
        text.push_str(&format!(" The databases that you can name are {}{more}.", names.join(", ")));
    }
    if let Some(target) = &cx.sessions.core.parts.options.default_target {
        text.push_str(&format!(" When no database is named, `{}` is meant.", reeve_types::mask_dsn(target)));
    }
    text
}

async fn hear(cx: &TurnCx, call: u64, model: Option<&str>, prompt: Prompt, task: &TaskCx) -> Result<Reply, Stop> {
    let ended = |failure: reeve_gate::model::ModelFailure| match failure.kind {
        ModelFailureKind::Cancelled => cx.stop().unwrap_or(Stop::Cancelled),
        _ => Stop::Ended(TurnEnd::Failed, failure.message),
    };
    let models = &cx.sessions.core.parts.models;
    let mut stream = tokio::select! {
        () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
        stream = models.ask(cx.tenant(), model, prompt, task) => stream.map_err(ended)?,
    };
    let (mut words, mut thoughts) = (String::new(), String::new());
    let mut flush_at: Option<tokio::time::Instant> = None;
    loop {
        let next = tokio::select! {
            () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
            () = async { tokio::time::sleep_until(flush_at.unwrap_or_else(tokio::time::Instant::now)).await }, if flush_at.is_some() => None,
            event = stream.next() => Some(event),
        };
        match next {
            None => {
                flush_at = None;
                write_down(cx, &mut words, &mut thoughts).await?;
            }
            Some(Some(Ok(ModelEvent::Text(text)))) => {
                words.push_str(&text);
                flush_at = flush_at.or_else(|| Some(tokio::time::Instant::now() + DELTA_EVERY));
            }
            Some(Some(Ok(ModelEvent::Thinking(text)))) => {
                thoughts.push_str(&text);
                flush_at = flush_at.or_else(|| Some(tokio::time::Instant::now() + DELTA_EVERY));
            }
            Some(Some(Ok(ModelEvent::ToolUse { .. }))) => {}
            Some(Some(Ok(ModelEvent::Retrying { attempt, reason, .. }))) => {
                (words, thoughts, flush_at) = (String::new(), String::new(), None);
                cx.note(vec![Happening::ModelRetrying { call, attempt, reason }]).await?;
            }
            Some(Some(Ok(ModelEvent::Finished(reply)))) => {
                write_down(cx, &mut words, &mut thoughts).await?;
                return Ok(*reply);
            }
            Some(Some(Err(failure))) => return Err(ended(failure)),
            Some(None) => {
                return Err(Stop::Ended(TurnEnd::Failed, "the model's answer broke off before its end".to_owned()));
            }
        }
    }
}

async fn write_down(cx: &TurnCx, words: &mut String, thoughts: &mut String) -> Result<(), Stop> {
    let mut happened = Vec::new();
    if !thoughts.is_empty() {
        happened.push(Happening::Thought { turn: cx.number, text: std::mem::take(thoughts) });
    }
    if !words.is_empty() {
        happened.push(Happening::Delta { turn: cx.number, text: std::mem::take(words) });
    }
    if happened.is_empty() { Ok(()) } else { cx.note(happened).await }
}

/// Some models count their calls anew in each answer; in a session each call has an id of its own.
fn with_unique_calls(mut reply: Reply, call: u64) -> Reply {
    for (n, block) in reply.blocks.iter_mut().enumerate() {
        if let Block::ToolUse { id, .. } = block
            && id.len() < 16
        {
            *id = format!("call_{call}_{n}_{id}");
        }
    }
    reply
}

/// Without a model, questions are routed by their words; the answer says so.
async fn answer_without_a_model(cx: &TurnCx, definition: &AgentDefinition) -> Result<Never, Stop> {
    if definition.needs_workspace {
        return Err(Stop::Ended(TurnEnd::Failed, super::NO_MODEL.to_owned()));
    }
    let store = cx.platform().store();
    let Some(row) = store.session(cx.tenant(), &cx.id).await? else { return Err(Stop::Superseded) };
    let Some(turn) = row.turn else { return Err(Stop::Superseded) };
    let question = crate::routing::Question {
        message: turn.prompt.text,
        target: cx.sessions.core.parts.options.default_target.clone(),
        trace_id: Some(cx.trace_id.clone()),
        ..crate::routing::Question::default()
    };
    let answer = tokio::select! {
        () = cx.stopped() => return Err(cx.stop().unwrap_or(Stop::Cancelled)),
        answer = cx.platform().ask(&cx.principal, question) => answer?,
    };
    let mut text = answer.text;
    text.push_str("\n\n_No model is configured: this answer comes from checks that the words of the question chose._");
    let failed = answer.state == "failed";
    cx.note(vec![Happening::Message { turn: cx.number, text }]).await?;
    let end = if failed { TurnEnd::Failed } else { TurnEnd::Completed };
    let reason = if failed { "nothing could be looked at" } else { "" };
    Err(Stop::Ended(end, reason.to_owned()))
}
