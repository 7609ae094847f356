//! Configuration: `reeve.toml`, then `REEVE_*` variables and the guides' aliases, then flags.
//!
//! Everything here is pure: [`surroundings`] alone looks at the process and its files. [`load`] turns what was typed into
//! a [`Config`] that has been checked, with absolute paths and every default applied, or into every complaint at once.

mod check;
mod docs;
mod file;
mod keys;
mod layers;
pub(crate) mod surroundings;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reeve_gate::OperatingMode;
use reeve_http::RateLimits;
use reeve_platform::accounts::AccountOptions;
use reeve_types::WorkspaceLimits;
use reeve_types::secret::SecretString;
use reeve_types::workspace::DriverKind;

pub(crate) use check::load;
pub(crate) use docs::{reference, shown, shown_json};
pub(crate) use layers::{Flag, Settings, Source};
pub(crate) use surroundings::Surroundings;

/// The settings of one process: checked, absolute, complete.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the server listens; never empty, without duplicates. Port 0 lets the system choose.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where everything is kept; absolute, not necessarily there yet.
    pub(crate) data_dir: PathBuf,
    /// What the whole installation may do.
    pub(crate) mode: OperatingMode,
    /// Whether acts on `pii` and `critical` resources need a declared purpose.
    pub(crate) require_purpose_for_sensitive: bool,
    /// Policy files and directories, absolute; empty means the built-in policies.
    pub(crate) policy_files: Vec<PathBuf>,
    /// The inventory, absolute.
    pub(crate) inventory_file: Option<PathBuf>,
    /// Who is believed.
    pub(crate) identity: IdentityConfig,
    /// How people sign in.
    pub(crate) accounts: AccountOptions,
    /// How often callers may call.
    pub(crate) limits: RateLimits,
    /// How long questions to people live.
    pub(crate) approval: ApprovalConfig,
    /// How people are told.
    pub(crate) notify: NotifyConfig,
    /// The unix socket that streams new records, absolute.
    pub(crate) audit_socket: Option<PathBuf>,
    /// How changes are re-checked.
    pub(crate) verify: VerifyConfig,
    /// The file that names other people's MCP servers, when it was set; absolute.
    pub(crate) mcp_file: Option<PathBuf>,
    /// How streams of sessions are served.
    pub(crate) streams: StreamsConfig,
    /// Which agents there are, and what they think with.
    pub(crate) sessions: SessionsConfig,
    /// How workspaces are held.
    pub(crate) workspaces: WorkspacesConfig,
    /// How the server stops.
    pub(crate) shutdown: ShutdownConfig,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
    /// Where traces are sent, when they are.
    pub(crate) otel: Option<OtelConfig>,
    /// How the other commands reach the server.
    pub(crate) client: ClientConfig,
    /// What is allowed but dangerous or without effect; each to be said once at start.
    pub(crate) warnings: Vec<String>,
    /// What was typed, and where.
    pub(crate) settings: Settings,
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// API keys, and the users file when there is one.
    Keys,
    /// The same, and the users file is there.
    Static,
    /// Everybody is who they say. Every listen address is a loopback address.
    Trusting,
}

/// Who is believed.
#[derive(Debug, Clone)]
pub(crate) struct IdentityConfig {
    /// Whose word counts.
    pub(crate) provider: Provider,
    /// Users and roles, absolute; always set for [`Provider::Static`].
    pub(crate) users_file: Option<PathBuf>,
}

/// How long questions to people live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApprovalConfig {
    /// How long people have to answer.
    pub(crate) expiry: Duration,
    /// How long an approved act may wait before it must have begun.
    pub(crate) valid_for: Duration,
}

/// How people are told.
#[derive(Debug, Clone)]
pub(crate) struct NotifyConfig {
    /// A URL that is told of approvals. It may hold a token.
    pub(crate) webhook: Option<SecretString>,
    /// Where people reach this server; without a trailing slash.
    pub(crate) base_url: Option<String>,
    /// The mail server.
    pub(crate) smtp: Option<SmtpConfig>,
}

/// A mail server and what to send through it.
#[derive(Debug, Clone)]
pub(crate) struct SmtpConfig {
    /// Its name.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// The account there.
    pub(crate) user: Option<String>,
    /// Its password; only with a user.
    pub(crate) password: Option<SecretString>,
    /// The sender.
    pub(crate) from: String,
    /// The receivers; never empty.
    pub(crate) to: Vec<String>,
}

/// How changes are re-checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerifyConfig {
    /// How often at most; at least 1.
    pub(crate) attempts: u32,
    /// The first wait.
    pub(crate) initial_delay: Duration,
    /// The longest wait; not below the first.
    pub(crate) max_delay: Duration,
}

/// How streams of sessions are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamsConfig {
    /// How long one may be silent before it says that it lives.
    pub(crate) idle: Duration,
    /// How long a client may leave lie what was sent to it.
    pub(crate) client_timeout: Duration,
    /// How many may be open.
    pub(crate) connections: usize,
    /// How many one caller may have.
    pub(crate) per_caller: usize,
}

