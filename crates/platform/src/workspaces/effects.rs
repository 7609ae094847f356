//! What the tools do once they are admitted: one permit, one effect.

use futures_util::StreamExt as _;
use reeve_gate::workspace::{ForkWorkspace, RemoveWorkspace, TakeSnapshot};
use reeve_gate::{Permitted, ProbeVerdict, TaskCx, ToolCall};
use reeve_store::{Altered, Quotas, StoreError, StoredWorkspace};
use reeve_types::workspace::files::{ArchiveFormat, FileOperation, SaveFile, TreeQuery};
use reeve_types::workspace::processes::{ExecRequest, OpenTerminal};
use reeve_types::workspace::{Snapshot, WorkspaceSpec};
use reeve_types::{
    Arguments, Digest, ExecutionId, ProblemCode, SnapshotId, TerminalId, ToolOutput, Workspace, WorkspaceError,
    WorkspaceId, WorkspacePath, WorkspaceState,
};
use serde_json::{Value, json};
use std::sync::PoisonError;
use tokio::sync::{mpsc, oneshot};

use super::access::{resource_of, settled};
use super::files::bad;
use super::options::within_maximum;
use super::programs::Whole;
use super::tools::Act;
use super::wanted::{checked_description, checked_egress, checked_name, checked_tags};
use super::{
    Asker, Core, Execution, ForkWanted, Handed, NewWorkspace, Use, WorkspaceChange, WorkspaceEvent, lifecycle, lock,
};

type Done = Result<ToolOutput, WorkspaceError>;
type Call = Permitted<ToolCall>;

/// How much of each stream an act's result keeps, in bytes.
const RESULT_BYTES: usize = 256 * 1024;

/// Notes that something is being done to a workspace, for as long as it lives.
pub(super) struct InHand<'a>(&'a Core, WorkspaceId);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        lock(&self.0.in_hand).remove(&self.1);
    }
}

fn inside(error: StoreError) -> WorkspaceError {
    let code = if matches!(error, StoreError::Unavailable(_)) {
        ProblemCode::RecordUnavailable
    } else {
        ProblemCode::Internal
    };
    WorkspaceError::new(code, format!("the store failed: {}", error.chain()))
}

fn read<T: serde::de::DeserializeOwned>(arguments: &Arguments, without: &[&str]) -> Result<T, WorkspaceError> {
    let mut rest = arguments.clone();
    rest.retain(|key, _| !without.contains(&key.as_str()));
    serde_json::from_value(Value::Object(rest)).map_err(|error| bad(format!("the arguments cannot be read: {error}")))
}

fn part<T: serde::de::DeserializeOwned>(arguments: &Arguments, key: &str) -> Result<T, WorkspaceError> {
    let value = arguments.get(key).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|error| bad(format!("`{key}` cannot be read: {error}")))
}

fn told<T: serde::Serialize>(words: String, data: &T) -> Done {
    Ok(ToolOutput::with_data(words, json!(data)))
}

fn spec_of(row: &StoredWorkspace) -> WorkspaceSpec {
    let seen = &row.workspace;
    WorkspaceSpec {
        id: seen.id.clone(),
        tenant: seen.tenant.clone(),
        owner: seen.owner.clone(),
        template: seen.template.clone(),
        limits: seen.limits,
        egress: seen.egress.clone(),
        environment: row.environment.clone(),
    }
}

