//! Other people's MCP servers: which there are, and what those who look after this server may see and decide of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use reeve_gate::Clock;
use reeve_http::{McpDoors, OtherServers};
use reeve_mcp::client::{McpConfig, McpError, McpServers};
use reeve_platform::Platform;
use reeve_types::ProblemCode;
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::surroundings::variable;

/// The file in the data directory that names the servers, when no other is set.
const SERVERS_FILE: &str = "mcp.toml";
/// How long a start waits for servers that nobody has seen before.
const MEET_WITHIN: Duration = Duration::from_secs(15);

/// The configured servers. Those that nobody has seen before are met when `meets`.
pub(super) async fn open(config: &Config, clock: &Arc<dyn Clock>, meets: bool) -> anyhow::Result<McpServers> {
    let (path, chosen) = match &config.mcp_file {
        Some(path) => (path.clone(), true),
        None => (config.data_dir.join(SERVERS_FILE), false),
    };
    let wanted = match std::fs::read_to_string(&path) {
        Ok(text) => read(&path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !chosen => McpConfig::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("the MCP servers' file {} cannot be read", path.display()));
        }
    };
    let servers = McpServers::open(wanted, &config.data_dir, Arc::new(variable), Arc::clone(clock))
        .with_context(|| format!("the MCP servers of {} cannot be used", path.display()))?;
    if meets {
        servers.meet(MEET_WITHIN).await;
    }
    Ok(servers)
}

fn read(path: &Path, text: &str) -> anyhow::Result<McpConfig> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        mcp: McpConfig,
    }
    if text.len() > CONFIG_FILE_BYTES_MAX {
        anyhow::bail!("the MCP servers' file {} is larger than {CONFIG_FILE_BYTES_MAX} bytes", path.display());
    }
    // The section may be written with or without its name.
    let named = text.lines().any(|line| line.trim_start().starts_with("[mcp"));
    let parsed = if named { toml::from_str::<Whole>(text).map(|whole| whole.mcp) } else { toml::from_str(text) };
    // The message alone: what stands around it in the file may be a secret.
    parsed.map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map_or(0, |before| before.lines().count());
        anyhow::anyhow!("the MCP servers' file {}:{line} is wrong: {}", path.display(), error.message())
    })
}

/// What the routes about the protocol are given.
pub(super) fn doors(platform: &Platform, servers: &McpServers) -> McpDoors {
    McpDoors {
        service: Some(reeve_mcp::server::service(platform.clone(), env!("CARGO_PKG_VERSION"))),
        servers: Some(Arc::new(Desk(servers.clone()))),
    }
}

struct Desk(McpServers);

impl OtherServers for Desk {
    fn report(&self) -> BoxFuture<'_, Value> {
        Box::pin(async { json!(self.0.report().await) })
    }

    fn accept<'a>(
        &'a self,
        name: &'a str,
        read: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Value, (ProblemCode, String)>> {
        Box::pin(async move {
            let report = self.0.accept(name, read).await.map_err(|error| {
                let code = match &error {
                    McpError::NoSuchServer(_) => ProblemCode::NotFound,
                    McpError::ChangedAgain(_) => ProblemCode::Conflict,
                    McpError::Unreachable { .. } => ProblemCode::Unavailable,
                    McpError::Pins(_) => ProblemCode::RecordUnavailable,
                    McpError::Configuration(_) => ProblemCode::BadRequest,
                };
                (code, error.to_string())
            })?;
            Ok(json!(report))
        })
    }
}
