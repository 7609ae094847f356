//! Agents for sessions: started in the session's workspace, spoken with over a pipe, stopped with the session.
//!
//! ```text
//! session ── Runner ──▶ pipe: the agent ──▶ Connection ◀──▶ Hearing ──▶ session
//!                 └───▶ pipe: a door ──▶ ModelRelay ──▶ the provider, with the key
//!                                   └──▶ ToolServer ──▶ the session's tools: acts of the session
//! ```
//!
//! Both pipes are acts through the gate in the name of the agent, for the one it works for. The agent has no key and needs
//! no network. It asks before it acts, or it is not started.

mod calls;
mod dials;
mod door;
mod hearing;
mod launch;
mod link;
#[cfg(test)]
mod notebook;
mod settings;
mod spending;
mod steering;
mod terminals;
mod words;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::relay::{ModelRelay, Relayed};
use reeve_gate::workspace::Pipe;
use reeve_platform::sessions::{
    ExternalAgent, ExternalAgents, ExternalFailure, ExternalPeer, ExternalProfile, ExternalWanted, ToolServer,
};
use reeve_platform::workspaces::{Use, Workspaces};
use reeve_types::WorkspacePath;
use reeve_types::workspace::DriverKind;
use reeve_types::workspace::processes::OpenPipe;

use crate::acp::{AcpError, Connection, NewSession, Options, SessionRequest};
use door::{Answering, Door, FORWARD, Keeper, Models, Tools};
use hearing::Hearing;
use launch::of_provider;
use link::{Link, Parts, Watch, failure, last_line};
use settings::Agent;
use spending::Spending;
use steering::Helm;

pub use settings::{AgentsConfig, AgentsConfigError, MOUNTED_INSIDE, Mount};

/// How long an agent may take until it answers for the first time: many bring a whole run-time along.
const START_WITHIN: Duration = Duration::from_secs(120);

/// What is said where agents have no place to live.
const NO_WORKSPACES: &str = "it lives in a workspace, and this server has none; see docs/workspaces.md";

/// What starting agents needs.
pub struct RunnerParts {
    /// Where they live. Without workspaces none is started.
    pub workspaces: Option<Workspaces>,
    /// Which there are.
    pub config: AgentsConfig,
    /// What they think with.
    pub relay: Arc<dyn ModelRelay>,
    /// Who tells them of the gate's tools; without it they have none.
    pub tools: Option<Arc<dyn ToolServer>>,
    /// Whether workspaces see this machine's programs, unless a driver of their own is chosen.
    pub sees_programs: bool,
}

/// Starts agents. Cheap to share behind an `Arc`.
pub struct Runner {
    workspaces: Option<Workspaces>,
    agents: Vec<Agent>,
    relay: Arc<dyn ModelRelay>,
    tools: Option<Arc<dyn ToolServer>>,
    sees_programs: bool,
}

impl Runner {
    /// A runner. `variable` looks names up in the server's environment: of them only those that name programs are read.
    pub fn new(parts: RunnerParts, variable: impl Fn(&str) -> Option<String>) -> Self {
        let RunnerParts { workspaces, config, relay, tools, sees_programs } = parts;
        Self { workspaces, agents: config.agents(variable), relay, tools, sees_programs }
    }

