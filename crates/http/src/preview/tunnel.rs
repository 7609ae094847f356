//! A connection that has changed its protocol, such as a WebSocket: bytes both ways until either side closes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// How often bytes from a browser count as use.
const COUNTED_EVERY: Duration = Duration::from_secs(15);
/// Bytes on their way in each direction.
const BUFFER: usize = 64 * 1024;

/// What keeps the workspace awake.
pub(crate) type Used = Arc<dyn Fn() + Send + Sync>;

/// Carries bytes between a browser and a program once both have changed their protocol.
pub(crate) async fn join(browser: OnUpgrade, program: OnUpgrade, used: Used, stop: CancellationToken) {
    let (browser, program) = match tokio::try_join!(browser, program) {
        Ok(both) => both,
        Err(error) => return tracing::debug!("a tunnel to a program did not open: {error}"),
    };
    let mut browser = Heard { inner: TokioIo::new(browser), used, counted: Instant::now() };
    let mut program = TokioIo::new(program);
    tokio::select! {
        () = stop.cancelled() => {}
        ended = tokio::io::copy_bidirectional_with_sizes(&mut browser, &mut program, BUFFER, BUFFER) => {
            if let Err(error) = ended {
                tracing::debug!("a tunnel to a program ended early: {error}");
            }
        }
    }
}

/// The browser's side; what comes from there counts as use.
struct Heard<T> {
    inner: T,
    used: Used,
    counted: Instant,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if self.counted.elapsed() >= COUNTED_EVERY {
            self.counted = Instant::now();
            (self.used)();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
