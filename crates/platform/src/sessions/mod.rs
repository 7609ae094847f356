//! Sessions: agents that work under supervision.
//!
//! A session is what its events say ([`transcript`](self)), and a turn belongs to the server: whoever prompts, watches or
//! goes away changes nothing about it. Each step of a turn is on disk before the next begins, every tool call is an act
//! through the gate under an id that was written down first, and so a turn that a crash cuts off goes on where it was.

mod asking;
mod calls;
mod claims;
mod counts;
mod deeds;
mod definitions;
mod external;
mod feed;
mod lifecycle;
mod on_host;
mod permission;
mod prompting;
mod questions;
mod sharing;
mod spent;
mod statements;
mod terminals;
mod thinking;
mod timing;
mod tools;
mod transcript;
mod turn;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reeve_gate::Tool;
use reeve_gate::model::{ModelInfo, Models};
use reeve_store::{SessionChange, StoreError, StoredSession};
use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{Principal, ProblemCode, SessionId, TenantId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Permission, Platform, PlatformError};

pub use asking::stood_before;
pub use counts::SessionCounts;
pub use definitions::{AgentDefinition, AgentLimits, DefinitionError, Definitions};
pub use external::{
    Choice, ExternalAgent, ExternalAgents, ExternalFailure, ExternalLink, ExternalPeer, ExternalProfile, ExternalUsage,
    ExternalWanted, OfferedTool, PermissionAsked, SessionTools, ToolAnswer, ToolServer,
};
pub use feed::{Feed, Frame, Overview, Told};
pub use lifecycle::{ForkSession, NewSessionWanted, SessionPage, SessionPatch};
pub(crate) use permission::is_asked;
pub use permission::permission_tool;
pub use prompting::Accepted;
pub use reeve_store::SessionFilter;
pub use sharing::Shared;
pub use timing::Timing;

/// Settings of sessions.
#[derive(Debug, Clone)]
pub struct SessionsOptions {
    /// Turns in flight at the same time, in the whole server; more wait.
    pub turns: usize,
    /// How long a call of a model may take in all.
    pub model_timeout: Duration,
    /// The database that `database` sessions look at when nobody names one.
    pub default_target: Option<String>,
    /// How long an external agent may say nothing in a turn before people are told.
    pub silence_told: Duration,
    /// How long it may say nothing before its turn is ended.
    pub silence_max: Duration,
}

impl Default for SessionsOptions {
    fn default() -> Self {
        Self {
            turns: 256,
            model_timeout: Duration::from_secs(15 * 60),
            default_target: None,
            silence_told: Duration::from_secs(2 * 60),
            silence_max: Duration::from_secs(30 * 60),
        }
    }
}

/// What the service is made of, besides the platform.
pub struct SessionsParts {
    /// The models that agents can use; its list is empty when none is configured.
    pub models: Arc<dyn Models>,
    /// The agents that Reeve runs itself.
    pub definitions: Definitions,
    /// Other people's agents, when there is a way to start them.
    pub external: Option<Arc<dyn ExternalAgents>>,
    /// Settings.
    pub options: SessionsOptions,
}

/// Why something about a session was not done.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such session for this caller.
    #[error("there is no session `{0}`")]
    NoSuchSession(SessionId),
    /// What was sent makes no sense, or the session is not in a state for it.
    #[error("{message}")]
    Problem {
        /// The code that clients compare.
        code: ProblemCode,
        /// In words.
        message: String,
    },
    /// The platform said why.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The workspace said why.
    #[error(transparent)]
    Workspace(#[from] crate::workspaces::NotDone),
    /// The store failed.
    #[error("the store failed: {}", .0.chain())]
    Store(#[from] StoreError),
}

impl SessionError {
    fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self::Problem { code, message: message.into() }
    }

    fn conflict(message: impl Into<String>) -> Self {
        Self::new(ProblemCode::Conflict, message)
    }
}

/// An agent that a session can be begun with.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// `own`, or `external` for a program that speaks the Agent Client Protocol.
    pub kind: &'static str,
    /// What it is for.
    pub description: String,
    /// Whether it can only work in a workspace.
    pub needs_workspace: bool,
    /// Why it cannot be used now, and what to do; absent when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

pub(crate) struct Core {
    parts: SessionsParts,
    feeds: feed::Feeds,
    counts: SessionCounts,
    turns: Mutex<HashMap<SessionId, CancellationToken>>,
    /// Live external agents, by session.
    links: tokio::sync::Mutex<HashMap<SessionId, Arc<external::Live>>>,
    room: Arc<tokio::sync::Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Core {
    pub(crate) fn new(parts: SessionsParts, now: jiff::Timestamp) -> Self {
        Self {
            feeds: feed::Feeds::new(now),
            counts: SessionCounts::default(),
            turns: Mutex::default(),
            links: tokio::sync::Mutex::default(),
            room: Arc::new(tokio::sync::Semaphore::new(parts.options.turns.max(1))),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            parts,
        }
    }
}

/// The service; a cheap handle.
#[derive(Clone)]
pub struct Sessions {
    platform: Platform,
    core: Arc<Core>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn new(platform: Platform, core: Arc<Core>) -> Self {
        Self { platform, core }
    }

