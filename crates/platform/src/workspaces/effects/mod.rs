//! What the tools do once they are admitted: one permit, one effect.
//!
//! A state is kept before its effect is begun and after it has ended, each in one transaction. Whatever a crash leaves
//! between the two is one of the passing states, or a row that is not made, and the reconciler leads it out of there.

mod files;
mod making;
mod models;
mod probing;
pub(super) mod programs;
mod putting_back;
mod snapshots;
mod states;

use reeve_gate::{Permitted, TaskCx, ToolCall};
use reeve_store::{Quotas, StoreError, StoredWorkspace};
use reeve_types::workspace::{HostDirectory, Isolation, WorkspaceSpec};
use reeve_types::{
    Arguments, Event, EventType, Principal, ProblemCode, ToolOutput, TraceId, WorkspaceError, WorkspaceId,
    WorkspaceState,
};
use serde_json::{Value, json};

use super::access::settled;
use super::files::bad;
use super::tools::Act;
use super::{Core, Waiter, lock};

pub(super) type Done = Result<ToolOutput, WorkspaceError>;
type Call = Permitted<ToolCall>;

/// Notes that something is being done to a workspace, for as long as it lives.
pub(super) struct InHand<'a>(&'a Core, WorkspaceId);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        lock(&self.0.in_hand).remove(&self.1);
    }
}

pub(super) fn inside(error: StoreError) -> WorkspaceError {
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

fn elsewhere(state: WorkspaceState, what: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Conflict, format!("the workspace is {state}: it cannot be {what}"))
}

/// What held it, for the record.
fn held_by(isolation: Option<&Isolation>) -> String {
    let Some(held) = isolation else { return "held by nobody knows what".to_owned() };
    let filters: Vec<&str> =
        [(held.seccomp, "seccomp"), (held.landlock, "Landlock"), (held.own_user, "a user of its own")]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect();
    let filters = if filters.is_empty() { "no filter".to_owned() } else { filters.join(", ") };
    format!(
        "isolation {} with {filters}; limits {}, disk {}, network {}",
        held.tier, held.limits, held.disk, held.network
    )
}

/// Refuses to copy files that are the host's: they have no end that Reeve knows, and whoever has them can copy them.
pub(super) fn of_its_own(row: &StoredWorkspace) -> Result<(), WorkspaceError> {
    let Some(directory) = &row.workspace.directory else { return Ok(()) };
    Err(bad(format!("the files of the workspace are the host's, in `{directory}`; copy them there")))
}

impl Core {
    /// What the driver is told of a workspace. Where its directory of the host must lie is what holds now.
    pub(super) fn spec_of(&self, row: &StoredWorkspace) -> WorkspaceSpec {
        let seen = &row.workspace;
        let directory = seen.directory.clone().map(|path| HostDirectory {
            path,
            within: if row.by_operator { None } else { self.options.tenant_workdirs.confines(&seen.tenant) },
        });
        WorkspaceSpec {
            id: seen.id.clone(),
            tenant: seen.tenant.clone(),
            owner: seen.owner.clone(),
            template: seen.template.clone(),
            limits: seen.limits,
            egress: seen.egress.clone(),
            environment: row.environment.clone(),
            directory,
        }
    }

    /// Writes down that somebody asked for a directory of the host that is not their tenant's.
    pub(super) async fn note_denied<T>(
        &self,
        who: &Principal,
        trace: &TraceId,
        done: Result<T, WorkspaceError>,
    ) -> Result<T, WorkspaceError> {
        use reeve_gate::Ledger as _;
        let denied = done.as_ref().err().filter(|error| error.code == ProblemCode::TenantWorkdirDenied);
        if let Some(error) = denied {
            let (now, random) = (self.clock.now(), self.clock.random());
            let mut event = Event::new(EventType::AccessDenied, who.tenant.clone(), trace.clone(), now, random);
            event.principal = Some(who.clone());
            event.note = format!("session.action.denied: tenant {}: {}", who.tenant, error.message);
            if let Err(error) = self.store.record(vec![], vec![event.into()]).await {
                tracing::error!("a refusal could not be recorded: {error}");
            }
        }
        done
    }
}

impl Core {
    pub(super) async fn carry_out(&self, act: Act, call: Call, cx: &TaskCx, waiter: &mut Option<Waiter>) -> Done {
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
            Act::Type => self.type_in(call, &row).await,
            Act::AskModel => self.ask_model(call, cx, waiter).await,
            Act::Pipe => self.open_pipe(call, &row, waiter).await,
            _ => {
                let _in_hand = self.take_in_hand(&row, act)?;
                // What was read before it was in hand may have moved on since.
                let row = self.store.workspace(&row.workspace.tenant, &id).await.map_err(inside)?;
                let row = row.ok_or_else(|| WorkspaceError::new(ProblemCode::NotFound, "the workspace is gone"))?;
                match act {
                    Act::Change => self.change(call, &row).await,
                    Act::Start => self.start(call, &row).await,
                    Act::Suspend => self.suspend(call, &row).await,
                    Act::Delete => self.delete(call, &row).await,
                    Act::Restore => self.restore(&row).await,
                    Act::Snapshot => self.snapshot(call, &row).await,
                    Act::RollBack | Act::DropSnapshot => self.use_snapshot(act, call, &row).await,
                    Act::PutBack => self.put_back(call, &row).await,
                    _ => self.fork(call, &row).await,
                }
            }
        }
    }

    pub(super) fn take_in_hand(&self, row: &StoredWorkspace, act: Act) -> Result<InHand<'_>, WorkspaceError> {
        let id = row.workspace.id.clone();
        let doing = match act {
            Act::Start => "started",
            Act::Suspend => "suspended",
            Act::Delete => "deleted",
            Act::Restore | Act::PutBack => "restored",
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

    pub(super) fn quotas(&self) -> Quotas {
        Quotas { owner: self.options.quota_per_owner, tenant: self.options.quota_per_tenant }
    }

    pub(super) async fn moved(
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
}
