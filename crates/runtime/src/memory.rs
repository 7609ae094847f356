//! Whether memory ran out: the kernel's own count, where the workspace's control group can be read.

use std::fs;
use std::path::PathBuf;

/// Where the count is kept: version 2 and version 1 of control groups, as a container sees its own.
const USUAL: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Reads how often the kernel has killed a process of this workspace for want of memory.
#[derive(Debug, Clone)]
pub(crate) struct OutOfMemory {
    sources: Vec<PathBuf>,
}

impl OutOfMemory {
    /// Looks in the usual places, and in the directories of control groups that the driver names.
    pub(crate) fn new(directories: &[PathBuf]) -> Self {
        let named = directories.iter().flat_map(|dir| [dir.join("memory.events"), dir.join("memory.oom_control")]);
        Self { sources: named.chain(USUAL.map(PathBuf::from)).collect() }
    }

    /// The count; nothing where no count can be read. Then a kill is a kill, and nobody can tell why.
    pub(crate) fn count(&self) -> Option<u64> {
        self.sources.iter().find_map(|source| kills(&fs::read_to_string(source).ok()?))
    }
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(kills("under_oom 0\n"), None);
    }
}
