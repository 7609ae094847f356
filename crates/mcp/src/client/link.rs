//! The connection to one server: made when it is first needed, looked at before it is used, bounded in every direction.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use reeve_types::secret::{ExposeSecret as _, SecretString};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, ClientRequest, Implementation,
    ListToolsRequest, PaginatedRequestParams, ProtocolVersion, ServerResult, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt as _, NotificationContext, Peer, PeerRequestOptions, RunningService,
    ServiceError,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::settings::{Revision, ServerSettings};
use crate::wording::visible;

/// Longest message that a server may send, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most tools of one server that are looked at.
const TOOLS_MAX: usize = 500;
/// Most pages in which it may list them.
const PAGES_MAX: usize = 50;
/// Longest line of a program's standard error that is logged, in bytes.
const STDERR_LINE_BYTES_MAX: u64 = 2048;
/// Most such lines of one run; what follows is read and thrown away.
const STDERR_LINES_MAX: usize = 1000;
/// Variables of our environment that a program gets unasked.
const USUAL_VARIABLES: [&str; 9] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "NO_COLOR"];

/// Why a server could not be talked to, in words; holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// What we are to a server: a client that lets it ask for nothing.
#[derive(Clone)]
struct Listener {
    changed: Arc<AtomicBool>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("reeve", env!("CARGO_PKG_VERSION")))
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

/// A connection.
pub(crate) struct Link {
    running: RunningService<RoleClient, Listener>,
    changed: Arc<AtomicBool>,
    /// The program, when the server is one. It ends with the connection.
    _program: Option<Program>,
}

impl Link {
    /// Connects, within a time.
    pub(crate) async fn open(
        settings: &ServerSettings,
        environment: &(dyn Fn(&str) -> Option<String> + Send + Sync),
        within: Duration,
    ) -> Result<Self, Unreachable> {
        let changed = Arc::new(AtomicBool::new(false));
        let listener = Listener { changed: Arc::clone(&changed) };
        // Older servers do not know the newest revision's opening, and are then greeted in the way they know.
        let newest = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle = match settings.revision {
            None => ClientLifecycleMode::Auto {
                preferred_versions: newest,
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
            Some(Revision::V2025_11_25) => ClientLifecycleMode::Initialize,
            Some(Revision::V2026_07_28) => ClientLifecycleMode::Discover { preferred_versions: newest },
        };
        let opening = async {
            let (running, program) = match &settings.url {
                Some(url) => {
                    let transport = http_transport(url, settings, environment)?;
                    (listener.serve_with_lifecycle(transport, lifecycle).await, None)
                }
                None => {
                    let (transport, program) = Program::start(settings, environment)?;
                    (listener.serve_with_lifecycle(transport, lifecycle).await, Some(program))
                }
            };
            let running = running.map_err(|error| Unreachable(format!("it did not open: {}", of_others(&error))))?;
            Ok(Self { running, changed, _program: program })
        };
        match tokio::time::timeout(within, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Unreachable(format!("it did not open within {} seconds", within.as_secs()))),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.running.is_closed() || self.running.is_transport_closed()
    }

    /// Whether it has said, since it was last asked, that its tools have changed.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// The other side, to be called without holding on to the connection.
    pub(crate) fn peer(&self) -> Peer<RoleClient> {
        self.running.peer().clone()
    }

    /// What it says it is, and the revision that was agreed on.
    pub(crate) fn about(&self) -> (String, String) {
        let Some(info) = self.running.peer_info() else { return (String::new(), String::new()) };
        let name = info.server_info.as_ref().map(|server| format!("{} {}", server.name, server.version));
        (visible(&name.unwrap_or_default(), 120), info.protocol_version.to_string())
    }

    /// Every tool that it lists now. What it says of how long the list may be kept is not believed.
    pub(crate) async fn tools(&self, within: Duration) -> Result<BTreeMap<String, Tool>, Unreachable> {
        let (mut found, mut cursor) = (BTreeMap::new(), None);
        for _ in 0..PAGES_MAX {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request =
                ClientRequest::ListToolsRequest(ListToolsRequest { params: Some(params), ..Default::default() });
            let options = PeerRequestOptions::with_timeout(within);
            let failed = |error: ServiceError| Unreachable(format!("it did not list its tools: {}", of_others(&error)));
            let handle = self.running.send_request_with_option(request, options).await.map_err(failed)?;
            let ServerResult::ListToolsResult(page) = handle.await_response().await.map_err(failed)? else {
                return Err(Unreachable("it answered the question for its tools with something else".to_owned()));
            };
            for tool in page.tools {
                if found.len() == TOOLS_MAX {
                    return Err(Unreachable(format!("it lists more than {TOOLS_MAX} tools")));
                }
                found.insert(tool.name.to_string(), tool);
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(found),
            }
        }
        Err(Unreachable(format!("it lists its tools on more than {PAGES_MAX} pages")))
    }

    pub(crate) async fn close(self) {
        // A server that does not let go loses the connection when this is dropped.
        let mut running = self.running;
        let _ = running.close_with_timeout(Duration::from_secs(3)).await;
    }
}

/// Calls a tool. Dropping the future tells the server that nobody waits any more.
pub(crate) async fn call(
    peer: &Peer<RoleClient>,
    tool: &str,
    arguments: reeve_types::Arguments,
) -> Result<CallToolResponse, ServiceError> {
    peer.call_tool_once(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)).await
}

