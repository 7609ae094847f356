//! What a workspace is, in words that the server, the drivers, the program inside and the page share.
//!
//! The same shapes travel over the runtime's socket and over the public API, so a field means one thing everywhere.
//! Sizes are bytes, durations milliseconds, times RFC 3339.

pub mod files;
pub mod path;
pub mod processes;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ProblemCode, SnapshotId, TenantId, WorkspaceId};

pub use path::{PathProblem, WorkspacePath};

/// The closed set of states.
///
/// `stopped → starting → running → suspending → suspended → starting …`; `error` can be left by starting again or by
/// deleting; `deleted` keeps its files until it is purged, and can be restored to `stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum WorkspaceState {
    /// It has files and no processes.
    Stopped,
    /// Its processes are being started.
    Starting,
    /// It can be worked in.
    Running,
    /// Its processes are being ended.
    Suspending,
    /// It was running and rests; opening it starts it again.
    Suspended,
    /// Something failed; the workspace says what.
    Error,
    /// It is being removed.
    Deleting,
    /// It is in the trash: restorable until it is purged.
    Deleted,
}

impl WorkspaceState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Suspending,
        Self::Suspended,
        Self::Error,
        Self::Deleting,
        Self::Deleted,
    ];

    /// The word of the API and of the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Error => "error",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Whether a transition is legal. Anything else is a conflict that names the present state.
    pub fn may_become(self, next: Self) -> bool {
        use WorkspaceState as S;
        matches!(
            (self, next),
            (S::Stopped | S::Suspended | S::Error, S::Starting)
                | (S::Starting, S::Running | S::Error)
                | (S::Running, S::Suspending | S::Error)
                | (S::Suspending, S::Suspended | S::Error)
                | (S::Stopped | S::Running | S::Suspended | S::Error | S::Deleted, S::Deleting)
                | (S::Deleting, S::Deleted | S::Error)
                | (S::Deleted, S::Stopped)
        )
    }
}

impl fmt::Display for WorkspaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no state of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no state of a workspace: use stopped, starting, running, suspending, suspended, error, deleting or deleted"
)]
pub struct UnknownState(pub String);

impl FromStr for WorkspaceState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// How workspaces are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DriverKind {
    /// bubblewrap on this machine; needs no daemon.
    Namespace,
    /// Docker Engine or Podman.
    Docker,
}

impl DriverKind {
    /// Every driver.
    pub const ALL: [Self; 2] = [Self::Namespace, Self::Docker];

    /// The word of the API and of records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Docker => "docker",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no driver of workspaces: use namespace or docker")]
pub struct UnknownDriver(pub String);

impl FromStr for DriverKind {
    type Err = UnknownDriver;
    fn from_str(text: &str) -> Result<Self, UnknownDriver> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownDriver(text.to_owned()))
    }
}

/// What one workspace may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkspaceLimits {
    /// Memory, swap included, in bytes.
    pub memory_bytes: u64,
    /// Processor time, in thousandths of a core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Files of the workspace, in bytes.
    pub disk_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// How long nobody may use it before it is suspended, in milliseconds; 0 never suspends it.
    pub idle_timeout_ms: u64,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_millis: 1500,
            pids: 512,
            disk_bytes: 10 << 30,
            open_files: 8192,
            idle_timeout_ms: 2 * 60 * 60 * 1000,
        }
    }
}

/// What a workspace may reach over the network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode", from = "EgressWritten")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Egress {
    /// Nothing but itself.
    #[default]
    None,
    /// The named hosts, through Reeve's own proxy, on ports 80 and 443 unless a port is named. `*.example.org` names
    /// every host below it. Never an address of this machine, of a private network or of a cloud's metadata service.
    Allow {
        /// `host`, `host:port`, `*.domain`.
        hosts: Vec<String>,
    },
    /// Everything that is publicly routable, through Reeve's own proxy.
    Public,
}

/// How it is written. A variant without fields would let any field pass, and hosts beside `public` would be taken for a list
/// of what alone is allowed.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode", deny_unknown_fields)]
enum EgressWritten {
    None {},
    Allow { hosts: Vec<String> },
    Public {},
}

impl From<EgressWritten> for Egress {
    fn from(written: EgressWritten) -> Self {
        match written {
            EgressWritten::None {} => Self::None,
            EgressWritten::Allow { hosts } => Self::Allow { hosts },
            EgressWritten::Public {} => Self::Public,
        }
    }
}

