//! Workspaces over the real gate and the real store, with a machine that only pretends.

mod content;
mod crashes;
mod doors;
mod driver;
mod life;
mod spares;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::workspace::WorkspaceDriver;
use reeve_gate::{Clock, Gate, GateOptions, Registry};
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_platform::workspaces::{Asker, Template, Workspaces, WorkspacesOptions, WorkspacesParts};
use reeve_platform::{IdentityProvider, Platform, PlatformOptions, PlatformParts};
use reeve_store::{Store, StoredWorkspace};
use reeve_types::{Origin, Principal};
use tokio_util::sync::CancellationToken;

use self::driver::FakeDriver;
use crate::support::{TestClock, asks, write};

pub(crate) struct Yard {
    platform: Platform,
    driver: Arc<FakeDriver>,
    clock: Arc<TestClock>,
    options: WorkspacesOptions,
    dir: tempfile::TempDir,
}

/// Without spares, unless a test is about them.
fn plain() -> WorkspacesOptions {
    WorkspacesOptions { warm: 0, ..WorkspacesOptions::default() }
}

async fn yard(options: WorkspacesOptions) -> Yard {
    yard_on(tempfile::tempdir().unwrap(), TestClock::new(), FakeDriver::default(), options).await
}

async fn yard_on(
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    driver: FakeDriver,
    options: WorkspacesOptions,
) -> Yard {
    let as_clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
    let store = Store::open(&dir.path().join("data"), Arc::clone(&as_clock)).unwrap();
    let policy = dir.path().join("policies.yaml");
    let files = if policy.exists() { vec![policy] } else { Vec::new() };
    let (policies, set) = Policies::load(files, Arc::new(|_| None), clock.now()).unwrap();
    let inventory = Arc::new(InventoryHolder::load(None, Arc::new(|a, b| a == b)).unwrap());
    let identity = Identity::load(IdentityProvider::Keys, store.clone(), Arc::clone(&as_clock), None).unwrap();
    let driver = Arc::new(driver);
    let base = serde_json::json!({"name": "base", "title": "Base", "drivers": ["namespace"]});
    let templates: Vec<Template> = vec![serde_json::from_value(base).unwrap()];
    let drivers: Vec<Arc<dyn WorkspaceDriver>> = vec![Arc::<FakeDriver>::clone(&driver)];
    let (kept, time, chosen) = (store.clone(), Arc::clone(&as_clock), options.clone());
    let parts = WorkspacesParts { store: kept, clock: time, drivers, templates, options: chosen };
    let workspaces = Workspaces::open(parts).await.unwrap();
    let mut registry = Registry::new();
    for tool in workspaces.tools() {
        registry.register(tool).unwrap();
    }
    let resources = Arc::<InventoryHolder>::clone(&inventory);
    let (set, ledger) = (Arc::new(set), Arc::new(store.clone()));
    let gate = Gate::new(registry, set, resources, ledger, Arc::clone(&as_clock), GateOptions::default());
    let platform = Platform::new(PlatformParts {
        gate,
        store,
        identity: Arc::new(identity),
        inventory,
        policies: Arc::new(policies),
        channels: Vec::new(),
        clock: as_clock,
        options: PlatformOptions::default(),
    })
    .with_workspaces(workspaces);
    Yard { platform, driver, clock, options, dir }
}

impl Yard {
    fn asker(&self, who: &Principal) -> Asker {
        Asker {
            principal: who.clone(),
            purpose: None,
            purpose_note: String::new(),
            trace_id: self.platform.new_trace("dt"),
            origin: Origin::DirectTool,
            session: reeve_types::event::SessionPart::default(),
            action_id: None,
        }
    }

    fn workspaces(&self) -> &Workspaces {
        self.platform.workspaces().unwrap()
    }

    /// From now on every change needs one approval.
    fn every_change_asks(&self) {
        let policy = self.dir.path().join("policies.yaml");
        write(&policy, &asks("approval_quorum: 1"));
        let (_, set) = Policies::load(vec![policy], Arc::new(|_| None), self.clock.now()).unwrap();
        self.platform.gate().replace_policy(Arc::new(set));
    }

    /// What holds without a policy file holds again.
    fn nothing_asks(&self) {
        let (_, set) = Policies::load(Vec::new(), Arc::new(|_| None), self.clock.now()).unwrap();
        self.platform.gate().replace_policy(Arc::new(set));
    }

    /// What a kill at this moment leaves, taken up by the next server.
    async fn killed(&self) -> Yard {
        let dir = tempfile::tempdir().unwrap();
        let machine = self.driver.after_a_crash();
        copy(self.dir.path(), dir.path());
        yard_on(dir, Arc::clone(&self.clock), machine, self.options.clone()).await
    }

    async fn rows(&self) -> Vec<StoredWorkspace> {
        self.platform.store().every_workspace().await.unwrap()
    }

    /// What runs beside requests, until the token is cancelled.
    fn tended(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let (stop, workspaces) = (CancellationToken::new(), self.workspaces().clone());
        let until = stop.clone();
        (stop, tokio::spawn(async move { workspaces.run(until).await }))
    }

    fn staged(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("data/staging")).unwrap().count()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            std::fs::create_dir(&place).unwrap();
            copy(&source, &place);
        } else if !source.to_string_lossy().ends_with("-shm") {
            std::fs::copy(source, place).unwrap();
        }
    }
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("{what} never came about"));
}
