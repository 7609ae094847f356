//! One call on its way: its arguments, its limits, its time, and the sessions it opens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reeve_gate::{FailureKind, ProbeVerdict, TaskCx, ToolCall, ToolFailure};
use reeve_types::{Arguments, Obligations, ToolOutput, ToolSpec, mask_dsn};

use super::define::{Body, Probe, TARGET};
use super::render::capped;
use super::trouble::Trouble;
use super::{Kit, args};
use crate::connect::{APPLICATION_NAME, Access, Canceller, ConnectOptions, Lent, Session, connect};
use crate::conninfo::Target;
use crate::failure::QueryFailure;

/// How much earlier the server gives up than we do, so that its own words arrive.
const SERVER_GIVES_UP_EARLIER: Duration = Duration::from_secs(1);
/// How long a server may take to hear that a statement is to be cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);
/// The shortest time that a statement is given.
const STATEMENT_TIME_MIN: Duration = Duration::from_millis(250);

/// One call of one tool.
pub(super) struct Job<'a> {
    pub(super) kit: &'a Kit,
    pub(super) call: ToolCall,
    pub(super) limits: Obligations,
    pub(super) cx: &'a TaskCx,
    spec: &'a ToolSpec,
    effect_in_flight: AtomicBool,
    changed: AtomicBool,
    opened: Mutex<Vec<Canceller>>,
}

impl<'a> Job<'a> {
    pub(super) fn new(kit: &'a Kit, spec: &'a ToolSpec, call: ToolCall, limits: Obligations, cx: &'a TaskCx) -> Self {
        Self {
            kit,
            call,
            limits,
            cx,
            spec,
            effect_in_flight: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            opened: Mutex::default(),
        }
    }

    pub(super) fn args(&self) -> &Arguments {
        &self.call.arguments
    }

    /// The target as people may read it.
    pub(super) fn shown(&self) -> String {
        match args::text(self.args(), TARGET) {
            Some(given) => mask_dsn(given),
            None => mask_dsn(&self.call.resource.name),
        }
    }

    /// Where the call leads.
    pub(super) fn target(&self) -> Result<Target, Trouble> {
        let given = args::text(self.args(), TARGET);
        self.kit.targets.target(&self.call.resource, given).map_err(Trouble::invalid)
    }

    /// A session that cannot write.
    pub(super) async fn look(&self) -> Result<Session, Trouble> {
        self.open(Access::ReadOnly).await
    }

    /// A session that cannot write, out of those that lie ready. For fixed statements only: it serves others afterwards.
    pub(super) async fn borrow(&self) -> Result<Lent, Trouble> {
        let whole = Duration::from_millis(self.spec.timeout_ms);
        // The same for every call of a tool, or no session would ever fit the next one.
        let statement = whole.saturating_sub(SERVER_GIVES_UP_EARLIER).max(STATEMENT_TIME_MIN);
        let options = ConnectOptions { total_timeout: whole, ..self.options_within(Access::ReadOnly, statement) };
        let lent = self.kit.sessions.lend(&self.target()?, &options).await?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(lent.canceller());
        Ok(lent)
    }

    /// A session that can write.
    pub(super) async fn change(&self) -> Result<Session, Trouble> {
        self.open(Access::ReadWrite).await
    }

    /// How a session of this call is opened.
    pub(super) fn connect_options(&self, access: Access) -> ConnectOptions {
        let statement = self.cx.remaining().saturating_sub(SERVER_GIVES_UP_EARLIER).max(STATEMENT_TIME_MIN);
        self.options_within(access, statement)
    }

    fn options_within(&self, access: Access, statement: Duration) -> ConnectOptions {
        ConnectOptions {
            access,
            application_name: APPLICATION_NAME.to_owned(),
            connect_timeout: self.kit.options.connect_timeout,
            total_timeout: self.cx.remaining(),
            statement_timeout: statement,
            lock_timeout: self.kit.options.lock_timeout.min(statement),
        }
    }

    async fn open(&self, access: Access) -> Result<Session, Trouble> {
        let session = connect(&self.target()?, &self.connect_options(access)).await?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(session.canceller());
        Ok(session)
    }

    /// Sends what cannot be called back. Should the answer never come, the end of the call is unknown.
    pub(super) async fn effect<T>(
        &self,
        statement: impl Future<Output = Result<T, QueryFailure>>,
    ) -> Result<T, Trouble> {
        self.effect_in_flight.store(true, Ordering::Release);
        let answer = statement.await;
        self.effect_in_flight.store(false, Ordering::Release);
        answer.map_err(Trouble::of_effect)
    }

    /// Notes that something has been changed for sure. What fails after that is not a failure of the change.
    pub(super) fn has_changed_something(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Runs the tool within its time.
    pub(super) async fn carry_out(&self, body: Body) -> Result<ToolOutput, ToolFailure> {
        let ended = tokio::select! {
            ended = body(self) => ended,
            () = tokio::time::sleep_until(self.cx.deadline()) => {
                self.cancel_statements().await;
                Err(self.broken_off("time ran out"))
            }
            () = self.cx.cancelled().cancelled() => {
                self.cancel_statements().await;
                Err(self.broken_off("it was stopped"))
            }
        };
        match ended {
            Ok(mut output) => {
                output.output = capped(output.output);
                Ok(output)
            }
            Err(trouble) if self.changed.load(Ordering::Acquire) => {
                Err(trouble.after_the_change().into_failure(&self.spec.name, &self.shown()))
            }
            Err(trouble) => Err(trouble.into_failure(&self.spec.name, &self.shown())),
        }
    }

    /// What runs on the server must not go on without us.
    async fn cancel_statements(&self) {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for canceller in opened {
            // A server that does not take the request still has its own time limit.
            let _ = tokio::time::timeout(CANCEL_PATIENCE, canceller.cancel()).await;
        }
    }

    fn broken_off(&self, why: &str) -> Trouble {
        if self.effect_in_flight.load(Ordering::Acquire) {
            return Trouble::NoAnswer(why.to_owned());
        }
        let kind = if self.cx.remaining().is_zero() { FailureKind::Timeout } else { FailureKind::Failed };
        let changed = self.changed.load(Ordering::Acquire);
        Trouble::Words(kind, if changed { why.to_owned() } else { format!("{why} before anything was changed") })
    }

    /// Looks whether an earlier run of this very call took effect.
    pub(super) async fn look_back(&self, probe: Option<Probe>) -> ProbeVerdict {
        let Some(probe) = probe else {
            return ProbeVerdict::CannotTell(format!("{} leaves no trace that names the call", self.spec.name));
        };
        let found = tokio::select! {
            found = probe(self) => found,
            () = tokio::time::sleep_until(self.cx.deadline()) => Err(Trouble::failed("time ran out")),
            () = self.cx.cancelled().cancelled() => Err(Trouble::failed("it was stopped")),
        };
        found.unwrap_or_else(|trouble| {
            ProbeVerdict::CannotTell(format!("{} could not be looked at: {}", self.shown(), trouble.sentence()))
        })
    }
}
