//! Who may see a workspace, how policy sees it, and asking the gate on a caller's behalf.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reeve_gate::workspace::{Browse, WorkspaceDriver, WorkspaceLink};
use reeve_gate::{Completed, Gate, Permitted, Refusal, Request, Submission, ToolCall, UnknownTarget};
use reeve_store::{Altered, StoredWorkspace};
use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{
    Arguments, AuthMethod, Digest, Origin, Principal, PrincipalKind, ProblemCode, Purpose, Resource, ResourceKind,
    TenantId, ToolSpec, TraceId, Workspace, WorkspaceError, WorkspaceId, WorkspaceState,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Asker, Change, Core, Handed, NotDone, Use, Uses, Waiter, WorkspaceEvent, Workspaces, lock};
use crate::{Permission, PlatformError};

/// How long one admitted look lasts.
const LOOK_LASTS: Duration = Duration::from_secs(60);
/// Leaves that are kept; more than that and all begin anew.
const LEAVES_MAX: usize = 10_000;

/// Whether somebody may see a workspace at all.
pub(super) fn may(who: &Principal, tenant: &TenantId, owner: &str) -> bool {
    who.tenant == *tenant && (is_platform(who) || who.root().label() == owner || Permission::Administer.allows(who))
}

/// Whether it is the platform itself that asks. No caller can be: nobody signs in this way.
pub(super) fn is_platform(who: &Principal) -> bool {
    who.kind == PrincipalKind::Service && who.auth_method == AuthMethod::System
}

/// How policy sees a workspace: its labels, and labels of Reeve's own, which hold a colon.
pub(super) fn resource_of(row: &StoredWorkspace) -> Resource {
    let seen = &row.workspace;
    let network = match seen.egress {
        Egress::None => "egress:none",
        Egress::Allow { .. } => "egress:allow",
        Egress::Public => "egress:public",
    };
    let mut resource = Resource::new(ResourceKind::Workspace, seen.id.as_str());
    resource.tags = seen.tags.iter().cloned().collect::<BTreeSet<_>>();
    resource.tags.extend([
        network.to_owned(),
        format!("template:{}", seen.template),
        format!("driver:{}", seen.driver),
    ]);
    resource.tags.extend(seen.directory.as_ref().map(|_| "directory:host".to_owned()));
    // So that every record of a change says what held the workspace that it happened in.
    resource.tags.extend(seen.isolation.as_ref().map(|held| format!("isolation:{}", held.tier)));
    resource
}

/// The platform itself, tending a tenant's workspaces.
pub(super) fn platform_itself(tenant: &TenantId) -> Principal {
    let mut system = Principal::new(PrincipalKind::Service, "reeve", AuthMethod::System);
    system.tenant = tenant.clone();
    system
}

pub(super) fn slot(tool: &str, arguments: &Arguments, who: &Principal, trace: &TraceId) -> Digest {
    Digest::of(json!([tool, arguments, who, trace]).to_string().as_bytes())
}

impl Workspaces {
    pub(super) async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        asker: &Asker,
        tool: &str,
        arguments: Value,
    ) -> Result<T, NotDone> {
        let (sender, mut handed) = oneshot::channel();
        let completed = self.core.submit(asker, tool, arguments, sender).await;
        self.core.result(completed, || handed.try_recv().ok())
    }
}

impl Workspaces {
    /// Whether somebody may ask for a workspace tool, and with this target.
    pub(crate) async fn may_ask_for(
        &self,
        who: &Principal,
        spec: &ToolSpec,
        arguments: &Arguments,
    ) -> Result<(), PlatformError> {
        if !Permission::UseWorkspaces.allows(who) {
            let roles = Permission::UseWorkspaces.roles().iter().chain(&["admin"]).map(|role| (*role).to_owned());
            return Err(PlatformError::NotAnApprover { who: who.label(), roles: roles.collect() });
        }
        let Some(target) = arguments.get("workspace_id").and_then(Value::as_str) else { return Ok(()) };
        if spec.target_argument.as_deref() != Some("workspace_id") {
            return Ok(());
        }
        let unknown = || {
            let target = UnknownTarget { target: target.chars().take(80).collect(), known: Vec::new() };
            PlatformError::Refused(Refusal::UnknownTarget(target))
        };
        let id: WorkspaceId = target.parse().map_err(|_| unknown())?;
        match self.core.visible(who, &id).await {
            Ok(_) => Ok(()),
            Err(NotDone::Store(error)) => Err(error.into()),
            Err(_) => Err(unknown()),
        }
    }
}

