//! The frames of a connection to a program: one byte kind, four bytes length, payload.

use std::io;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use reeve_types::workspace::processes::PipeWord;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};

/// Bytes of standard input or output. Inwards, an empty one is the end of the input.
const BYTES: u8 = 0;
/// JSON: outwards a [`PipeWord`], inwards what to start, once.
const CONTROL: u8 = 1;
/// Bytes of standard error.
const ERRORS: u8 = 2;
/// Largest frame of bytes inwards.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest control inwards.
const CONTROL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A frame that came in.
pub(super) enum Frame {
    Bytes(Bytes),
    Control(Vec<u8>),
}

/// Inwards.
pub(super) struct Reader(BufReader<ReadHalf<TokioIo<Upgraded>>>);

impl Reader {
    pub(super) fn new(read: ReadHalf<TokioIo<Upgraded>>) -> Self {
        Self(BufReader::new(read))
    }

    /// The next frame. Dropped in the middle, the connection is of no more use.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        let kind = self.0.read_u8().await?;
        let length = usize::try_from(self.0.read_u32().await?).unwrap_or(usize::MAX);
        let allowed = match kind {
            BYTES => FRAME_BYTES_MAX,
            CONTROL => CONTROL_BYTES_MAX,
            _ => 0,
        };
        if length > allowed || kind > CONTROL {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut payload = vec![0u8; length];
        self.0.read_exact(&mut payload).await?;
        Ok(if kind == BYTES { Frame::Bytes(payload.into()) } else { Frame::Control(payload) })
    }
}

/// Outwards.
pub(super) struct Writer(WriteHalf<TokioIo<Upgraded>>);

impl Writer {
    pub(super) fn new(write: WriteHalf<TokioIo<Upgraded>>) -> Self {
        Self(write)
    }

    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(BYTES, bytes).await
    }

    pub(super) async fn errors(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(ERRORS, bytes).await
    }

    pub(super) async fn word(&mut self, word: &PipeWord) -> io::Result<()> {
        self.frame(CONTROL, &serde_json::to_vec(word)?).await
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }

    async fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await?;
        self.0.flush().await
    }
}
