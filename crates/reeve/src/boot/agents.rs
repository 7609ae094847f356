//! Other people's agents: which there are, and what of this machine their workspaces see for them.

use std::sync::Arc;

use anyhow::Context as _;
use reeve_agents::runner::{AgentsConfig, Runner, RunnerParts};
use reeve_gate::relay::ModelRelay;
use reeve_platform::sessions::ExternalAgents;
use reeve_platform::workspaces::Workspaces;
use reeve_types::workspace::DriverKind;
use reeve_workspace::namespace::Toolchain;

use crate::config::Config;
use crate::config::surroundings::variable;

/// The file in the data directory that names agents of one's own.
const AGENTS_FILE: &str = "agents.toml";

/// What the file says; without one, only the known agents are there.
pub(super) fn read(config: &Config) -> anyhow::Result<AgentsConfig> {
    let path = config.data_dir.join(AGENTS_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(AgentsConfig::default()),
        Err(error) => {
            return Err(error).with_context(|| format!("the agents' file {} cannot be read", path.display()));
        }
    };
    AgentsConfig::read(&text).with_context(|| format!("the agents' file {} cannot be used", path.display()))
}

/// The directories that workspaces see for agents. Their programs are started by their paths.
pub(super) fn mounted(agents: &AgentsConfig) -> Vec<Toolchain> {
    let seen = agents.mounts().into_iter();
    seen.map(|mount| Toolchain { from: mount.from, inside: mount.inside, programs: None }).collect()
}

/// What starts them.
pub(super) fn runner(
    config: &Config,
    agents: AgentsConfig,
    workspaces: Option<Workspaces>,
    relay: Arc<dyn ModelRelay>,
) -> Arc<dyn ExternalAgents> {
    let sees_programs = config.workspaces.driver == Some(DriverKind::Namespace);
    let tools = Some(reeve_mcp::server::for_sessions(env!("CARGO_PKG_VERSION")));
    Arc::new(Runner::new(RunnerParts { workspaces, config: agents, relay, tools, sees_programs }, variable))
}
