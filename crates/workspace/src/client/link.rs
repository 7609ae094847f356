//! [`WorkspaceLink`] over the runtime's socket: each method in one line, the work is beside it by topic.

use reeve_gate::Permitted;
use reeve_gate::workspace::{
    Answer, AttachedTerminal, Browse, ByteStream, Duplex, EventStream, Keystrokes, OpenFile, Pipe, WorkspaceLink,
};
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, Extracted, FileChanged, FileEntry, FileEvent, FileOperation, FileVersion, SaveFile,
    Saved, SearchEvent, SearchQuery, TrashEntry, TreePage, TreeQuery, Upload,
};
use reeve_types::workspace::processes::{
    ExecEvent, ExecRequest, Language, ListeningPort, OpenPipe, OpenTerminal, Terminal, Typed,
};
use reeve_types::{ExecutionId, SessionId, TerminalId, UploadId, VersionId, WorkspacePath};

use super::RuntimeClient;
use super::address::with_path;

impl WorkspaceLink for RuntimeClient {
    fn stat<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath) -> Answer<'a, FileEntry> {
        Box::pin(async move {
            self.admit(leave)?;
            self.file_entry(path).await
        })
    }

    fn tree<'a>(&'a self, leave: &'a Browse, query: &'a TreeQuery) -> Answer<'a, TreePage> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.post("/v1/tree", query).await
        })
    }

    fn read<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath, part: Option<ByteRange>) -> Answer<'a, OpenFile> {
        Box::pin(async move {
            self.admit(leave)?;
            self.open_file(path, part).await
        })
    }

    fn trash<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<TrashEntry>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.get("/v1/trash").await
        })
    }

    fn history<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath) -> Answer<'a, Vec<FileVersion>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.get(&with_path("/v1/history", path)?).await
        })
    }

    fn read_version<'a>(
        &'a self,
        leave: &'a Browse,
        path: &'a WorkspacePath,
        version: &'a VersionId,
    ) -> Answer<'a, OpenFile> {
        Box::pin(async move {
            self.admit(leave)?;
            self.open_version(path, version).await
        })
    }

    fn search<'a>(&'a self, leave: &'a Browse, query: SearchQuery) -> Answer<'a, EventStream<SearchEvent>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.search_files(&query).await
        })
    }

    fn archive<'a>(
        &'a self,
        leave: &'a Browse,
        path: &'a WorkspacePath,
        format: ArchiveFormat,
    ) -> Answer<'a, ByteStream> {
        Box::pin(async move {
            self.admit(leave)?;
            self.packed(path, format).await
        })
    }

    fn watch<'a>(&'a self, leave: &'a Browse) -> Answer<'a, EventStream<FileEvent>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.file_events().await
        })
    }

    fn languages<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<Language>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.get("/v1/languages").await
        })
    }

    fn ports<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<ListeningPort>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.get("/v1/ports").await
        })
    }

    fn dial<'a>(&'a self, leave: &'a Browse, port: u16) -> Answer<'a, Box<dyn Duplex>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.dial_port(port).await
        })
    }

    fn terminals<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<Terminal>> {
        Box::pin(async move {
            self.admit(leave)?;
            self.connections.get("/v1/terminals").await
        })
    }

    fn save(&self, what: Permitted<SaveFile>, content: ByteStream) -> Answer<'_, Saved> {
        Box::pin(async move { self.save_file(&what.open().0, content).await })
    }

    fn operate(&self, what: Permitted<FileOperation>) -> Answer<'_, FileChanged> {
        Box::pin(async move { self.change_names(&what.open().0).await })
    }

    fn begin_upload(&self, what: Permitted<SaveFile>) -> Answer<'_, Upload> {
        Box::pin(async move { self.connections.post("/v1/uploads", &what.open().0).await })
    }

    fn continue_upload<'a>(&'a self, upload: &'a UploadId, offset: u64, content: ByteStream) -> Answer<'a, Upload> {
        Box::pin(self.add_to_upload(upload, offset, content))
    }

    fn upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, Upload> {
        Box::pin(async move { self.connections.get(&format!("/v1/uploads/{upload}")).await })
    }

    fn finish_upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, Saved> {
        Box::pin(self.complete_upload(upload))
    }

    fn abandon_upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, ()> {
        Box::pin(async move { self.connections.tell(hyper::Method::DELETE, &format!("/v1/uploads/{upload}")).await })
    }

    fn extract(&self, into: Permitted<SaveFile>, format: ArchiveFormat, archive: ByteStream) -> Answer<'_, Extracted> {
        Box::pin(async move { self.unpack(&into.open().0, format, archive).await })
    }

    fn execute(&self, id: ExecutionId, what: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>> {
        Box::pin(async move { self.run_program(&id, &what.open().0, "bounded").await })
    }

    fn follow(&self, id: ExecutionId, what: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>> {
        Box::pin(async move { self.run_program(&id, &what.open().0, "all").await })
    }

    fn open_pipe(&self, what: Permitted<OpenPipe>) -> Answer<'_, Pipe> {
        Box::pin(async move { self.start_pipe(&what.open().0).await })
    }

    fn cancel<'a>(&'a self, execution: &'a ExecutionId) -> Answer<'a, ()> {
        Box::pin(
            async move { self.connections.tell(hyper::Method::DELETE, &format!("/v1/executions/{execution}")).await },
        )
    }

    fn open_terminal(&self, id: TerminalId, what: Permitted<OpenTerminal>) -> Answer<'_, Terminal> {
        Box::pin(async move { self.connections.post(&format!("/v1/terminals?id={id}"), &what.open().0).await })
    }

    fn attach<'a>(&'a self, terminal: &'a TerminalId) -> Answer<'a, AttachedTerminal> {
        Box::pin(self.attach_to(terminal))
    }

    fn type_in(&self, what: Permitted<Keystrokes>) -> Answer<'_, Typed> {
        Box::pin(async move { self.press(what.open().0).await })
    }

    fn close_terminals_of<'a>(&'a self, session: &'a SessionId) -> Answer<'a, ()> {
        Box::pin(async move {
            self.connections.tell(hyper::Method::DELETE, &format!("/v1/terminals?session={session}")).await
        })
    }

    fn close_terminal<'a>(&'a self, terminal: &'a TerminalId) -> Answer<'a, ()> {
        Box::pin(
            async move { self.connections.tell(hyper::Method::DELETE, &format!("/v1/terminals/{terminal}")).await },
        )
    }
}
