//! What is said of workspaces: how they are held, how many there may be, and what each may use.

use std::net::SocketAddr;
use std::time::Duration;

use reeve_types::WorkspaceLimits;
use reeve_types::workspace::DriverKind;

use super::super::{WorkspacesConfig, WorkspacesQuota};
use super::Check;

/// The largest number of workspaces that a setting may name.
const COUNT_MAX: u64 = 100_000;
/// The largest disk that a setting may name, in GiB.
const DISK_GB_MAX: u64 = 1 << 20;
/// The longest that a deleted workspace may be kept, in days.
const KEEP_DAYS_MAX: u64 = 3650;
/// The longest that a workspace may be idle by a setting, in minutes: a year.
const IDLE_MINUTES_MAX: u64 = 365 * 24 * 60;
/// The longest that a run may be allowed, in minutes: a week.
const RUN_MINUTES_MAX: u64 = 7 * 24 * 60;

impl Check<'_> {
    pub(super) fn workspaces(&mut self) -> WorkspacesConfig {
        let named = self.text("workspaces.driver");
        let driver = match named.as_deref() {
            Some("none") => None,
            None => Some(DriverKind::Namespace),
            Some(text) => text.parse().map(Some).unwrap_or_else(|_| {
                let message = format!("`{text}` is no driver of workspaces");
                self.complain(&self.source("workspaces.driver"), message, "use namespace, docker or none");
                None
            }),
        };
        let (limits, limits_max) = self.workspace_limits();
        WorkspacesConfig {
            driver,
            chosen: named.is_some(),
            runtime: self.path("workspaces.runtime"),
            docker_host: self.text("workspaces.docker.host"),
            docker_runtime: self.text("workspaces.docker.runtime"),
            templates: self.path("workspaces.templates"),
            warm: self.count("workspaces.warm", 1, 0, 100),
            user: WorkspacesQuota {
                workspaces: self.count("workspaces.per_user", 20, 1, COUNT_MAX),
                running: self.count("workspaces.running_per_user", 10, 1, COUNT_MAX),
                disk_bytes: self.number("workspaces.disk_gb_per_user", 0, 0..=DISK_GB_MAX) << 30,
            },
            tenant: WorkspacesQuota {
                workspaces: self.count("workspaces.per_tenant", 0, 0, COUNT_MAX),
                running: self.count("workspaces.running_per_tenant", 0, 0, COUNT_MAX),
                disk_bytes: self.number("workspaces.disk_gb_per_tenant", 0, 0..=DISK_GB_MAX) << 30,
            },
            limits,
            limits_max,
            run_max: Duration::from_secs(60 * self.number("workspaces.run_max_minutes", 24 * 60, 1..=RUN_MINUTES_MAX)),
            snapshots_max: self.count("workspaces.snapshots_max", 20, 0, COUNT_MAX),
            keep_deleted: Duration::from_secs(
                24 * 60 * 60 * self.number("workspaces.keep_deleted_days", 7, 1..=KEEP_DAYS_MAX),
            ),
            egress_by_choice: self.switch_or("workspaces.egress_by_choice", true),
            reachable: self.reachable(),
            strict_exec: self.switch("workspaces.strict_exec"),
            token_in_address: self.switch_or("workspaces.token_in_address", true),
            host_directories: self.switch("workspaces.host_directories"),
            tenants_file: self.path("tenants.file"),
            preview_domain: self.text("workspaces.preview_domain").unwrap_or_else(|| "localhost".to_owned()),
        }
    }

    fn count(&mut self, key: &str, default: u32, least: u64, most: u64) -> u32 {
        u32::try_from(self.number(key, u64::from(default), least..=most)).unwrap_or(default)
    }

    /// What a workspace may use when nobody says, and the most that anybody may ask for. What is usual and not set is never
    /// more than the most.
    fn workspace_limits(&mut self) -> (WorkspaceLimits, WorkspaceLimits) {
        let (memory, memory_max) = self.usual_and_most("memory_mb", (2048, 16 << 10), 16..=(16 << 20));
        let (cpu, cpu_max) = self.usual_and_most("cpu_millis", (1500, 16_000), 10..=1_024_000);
        let (pids, pids_max) = self.usual_and_most("pids", (512, 8192), 16..=(1 << 22));
        let (disk, disk_max) = self.usual_and_most("disk_gb", (10, 100), 1..=DISK_GB_MAX);
        let idle_max = self.number("workspaces.idle_minutes_max", 0, 0..=IDLE_MINUTES_MAX);
        let usual_idle = if idle_max == 0 { 120 } else { idle_max.min(120) };
        let idle = self.number("workspaces.idle_minutes", usual_idle, 0..=IDLE_MINUTES_MAX);
        if idle_max != 0 && (idle == 0 || idle > idle_max) {
            let message = format!("a workspace would usually rest later than the most, {idle_max} minutes");
            self.complain(&self.source("workspaces.idle_minutes"), message, "raise `workspaces.idle_minutes_max`, too");
        }
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let limits = WorkspaceLimits {
            memory_bytes: memory << 20,
            cpu_millis: narrow(cpu),
            pids: narrow(pids),
            disk_bytes: disk << 30,
            idle_timeout_ms: idle * 60_000,
            ..WorkspaceLimits::default()
        };
        let most = WorkspaceLimits {
            memory_bytes: memory_max << 20,
            cpu_millis: narrow(cpu_max),
            pids: narrow(pids_max),
            disk_bytes: disk_max << 30,
            open_files: 1 << 20,
            idle_timeout_ms: idle_max * 60_000,
        };
        (limits, most)
    }

    fn usual_and_most(
        &mut self,
        name: &str,
        (usual, most): (u64, u64),
        range: std::ops::RangeInclusive<u64>,
    ) -> (u64, u64) {
        let (key, max_key) = (format!("workspaces.{name}"), format!("workspaces.{name}_max"));
        let most = self.number(&max_key, most, range.clone());
        let usual = self.number(&key, usual.min(most), range);
        if usual > most {
            let message = format!("a workspace would usually have {usual}, and {most} is the most");
            self.complain(&self.source(&key), message, format!("raise `{max_key}`, too"));
        }
        (usual, most)
    }

    /// Single ports of single machines, as they are dialled. Names are not taken: what they lead to may change.
    fn reachable(&mut self) -> Vec<SocketAddr> {
        let source = self.source("workspaces.reachable");
        let mut found = Vec::new();
        for text in self.texts("workspaces.reachable") {
            match text.trim().parse::<SocketAddr>() {
                Ok(address) => found.push(address),
                Err(_) => {
                    self.complain(&source, format!("`{text}` is no address and port"), "write it as 10.0.0.5:3128")
                }
            }
        }
        found
    }
}
