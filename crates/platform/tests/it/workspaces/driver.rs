//! A machine for tests: it notes what was asked of it, keeps files in memory, runs nothing, and can stop at any step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use reeve_gate::Permitted;
use reeve_gate::workspace::{
    Answer, AttachedTerminal, Browse, ByteStream, Duplex, EventStream, ForkWorkspace, Found, Keystrokes, OpenFile,
    Pipe, Readiness, RemoveWorkspace, TakeSnapshot, WorkspaceDriver, WorkspaceLink,
};
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, Extracted, FileChanged, FileEntry, FileEvent, FileOperation, FileVersion, SaveFile,
    Saved, SearchEvent, SearchQuery, TrashEntry, TreePage, TreeQuery, Upload,
};
use reeve_types::workspace::processes::{
    ExecEvent, ExecRequest, Language, ListeningPort, OpenPipe, OpenTerminal, Terminal, Typed,
};
use reeve_types::workspace::{DriverKind, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{
    Digest, ExecutionId, ProblemCode, SessionId, TerminalId, UploadId, VersionId, WorkspaceError, WorkspaceId,
    WorkspacePath,
};
use tokio::sync::Notify;

/// When a step stops for good: a crash that the test times exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Default)]
pub(crate) struct FakeDriver {
    /// Every workspace on the machine, and whether it runs.
    pub(crate) there: Mutex<BTreeMap<WorkspaceId, bool>>,
    pub(crate) refuses_to_start: AtomicBool,
    pub(crate) made: AtomicUsize,
    pub(crate) link: Arc<FakeLink>,
    stops_at: Mutex<Option<(&'static str, Moment)>>,
    pub(crate) stopped: Notify,
}

impl FakeDriver {
    /// The same machine after a crash of the server.
    pub(crate) fn after_a_crash(&self) -> Self {
        let there = Mutex::new(self.there.lock().unwrap().clone());
        Self { there, link: Arc::clone(&self.link), ..Self::default() }
    }

    pub(crate) fn stop_at(&self, step: &'static str, moment: Moment) {
        *self.stops_at.lock().unwrap() = Some((step, moment));
    }

    async fn pass(&self, step: &'static str, moment: Moment) {
        let stops = *self.stops_at.lock().unwrap() == Some((step, moment));
        if stops {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn step<'a>(
        &'a self,
        step: &'static str,
        effect: impl FnOnce(&mut BTreeMap<WorkspaceId, bool>) + Send + 'a,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            self.pass(step, Moment::Before).await;
            effect(&mut self.there.lock().unwrap());
            self.pass(step, Moment::After).await;
            Ok(())
        })
    }
}

fn nothing<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async { Err(WorkspaceError::new(ProblemCode::Unavailable, "a test has no such thing")) })
}

