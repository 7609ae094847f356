//! Programs that are talked with over standard input and output: frames both ways over a connection that stopped being
//! HTTP.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use hyper::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use reeve_gate::workspace::{Pipe, PipeEnd, PipeError};
use reeve_types::WorkspaceError;
use reeve_types::workspace::processes::{OpenPipe, PIPE_ERRORS_BYTES, PIPE_WINDOW_BYTES, PipeExit, PipeWord};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream, ReadBuf};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::connection::{broken, empty, within};
use super::{ANSWER_WITHIN, RuntimeClient, bounded};

/// Largest frame that a runtime may send, in bytes.
const FRAME_BYTES_MAX: usize = 128 * 1024;
/// Bytes sent at once; more than one piece fits into the window.
const PIECE_BYTES: usize = 32 * 1024;
/// Bytes between the connection and whoever reads or writes.
const BETWEEN_BYTES: usize = 64 * 1024;
/// Lines of standard error that wait to be read.
const LINES_WAITING: usize = 256;
/// Longest piece of a line of standard error, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;
const BYTES: u8 = 0;
const CONTROL: u8 = 1;
const ERRORS: u8 = 2;

type Reader = BufReader<tokio::io::ReadHalf<TokioIo<Upgraded>>>;
type Writer = tokio::io::WriteHalf<TokioIo<Upgraded>>;

impl RuntimeClient {
    /// Starts a program. The connection is its life line: dropping what is answered closes it.
    pub(super) async fn start_pipe(&self, what: &OpenPipe) -> Result<Pipe, WorkspaceError> {
        let request = self.connections.request(Method::GET, "/v1/pipes", empty())?;
        let upgraded = self.connections.upgrade(request, "reeve-pipe").await?;
        let (read, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        let mut reader = BufReader::new(read);
        let order = serde_json::to_vec(what).map_err(|error| broken(&error))?;
        let first = within(ANSWER_WITHIN, async {
            write_frame(&mut writer, CONTROL, &order).await.map_err(|error| broken(&error))?;
            read_frame(&mut reader).await
        });
        match first.await? {
            Frame::Word(PipeWord::Started) => Ok(accompany(reader, writer)),
            Frame::Word(PipeWord::Refused { error }) => Err(bounded::spoken(error)),
            _ => Err(bounded::nonsense("does not begin with whether the program runs")),
        }
    }
}

/// What travels.
enum Frame {
    Bytes(Vec<u8>),
    Errors(Vec<u8>),
    Word(PipeWord),
}

fn accompany(reader: Reader, writer: Writer) -> Pipe {
    let (stdin, input) = tokio::io::duplex(BETWEEN_BYTES);
    let (output, stdout) = tokio::io::duplex(BETWEEN_BYTES);
    let (lines, mut read_lines) = mpsc::channel(LINES_WAITING);
    let (told, ended) = oneshot::channel();
    let window = Arc::new(Window::new());
    let hearing = Hearing {
        reader,
        output: Some(output),
        window: Arc::clone(&window),
        errors: Errors { lines, line: Vec::new(), lost: 0, last: VecDeque::new() },
    };
    let task = tokio::spawn(async move {
        let mut hearing = hearing;
        let mut sending = pin!(send_input(writer, input, &window));
        let mut sent = false;
        let mut heard = pin!(hearing.until_exit());
        let exit = loop {
            tokio::select! {
                exit = &mut heard => break exit,
                () = &mut sending, if !sent => sent = true,
            }
        };
        let _nobody_waits = told.send(exit);
    });
    let line = Arc::new(LifeLine(task.abort_handle()));
    let (of_errors, of_exit) = (Arc::clone(&line), Arc::clone(&line));
    Pipe {
        stdin: Box::new(stdin),
        stdout: Box::new(Output { stdout, _line: line }),
        stderr: Box::pin(futures_util::stream::poll_fn(move |cx| {
            let _kept = &of_errors;
            read_lines.poll_recv(cx).map(|line| line.map(Ok))
        })),
        exit: Box::pin(async move {
            let _kept = of_exit;
            let lost = || broken(&io::Error::from(io::ErrorKind::UnexpectedEof));
            ended.await.unwrap_or_else(|_| Err(lost()))
        }),
    }
}

/// The connection's task ends when nobody has a part of the program any more.
struct LifeLine(tokio::task::AbortHandle);

impl Drop for LifeLine {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Output {
    stdout: DuplexStream,
    _line: Arc<LifeLine>,
}

impl AsyncRead for Output {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, into)
    }
}

