//! A session that names a directory of the host works in a workspace on it: the caller's own, or a new one.

use reeve_types::{Origin, Principal, ProblemCode, Workspace, WorkspaceId, WorkspaceState};

use super::{SessionError, Sessions};
use crate::workspaces::{Asker, NewWorkspace, NotDone, WorkspaceFilter, Workspaces, checked_directory};

/// Longest name that is made of a directory's.
const NAME_CHARS_MAX: usize = 60;

impl Sessions {
    /// The workspace of the caller on a directory of the host, running. Where it lies is looked at again each time.
    pub(super) async fn workspace_on(&self, caller: &Principal, path: &str) -> Result<WorkspaceId, SessionError> {
        let workspaces = self.platform.workspaces();
        let workspaces =
            workspaces.ok_or_else(|| SessionError::new(ProblemCode::BadRequest, "this server has no workspaces"))?;
        let directory = checked_directory(path).map_err(NotDone::Problem)?;
        let asker = Asker {
            principal: caller.clone(),
            purpose: None,
            purpose_note: "a session works in it".to_owned(),
            trace_id: self.platform.new_trace("ses"),
            origin: Origin::DirectTool,
            session: reeve_types::event::SessionPart::default(),
            action_id: None,
        };
        let found = match own_on(workspaces, caller, &directory).await? {
            Some(found) => workspaces.start(&asker, &found.id).await?,
            None => {
                let wanted = NewWorkspace {
                    directory: Some(directory.clone()),
                    ..NewWorkspace::named(name_of(&directory), "base")
                };
                workspaces.create(&asker, wanted).await?
            }
        };
        if found.state == WorkspaceState::Running {
            return Ok(found.id);
        }
        let why = found.problem.unwrap_or_else(|| format!("it is {}", found.state));
        let message = format!("the workspace `{}` on `{directory}` was not started: {why}", found.name);
        Err(SessionError::new(ProblemCode::NotRunning, message))
    }
}

/// The newest workspace of the caller's own on a directory.
async fn own_on(
    workspaces: &Workspaces,
    caller: &Principal,
    directory: &str,
) -> Result<Option<Workspace>, SessionError> {
    let mut filter = WorkspaceFilter { limit: Some(200), ..WorkspaceFilter::default() };
    loop {
        let page = workspaces.list(caller, filter).await?;
        // An administrator sees those of others; a session of one's own works in one's own.
        let mine = |seen: &&Workspace| seen.owner == caller.root().id && seen.state != WorkspaceState::Deleting;
        let found = page.workspaces.iter().filter(mine).find(|seen| seen.directory.as_deref() == Some(directory));
        match (found, page.next_cursor) {
            (Some(found), _) => return Ok(Some(found.clone())),
            (None, None) => return Ok(None),
            (None, cursor) => filter = WorkspaceFilter { limit: Some(200), cursor, ..WorkspaceFilter::default() },
        }
    }
}

/// What people call a workspace that is made for a directory: the name of the directory, as far as it can be one.
fn name_of(directory: &str) -> String {
    let last = directory.rsplit('/').next().unwrap_or_default();
    let fine = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let name: String = last.chars().map(|c| if fine(c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    if name.trim().is_empty() { "directory".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_called_as_its_directory() {
        for (directory, name) in
            [("/home/me/shop", "shop"), ("/srv/größe 2", "größe 2"), ("/srv/a:b", "a-b"), ("/", "directory")]
        {
            assert_eq!(name_of(directory), name, "{directory}");
        }
    }
}