impl WorkspaceDriver for FakeDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Namespace
    }
    fn readiness(&self) -> futures_util::future::BoxFuture<'_, Vec<Readiness>> {
        Box::pin(async { Vec::new() })
    }
    fn without_network(&self) -> Option<&'static str> {
        None
    }
    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()> {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.step("create", move |there| _ = there.insert(spec.open().0.id, false))
    }
    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation> {
        if self.refuses_to_start.load(Ordering::SeqCst) {
            return nothing();
        }
        let started = self.step("start", move |there| _ = there.insert(spec.open().0.id, true));
        Box::pin(async {
            started.await?;
            Ok(Isolation {
                driver: DriverKind::Namespace,
                tier: "pretended".to_owned(),
                seccomp: true,
                landlock: false,
                limits: "none".to_owned(),
                disk: "none".to_owned(),
                network: "none".to_owned(),
                own_user: false,
            })
        })
    }
    fn suspend(&self, workspace: Permitted<WorkspaceId>) -> Answer<'_, ()> {
        self.step("suspend", move |there| _ = there.insert(workspace.open().0, false))
    }
    fn snapshot(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, u64> {
        let taken = self.step("snapshot", |_| ());
        Box::pin(async { taken.await.map(|()| 42) })
    }
    fn roll_back(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        self.step("roll_back", |_| ())
    }
    fn drop_snapshot(&self, _: Permitted<TakeSnapshot>) -> Answer<'_, ()> {
        self.step("drop_snapshot", |_| ())
    }
    fn fork(&self, what: Permitted<ForkWorkspace>) -> Answer<'_, ()> {
        self.step("fork", move |there| _ = there.insert(what.open().0.spec.id, false))
    }
    fn delete(&self, what: Permitted<RemoveWorkspace>) -> Answer<'_, ()> {
        let what = what.open().0;
        self.step("delete", move |there| match what.with_files {
            true => _ = there.remove(&what.workspace),
            false => _ = there.insert(what.workspace, false),
        })
    }
    fn usage<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, WorkspaceUsage> {
        Box::pin(async { Ok(WorkspaceUsage::default()) })
    }
    fn connect<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, Arc<dyn WorkspaceLink>> {
        if self.there.lock().unwrap().get(workspace) != Some(&true) {
            return nothing();
        }
        let link: Arc<dyn WorkspaceLink> = Arc::<FakeLink>::clone(&self.link);
        Box::pin(async { Ok(link) })
    }
    fn found(&self) -> Answer<'_, Vec<Found>> {
        let found = |(id, runs): (&WorkspaceId, &bool)| Found { workspace: id.clone(), running: *runs, files: true };
        let found = self.there.lock().unwrap().iter().map(found).collect();
        Box::pin(async { Ok(found) })
    }
    fn sweep<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, ()> {
        self.step("sweep", move |there| _ = there.remove(workspace))
    }
    fn export<'a>(&'a self, leave: &'a Browse) -> Answer<'a, ByteStream> {
        assert!(leave.holds());
        let files = format!("the files of {}", leave.workspace());
        Box::pin(async { Ok(futures_util::stream::iter([Ok(bytes::Bytes::from(files))]).boxed()) })
    }
    fn import(&self, spec: Permitted<WorkspaceSpec>, mut files: ByteStream) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut all = Vec::new();
            while let Some(piece) = files.next().await {
                all.extend_from_slice(&piece.unwrap());
            }
            let id = spec.open().0.id;
            self.link.files.lock().unwrap().insert(format!("import of {id}"), all);
            self.step("import", move |there| _ = there.insert(id, false)).await
        })
    }
}

/// The files of all workspaces together, by name.
#[derive(Default)]
pub(crate) struct FakeLink {
    pub(crate) files: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) saves: AtomicUsize,
}