impl Core {
    pub(super) async fn carry_out(
        &self,
        act: Act,
        call: Call,
        cx: &TaskCx,
        waiter: &mut Option<oneshot::Sender<Handed>>,
    ) -> Done {
        if matches!(act, Act::Create | Act::Import) {
            return self.create(act, call).await;
        }
        let id: WorkspaceId = part(&call.call().arguments, "workspace_id")?;
        let row = self.visible(&call.call().principal, &id).await;
        let row = row.map_err(|error| WorkspaceError::new(error.code(), error.to_string()))?;
        match act {
            Act::Browse => self.browse(call, &row).await,
            Act::Save | Act::Files | Act::Upload | Act::Extract => self.change_files(act, call, &row).await,
            Act::Execute => self.execute(call, &row, cx, waiter).await,
            Act::Terminal => self.open_terminal(call, &row).await,
            _ => {
                let _in_hand = self.take_in_hand(&row, act)?;
                match act {
                    Act::Change => self.change(call, &row).await,
                    Act::Start => self.start(call, &row).await,
                    Act::Suspend => self.suspend(call, &row).await,
                    Act::Delete => self.delete(call, &row).await,
                    Act::Restore => self.restore(&row).await,
                    Act::Snapshot => self.snapshot(call, &row).await,
                    Act::RollBack | Act::DropSnapshot => self.use_snapshot(act, call, &row).await,
                    _ => self.fork(call, &row).await,
                }
            }
        }
    }