/// Which protections held a workspace when it was started. Kept in its record: the boundary that was promised is the
/// boundary that can be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Isolation {
    /// The driver.
    pub driver: DriverKind,
    /// The tier in a word: `namespace`, `container`, `gvisor`.
    pub tier: String,
    /// Whether system calls are filtered (seccomp).
    pub seccomp: bool,
    /// Whether Landlock holds, where the kernel has it.
    pub landlock: bool,
    /// How memory, processor and processes are limited: `cgroup2`, `cgroup1`, `rlimit`.
    pub limits: String,
    /// How the disk is limited: `kernel` while writing, `swept` by looking now and then, or `host`: the files are a
    /// directory of the host, which this does not limit.
    pub disk: String,
    /// What it may reach: `none`, `allow`, `public`.
    pub network: String,
    /// Whether its user is nobody on this machine.
    pub own_user: bool,
}

/// One isolated place to work, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Workspace {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: WorkspaceId,
    /// Whose installation it belongs to.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub tenant: TenantId,
    /// Whose it is: the name of a principal.
    pub owner: String,
    /// 1 to 100 letters, digits, spaces, `-`, `_` and `.`.
    pub name: String,
    /// At most 500 characters.
    #[serde(default)]
    pub description: String,
    /// What it was made from.
    pub template: String,
    /// How it is held.
    pub driver: DriverKind,
    /// Its state.
    pub state: WorkspaceState,
    /// What failed, in state `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it may use.
    pub limits: WorkspaceLimits,
    /// What it may reach.
    pub egress: Egress,
    /// Free labels; policies match on them.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The directory of the host that stands at `/workspace`, if its files are no files of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What held it when it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The workspace it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub forked_from: Option<WorkspaceId>,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it last changed.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    /// When somebody last used it. Looking at its state is no use.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub last_active_at: Timestamp,
    /// What that use was: `terminal`, `file`, `execution`, `preview`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive_because: Option<String>,
    /// When it will be suspended if nobody uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub suspends_at: Option<Timestamp>,
    /// Until when a deleted one can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub purged_at: Option<Timestamp>,
}

/// What a workspace uses at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkspaceUsage {
    /// Memory in bytes; absent where it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time since it was started, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Files, in bytes on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Open terminals.
    pub terminals: u32,
    /// Programs that run.
    pub executions: u32,
    /// How often memory ran out since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<u64>,
}

/// A frozen copy of a workspace's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Snapshot {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: SnapshotId,
    /// Of which workspace.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub workspace_id: WorkspaceId,
    /// What its maker called it.
    pub name: String,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// Files in it, in bytes on disk.
    pub disk_bytes: u64,
}

/// What a driver needs to know to make a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    /// Its id; every trace it leaves on the machine carries it.
    pub id: WorkspaceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The name of the owner, for labels.
    pub owner: String,
    /// What it is made from.
    pub template: String,
    /// What it may use.
    pub limits: WorkspaceLimits,
    /// What it may reach.
    pub egress: Egress,
    /// Environment variables of every process in it. Never a secret of the server's.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// What stands at `/workspace` in place of files of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<HostDirectory>,
}

/// A directory of the host that a workspace works in. Its files are never removed with the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDirectory {
    /// Where it is: absolute.
    pub path: String,
    /// Where it must lie; anywhere, but in the places that no workspace gets, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Confines>,
}

/// Where the directories of one tenant lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confines {
    /// The directory of the host that all of them are in: absolute.
    pub root: String,
    /// The directories in it that may be used, relative to it; all of it when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<String>,
}

/// Why something in a workspace did not happen; travels from the program inside to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WorkspaceError {
    /// What kind of problem it is.
    pub code: ProblemCode,
    /// What failed, on what, and what to do next.
    pub message: String,
    /// The entity tag of what is there now, with `edit_conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_etag: Option<String>,
}

impl WorkspaceError {
    /// An error in one sentence.
    pub fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), current_etag: None }
    }
}

impl From<PathProblem> for WorkspaceError {
    fn from(problem: PathProblem) -> Self {
        Self::new(problem.code(), problem.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_state_for_itself_and_deleted_is_left_only_by_restoring_or_purging() {
        for state in WorkspaceState::ALL {
            assert!(!state.may_become(state), "{state}");
        }
        let after: Vec<_> =
            WorkspaceState::ALL.into_iter().filter(|next| WorkspaceState::Deleted.may_become(*next)).collect();
        assert_eq!(after, [WorkspaceState::Stopped, WorkspaceState::Deleting]);
    }

    #[test]
    fn every_state_can_be_left() {
        for state in WorkspaceState::ALL {
            assert!(WorkspaceState::ALL.into_iter().any(|next| state.may_become(next)), "{state} is a dead end");
        }
    }
}
