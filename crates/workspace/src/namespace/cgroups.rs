//! Control groups, version 1 and 2: one group per workspace for memory, processor and processes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reeve_types::WorkspaceLimits;

/// Length of the interval in which processor time is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
const V1_CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];
const V2_CONTROLLERS: &str = "+memory +cpu +pids";

/// Where groups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// Version 2: one directory holds everything.
    Unified { parent: PathBuf },
    /// Version 1: one directory for each controller.
    Split { memory: PathBuf, cpu: PathBuf, cpuacct: PathBuf, pids: PathBuf },
}

/// What a group used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GroupUsage {
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_ms: Option<u64>,
    pub(super) pids: Option<u32>,
    pub(super) out_of_memory: Option<u64>,
}

impl Cgroups {
    /// Finds a place where this process may make groups, and makes the installation's own directory there.
    pub(super) fn find(installation: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        unified(&mounts, &own, installation).or_else(|| split(&mounts, installation))
    }

    /// The same place for another installation.
    pub(super) fn of(&self, installation: &str) -> Self {
        let beside = |parent: &Path| parent.with_file_name(installation);
        match self {
            Self::Unified { parent } => Self::Unified { parent: beside(parent) },
            Self::Split { memory, cpu, cpuacct, pids } => {
                Self::Split { memory: beside(memory), cpu: beside(cpu), cpuacct: beside(cpuacct), pids: beside(pids) }
            }
        }
    }