impl WorkspaceLink for FakeLink {
    fn tree<'a>(&'a self, leave: &'a Browse, _: &'a TreeQuery) -> Answer<'a, TreePage> {
        assert!(leave.holds());
        Box::pin(async { Ok(TreePage { entries: Vec::new(), next_cursor: None }) })
    }
    fn save(&self, what: Permitted<SaveFile>, mut content: ByteStream) -> Answer<'_, Saved> {
        Box::pin(async move {
            let (file, mut all) = (what.open().0, Vec::new());
            while let Some(piece) = content.next().await {
                all.extend_from_slice(&piece.unwrap());
            }
            assert_eq!(Digest::of(&all), file.sha256, "what was admitted is what arrives");
            self.saves.fetch_add(1, Ordering::SeqCst);
            let name = file.path.to_string().rsplit('/').next().unwrap().to_owned();
            self.files.lock().unwrap().insert(name, all);
            let modified_at = "2026-03-02T12:00:00Z".parse().unwrap();
            Ok(Saved { path: file.path, etag: file.sha256.to_string(), size: file.size, modified_at, created: true })
        })
    }

    fn stat<'a>(&'a self, _: &'a Browse, _: &'a WorkspacePath) -> Answer<'a, FileEntry> {
        nothing()
    }
    fn read<'a>(&'a self, _: &'a Browse, _: &'a WorkspacePath, _: Option<ByteRange>) -> Answer<'a, OpenFile> {
        nothing()
    }
    fn trash<'a>(&'a self, _: &'a Browse) -> Answer<'a, Vec<TrashEntry>> {
        nothing()
    }
    fn history<'a>(&'a self, _: &'a Browse, _: &'a WorkspacePath) -> Answer<'a, Vec<FileVersion>> {
        nothing()
    }
    fn read_version<'a>(&'a self, _: &'a Browse, _: &'a WorkspacePath, _: &'a VersionId) -> Answer<'a, OpenFile> {
        nothing()
    }
    fn search<'a>(&'a self, _: &'a Browse, _: SearchQuery) -> Answer<'a, EventStream<SearchEvent>> {
        nothing()
    }
    fn archive<'a>(&'a self, _: &'a Browse, _: &'a WorkspacePath, _: ArchiveFormat) -> Answer<'a, ByteStream> {
        nothing()
    }
    fn watch<'a>(&'a self, _: &'a Browse) -> Answer<'a, EventStream<FileEvent>> {
        nothing()
    }
    fn languages<'a>(&'a self, _: &'a Browse) -> Answer<'a, Vec<Language>> {
        nothing()
    }
    fn ports<'a>(&'a self, _: &'a Browse) -> Answer<'a, Vec<ListeningPort>> {
        nothing()
    }
    fn dial<'a>(&'a self, _: &'a Browse, _: u16) -> Answer<'a, Box<dyn Duplex>> {
        nothing()
    }
    fn terminals<'a>(&'a self, _: &'a Browse) -> Answer<'a, Vec<Terminal>> {
        nothing()
    }
    fn operate(&self, _: Permitted<FileOperation>) -> Answer<'_, FileChanged> {
        nothing()
    }
    fn begin_upload(&self, _: Permitted<SaveFile>) -> Answer<'_, Upload> {
        nothing()
    }
    fn continue_upload<'a>(&'a self, _: &'a UploadId, _: u64, _: ByteStream) -> Answer<'a, Upload> {
        nothing()
    }
    fn upload<'a>(&'a self, _: &'a UploadId) -> Answer<'a, Upload> {
        nothing()
    }
    fn finish_upload<'a>(&'a self, _: &'a UploadId) -> Answer<'a, Saved> {
        nothing()
    }
    fn abandon_upload<'a>(&'a self, _: &'a UploadId) -> Answer<'a, ()> {
        nothing()
    }
    fn extract(&self, _: Permitted<SaveFile>, _: ArchiveFormat, _: ByteStream) -> Answer<'_, Extracted> {
        nothing()
    }
    /// A program that says nothing and never ends.
    fn execute(&self, _: ExecutionId, _: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>> {
        Box::pin(async { Ok(futures_util::stream::pending().boxed()) })
    }
    fn follow(&self, id: ExecutionId, what: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>> {
        self.execute(id, what)
    }
    fn open_pipe(&self, _: Permitted<OpenPipe>) -> Answer<'_, Pipe> {
        nothing()
    }
    fn cancel<'a>(&'a self, _: &'a ExecutionId) -> Answer<'a, ()> {
        nothing()
    }
    fn open_terminal(&self, _: TerminalId, _: Permitted<OpenTerminal>) -> Answer<'_, Terminal> {
        nothing()
    }
    fn attach<'a>(&'a self, _: &'a TerminalId) -> Answer<'a, AttachedTerminal> {
        nothing()
    }
    fn type_in(&self, _: Permitted<Keystrokes>) -> Answer<'_, Typed> {
        nothing()
    }
    fn close_terminals_of<'a>(&'a self, _: &'a SessionId) -> Answer<'a, ()> {
        nothing()
    }
    fn close_terminal<'a>(&'a self, _: &'a TerminalId) -> Answer<'a, ()> {
        nothing()
    }
}
