//! What drivers of workspaces implement, and what proves that they may act.
//!
//! Whatever changes a workspace or runs something in it takes a [`Permitted`] by value: one admitted act, one effect.
//! Looking (listing, reading, searching, watching) happens far too often to be an act each time. Instead one admitted
//! look becomes a [`Browse`], which lets one principal look into one workspace for a short while.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, Extracted, FileChanged, FileEntry, FileEvent, FileHead, FileOperation, FileVersion,
    SaveFile, Saved, SearchEvent, SearchQuery, TrashEntry, TreePage, TreeQuery, Upload,
};
use reeve_types::workspace::processes::{
    ExecEvent, ExecRequest, Language, ListeningPort, OpenPipe, OpenTerminal, PipeExit, Terminal, TerminalInput,
    TerminalOutput, Typed,
};
use reeve_types::workspace::{DriverKind, Isolation, WorkspaceSpec, WorkspaceUsage};
use reeve_types::{
    ExecutionId, SessionId, SnapshotId, TerminalId, UploadId, VersionId, WorkspaceError, WorkspaceId, WorkspacePath,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Permitted;

/// What a driver or a link answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, WorkspaceError>>;
/// Bytes that come one piece after another.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;
/// Events that come one after another.
pub type EventStream<T> = Pin<Box<dyn Stream<Item = Result<T, WorkspaceError>> + Send>>;

/// Bytes both ways: a connection to a port inside a workspace.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Leave to look into one workspace, until it ends.
///
/// It is made of a permit and nothing else, so there is an admitted and recorded act behind every look.
#[derive(Debug)]
pub struct Browse {
    workspace: WorkspaceId,
    until: tokio::time::Instant,
}

impl Browse {
    /// Turns one admitted look into leave to look for a while.
    pub fn begin(permit: Permitted<WorkspaceId>, lasting: Duration) -> Self {
        let (workspace, _) = permit.open();
        Self { workspace, until: tokio::time::Instant::now() + lasting }
    }

    /// The workspace it is for.
    pub fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// Whether it still holds.
    pub fn holds(&self) -> bool {
        tokio::time::Instant::now() < self.until
    }
}

/// A copy of a workspace's files to be made.
#[derive(Debug, Clone)]
pub struct TakeSnapshot {
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// Under which id.
    pub snapshot: SnapshotId,
}

/// A new workspace with the files of another.
#[derive(Debug, Clone)]
pub struct ForkWorkspace {
    /// The new one.
    pub spec: WorkspaceSpec,
    /// Whose files it gets.
    pub from: WorkspaceId,
    /// As they were in this snapshot; as they are now when absent.
    pub snapshot: Option<SnapshotId>,
}

/// A workspace to be removed.
#[derive(Debug, Clone)]
pub struct RemoveWorkspace {
    /// Which.
    pub workspace: WorkspaceId,
    /// Its files and snapshots too; otherwise they stay, and it can be restored.
    pub with_files: bool,
}

/// What a driver knows to be on the machine, whatever the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which workspace.
    pub workspace: WorkspaceId,
    /// Whether its processes run and answer.
    pub running: bool,
    /// Whether its files are there.
    pub files: bool,
}

/// One thing that a driver needs of the machine, for `reeve doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// What was looked at: `bubblewrap`, `user namespaces`, `cgroups`.
    pub what: &'static str,
    /// Whether it is as it should be.
    pub ready: bool,
    /// Whether workspaces cannot be made without it.
    pub needed: bool,
    /// What was found, and what to do when it is missing.
    pub detail: String,
}

/// Makes and unmakes workspaces of one kind. States are the platform's concern; a driver acts, and every act may be
/// repeated: making what is there, stopping what is stopped and removing what is gone succeed.
pub trait WorkspaceDriver: Send + Sync {
    /// Which kind.
    fn kind(&self) -> DriverKind;

    /// What it finds on this machine.
    fn readiness(&self) -> BoxFuture<'_, Vec<Readiness>>;

    /// Why its workspaces have no way to the network on this machine, as the beginning of a sentence; nothing where each
    /// may have one.
    fn without_network(&self) -> Option<&'static str>;

