//! What a test of the driver `namespace` stands on: the driver over a directory of its own, cleared when the test ends.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reeve_gate::workspace::WorkspaceDriver as _;
use reeve_workspace::{NamespaceDriver, NamespaceOptions, Templates};

use crate::actor::Actor;

/// The program inside; built when it is missing.
pub(crate) fn runtime() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            if let Some(path) = reeve_workspace::namespace::runtime_beside_this_program() {
                return path;
            }
            let built = std::process::Command::new(env!("CARGO")).args(["build", "-q", "-p", "reeve-runtime"]).status();
            assert!(built.expect("cargo runs").success(), "reeve-runtime does not build");
            reeve_workspace::namespace::runtime_beside_this_program().expect("reeve-runtime beside the tests")
        })
        .clone()
}

/// Options of a driver that has everything below one directory.
pub(crate) fn options(root: &Path) -> NamespaceOptions {
    let templates = Templates::built_in().expect("the built-in templates");
    let usual = NamespaceOptions::new(root.join("workspaces"), runtime(), templates);
    NamespaceOptions { reach: Some(root.join("reach")), ..usual }
}

/// A driver over a directory of its own. Everything is gone when it is dropped, also when a test fails.
pub(crate) struct Stage {
    pub(crate) driver: NamespaceDriver,
    pub(crate) options: NamespaceOptions,
    root: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut NamespaceOptions)) -> Self {
        let root = directory();
        let mut options = options(root.path());
        change(&mut options);
        let driver = NamespaceDriver::open(options.clone()).await.expect("the driver opens");
        Self { driver, options, root }
    }

    /// One whose allow-lists may name these addresses of this machine.
    pub(crate) async fn reaching(addresses: &[SocketAddr]) -> Self {
        Self::with(|options| options.reachable = addresses.to_vec()).await
    }

    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor::new(&self.driver)
    }

    /// What there is on this machine of this stage's workspaces.
    pub(crate) fn traces(&self) -> Vec<String> {
        traces(self.root.path(), &self.driver.installation())
    }
}

/// A directory that others may walk through, as workspaces with users of their own must.
pub(crate) fn directory() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o711)).expect("walkable");
    root
}

/// Whatever a driver over `root` has on this machine: mounts, loop devices, control groups, processes and directories of
/// workspaces. Found by looking at the machine, not by asking the driver.
pub(crate) fn traces(root: &Path, installation: &str) -> Vec<String> {
    let shown = root.to_str().expect("a plain path");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains(shown)).map(|line| format!("mount {line}"));
    let mut found: Vec<String> = mounts.collect();
    for device in entries(Path::new("/sys/block")) {
        let backing = std::fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        if backing.contains(shown) {
            found.push(format!("loop device {} of {}", device.display(), backing.trim()));
        }
    }
    for hierarchy in entries(Path::new("/sys/fs/cgroup")) {
        let groups = entries(&hierarchy.join(installation)).into_iter().filter(|path| path.is_dir());
        found.extend(groups.map(|path| format!("control group {}", path.display())));
    }
    for process in entries(Path::new("/proc")) {
        let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        if groups.contains(installation) || String::from_utf8_lossy(&environment).contains(installation) {
            let command = std::fs::read_to_string(process.join("cmdline")).unwrap_or_default().replace('\0', " ");
            found.push(format!("process {} {command}", process.display()));
        }
    }
    for place in ["workspaces/boxes", "reach", "workspaces/reach"] {
        let shared = |path: &PathBuf| ["etc", "bin", "of"].iter().any(|name| path.ends_with(name));
        let left = entries(&root.join(place)).into_iter().filter(|path| !shared(path));
        found.extend(left.map(|path| format!("directory {}", path.display())));
    }
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

impl Drop for Stage {
    fn drop(&mut self) {
        let driver = self.driver.clone();
        let clearing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                for found in driver.found().await.unwrap_or_default() {
                    driver.sweep(&found.workspace).await.expect("swept");
                }
                driver.close().await;
            });
        });
        if clearing.join().is_err() && !std::thread::panicking() {
            panic!("the stage cannot be cleared");
        }
    }
}
