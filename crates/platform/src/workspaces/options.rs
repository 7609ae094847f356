//! Settings of the service, and templates as the drivers and the boot describe them.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_store::Quota;
use reeve_types::workspace::processes::EXECUTION_TIMEOUT_MS_MAX;
use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceLimits};
use serde::{Deserialize, Serialize};

use super::tenant_workdirs::TenantWorkdirs;

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct WorkspacesOptions {
    /// The driver of a workspace whose maker names none; the first one there is when absent.
    pub default_driver: Option<DriverKind>,
    /// Spares that wait, started, for each template (and driver); 0 for none.
    pub warm: u32,
    /// What one owner may have.
    pub quota_per_owner: Quota,
    /// What all owners of a tenant may have together.
    pub quota_per_tenant: Quota,
    /// What a workspace may use when neither its maker nor its template says.
    pub limits: WorkspaceLimits,
    /// The most that anybody may ask for. Its `idle_timeout_ms` is a maximum as well; 0 allows workspaces that never
    /// rest.
    pub limits_max: WorkspaceLimits,
    /// Whether makers may choose what their workspace reaches over the network; otherwise the template decides.
    pub egress_by_choice: bool,
    /// Whether workspaces may work in directories of the host.
    pub host_directories: bool,
    /// Where those of each tenant lie.
    pub tenant_workdirs: TenantWorkdirs,
    /// How long a program may be allowed to run.
    pub run_max: Duration,
    /// Snapshots of one workspace.
    pub snapshots_max: u32,
    /// How long a deleted workspace can be restored.
    pub keep_deleted: Duration,
    /// How long something that a driver found and the database does not know is left alone.
    pub sweep_grace: Duration,
    /// Bytes that wait for their act, in memory; more wait in files.
    pub staging_memory_bytes: u64,
    /// Bytes that wait for their act, in files of the data directory.
    pub staging_disk_bytes: u64,
}

impl WorkspacesOptions {
    /// How long a program may be allowed to run, in milliseconds.
    pub fn run_max_ms(&self) -> u64 {
        u64::try_from(self.run_max.as_millis()).unwrap_or(u64::MAX).min(EXECUTION_TIMEOUT_MS_MAX)
    }
}

impl Default for WorkspacesOptions {
    fn default() -> Self {
        let limits = WorkspaceLimits::default();
        Self {
            default_driver: None,
            warm: 1,
            quota_per_owner: Quota { workspaces: 20, running: 10, disk_bytes: 0 },
            quota_per_tenant: Quota { workspaces: 0, running: 0, disk_bytes: 0 },
            limits,
            limits_max: WorkspaceLimits {
                memory_bytes: 16 << 30,
                cpu_millis: 16_000,
                pids: 8192,
                disk_bytes: 100 << 30,
                open_files: 1 << 20,
                idle_timeout_ms: 0,
            },
            egress_by_choice: true,
            host_directories: false,
            tenant_workdirs: TenantWorkdirs::default(),
            run_max: Duration::from_secs(24 * 3600),
            snapshots_max: 20,
            keep_deleted: Duration::from_secs(7 * 24 * 3600),
            sweep_grace: Duration::from_secs(120),
            staging_memory_bytes: 64 << 20,
            staging_disk_bytes: 20 << 30,
        }
    }
}

/// A driver that workspaces can be made with here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverOffer {
    /// Which.
    pub kind: DriverKind,
    /// Whether it is the one of a workspace whose maker names none.
    pub usual: bool,
    /// Why its workspaces have no way to the network; nothing where each may have one.
    pub without_network: Option<&'static str>,
}

/// Limits of which some are asked for and the rest is left to the template and the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsWanted {
    /// Memory, swap included, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Files of the workspace, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Open files of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// How long nobody may use it before it is suspended, in milliseconds; 0 never suspends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

impl LimitsWanted {
    /// The limits with what is wanted put in.
    #[must_use]
    pub fn over(self, base: WorkspaceLimits) -> WorkspaceLimits {
        WorkspaceLimits {
            memory_bytes: self.memory_bytes.unwrap_or(base.memory_bytes),
            cpu_millis: self.cpu_millis.unwrap_or(base.cpu_millis),
            pids: self.pids.unwrap_or(base.pids),
            disk_bytes: self.disk_bytes.unwrap_or(base.disk_bytes),
            open_files: self.open_files.unwrap_or(base.open_files),
            idle_timeout_ms: self.idle_timeout_ms.unwrap_or(base.idle_timeout_ms),
        }
    }
}

/// Holds limits against what may be asked for. Nothing is cut silently.
pub(crate) fn within_maximum(
    limits: WorkspaceLimits,
    max: &WorkspaceLimits,
) -> Result<WorkspaceLimits, WorkspaceError> {
    let sizes = [
        ("memory_bytes", limits.memory_bytes, 16 << 20, max.memory_bytes),
        ("cpu_millis", u64::from(limits.cpu_millis), 10, u64::from(max.cpu_millis)),
        ("pids", u64::from(limits.pids), 16, u64::from(max.pids)),
        ("disk_bytes", limits.disk_bytes, 1 << 20, max.disk_bytes),
        ("open_files", limits.open_files, 64, max.open_files),
    ];
    for (name, wanted, least, most) in sizes {
        if wanted < least || wanted > most {
            let message = format!("`{name}` is {wanted}: a workspace here may have from {least} to {most}");
            return Err(WorkspaceError::new(ProblemCode::BadRequest, message));
        }
    }
    let idle = limits.idle_timeout_ms;
    let rests = max.idle_timeout_ms == 0 || (idle != 0 && idle <= max.idle_timeout_ms);
    if !rests || (idle != 0 && idle < 1000) {
        let most =
            if max.idle_timeout_ms == 0 { "as long as you like".to_owned() } else { max.idle_timeout_ms.to_string() };
        let message = format!("`idle_timeout_ms` is {idle}: a workspace here may be idle from 1000 up to {most}");
        return Err(WorkspaceError::new(ProblemCode::BadRequest, message));
    }
    Ok(limits)
}

/// What workspaces can be made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name: `base`, `python`.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What is in it, in a sentence.
    #[serde(default)]
    pub description: String,
    /// The drivers that can make a workspace from it.
    pub drivers: Vec<DriverKind>,
    /// The languages it is meant for.
    #[serde(default)]
    pub languages: Vec<String>,
    /// The command that its run button starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_command: Option<String>,
    /// The ports that its programs usually listen on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What its workspaces may use unless their maker says otherwise.
    #[serde(default)]
    pub limits: LimitsWanted,
    /// What its workspaces reach over the network unless their maker says otherwise.
    #[serde(default)]
    pub egress: Egress,
    /// Environment variables of every process in its workspaces.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// Labels that policies match on.
    #[serde(default)]
    pub tags: BTreeSet<String>,
}
