//! One configured server: its settings, its connection, and what it was last seen to offer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reeve_gate::{FailureKind, ToolFailure};
use reeve_types::Digest;
use rmcp::RoleClient;
use rmcp::service::Peer;
use tokio::time::Instant;

use super::link::{Link, Unreachable};
use super::settings::ServerSettings;
use super::{Definition, Environment};

/// How long a look at a server's tools holds, when it does not say itself that they have changed.
const LOOK_HOLDS_FOR: Duration = Duration::from_secs(300);
/// How long opening a connection may take.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// How long listing one page of tools may take.
const LIST_WITHIN: Duration = Duration::from_secs(20);

/// What a server was last seen to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Its tools, once it has listed them.
    pub(super) tools: Option<BTreeMap<String, Definition>>,
    /// Its name and version, and the revision that was agreed on.
    pub(super) about: Option<(String, String)>,
    /// Why it could not be reached when that was last tried.
    pub(super) trouble: Option<String>,
}

/// A connection, and when its tools were last looked at.
struct Held {
    link: Link,
    looked_at: Option<Instant>,
}

/// What is done with every look: hold it against the pins.
pub(super) type Noted = Arc<dyn Fn(&str, &BTreeMap<String, Definition>) + Send + Sync>;

/// One server.
pub(super) struct Server {
    name: String,
    pub(super) settings: ServerSettings,
    environment: Environment,
    link: tokio::sync::Mutex<Option<Held>>,
    seen: Mutex<Seen>,
    noted: Noted,
}

impl Server {
    pub(super) fn new(name: String, settings: ServerSettings, environment: Environment, noted: Noted) -> Self {
        Self { name, settings, environment, link: tokio::sync::Mutex::new(None), seen: Mutex::default(), noted }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server, ready for a call of a tool that is what it was when it was pinned.
    pub(super) async fn ready(
        &self,
        tool: &str,
        pinned: Digest,
        within: Duration,
    ) -> Result<Peer<RoleClient>, ToolFailure> {
        let peer = match tokio::time::timeout(within, self.look(false)).await {
            Ok(Ok(peer)) => peer,
            Ok(Err(Unreachable(why))) => {
                let message = format!("the MCP server `{}` cannot be used: {why}", self.name);
                return Err(ToolFailure::new(FailureKind::Unreachable, message));
            }
            Err(_) => {
                let message = format!("the MCP server `{}` was not ready in time", self.name);
                return Err(ToolFailure::new(FailureKind::Timeout, message));
            }
        };
        let now = self.lock().tools.as_ref().and_then(|tools| tools.get(tool)).map(Definition::digest);
        match now {
            Some(Some(digest)) if digest == pinned => Ok(peer),
            Some(_) => {
                let message = format!(
                    "`{tool}` of the MCP server `{0}` is not what it was when it was pinned, so it is not called; \
                     `reeve mcp servers` shows the difference, and `reeve mcp accept {0}` accepts it",
                    self.name
                );
                Err(ToolFailure::new(FailureKind::Failed, message))
            }
            None => {
                let message = format!("the MCP server `{}` has no tool `{tool}` any more", self.name);
                Err(ToolFailure::new(FailureKind::Failed, message))
            }
        }
    }

    /// Connects where there is no connection, and looks at what the server offers where the last look is old.
    pub(super) async fn look(&self, anew: bool) -> Result<Peer<RoleClient>, Unreachable> {
        let mut held = self.link.lock().await;
        if held.as_ref().is_some_and(|held| held.link.is_closed()) {
            *held = None;
        }
        let looked = self.look_through(&mut held, anew).await;
        if let Err(Unreachable(why)) = &looked {
            *held = None;
            self.lock().trouble = Some(why.clone());
        }
        looked
    }

    async fn look_through(&self, held: &mut Option<Held>, anew: bool) -> Result<Peer<RoleClient>, Unreachable> {
        let Held { link, looked_at } = match held {
            Some(held) => held,
            None => {
                let link = Link::open(&self.settings, self.environment.as_ref(), OPEN_WITHIN).await?;
                held.insert(Held { link, looked_at: None })
            }
        };
        if anew || link.take_changed() {
            *looked_at = None;
        }
        // A connection stays while it is looked through again: calls may be in flight on it.
        if looked_at.is_none_or(|at| at.elapsed() >= LOOK_HOLDS_FOR) {
            let tools = link.tools(LIST_WITHIN).await?;
            let tools: BTreeMap<String, Definition> =
                tools.iter().map(|(name, tool)| (name.clone(), Definition::of(tool))).collect();
            (self.noted)(&self.name, &tools);
            *self.lock() = Seen { tools: Some(tools), about: Some(link.about()), trouble: None };
            *looked_at = Some(Instant::now());
        }
        Ok(link.peer())
    }

    pub(super) async fn is_connected(&self) -> bool {
        // A connection that is being made or used right now counts as one.
        self.link.try_lock().map_or(true, |held| held.as_ref().is_some_and(|held| !held.link.is_closed()))
    }

    pub(super) async fn close(&self) {
        let held = self.link.lock().await.take();
        if let Some(held) = held {
            held.link.close().await;
        }
    }
}
