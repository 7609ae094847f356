//! From state to state: starting, resting, deleting, restoring, and what the reconciler notes of them.

use std::sync::PoisonError;

use reeve_gate::workspace::RemoveWorkspace;
use reeve_store::{Altered, StoredWorkspace};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceState};
use serde_json::{Value, json};

use super::{Call, Done, held_by, inside, read, told};
use crate::workspaces::access::{is_platform, settled};
use crate::workspaces::options::within_maximum;
use crate::workspaces::wanted::{checked_description, checked_name};
use crate::workspaces::{Core, Use, WorkspaceChange, WorkspaceEvent, lock};

impl Core {
    pub(super) async fn change(&self, call: Call, row: &StoredWorkspace) -> Done {
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
        let row = settled(altered.await.map_err(inside)?, "changed")?;
        told(format!("changed the workspace `{}`", row.workspace.name), &self.tell(&row))
    }

    pub(super) async fn start(&self, call: Call, row: &StoredWorkspace) -> Done {
        let driver = self.driver(row.workspace.driver)?;
        let row = self
            .moved(row, WorkspaceState::Starting, "started", |row| {
                (row.desired, row.workspace.problem) = (WorkspaceState::Running, None);
            })
            .await?;
        let (who, trace) = (call.call().principal.clone(), call.call().trace_id.clone());
        let permit = call.narrow(|_| Ok::<_, WorkspaceError>(self.spec_of(&row)))?;
        let started = driver.start(permit).await;
        let isolation = match self.note_denied(&who, &trace, started).await {
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
        self.know(&row);
        let held = held_by(row.workspace.isolation.as_ref());
        told(format!("started the workspace `{}`: {held}", row.workspace.name), &self.shown(&row))
    }

    pub(super) async fn suspend(&self, call: Call, row: &StoredWorkspace) -> Done {
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

    pub(super) async fn delete(&self, call: Call, row: &StoredWorkspace) -> Done {
        let force = call.call().arguments.get("force") == Some(&Value::Bool(true));
        let driver = self.driver(row.workspace.driver)?;
        // The platform ends what was found running although it is deleted.
        if row.workspace.state == WorkspaceState::Deleted && !force && !is_platform(&call.call().principal) {
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
            let words = format!("removed the workspace `{}` for good{}", seen.name, left_on_host(&row));
            return told(words, &json!({ "purged": true }));
        }
        let until = self.clock.now().checked_add(self.options.keep_deleted).unwrap_or(jiff::Timestamp::MAX);
        let row = self
            .moved(&row, WorkspaceState::Deleted, "deleted", move |row| {
                row.workspace.purged_at = row.workspace.purged_at.or(Some(until));
            })
            .await?;
        told(format!("deleted the workspace `{}`{}", row.workspace.name, left_on_host(&row)), &self.shown(&row))
    }

    pub(super) async fn restore(&self, row: &StoredWorkspace) -> Done {
        let row = self
            .moved(row, WorkspaceState::Stopped, "restored", |row| {
                (row.desired, row.workspace.purged_at) = (WorkspaceState::Stopped, None);
            })
            .await?;
        told(format!("restored the workspace `{}`", row.workspace.name), &self.shown(&row))
    }

    /// A transition without an effect, because the effect was found to be so already. Returns whether it was made.
    pub(in crate::workspaces) async fn found_in(
        &self,
        row: &StoredWorkspace,
        states: &[WorkspaceState],
        problem: Option<String>,
    ) -> bool {
        let mut row = row.clone();
        for state in states {
            let problem = problem.clone();
            match self.moved(&row, *state, "noted", move |row| row.workspace.problem = problem).await {
                Ok(next) => row = next,
                Err(error) => {
                    tracing::warn!(workspace.id = %row.workspace.id, "what was found could not be noted: {error}");
                    return false;
                }
            }
        }
        true
    }

    /// Removes what a crash left half made.
    pub(in crate::workspaces) async fn forget_unmade(&self, row: &StoredWorkspace) -> Result<(), WorkspaceError> {
        let seen = &row.workspace;
        self.driver(seen.driver)?.sweep(&seen.id).await?;
        self.store.remove_workspace(&seen.tenant, &seen.id).await.map_err(inside)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&seen.id);
        Ok(())
    }

    /// Keeps when and how a workspace was used last.
    pub(in crate::workspaces) async fn note_use(
        &self,
        row: &StoredWorkspace,
        at: jiff::Timestamp,
        because: Use,
    ) -> bool {
        let altered = self.store.alter_workspace(&row.workspace.tenant, &row.workspace.id, move |row| {
            (row.workspace.last_active_at, row.workspace.alive_because) = (at, Some(because.as_str().to_owned()));
        });
        matches!(altered.await, Ok(Altered::Done(_)))
    }
}

/// What deleting did not touch, for the record.
fn left_on_host(row: &StoredWorkspace) -> String {
    let directory = row.workspace.directory.as_ref();
    directory.map(|path| format!("; the files in `{path}` stay on the host as they are")).unwrap_or_default()
}
