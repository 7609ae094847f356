//! A turn of an agent that Reeve runs itself: model, calls, results, until the model has said all.
//!
//! The loop holds nothing that is not in the events: it reads them, sees what comes next, does it, and writes down what
//! happened before it goes on.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use reeve_store::{OpenTurn, StoreError, StoredSession};
use reeve_types::event::SessionPart;
use reeve_types::model::{StopReason, Usage};
use reeve_types::session::{Grant, Happening, PermissionMode, Session, SessionState, TurnEnd};
use reeve_types::{Digest, Origin, Principal, PrincipalKind, SessionId, TenantId, TraceId};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::calls::answer_calls;
use super::definitions::AgentDefinition;
use super::spent::Spent;
use super::thinking::{answer_without_a_model, ask_model};
use super::tools::Kit;
use super::transcript::{Next, Transcript};
use super::{SessionError, Sessions, lock};
use crate::workspaces::{Asker, Workspaces};
use crate::{Platform, PlatformError};

/// The pause after something could not be written down.
const TRY_AGAIN: Duration = Duration::from_secs(2);

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

/// Who acts in a turn.
pub(super) struct Who {
    /// Whom the agent acts for.
    pub(super) owner: Principal,
    /// The agent, acting for its owner.
    pub(super) principal: Principal,
}

impl Who {
    /// An agent has the roles of whoever answers for it, and no others.
    fn of(agent: &str, owner: Principal) -> Arc<Self> {
        let mut principal = Principal::new(PrincipalKind::Agent, agent, owner.auth_method);
        principal.tenant = owner.tenant.clone();
        principal.roles.clone_from(&owner.root().roles);
        principal.on_behalf_of = Some(Box::new(owner.clone()));
        Arc::new(Self { owner, principal })
    }
}

