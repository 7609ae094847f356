//! The one task that writes to the agent. What waits to be written is bounded, and so is how long an agent may leave it.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::error::End;

/// Messages that wait to be written.
pub(super) const MESSAGES_WAITING: usize = 32;

/// Writes until nobody sends any more, or until the agent no longer reads.
pub(super) async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Vec<u8>>,
    within: Duration,
) -> End {
    while let Some(message) = messages.recv().await {
        let written = async {
            writer.write_all(&message).await?;
            writer.flush().await
        };
        match tokio::time::timeout(within, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => return End::Closed,
            Ok(Err(error)) => return End::Broken(error.to_string()),
            Err(_) => return End::NotReading(within),
        }
    }
    End::GivenUp
}
