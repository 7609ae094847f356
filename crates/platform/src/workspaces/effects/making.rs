//! Making workspaces: from a template, from files that come along, from another workspace, from a spare.

use std::sync::PoisonError;

use reeve_gate::ToolCall;
use reeve_gate::workspace::ForkWorkspace;
use reeve_store::StoredWorkspace;
use reeve_types::workspace::DriverKind;
use reeve_types::{Digest, ProblemCode, Workspace, WorkspaceError, WorkspaceId, WorkspaceState};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Call, Done, elsewhere, held_by, inside, of_its_own, part, read, told};
use crate::Permission;
use crate::workspaces::access::{is_platform, resource_of, settled};
use crate::workspaces::files::bad;
use crate::workspaces::options::within_maximum;
use crate::workspaces::staging::key_of;
use crate::workspaces::tools::Act;
use crate::workspaces::wanted::{checked_description, checked_directory, checked_egress, checked_name, checked_tags};
use crate::workspaces::{Asker, Core, ForkWanted, NewWorkspace};

impl Core {
    fn new_row(&self, call: &ToolCall, wanted: &NewWorkspace) -> Result<StoredWorkspace, WorkspaceError> {
        let template = self.templates.iter().find(|template| template.name == wanted.template);
        let template = template.ok_or_else(|| bad(format!("there is no template `{}`", wanted.template)))?;
        // Whatever the usual driver is: on a directory of the host there is only one.
        let of_directory = wanted.directory.as_ref().map(|_| DriverKind::Namespace);
        let kind =
            wanted.driver.or(of_directory).or(self.default_driver).ok_or_else(|| {
                WorkspaceError::new(ProblemCode::Unavailable, "this server has no driver for workspaces")
            })?;
        self.driver(kind)?;
        if !template.drivers.contains(&kind) {
            return Err(bad(format!("the template `{}` cannot be made with the driver `{kind}`", template.name)));
        }
        let limits = wanted.limits.over(template.limits.over(self.options.limits));
        let egress = match &wanted.egress {
            Some(egress) if *egress != template.egress && !self.options.egress_by_choice => {
                return Err(bad("here the template decides what a workspace reaches; leave `egress` out"));
            }
            Some(egress) => checked_egress(egress)?,
            None => template.egress.clone(),
        };
        let directory = self.wanted_directory(wanted, kind)?;
        let (now, root) = (self.clock.now(), call.principal.root());
        // What the platform makes in its own name is a spare, and nobody's.
        let spare = is_platform(&call.principal);
        let workspace = Workspace {
            id: WorkspaceId::new(now, self.clock.random()),
            tenant: call.principal.tenant.clone(),
            owner: if spare { String::new() } else { root.id.clone() },
            name: checked_name(&wanted.name)?.to_owned(),
            description: checked_description(&wanted.description)?.to_owned(),
            template: template.name.clone(),
            driver: kind,
            state: WorkspaceState::Stopped,
            problem: None,
            limits: within_maximum(limits, &self.options.limits_max)?,
            egress,
            tags: checked_tags(&wanted.tags)?,
            directory,
            isolation: None,
            forked_from: None,
            created_at: now,
            updated_at: now,
            last_active_at: now,
            alive_because: None,
            suspends_at: None,
            purged_at: None,
        };
        let desired = WorkspaceState::Stopped;
        Ok(StoredWorkspace {
            workspace,
            owner: if spare { String::new() } else { root.label() },
            desired,
            environment: template.environment.clone(),
            made: false,
            by_operator: Permission::Operate.allows(&call.principal),
        })
    }

    /// The directory of the host that a new workspace is to work in, if this server has such workspaces.
    fn wanted_directory(&self, wanted: &NewWorkspace, kind: DriverKind) -> Result<Option<String>, WorkspaceError> {
        let Some(directory) = &wanted.directory else { return Ok(None) };
        if !self.options.host_directories {
            let message = "workspaces on directories of the host are switched off here; whoever operates the server \
                           switches them on with `workspaces.host_directories`";
            return Err(WorkspaceError::new(ProblemCode::Forbidden, message));
        }
        if kind != DriverKind::Namespace {
            let message = format!(
                "a workspace of the driver `{kind}` has files of its own; choose the driver `namespace` to work in a \
                 directory of the host"
            );
            return Err(bad(message));
        }
        checked_directory(directory).map(Some)
    }

    /// Keeps the row before anything is on the machine, so that nothing is left behind that nobody knows.
    pub(super) async fn lay_out(
        &self,
        row: StoredWorkspace,
        effect: impl Future<Output = Result<(), WorkspaceError>>,
    ) -> Result<StoredWorkspace, WorkspaceError> {
        let seen = row.workspace.clone();
        let _in_hand = self.take_in_hand(&row, Act::Create)?;
        if let Some(full) = self.store.add_workspace(row.clone(), self.quotas()).await.map_err(inside)? {
            return Err(WorkspaceError::new(ProblemCode::QuotaReached, full));
        }
        if let Err(error) = effect.await {
            if self.driver(seen.driver)?.sweep(&seen.id).await.is_ok() {
                self.store.remove_workspace(&seen.tenant, &seen.id).await.map_err(inside)?;
            }
            return Err(error);
        }
        let altered =
            self.store.alter_workspace(&seen.tenant, &seen.id, |row| row.made = true).await.map_err(inside)?;
        let row = settled(altered, "changed")?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(seen.id, resource_of(&row));
        self.tell(&row);
        Ok(row)
    }

