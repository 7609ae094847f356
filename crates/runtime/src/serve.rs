//! `reeve-runtime serve`: listens, answers, reaps, and ends everything when it is told to.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::config::{Config, ConfigError};
use crate::runtime::Runtime;
use crate::{dial, hardening, routes};

/// Connections at once, of each listener.
const CONNECTIONS_MAX: usize = 256;
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Size of all headers of one request, in bytes.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may rest, or take for its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(120);
/// Threads for what blocks. Small, because each keeps memory.
const BLOCKING_THREADS_MAX: usize = 16;
/// How often what is left over is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long everything may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Why the runtime cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is told something that makes no sense.
    #[error("{0}")]
    Config(#[source] ConfigError),
    /// Something it needs cannot be had.
    #[error("{what}: {source}")]
    Io {
        /// What, and where.
        what: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// How often orphans are looked for, once a supervisor is lost.
const ORPHANS_EVERY: Duration = Duration::from_millis(20);

/// Serves until `SIGTERM` or `SIGINT`.
pub fn serve() -> Result<(), ServeError> {
    let config = Config::from_environment().map_err(ServeError::Config)?;
    let sockets = config.socket.parent().unwrap_or(Path::new("/"));
    let hardening = hardening::harden(&config.root, sockets);
    let hardening = hardening.map_err(|error| failed("cannot give up privileges", error.into()))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| failed("cannot reap orphans", error.into()))?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).thread_stack_size(512 * 1024);
    let tokio = builder.build().map_err(|error| failed("cannot start", error))?;
    let served = tokio.block_on(async {
        let root = config.root.display().to_string();
        let runtime = Runtime::new(config, hardening).map_err(|error| failed(&format!("cannot open {root}"), error))?;
        run(Arc::new(runtime)).await
    });
    // What blocks in a thread now is somebody's slow disk; nobody waits for it.
    tokio.shutdown_background();
    served
}

async fn run(runtime: Arc<Runtime>) -> Result<(), ServeError> {
    let caught = |error| failed("cannot catch signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(caught)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(caught)?;
    let mut child = signal(SignalKind::child()).map_err(caught)?;
    listen(&runtime).await?;
    tokio::spawn(sweep(Arc::clone(&runtime)));
    if let Some(preview) = runtime.preview.clone() {
        tokio::spawn(async move { preview.keep_running().await });
    }
    loop {
        tokio::select! {
            _ = child.recv() => runtime.supervisors.reap(),
            () = tokio::time::sleep(ORPHANS_EVERY), if runtime.supervisors.has_lost() => runtime.supervisors.end_orphans(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    for socket in [&runtime.config.socket, &runtime.config.dial_socket] {
        let _gone = std::fs::remove_file(socket);
    }
    if let Some(preview) = &runtime.preview {
        preview.end();
    }
    runtime.terminals.close_all();
    runtime.executions.cancel_all();
    runtime.pipes.end_all();
    let deadline = Instant::now() + END_WITHIN;
    while !runtime.supervisors.is_empty() && Instant::now() < deadline {
        let _look = tokio::time::timeout(Duration::from_millis(20), child.recv()).await;
        runtime.supervisors.reap();
    }
    runtime.supervisors.kill_all();
    Ok(())
}

/// Removes what has been in the trash or in the history of files for long enough, and uploads that nobody goes on with.
async fn sweep(runtime: Arc<Runtime>) {
    let mut hours = tokio::time::interval(SWEEP_EVERY);
    loop {
        hours.tick().await;
        let files = runtime.files.clone();
        // What cannot be removed now is looked at again next time.
        let _swept = tokio::task::spawn_blocking(move || {
            let _trash = files.sweep_trash(Timestamp::now());
            let _history = files.sweep_history(Timestamp::now());
            let _uploads = files.sweep_uploads(SystemTime::now());
        })
        .await;
    }
}

async fn listen(runtime: &Arc<Runtime>) -> Result<(), ServeError> {
    let dial = bind(&runtime.config.dial_socket)?;
    tokio::spawn(dial::serve(dial, runtime.config.token.clone()));
    if let Some(address) = runtime.config.listen {
        let listening = TcpListener::bind(address).await;
        let listener = listening.map_err(|error| failed(&format!("cannot listen on {address}"), error))?;
        let runtime = Arc::clone(runtime);
        tokio::spawn(async move {
            let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
            accept_all(&runtime, accept).await;
        });
    }
    let listener = bind(&runtime.config.socket)?;
    let runtime = Arc::clone(runtime);
    tokio::spawn(async move {
        let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
        accept_all(&runtime, accept).await;
    });
    Ok(())
}

/// A socket that an earlier run left is replaced. The directory keeps others out; the token keeps the workspace's own
/// programs out.
fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let wrong = |error| failed(&format!("cannot listen on {}", path.display()), error);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

async fn accept_all<S, F>(runtime: &Arc<Runtime>, accept: impl Fn() -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match accept().await {
            Ok(stream) => {
                tokio::spawn(converse(Arc::clone(runtime), stream, place));
            }
            // Too many open files: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse<S>(runtime: Arc<Runtime>, stream: S, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let runtime = Arc::clone(&runtime);
        async move { Ok::<_, std::convert::Infallible>(routes::answer(runtime, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    builder.max_headers(HEADERS_MAX).max_buf_size(HEADERS_BYTES_MAX);
    let _broke_off = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    drop(place);
}

fn failed(what: &str, source: io::Error) -> ServeError {
    ServeError::Io { what: what.to_owned(), source }
}