    /// Reserves what the workspace needs and lays out its files from the template. Nothing runs yet.
    fn create(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, ()>;

    /// Starts its processes, and answers when the program inside does.
    fn start(&self, spec: Permitted<WorkspaceSpec>) -> Answer<'_, Isolation>;

    /// Ends its processes: asks, waits a little, insists. The files stay.
    fn suspend(&self, workspace: Permitted<WorkspaceId>) -> Answer<'_, ()>;

    /// Copies its files aside. Answers how many bytes the copy takes.
    fn snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, u64>;

    /// Puts the files back as they were in a snapshot. The workspace must not run.
    fn roll_back(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()>;

    /// Removes a snapshot.
    fn drop_snapshot(&self, what: Permitted<TakeSnapshot>) -> Answer<'_, ()>;

    /// Lays out a new workspace with the files of another. Nothing runs yet.
    fn fork(&self, what: Permitted<ForkWorkspace>) -> Answer<'_, ()>;

    /// Ends its processes and removes what it has on the machine.
    fn delete(&self, what: Permitted<RemoveWorkspace>) -> Answer<'_, ()>;

    /// What it uses.
    fn usage<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, WorkspaceUsage>;

    /// The way in, while it runs. Cheap: what it needs is kept.
    fn connect<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, std::sync::Arc<dyn WorkspaceLink>>;

    /// Everything of this driver's on the machine, by its labels.
    fn found(&self) -> Answer<'_, Vec<Found>>;

    /// Removes what a crash left of a workspace that the database does not know. Cleaning up after oneself is no act.
    fn sweep<'a>(&'a self, workspace: &'a WorkspaceId) -> Answer<'a, ()>;

    /// All files of the workspace as an uncompressed tar stream with owners, modes and extended attributes, for backups.
    /// Works whether it runs or not.
    fn export<'a>(&'a self, leave: &'a Browse) -> Answer<'a, ByteStream>;

    /// Lays out a new workspace with the files of such a stream. Nothing runs yet.
    fn import(&self, spec: Permitted<WorkspaceSpec>, files: ByteStream) -> Answer<'_, ()>;
}

/// A terminal that somebody looks at. Dropping it leaves the terminal alone.
pub struct AttachedTerminal {
    /// What the terminal shows: first `Ready`, then what it remembers, then what comes.
    pub output: EventStream<TerminalFrame>,
    /// Where keystrokes and control go. Bounded: whoever sends faster than the terminal reads, waits.
    pub input: tokio::sync::mpsc::Sender<TerminalCommand>,
}

/// One piece of what a terminal shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalFrame {
    /// Bytes for the screen.
    Bytes(Bytes),
    /// Control.
    Control(TerminalOutput),
}

/// One thing said to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalCommand {
    /// Keystrokes.
    Bytes(Bytes),
    /// Control.
    Control(TerminalInput),
}

/// Keys to be pressed in a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keystrokes {
    /// Where.
    pub terminal: TerminalId,
    /// As a keyboard sends them.
    pub bytes: Vec<u8>,
}

/// A program in a workspace, talked with over its standard input and output.
///
/// Each part may be used and dropped by itself. Dropping `stdin` closes it. When all the others are dropped, the connection
/// is closed: the program has two seconds to end by itself, is asked to, and two seconds later is ended.
pub struct Pipe {
    /// Goes to the program. Whoever writes faster than it reads, waits.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Comes from the program. A program that writes faster than this is read, waits.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// What it writes to standard error, a line at a time. The program never waits for a reader: what is not read is left
    /// out and counted.
    pub stderr: EventStream<PipeError>,
    /// How it ended; an error when the connection broke before that was known.
    pub exit: BoxFuture<'static, Result<PipeEnd, WorkspaceError>>,
}

/// What a program wrote to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipeError {
    /// A line, without its end. Long ones come in pieces, and bytes that are no UTF-8 are replaced.
    Line(String),
    /// So many bytes were left out here.
    Lost(u64),
}

/// How a program ended, and what it said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeEnd {
    /// How it ended.
    pub exit: PipeExit,
    /// The last of what it wrote to standard error, as much as is kept.
    pub last_errors: String,
}

/// A file that is being read.
pub struct OpenFile {
    /// What it is.
    pub head: FileHead,
    /// Its bytes, the wanted part.
    pub content: ByteStream,
}

