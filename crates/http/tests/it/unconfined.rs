//! A driver for tests: each workspace is a directory and a real `reeve-runtime` on it, held in by nothing.
//!
//! What the API does with a workspace is tried against the program that runs inside real ones; what holds such a program
//! in is the business of the real drivers and their own tests. Its programs see this whole machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reeve_gate::Permitted;
use reeve_gate::workspace::{
    Answer, Browse, ByteStream, ForkWorkspace, Found, Readiness, RemoveWorkspace, TakeSnapshot, WorkspaceDriver,
    WorkspaceLink,
};
use reeve_types::workspace::{DriverKind, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{ProblemCode, SnapshotId, WorkspaceError, WorkspaceId};
use reeve_workspace::RuntimeClient;
use reeve_workspace::client::RuntimeToken;
use tokio::process::{Child, Command};

/// How long anything that should happen may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program inside; built when it is missing.
fn program() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        reeve_workspace::namespace::runtime_beside_this_program().unwrap_or_else(|| {
            let built = std::process::Command::new(env!("CARGO")).args(["build", "-q", "-p", "reeve-runtime"]).status();
            assert!(built.expect("cargo runs").success(), "reeve-runtime does not build");
            reeve_workspace::namespace::runtime_beside_this_program().expect("reeve-runtime beside the tests")
        })
    };
    FOUND.get_or_init(find).clone()
}

struct Running {
    child: Child,
    link: Arc<dyn WorkspaceLink>,
}

/// Workspaces in the directories below one.
pub(crate) struct Unconfined {
    root: tempfile::TempDir,
    running: Mutex<BTreeMap<WorkspaceId, Running>>,
    refusing: Mutex<bool>,
    /// Nothing starts while somebody holds it.
    held: tokio::sync::Mutex<()>,
}

impl Unconfined {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            root: tempfile::tempdir().unwrap(),
            running: Mutex::default(),
            refusing: Mutex::default(),
            held: tokio::sync::Mutex::default(),
        })
    }

    /// From now on nothing starts, or it does again.
    pub(crate) fn refuse_to_start(&self, refusing: bool) {
        *self.refusing.lock().unwrap() = refusing;
    }

    /// Whatever starts waits until this is dropped.
    pub(crate) async fn hold_starting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.held.lock().await
    }

    /// Where a workspace's files are on this machine.
    pub(crate) fn files(&self, id: &str) -> PathBuf {
        self.root.path().join(id).join("workspace")
    }

    fn of(&self, id: &WorkspaceId) -> PathBuf {
        self.root.path().join(id.as_str())
    }

    fn snapshot(&self, id: &WorkspaceId, snapshot: &SnapshotId) -> PathBuf {
        self.of(id).join(snapshot.as_str())
    }

    fn lay_out(&self, id: &WorkspaceId) -> Result<PathBuf, WorkspaceError> {
        let files = self.files(id.as_str());
        for directory in [files.clone(), self.of(id).join("run"), self.of(id).join("tmp")] {
            std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        }
        Ok(files)
    }

    async fn stop(&self, id: &WorkspaceId) -> Result<(), WorkspaceError> {
        let running = self.running.lock().unwrap().remove(id);
        let Some(Running { mut child, .. }) = running else { return Ok(()) };
        let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|error| failed(&error))?;
        }
        child.wait().await.map(drop).map_err(|error| failed(&error))
    }

    async fn run(&self, spec: &WorkspaceSpec) -> Result<Isolation, WorkspaceError> {
        if *self.refusing.lock().unwrap() {
            return Err(WorkspaceError::new(ProblemCode::Unavailable, "this driver was told to refuse"));
        }
        drop(self.held.lock().await);
        let directory = self.of(&spec.id);
        let token = RuntimeToken::generate();
        let child = Command::new(program())
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("SHELL", "/bin/bash")
            .env("TMPDIR", directory.join("tmp"))
            .env("REEVE_RUNTIME_SOCKET", directory.join("run/runtime.sock"))
            .env("REEVE_RUNTIME_ROOT", directory.join("workspace"))
            .env("REEVE_RUNTIME_TOKEN", token.expose())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let client = RuntimeClient::new(spec.id.clone(), directory.join("run"), token);
        let deadline = tokio::time::Instant::now() + SOON;
        while let Err(error) = client.health(Duration::from_secs(1)).await {
            if tokio::time::Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.running.lock().unwrap().insert(spec.id.clone(), Running { child, link: client.shared() });
        Ok(Isolation {
            driver: DriverKind::Namespace,
            tier: "unconfined".to_owned(),
            seccomp: false,
            landlock: false,
            limits: "none".to_owned(),
            disk: "none".to_owned(),
            network: "public".to_owned(),
            own_user: false,
        })
    }
}

fn failed(error: &dyn std::fmt::Display) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Internal, error.to_string())
}

