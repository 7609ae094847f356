//! Words for what tests do with a driver, whichever it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reeve_gate::workspace::{
    Browse, ByteStream, ForkWorkspace, RemoveWorkspace, TakeSnapshot, WorkspaceDriver, WorkspaceLink,
};
use reeve_gate::{Clock as _, SystemClock};
use reeve_testkit::permits::Permits;
use reeve_types::workspace::files::SaveFile;
use reeve_types::workspace::processes::{ExecEvent, ExecOutcome, ExecRequest, OutputStream};
use reeve_types::workspace::{Egress, Isolation, WorkspaceSpec};
use reeve_types::{
    Digest, ExecutionId, SnapshotId, TenantId, WorkspaceError, WorkspaceId, WorkspaceLimits, WorkspacePath,
};

/// Somebody who may do everything with a driver, and does one thing after another.
pub(crate) struct Actor<'a> {
    pub(crate) driver: &'a dyn WorkspaceDriver,
    permits: Permits,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) outcome: ExecOutcome,
}

impl Ran {
    /// Both streams, for messages.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

pub(crate) fn workspace_id() -> WorkspaceId {
    WorkspaceId::new(SystemClock.now(), SystemClock.random())
}

pub(crate) fn execution_id() -> ExecutionId {
    ExecutionId::new(SystemClock.now(), SystemClock.random())
}

pub(crate) fn snapshot_id() -> SnapshotId {
    SnapshotId::new(SystemClock.now(), SystemClock.random())
}

/// A small workspace of the template `base`.
pub(crate) fn spec() -> WorkspaceSpec {
    WorkspaceSpec {
        id: workspace_id(),
        tenant: TenantId::default_tenant(),
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
        directory: None,
    }
}

pub(crate) fn bytes(content: &[u8]) -> ByteStream {
    Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::copy_from_slice(content))]))
}

fn aside(workspace: &WorkspaceId, snapshot: &SnapshotId) -> TakeSnapshot {
    TakeSnapshot { workspace: workspace.clone(), snapshot: snapshot.clone() }
}

pub(crate) async fn collect(mut stream: ByteStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.expect("a piece"));
    }
    all
}

pub(crate) fn path(text: &str) -> WorkspacePath {
    text.parse().expect("a path")
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl<'a> Actor<'a> {
    pub(crate) fn new(driver: &'a dyn WorkspaceDriver) -> Self {
        Self { driver, permits: Permits::new() }
    }

    pub(crate) async fn permit<E: Send + 'static>(&self, effect: E) -> reeve_gate::Permitted<E> {
        self.permits.permit(effect).await
    }

    pub(crate) async fn create(&self, spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
        self.driver.create(self.permit(spec.clone()).await).await
    }

    pub(crate) async fn start(&self, spec: &WorkspaceSpec) -> Result<Isolation, WorkspaceError> {
        self.driver.start(self.permit(spec.clone()).await).await
    }

    /// Creates and starts.
    pub(crate) async fn begin(&self, spec: &WorkspaceSpec) -> Isolation {
        self.create(spec).await.expect("created");
        self.start(spec).await.expect("started")
    }

    pub(crate) async fn suspend(&self, id: &WorkspaceId) -> Result<(), WorkspaceError> {
        self.driver.suspend(self.permit(id.clone()).await).await
    }

    pub(crate) async fn delete(&self, id: &WorkspaceId, with_files: bool) -> Result<(), WorkspaceError> {
        self.driver.delete(self.permit(RemoveWorkspace { workspace: id.clone(), with_files }).await).await
    }

    pub(crate) async fn link(&self, id: &WorkspaceId) -> Arc<dyn WorkspaceLink> {
        self.driver.connect(id).await.expect("a way in")
    }

    pub(crate) async fn snapshot(&self, workspace: &WorkspaceId, snapshot: &SnapshotId) -> Result<u64, WorkspaceError> {
        self.driver.snapshot(self.permit(aside(workspace, snapshot)).await).await
    }

    pub(crate) async fn roll_back(&self, workspace: &WorkspaceId, snapshot: &SnapshotId) -> Result<(), WorkspaceError> {
        self.driver.roll_back(self.permit(aside(workspace, snapshot)).await).await
    }

    pub(crate) async fn drop_snapshot(
        &self,
        workspace: &WorkspaceId,
        snapshot: &SnapshotId,
    ) -> Result<(), WorkspaceError> {
        self.driver.drop_snapshot(self.permit(aside(workspace, snapshot)).await).await
    }

    /// Lays out `spec` with the files of another workspace.
    pub(crate) async fn fork(
        &self,
        spec: &WorkspaceSpec,
        from: &WorkspaceId,
        snapshot: Option<&SnapshotId>,
    ) -> Result<(), WorkspaceError> {
        let what = ForkWorkspace { spec: spec.clone(), from: from.clone(), snapshot: snapshot.cloned() };
        self.driver.fork(self.permit(what).await).await
    }

    /// All files as a tar stream.
    pub(crate) async fn export(&self, id: &WorkspaceId) -> Vec<u8> {
        let leave = self.leave(id).await;
        collect(self.driver.export(&leave).await.expect("an export")).await
    }

    pub(crate) async fn import(&self, spec: &WorkspaceSpec, files: &[u8]) -> Result<(), WorkspaceError> {
        self.driver.import(self.permit(spec.clone()).await, bytes(files)).await
    }

    /// Leave to look into a workspace.
    pub(crate) async fn leave(&self, id: &WorkspaceId) -> Browse {
        Browse::begin(self.permit(id.clone()).await, Duration::from_secs(60))
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, id: &WorkspaceId, argv: &[&str]) -> Ran {
        let request = ExecRequest {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            timeout_ms: Some(60_000),
            ..ExecRequest::default()
        };
        self.execute(id, request).await
    }

    /// Runs a program that must end well, and gives what it wrote without the last newline.
    pub(crate) async fn told(&self, id: &WorkspaceId, argv: &[&str]) -> String {
        let ran = self.run(id, argv).await;
        assert_eq!(ran.outcome.exit_code, 0, "{argv:?}: {ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    /// Runs a line of a shell to its end.
    pub(crate) async fn shell(&self, id: &WorkspaceId, line: &str) -> Ran {
        self.run(id, &["bash", "-c", line]).await
    }

    pub(crate) async fn execute(&self, id: &WorkspaceId, request: ExecRequest) -> Ran {
        let link = self.link(id).await;
        let mut events = link.execute(execution_id(), self.permit(request).await).await.expect("it was begun");
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
    pub(crate) async fn save(&self, id: &WorkspaceId, name: &str, content: &[u8]) {
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
    pub(crate) async fn read(&self, id: &WorkspaceId, name: &str) -> Result<Vec<u8>, WorkspaceError> {
        let (link, leave) = (self.link(id).await, self.leave(id).await);
        let opened = link.read(&leave, &path(name), None).await?;
        Ok(collect(opened.content).await)
    }
}