/// Which agents there are, and what they think with.
#[derive(Debug, Clone)]
pub(crate) struct SessionsConfig {
    /// The file that names models, when it was set.
    pub(crate) models_file: Option<PathBuf>,
    /// The directory of definitions, when it was set.
    pub(crate) agents_dir: Option<PathBuf>,
    /// The database that is meant when nobody names one.
    pub(crate) target: Option<String>,
    /// Turns in flight at the same time.
    pub(crate) turns: usize,
    /// How long an external agent may say nothing before people are told.
    pub(crate) silence_told: Duration,
    /// How long it may say nothing before its turn is ended.
    pub(crate) silence_max: Duration,
}

/// How many workspaces somebody may have; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkspacesQuota {
    /// That are not deleted.
    pub(crate) workspaces: u32,
    /// That run.
    pub(crate) running: u32,
    /// The disk limits of all together, in bytes.
    pub(crate) disk_bytes: u64,
}

/// How workspaces are held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, named as it is set")]
pub(crate) struct WorkspacesConfig {
    /// The driver; without one there are no workspaces.
    pub(crate) driver: Option<DriverKind>,
    /// Whether somebody chose it; what is usual may be missing on a machine that was never asked for workspaces.
    pub(crate) chosen: bool,
    /// The program inside, absolute; it is looked for beside this one otherwise.
    pub(crate) runtime: Option<PathBuf>,
    /// Where the engine answers; DOCKER_HOST and the usual sockets otherwise.
    pub(crate) docker_host: Option<String>,
    /// The engine's runtime for containers: `runsc`; its own default otherwise.
    pub(crate) docker_runtime: Option<String>,
    /// Templates of one's own, absolute.
    pub(crate) templates: Option<PathBuf>,
    /// Spare workspaces that wait for the next one that is made.
    pub(crate) warm: u32,
    /// What one user may have.
    pub(crate) user: WorkspacesQuota,
    /// What all users of a tenant may have together.
    pub(crate) tenant: WorkspacesQuota,
    /// What a workspace may use when neither its maker nor its template says.
    pub(crate) limits: WorkspaceLimits,
    /// The most that anybody may ask for.
    pub(crate) limits_max: WorkspaceLimits,
    /// How long a program may be allowed to run.
    pub(crate) run_max: Duration,
    /// Snapshots of one workspace.
    pub(crate) snapshots_max: u32,
    /// How long a deleted workspace can be restored.
    pub(crate) keep_deleted: Duration,
    /// Whether whoever makes a workspace says what it reaches.
    pub(crate) egress_by_choice: bool,
    /// What workspaces may reach although it lies in a private network.
    pub(crate) reachable: Vec<SocketAddr>,
    /// Whether a line for a shell that would do the worst is refused.
    pub(crate) strict_exec: bool,
    /// Whether an access token may stand in the address of a terminal.
    pub(crate) token_in_address: bool,
    /// Whether workspaces may work in directories of the host.
    pub(crate) host_directories: bool,
    /// The file that says which of them each tenant may work in, when it was set; absolute.
    pub(crate) tenants_file: Option<PathBuf>,
    /// What follows `PORT--WORKSPACE.preview.` in the names of previews.
    pub(crate) preview_domain: String,
}

/// How the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShutdownConfig {
    /// How long work in progress may go on.
    pub(crate) grace: Duration,
    /// When everything ends, counted from the same moment; not before the grace is over.
    pub(crate) hard: Duration,
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub(crate) struct LogConfig {
    /// A filter that has been checked.
    pub(crate) level: String,
    /// The shape of log lines.
    pub(crate) format: LogFormat,
}

/// Where traces are sent.
#[derive(Debug, Clone)]
pub(crate) struct OtelConfig {
    /// Where the collector takes traces; an `http` or `https` URL. It may hold a password.
    pub(crate) endpoint: String,
    /// What this server is called there.
    pub(crate) service_name: String,
    /// Which traces are sent.
    pub(crate) sampling: Sampling,
}

/// Which traces are sent, as `OTEL_TRACES_SAMPLER` names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Which part of them, from 0 to 1.
    pub(crate) part: f64,
    /// Whether a caller's word on its own trace comes first.
    pub(crate) caller_decides: bool,
}

/// How commands reach the server.
#[derive(Debug, Clone)]
pub(crate) struct ClientConfig {
    /// The server; an `http` or `https` URL without a trailing slash.
    pub(crate) server: String,
    /// Whether somebody named it. If so, nothing else is tried.
    pub(crate) server_named: bool,
    /// The key that was given; without one the data directory's token may serve.
    pub(crate) api_key: Option<SecretString>,
    /// The user to name.
    pub(crate) user: Option<String>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Where it was typed.
    pub(crate) source: Source,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Default => {}
            Source::File { .. } | Source::Variable(_) | Source::Flag(_) => write!(f, "{}: ", self.source)?,
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  help: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the configuration. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
