//! Workspaces: making them, changing them, looking into them.
//!
//! Every change is an act through the gate; its tool is in [`tools`](self). Looking is one act too, `workspace_browse`,
//! whose permit lets the same principal look into the same workspace for a minute, as long as its roles and the policies
//! stay what they are. A workspace of somebody else does not exist, except for administrators of its tenant.

mod access;
mod asking;
mod backing_up;
mod effects;
mod files;
mod lifecycle;
mod models;
mod options;
mod programs;
mod screen;
mod spares;
mod staging;
mod tenant_workdirs;
mod tending;
mod terminals;
mod tools;
mod typing;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use jiff::Timestamp;
use reeve_gate::model::{ModelStream, Models};
use reeve_gate::workspace::{Browse, ByteStream, Pipe, WorkspaceDriver};
use reeve_gate::{Clock, Gate, Tool};
use reeve_store::{Store, StoreError};
use reeve_types::model::Prompt;
use reeve_types::workspace::DriverKind;
use reeve_types::{Digest, Principal, Resource, TenantId, Workspace, WorkspaceError, WorkspaceId};
use serde::Serialize;
use tokio::sync::{broadcast, oneshot};

pub use asking::{Asker, NotDone};
pub use lifecycle::Deleted;
pub use models::AskedFor;
pub use options::{DriverOffer, LimitsWanted, Template, WorkspacesOptions};
pub use programs::Execution;
pub use reeve_store::Quota;
pub use staging::Content;
pub(crate) use staging::pieces;
pub use tenant_workdirs::{BadWorkdirs, TenantWorkdirs};
pub(crate) use terminals::{Look, Shown};
pub(crate) use typing::{Key, check_typed};
pub(crate) use wanted::checked_directory;
pub use wanted::{ForkWanted, NewWorkspace, SaveWanted, WorkspaceChange, WorkspaceFilter, WorkspacePage};

/// What the service is made of.
pub struct WorkspacesParts {
    /// The memory.
    pub store: Store,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// The ways to make workspaces.
    pub drivers: Vec<Arc<dyn WorkspaceDriver>>,
    /// What they can be made from.
    pub templates: Vec<Template>,
    /// Settings.
    pub options: WorkspacesOptions,
}

/// A use that keeps a workspace awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Something was typed into a terminal, or it showed something to somebody.
    Terminal,
    /// A file was read or changed.
    File,
    /// A program ran.
    Execution,
    /// A request went to one of its ports.
    Preview,
}

impl Use {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::File => "file",
            Self::Execution => "execution",
            Self::Preview => "preview",
        }
    }
}

/// What happens to workspaces, for whoever may see them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one lives per event, and the large variant is the usual one")]
pub enum WorkspaceEvent {
    /// Listening has begun.
    Hello,
    /// It changed, or is new.
    Workspace {
        /// How it is now.
        workspace: Workspace,
    },
    /// It is no more.
    Gone {
        /// Which.
        id: WorkspaceId,
    },
    /// Too much happened to tell it all: list them again.
    Resync,
}

/// The service; a cheap handle.
#[derive(Clone)]
pub struct Workspaces {
    core: Arc<Core>,
}

struct Core {
    store: Store,
    clock: Arc<dyn Clock>,
    drivers: BTreeMap<&'static str, Arc<dyn WorkspaceDriver>>,
    default_driver: Option<DriverKind>,
    templates: Vec<Template>,
    options: WorkspacesOptions,
    gate: OnceLock<Weak<Gate>>,
    /// What policy sees of each; what holds it becomes known when it is started.
    known: RwLock<HashMap<WorkspaceId, Resource>>,
    changes: broadcast::Sender<Arc<Change>>,
    /// What is being done to a workspace at this moment, in words.
    in_hand: Mutex<HashMap<WorkspaceId, &'static str>>,
    /// Callers that wait for what cannot be in a record: streams, and problems with their code.
    waiting: Mutex<HashMap<Digest, Vec<Place>>>,
    leaves: Mutex<HashMap<Digest, Arc<Browse>>>,
    uses: Mutex<HashMap<WorkspaceId, Uses>>,
    staging: staging::Staging,
    tending: Mutex<tending::Seen>,
    pool: spares::Pool,
    /// Environments of programs that are about to be started: their values may be secrets, which no record holds.
    environments: Mutex<HashMap<Digest, BTreeMap<String, String>>>,
    /// The models that can be asked, once they are known.
    models: OnceLock<Arc<dyn Models>>,
    /// What models are about to be asked; it holds files, which no record does.
    prompts: Mutex<HashMap<Digest, Prompt>>,
    /// Files of a backup on their way into a workspace.
    arriving: Mutex<HashMap<WorkspaceId, ByteStream>>,
}