    fn take_in_hand(&self, row: &StoredWorkspace, act: Act) -> Result<InHand<'_>, WorkspaceError> {
        let id = row.workspace.id.clone();
        let doing = match act {
            Act::Start => "started",
            Act::Suspend => "suspended",
            Act::Delete => "deleted",
            Act::Restore => "restored",
            Act::Snapshot | Act::Fork => "copied",
            Act::RollBack => "rolled back",
            Act::Create | Act::Import => "made",
            _ => "changed",
        };
        let mut in_hand = lock(&self.in_hand);
        if let Some(other) = in_hand.get(&id) {
            let message =
                format!("the workspace is {} and being {other} at this moment; ask again", row.workspace.state);
            return Err(WorkspaceError::new(ProblemCode::Conflict, message));
        }
        in_hand.insert(id.clone(), doing);
        Ok(InHand(self, id))
    }

    fn quotas(&self) -> Quotas {
        Quotas { owner: self.options.quota_per_owner, tenant: self.options.quota_per_tenant }
    }

    async fn moved(
        &self,
        row: &StoredWorkspace,
        to: WorkspaceState,
        what: &str,
        also: impl FnOnce(&mut StoredWorkspace) + Send + 'static,
    ) -> Result<StoredWorkspace, WorkspaceError> {
        let (seen, now) = (&row.workspace, self.clock.now());
        let quotas = (to == WorkspaceState::Starting).then(|| self.quotas());
        let altered = self.store.move_workspace(&seen.tenant, &seen.id, to, quotas, move |row| {
            row.workspace.updated_at = now;
            also(row);
        });
        let row = settled(altered.await.map_err(inside)?, what)?;
        self.tell(&row);
        Ok(row)
    }

    /// A transition whose effect failed: the workspace says why.
    async fn broke(&self, row: &StoredWorkspace, error: WorkspaceError) -> WorkspaceError {
        let words = error.message.clone();
        let noted =
            self.moved(row, WorkspaceState::Error, "marked", move |row| row.workspace.problem = Some(words)).await;
        if let Err(other) = noted {
            tracing::error!(workspace.id = %row.workspace.id, "a failure could not be noted: {other}");
        }
        error
    }

    fn new_row(&self, call: &ToolCall, wanted: &NewWorkspace) -> Result<StoredWorkspace, WorkspaceError> {
        let template = self.templates.iter().find(|template| template.name == wanted.template);
        let template = template.ok_or_else(|| bad(format!("there is no template `{}`", wanted.template)))?;
        let kind = wanted
            .driver
            .or(self.default_driver)
            .ok_or_else(|| WorkspaceError::new(ProblemCode::Unavailable, "this server has no driver for workspaces"))?;
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
        let (now, root) = (self.clock.now(), call.principal.root());
        let workspace = Workspace {
            id: WorkspaceId::new(now, self.clock.random()),
            tenant: call.principal.tenant.clone(),
            owner: root.id.clone(),
            name: checked_name(&wanted.name)?.to_owned(),
            description: checked_description(&wanted.description)?.to_owned(),
            template: template.name.clone(),
            driver: kind,
            state: WorkspaceState::Stopped,
            problem: None,
            limits: within_maximum(limits, &self.options.limits_max)?,
            egress,
            tags: checked_tags(&wanted.tags)?,
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
            owner: root.label(),
            desired,
            environment: template.environment.clone(),
            made: false,
        })
    }

    /// Keeps the row before anything is on the machine, so that nothing is left behind that nobody knows.
    async fn lay_out(
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
        let row = lifecycle::row_of(altered)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(seen.id, resource_of(&row));
        self.tell(&row);
        Ok(row)
    }

    async fn create(&self, act: Act, call: Call) -> Done {
        let caller = call.call().clone();
        let wanted: NewWorkspace = read(&caller.arguments, &["sha256", "size"])?;
        let row = self.new_row(&caller, &wanted)?;
        let (driver, spec) = (self.driver(row.workspace.driver)?, spec_of(&row));
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(spec))?;
        let row = if act == Act::Import {
            let sha256: Digest = part(&caller.arguments, "sha256")?;
            let files = self.staging.open_bytes(&sha256).await?;
            let row = self.lay_out(row, async { driver.import(permit, files).await }).await?;
            self.staging.used_up(&sha256);
            row
        } else {
            self.lay_out(row, async { driver.create(permit).await }).await?
        };
        self.begin(&caller, row, wanted.start).await
    }

    /// Starts what was just made, as an act of its own.
    async fn begin(&self, caller: &ToolCall, row: StoredWorkspace, start: bool) -> Done {
        let name = row.workspace.name.clone();
        if !start {
            return told(format!("made the workspace `{name}`"), &self.shown(&row));
        }
        let asker = Asker {
            principal: caller.principal.clone(),
            purpose: caller.purpose,
            purpose_note: String::new(),
            trace_id: caller.trace_id.clone(),
            origin: reeve_types::Origin::Gateway,
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
            None => format!("made and started the workspace `{name}`"),
            Some(why) => format!("made the workspace `{name}`; it was not started: {why}"),
        };
        told(words, &self.shown(&now.unwrap_or(row)))
    }

    async fn change(&self, call: Call, row: &StoredWorkspace) -> Done {
        let change: WorkspaceChange = read(&call.call().arguments, &["workspace_id"])?;
        let name = change.name.as_deref().map(checked_name).transpose()?.map(str::to_owned);
        let description = change.description.as_deref().map(checked_description).transpose()?.map(str::to_owned);
        let mut limits = row.workspace.limits;
        limits.idle_timeout_ms = change.idle_timeout_ms.unwrap_or(limits.idle_timeout_ms);
        let limits = within_maximum(limits, &self.options.limits_max)?;
        let now = self.clock.now();
        let altered = self.store.alter_workspace(&row.workspace.tenant, &row.workspace.id, move |row| {
            let seen = &mut row.workspace;
            seen.name = name.unwrap_or_else(|| seen.name.clone());
            seen.description = description.unwrap_or_else(|| seen.description.clone());
            (seen.limits, seen.updated_at) = (limits, now);
        });
        let row = lifecycle::row_of(altered.await.map_err(inside)?)?;
        told(format!("changed the workspace `{}`", row.workspace.name), &self.tell(&row))
    }

    async fn start(&self, call: Call, row: &StoredWorkspace) -> Done {
        let driver = self.driver(row.workspace.driver)?;
        let row = self
            .moved(row, WorkspaceState::Starting, "started", |row| {
                (row.desired, row.workspace.problem) = (WorkspaceState::Running, None);
            })
            .await?;
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(spec_of(&row)))?;
        let isolation = match driver.start(permit).await {
            Ok(isolation) => isolation,
            Err(error) => return Err(self.broke(&row, error).await),
        };
        let now = self.clock.now();
        lock(&self.uses).remove(&row.workspace.id);
        let row = self
            .moved(&row, WorkspaceState::Running, "started", move |row| {
                (row.workspace.isolation, row.workspace.last_active_at) = (Some(isolation), now);
            })
            .await?;
        told(format!("started the workspace `{}`", row.workspace.name), &self.shown(&row))
    }

    async fn suspend(&self, call: Call, row: &StoredWorkspace) -> Done {
        let driver = self.driver(row.workspace.driver)?;
        let mut row = row.clone();
        // One that a crash left half way is suspended to the end.
        if row.workspace.state != WorkspaceState::Suspending {
            let rests = |row: &mut StoredWorkspace| row.desired = WorkspaceState::Suspended;
            row = self.moved(&row, WorkspaceState::Suspending, "suspended", rests).await?;
        }
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(row.workspace.id.clone()))?;
        if let Err(error) = driver.suspend(permit).await {
            return Err(self.broke(&row, error).await);
        }
        let row = self.moved(&row, WorkspaceState::Suspended, "suspended", |_| ()).await?;
        told(format!("suspended the workspace `{}`", row.workspace.name), &self.shown(&row))
    }

    async fn delete(&self, call: Call, row: &StoredWorkspace) -> Done {
        let force = call.call().arguments.get("force") == Some(&Value::Bool(true));
        let driver = self.driver(row.workspace.driver)?;
        if row.workspace.state == WorkspaceState::Deleted && !force {
            return Err(WorkspaceError::new(ProblemCode::Conflict, "the workspace is deleted already"));
        }
        let mut row = row.clone();
        if row.workspace.state != WorkspaceState::Deleting {
            // `deleting` as the wanted end means for good: nothing comes after it.
            let end = if force { WorkspaceState::Deleting } else { WorkspaceState::Deleted };
            row = self.moved(&row, WorkspaceState::Deleting, "deleted", move |row| row.desired = end).await?;
        }
        let what = RemoveWorkspace { workspace: row.workspace.id.clone(), with_files: force };
        if let Err(error) = driver.delete(call.narrow(|_| Ok::<_, WorkspaceError>(what))?).await {
            return Err(self.broke(&row, error).await);
        }
        let seen = &row.workspace;
        if force {
            self.store.remove_workspace(&seen.tenant, &seen.id).await.map_err(inside)?;
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&seen.id);
            lock(&self.uses).remove(&seen.id);
            self.changed(&row, WorkspaceEvent::Gone { id: seen.id.clone() });
            return told(format!("removed the workspace `{}` for good", seen.name), &json!({ "purged": true }));
        }
        let until = self.clock.now().checked_add(self.options.keep_deleted).unwrap_or(jiff::Timestamp::MAX);
        let row = self
            .moved(&row, WorkspaceState::Deleted, "deleted", move |row| row.workspace.purged_at = Some(until))
            .await?;
        told(format!("deleted the workspace `{}`", row.workspace.name), &self.shown(&row))
    }

    async fn restore(&self, row: &StoredWorkspace) -> Done {
        let row = self
            .moved(row, WorkspaceState::Stopped, "restored", |row| {
                (row.desired, row.workspace.purged_at) = (WorkspaceState::Stopped, None);
            })
            .await?;
        told(format!("restored the workspace `{}`", row.workspace.name), &self.shown(&row))
    }

    async fn snapshot(&self, call: Call, row: &StoredWorkspace) -> Done {
        let seen = &row.workspace;
        let name = checked_name(&part::<String>(&call.call().arguments, "name")?)?.to_owned();
        let known = self.store.snapshots(&seen.tenant, &seen.id, true).await.map_err(inside)?;
        if known.len() >= self.options.snapshots_max as usize {
            let message = format!("the workspace has {} snapshots, as many as it may; drop one first", known.len());
            return Err(WorkspaceError::new(ProblemCode::QuotaReached, message));
        }
        if matches!(seen.state, WorkspaceState::Deleting | WorkspaceState::Deleted) {
            return Err(settled_elsewhere(seen.state, "copied"));
        }
        let now = self.clock.now();
        let id = SnapshotId::new(now, self.clock.random());
        let mut snapshot =
            Snapshot { id: id.clone(), workspace_id: seen.id.clone(), name, created_at: now, disk_bytes: 0 };
        self.store.put_snapshot(&seen.tenant, snapshot.clone(), false).await.map_err(inside)?;
        let what = TakeSnapshot { workspace: seen.id.clone(), snapshot: id.clone() };
        match self.driver(seen.driver)?.snapshot(call.narrow(|_| Ok::<_, WorkspaceError>(what))?).await {
            Ok(bytes) => snapshot.disk_bytes = bytes,
            Err(error) => {
                self.store.remove_snapshot(&seen.tenant, &id).await.map_err(inside)?;
                return Err(error);
            }
        }
        self.store.put_snapshot(&seen.tenant, snapshot.clone(), true).await.map_err(inside)?;
        told(format!("took the snapshot `{}` of `{}`", snapshot.name, seen.name), &snapshot)
    }

    async fn use_snapshot(&self, act: Act, call: Call, row: &StoredWorkspace) -> Done {
        let seen = &row.workspace;
        let id: SnapshotId = part(&call.call().arguments, "snapshot_id")?;
        // One that a crash left unfinished can be dropped, and nothing else.
        let known = self.store.snapshots(&seen.tenant, &seen.id, act == Act::DropSnapshot).await.map_err(inside)?;
        if !known.iter().any(|snapshot| snapshot.id == id) {
            return Err(WorkspaceError::new(ProblemCode::NotFound, format!("the workspace has no snapshot `{id}`")));
        }
        let what = TakeSnapshot { workspace: seen.id.clone(), snapshot: id.clone() };
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(what))?;
        let driver = self.driver(seen.driver)?;
        if act == Act::DropSnapshot {
            driver.drop_snapshot(permit).await?;
            self.store.remove_snapshot(&seen.tenant, &id).await.map_err(inside)?;
            return told(format!("dropped a snapshot of `{}`", seen.name), &json!({ "dropped": id }));
        }
        let rests = matches!(seen.state, WorkspaceState::Stopped | WorkspaceState::Suspended | WorkspaceState::Error);
        if !rests {
            return Err(settled_elsewhere(seen.state, "rolled back; suspend it first"));
        }
        driver.roll_back(permit).await?;
        told(format!("rolled `{}` back", seen.name), &self.tell(row))
    }

    async fn fork(&self, call: Call, row: &StoredWorkspace) -> Done {
        let caller = call.call().clone();
        let wanted: ForkWanted = read(&caller.arguments, &["workspace_id"])?;
        let seen = &row.workspace;
        if matches!(seen.state, WorkspaceState::Deleting | WorkspaceState::Deleted) {
            return Err(settled_elsewhere(seen.state, "forked"));
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
        let what = ForkWorkspace { spec: spec_of(&fork), from: seen.id.clone(), snapshot: wanted.snapshot_id };
        let driver = self.driver(seen.driver)?;
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(what))?;
        let fork = self.lay_out(fork, async { driver.fork(permit).await }).await?;
        self.begin(&caller, fork, wanted.start).await
    }

    async fn browse(&self, call: Call, row: &StoredWorkspace) -> Done {
        let path = call.call().arguments.get("path").map(|_| part::<WorkspacePath>(&call.call().arguments, "path"));
        let (id, principal) = (row.workspace.id.clone(), call.call().principal.clone());
        self.grant(call, &id)?;
        let Some(path) = path.transpose()? else {
            return told("you may look into it for a minute".to_owned(), &json!({ "workspace_id": id }));
        };
        let failed = |error: super::NotDone| WorkspaceError::new(error.code(), error.to_string());
        let asker = Asker { principal, ..self.itself(&row.workspace.tenant, "") };
        let leave = Box::pin(self.leave(&asker, &id)).await.map_err(failed)?;
        let page = self.link(row).await?.tree(&leave, &TreeQuery { path, limit: 500, ..TreeQuery::default() }).await?;
        told(format!("{} entries", page.entries.len()), &page)
    }

    async fn change_files(&self, act: Act, call: Call, row: &StoredWorkspace) -> Done {
        let link = self.link(row).await?;
        let arguments = call.call().arguments.clone();
        self.touch(&row.workspace.id, Use::File);
        if act == Act::Files {
            let operation: FileOperation = read(&arguments, &["workspace_id"])?;
            let words = operation.word();
            let changed = link.operate(call.narrow(|_| Ok::<_, WorkspaceError>(operation))?).await?;
            return told(format!("{words}: {} files or directories", changed.count), &changed);
        }
        let inline = inline_content(&arguments)?;
        let mut said = arguments.clone();
        if let Some(bytes) = &inline {
            let (sha256, size) = (Digest::of(bytes), bytes.len());
            if said.get("sha256").is_some_and(|given| *given != json!(sha256)) {
                return Err(bad("`sha256` is not that of the content"));
            }
            (said["sha256"], said["size"]) = (json!(sha256), json!(size));
        }
        let file: SaveFile = read(&said, &["workspace_id", "format", "content", "content_b64"])?;
        let (sha256, path) = (file.sha256, file.path.clone());
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(file))?;
        if act == Act::Upload {
            return told(format!("began to upload {path}"), &link.begin_upload(permit).await?);
        }
        let content = match inline {
            Some(bytes) => futures_util::stream::iter([Ok(bytes::Bytes::from(bytes))]).boxed(),
            None => self.staging.open_bytes(&sha256).await?,
        };
        let done = if act == Act::Extract {
            let format: ArchiveFormat = part(&arguments, "format")?;
            let extracted = link.extract(permit, format, content).await?;
            told(format!("unpacked {} files into {path}", extracted.files), &extracted)
        } else {
            let saved = link.save(permit, content).await?;
            told(format!("saved {path}, {} bytes", saved.size), &saved)
        };
        self.staging.used_up(&sha256);
        done
    }

    async fn open_terminal(&self, call: Call, row: &StoredWorkspace) -> Done {
        let wanted: OpenTerminal = read(&call.call().arguments, &["workspace_id"])?;
        let link = self.link(row).await?;
        self.touch(&row.workspace.id, Use::Terminal);
        let id = TerminalId::new(self.clock.now(), self.clock.random());
        let terminal = link.open_terminal(id, call.narrow(|_| Ok::<_, WorkspaceError>(wanted))?).await?;
        told("opened a terminal".to_owned(), &terminal)
    }

    async fn execute(
        &self,
        call: Call,
        row: &StoredWorkspace,
        cx: &TaskCx,
        waiter: &mut Option<oneshot::Sender<Handed>>,
    ) -> Done {
        let wanted: ExecRequest = read(&call.call().arguments, &["workspace_id"])?;
        let link = self.link(row).await?;
        let workspace = row.workspace.id.clone();
        let id = ExecutionId::new(self.clock.now(), self.clock.random());
        let mut events = link.execute(id.clone(), call.narrow(|_| Ok::<_, WorkspaceError>(wanted))?).await?;
        let _busy = Busy::begin(self, &workspace);
        let (follow, mut follower) = mpsc::channel(64);
        let followed = match waiter.take() {
            None => false,
            Some(waiter) => {
                let told = futures_util::stream::poll_fn(move |cx| follower.poll_recv(cx)).boxed();
                waiter.send(Handed::Execution(Execution { id: id.clone(), events: told })).is_ok()
            }
        };
        let mut whole = Whole::new(id, RESULT_BYTES);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = cx.cancelled().cancelled() => return Err(ended("the server is stopping")),
                () = follow.closed(), if followed => return Err(ended("nobody follows it any more")),
            };
            let Some(event) = event else { return Err(ended("the workspace stopped telling of it")) };
            self.touch(&workspace, Use::Execution);
            if followed {
                // A caller that has gone is found out by the next turn.
                let _ = follow.send(event.clone()).await;
            }
            if let Some(result) = whole.take(event?) {
                return told(format!("the program ended with exit code {}", result.outcome.exit_code), &result);
            }
        }
    }

    /// What can be seen of an act that a stopped server left.
    pub(super) async fn look_afterwards(&self, act: Act, call: &ToolCall) -> ProbeVerdict {
        let state = match part::<WorkspaceId>(&call.arguments, "workspace_id") {
            Ok(id) => self
                .store
                .workspace(&call.principal.tenant, &id)
                .await
                .ok()
                .map(|row| row.map(|row| row.workspace.state)),
            Err(_) => None,
        };
        let reached = |wanted: WorkspaceState| match state {
            Some(Some(found)) if found == wanted => ProbeVerdict::Happened(format!("the workspace is {found}")),
            Some(Some(found)) => ProbeVerdict::DidNotHappen(format!("the workspace is {found}")),
            Some(None) => ProbeVerdict::CannotTell("the workspace is gone".to_owned()),
            None => ProbeVerdict::CannotTell("the workspace could not be looked up".to_owned()),
        };
        match act {
            Act::Start => reached(WorkspaceState::Running),
            Act::Suspend => reached(WorkspaceState::Suspended),
            Act::Restore => reached(WorkspaceState::Stopped),
            Act::Delete if state == Some(None) => ProbeVerdict::Happened("the workspace is gone".to_owned()),
            Act::Delete => reached(WorkspaceState::Deleted),
            Act::Execute => ProbeVerdict::CannotTell("the program was ended with the server".to_owned()),
            _ => ProbeVerdict::CannotTell("it cannot be told afterwards; look into the workspace".to_owned()),
        }
    }
}

