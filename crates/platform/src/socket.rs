//! The unix socket stream: one JSON line for each record, strictly in order.
//!
//! A client that sends nothing gets every record from now on. A client that first sends one line with a sequence number
//! gets every record from that number on, out of the log, and then goes on live: no gap, no repetition.

use std::path::Path;
use std::time::Duration;

use reeve_store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Platform;

/// How long a client has to ask for older records before it gets new ones only.
const ASK_WITHIN: Duration = Duration::from_millis(200);
/// How long one write to a client may take before the client is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Longest line that a client may send, in bytes.
const REQUEST_BYTES_MAX: u64 = 64;
/// Most clients at the same time.
const CLIENTS_MAX: usize = 64;
/// How many records are read from the log at once.
const PAGE: usize = 500;

impl Platform {
    pub(crate) async fn serve_socket(&self, stop: CancellationToken) {
        let Some(path) = self.parts.options.socket.clone() else { return };
        let listener = match bind(&path) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(path = %path.display(), "the audit socket cannot be opened: {error}"),
        };
        tracing::info!(path = %path.display(), "the audit socket is open");
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CLIENTS_MAX));
        loop {
            let client = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let client = match client {
                Ok((client, _)) => client,
                Err(error) => {
                    // Most likely no file descriptor is left; asking again at once would only burn time.
                    tracing::warn!("an audit socket client could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = std::sync::Arc::clone(&places).try_acquire_owned() else { continue };
            let (store, stop) = (self.store().clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    served = serve_client(store, client) => {
                        if let Err(error) = served {
                            tracing::debug!("an audit socket client is gone: {error}");
                        }
                    }
                }
                drop(place);
            });
        }
        let _ = std::fs::remove_file(&path);
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    // A socket that a killed server left is in the way; anything else there is not ours to remove.
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another server is listening there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve_client(store: Store, client: UnixStream) -> std::io::Result<()> {
    let failed = |error: reeve_store::StoreError| std::io::Error::other(error.chain());
    // Subscribed before the log is read, so that nothing falls between the two.
    let mut live = store.subscribe();
    // "From now on" means from the connection on, not from the end of the wait for a first line.
    let now_on = store.log_head().await.map_err(failed)?.size;
    let (read, mut write) = client.into_split();
    let mut next = asked_from(read).await?.unwrap_or(now_on);
    loop {
        loop {
            let page = store.records_from(next, PAGE).await.map_err(failed)?;
            if page.is_empty() {
                break;
            }
            for record in page {
                send(&mut write, &record.json).await?;
                next = record.seq + 1;
            }
        }
        loop {
            match live.recv().await {
                Ok(record) if record.seq < next => {}
                Ok(record) if record.seq == next => {
                    send(&mut write, &record.json).await?;
                    next += 1;
                }
                // Missed some: they are in the log.
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

/// The sequence number a client asks for in its first line, when it sends one.
async fn asked_from(read: tokio::net::unix::OwnedReadHalf) -> std::io::Result<Option<u64>> {
    use tokio::io::AsyncReadExt as _;
    let mut line = String::new();
    let mut bounded = BufReader::new(read.take(REQUEST_BYTES_MAX));
    match tokio::time::timeout(ASK_WITHIN, bounded.read_line(&mut line)).await {
        Err(_) => Ok(None),
        Ok(Ok(0)) => Ok(None),
        Ok(Ok(_)) => line.trim().parse().map(Some).map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "the first line must be a sequence number")
        }),
        Ok(Err(error)) => Err(error),
    }
}

async fn send(write: &mut tokio::net::unix::OwnedWriteHalf, json: &str) -> std::io::Result<()> {
    let line = format!("{json}\n");
    match tokio::time::timeout(WRITE_LIMIT, write.write_all(line.as_bytes())).await {
        Ok(done) => done,
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the client does not read")),
    }
}