impl Core {
    /// Asks the gate for one act, with somewhere to hand what a record cannot hold.
    pub(super) async fn submit(
        &self,
        asker: &Asker,
        tool: &str,
        arguments: Value,
        waiter: impl Into<Waiter> + Send,
    ) -> Result<Completed, NotDone> {
        let gate = self.gate()?;
        let Value::Object(arguments) = arguments else {
            return Err(NotDone::new(ProblemCode::Internal, "the arguments of an act are no object"));
        };
        let key = slot(tool, &arguments, &asker.principal, &asker.trace_id);
        let mine = self.clock.random();
        lock(&self.waiting).entry(key).or_default().push((mine, waiter.into()));
        let request = Request {
            action_id: asker.action_id.clone(),
            principal: asker.principal.clone(),
            tool: tool.to_owned(),
            arguments,
            purpose: asker.purpose,
            purpose_note: asker.purpose_note.clone(),
            trace_id: asker.trace_id.clone(),
            origin: asker.origin,
            session: asker.session.clone(),
            user_query: String::new(),
        };
        let submission = gate.submit(request).await;
        {
            let mut waiting = lock(&self.waiting);
            if let Some(places) = waiting.get_mut(&key) {
                places.retain(|(number, _)| *number != mine);
                if places.is_empty() {
                    waiting.remove(&key);
                }
            }
        }
        match submission? {
            Submission::Done(completed) => Ok(completed),
            Submission::AwaitingApproval { approval, joined } => Err(NotDone::Awaiting { approval, joined }),
            Submission::InProgress(action) => Err(NotDone::InProgress(action)),
        }
    }

    /// Takes the place of a caller that waits for this very act.
    pub(super) fn waiter(&self, call: &ToolCall) -> Option<Waiter> {
        let key = slot(&call.tool, &call.arguments, &call.principal, &call.trace_id);
        let mut waiting = lock(&self.waiting);
        let places = waiting.get_mut(&key)?;
        places.retain(|(_, place)| !place.to.is_closed());
        let place = places.pop().map(|(_, place)| place);
        if places.is_empty() {
            waiting.remove(&key);
        }
        place
    }

    pub(super) fn result<T: serde::de::DeserializeOwned>(
        &self,
        completed: Result<Completed, NotDone>,
        handed: impl FnOnce() -> Option<Handed>,
    ) -> Result<T, NotDone> {
        let completed = completed?;
        match &completed.outcome {
            Err(_) => match handed() {
                Some(Handed::Problem(problem)) => Err(NotDone::Problem(problem)),
                _ => Err(NotDone::Failed(Box::new(completed))),
            },
            Ok(output) => serde_json::from_value(output.data.clone().unwrap_or(Value::Null)).map_err(|_| {
                NotDone::new(
                    ProblemCode::Conflict,
                    format!("it was done, but its answer was not kept: {}", output.output),
                )
            }),
        }
    }

    pub(super) fn gate(&self) -> Result<Arc<Gate>, NotDone> {
        let gate = self.gate.get().and_then(std::sync::Weak::upgrade);
        gate.ok_or_else(|| NotDone::new(ProblemCode::Unavailable, "workspaces are not set up on this server"))
    }

    pub(super) fn resource(&self, target: &str) -> Option<Resource> {
        if let Ok(id) = target.parse::<WorkspaceId>() {
            return self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        }
        let template = self.templates.iter().find(|template| template.name == target)?;
        let mut resource = Resource::new(ResourceKind::Workspace, format!("template:{}", template.name));
        resource.tags.clone_from(&template.tags);
        resource.tags.insert(format!("template:{}", template.name));
        Some(resource)
    }

    /// A workspace that the caller may see.
    pub(super) async fn visible(&self, who: &Principal, id: &WorkspaceId) -> Result<StoredWorkspace, NotDone> {
        let found = self.store.workspace(&who.tenant, id).await?;
        let seen = found.filter(|row| {
            row.made && may(who, &row.workspace.tenant, &row.owner) && (!row.is_spare() || is_platform(who))
        });
        seen.ok_or_else(|| NotDone::NoSuchWorkspace(id.clone()))
    }

    pub(super) fn driver(&self, kind: DriverKind) -> Result<Arc<dyn WorkspaceDriver>, WorkspaceError> {
        self.drivers.get(kind.as_str()).cloned().ok_or_else(|| {
            let known = self.drivers.keys().copied().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            let message = format!("this server cannot make workspaces with `{kind}`; the drivers it has: {known}");
            WorkspaceError::new(ProblemCode::Unavailable, message)
        })
    }

    /// The way into a workspace that runs.
    pub(super) async fn link(&self, row: &StoredWorkspace) -> Result<Arc<dyn WorkspaceLink>, WorkspaceError> {
        let seen = &row.workspace;
        if seen.state != WorkspaceState::Running {
            let message = format!("the workspace `{}` is {}; start it first", seen.name, seen.state);
            return Err(WorkspaceError::new(ProblemCode::NotRunning, message));
        }
        self.driver(seen.driver)?.connect(&seen.id).await
    }

    fn leave_key(&self, who: &Principal, id: &WorkspaceId) -> Result<Digest, NotDone> {
        let policy = self.gate()?.policy().digest();
        Ok(Digest::of(json!([who, id, policy]).to_string().as_bytes()))
    }

