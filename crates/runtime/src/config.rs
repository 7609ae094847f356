//! What the runtime is told when it is started: through its environment, so that the token is in no process list.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use crate::environment::Environment;
use crate::words;

/// Shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;
/// How long a program of the sandbox runtime API may run unless told otherwise.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(600);

/// The secret that whoever asks must know. Never shown.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Whether something is the token. Takes as long for a near miss as for any other.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What the runtime serves, where, and to whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// The socket of the API.
    pub(crate) socket: PathBuf,
    /// The socket that hands out connections to ports.
    pub(crate) dial_socket: PathBuf,
    /// The secret.
    pub(crate) token: Token,
    /// The directory whose files are served.
    pub(crate) root: PathBuf,
    /// A TCP address to listen on as well.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether the sandbox runtime API asks for no token.
    pub(crate) open: bool,
    /// How long a program of the sandbox runtime API may run.
    pub(crate) sandbox_timeout: Duration,
    /// The preview process, where there is one.
    pub(crate) preview: Option<PreviewConfig>,
    /// Directories of control groups in which the kernel's count of kills can be read.
    pub(crate) cgroups: Vec<PathBuf>,
    /// What programs find in their environment.
    pub(crate) environment: Environment,
}

/// A process that is started with the runtime and kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviewConfig {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Whether it is given its restart key when something was written or run through the sandbox runtime API.
    pub(crate) hot_restart: bool,
}

/// Why the runtime cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No token, or one that can be guessed.
    #[error(
        "REEVE_RUNTIME_TOKEN must hold a secret of at least {TOKEN_BYTES_MIN} characters; whoever knows it owns the workspace"
    )]
    Token,
    /// A path is not absolute.
    #[error("{name} must be an absolute path, not `{value}`")]
    Path {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// A value cannot be read.
    #[error("{name} holds `{value}`; it takes {takes}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        takes: &'static str,
    },
}

impl Config {
    /// Reads the environment: `REEVE_RUNTIME_SOCKET`, `_TOKEN`, `_ROOT`, `_LISTEN`, `_OPEN`, `_CGROUPS`, `_PREVIEW`,
    /// `_PREVIEW_LOG`, `_HOT_RESTART` and `SANDBOX_EXEC_TIMEOUT_S`.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let token =
            get("REEVE_RUNTIME_TOKEN").filter(|token| token.len() >= TOKEN_BYTES_MIN).ok_or(ConfigError::Token)?;
        let socket = path("REEVE_RUNTIME_SOCKET", get("REEVE_RUNTIME_SOCKET"), "/run/reeve/runtime.sock")?;
        let root = path("REEVE_RUNTIME_ROOT", get("REEVE_RUNTIME_ROOT"), "/workspace")?;
        let cgroups = get("REEVE_RUNTIME_CGROUPS").unwrap_or_default();
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self {
            dial_socket: socket.parent().unwrap_or(Path::new("/")).join("dial.sock"),
            socket,
            token: Token(token),
            listen: get("REEVE_RUNTIME_LISTEN").map(|value| address(&value)).transpose()?,
            open: get("REEVE_RUNTIME_OPEN").is_some_and(|value| value == "1"),
            sandbox_timeout: get("SANDBOX_EXEC_TIMEOUT_S").map_or(Ok(SANDBOX_TIMEOUT), |value| seconds(&value))?,
            preview: get("REEVE_RUNTIME_PREVIEW").map(|command| preview(&command)).transpose()?,
            cgroups: cgroups.split(':').filter(|directory| directory.starts_with('/')).map(PathBuf::from).collect(),
            environment: Environment::of_programs(variables, &root.to_string_lossy()),
            root,
        })
    }
}

fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn preview(command: &str) -> Result<PreviewConfig, ConfigError> {
    let takes = "a command line without a shell, as in `npm run dev -- --port 3000`";
    let wrong = || ConfigError::Value { name: "REEVE_RUNTIME_PREVIEW", value: command.to_owned(), takes };
    let argv = words::split(command).ok().filter(|argv| !argv.is_empty()).ok_or_else(wrong)?;
    Ok(PreviewConfig {
        argv,
        log: path("REEVE_RUNTIME_PREVIEW_LOG", get("REEVE_RUNTIME_PREVIEW_LOG"), "/tmp/preview.log")?,
        hot_restart: get("REEVE_RUNTIME_HOT_RESTART").is_some_and(|value| value == "1"),
    })
}

fn path(name: &'static str, value: Option<String>, usual: &str) -> Result<PathBuf, ConfigError> {
    match value {
        None => Ok(PathBuf::from(usual)),
        Some(value) if value.starts_with('/') => Ok(PathBuf::from(value)),
        Some(value) => Err(ConfigError::Path { name, value }),
    }
}

fn address(value: &str) -> Result<SocketAddr, ConfigError> {
    let takes = "an address and a port, as in 127.0.0.1:8888";
    value.parse().map_err(|_| ConfigError::Value { name: "REEVE_RUNTIME_LISTEN", value: value.to_owned(), takes })
}

fn seconds(value: &str) -> Result<Duration, ConfigError> {
    let takes = "seconds, from 1 to 3600";
    let read = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    let wrong = || ConfigError::Value { name: "SANDBOX_EXEC_TIMEOUT_S", value: value.to_owned(), takes };
    read.map(Duration::from_secs).ok_or_else(wrong)
}