    async fn start(
        &self,
        wanted: ExternalWanted,
        peer: Arc<dyn ExternalPeer>,
    ) -> Result<ExternalAgent, ExternalFailure> {
        let name = &wanted.profile;
        let agent = self.agents.iter().find(|agent| agent.profile.name == *name);
        let agent = agent.ok_or_else(|| failure(&format!("there is no agent `{name}` on this server any more")))?;
        let cannot = |reason: &dyn std::fmt::Display| failure(&format!("`{name}` cannot be started: {reason}"));
        let workspaces = self.workspaces.as_ref().ok_or_else(|| cannot(&NO_WORKSPACES))?;
        let tenant = &wanted.asker.principal.tenant;
        let workspace = workspaces.get(&wanted.asker.principal, &wanted.workspace_id).await;
        let looks = workspace.map_err(|error| cannot(&error))?.driver == DriverKind::Namespace;
        let provider = agent.provider(&*self.relay, Some(tenant)).map_err(|reason| cannot(&reason))?;
        let spending = Arc::new(Spending::new(provider.as_ref().map(|relayed| relayed.provider.clone())));
        let of_session = peer.tools(&agent.tools);
        let tools = self.tools.clone().zip(of_session).map(|(server, of_session)| Tools { server, of_session });
        let door = match (&provider, tools) {
            (None, None) => Ok(None),
            (provider, tools) => {
                self.door(workspaces, &wanted, provider.as_ref(), tools, Arc::clone(&spending)).await.map(Some)
            }
        };
        let (door, keeper, no_door) = match door {
            Ok(Some((door, keeper))) => (Some(door), Some(keeper), None),
            Ok(None) => (None, None, None),
            // An agent with a model of its own can do without.
            Err(reason) if provider.is_none() => (None, None, Some(reason)),
            Err(reason) => return Err(cannot(&reason)),
        };
        let opened = door.as_ref().zip(provider.as_ref());
        let model = wanted.model.as_deref();
        let launch = agent.launch(opened, &wanted.environment, model, looks);
        let (argv, env) = launch.map_err(|reason| cannot(&reason))?;
        let relayed = opened.map(|(_, relayed)| relayed);
        let told_at_start = agent.is_told_its_model(relayed);
        let is_relayed = relayed.zip(model).is_some_and(|(relayed, model)| of_provider(relayed, model).is_some());
        let cwd = directory(&wanted.directory).map_err(|reason| cannot(&reason))?;
        let what = OpenPipe { argv, cwd: cwd.clone(), env };
        let pipe = workspaces.open_pipe(&wanted.asker, &wanted.workspace_id, what).await;
        let Pipe { stdin, stdout, stderr, exit } = pipe.map_err(|error| cannot(&error))?;
        let watch = Watch::begin(exit, stderr);
        let hearing = Arc::new(Hearing::new(peer, cwd.clone(), spending));
        let options = Options { start_within: START_WITHIN, ..Options::default() };
        let begun = async {
            let heard = Arc::clone(&hearing);
            let (connection, _) = Connection::open(stdout, stdin, heard, options).await?;
            if let Some(reason) = no_door {
                hearing.warn(&format!("Reeve's tools are not offered to the agent: {reason}")).await;
            }
            let over_http = connection.info().reaches_mcp_over_http;
            let servers = door.as_ref().map(|door| door.servers(over_http)).unwrap_or_default();
            let request =
                || SessionRequest { cwd: cwd.to_string(), mcp_servers: servers.clone(), ..SessionRequest::default() };
            let (session, resumed) = begin(&connection, &hearing, &wanted, request).await?;
            if !resumed {
                hearing.spending.begin_anew();
            }
            let session_id = session.session_id;
            let helm = Helm { connection: &connection, hearing: &hearing, session_id: &session_id, told_at_start };
            helm.set_mode(wanted.mode).await?;
            let model = helm.begin_with(model, is_relayed).await;
            Ok::<_, AcpError>((connection, session_id, resumed, model))
        };
        let (connection, session_id, resumed, model) = match begun.await {
            Ok(begun) => begun,
            Err(AcpError::Ended { .. }) => {
                let (how, last) = watch.told().await;
                return Err(cannot(&format!("it {how}{}", last_line(&last))));
            }
            Err(error) => return Err(cannot(&error)),
        };
        model.map_err(|reason| cannot(&reason))?;
        let parts = Parts { connection, watch, _door: keeper };
        let (own, workspace) = (workspaces.clone(), wanted.workspace_id);
        let in_use = move || own.touch(&workspace, Use::Execution);
        let link = Link::new(parts, session_id.clone(), hearing, told_at_start, in_use);
        Ok(ExternalAgent { external_id: session_id, resumed, link: Arc::new(link) })
    }