    /// The word of the record.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Unified { .. } => "cgroup2",
            Self::Split { .. } => "cgroup1",
        }
    }

    /// Makes a group, or takes the one that is there, and sets its limits.
    pub(super) fn make(&self, name: &str, limits: &WorkspaceLimits) -> io::Result<()> {
        for directory in self.directories(name) {
            match std::fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(told(&directory, error)),
                _ => {}
            }
        }
        self.limit(name, limits)
    }

    /// Sets the limits of a group.
    pub(super) fn limit(&self, name: &str, limits: &WorkspaceLimits) -> io::Result<()> {
        let quota = (u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000).max(1000);
        let pids = limits.pids.to_string();
        let memory = limits.memory_bytes.to_string();
        match self {
            Self::Unified { parent } => {
                let group = parent.join(name);
                write(&group.join("memory.max"), &memory)?;
                write_if_there(&group.join("memory.swap.max"), "0")?;
                write(&group.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"))?;
                write(&group.join("pids.max"), &pids)
            }
            Self::Split { memory: memory_root, cpu, pids: pids_root, .. } => {
                let group = memory_root.join(name);
                let both = group.join("memory.memsw.limit_in_bytes");
                // The limit with swap may never be below the one without: up first, down last.
                let _may_be_lower = write_if_there(&both, &memory);
                write(&group.join("memory.limit_in_bytes"), &memory)?;
                write_if_there(&both, &memory)?;
                write(&cpu.join(name).join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
                write(&cpu.join(name).join("cpu.cfs_quota_us"), &quota.to_string())?;
                write(&pids_root.join(name).join("pids.max"), &pids)
            }
        }
    }

    /// The directories of a group; a process joins it by joining each.
    pub(super) fn directories(&self, name: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.parents().into_iter().map(|parent| parent.join(name)).collect();
        all.dedup();
        all
    }

    /// The groups that are there.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(first) = self.parents().first().copied() else { return Vec::new() };
        let entries = std::fs::read_dir(first).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// The processes in a group.
    pub(super) fn processes(&self, name: &str) -> Vec<u32> {
        let Some(first) = self.directories(name).into_iter().next() else { return Vec::new() };
        let told = std::fs::read_to_string(first.join("cgroup.procs")).unwrap_or_default();
        told.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    /// Removes a group once it is empty; waits a while for that.
    pub(super) async fn remove(&self, name: &str, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        for directory in self.directories(name) {
            loop {
                match std::fs::remove_dir(&directory) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= deadline => return Err(told(&directory, error)),
                    Err(_busy) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        }
        Ok(())
    }

    /// Removes the installation's own directories, if nothing is in them.
    pub(super) fn remove_parents(&self) {
        for parent in self.parents() {
            // Somebody else's group in there keeps it.
            let _kept = std::fs::remove_dir(parent);
        }
    }

    pub(super) fn usage(&self, name: &str) -> GroupUsage {
        match self {
            Self::Unified { parent } => {
                let group = parent.join(name);
                let stat = text(&group.join("memory.stat"));
                let memory = number(&group.join("memory.current"));
                GroupUsage {
                    memory_bytes: memory.map(|all| all.saturating_sub(field(&stat, "inactive_file").unwrap_or(0))),
                    cpu_ms: field(&text(&group.join("cpu.stat")), "usage_usec").map(|us| us / 1000),
                    pids: number(&group.join("pids.current")).and_then(|n| u32::try_from(n).ok()),
                    out_of_memory: field(&text(&group.join("memory.events")), "oom_kill"),
                }
            }
            Self::Split { memory, cpuacct, pids, .. } => {
                let group = memory.join(name);
                let stat = text(&group.join("memory.stat"));
                let used = number(&group.join("memory.usage_in_bytes"));
                GroupUsage {
                    memory_bytes: used.map(|all| all.saturating_sub(field(&stat, "total_inactive_file").unwrap_or(0))),
                    cpu_ms: number(&cpuacct.join(name).join("cpuacct.usage")).map(|ns| ns / 1_000_000),
                    pids: number(&pids.join(name).join("pids.current")).and_then(|n| u32::try_from(n).ok()),
                    out_of_memory: field(&text(&group.join("memory.oom_control")), "oom_kill"),
                }
            }
        }
    }

    fn parents(&self) -> Vec<&Path> {
        match self {
            Self::Unified { parent } => vec![parent],
            Self::Split { memory, cpu, cpuacct, pids } => vec![memory, cpu, cpuacct, pids],
        }
    }
}

/// Version 2: below this process's own group if that may have children, else beside it.
fn unified(mounts: &str, own: &str, installation: &str) -> Option<Cgroups> {
    let mount = mount_point(mounts, |kind, _| kind == "cgroup2")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let here = mount.join(path.trim_start_matches('/'));
    let beside = here.parent().filter(|parent| parent.starts_with(&mount)).map(Path::to_path_buf);
    [Some(here), beside].into_iter().flatten().find_map(|candidate| {
        write(&candidate.join("cgroup.subtree_control"), V2_CONTROLLERS).ok()?;
        let parent = candidate.join(installation);
        make_directory(&parent).ok()?;
        write(&parent.join("cgroup.subtree_control"), V2_CONTROLLERS).ok()?;
        Some(Cgroups::Unified { parent })
    })
}

fn split(mounts: &str, installation: &str) -> Option<Cgroups> {
    let mut parents = V1_CONTROLLERS.iter().map(|controller| {
        let wanted = |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|word| word == *controller);
        let parent = mount_point(mounts, wanted)?.join(installation);
        make_directory(&parent).ok()?;
        Some(parent)
    });
    let (memory, cpu, cpuacct, pids) = (parents.next()??, parents.next()??, parents.next()??, parents.next()??);
    Some(Cgroups::Split { memory, cpu, cpuacct, pids })
}

fn mount_point(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        wanted(kind, options).then(|| left.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value).map_err(|error| told(path, error))
}

fn write_if_there(path: &Path, value: &str) -> io::Result<()> {
    if path.exists() { write(path, value) } else { Ok(()) }
}

fn told(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_controller() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                      31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cpu = mount_point(mounts, |kind, options| kind == "cgroup" && options.contains("cpuacct"));
        assert_eq!(cpu, Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(mount_point(mounts, |kind, _| kind == "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    /// Version 2 as a plain directory: what is written where, and what is read of it. The kernel's part is not here.
    #[tokio::test]
    async fn version_2_is_written_and_read_in_one_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let parent = directory.path().join("reeve-1");
        std::fs::create_dir(&parent).expect("a directory");
        let groups = Cgroups::Unified { parent: parent.clone() };
        let group = parent.join("box");
        std::fs::create_dir(&group).expect("a directory");
        std::fs::write(group.join("memory.swap.max"), "max").expect("a file of the kernel's");
        let limits =
            WorkspaceLimits { memory_bytes: 64 << 20, cpu_millis: 1500, pids: 48, ..WorkspaceLimits::default() };
        groups.make("box", &limits).expect("made");
        let read = |name: &str| std::fs::read_to_string(group.join(name)).expect("a file");
        let written = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(read);
        assert_eq!(written, ["67108864", "0", "150000 100000", "48"]);
        assert_eq!(
            (groups.word(), groups.names(), groups.directories("box")),
            ("cgroup2", vec!["box".to_owned()], vec![group.clone()])
        );

        for (name, told) in [
            ("cgroup.procs", "12\n7\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 3000\ninactive_file 1200\n"),
            ("memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 9\n"),
            ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("pids.current", "2\n"),
        ] {
            std::fs::write(group.join(name), told).expect("a file of the kernel's");
        }
        assert_eq!(groups.processes("box"), [12, 7]);
        let used = GroupUsage { memory_bytes: Some(3800), cpu_ms: Some(2500), pids: Some(2), out_of_memory: Some(3) };
        assert_eq!(groups.usage("box"), used);
        assert_eq!(groups.of("reeve-2"), Cgroups::Unified { parent: directory.path().join("reeve-2") });

        let refused = groups.remove("box", Duration::ZERO).await.expect_err("the kernel's files are no files here");
        assert!(refused.to_string().contains("box"), "{refused}");
        std::fs::remove_dir_all(&group).expect("emptied");
        groups.remove("box", Duration::ZERO).await.expect("gone already");
        groups.remove_parents();
        assert!(!parent.exists());
    }

    #[test]
    fn version_2_is_taken_where_a_group_may_have_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = directory.path();
        let own = mount.join("system.slice/reeve.service");
        std::fs::create_dir_all(&own).expect("directories");
        let mounts = format!("31 29 0:27 / {} rw - cgroup2 cgroup2 rw\n", mount.display());
        let found = unified(&mounts, "1:name=x:/\n0::/system.slice/reeve.service\n", "reeve-1");
        assert_eq!(found, Some(Cgroups::Unified { parent: own.join("reeve-1") }));
        let handed_on = std::fs::read_to_string(own.join("cgroup.subtree_control")).expect("a file");
        assert_eq!(handed_on, V2_CONTROLLERS);
        assert_eq!(unified("", "0::/\n", "reeve-1"), None, "no such file system");
    }

    #[test]
    fn a_field_is_a_whole_word() {
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
    }
}