    pub(super) async fn create(&self, act: Act, call: Call) -> Done {
        let caller = call.call().clone();
        let wanted: NewWorkspace = read(&caller.arguments, &["sha256", "size"])?;
        let row = self.new_row(&caller, &wanted)?;
        if act == Act::Create
            && wanted.start
            && let Some(claimed) = self.claim(&caller, &row).await?
        {
            // The effect was having the spare; nothing is left that the permit could be for.
            let _ = call.open();
            let held = held_by(claimed.workspace.isolation.as_ref());
            let (name, id) = (&claimed.workspace.name, &claimed.workspace.id);
            let words = format!("made and started the workspace `{name}` ({id}) from a spare: {held}");
            return told(words, &self.shown(&claimed));
        }
        let (driver, spec) = (self.driver(row.workspace.driver)?, self.spec_of(&row));
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(spec))?;
        let row = if act == Act::Import {
            if row.workspace.directory.is_some() {
                return Err(bad("a workspace on a directory of the host brings no files along; leave `directory` out"));
            }
            let sha256: Digest = part(&caller.arguments, "sha256")?;
            let files = self.staging.open_bytes(&key_of(&caller.principal, &sha256)).await?;
            self.lay_out(row, async { driver.import(permit, files).await }).await?
        } else {
            let made = self.lay_out(row, async { driver.create(permit).await }).await;
            self.note_denied(&caller.principal, &caller.trace_id, made).await?
        };
        self.begin(&caller, row, wanted.start).await
    }

    /// Starts what was just made, as an act of its own.
    pub(super) async fn begin(&self, caller: &ToolCall, row: StoredWorkspace, start: bool) -> Done {
        // The record names the workspace: the act was about a template.
        let name = format!("`{}` ({})", row.workspace.name, row.workspace.id);
        // For the next one of this kind, a spare may wait.
        self.pool.note(row.workspace.driver, &row.workspace.template);
        if !start {
            return told(format!("made the workspace {name}"), &self.shown(&row));
        }
        let asker = Asker {
            principal: caller.principal.clone(),
            purpose: caller.purpose,
            purpose_note: String::new(),
            trace_id: caller.trace_id.clone(),
            origin: reeve_types::Origin::Gateway,
            session: reeve_types::event::SessionPart::default(),
            action_id: None,
        };
        let (sender, _handed) = oneshot::channel();
        let started =
            Box::pin(self.submit(&asker, "workspace_start", json!({ "workspace_id": row.workspace.id }), sender)).await;
        let why = match &started {
            Ok(completed) => completed.outcome.as_ref().err().map(ToString::to_string),
            Err(error) => Some(error.to_string()),
        };
        let now = self.store.workspace(&row.workspace.tenant, &row.workspace.id).await.map_err(inside)?;
        let words = match why {
            None => {
                let isolation = now.as_ref().and_then(|row| row.workspace.isolation.as_ref());
                format!("made and started the workspace {name}: {}", held_by(isolation))
            }
            Some(why) => format!("made the workspace {name}; it was not started: {why}"),
        };
        told(words, &self.shown(&now.unwrap_or(row)))
    }

    pub(super) async fn fork(&self, call: Call, row: &StoredWorkspace) -> Done {
        let caller = call.call().clone();
        let wanted: ForkWanted = read(&caller.arguments, &["workspace_id"])?;
        let seen = &row.workspace;
        if matches!(seen.state, WorkspaceState::Deleting | WorkspaceState::Deleted) {
            return Err(elsewhere(seen.state, "forked"));
        }
        if let Some(id) = &wanted.snapshot_id {
            let known = self.store.snapshots(&seen.tenant, &seen.id, false).await.map_err(inside)?;
            if !known.iter().any(|snapshot| snapshot.id == *id) {
                return Err(WorkspaceError::new(
                    ProblemCode::NotFound,
                    format!("the workspace has no snapshot `{id}`"),
                ));
            }
        }
        of_its_own(row)?;
        let (now, root) = (self.clock.now(), caller.principal.root());
        let mut fork = row.clone();
        (fork.owner, fork.made, fork.desired) = (root.label(), false, WorkspaceState::Stopped);
        fork.workspace = Workspace {
            id: WorkspaceId::new(now, self.clock.random()),
            owner: root.id.clone(),
            name: checked_name(&wanted.name)?.to_owned(),
            state: WorkspaceState::Stopped,
            problem: None,
            isolation: None,
            forked_from: Some(seen.id.clone()),
            created_at: now,
            updated_at: now,
            last_active_at: now,
            alive_because: None,
            ..seen.clone()
        };
        let what = ForkWorkspace { spec: self.spec_of(&fork), from: seen.id.clone(), snapshot: wanted.snapshot_id };
        let driver = self.driver(seen.driver)?;
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(what))?;
        let fork = self.lay_out(fork, async { driver.fork(permit).await }).await?;
        self.begin(&caller, fork, wanted.start).await
    }
}