/// How much input may still be sent before the program has taken some.
struct Window {
    free: Semaphore,
    sent: AtomicU32,
}

impl Window {
    fn new() -> Self {
        Self { free: Semaphore::new(PIPE_WINDOW_BYTES as usize), sent: AtomicU32::new(0) }
    }

    async fn send(&self, bytes: u32) {
        if let Ok(room) = self.free.acquire_many(bytes).await {
            room.forget();
            self.sent.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A runtime cannot have taken more than was sent.
    fn taken(&self, bytes: u32) {
        let sent = self.sent.load(Ordering::Relaxed);
        let bytes = bytes.min(sent);
        self.sent.fetch_sub(bytes, Ordering::Relaxed);
        self.free.add_permits(bytes as usize);
    }
}

/// Sends input to its end, and tells that it has ended.
async fn send_input(mut writer: Writer, mut input: DuplexStream, window: &Window) {
    let mut piece = vec![0u8; PIECE_BYTES];
    while let Ok(read) = input.read(&mut piece).await {
        window.send(u32::try_from(read).unwrap_or(0)).await;
        // An empty frame is the end.
        if write_frame(&mut writer, BYTES, piece.get(..read).unwrap_or_default()).await.is_err() || read == 0 {
            return;
        }
    }
}

/// What comes from the runtime, and where it goes.
struct Hearing {
    reader: Reader,
    output: Option<DuplexStream>,
    window: Arc<Window>,
    errors: Errors,
}

impl Hearing {
    async fn until_exit(&mut self) -> Result<PipeEnd, WorkspaceError> {
        loop {
            match read_frame(&mut self.reader).await? {
                Frame::Bytes(bytes) => {
                    if let Some(output) = &mut self.output
                        && output.write_all(&bytes).await.is_err()
                    {
                        self.output = None;
                    }
                }
                Frame::Errors(bytes) => self.errors.take(&bytes),
                Frame::Word(PipeWord::Taken { bytes }) => self.window.taken(bytes),
                Frame::Word(PipeWord::ErrorsLost { bytes }) => self.errors.lost(bytes),
                Frame::Word(PipeWord::Exit(exit)) => {
                    self.errors.end();
                    let exit = PipeExit { signal: exit.signal.as_deref().map(bounded::printable), ..exit };
                    return Ok(PipeEnd { exit, last_errors: self.errors.last() });
                }
                Frame::Word(PipeWord::Started | PipeWord::Refused { .. }) => {
                    return Err(bounded::nonsense("says twice whether the program runs"));
                }
            }
        }
    }
}

/// Standard error, cut into lines. Whoever does not read them loses some, and is told how much.
struct Errors {
    lines: mpsc::Sender<PipeError>,
    line: Vec<u8>,
    lost: u64,
    last: VecDeque<u8>,
}

impl Errors {
    fn take(&mut self, bytes: &[u8]) {
        let over = (self.last.len() + bytes.len()).saturating_sub(PIPE_ERRORS_BYTES);
        self.last.drain(..over.min(self.last.len()));
        self.last.extend(bytes.get(bytes.len().saturating_sub(PIPE_ERRORS_BYTES)..).unwrap_or_default());
        for byte in bytes {
            match byte {
                b'\n' => self.tell(),
                byte => self.line.push(*byte),
            }
            if self.line.len() >= LINE_BYTES_MAX {
                self.tell();
            }
        }
    }

    fn lost(&mut self, bytes: u64) {
        self.end();
        self.lost = self.lost.saturating_add(bytes);
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.lost > 0 && self.lines.try_send(PipeError::Lost(self.lost)).is_ok() {
            self.lost = 0;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let waits_for_room = self.lost > 0;
        if waits_for_room || self.lines.try_send(PipeError::Line(text)).is_err() {
            self.lost = self.lost.saturating_add(line.len() as u64 + 1);
        }
    }

    fn last(&mut self) -> String {
        String::from_utf8_lossy(self.last.make_contiguous()).into_owned()
    }
}

async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(payload.len() + 5);
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    writer.write_all(&frame).await?;
    writer.flush().await
}

async fn read_frame(reader: &mut Reader) -> Result<Frame, WorkspaceError> {
    let kind = reader.read_u8().await.map_err(|error| broken(&error))?;
    let length = reader.read_u32().await.map_err(|error| broken(&error))? as usize;
    if length > FRAME_BYTES_MAX {
        return Err(bounded::nonsense("holds a frame that is too large"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(|error| broken(&error))?;
    match kind {
        BYTES => Ok(Frame::Bytes(payload)),
        ERRORS => Ok(Frame::Errors(payload)),
        CONTROL => serde_json::from_slice(&payload)
            .map(Frame::Word)
            .map_err(|error| bounded::nonsense(&format!("holds a frame of an unknown shape: {error}"))),
        _ => Err(bounded::nonsense("holds a frame of an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(waiting: usize) -> (Errors, mpsc::Receiver<PipeError>) {
        let (lines, read) = mpsc::channel(waiting);
        (Errors { lines, line: Vec::new(), lost: 0, last: VecDeque::new() }, read)
    }

    fn line(text: &str) -> PipeError {
        PipeError::Line(text.to_owned())
    }

    #[test]
    fn errors_come_in_lines_however_they_were_cut() {
        let (mut errors, mut read) = errors(10);
        for piece in ["on", "e\ntwo\n\nthr", "ee \u{fc}"] {
            errors.take(piece.as_bytes());
        }
        errors.take(&[b'x'; LINE_BYTES_MAX]);
        errors.lost(7);
        errors.take(b"\xff\n");
        errors.end();
        let long = format!("three \u{fc}{}", "x".repeat(LINE_BYTES_MAX - 8));
        let expected =
            [line("one"), line("two"), line(""), line(&long), line("xxxxxxxx"), PipeError::Lost(7), line("\u{fffd}")];
        for expected in expected {
            assert_eq!(read.try_recv().expect("a line"), expected);
        }
        assert!(read.try_recv().is_err());
    }

    #[test]
    fn whoever_reads_no_lines_is_told_later_what_is_missing() {
        let (mut errors, mut read) = errors(2);
        errors.take(b"1\n2\n33\n444\n");
        assert_eq!(read.try_recv().expect("a line"), line("1"));
        assert_eq!(read.try_recv().expect("a line"), line("2"));
        errors.take(b"5\n");
        assert_eq!(read.try_recv().expect("a word"), PipeError::Lost(7));
        assert_eq!(read.try_recv().expect("a line"), line("5"));
        assert_eq!(errors.last(), "1\n2\n33\n444\n5\n");
        errors.take(&vec![b'y'; PIPE_ERRORS_BYTES + 5]);
        assert!(errors.last().len() == PIPE_ERRORS_BYTES && errors.last().starts_with('y'));
    }

    #[tokio::test]
    async fn a_runtime_that_takes_more_than_was_sent_opens_no_wider_window() {
        let window = Window::new();
        window.send(1000).await;
        window.taken(u32::MAX);
        window.taken(u32::MAX);
        assert_eq!(window.free.available_permits(), PIPE_WINDOW_BYTES as usize);
    }
}