/// A caller that waits, by a number of its own.
type Place = (u128, Waiter);

/// Where a caller is handed what no record can hold.
struct Waiter {
    to: oneshot::Sender<Handed>,
    /// Whether a program's output is wanted as it comes, to the last byte; otherwise head and tail will do.
    live: bool,
}

impl From<oneshot::Sender<Handed>> for Waiter {
    fn from(to: oneshot::Sender<Handed>) -> Self {
        Self { to, live: false }
    }
}

struct Change {
    tenant: TenantId,
    owner: String,
    event: WorkspaceEvent,
}

/// What the tool hands to the caller that waits.
enum Handed {
    Problem(WorkspaceError),
    Execution(Execution),
    Pipe(Box<Pipe>),
    Answer(ModelStream),
}

#[derive(Debug, Clone, Copy)]
struct Uses {
    last: Timestamp,
    because: Use,
    /// Programs that run.
    busy: u32,
    written: Timestamp,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workspaces {
    /// The service over a store. Its tools must be registered with the gate, and the platform must be told of it with
    /// `Platform::with_workspaces`.
    pub async fn open(parts: WorkspacesParts) -> Result<Self, StoreError> {
        let known = parts.store.every_workspace().await?;
        let staging = staging::Staging::open(parts.store.dir(), &parts.options)?;
        let default_driver = parts.options.default_driver.or_else(|| parts.drivers.first().map(|driver| driver.kind()));
        let core = Core {
            default_driver,
            drivers: parts.drivers.into_iter().map(|driver| (driver.kind().as_str(), driver)).collect(),
            store: parts.store,
            clock: parts.clock,
            templates: parts.templates,
            options: parts.options,
            gate: OnceLock::new(),
            known: RwLock::new(known.iter().map(|row| (row.workspace.id.clone(), access::resource_of(row))).collect()),
            changes: broadcast::channel(1024).0,
            in_hand: Mutex::default(),
            waiting: Mutex::default(),
            leaves: Mutex::default(),
            uses: Mutex::default(),
            staging,
            tending: Mutex::default(),
            pool: spares::Pool::default(),
            environments: Mutex::default(),
            models: OnceLock::new(),
            prompts: Mutex::default(),
            arriving: Mutex::default(),
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// The tools by which workspaces are changed; to be registered with the gate.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        tools::all(&self.core)
    }

    /// What workspaces can be made from.
    pub fn templates(&self) -> &[Template] {
        &self.core.templates
    }

    /// The settings.
    pub fn options(&self) -> &WorkspacesOptions {
        &self.core.options
    }

    /// The driver of a workspace whose maker names none.
    pub fn default_driver(&self) -> Option<DriverKind> {
        self.core.default_driver
    }

    /// The drivers that there are, the usual one first.
    pub fn drivers(&self) -> Vec<DriverOffer> {
        let usual = self.core.default_driver;
        let offer = |driver: &Arc<dyn WorkspaceDriver>| DriverOffer {
            kind: driver.kind(),
            usual: Some(driver.kind()) == usual,
            without_network: driver.without_network(),
        };
        let mut offers: Vec<DriverOffer> = self.core.drivers.values().map(offer).collect();
        offers.sort_by_key(|offer| (!offer.usual, offer.kind));
        offers
    }

    /// Whether a workspace can be made on a directory of the host at all.
    pub fn host_directories(&self) -> bool {
        self.core.options.host_directories && self.core.drivers.contains_key(DriverKind::Namespace.as_str())
    }

    /// Notes that a workspace was used, so that it stays awake. Cheap: the proxy calls it for every request.
    pub fn touch(&self, id: &WorkspaceId, by: Use) {
        self.core.touch(id, by);
    }

    /// Knows the gate from now on.
    pub(crate) fn connect(&self, gate: &Arc<Gate>) {
        let _ = self.core.gate.set(Arc::downgrade(gate));
    }

    /// How policy sees what a target names.
    pub(crate) fn resource(&self, target: &str) -> Option<Resource> {
        self.core.resource(target)
    }

    /// Every change from now on of the workspaces that a caller may see.
    pub fn events(&self, who: &Principal) -> impl futures_util::Stream<Item = WorkspaceEvent> + Send + use<> {
        let (who, feed) = (who.clone(), self.core.changes.subscribe());
        futures_util::stream::unfold((who, feed, true), async |(who, mut feed, first)| {
            if first {
                return Some((WorkspaceEvent::Hello, (who, feed, false)));
            }
            loop {
                match feed.recv().await {
                    Ok(change) if access::may(&who, &change.tenant, &change.owner) => {
                        return Some((change.event.clone(), (who, feed, false)));
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        return Some((WorkspaceEvent::Resync, (who, feed, false)));
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}
