//! Terminals: opening, closing, and looking at one over an upgraded connection.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::TerminalId;
use reeve_types::workspace::processes::{OpenTerminal, TerminalInput, TerminalOutput};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::ports::{check_upgrade, switching};
use super::{nowhere, wrong_method};
use crate::http::{Outcome, Query, bad, done, json, ok, read_json};
use crate::runtime::Runtime;
use crate::signals;
use crate::terminal::{Client, Seen, Shown, Terminal};

/// A frame of bytes: what is shown, or typed.
const BYTES: u8 = 0;
/// A frame of JSON: [`TerminalOutput`] outwards, [`TerminalInput`] inwards.
const CONTROL: u8 = 1;
/// Largest frame inwards, in bytes.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest control inwards, in bytes.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one frame that are typed before more of it is read.
const PIECE_BYTES: usize = 16 * 1024;
/// Words that wait to be said to one who looks.
const WORDS_WAITING: usize = 16;

pub(super) async fn route(runtime: &Arc<Runtime>, rest: &[&str], request: Request<Incoming>) -> Outcome {
    match (rest, request.method()) {
        ([], &Method::GET) => ok(&runtime.terminals.list()),
        ([], &Method::POST) => open(runtime, request).await,
        ([], &Method::DELETE) => {
            let session = Query::of(&request).parsed("session")?;
            let session = session.ok_or_else(|| bad("`session` must say whose terminals are closed"))?;
            runtime.terminals.close_all_of(&session);
            Ok(done())
        }
        ([id], &Method::DELETE) => {
            runtime.terminals.close(&id_of(id)?)?;
            Ok(done())
        }
        ([id, "attach"], &Method::GET) => attach(&runtime.terminals.find(&id_of(id)?)?, request),
        ([] | [_] | [_, "attach"], _) => Err(wrong_method(&request)),
        _ => Err(nowhere(request.uri().path())),
    }
}

async fn open(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let id = Query::of(&request).parsed("id")?;
    let wanted: OpenTerminal = read_json(request).await?;
    json(StatusCode::CREATED, &runtime.terminals.open(id, wanted).await?)
}

fn id_of(text: &str) -> Result<TerminalId, reeve_types::WorkspaceError> {
    text.parse().map_err(|error| bad(format!("{error}")))
}

fn attach(terminal: &Arc<Terminal>, mut request: Request<Incoming>) -> Outcome {
    check_upgrade(&request, "reeve-terminal")?;
    let upgrading = hyper::upgrade::on(&mut request);
    let terminal = Arc::clone(terminal);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            let _gone = look(&terminal, upgraded).await;
        }
    });
    Ok(switching("reeve-terminal"))
}

/// Shows and types until either end is through. Neither waits for the other.
async fn look(terminal: &Arc<Terminal>, upgraded: Upgraded) -> io::Result<()> {
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let (mut client, ready) = Client::attach(terminal);
    let (say, said) = mpsc::channel(WORDS_WAITING);
    let mut screen = Screen { write, said };
    screen.control(&ready).await?;
    let keys = Keys { seen: client.seen(), terminal: Arc::clone(terminal), say };
    tokio::select! {
        shown = screen.show(&mut client) => shown,
        typed = keys.read(read) => typed,
    }
}

/// Outwards.
struct Screen {
    write: WriteHalf<TokioIo<Upgraded>>,
    said: mpsc::Receiver<TerminalOutput>,
}

impl Screen {
    async fn show(&mut self, client: &mut Client) -> io::Result<()> {
        loop {
            tokio::select! {
                Some(word) = self.said.recv() => self.control(&word).await?,
                shown = client.next() => match shown {
                    Some(Shown::Bytes(bytes)) => {
                        self.frame(BYTES, &bytes).await?;
                        // Between two pieces of a flood, keystrokes and others have their turn.
                        tokio::task::yield_now().await;
                    }
                    Some(Shown::Last(word)) => {
                        self.control(&word).await?;
                        return self.write.shutdown().await;
                    }
                    None => return self.write.shutdown().await,
                },
            }
        }
    }

    async fn control(&mut self, word: &TerminalOutput) -> io::Result<()> {
        self.frame(CONTROL, &serde_json::to_vec(word)?).await
    }

    async fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(payload);
        self.write.write_all(&frame).await?;
        self.write.flush().await
    }
}

/// Inwards.
struct Keys {
    seen: Seen,
    terminal: Arc<Terminal>,
    say: mpsc::Sender<TerminalOutput>,
}

impl Keys {
    async fn read(&self, read: ReadHalf<TokioIo<Upgraded>>) -> io::Result<()> {
        let mut read = BufReader::new(read);
        let mut piece = vec![0u8; PIECE_BYTES];
        loop {
            let kind = read.read_u8().await?;
            let length = usize::try_from(read.read_u32().await?).unwrap_or(usize::MAX);
            match kind {
                BYTES if length <= FRAME_BYTES_MAX => {
                    let mut left = length;
                    while left > 0 {
                        let now = piece.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
                        left -= read.read_exact(now).await?;
                        if !self.terminal.type_in(now).await {
                            self.complain("input_lost", "the program reads nothing; what was typed was dropped");
                        }
                    }
                }
                CONTROL if length <= CONTROL_BYTES_MAX => {
                    let mut control = vec![0u8; length];
                    read.read_exact(&mut control).await?;
                    self.obey(&control);
                }
                _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
            }
        }
    }

    fn obey(&self, control: &[u8]) {
        match serde_json::from_slice(control) {
            Ok(TerminalInput::Resize { cols, rows }) => {
                if let Err(error) = self.terminal.resize(cols, rows) {
                    self.complain(error.code.as_str(), &error.message);
                }
            }
            Ok(TerminalInput::Signal { name }) => match signals::for_terminal(&name) {
                Some(signal) => self.terminal.signal(signal),
                None => self.complain("bad_request", "a terminal takes SIGINT, SIGTERM, SIGKILL, SIGQUIT, SIGHUP"),
            },
            Ok(TerminalInput::Ack { bytes }) => self.seen.acknowledge(bytes),
            Ok(TerminalInput::Ping { t }) => self.say(TerminalOutput::Pong { t }),
            Err(error) => self.complain("bad_request", &format!("the control frame cannot be read: {error}")),
        }
    }

    fn complain(&self, code: &str, message: &str) {
        self.say(TerminalOutput::Error { code: code.to_owned(), message: message.to_owned() });
    }

    /// Somebody who asks much and listens to nothing is told less; keystrokes never wait for words.
    fn say(&self, word: TerminalOutput) {
        let _too_many = self.say.try_send(word);
    }
}