/// The way into a running workspace: its files, programs, terminals and ports. What comes out of it is hostile input.
pub trait WorkspaceLink: Send + Sync {
    /// What a path names.
    fn stat<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath) -> Answer<'a, FileEntry>;
    /// Part of the tree.
    fn tree<'a>(&'a self, leave: &'a Browse, query: &'a TreeQuery) -> Answer<'a, TreePage>;
    /// A file's bytes.
    fn read<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath, part: Option<ByteRange>) -> Answer<'a, OpenFile>;
    /// What is in the trash.
    fn trash<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<TrashEntry>>;
    /// What a file was before it was saved over, the latest first.
    fn history<'a>(&'a self, leave: &'a Browse, path: &'a WorkspacePath) -> Answer<'a, Vec<FileVersion>>;
    /// The bytes of such a version.
    fn read_version<'a>(
        &'a self,
        leave: &'a Browse,
        path: &'a WorkspacePath,
        version: &'a VersionId,
    ) -> Answer<'a, OpenFile>;
    /// Searches names or contents. Dropping the stream ends the search.
    fn search<'a>(&'a self, leave: &'a Browse, query: SearchQuery) -> Answer<'a, EventStream<SearchEvent>>;
    /// A file or directory, packed.
    fn archive<'a>(
        &'a self,
        leave: &'a Browse,
        path: &'a WorkspacePath,
        format: ArchiveFormat,
    ) -> Answer<'a, ByteStream>;
    /// What happens to files from now on.
    fn watch<'a>(&'a self, leave: &'a Browse) -> Answer<'a, EventStream<FileEvent>>;
    /// Which languages can be run.
    fn languages<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<Language>>;
    /// Which ports are listened on.
    fn ports<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<ListeningPort>>;
    /// A connection to a port inside.
    fn dial<'a>(&'a self, leave: &'a Browse, port: u16) -> Answer<'a, Box<dyn Duplex>>;
    /// The terminals there are.
    fn terminals<'a>(&'a self, leave: &'a Browse) -> Answer<'a, Vec<Terminal>>;

    /// Writes a file, atomically and byte for byte.
    fn save(&self, what: Permitted<SaveFile>, content: ByteStream) -> Answer<'_, Saved>;
    /// Creates, renames, moves, copies, trashes, restores, deletes.
    fn operate(&self, what: Permitted<FileOperation>) -> Answer<'_, FileChanged>;
    /// Begins an upload. What arrives later is checked against this save when it is finished.
    fn begin_upload(&self, what: Permitted<SaveFile>) -> Answer<'_, Upload>;
    /// Adds to an upload of one's own, at its offset. Answers what has arrived.
    fn continue_upload<'a>(&'a self, upload: &'a UploadId, offset: u64, content: ByteStream) -> Answer<'a, Upload>;
    /// How far an upload is.
    fn upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, Upload>;
    /// Puts a complete upload in its place.
    fn finish_upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, Saved>;
    /// Gives an upload up.
    fn abandon_upload<'a>(&'a self, upload: &'a UploadId) -> Answer<'a, ()>;
    /// Unpacks an archive into the directory that the save names (its digest and size are the archive's).
    fn extract(&self, into: Permitted<SaveFile>, format: ArchiveFormat, archive: ByteStream) -> Answer<'_, Extracted>;
    /// Runs a program. Of each stream of its output head and tail are told, the tail when it has ended. Dropping the stream
    /// ends the program.
    fn execute(&self, id: ExecutionId, what: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>>;
    /// The same, for somebody who follows it: all it writes is told as it comes, at the speed of whoever reads. A program that
    /// writes faster waits.
    fn follow(&self, id: ExecutionId, what: Permitted<ExecRequest>) -> Answer<'_, EventStream<ExecEvent>>;
    /// Starts a program to talk with. It lasts as long as the connection.
    fn open_pipe(&self, what: Permitted<OpenPipe>) -> Answer<'_, Pipe>;
    /// Ends a program with all that it started. Ending what one may start needs no leave of its own.
    fn cancel<'a>(&'a self, execution: &'a ExecutionId) -> Answer<'a, ()>;
    /// Opens a terminal.
    fn open_terminal(&self, id: TerminalId, what: Permitted<OpenTerminal>) -> Answer<'_, Terminal>;
    /// Looks at a terminal and types into it. Whoever opened it was admitted; the platform checks that it is theirs.
    fn attach<'a>(&'a self, terminal: &'a TerminalId) -> Answer<'a, AttachedTerminal>;
    /// Types into a terminal, by an act of its own. Answers when the terminal has taken all of it.
    fn type_in(&self, what: Permitted<Keystrokes>) -> Answer<'_, Typed>;
    /// Ends a terminal with all that it started.
    fn close_terminal<'a>(&'a self, terminal: &'a TerminalId) -> Answer<'a, ()>;
    /// Ends all terminals that were opened for one session.
    fn close_terminals_of<'a>(&'a self, session: &'a SessionId) -> Answer<'a, ()>;
}