/// What somebody else's program says went wrong, made safe to show.
pub(crate) fn of_others(error: &dyn std::error::Error) -> String {
    visible(&error.to_string(), 400)
}

fn http_transport(
    url: &str,
    settings: &ServerSettings,
    environment: &(dyn Fn(&str) -> Option<String> + Send + Sync),
) -> Result<StreamableHttpClientTransport<reqwest::Client>, Unreachable> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| -> Result<(), Unreachable> {
        let wrong = || {
            Unreachable(format!("the header `{name}` cannot be sent: its value holds characters that no header has"))
        };
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    for (name, value) in &settings.headers {
        put(name, value.expose_secret())?;
    }
    for (name, variable) in &settings.headers_env {
        let value = environment(variable).filter(|value| !value.is_empty());
        let value =
            value.ok_or_else(|| Unreachable(format!("the variable {variable} for its header `{name}` is not set")))?;
        put(name, value.trim())?;
    }
    // A redirect could lead anywhere with the headers on board, so none is followed.
    let mut builder = reqwest::Client::builder();
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    let client = builder
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .default_headers(headers)
        .build()
        .map_err(|error| Unreachable(format!("cannot speak HTTP: {}", of_others(&error))))?;
    let config = StreamableHttpClientTransportConfig::with_uri(url).max_sse_event_size(MESSAGE_BYTES_MAX);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

type Pipes = AsyncRwTransport<RoleClient, tokio::process::ChildStdout, tokio::process::ChildStdin>;

/// A server that is a program of ours: in a process group of its own, which ends as a whole.
struct Program {
    child: Child,
    group: Option<rustix::process::Pid>,
}

impl Program {
    fn start(
        settings: &ServerSettings,
        environment: &(dyn Fn(&str) -> Option<String> + Send + Sync),
    ) -> Result<(Pipes, Self), Unreachable> {
        let (program, arguments) =
            settings.command.split_first().ok_or_else(|| Unreachable("no program is configured".to_owned()))?;
        let usual = USUAL_VARIABLES.into_iter().filter_map(|name| Some((name.to_owned(), environment(name)?.into())));
        let passed = settings.env_from.iter().filter_map(|name| Some((name.clone(), environment(name)?.into())));
        let own = settings.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        let variables: Vec<(String, SecretString)> = usual.chain(passed).chain(own).collect();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Unreachable(format!("`{}` cannot be started: {error}", visible(program, 120))))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        let program = Self { child, group };
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(Unreachable("its pipes are gone".to_owned()));
        };
        tokio::spawn(log_lines(stderr, settings.command.first().cloned().unwrap_or_default()));
        Ok((AsyncRwTransport::new_client(stdout, stdin).with_max_line_length(MESSAGE_BYTES_MAX), program))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Only while its leader has not been waited for is the number of the group surely its own.
        if let (Some(group), Some(_)) = (self.group, self.child.id()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn log_lines(stderr: tokio::process::ChildStderr, program: String) {
    let mut reader = BufReader::new(stderr);
    let (mut line, mut lines) = (Vec::new(), 0);
    loop {
        line.clear();
        match (&mut reader).take(STDERR_LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) if lines < STDERR_LINES_MAX => {
                lines += 1;
                tracing::debug!(mcp.program = %program, "{}", visible(String::from_utf8_lossy(&line).trim_end(), 500));
            }
            Ok(_) => {}
        }
    }
}
