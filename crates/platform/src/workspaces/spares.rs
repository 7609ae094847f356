//! Spares: workspaces that are made and started before anybody asks, so that making one is taking one.
//!
//! A spare is nobody's: no list shows it, no quota counts it, no caller reaches it. It is made by acts of the platform's
//! own, where policy lets those happen without asking, and becomes somebody's in one transaction. Only what this process
//! made is ever claimed; what an earlier one left is removed, because nobody knows what it was made from.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reeve_gate::ToolCall;
use reeve_store::{Altered, StoredWorkspace};
use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{
    ActionClass, Effect, Measured, PolicyRequest, Principal, ProblemCode, Purpose, Resource, TenantId, Workspace,
    WorkspaceError, WorkspaceId, WorkspaceLimits, WorkspaceState,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::access::{is_platform, resource_of};
use super::effects::inside;
use super::options::Template;
use super::{Core, NewWorkspace, NotDone, Workspaces, lock};

/// How soon a kind of spare that could not be made is tried again, and how often all are looked over. Each further try
/// waits twice as long: every one is in the record.
const AGAIN: Duration = Duration::from_secs(60);

/// The longest wait before a try.
const AGAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// A driver and a template.
type Kind = (DriverKind, String);

/// A kind that could not be made.
#[derive(Debug, Clone, Copy)]
struct Failed {
    at: Timestamp,
    wait: Duration,
}

impl Failed {
    fn waits(self, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.at)).is_ok_and(|since| since < self.wait)
    }

    fn again(before: Option<Self>, at: Timestamp) -> Self {
        Self { at, wait: before.map_or(AGAIN, |before| (before.wait * 2).min(AGAIN_MAX)) }
    }
}

/// The spares that wait.
#[derive(Default)]
pub(super) struct Pool {
    ready: Mutex<BTreeMap<Kind, VecDeque<WorkspaceId>>>,
    failed: Mutex<HashMap<Kind, Failed>>,
    /// Whether one is being made, which does not wait yet.
    making: AtomicBool,
    wanted: Notify,
}

/// Notes that a spare is being made, for as long as it lives.
struct Making<'a>(&'a Pool);

impl<'a> Making<'a> {
    fn begin(pool: &'a Pool) -> Self {
        pool.making.store(true, Ordering::SeqCst);
        Self(pool)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.making.store(false, Ordering::SeqCst);
    }
}

impl Pool {
    /// Notes that workspaces of a kind are made here, so that spares of it are worth having.
    pub(super) fn note(&self, driver: DriverKind, template: &str) {
        lock(&self.ready).entry((driver, template.to_owned())).or_default();
        self.wanted.notify_one();
    }

    fn take(&self, kind: &Kind) -> Option<WorkspaceId> {
        lock(&self.ready).get_mut(kind)?.pop_front()
    }

    fn put(&self, kind: &Kind, id: WorkspaceId) {
        lock(&self.ready).entry(kind.clone()).or_default().push_back(id);
    }

    /// Takes one out wherever it waits. Returns whether it waited.
    fn remove(&self, id: &WorkspaceId) -> bool {
        lock(&self.ready).values_mut().any(|ids| {
            let before = ids.len();
            ids.retain(|other| other != id);
            ids.len() < before
        })
    }

    fn waits(&self, id: &WorkspaceId) -> bool {
        lock(&self.ready).values().any(|ids| ids.contains(id))
    }

    fn kinds(&self) -> Vec<Kind> {
        lock(&self.ready).keys().cloned().collect()
    }

    fn missing(&self, kind: &Kind, warm: u32) -> bool {
        lock(&self.ready).get(kind).map_or(0, VecDeque::len) < warm as usize
    }
}

/// Whether limits are the same to whoever runs the workspace.
fn same_limits(one: &WorkspaceLimits, other: &WorkspaceLimits) -> bool {
    WorkspaceLimits { idle_timeout_ms: 0, ..*one } == WorkspaceLimits { idle_timeout_ms: 0, ..*other }
}

impl Core {
    /// Makes a spare the workspace that is wanted, when there is one of its kind, its maker asks for nothing unusual and
    /// may start it without asking.
    pub(super) async fn claim(
        &self,
        call: &ToolCall,
        wanted: &StoredWorkspace,
    ) -> Result<Option<StoredWorkspace>, WorkspaceError> {
        let seen = &wanted.workspace;
        let usual = |template: &Template| {
            seen.directory.is_none()
                && same_limits(&seen.limits, &template.limits.over(self.options.limits))
                && seen.egress == template.egress
                && wanted.environment == template.environment
        };
        let usual = self.templates.iter().find(|template| template.name == seen.template).is_some_and(usual);
        let free = || self.lets(&call.principal, call.purpose, &resource_of(wanted), "workspace_start");
        if self.options.warm == 0 || is_platform(&call.principal) || !usual || !free() {
            return Ok(None);
        }
        let kind = (seen.driver, seen.template.clone());
        let driver = self.driver(seen.driver)?;
        while let Some(id) = self.pool.take(&kind) {
            if driver.connect(&id).await.is_err() {
                self.discard_spare(seen.driver, &id).await;
                continue;
            }
            let whose = wanted.clone();
            let claimed = self.store.claim_workspace(&id, self.quotas(), move |spare| become_of(spare, whose));
            match claimed.await.map_err(inside)? {
                Altered::Done(row) => {
                    self.know(&row);
                    self.tell(&row);
                    self.pool.note(kind.0, &kind.1);
                    return Ok(Some(row));
                }
                Altered::Full(message) => {
                    self.pool.put(&kind, id);
                    return Err(WorkspaceError::new(ProblemCode::QuotaReached, message));
                }
                Altered::Gone | Altered::Elsewhere(_) => self.discard_spare(seen.driver, &id).await,
            }
        }
        Ok(None)
    }

