//! What a workspace uses, as the engine, the kernel and the program inside tell it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt as _;
use reeve_types::workspace::WorkspaceUsage;
use reeve_types::{WorkspaceError, WorkspaceId};

use super::Inner;
use super::chores::{Chore, Hands};
use super::container::{FILES_INSIDE, HOME_INSIDE, volume};
use super::engine::Known;
use super::failure::{aside, cannot};
use super::held::Held;
use super::volumes::Files;

/// Measures the files where the server itself may not look.
const MEASURE: &str = "du -scxB1 /workspace /home/reeve | tail -n 1 | cut -f1";

impl Inner {
    /// What it uses now.
    pub(super) async fn usage(&self, workspace: &WorkspaceId) -> Result<WorkspaceUsage, WorkspaceError> {
        let known = self.engine.reach().await?;
        let files = self.files_of(&known, workspace).await?;
        let held = self.workspaces.get(workspace);
        let disk_bytes = self.disk_usage(&known, workspace, &held, &files).await;
        let mut usage = WorkspaceUsage { disk_bytes, ..WorkspaceUsage::default() };
        let Some(seen) = self.find(&known, workspace).await?.filter(|seen| seen.running) else { return Ok(usage) };
        let options = StatsOptions { stream: false, one_shot: true };
        if let Some(Ok(told)) = known.docker.stats(&seen.id, Some(options)).next().await {
            add(&mut usage, &told);
        }
        usage.out_of_memory = self.out_of_memory(&known, &seen.id).await;
        if let Ok(client) = self.connect(workspace).await
            && let Ok(stats) = client.stats().await
        {
            usage.terminals = stats.terminals;
            usage.executions = stats.executions;
        }
        Ok(usage)
    }

    /// Bytes that the files and the home directory take; nothing when it cannot be told.
    pub(super) async fn disk_usage(
        &self,
        known: &Known,
        workspace: &WorkspaceId,
        held: &Held,
        files: &Files,
    ) -> Option<u64> {
        if let Some(bytes) = held.measured() {
            return Some(bytes);
        }
        let began = Instant::now();
        let places = self.places(known, files).await.ok()?;
        let looked = aside(move || {
            let sizes = places.iter().map(|place| measure(place)).sum::<std::io::Result<u64>>();
            sizes.map_err(|error| cannot("measure a workspace's files", &error))
        });
        let bytes = match looked.await {
            Ok(bytes) => bytes,
            Err(_) => self.measure_inside(known, workspace, files).await?,
        };
        held.note_measured(bytes, began.elapsed());
        Some(bytes)
    }

    /// The same where the server itself may not look.
    async fn measure_inside(&self, known: &Known, workspace: &WorkspaceId, files: &Files) -> Option<u64> {
        let mounts = vec![volume(files.name.clone(), FILES_INSIDE, true), volume(files.home(), HOME_INSIDE, true)];
        let chore =
            Chore { workspace, image: &files.image, script: MEASURE, hands: Hands::Reader, mounts, reads: false };
        self.chore(known, chore).await.ok()?.trim().parse().ok()
    }

    /// How often the kernel has killed for want of memory, where its count can be read on this machine.
    async fn out_of_memory(&self, known: &Known, id: &str) -> Option<u64> {
        let state = known.docker.inspect_container(id, None).await.ok()?.state?;
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", state.pid?)).ok()?;
        memory_events(&groups).iter().find_map(|path| kills(&std::fs::read_to_string(path).ok()?))
    }
}

fn add(usage: &mut WorkspaceUsage, told: &ContainerStatsResponse) {
    if let Some(memory) = &told.memory_stats {
        // Pages of files that the kernel gives up at once are no use of memory.
        let spare = |key: &str| memory.stats.as_ref().and_then(|stats| stats.get(key)).copied();
        let cache = spare("total_inactive_file").or_else(|| spare("inactive_file")).unwrap_or_default();
        usage.memory_bytes = memory.usage.map(|bytes| bytes.saturating_sub(cache));
    }
    let processor = told.cpu_stats.as_ref().and_then(|stats| stats.cpu_usage.as_ref());
    usage.cpu_ms = processor.and_then(|used| used.total_usage).map(|nanoseconds| nanoseconds / 1_000_000);
    let pids = told.pids_stats.as_ref().and_then(|stats| stats.current);
    usage.pids = pids.and_then(|count| u32::try_from(count).ok());
}

/// Where the count may be, from `/proc/<pid>/cgroup`: version 1 and version 2.
fn memory_events(groups: &str) -> Vec<PathBuf> {
    let group = |path: &str| path.trim_start_matches('/').to_owned();
    let place = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        match (parts.next()?, parts.next()?) {
            ("", path) => Some(Path::new("/sys/fs/cgroup").join(group(path)).join("memory.events")),
            (controllers, path) if controllers.split(',').any(|name| name == "memory") => {
                Some(Path::new("/sys/fs/cgroup/memory").join(group(path)).join("memory.oom_control"))
            }
            _ => None,
        }
    };
    groups.lines().filter_map(place).collect()
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Bytes on disk below a directory; a file with several names counts once. Nothing is followed.
fn measure(top: &Path) -> std::io::Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut waiting = vec![top.to_path_buf()];
    let mut blocks = 0_u64;
    while let Some(directory) = waiting.pop() {
        let entries = match std::fs::read_dir(&directory) {
            // What goes away while one looks takes nothing.
            Err(error) if directory != top && error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.nlink() < 2 || meta.is_dir() || seen.insert(meta.ino()) {
                blocks = blocks.saturating_add(meta.blocks());
            }
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(blocks.saturating_mul(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_found() {
        let old = memory_events("9:name=systemd:/\n4:memory:/docker/abc\n0::/docker/abc\n");
        let wanted = ["/sys/fs/cgroup/memory/docker/abc/memory.oom_control", "/sys/fs/cgroup/docker/abc/memory.events"];
        assert_eq!(old, wanted.map(PathBuf::from));
        assert_eq!(kills("low 0\noom_kill 3\n"), Some(3));
    }

    #[test]
    fn a_file_with_two_names_counts_once() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("a"), vec![1; 100_000]).expect("a file");
        let once = measure(root.path()).expect("measured");
        std::fs::hard_link(root.path().join("a"), root.path().join("b")).expect("a second name");
        assert_eq!(measure(root.path()).expect("measured"), once);
        assert!(once >= 100_000);
    }
}
