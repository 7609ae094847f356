//! The driver `namespace`: workspaces made of Linux namespaces by bubblewrap, without a daemon.
//!
//! What holds a workspace: user, process, mount, network, IPC, host name and control group namespaces; a user of this
//! machine that is nobody else's (when the server is root); no capabilities; a filter of system calls; a read-only
//! system; a file system of its own with an end; a control group for memory, processor and processes. It reaches no
//! network but through a proxy of Reeve's, if it was given leave.

mod boxes;
mod cgroups;
mod claims;
mod copying;
mod disk;
mod driver;
mod failure;
mod filter;
mod host_directory;
mod jail;
mod kind;
mod layout;
mod lifecycle;
mod packing;
mod programs;
mod readiness;
mod record;
mod removing;
mod snapshots;
mod sweeping;
mod system;
mod taking_up;
mod unpacking;
mod users;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};
use tokio::sync::Semaphore;

use crate::templates::Templates;
use boxes::Boxes;
use cgroups::Cgroups;
use claims::Claim;
use disk::ImageTools;
use layout::Layout;
use system::System;
use users::Users;

pub use system::{Toolchain, find_toolchains};

/// How many boxes are laid out or started at the same time; more would only take turns.
const AT_ONCE: usize = 8;

/// Settings of the driver.
#[derive(Debug, Clone)]
pub struct NamespaceOptions {
    /// Where everything that lasts is kept.
    pub root: PathBuf,
    /// Where a server that is root mounts what workspaces see; `/run/reeve-workspaces/…` when absent.
    pub reach: Option<PathBuf>,
    /// The program inside, `reeve-runtime`.
    pub runtime: PathBuf,
    /// What workspaces are made from.
    pub templates: Templates,
    /// Users of this machine that workspaces may run as, when the server is root.
    pub users: Range<u32>,
    /// Whether each box has a file system of its own, where this machine allows it.
    pub images: bool,
    /// How often a workspace without a file system of its own is measured.
    pub measure_every: Duration,
    /// What workspaces may use besides `/usr`.
    pub toolchains: Vec<Toolchain>,
    /// Private addresses that an allow-list may reach all the same: a mirror in one's own network.
    pub reachable: Vec<SocketAddr>,
    /// Directories of the host that no workspace may work in, nor in what they hold or are in: Reeve's own.
    pub forbidden: Vec<PathBuf>,
}

impl NamespaceOptions {
    /// The usual settings.
    pub fn new(root: impl Into<PathBuf>, runtime: impl Into<PathBuf>, templates: Templates) -> Self {
        Self {
            root: root.into(),
            reach: None,
            runtime: runtime.into(),
            templates,
            users: 200_000..265_536,
            images: true,
            measure_every: Duration::from_secs(15),
            toolchains: Vec::new(),
            reachable: Vec::new(),
            forbidden: Vec::new(),
        }
    }
}

/// The program inside, where it is usually found: beside the running program.
pub fn runtime_beside_this_program() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let directories = [here.parent(), here.parent().and_then(|directory| directory.parent())];
    directories.into_iter().flatten().map(|directory| directory.join("reeve-runtime")).find(|path| path.is_file())
}

/// Makes workspaces with bubblewrap. Cheap to clone; all clones are one driver.
#[derive(Clone)]
pub struct NamespaceDriver(Arc<Inner>);

struct Inner {
    options: NamespaceOptions,
    layout: Layout,
    /// The place that workspaces are reached in, which is this server's while it lives.
    claim: Claim,
    boxes: Boxes,
    users: Users,
    cgroups: Option<Cgroups>,
    images: Option<ImageTools>,
    bwrap: Option<PathBuf>,
    system: System,
    filter: Vec<u8>,
    turns: Semaphore,
    background: tokio_util::sync::CancellationToken,
}

impl NamespaceDriver {
    /// Opens the driver over a directory: takes up what runs, finishes what was interrupted, removes what is nobody's.
    /// Must be called inside a tokio runtime.
    pub async fn open(options: NamespaceOptions) -> Result<Self, WorkspaceError> {
        let as_root = rustix::process::geteuid().is_root();
        let preparing = options.clone();
        let Prepared { layout, claim, images, system, swept } =
            failure::aside(move || prepare(&preparing, as_root)).await?;
        let filter =
            filter::compile().map_err(|error| WorkspaceError::new(ProblemCode::Unavailable, error.to_string()))?;
        let installation = layout.installation();
        let cgroups = Cgroups::find(&installation);
        for place in swept {
            tracing::info!(place, "what was left of a data directory that is gone was removed");
            if let Some(groups) = &cgroups {
                groups.of(&layout::installation(&place)).remove_parents();
            }
        }
        let seed = installation.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let driver = Self(Arc::new(Inner {
            users: Users::new(options.users.clone(), seed),
            cgroups,
            claim,
            bwrap: programs::find("bwrap"),
            turns: Semaphore::new(AT_ONCE),
            background: tokio_util::sync::CancellationToken::new(),
            boxes: Boxes::default(),
            images,
            system,
            filter,
            layout,
            options,
        }));
        driver.take_up().await?;
        sweeping::begin(&driver.0);
        Ok(driver)
    }

    /// The name under which everything of this driver is found on the machine: its control groups are below it.
    pub fn installation(&self) -> String {
        self.0.layout.installation()
    }

    /// How many connections of a workspace its proxy has refused.
    pub fn refused_connections(&self, workspace: &WorkspaceId) -> u64 {
        self.0.boxes.get(workspace).map_or(0, |found| found.refused_connections())
    }

    /// Ends the background work, and takes away mounts and groups that no running workspace needs.
    /// Workspaces that run go on running, and are taken up by the next server.
    pub async fn close(&self) {
        self.0.background.cancel();
        self.take_down_unused().await;
    }
}

struct Prepared {
    layout: Layout,
    claim: Claim,
    images: Option<ImageTools>,
    system: System,
    /// Places of other data directories that were removed.
    swept: Vec<String>,
}

fn prepare(options: &NamespaceOptions, as_root: bool) -> Result<Prepared, WorkspaceError> {
    let (layout, claim) = Layout::prepare(&options.root, options.reach.as_deref(), as_root)
        .map_err(|error| failure::cannot(format!("prepare {}", options.root.display()), &error))?;
    let swept = if as_root && options.reach.is_none() { claims::sweep(&layout.reach) } else { Vec::new() };
    let images = if as_root && options.images { ImageTools::find() } else { None };
    let images = images.filter(|tools| match tools.prove(&layout) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "workspaces get no file system of their own; their size is looked at now and then");
            false
        }
    });
    let system = System::prepare(&layout, &options.runtime, &options.toolchains)
        .map_err(|error| failure::cannot("prepare what workspaces see of this machine", &error))?;
    Ok(Prepared { layout, claim, images, system, swept })
}
