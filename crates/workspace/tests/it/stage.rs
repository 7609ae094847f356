//! What a test of a driver stands on: the driver over a directory of its own, and words for what tests do with it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reeve_gate::workspace::{Browse, ByteStream, RemoveWorkspace, WorkspaceDriver, WorkspaceLink};
use reeve_gate::{Clock as _, SystemClock};
use reeve_testkit::permits::Permits;
use reeve_types::workspace::files::SaveFile;
use reeve_types::workspace::processes::{ExecEvent, ExecOutcome, ExecRequest, OutputStream};
use reeve_types::workspace::{Egress, Isolation, WorkspaceSpec};
use reeve_types::{
    Digest, ExecutionId, SnapshotId, TenantId, WorkspaceError, WorkspaceId, WorkspaceLimits, WorkspacePath,
};
use reeve_workspace::{NamespaceDriver, NamespaceOptions, Templates};

/// The program inside; built when it is missing.
pub fn runtime() -> PathBuf {
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

/// Options of a driver over a directory, without spares.
pub fn options(root: &std::path::Path) -> NamespaceOptions {
    let templates = Templates::built_in().expect("the built-in templates");
    NamespaceOptions { spares: 0, ..NamespaceOptions::new(root.join("workspaces"), runtime(), templates) }
}

/// A driver over a directory of its own. Everything is gone when it is dropped, also when a test fails.
pub struct Stage {
    pub driver: NamespaceDriver,
    pub options: NamespaceOptions,
    _root: tempfile::TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut NamespaceOptions)) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let mut options = options(root.path());
        change(&mut options);
        let driver = NamespaceDriver::open(options.clone()).await.expect("the driver opens");
        Self { driver, options, _root: root }
    }

    pub fn actor(&self) -> Actor<'_> {
        Actor::new(&self.driver)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let driver = self.driver.clone();
        let clearing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                for found in driver.found().await.unwrap_or_default() {
                    if let Err(error) = driver.sweep(&found.workspace).await {
                        eprintln!("{} is left: {error}", found.workspace);
                    }
                }
                driver.close().await;
            });
        });
        if clearing.join().is_err() && !std::thread::panicking() {
            panic!("the stage cannot be cleared");
        }
    }
}

/// Somebody who may do everything with a driver, and does one thing after another.
pub struct Actor<'a> {
    pub driver: &'a dyn WorkspaceDriver,
    permits: Permits,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub outcome: ExecOutcome,
}

impl Ran {
    /// Both streams, for messages.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

pub fn workspace_id() -> WorkspaceId {
    WorkspaceId::new(SystemClock.now(), SystemClock.random())
}

pub fn snapshot_id() -> SnapshotId {
    SnapshotId::new(SystemClock.now(), SystemClock.random())
}

/// A small workspace of the template `base`.
pub fn spec() -> WorkspaceSpec {
    WorkspaceSpec {
        id: workspace_id(),
        tenant: TenantId::default(),
        owner: "ada".to_owned(),
        template: "base".to_owned(),
        limits: WorkspaceLimits {
            memory_bytes: 256 << 20,
            pids: 128,
            disk_bytes: 64 << 20,
            ..WorkspaceLimits::default()
        },
        egress: Egress::None,
        environment: Vec::new(),
    }
}

pub fn bytes(content: &'static [u8]) -> ByteStream {
    Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from_static(content))]))
}

pub async fn collect(mut stream: ByteStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.expect("a piece"));
    }
    all
}

pub fn path(text: &str) -> WorkspacePath {
    text.parse().expect("a path")
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl<'a> Actor<'a> {
    pub fn new(driver: &'a dyn WorkspaceDriver) -> Self {
        Self { driver, permits: Permits::new() }
    }

    pub async fn permit<E: Send + 'static>(&self, effect: E) -> reeve_gate::Permitted<E> {
        self.permits.permit(effect).await
    }

    pub async fn create(&self, spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
        self.driver.create(self.permit(spec.clone()).await).await
    }

    pub async fn start(&self, spec: &WorkspaceSpec) -> Result<Isolation, WorkspaceError> {
        self.driver.start(self.permit(spec.clone()).await).await
    }

    /// Creates and starts.
    pub async fn begin(&self, spec: &WorkspaceSpec) -> Isolation {
        self.create(spec).await.expect("created");
        self.start(spec).await.expect("started")
    }

    pub async fn suspend(&self, id: &WorkspaceId) -> Result<(), WorkspaceError> {
        self.driver.suspend(self.permit(id.clone()).await).await
    }

    pub async fn delete(&self, id: &WorkspaceId, with_files: bool) -> Result<(), WorkspaceError> {
        self.driver.delete(self.permit(RemoveWorkspace { workspace: id.clone(), with_files }).await).await
    }

    pub async fn link(&self, id: &WorkspaceId) -> Arc<dyn WorkspaceLink> {
        self.driver.connect(id).await.expect("a way in")
    }

    /// Leave to look into a workspace.
    pub async fn leave(&self, id: &WorkspaceId) -> Browse {
        Browse::begin(self.permit(id.clone()).await, Duration::from_secs(60))
    }

    /// Runs a program to its end.
    pub async fn run(&self, id: &WorkspaceId, argv: &[&str]) -> Ran {
        let request = ExecRequest {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            timeout_ms: Some(60_000),
            ..ExecRequest::default()
        };
        self.execute(id, request).await
    }

    /// Runs a line of a shell to its end.
    pub async fn shell(&self, id: &WorkspaceId, line: &str) -> Ran {
        self.run(id, &["bash", "-c", line]).await
    }

    pub async fn execute(&self, id: &WorkspaceId, request: ExecRequest) -> Ran {
        let execution = ExecutionId::new(SystemClock.now(), SystemClock.random());
        let link = self.link(id).await;
        let mut events = link.execute(execution, self.permit(request).await).await.expect("it was begun");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(event) = events.next().await {
            match event.expect("an event") {
                ExecEvent::Start { .. } => {}
                ExecEvent::Output { stream: OutputStream::Stdout, data } => stdout.extend(data),
                ExecEvent::Output { stream: OutputStream::Stderr, data } => stderr.extend(data),
                ExecEvent::Exit(outcome) => {
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    return Ran { stdout: text(stdout), stderr: text(stderr), outcome };
                }
            }
        }
        panic!("the program never ended");
    }

    /// Saves a file.
    pub async fn save(&self, id: &WorkspaceId, name: &str, content: &'static [u8]) {
        let what = SaveFile {
            path: path(name),
            sha256: Digest::of(content),
            size: content.len() as u64,
            if_match: None,
            if_none_match: false,
            create_parents: true,
            origin: None,
        };
        let link = self.link(id).await;
        link.save(self.permit(what).await, bytes(content)).await.expect("saved");
    }

    /// Reads a file.
    pub async fn read(&self, id: &WorkspaceId, name: &str) -> Result<Vec<u8>, WorkspaceError> {
        let (link, leave) = (self.link(id).await, self.leave(id).await);
        let opened = link.read(&leave, &path(name), None).await?;
        Ok(collect(opened.content).await)
    }
}