    /// The tools that sessions bring to the gate.
    pub fn tools() -> Vec<Arc<dyn Tool>> {
        vec![permission_tool()]
    }

    /// What sessions have done since the process began.
    pub fn counts(&self) -> &SessionCounts {
        &self.core.counts
    }

    /// The models that a tenant's sessions can use.
    pub fn models(&self, tenant: &TenantId) -> Vec<ModelInfo> {
        self.core.parts.models.list(tenant)
    }

    /// Asks each configured model for one word.
    pub async fn check_models(&self, tenant: &TenantId) -> Vec<reeve_gate::model::ModelHealth> {
        let clock = self.platform.clock().clone();
        let cx = reeve_gate::TaskCx::new(clock, self.core.stop.child_token(), Duration::from_secs(60));
        self.core.parts.models.check(tenant, &cx).await
    }

    /// The agents that sessions can be begun with.
    pub fn agents(&self, tenant: &TenantId) -> Vec<AgentInfo> {
        let no_model = self.core.parts.models.list(tenant).is_empty();
        let own = self.core.parts.definitions.iter().map(|agent| AgentInfo {
            name: agent.name.clone(),
            kind: "own",
            description: agent.description.clone(),
            needs_workspace: agent.needs_workspace,
            unavailable: (no_model && agent.needs_workspace).then(|| NO_MODEL.to_owned()),
        });
        let external = self.core.parts.external.iter().flat_map(|agents| agents.profiles()).map(|profile| AgentInfo {
            name: profile.name,
            kind: "external",
            description: profile.description,
            needs_workspace: true,
            unavailable: profile.unavailable,
        });
        own.chain(external).collect()
    }

    /// Settles what a stopped process left: turns in flight go on. Then waits for `stop`, and for the turns to pause.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        match self.platform.store().unsettled_sessions().await {
            Ok(left) => {
                for row in left {
                    self.take_up(row);
                }
            }
            Err(error) => tracing::error!("sessions that were left in a turn cannot be read: {}", error.chain()),
        }
        stop.cancelled().await;
        self.core.stop.cancel();
        self.core.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.core.tasks.wait()).await.is_err() {
            tracing::warn!("{} turns were left as they are; they go on at the next start", self.core.tasks.len());
        }
    }

    /// One session, if the caller may see it.
    async fn visible(&self, caller: &Principal, id: &SessionId) -> Result<StoredSession, SessionError> {
        let found = self.platform.store().session(&caller.tenant, id).await?;
        found.filter(|row| may(caller, row)).ok_or_else(|| SessionError::NoSuchSession(id.clone()))
    }

    /// Changes a session that the caller may see, and tells those who watch.
    async fn change<T: Send + 'static>(
        &self,
        caller: &Principal,
        id: &SessionId,
        how: impl FnOnce(&mut StoredSession, &mut Vec<Happening>) -> Result<T, String> + Send + 'static,
    ) -> Result<(StoredSession, T), SessionError> {
        self.visible(caller, id).await?;
        self.alter(&caller.tenant, id, how).await
    }

    async fn alter<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        how: impl FnOnce(&mut StoredSession, &mut Vec<Happening>) -> Result<T, String> + Send + 'static,
    ) -> Result<(StoredSession, T), SessionError> {
        let at = self.platform.clock().now();
        match self.platform.store().alter_session(tenant, id, at, how).await? {
            SessionChange::Done { row, events, value } => {
                self.tell(&row, events);
                Ok((*row, value))
            }
            SessionChange::Gone => Err(SessionError::NoSuchSession(id.clone())),
            SessionChange::Refused(reason) => Err(SessionError::conflict(reason)),
        }
    }

    fn tell(&self, row: &StoredSession, events: Vec<SessionEvent>) {
        self.core.counts.take(&events);
        self.core.feeds.tell(row, events);
    }
}

/// What is said when an agent needs a model and there is none.
pub(crate) const NO_MODEL: &str =
    "no model is configured, and this agent cannot work without one; see docs/models.md for how to name one";

/// Whether somebody may see a session: whoever answers for it, and administrators of its tenant.
fn may(caller: &Principal, row: &StoredSession) -> bool {
    caller.tenant == row.session.tenant
        && (caller.root().label() == row.session.owner || Permission::Administer.allows(caller))
}