    /// Whether policy lets somebody do something without asking anybody.
    fn lets(&self, who: &Principal, purpose: Option<Purpose>, resource: &Resource, tool: &str) -> bool {
        let asked = PolicyRequest {
            principal: who,
            purpose,
            resource,
            class: ActionClass::Write,
            tool,
            measured: Measured::default(),
            at: self.clock.now(),
        };
        self.gate().is_ok_and(|gate| gate.policy().decide(&asked).effect == Effect::Allow)
    }

    /// Removes a spare, unless it has become somebody's. What cannot be removed now is tried again by the reconciler.
    pub(super) async fn discard_spare(&self, driver: DriverKind, id: &WorkspaceId) {
        self.pool.remove(id);
        let discarded = async {
            if self.store.discard_spare(id).await.map_err(inside)? {
                self.driver(driver)?.sweep(id).await?;
                self.store.remove_workspace(&TenantId::default_tenant(), id).await.map_err(inside)?;
                self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
            }
            Ok::<_, WorkspaceError>(())
        };
        if let Err(error) = discarded.await {
            tracing::warn!(workspace.id = %id, "a spare could not be removed; it is tried again: {error}");
        }
    }

    /// What the reconciler does with a spare: one that waits and runs stays, all others go.
    pub(super) async fn tend_spare(&self, row: &StoredWorkspace, runs: bool) {
        let id = &row.workspace.id;
        let fine = runs && row.workspace.state == WorkspaceState::Running && self.pool.waits(id);
        if fine || self.pool.making.load(Ordering::SeqCst) {
            return;
        }
        self.discard_spare(row.workspace.driver, id).await;
        self.pool.wanted.notify_one();
    }
}

/// Everything that makes a spare somebody's workspace. What it runs as stays.
fn become_of(spare: &mut StoredWorkspace, wanted: StoredWorkspace) {
    let (id, isolation) = (spare.workspace.id.clone(), spare.workspace.isolation.take());
    let state = WorkspaceState::Running;
    let workspace = Workspace { id, state, isolation, ..wanted.workspace };
    *spare = StoredWorkspace { workspace, desired: state, made: true, ..wanted };
}

impl Workspaces {
    /// Keeps spares ready until `stop`: of the usual driver for each template, and of every kind that was made since.
    pub(super) async fn keep_spares(&self, stop: &CancellationToken) {
        if self.core.options.warm == 0 {
            return;
        }
        if let Some(driver) = self.core.default_driver {
            let offline = self.core.driver(driver).is_ok_and(|driver| driver.without_network().is_some());
            let fits = |template: &&Template| {
                template.drivers.contains(&driver) && !(offline && template.egress != Egress::None)
            };
            for template in self.core.templates.iter().filter(fits) {
                self.core.pool.note(driver, &template.name);
            }
        }
        while !stop.is_cancelled() {
            self.fill_spares(stop).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.core.pool.wanted.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// How many spares wait, of all kinds together.
    pub fn spares_ready(&self) -> usize {
        lock(&self.core.pool.ready).values().map(VecDeque::len).sum()
    }

    /// Makes the spares that are missing.
    async fn fill_spares(&self, stop: &CancellationToken) {
        let core = &self.core;
        for kind in core.pool.kinds() {
            while !stop.is_cancelled() && core.pool.missing(&kind, core.options.warm) {
                let now = core.clock.now();
                let failed = lock(&core.pool.failed).get(&kind).copied();
                if failed.is_some_and(|failed| failed.waits(now)) || !self.may_have_spares(&kind) {
                    break;
                }
                let _making = Making::begin(&core.pool);
                match self.make_spare(&kind).await {
                    Ok(id) => {
                        lock(&core.pool.failed).remove(&kind);
                        core.pool.put(&kind, id);
                    }
                    Err(error) => {
                        tracing::warn!(driver = %kind.0, template = %kind.1, "a spare could not be made: {error}");
                        lock(&core.pool.failed).insert(kind.clone(), Failed::again(failed, now));
                    }
                }
            }
        }
    }

    /// Whether policy lets the platform make and start them. Nobody is asked for a spare.
    fn may_have_spares(&self, (_, template): &Kind) -> bool {
        let core = &self.core;
        let asker = core.itself(&TenantId::default_tenant(), "");
        core.resource(template).is_some_and(|resource| {
            ["workspace_create", "workspace_start"]
                .iter()
                .all(|tool| core.lets(&asker.principal, asker.purpose, &resource, tool))
        })
    }

    async fn make_spare(&self, (driver, template): &Kind) -> Result<WorkspaceId, NotDone> {
        let asker = self.core.itself(&TenantId::default_tenant(), "a spare for the next one that is made");
        let wanted = NewWorkspace { driver: Some(*driver), start: false, ..NewWorkspace::named("spare", template) };
        let made: Workspace = self.ask(&asker, "workspace_create", json!(wanted)).await?;
        let started = self.ask::<Value>(&asker, "workspace_start", json!({ "workspace_id": made.id })).await;
        if let Err(error) = started {
            self.core.discard_spare(*driver, &made.id).await;
            return Err(error);
        }
        Ok(made.id)
    }

    /// Removes every spare, because the server ends.
    pub(super) async fn drop_spares(&self) {
        let rows = self.every().await;
        let spares = rows.iter().filter(|row| row.is_spare());
        futures_util::future::join_all(
            spares.map(|row| self.core.discard_spare(row.workspace.driver, &row.workspace.id)),
        )
        .await;
    }
}