    /// Leave to look into a workspace: the one that still holds, or a new one through the gate.
    pub(super) async fn leave(&self, asker: &Asker, id: &WorkspaceId) -> Result<Arc<Browse>, NotDone> {
        let held = |key: &Digest| lock(&self.leaves).get(key).filter(|leave| leave.holds()).cloned();
        // A look that was admitted a while ago and never used is collected first; then it is asked for anew.
        for _ in 0..2 {
            let key = self.leave_key(&asker.principal, id)?;
            if let Some(leave) = held(&key) {
                return Ok(leave);
            }
            let (sender, mut handed) = oneshot::channel();
            let completed = self.submit(asker, "workspace_browse", json!({ "workspace_id": id }), sender).await;
            self.result::<Value>(completed, || handed.try_recv().ok())?;
            if let Some(leave) = held(&key) {
                return Ok(leave);
            }
        }
        Err(NotDone::new(ProblemCode::Conflict, "the policies changed while this was asked for; ask again"))
    }

    /// Turns an admitted look into leave to look for a while.
    pub(super) fn grant(&self, call: Permitted<ToolCall>, id: &WorkspaceId) -> Result<(), WorkspaceError> {
        let failed = |error: NotDone| WorkspaceError::new(error.code(), error.to_string());
        let key = self.leave_key(&call.call().principal, id).map_err(failed)?;
        let leave = Browse::begin(call.narrow(|_| Ok::<_, WorkspaceError>(id.clone()))?, LOOK_LASTS);
        let mut leaves = lock(&self.leaves);
        if leaves.len() >= LEAVES_MAX {
            leaves.retain(|_, leave| leave.holds());
        }
        leaves.insert(key, Arc::new(leave));
        Ok(())
    }

    /// Lets policy see a workspace as it is now.
    pub(super) fn know(&self, row: &StoredWorkspace) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(row.workspace.id.clone(), resource_of(row));
    }

    /// The workspace as its owner sees it at this moment.
    pub(super) fn shown(&self, row: &StoredWorkspace) -> Workspace {
        let mut seen = row.workspace.clone();
        let mut busy = false;
        if let Some(uses) = lock(&self.uses).get(&seen.id) {
            busy = uses.busy > 0;
            if uses.last > seen.last_active_at {
                seen.last_active_at = uses.last;
                seen.alive_because = Some(uses.because.as_str().to_owned());
            }
        }
        if busy {
            seen.alive_because = Some(Use::Execution.as_str().to_owned());
        }
        let idle = Duration::from_millis(seen.limits.idle_timeout_ms);
        let rests = seen.state == WorkspaceState::Running && !idle.is_zero() && !busy;
        seen.suspends_at = rests.then(|| seen.last_active_at.checked_add(idle).ok()).flatten();
        seen
    }

    /// Tells whoever listens how a workspace is now.
    pub(super) fn tell(&self, row: &StoredWorkspace) -> Workspace {
        let workspace = self.shown(row);
        let event = WorkspaceEvent::Workspace { workspace: workspace.clone() };
        self.changed(row, event);
        workspace
    }

    pub(super) fn changed(&self, row: &StoredWorkspace, event: WorkspaceEvent) {
        if row.is_spare() {
            return;
        }
        let (tenant, owner) = (row.workspace.tenant.clone(), row.owner.clone());
        let _ = self.changes.send(Arc::new(Change { tenant, owner, event }));
    }

    pub(super) fn touch(&self, id: &WorkspaceId, by: Use) {
        let now = self.clock.now();
        let mut all = lock(&self.uses);
        let fresh = Uses { last: now, because: by, busy: 0, written: jiff::Timestamp::UNIX_EPOCH };
        let uses = all.entry(id.clone()).or_insert(fresh);
        (uses.last, uses.because) = (now, by);
    }

    /// An asker for the platform's own doings.
    pub(super) fn itself(&self, tenant: &TenantId, why: &str) -> Asker {
        Asker {
            principal: platform_itself(tenant),
            purpose: Some(Purpose::Maintenance),
            purpose_note: why.to_owned(),
            trace_id: TraceId::new("sys", self.clock.now(), self.clock.random()),
            origin: Origin::Gateway,
            session: reeve_types::event::SessionPart::default(),
            action_id: None,
        }
    }
}

/// What a change that was refused means for whoever asked.
pub(super) fn settled(altered: Altered, what: &str) -> Result<StoredWorkspace, WorkspaceError> {
    match altered {
        Altered::Done(row) => Ok(row),
        Altered::Gone => Err(WorkspaceError::new(ProblemCode::NotFound, "the workspace is gone")),
        Altered::Elsewhere(state) => {
            let message = format!("the workspace is {state}: it cannot be {what} now");
            Err(WorkspaceError::new(ProblemCode::Conflict, message))
        }
        Altered::Full(message) => Err(WorkspaceError::new(ProblemCode::QuotaReached, message)),
    }
}
