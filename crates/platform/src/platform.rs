//! The handle that ways in hold, and the tasks that run beside them.

use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{Clock, Gate, Refusal, Submission};
use reeve_store::{Store, StoreError};
use reeve_types::event::SessionPart;
use reeve_types::{
    ActionId, ApprovalId, Arguments, Event, EventId, EventType, Origin, Principal, Purpose, ResourceKind, TenantId,
    TraceId,
};
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::inventory::InventoryHolder;
use crate::notify::{Channel, NoticeCounts};
use crate::policies::Policies;

/// Why the platform did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The gate refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such approval for this caller.
    #[error("there is no approval `{0}`")]
    NoSuchApproval(ApprovalId),
    /// There is no such action for this caller.
    #[error("there is no action `{0}`")]
    NoSuchAction(ActionId),
    /// There is no such record for this caller.
    #[error("there is no record `{0}`")]
    NoSuchRecord(EventId),
    /// A link answers nothing, or no longer.
    #[error("this link does not work: it is too old, was not made here, or whom it was made for can no longer answer")]
    DeadLink,
    /// An approver may not decide about their own act.
    #[error("{who} asked for this act; someone else must decide about it")]
    OwnRequest {
        /// Who asked.
        who: String,
    },
    /// The caller lacks a role that the policy demands of approvers, or that this way of settling takes.
    #[error("this takes one of the roles {}, and {who} has none of them", .roles.join(", "))]
    NotAnApprover {
        /// Who tried.
        who: String,
        /// The roles, any of which would do.
        roles: Vec<String>,
    },
    /// It is no longer in the state that this needs.
    #[error("{0}")]
    Conflict(String),
    /// What was sent makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Nothing can be recorded.
    #[error("{0}")]
    RecordUnavailable(String),
    /// The store failed.
    #[error("the store failed: {}", .0.chain())]
    Store(#[from] StoreError),
}

impl From<reeve_gate::LedgerError> for PlatformError {
    fn from(error: reeve_gate::LedgerError) -> Self {
        match error {
            reeve_gate::LedgerError::Conflict(reason) => Self::Conflict(reason),
            reeve_gate::LedgerError::Unavailable(_) => Self::RecordUnavailable(error.to_string()),
        }
    }
}

/// Settings of the platform.
#[derive(Debug, Clone, Default)]
pub struct PlatformOptions {
    /// Where people reach this server, for links in notices.
    pub base_url: Option<String>,
    /// Where the unix socket stream listens.
    pub socket: Option<std::path::PathBuf>,
}

/// Everything a platform is made of.
pub struct PlatformParts {
    /// The door.
    pub gate: Arc<Gate>,
    /// The memory.
    pub store: Store,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// What can be acted on.
    pub inventory: Arc<InventoryHolder>,
    /// Which policies are in force, and from where.
    pub policies: Arc<Policies>,
    /// How people are told.
    pub channels: Vec<Arc<dyn Channel>>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub options: PlatformOptions,
}

/// What Reeve does; a cheap handle.
#[derive(Clone)]
pub struct Platform {
    pub(crate) parts: Arc<PlatformParts>,
    workspaces: Option<crate::workspaces::Workspaces>,
    sessions: Option<Arc<crate::sessions::Core>>,
    notices: Arc<NoticeCounts>,
}

impl Platform {
    /// A platform of these parts. Nothing runs yet; see [`Platform::run`].
    pub fn new(parts: PlatformParts) -> Self {
        Self { parts: Arc::new(parts), workspaces: None, sessions: None, notices: Arc::default() }
    }

    /// The same platform with workspaces, whose tools the gate has.
    #[must_use]
    pub fn with_workspaces(mut self, workspaces: crate::workspaces::Workspaces) -> Self {
        workspaces.connect(&self.parts.gate);
        let known = workspaces.clone();
        self.parts.inventory.show_workspaces(Arc::new(move |target| known.resource(target)));
        self.workspaces = Some(workspaces);
        self
    }

    /// The workspaces, when there are any on this server.
    pub fn workspaces(&self) -> Option<&crate::workspaces::Workspaces> {
        self.workspaces.as_ref()
    }

    /// The same platform with sessions, whose tool the gate has. Give it its workspaces first.
    #[must_use]
    pub fn with_sessions(mut self, parts: crate::sessions::SessionsParts) -> Self {
        if let Some(workspaces) = &self.workspaces {
            workspaces.know_models(Arc::clone(&parts.models));
        }
        self.sessions = Some(Arc::new(crate::sessions::Core::new(parts, self.clock().now())));
        self
    }

    /// The sessions, when there are any on this server.
    pub fn sessions(&self) -> Option<crate::sessions::Sessions> {
        let core = Arc::clone(self.sessions.as_ref()?);
        Some(crate::sessions::Sessions::new(self.clone(), core))
    }

