//! The way out: tools of other people's MCP servers, behind the gate.
//!
//! Nothing that a server says of its tools is believed. What it said when a person configured it is pinned by digest and
//! offered in its words, marked as such; what it says differently later is not offered until a person accepts it. Each
//! call is an act: policy decides, people are asked, the record is kept.

mod link;
mod outcome;
mod pins;
mod report;
mod server;
mod settings;
mod tool;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::{Clock, Registry, Tool};
use reeve_types::Digest;

use pins::{DEFINITION_BYTES_MAX, Pins};
use server::Server;
use tool::RemoteTool;

pub use pins::{Definition, PINS_FILE, Pin, PinsError};
pub use report::{ServerReport, ToolReport, ToolState};
pub use settings::{McpConfig, Revision, ServerSettings};

/// Looks variables of our environment up.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Why something about a server was not done.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The configuration makes no sense.
    #[error("{}", .0.join("; "))]
    Configuration(Vec<String>),
    /// The file of pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// No server of this name is configured.
    #[error("there is no MCP server `{0}` in the configuration")]
    NoSuchServer(String),
    /// It offers something else than what the person has read.
    #[error("the MCP server `{0}` offers something else by now; read the differences again")]
    ChangedAgain(String),
    /// The server could not be asked.
    #[error("the MCP server `{name}` cannot be used: {reason}")]
    Unreachable {
        /// Which.
        name: String,
        /// Why, in words.
        reason: String,
    },
}

/// The pins and where they are kept.
struct Book {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    pins: Mutex<Pins>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, server: &str) -> Option<BTreeMap<String, Pin>> {
        self.lock().servers.get(server).cloned()
    }

    /// Writes down what a look has shown: everything when a server is seen for the first time, what has drifted later.
    fn note(&self, server: &str, found: &BTreeMap<String, Definition>) {
        let mut pins = self.lock();
        let before = pins.servers.get(server).cloned();
        match before.clone() {
            None => {
                pins.servers.insert(server.to_owned(), pinned(found, self.clock.now()));
            }
            Some(mut known) => {
                for (name, pin) in &mut known {
                    // A tool that is missing comes back or does not; it is no other tool for that.
                    if let Some(now) = found.get(name) {
                        pin.drifted = (now.digest() != pin.definition.digest()).then(|| now.clone());
                    }
                }
                pins.servers.insert(server.to_owned(), known);
            }
        }
        if pins.servers.get(server) != before.as_ref() {
            if before.is_some() {
                tracing::warn!(
                    mcp.server = server,
                    "an MCP server's tools differ from what was pinned, or do so no longer"
                );
            }
            if let Err(error) = pins.save(&self.dir) {
                tracing::error!("{error}; the tools of new MCP servers are pinned until the server stops");
            }
        }
    }

    fn accept(&self, server: &str, found: &BTreeMap<String, Definition>) -> Result<(), PinsError> {
        let mut pins = self.lock();
        let before = pins.servers.insert(server.to_owned(), pinned(found, self.clock.now()));
        pins.save(&self.dir).inspect_err(|_| match before {
            Some(before) => drop(pins.servers.insert(server.to_owned(), before)),
            None => drop(pins.servers.remove(server)),
        })
    }
}

fn pinned(found: &BTreeMap<String, Definition>, at: Timestamp) -> BTreeMap<String, Pin> {
    let pin = |definition: &Definition| Pin { definition: definition.clone(), pinned_at: at, drifted: None };
    found.iter().map(|(name, definition)| (name.clone(), pin(definition))).collect()
}

/// Other people's servers. A cheap handle.
#[derive(Clone)]
pub struct McpServers {
    servers: Arc<BTreeMap<String, Arc<Server>>>,
    book: Arc<Book>,
    /// What the gate was given: by server and tool, the digest of what is offered.
    offered: Arc<Mutex<BTreeMap<(String, String), Digest>>>,
}

