//! What can be seen afterwards of an act that a stopped server left.

use reeve_gate::{ProbeVerdict, ToolCall};
use reeve_types::{WorkspaceId, WorkspaceState};

use super::part;
use crate::workspaces::Core;
use crate::workspaces::tools::Act;

impl Core {
    /// What can be seen of an act that a stopped server left.
    pub(in crate::workspaces) async fn look_afterwards(&self, act: Act, call: &ToolCall) -> ProbeVerdict {
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
            Act::Type => ProbeVerdict::CannotTell("it may have been typed; look at what the terminal shows".to_owned()),
            _ => ProbeVerdict::CannotTell("it cannot be told afterwards; look into the workspace".to_owned()),
        }
    }
}
