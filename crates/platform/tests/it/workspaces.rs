//! Workspaces over the real gate and the real store, with a driver that only keeps notes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reeve_gate::workspace::{
    Answer, Browse, ByteStream, ForkWorkspace, Found, Readiness, RemoveWorkspace, TakeSnapshot, WorkspaceDriver,
    WorkspaceLink,
};
use reeve_gate::{Clock, Gate, GateOptions, Permitted, Registry};
use reeve_platform::identity::Identity;
use reeve_platform::inventory::InventoryHolder;
use reeve_platform::policies::Policies;
use reeve_platform::workspaces::{
    Asker, Deleted, NewWorkspace, NotDone, Quota, Template, WorkspaceFilter, Workspaces, WorkspacesOptions,
    WorkspacesParts,
};
use reeve_platform::{IdentityProvider, Platform, PlatformOptions, PlatformParts};
use reeve_store::Store;
use reeve_types::workspace::{DriverKind, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{Origin, Principal, ProblemCode, WorkspaceError, WorkspaceId, WorkspaceState};

use crate::support::{TestClock, user};

/// A driver for tests: it notes what was asked of it and runs nothing.
#[derive(Default)]
struct FakeDriver {
    there: Mutex<BTreeMap<WorkspaceId, bool>>,
    refuses_to_start: Mutex<bool>,
}

impl FakeDriver {
    fn note(&self, id: &WorkspaceId, runs: Option<bool>) -> Answer<'static, ()> {
        let mut there = self.there.lock().unwrap();
        match runs {
            Some(runs) => there.insert(id.clone(), runs),
            None => there.remove(id),
        };
        Box::pin(async { Ok(()) })
    }
}

fn nothing<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(WorkspaceError::new(ProblemCode::Unavailable, "a test driver has no such thing")) })
}

impl WorkspaceDriver for FakeDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Namespace
    }
    fn readiness(&self) -> futures_util::future::BoxFuture<'_, Vec<Readiness>> {
        Box::pin(async { Vec::new() })
    }
    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()> {
        self.note(&spec.open().0.id, Some(false))
    }
    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation> {
        if *self.refuses_to_start.lock().unwrap() {
            return nothing();
        }
        let noted = self.note(&spec.open().0.id, Some(true));
        Box::pin(async {
            noted.await?;
            Ok(Isolation {
                driver: DriverKind::Namespace,
                tier: "none: a test".to_owned(),
                seccomp: false,
                landlock: false,
                limits: "none".to_owned(),
                disk: "none".to_owned(),
                network: "none".to_owned(),
                own_user: false,
            })
        })
    }
    fn suspend(&self, workspace: Permitted<WorkspaceId>) -> Answer<'_, ()> {
        self.note(&workspace.open().0, Some(false))
    }
    fn snapshot(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, u64> {
        Box::pin(async { Ok(42) })
    }
    fn roll_back(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn drop_snapshot(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn fork(&self, what: Permitted<ForkWorkspace>) -> Answer<'_, ()> {
        self.note(&what.open().0.spec.id, Some(false))
    }
    fn delete(&self, what: Permitted<RemoveWorkspace>) -> Answer<'_, ()> {
        let what = what.open().0;
        self.note(&what.workspace, (!what.with_files).then_some(false))
    }
    fn usage<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, WorkspaceUsage> {
        nothing()
    }
    fn connect<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, Arc<dyn WorkspaceLink>> {
        nothing()
    }
    fn found(&self) -> Answer<'_, Vec<Found>> {
        let found = |(id, runs): (&WorkspaceId, &bool)| Found { workspace: id.clone(), running: *runs, files: true };
        let found = self.there.lock().unwrap().iter().map(found).collect();
        Box::pin(async { Ok(found) })
    }
    fn sweep<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, ()> {
        self.note(workspace, None)
    }
    fn export<'a>(&'a self, _: &'a Browse) -> Answer<'a, ByteStream> {
        nothing()
    }
    fn import(&self, spec: Permitted<WorkspaceSpec>, _: ByteStream) -> Answer<'_, ()> {
        self.note(&spec.open().0.id, Some(false))
    }
}

struct Yard {
    platform: Platform,
    driver: Arc<FakeDriver>,
    clock: Arc<TestClock>,
    _dir: tempfile::TempDir,
}

async fn yard(options: WorkspacesOptions) -> Yard {
    let (dir, clock) = (tempfile::tempdir().unwrap(), TestClock::new());
    let as_clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
    let store = Store::open(&dir.path().join("data"), Arc::clone(&as_clock)).unwrap();
    let (policies, set) = Policies::load(Vec::new(), Arc::new(|_| None), clock.now()).unwrap();
    let inventory = Arc::new(InventoryHolder::load(None, Arc::new(|a, b| a == b)).unwrap());
    let identity = Identity::load(IdentityProvider::Keys, store.clone(), Arc::clone(&as_clock), None).unwrap();
    let driver = Arc::new(FakeDriver::default());
    let base = serde_json::json!({"name": "base", "title": "Base", "drivers": ["namespace"]});
    let templates: Vec<Template> = vec![serde_json::from_value(base).unwrap()];
    let drivers: Vec<Arc<dyn WorkspaceDriver>> = vec![Arc::<FakeDriver>::clone(&driver)];
    let (kept, time) = (store.clone(), Arc::clone(&as_clock));
    let parts = WorkspacesParts { store: kept, clock: time, drivers, templates, options };
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
    Yard { platform, driver, clock, _dir: dir }
}

