//! The driver `docker`: workspaces as containers of Docker Engine or Podman on this machine.
//!
//! What holds a workspace: the namespaces and the filter of system calls that the engine gives every container, no
//! capabilities, no way to gain any, a user that is not root, a read-only system, control groups for memory, processor
//! and processes, and a network with a loopback and nothing else, unless it was given the way out of `crate::egress`. Its files are a named volume that outlives the
//! container. The program inside is mounted read-only from this machine and is the container's first process; the
//! engine's socket is never inside.

mod about;
mod asking;
mod chores;
mod container;
mod driver;
mod engine;
mod failure;
mod held;
mod host;
mod labels;
mod layout;
mod lifecycle;
mod network;
mod packing;
mod readiness;
mod seeding;
mod snapshots;
mod sockets;
mod sweeping;
mod usage;
mod volumes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reeve_types::{WorkspaceError, WorkspaceId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::templates::Templates;
use engine::Engine;
use held::Workspaces;
use layout::Layout;

/// How many containers are made or started at the same time; more would only take turns in the engine.
const AT_ONCE: usize = 4;
/// What names of containers and volumes begin with, and the value of the label `app`, unless told otherwise.
const PREFIX: &str = "vibecode";
/// How often workspaces are measured, unless told otherwise.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// Settings of the driver.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// Where what lasts on this machine is kept: marks of what is complete, and the sockets' directories.
    pub root: PathBuf,
    /// The program inside, `reeve-runtime`. It must run in the images: linked statically, or against a C library no
    /// newer than theirs.
    pub runtime: PathBuf,
    /// What workspaces are made from.
    pub templates: Templates,
    /// The engine's socket as in `DOCKER_HOST`: `unix:///run/docker.sock`. When absent, `DOCKER_HOST` and then the
    /// usual places are looked at.
    pub host: Option<String>,
    /// What names of containers and volumes begin with, and the value of the label `app`.
    pub prefix: String,
    /// Another runtime of containers that the engine knows, such as `runsc`.
    pub container_runtime: Option<String>,
    /// Private addresses that an allow-list may name all the same: a mirror of packages in one's own network, for example.
    pub reachable: Vec<SocketAddr>,
    /// How often workspaces whose disk has no end set by the kernel are measured.
    pub measure_every: Duration,
}

impl DockerOptions {
    /// The usual settings.
    pub fn new(root: impl Into<PathBuf>, runtime: impl Into<PathBuf>, templates: Templates) -> Self {
        Self {
            root: root.into(),
            runtime: runtime.into(),
            templates,
            host: None,
            prefix: PREFIX.to_owned(),
            container_runtime: None,
            reachable: Vec::new(),
            measure_every: MEASURE_EVERY,
        }
    }
}

/// Makes workspaces with an engine of containers. Cheap to clone; all clones are one driver.
#[derive(Clone)]
pub struct DockerDriver(Arc<Inner>);

struct Inner {
    options: DockerOptions,
    layout: Layout,
    engine: Engine,
    workspaces: Workspaces,
    /// Whether the engine has refused to give a volume an end.
    unlimited_volumes: AtomicBool,
    turns: Semaphore,
    background: CancellationToken,
}

impl DockerDriver {
    /// Opens the driver over a directory. The engine need not run yet: it is looked for whenever it is needed, and what
    /// it holds is known by labels. Must be called inside a tokio runtime.
    pub async fn open(options: DockerOptions) -> Result<Self, WorkspaceError> {
        let root = options.root.clone();
        let layout = failure::aside(move || Layout::prepare(&root)).await?;
        let driver = Self(Arc::new(Inner {
            engine: Engine::new(host::find(options.host.as_deref())),
            workspaces: Workspaces::default(),
            unlimited_volumes: AtomicBool::new(false),
            turns: Semaphore::new(AT_ONCE),
            background: CancellationToken::new(),
            layout,
            options,
        }));
        sweeping::begin(&driver.0);
        Ok(driver)
    }

    /// The label under which everything of this driver is found on the engine.
    pub fn installation(&self) -> String {
        self.0.layout.installation()
    }

    /// How many connections of a workspace were refused since this server knows of it.
    pub fn refused_connections(&self, workspace: &WorkspaceId) -> u64 {
        self.0.workspaces.get(workspace).refused_connections()
    }

    /// Ends the background work, and the ways to the network with it. Workspaces that run go on running, and are taken up by the next server.
    pub async fn close(&self) {
        self.0.background.cancel();
        self.0.workspaces.close_ways().await;
    }
}
