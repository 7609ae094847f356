//! Terminals: frames both ways over a connection that stopped being HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use hyper::Method;
use hyper_util::rt::TokioIo;
use reeve_gate::workspace::{AttachedTerminal, Keystrokes, TerminalCommand, TerminalFrame};
use reeve_types::workspace::processes::{TerminalInput, TerminalOutput, Typed};
use reeve_types::{ProblemCode, TerminalId, WorkspaceError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::connection::{broken, empty};
use super::{RuntimeClient, bounded};

/// Largest frame of bytes, either way.
const FRAME_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;
/// Largest frame of control.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// How long a terminal may take to take what is typed.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
/// How many commands may wait to be sent.
const COMMANDS_WAITING: usize = 64;
const BYTES: u8 = 0;
const CONTROL: u8 = 1;

impl RuntimeClient {
    pub(super) async fn attach_to(&self, terminal: &TerminalId) -> Result<AttachedTerminal, WorkspaceError> {
        let request = self.connections.request(Method::GET, &format!("/v1/terminals/{terminal}/attach"), empty())?;
        let upgraded = self.connections.upgrade(request, "reeve-terminal").await?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let (input, commands) = mpsc::channel(COMMANDS_WAITING);
        let writing = tokio::spawn(write_commands(writer, commands));
        let guard = EndWith(writing.abort_handle());
        let output = futures_util::stream::unfold(Some((reader, guard)), |state| async move {
            let (mut reader, guard) = state?;
            match read_frame(&mut reader).await {
                Ok(None) => None,
                Ok(Some(frame)) => Some((Ok(frame), Some((reader, guard)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(AttachedTerminal { output: Box::pin(output), input })
    }
}

impl RuntimeClient {
    /// Presses keys, and waits until the terminal has taken them: a ping that follows them is answered after them.
    pub(super) async fn press(&self, keys: Keystrokes) -> Result<Typed, WorkspaceError> {
        let attached = self.attach_to(&keys.terminal).await?;
        let (mut output, input) = (attached.output, attached.input);
        let typed = async {
            let (at, remembered) = match output.next().await.transpose()? {
                Some(TerminalFrame::Control(TerminalOutput::Ready { at, remembered, .. })) => (at, remembered),
                _ => return Err(bounded::nonsense("begins a terminal with something else than `ready`")),
            };
            // Sent at once, and not when what is remembered has come: a terminal that floods is typed into as well.
            let gone = |_| WorkspaceError::new(ProblemCode::Unavailable, "the terminal's connection ended");
            input.send(TerminalCommand::Bytes(Bytes::from(keys.bytes))).await.map_err(gone)?;
            input.send(TerminalCommand::Control(TerminalInput::Ping { t: 1 })).await.map_err(gone)?;
            while let Some(frame) = output.next().await {
                match frame? {
                    TerminalFrame::Control(TerminalOutput::Error { code, message }) if code == "input_lost" => {
                        return Err(WorkspaceError::new(ProblemCode::Conflict, message));
                    }
                    TerminalFrame::Control(TerminalOutput::Pong { .. } | TerminalOutput::Exit { .. }) => break,
                    TerminalFrame::Bytes(_) | TerminalFrame::Control(_) => {}
                }
            }
            Ok(Typed { terminal_id: keys.terminal, at: at.saturating_add(remembered) })
        };
        let late = |_| WorkspaceError::new(ProblemCode::Timeout, "the terminal did not take what was typed");
        tokio::time::timeout(TAKEN_WITHIN, typed).await.map_err(late)?
    }
}

/// Ends a task when whoever looks goes away.
struct EndWith(tokio::task::AbortHandle);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write_commands(mut writer: impl AsyncWrite + Unpin, mut commands: mpsc::Receiver<TerminalCommand>) {
    while let Some(command) = commands.recv().await {
        if let Err(error) = write_command(&mut writer, command).await {
            tracing::debug!(%error, "a terminal's connection ended");
            return;
        }
    }
}

async fn write_command(writer: &mut (impl AsyncWrite + Unpin), command: TerminalCommand) -> std::io::Result<()> {
    match command {
        TerminalCommand::Bytes(bytes) => {
            for piece in bytes.chunks(64 * 1024) {
                write_frame(writer, BYTES, piece).await?;
            }
        }
        TerminalCommand::Control(control) => {
            let json = serde_json::to_vec(&control).map_err(std::io::Error::other)?;
            write_frame(writer, CONTROL, &json).await?;
        }
    }
    writer.flush().await
}

async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
    let mut frame = BytesMut::with_capacity(payload.len() + 5);
    frame.extend_from_slice(&[kind]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    writer.write_all(&frame).await
}

/// The next frame; nothing when the other end is through.
async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<TerminalFrame>, WorkspaceError> {
    let kind = match reader.read_u8().await {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(broken(&error)),
    };
    let length = reader.read_u32().await.map_err(|error| broken(&error))? as usize;
    let allowed = match kind {
        BYTES => FRAME_BYTES_MAX,
        CONTROL => CONTROL_BYTES_MAX,
        _ => return Err(bounded::nonsense("holds a frame of an unknown kind")),
    };
    if length > allowed {
        return Err(bounded::nonsense("holds a frame that is too large"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(|error| broken(&error))?;
    if kind == BYTES {
        return Ok(Some(TerminalFrame::Bytes(Bytes::from(payload))));
    }
    let control: TerminalOutput = serde_json::from_slice(&payload)
        .map_err(|error| bounded::nonsense(&format!("holds a frame of an unknown shape: {error}")))?;
    Ok(Some(TerminalFrame::Control(control)))
}