impl Yard {
    fn asker(&self, who: &Principal) -> Asker {
        Asker {
            principal: who.clone(),
            purpose: None,
            purpose_note: String::new(),
            trace_id: self.platform.new_trace("dt"),
            origin: Origin::DirectTool,
        }
    }
    fn workspaces(&self) -> &Workspaces {
        self.platform.workspaces().unwrap()
    }
}

#[tokio::test]
async fn a_workspace_lives_through_its_states_and_nobody_else_sees_it() {
    let yard = yard(WorkspacesOptions::default()).await;
    let (alice, bob) = (user("alice", &["developer"]), user("bob", &["developer"]));
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let made = ws.create(&me, NewWorkspace::named("site", "base")).await.unwrap();
    assert_eq!((made.state, made.owner.as_str()), (WorkspaceState::Running, "alice"));
    assert!(matches!(ws.get(&bob, &made.id).await, Err(NotDone::NoSuchWorkspace(_))));
    assert!(ws.list(&bob, WorkspaceFilter::default()).await.unwrap().workspaces.is_empty());
    assert!(ws.get(&user("root", &["admin"]), &made.id).await.is_ok());

    assert_eq!(ws.suspend(&me, &made.id).await.unwrap().state, WorkspaceState::Suspended);
    let again = ws.suspend(&me, &made.id).await.unwrap_err();
    assert_eq!((again.code(), again.to_string().contains("suspended")), (ProblemCode::Conflict, true), "{again}");
    assert_eq!(ws.start(&me, &made.id).await.unwrap().state, WorkspaceState::Running);
    let Deleted::Kept(kept) = ws.delete(&me, &made.id, false).await.unwrap() else { panic!("it is kept at first") };
    assert_eq!(kept.state, WorkspaceState::Deleted);
    assert_eq!(ws.restore(&me, &made.id).await.unwrap().state, WorkspaceState::Stopped);
    assert_eq!(ws.delete(&me, &made.id, true).await.unwrap(), Deleted::Purged);
    assert!(yard.driver.there.lock().unwrap().is_empty(), "nothing is left on the machine");
}

#[tokio::test]
async fn a_quota_is_held_and_a_failed_start_says_why() {
    let quota_per_owner = Quota { workspaces: 1, running: 0, disk_bytes: 0 };
    let yard = yard(WorkspacesOptions { quota_per_owner, ..WorkspacesOptions::default() }).await;
    let me = yard.asker(&user("alice", &[]));
    *yard.driver.refuses_to_start.lock().unwrap() = true;
    let made = yard.workspaces().create(&me, NewWorkspace::named("one", "base")).await.unwrap();
    assert_eq!((made.state, made.problem.is_some()), (WorkspaceState::Error, true));
    let full = yard.workspaces().create(&me, NewWorkspace::named("two", "base")).await.unwrap_err();
    assert_eq!(full.code(), ProblemCode::QuotaReached, "{full}");
    assert_eq!(yard.driver.there.lock().unwrap().len(), 1, "what is refused leaves nothing");
}

#[tokio::test]
async fn the_idle_rest_the_lost_are_noted_the_unknown_are_swept_and_the_deleted_purged() {
    let yard = yard(WorkspacesOptions::default()).await;
    let alice = user("alice", &[]);
    let (ws, me) = (yard.workspaces(), yard.asker(&alice));
    let idle = ws.create(&me, NewWorkspace::named("idle", "base")).await.unwrap();
    yard.clock.forward(Duration::from_secs(7_000));
    ws.suspend_idle().await;
    assert_eq!(ws.get(&alice, &idle.id).await.unwrap().state, WorkspaceState::Running);
    yard.clock.forward(Duration::from_secs(300));
    ws.suspend_idle().await;
    assert_eq!(ws.get(&alice, &idle.id).await.unwrap().state, WorkspaceState::Suspended);

    let lost = ws.create(&me, NewWorkspace::named("lost", "base")).await.unwrap();
    let stray = WorkspaceId::new(yard.clock.now(), yard.clock.random());
    yard.driver.there.lock().unwrap().extend([(lost.id.clone(), false), (stray.clone(), true)]);
    ws.reconcile().await;
    assert_eq!(ws.get(&alice, &lost.id).await.unwrap().state, WorkspaceState::Suspended);
    assert!(yard.driver.there.lock().unwrap().contains_key(&stray), "it is left alone at first");
    ws.delete(&me, &lost.id, false).await.unwrap();
    yard.clock.forward(Duration::from_secs(8 * 24 * 3600));
    ws.reconcile().await;
    let left: Vec<_> = yard.driver.there.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, [idle.id], "the stray one is swept and the deleted one purged");
}