    /// Opens the way to a provider's models, and to the session's tools.
    async fn door(
        &self,
        workspaces: &Workspaces,
        wanted: &ExternalWanted,
        relayed: Option<&Relayed>,
        tools: Option<Tools>,
        meter: Arc<Spending>,
    ) -> Result<(Door, Keeper), String> {
        let what = OpenPipe { argv: FORWARD.map(str::to_owned).to_vec(), ..OpenPipe::default() };
        let pipe = workspaces.open_pipe(&wanted.asker, &wanted.workspace_id, what).await;
        let pipe = pipe.map_err(|error| format!("the way out of its workspace cannot be opened: {error}"))?;
        let models = relayed.map(|relayed| Models {
            relay: Arc::clone(&self.relay),
            tenant: wanted.asker.principal.tenant.clone(),
            provider: relayed.provider.clone(),
            meter,
        });
        door::open(pipe, Answering { models, tools }).await
    }
}

impl ExternalAgents for Runner {
    fn profiles(&self) -> Vec<ExternalProfile> {
        let told = |agent: &Agent| {
            let (title, command) = (&agent.profile.title, agent.profile.argv.join(" "));
            let place = if self.sees_programs { "" } else { "; the workspace's image must have it" };
            ExternalProfile {
                name: agent.profile.name.clone(),
                description: format!("{title}, over the Agent Client Protocol: `{command}`{place}"),
                unavailable: match self.workspaces {
                    Some(_) => agent.unavailable(&*self.relay, self.sees_programs),
                    None => Some(NO_WORKSPACES.to_owned()),
                },
            }
        };
        self.agents.iter().map(told).collect()
    }

    fn open<'a>(
        &'a self,
        wanted: ExternalWanted,
        peer: Arc<dyn ExternalPeer>,
    ) -> BoxFuture<'a, Result<ExternalAgent, ExternalFailure>> {
        Box::pin(self.start(wanted, peer))
    }
}

/// The session's directory.
fn directory(below: &str) -> Result<WorkspacePath, String> {
    if below.is_empty() {
        return Ok(WorkspacePath::root());
    }
    below.parse().map_err(|problem| format!("its directory makes no sense: {problem}"))
}

/// Takes the old session up again where the agent can, and begins one where it cannot.
async fn begin(
    connection: &Connection,
    hearing: &Hearing,
    wanted: &ExternalWanted,
    request: impl Fn() -> SessionRequest,
) -> Result<(NewSession, bool), AcpError> {
    if let Some(old) = &wanted.resume {
        let (resumes, loads) = (connection.info().resumes_sessions, connection.info().loads_sessions);
        hearing.replay(true);
        let again = match (resumes, loads) {
            (true, _) => Some(connection.resume_session(old, request()).await),
            (false, true) => Some(connection.load_session(old, request()).await),
            (false, false) => None,
        };
        hearing.replay(false);
        match again {
            Some(Ok(session)) => {
                hearing.is_session(&session);
                return Ok((session, true));
            }
            Some(Err(error @ (AcpError::Ended { .. } | AcpError::Unsafe(_)))) => return Err(error),
            Some(Err(error)) => tracing::info!("an agent does not go on with an old session: {error}"),
            None => {}
        }
    }
    let session = match connection.new_session(request()).await {
        Err(AcpError::SignInNeeded { message }) => {
            let by_key = |id: &str| id.to_ascii_lowercase().replace(['-', '_'], "").contains("apikey");
            let method = connection.info().auth_methods.iter().find(|method| by_key(&method.id));
            let Some(method) = method else { return Err(AcpError::SignInNeeded { message }) };
            connection.authenticate(&method.id).await?;
            connection.new_session(request()).await?
        }
        session => session?,
    };
    hearing.is_session(&session);
    Ok((session, false))
}
