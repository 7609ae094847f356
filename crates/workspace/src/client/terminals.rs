//! Terminals: frames both ways over a connection that stopped being HTTP.

use bytes::{Bytes, BytesMut};
use hyper::Method;
use hyper_util::rt::TokioIo;
use reeve_gate::workspace::{AttachedTerminal, TerminalCommand, TerminalFrame};
use reeve_types::workspace::processes::TerminalOutput;
use reeve_types::{TerminalId, WorkspaceError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::connection::{broken, empty};
use super::{RuntimeClient, bounded};

/// Largest frame of bytes, either way.
const FRAME_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;
/// Largest frame of control.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
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