impl McpServers {
    /// The configured servers. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or the pins cannot be read.
    pub fn open(
        config: McpConfig,
        data_dir: &Path,
        environment: Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, McpError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(McpError::Configuration(mistakes));
        }
        let book = Arc::new(Book { dir: data_dir.to_owned(), clock, pins: Mutex::new(Pins::load(data_dir)?) });
        let noted: server::Noted = {
            let book = Arc::clone(&book);
            Arc::new(move |server, found| book.note(server, found))
        };
        let server = |(name, settings): (String, ServerSettings)| {
            (name.clone(), Arc::new(Server::new(name, settings, Arc::clone(&environment), Arc::clone(&noted))))
        };
        let servers = config.servers.into_iter().map(server).collect();
        Ok(Self { servers: Arc::new(servers), book, offered: Arc::default() })
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Meets servers that nobody has seen before, all at once and for so long at most. What they offer now is pinned.
    pub async fn meet(&self, within: Duration) {
        let strangers = self.servers.values().filter(|server| self.book.of(server.name()).is_none());
        let meetings = strangers.map(|server| async move {
            match tokio::time::timeout(within, server.look(true)).await {
                Ok(Ok(_)) => {}
                Ok(Err(trouble)) => {
                    tracing::warn!(mcp.server = server.name(), "a new MCP server cannot be used: {trouble}");
                }
                Err(_) => tracing::warn!(
                    mcp.server = server.name(),
                    "a new MCP server did not answer in time; its tools are offered from the next start on"
                ),
            }
        });
        futures_util::future::join_all(meetings).await;
    }

    /// Looks at every server, so that what has changed is known before somebody calls it.
    pub async fn look_at_all(&self) {
        let looks = self.servers.values().map(|server| async move {
            if let Err(trouble) = server.look(true).await {
                tracing::warn!(mcp.server = server.name(), "an MCP server cannot be used now: {trouble}");
            }
        });
        futures_util::future::join_all(looks).await;
    }

    /// The tools to give to the gate: those that were pinned and have not drifted since.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let mut given: BTreeMap<String, Arc<dyn Tool>> = BTreeMap::new();
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        for server in self.servers.values() {
            for (name, pin) in self.book.of(server.name()).unwrap_or_default() {
                if pin.drifted.is_some() || !server.settings.wants(&name) {
                    continue;
                }
                match usable(server, &name, &pin.definition) {
                    Ok((digest, tool)) if !given.contains_key(&tool.spec().name) => {
                        offered.insert((server.name().to_owned(), name), digest);
                        given.insert(tool.spec().name.clone(), tool);
                    }
                    Ok(_) => tracing::warn!(
                        mcp.server = server.name(),
                        mcp.tool = name,
                        "two tools would have the same name; one is left out"
                    ),
                    Err(why) => {
                        tracing::warn!(mcp.server = server.name(), mcp.tool = name, "a tool is left out: {why}")
                    }
                }
            }
        }
        given.into_values().collect()
    }

    /// How each server stands, and what differs from what was pinned.
    pub async fn report(&self) -> Vec<ServerReport> {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for server in self.servers.values() {
            let pins = self.book.of(server.name());
            all.push(report::of(server, pins, &offered, server.is_connected().await));
        }
        all
    }

    /// Looks at a server and pins what it offers now, if that is what the person has read: the `found` of its report.
    /// Changed and new tools are offered from the next start on.
    ///
    /// # Errors
    ///
    /// There is no such server, it cannot be reached, it has changed again, or the pins cannot be written.
    pub async fn accept(&self, name: &str, read: Option<&str>) -> Result<ServerReport, McpError> {
        let short = || name.chars().take(60).collect::<String>();
        let server = self.servers.get(name).ok_or_else(|| McpError::NoSuchServer(short()))?;
        let looked = server.look(true).await;
        looked.map_err(|trouble| McpError::Unreachable { name: short(), reason: trouble.to_string() })?;
        let found = server.seen().tools.unwrap_or_default();
        if read.is_some_and(|read| report::digest_of(&found).is_none_or(|now| now.to_string() != read)) {
            return Err(McpError::ChangedAgain(short()));
        }
        self.book.accept(name, &found)?;
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(report::of(server, self.book.of(name), &offered, true))
    }

    /// Closes every connection and ends the programs.
    pub async fn close(&self) {
        futures_util::future::join_all(self.servers.values().map(|server| server.close())).await;
    }
}

/// A tool as the gate can be given it, or why it cannot.
fn usable(server: &Arc<Server>, name: &str, definition: &Definition) -> Result<(Digest, Arc<dyn Tool>), String> {
    let size = serde_json::to_string(definition).map_or(usize::MAX, |text| text.len());
    if size > DEFINITION_BYTES_MAX {
        return Err(format!("its definition is larger than {DEFINITION_BYTES_MAX} bytes"));
    }
    let digest = definition.digest().ok_or("its definition is no JSON that can be pinned")?;
    let spec = tool::spec_of(server.name(), &server.settings, name, definition)?;
    let tool: Arc<dyn Tool> = Arc::new(RemoteTool { server: Arc::clone(server), name: name.to_owned(), digest, spec });
    // The gate refuses what is no schema; better here, where one tool is left out, than there, where nothing would start.
    Registry::new().register(Arc::clone(&tool)).map_err(|error| error.to_string())?;
    Ok((digest, tool))
}