    /// The door.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.parts.gate
    }
    /// The memory.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }
    /// Who is who.
    pub fn identity(&self) -> &Identity {
        &self.parts.identity
    }
    /// Where people reach this server, when that was set.
    pub fn base_url(&self) -> Option<&str> {
        self.parts.options.base_url.as_deref()
    }
    /// What can be acted on.
    pub fn inventory(&self) -> &InventoryHolder {
        &self.parts.inventory
    }
    /// Which policies are in force.
    pub fn policies(&self) -> &Policies {
        &self.parts.policies
    }
    /// Time and chance.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }
    /// How people are told, by name.
    pub fn channel_names(&self) -> Vec<&'static str> {
        self.parts.channels.iter().map(|channel| channel.name()).collect()
    }

    /// What became of tries to tell people since the process began.
    pub fn notices(&self) -> &NoticeCounts {
        &self.notices
    }

    /// A new journey whose prefix says where it began.
    pub fn new_trace(&self, prefix: &str) -> TraceId {
        TraceId::new(prefix, self.parts.clock.now(), self.parts.clock.random())
    }

    /// Holds a call against who may ask for it at all: workspaces take a role, one of somebody else's is not there, and
    /// what the inventory names is the first tenant's.
    /// Ways in that ask the gate by [`Platform::run_tool`] need not; those that only ask policy must.
    ///
    /// # Errors
    ///
    /// The caller may not use workspaces, or the target is none of theirs.
    pub async fn may_ask_for(
        &self,
        principal: &Principal,
        tool: &str,
        arguments: &Arguments,
    ) -> Result<(), PlatformError> {
        let Some(spec) = self.gate().spec(tool) else { return Ok(()) };
        self.within_reach(&principal.tenant, spec, arguments)?;
        match self.workspaces() {
            Some(workspaces) if spec.resource_kind == ResourceKind::Workspace => {
                workspaces.may_ask_for(principal, spec, arguments).await
            }
            _ => Ok(()),
        }
    }

    /// Asks the gate for one tool call.
    #[expect(clippy::too_many_arguments, reason = "these are the parts of one request, named at each call")]
    pub async fn run_tool(
        &self,
        principal: &Principal,
        tool: &str,
        arguments: Arguments,
        purpose: Option<Purpose>,
        purpose_note: &str,
        trace_id: TraceId,
        origin: Origin,
        user_query: &str,
    ) -> Result<Submission, PlatformError> {
        self.may_ask_for(principal, tool, &arguments).await?;
        let submission = self
            .parts
            .gate
            .submit(reeve_gate::Request {
                action_id: None,
                principal: principal.clone(),
                tool: tool.to_owned(),
                arguments,
                purpose,
                purpose_note: purpose_note.to_owned(),
                trace_id,
                origin,
                session: SessionPart::default(),
                user_query: user_query.to_owned(),
            })
            .await?;
        Ok(submission)
    }

    /// Records one event of the platform itself.
    pub async fn record(&self, event: Event) -> Result<(), PlatformError> {
        use reeve_gate::Ledger as _;
        self.parts.store.record(vec![], vec![event.into()]).await?;
        Ok(())
    }

    /// An event of this moment that the caller fills in.
    pub fn event(&self, kind: EventType, tenant: &TenantId, trace_id: TraceId) -> Event {
        Event::new(kind, tenant.clone(), trace_id, self.parts.clock.now(), self.parts.clock.random())
    }

    /// A record of the platform's own doings: start, stop, configuration.
    pub fn own_event(&self, kind: EventType, note: String) -> Event {
        let mut event = self.event(kind, &TenantId::default_tenant(), self.new_trace("sys"));
        event.principal =
            Some(Principal::new(reeve_types::PrincipalKind::Service, "reeve", reeve_types::AuthMethod::System));
        event.note = note;
        event
    }

    /// Runs everything that runs beside requests, until `stop`: settling what a stopped process left, expiring
    /// questions on the second, telling people, watching files, the socket stream.
    pub async fn run(&self, stop: CancellationToken) {
        let this = self.clone();
        // What is not settled by then stays as it is on disk and is settled at the next start.
        let settle = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.settle_interrupted() => {}
            }
        };
        let expire = this.expire_on_time(stop.clone());
        let tell = this.tell_people(stop.clone());
        let watch = this.watch_files(stop.clone());
        let stream = this.serve_socket(stop.clone());
        let tend = async {
            this.settle_backups().await;
            if let Some(workspaces) = this.workspaces() {
                workspaces.run(stop.clone()).await;
            }
        };
        let converse = async {
            if let Some(sessions) = this.sessions() {
                sessions.run(stop.clone()).await;
            }
        };
        tokio::join!(tend, settle, expire, tell, watch, stream, converse);
    }

    /// Reads the files that have changed, now and then, so that an edit takes effect without a restart.
    async fn watch_files(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.reload_changed().await,
            }
        }
    }

    /// Reloads what has changed on disk. A broken file keeps what was in force and is said loudly.
    pub async fn reload_changed(&self) {
        for outcome in [
            self.parts.policies.reload_if_changed(self),
            self.parts.inventory.reload_if_changed(),
            self.parts.identity.reload_if_changed(),
        ]
        .into_iter()
        .flatten()
        {
            match &outcome {
                Ok(what) => tracing::info!("{what}"),
                Err(reason) => tracing::error!("{reason}; what was in force before stays in force"),
            }
            let note = match outcome {
                Ok(what) => what,
                Err(reason) => format!("REFUSED: {reason}; what was in force before stays in force"),
            };
            self.parts.policies.keep_text(self).await;
            if let Err(error) = self.record(self.own_event(EventType::ConfigurationChanged, note)).await {
                tracing::error!("a change of configuration could not be recorded: {error}");
            }
        }
    }
}
