//! The client of the program inside a workspace.
//!
//! It speaks HTTP/1.1 over the workspace's Unix sockets and implements [`WorkspaceLink`]. The other end is in the hands
//! of whoever works in the workspace, so every answer is bounded in size and time, and nothing it says is trusted to
//! name anything on this machine.

mod address;
mod bounded;
mod connection;
mod dialling;
mod files;
mod link;
mod passed_socket;
mod pipes;
mod programs;
mod terminals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::workspace::{Browse, WorkspaceLink};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceId};
use serde::Deserialize;

use connection::Connections;

/// How long an answer that is no stream may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long bytes that go in may take altogether.
pub(crate) const TRANSFER_WITHIN: Duration = Duration::from_secs(30 * 60);

/// The secret that the program inside knows its server by. Never shown.
#[derive(Clone)]
pub struct RuntimeToken(Arc<str>);

impl RuntimeToken {
    /// Takes a token: letters and digits.
    pub fn new(token: &str) -> Self {
        Self(Arc::from(token))
    }

    /// 256 random bits as text.
    pub fn generate() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// The token itself, for the one place that hands it over.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RuntimeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RuntimeToken(…)")
    }
}

/// Whether the program inside is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RuntimeHealth {
    /// Whether it has confined itself and all that it starts by Landlock.
    pub landlock: bool,
}

/// What happens inside, as the program inside tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RuntimeStats {
    /// Open terminals.
    pub terminals: u32,
    /// Programs that run.
    pub executions: u32,
    /// Since it was started, in milliseconds.
    pub uptime_ms: u64,
    /// Since a program or terminal last wrote, in milliseconds.
    pub last_output_ms: Option<u64>,
}

/// The way into one running workspace.
pub struct RuntimeClient {
    workspace: WorkspaceId,
    connections: Connections,
}

impl RuntimeClient {
    /// A client of the runtime whose sockets are in `directory` on this machine. Connects when it is first used.
    pub fn new(workspace: WorkspaceId, directory: impl Into<PathBuf>, token: RuntimeToken) -> Self {
        Self { workspace, connections: Connections::new(directory.into(), token) }
    }

    /// The same, as drivers hand it out.
    pub fn shared(self) -> Arc<dyn WorkspaceLink> {
        Arc::new(self)
    }

    /// Whether the program inside answers within a time, and what it says of itself.
    pub async fn health(&self, within: Duration) -> Result<RuntimeHealth, WorkspaceError> {
        let answer = self.connections.look("/healthz", within).await?;
        serde_json::from_slice(&answer).map_err(|error| bounded::nonsense(&format!("has an unknown shape: {error}")))
    }

    /// What the program inside says of itself. Its own words: nothing that matters may rest on them.
    pub async fn stats(&self) -> Result<RuntimeStats, WorkspaceError> {
        self.connections.get("/v1/stats").await
    }

    /// Refuses a leave that is over, or for another workspace.
    fn admit(&self, leave: &Browse) -> Result<(), WorkspaceError> {
        if leave.workspace() != &self.workspace {
            let said = format!("this leave to look is for {}, not for {}", leave.workspace(), self.workspace);
            return Err(WorkspaceError::new(ProblemCode::Forbidden, said));
        }
        if !leave.holds() {
            let said = format!("the leave to look into {} is over; ask for a new one", self.workspace);
            return Err(WorkspaceError::new(ProblemCode::Forbidden, said));
        }
        Ok(())
    }
}