fn ended(why: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Unavailable, format!("the program was ended: {why}"))
}

fn settled_elsewhere(state: WorkspaceState, what: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Conflict, format!("the workspace is {state}: it cannot be {what}"))
}

fn inline_content(arguments: &Arguments) -> Result<Option<Vec<u8>>, WorkspaceError> {
    use base64::Engine as _;
    if let Some(text) = arguments.get("content").and_then(Value::as_str) {
        return Ok(Some(text.as_bytes().to_vec()));
    }
    let Some(text) = arguments.get("content_b64").and_then(Value::as_str) else { return Ok(None) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map(Some).map_err(|_| bad("`content_b64` is not base64"))
}

/// A program that runs keeps its workspace awake.
struct Busy<'a>(&'a Core, WorkspaceId);

impl<'a> Busy<'a> {
    fn begin(core: &'a Core, id: &WorkspaceId) -> Self {
        core.touch(id, Use::Execution);
        if let Some(uses) = lock(&core.uses).get_mut(id) {
            uses.busy += 1;
        }
        Self(core, id.clone())
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.touch(&self.1, Use::Execution);
        if let Some(uses) = lock(&self.0.uses).get_mut(&self.1) {
            uses.busy = uses.busy.saturating_sub(1);
        }
    }
}

/// For the tending: a transition without an effect, because the effect was found to be so already.
impl Core {
    pub(super) async fn found_in(&self, row: &StoredWorkspace, states: &[WorkspaceState], problem: Option<String>) {
        let mut row = row.clone();
        for state in states {
            let problem = problem.clone();
            match self.moved(&row, *state, "noted", move |row| row.workspace.problem = problem).await {
                Ok(next) => row = next,
                Err(error) => {
                    tracing::warn!(workspace.id = %row.workspace.id, "what was found could not be noted: {error}");
                    return;
                }
            }
        }
    }

    pub(super) async fn forget_unmade(&self, row: &StoredWorkspace) -> Result<(), WorkspaceError> {
        let seen = &row.workspace;
        self.driver(seen.driver)?.sweep(&seen.id).await?;
        self.store.remove_workspace(&seen.tenant, &seen.id).await.map_err(inside)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&seen.id);
        Ok(())
    }

    pub(super) async fn note_use(&self, row: &StoredWorkspace, at: jiff::Timestamp, because: Use) -> bool {
        let altered = self.store.alter_workspace(&row.workspace.tenant, &row.workspace.id, move |row| {
            (row.workspace.last_active_at, row.workspace.alive_because) = (at, Some(because.as_str().to_owned()));
        });
        matches!(altered.await, Ok(Altered::Done(_)))
    }
}
