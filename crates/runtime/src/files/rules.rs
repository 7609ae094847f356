//! Which files nobody wants to see: `.gitignore`, `.ignore`, and what is never worth looking at.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use reeve_types::WorkspacePath;

use super::beneath::{Root, open_child_file};

/// Longest file of rules that is read, in bytes.
const RULES_BYTES_MAX: u64 = 1 << 20;
/// Directories that hold what programs made.
const BUILT_IN: [&[u8]; 12] = [
    b".git",
    b".hg",
    b".svn",
    b"node_modules",
    b"target",
    b"__pycache__",
    b".venv",
    b".mypy_cache",
    b".pytest_cache",
    b".ruff_cache",
    b".tox",
    b".gradle",
];

/// Whether a name is on the built-in list.
pub(super) fn is_built_in(name: &[u8]) -> bool {
    BUILT_IN.contains(&name)
}

/// The rules that hold in one directory.
#[derive(Clone, Default)]
pub(super) struct Rules {
    /// From the root down: the length of the directory's path, and its rules.
    levels: Vec<(usize, Arc<Gitignore>)>,
    /// The directory itself is ignored, so everything in it is.
    all: bool,
}

impl Rules {
    /// Those of a directory, found on the way down to it.
    pub(super) fn down_to(root: &Root, path: &WorkspacePath) -> Self {
        let mut rules = Self::default().in_root(root);
        let mut at = WorkspacePath::root();
        for name in path.names() {
            let Ok(next) = at.join(name) else { break };
            let Ok(dir) = root.open_dir(&next) else { break };
            rules = rules.below(&dir, &next);
            at = next;
        }
        rules
    }

    fn in_root(mut self, root: &Root) -> Self {
        self.read(root.fd(), 0);
        self
    }

    /// Those of a directory in this one.
    pub(super) fn below(&self, dir: &OwnedFd, path: &WorkspacePath) -> Self {
        let mut rules = self.clone();
        rules.all = self.ignores(path, true);
        rules.read(dir, path.as_bytes().len());
        rules
    }

    fn read(&mut self, dir: impl AsFd, depth: usize) {
        for file in [".gitignore", ".ignore"] {
            if let Some(rules) = read_rules(&dir, file.as_bytes()) {
                self.levels.push((depth, Arc::new(rules)));
            }
        }
    }

    /// Whether they name a path. The nearest rules decide.
    pub(super) fn ignores(&self, path: &WorkspacePath, is_dir: bool) -> bool {
        if self.all {
            return true;
        }
        for (depth, rules) in self.levels.iter().rev() {
            let below = path.as_bytes().get(*depth..).unwrap_or_default();
            let below = below.strip_prefix(b"/").unwrap_or(below);
            let mut absolute = PathBuf::from("/");
            absolute.push(OsStr::from_bytes(below));
            let matched = rules.matched(&absolute, is_dir);
            if !matched.is_none() {
                return matched.is_ignore();
            }
        }
        is_dir && path.name().is_some_and(is_built_in)
    }
}

fn read_rules(dir: impl AsFd, name: &[u8]) -> Option<Gitignore> {
    use std::io::Read as _;
    let (fd, _) = open_child_file(dir, name).ok()?;
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(RULES_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let mut builder = GitignoreBuilder::new("/");
    for line in String::from_utf8_lossy(&bytes).lines() {
        // A line that is no pattern names nothing; the others still hold.
        let _ = builder.add_line(None, line);
    }
    builder.build().ok()
}