/// Runs a program of this machine on directories of this driver.
async fn do_run(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<(), WorkspaceError> {
    let ended = Command::new(program).args(arguments).args(paths).status().await.map_err(|error| failed(&error))?;
    if ended.success() { Ok(()) } else { Err(failed(&format!("{program} failed: {ended}"))) }
}

fn remove(path: &Path) -> Result<(), WorkspaceError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
        _ => Ok(()),
    }
}

impl WorkspaceDriver for Unconfined {
    fn kind(&self) -> DriverKind {
        DriverKind::Namespace
    }

    fn readiness(&self) -> BoxFuture<'_, Vec<Readiness>> {
        Box::pin(async { Vec::new() })
    }

    fn without_network(&self) -> Option<&'static str> {
        Some("workspaces of a test have no way to the network")
    }

    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()> {
        Box::pin(async move { self.lay_out(&spec.open().0.id).map(drop) })
    }

    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation> {
        Box::pin(async move { self.run(&spec.open().0).await })
    }

    fn suspend(&self, workspace: Permitted<WorkspaceId>) -> Answer<'_, ()> {
        Box::pin(async move { self.stop(&workspace.open().0).await })
    }

    fn snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, u64> {
        Box::pin(async move {
            let what = what.open().0;
            let (from, to) = (self.files(what.workspace.as_str()), self.snapshot(&what.workspace, &what.snapshot));
            do_run("cp", &["-a"], &[&from, &to]).await?;
            Ok(4096)
        })
    }

    fn roll_back(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = what.open().0;
            let files = self.files(what.workspace.as_str());
            remove(&files)?;
            do_run("cp", &["-a"], &[&self.snapshot(&what.workspace, &what.snapshot), &files]).await
        })
    }

    fn drop_snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = what.open().0;
            remove(&self.snapshot(&what.workspace, &what.snapshot))
        })
    }

    fn fork(&self, what: Permitted<ForkWorkspace>) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = what.open().0;
            let snapshot = what.snapshot.as_ref().map(|snapshot| self.snapshot(&what.from, snapshot));
            let from = snapshot.unwrap_or_else(|| self.files(what.from.as_str()));
            let files = self.lay_out(&what.spec.id)?;
            do_run("cp", &["-a", "-T"], &[&from, &files]).await
        })
    }

    fn delete(&self, what: Permitted<RemoveWorkspace>) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = what.open().0;
            self.stop(&what.workspace).await?;
            if what.with_files { remove(&self.of(&what.workspace)) } else { Ok(()) }
        })
    }

    fn usage<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, WorkspaceUsage> {
        let memory_bytes = self.running.lock().unwrap().contains_key(workspace).then_some(1 << 20);
        Box::pin(async move { Ok(WorkspaceUsage { memory_bytes, ..WorkspaceUsage::default() }) })
    }

    fn connect<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Arc<dyn WorkspaceLink>> {
        let link = self.running.lock().unwrap().get(workspace).map(|running| Arc::clone(&running.link));
        let said = format!("{workspace} does not run");
        Box::pin(async { link.ok_or_else(|| WorkspaceError::new(ProblemCode::NotRunning, said)) })
    }

    fn found(&self) -> Answer<'_, Vec<Found>> {
        Box::pin(async {
            let names = std::fs::read_dir(self.root.path()).map_err(|error| failed(&error))?;
            let ids = names.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<WorkspaceId>().ok());
            let running = self.running.lock().unwrap();
            let found = |id: WorkspaceId| Found { running: running.contains_key(&id), files: true, workspace: id };
            Ok(ids.map(found).collect())
        })
    }

    fn sweep<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, ()> {
        Box::pin(async move {
            self.stop(workspace).await?;
            remove(&self.of(workspace))
        })
    }

    fn export<'a>(&'a self, leave: &'a Browse) -> Answer<'a, ByteStream> {
        Box::pin(async move {
            let files = self.files(leave.workspace().as_str());
            let packed = Command::new("tar").arg("-C").arg(files).args(["-c", "."]).output().await;
            let bytes = bytes::Bytes::from(packed.map_err(|error| failed(&error))?.stdout);
            Ok(futures_util::stream::iter([Ok(bytes)]).boxed())
        })
    }

    fn import(&self, spec: Permitted<WorkspaceSpec>, mut files: ByteStream) -> Answer<'_, ()> {
        Box::pin(async move {
            let id = spec.open().0.id;
            let (directory, archive) = (self.lay_out(&id)?, self.of(&id).join("import.tar"));
            let mut bytes = Vec::new();
            while let Some(piece) = files.next().await {
                bytes.extend_from_slice(&piece.map_err(|error| failed(&error))?);
            }
            std::fs::write(&archive, bytes).map_err(|error| failed(&error))?;
            do_run("tar", &["-x", "-f"], &[&archive, Path::new("-C"), &directory]).await
        })
    }
}
