//! Files: looking at them, saving, changing names, searching, packing and unpacking.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use reeve_types::workspace::files::{
    ArchiveFormat, ByteRange, FileEvent, FileHead, FileOperation, SaveFile, Saved, SearchEvent, SearchQuery, TreeQuery,
};
use reeve_types::{ProblemCode, WorkspaceError, WorkspacePath};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::executions::received;
use super::{nowhere, wrong_method};
use crate::files::Files;
use crate::http::{
    FORGOTTEN_BYTES_MAX, Outcome, Query, bad, events, header_json, json, json_header, line, ok, read_json, streamed,
};
use crate::runtime::Runtime;

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// How long a body may pause.
const PIECE_WITHIN: Duration = Duration::from_secs(120);
/// Pieces that wait for whoever reads them.
pub(super) const WAITING: usize = 4;
/// Matches that wait for whoever reads them.
const MATCHES_WAITING: usize = 64;
/// The header with the description of a save.
const SAVE_HEADER: &str = "x-reeve-save";
/// The header with the description of a file that is read.
const HEAD_HEADER: &str = "x-reeve-head";

pub(super) async fn route(runtime: &Arc<Runtime>, noun: &str, request: Request<Incoming>) -> Outcome {
    let files = runtime.files.clone();
    match (noun, request.method()) {
        ("stat", &Method::GET) => {
            let path = Query::of(&request).path()?;
            ok(&blocking(move || files.stat(&path)).await?)
        }
        ("tree", &Method::POST) => {
            let query: TreeQuery = read_json(request).await?;
            ok(&blocking(move || files.tree(&query)).await?)
        }
        ("trash", &Method::GET) => ok(&blocking(move || files.trash()).await?),
        ("operations", &Method::POST) => {
            let operation: FileOperation = read_json(request).await?;
            ok(&blocking(move || files.operate(&operation)).await?)
        }
        ("content", &Method::GET) => read(files, &request).await,
        ("content", &Method::PUT) => save(files, request).await,
        ("search", &Method::POST) => search(runtime, read_json(request).await?).await,
        ("archive", &Method::GET) => archive(runtime, &request).await,
        ("extract", &Method::POST) => extract(runtime, request).await,
        ("watch", &Method::GET) => watch(runtime).await,
        ("stat" | "tree" | "trash" | "operations" | "content" | "search" | "archive" | "extract" | "watch", _) => {
            Err(wrong_method(&request))
        }
        _ => Err(nowhere(request.uri().path())),
    }
}

/// Does what blocks in a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    let failed = |error| WorkspaceError::new(ProblemCode::Internal, format!("the work broke off: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

async fn read(files: Files, request: &Request<Incoming>) -> Outcome {
    let path = Query::of(request).path()?;
    let range = request.headers().get(header::RANGE).cloned();
    let (head, file) = blocking(move || {
        let part = range.map(|range| wanted_part(&files, &path, &range)).transpose()?.flatten();
        files.open_file(&path, part)
    })
    .await?;
    sent(&head, file)
}