/// The surroundings of one turn.
pub(super) struct TurnCx {
    pub(super) sessions: Sessions,
    pub(super) id: SessionId,
    pub(super) number: u64,
    /// The session when the turn began.
    pub(super) session: Session,
    tenant: TenantId,
    /// Who acts, as they were when they acted last.
    who: std::sync::Mutex<Arc<Who>>,
    pub(super) trace_id: TraceId,
    pub(super) cancel: CancellationToken,
    /// What the turn's acts and calls of models belong to in traces.
    pub(super) span: Span,
    /// What had happened in the session before this turn was taken up.
    pub(super) after: u64,
    grants: std::sync::Mutex<(Vec<Grant>, PermissionMode)>,
    /// How long the turn has waited for people.
    waited: std::sync::Mutex<Duration>,
    /// Digests of results that were kept beside the conversation because they were shortened.
    kept: std::sync::Mutex<HashSet<Digest>>,
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
            tenant: row.principal.tenant.clone(),
            who: std::sync::Mutex::new(Who::of(&row.session.agent, row.principal.clone())),
            trace_id,
            cancel,
            span,
            after: row.session.last_seq,
            grants: std::sync::Mutex::new((row.session.grants.clone(), row.session.mode)),
            waited: std::sync::Mutex::default(),
            kept: std::sync::Mutex::default(),
            sessions: sessions.clone(),
        }
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.sessions.platform
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether the agent is one that Reeve runs itself.
    pub(super) fn is_own(&self) -> bool {
        self.sessions.core.parts.definitions.get(&self.session.agent).is_some()
    }

    /// Who acts.
    pub(super) fn who(&self) -> Arc<Who> {
        Arc::clone(&lock(&self.who))
    }

    /// Looks anew at who the owner is: a role that was given or taken away meanwhile holds from here on. Whose key was taken
    /// back, or whose account was switched off, has nobody act for them any more: the turn ends.
    pub(super) async fn look_anew(&self) -> Result<(), Stop> {
        let before = self.who();
        let found = self.platform().identity().as_of_now(&before.owner).await;
        let now = found.map_err(|error| {
            let reason = format!(
                "who {} is now cannot be looked up, so nothing is done for them: {error}",
                before.owner.label()
            );
            Stop::Ended(TurnEnd::Failed, reason)
        })?;
        let Some(now) = now else {
            let reason = format!(
                "nobody acts for {} any more: the key or the account that began this was taken back or switched off",
                before.owner.label()
            );
            return Err(Stop::Ended(TurnEnd::Failed, reason));
        };
        if now != before.owner {
            *lock(&self.who) = Who::of(&self.session.agent, now);
        }
        Ok(())
    }

    pub(super) fn grants(&self) -> Vec<Grant> {
        lock(&self.grants).0.clone()
    }

    pub(super) fn mode(&self) -> PermissionMode {
        lock(&self.grants).1
    }

    /// Keeps a result that is shortened in what the model is shown.
    pub(super) async fn keep(&self, whole: String) -> Result<(), Stop> {
        let digest = Digest::of(whole.as_bytes());
        if !lock(&self.kept).contains(&digest) {
            self.platform().store().keep_session_text(&self.id, whole).await?;
            lock(&self.kept).insert(digest);
        }
        Ok(())
    }

    /// How long the turn has waited for people, in this process.
    pub(super) fn waited(&self) -> Duration {
        *lock(&self.waited)
    }

    pub(super) fn count_waiting(&self, time: Duration) {
        *lock(&self.waited) += time;
    }

    pub(super) fn workspaces(&self) -> Result<Workspaces, String> {
        self.platform().workspaces().cloned().ok_or_else(|| "this server has no workspaces".to_owned())
    }

    pub(super) fn asker(&self) -> Asker {
        Asker {
            principal: self.who().principal.clone(),
            purpose: None,
            purpose_note: String::new(),
            trace_id: self.trace_id.clone(),
            origin: Origin::Agent,
            session: SessionPart { id: self.id.to_string(), agent_name: self.session.agent.clone() },
            action_id: None,
        }
    }

    /// Fires when the turn is cancelled or the server stops.
    pub(super) async fn stopped(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = self.sessions.core.stop.cancelled() => {}
        }
    }

    pub(super) fn stop(&self) -> Option<Stop> {
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
        // What it was about to open when its session was closed is closed as well.
        self.close_terminals_if_closed(&tenant, &id).await;
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
                Some(definition) => run_own(&cx, definition).await,
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
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn word_of(end: TurnEnd) -> &'static str {
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

async fn run_own(cx: &Arc<TurnCx>, definition: &AgentDefinition) -> Result<Never, Stop> {
    let models = &cx.sessions.core.parts.models;
    if models.list(cx.tenant()).is_empty() {
        return answer_without_a_model(cx, definition).await;
    }
    let kit = Kit::of(
        &definition.tools,
        cx.platform().gate().specs().filter(|spec| cx.may_run(spec)),
        cx.session.workspace_id.is_some(),
    );
    let events = all_events(cx).await?;
    let mut transcript = Transcript::of(&events);
    let mut spent = Spent::of(definition.limits, &events, cx.number);
    drop(events);
    loop {
        if let Some(stop) = cx.stop() {
            return Err(stop);
        }
        cx.look_anew().await?;
        match transcript.next() {
            Next::Done(reason) => {
                super::claims::hold(cx).await?;
                let (end, words) = match reason {
                    StopReason::MaxTokens => (TurnEnd::LimitReached, "the answer was cut at its longest"),
                    StopReason::Refusal => (TurnEnd::Refused, "the model would not answer"),
                    _ => (TurnEnd::Completed, ""),
                };
                return Err(Stop::Ended(end, words.to_owned()));
            }
            Next::Answer(calls) => {
                spent.count_calls(&calls)?;
                let (asked, waited) = (Instant::now(), cx.waited());
                for finished in answer_calls(cx, &kit, calls, &mut spent).await? {
                    transcript.take(&finished);
                }
                spent.count_time(asked.elapsed().saturating_sub(cx.waited() - waited));
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

/// Everything that has happened in the session.
pub(super) async fn all_events(cx: &TurnCx) -> Result<Vec<reeve_types::session::SessionEvent>, Stop> {
    events_after(cx, 0).await
}

/// What has happened since.
pub(super) async fn events_after(cx: &TurnCx, from: u64) -> Result<Vec<reeve_types::session::SessionEvent>, Stop> {
    const PAGE: usize = 1000;
    let store = cx.platform().store();
    let Some(row) = store.session(cx.tenant(), &cx.id).await? else { return Err(Stop::Superseded) };
    let mut events: Vec<reeve_types::session::SessionEvent> = Vec::new();
    loop {
        let after = events.last().map_or(from, |event| event.seq);
        let page = store.session_events(&row, after, PAGE).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}