/// A file's description and bytes.
pub(super) fn sent(head: &FileHead, file: File) -> Outcome {
    let mut reply = streamed("application/octet-stream", content(file, head.start, head.end));
    let whole = (head.start, head.end) == (0, head.size);
    if !whole {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    describe(reply.headers_mut(), head, whole)?;
    Ok(reply)
}

fn describe(headers: &mut header::HeaderMap, head: &FileHead, whole: bool) -> Result<(), WorkspaceError> {
    let unspeakable = || WorkspaceError::new(ProblemCode::Internal, "the file's description cannot stand in a header");
    headers.insert(HEAD_HEADER, header_json(head).ok_or_else(unspeakable)?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(head.end.saturating_sub(head.start)));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if !whole {
        let range = format!("bytes {}-{}/{}", head.start, head.end.saturating_sub(1), head.size);
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).map_err(|_| unspeakable())?);
    }
    Ok(())
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n`. Other units, and several parts at once, are taken as no wish at all.
fn wanted_part(files: &Files, path: &WorkspacePath, range: &HeaderValue) -> Result<Option<ByteRange>, WorkspaceError> {
    let Some((first, last)) =
        range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(last)) if last >= start => Ok(Some(ByteRange { start, end: Some(last.saturating_add(1)) })),
        (Ok(start), Err(_)) if last.trim().is_empty() => Ok(Some(ByteRange { start, end: None })),
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            let size = files.stat(path)?.size;
            Ok(Some(ByteRange { start: size.saturating_sub(count), end: None }))
        }
        _ => Ok(None),
    }
}

/// A part of a file, read piece by piece as it is taken.
pub(super) fn content(file: File, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let file = Arc::new(file);
    futures_util::stream::unfold(start, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= end {
                return None;
            }
            let piece = tokio::task::spawn_blocking(move || read_piece(&file, at, end)).await;
            let piece = piece.unwrap_or_else(|error| Err(io::Error::other(error)));
            let next = match &piece {
                Ok(piece) => at + u64::try_from(piece.len()).unwrap_or(u64::MAX),
                Err(_) => end,
            };
            Some((piece, next))
        }
    })
}

fn read_piece(file: &File, at: u64, end: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
    let mut piece = vec![0u8; wanted];
    match file.read_at(&mut piece, at)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read")),
        read => {
            piece.truncate(read);
            Ok(Bytes::from(piece))
        }
    }
}

async fn save(files: Files, request: Request<Incoming>) -> Outcome {
    let save: SaveFile = json_header(&request, SAVE_HEADER)?;
    refuse_what_is_too_long(&request, save.size)?;
    let mut pieces = Pieces::of(request);
    let saved = saved(files, save, &mut pieces).await;
    let saved = pieces.heard(saved).await?;
    json(if saved.created { StatusCode::CREATED } else { StatusCode::OK }, &saved)
}

async fn saved(files: Files, save: SaveFile, pieces: &mut Pieces) -> Result<Saved, WorkspaceError> {
    let mut pending = blocking(move || files.begin_save(save)).await?;
    while let Some(piece) = pieces.next().await? {
        pending = blocking(move || pending.write(&piece).map(|()| pending)).await?;
    }
    blocking(move || pending.finish()).await
}

fn refuse_what_is_too_long(request: &Request<Incoming>, announced: u64) -> Result<(), WorkspaceError> {
    match request.body().size_hint().exact() {
        Some(size) if size > announced => {
            Err(bad(format!("{announced} bytes were announced and {size} are sent; send what was announced")))
        }
        _ => Ok(()),
    }
}

/// A body in pieces large enough to be worth a thread's while.
pub(super) struct Pieces {
    body: Either<Incoming, Empty<Bytes>>,
}

impl Pieces {
    pub(super) fn of(request: Request<Incoming>) -> Self {
        Self { body: Either::Left(request.into_body()) }
    }

    /// The outcome, when it can be heard: whoever still writes while the connection is closed is told of a broken pipe
    /// instead of the reason, so the rest of the body is read for a while and forgotten.
    pub(super) async fn heard<T>(&mut self, outcome: Result<T, WorkspaceError>) -> Result<T, WorkspaceError> {
        if outcome.is_err() {
            let mut left = FORGOTTEN_BYTES_MAX;
            while let Ok(Some(frame)) = self.frame().await {
                match left.checked_sub(frame.len()) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        }
        outcome
    }

    /// The next piece; nothing at the end. A body that breaks off is an error: nothing may be taken for whole.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WorkspaceError> {
        let Some(first) = self.frame().await? else { return Ok(None) };
        if first.len() >= PIECE_BYTES {
            return Ok(Some(first));
        }
        let mut piece = BytesMut::from(first);
        while piece.len() < PIECE_BYTES {
            match futures_util::FutureExt::now_or_never(self.frame()) {
                Some(Ok(Some(more))) => piece.extend_from_slice(&more),
                Some(Ok(None)) => {
                    self.body = Either::Right(Empty::new());
                    break;
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(Some(piece.freeze()))
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, WorkspaceError> {
        loop {
            let frame = tokio::time::timeout(PIECE_WITHIN, self.body.frame()).await.map_err(|_| {
                WorkspaceError::new(
                    ProblemCode::Timeout,
                    "nothing of the body came for 2 minutes; go on, or begin again",
                )
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(bad(format!("the body broke off: {error}; send it again"))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }
}

async fn search(runtime: &Arc<Runtime>, query: SearchQuery) -> Outcome {
    let walk = walk(&runtime.walks)?;
    let files = runtime.files.clone();
    let (tell, told) = mpsc::channel::<Result<SearchEvent, WorkspaceError>>(MATCHES_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut each = |event| match tell.blocking_send(Ok(event)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        if let Err(error) = files.search(&query, &mut each) {
            let _gone = tell.blocking_send(Err(error));
        }
        drop(walk);
    });
    started(told).await
}

/// A query that cannot be read is an answer of its own; what fails later breaks the stream off.
async fn started(mut told: mpsc::Receiver<Result<SearchEvent, WorkspaceError>>) -> Outcome {
    let first = told.recv().await.transpose()?;
    let first = futures_util::stream::iter(first.map(Ok));
    let lines = first.chain(received(told)).map(|event| {
        let event = event.map_err(|error| io::Error::other(error.message))?;
        line(&event)
    });
    Ok(streamed("application/x-ndjson", lines))
}

pub(super) fn walk(walks: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, WorkspaceError> {
    Arc::clone(walks).try_acquire_owned().map_err(|_| {
        let message = "as many searches and archives run as may at once; wait for one to end";
        WorkspaceError::new(ProblemCode::RateLimited, message)
    })
}

async fn archive(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    let query = Query::of(request);
    let (path, format) = (query.path()?, format_of(&query)?);
    let walk = walk(&runtime.walks)?;
    let files = runtime.files.clone();
    // What is not there is an answer of its own; what fails later breaks the stream off.
    let (looked_at, wanted) = (files.clone(), path.clone());
    blocking(move || looked_at.stat(&wanted)).await?;
    let (tell, told) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut to = OutOfThread::new(tell);
        let packed = files.archive(&path, format, &mut to).map_err(|error| io::Error::other(error.message));
        if let Err(error) = packed.and_then(|()| to.flush()) {
            to.fail(error);
        }
        drop(walk);
    });
    let kind = match format {
        ArchiveFormat::Zip => "application/zip",
        ArchiveFormat::TarGz => "application/gzip",
    };
    Ok(streamed(kind, received(told)))
}

fn format_of(query: &Query) -> Result<ArchiveFormat, WorkspaceError> {
    match query.text("format") {
        Some("zip") => Ok(ArchiveFormat::Zip),
        Some("tar_gz") => Ok(ArchiveFormat::TarGz),
        _ => Err(bad("`format` takes `zip` or `tar_gz`")),
    }
}

/// What a thread writes on its way out, in pieces.
pub(super) struct OutOfThread {
    tell: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
}

impl OutOfThread {
    pub(super) fn new(tell: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self { tell, piece: BytesMut::with_capacity(PIECE_BYTES) }
    }

    /// The connection breaks off: half a document must not look like a whole one.
    pub(super) fn fail(self, error: io::Error) {
        let _gone = self.tell.blocking_send(Err(error));
    }
}

impl Write for OutOfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.tell.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// The archive is first spooled into a file without a name, where the workspace's quota counts it.
async fn extract(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let save: SaveFile = json_header(&request, SAVE_HEADER)?;
    let format = format_of(&Query::of(&request))?;
    refuse_what_is_too_long(&request, save.size)?;
    let mut pieces = Pieces::of(request);
    let spool = spooled(runtime, save.size, &mut pieces).await;
    let spool = pieces.heard(spool).await?;
    let files = runtime.files.clone();
    ok(&blocking(move || files.extract(&save, format, spool)).await?)
}

async fn spooled(runtime: &Arc<Runtime>, size: u64, pieces: &mut Pieces) -> Result<File, WorkspaceError> {
    let place = Arc::clone(&runtime.place);
    let mut spool = blocking(move || place.spool()).await?;
    let mut left = size;
    while let Some(piece) = pieces.next().await? {
        let arrived = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        left = left.checked_sub(arrived).ok_or_else(|| bad("more bytes are sent than were announced"))?;
        spool = blocking(move || write_spool(spool, &piece)).await?;
    }
    Ok(spool)
}

fn write_spool(mut spool: File, piece: &[u8]) -> Result<File, WorkspaceError> {
    spool.write_all(piece).map(|()| spool).map_err(|error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { ProblemCode::DiskFull } else { ProblemCode::Internal };
        WorkspaceError::new(code, format!("the archive cannot be kept while it arrives: {error}"))
    })
}

async fn watch(runtime: &Arc<Runtime>) -> Outcome {
    let place = Arc::clone(&runtime.watchers).try_acquire_owned().map_err(|_| {
        WorkspaceError::new(ProblemCode::RateLimited, "as many watch the files as may at once; stop watching elsewhere")
    })?;
    let files = runtime.files.clone();
    let watcher = blocking(move || {
        files.watch().map_err(|error| {
            let message = format!("the files cannot be watched: {error}; look at them from time to time instead");
            WorkspaceError::new(ProblemCode::Unavailable, message)
        })
    })
    .await?;
    let state = (watcher.into_receiver(), place);
    let happening = futures_util::stream::unfold(state, |(mut receiver, place)| async move {
        let event: FileEvent = receiver.recv().await?;
        Some((event, (receiver, place)))
    });
    Ok(events(happening))
}
