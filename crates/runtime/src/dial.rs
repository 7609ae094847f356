//! Connections to the ports inside, for whoever previews what runs there.
//!
//! `dial.sock` hands out the connection itself, so nothing is copied here: a client sends the token and a port, a line
//! each, and is answered one byte. [`CONNECTED`] comes with the connected socket (`SCM_RIGHTS`); any other byte says why
//! there is none. More ports may follow on the same connection, a line each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use reeve_types::{ProblemCode, WorkspaceError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Interest};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::config::Token;
use crate::supervise::handles;

/// The socket comes with this byte.
pub const CONNECTED: u8 = 0;
/// The token is wrong.
pub const REFUSED: u8 = 1;
/// The line holds no port.
pub const NO_PORT: u8 = 2;
/// Nobody listens on the port.
pub const NOBODY: u8 = 3;

/// How long a connection may take, and a line.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1024;
/// Clients at once.
const CLIENTS_MAX: usize = 256;

/// Connects to a port, on whichever loopback address somebody listens.
pub(crate) async fn connect(port: u16) -> Result<TcpStream, WorkspaceError> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in loopback {
        if let Ok(Ok(stream)) = tokio::time::timeout(WITHIN, TcpStream::connect(SocketAddr::new(address, port))).await {
            let _slower = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    let message = format!("nobody listens on port {port} of the workspace; start the program that should");
    Err(WorkspaceError::new(ProblemCode::NotFound, message))
}

/// Serves `dial.sock` until it is dropped.
pub(crate) async fn serve(listener: UnixListener, token: Token) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let token = token.clone();
                tokio::spawn(async move {
                    let _client_gone = hand_out(client, &token).await;
                    drop(place);
                });
            }
            // Too many open files: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn hand_out(client: UnixStream, token: &Token) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let presented = line(&mut client).await?;
    if !token.matches(presented.as_bytes()) {
        return answer(client.get_ref(), REFUSED, None).await;
    }
    loop {
        let wanted = line(&mut client).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let client = client.get_ref();
        match wanted.parse::<u16>() {
            Ok(port) if port != 0 => match connect(port).await {
                Ok(stream) => answer(client, CONNECTED, Some(&stream)).await?,
                Err(_) => answer(client, NOBODY, None).await?,
            },
            _ => return answer(client, NO_PORT, None).await,
        }
    }
}

/// A line without its end; empty when the client is through.
async fn line(client: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    let mut bounded = client.take(LINE_BYTES_MAX);
    tokio::time::timeout(WITHIN, bounded.read_line(&mut line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(line.trim_end().to_owned())
}

async fn answer(client: &UnixStream, byte: u8, stream: Option<&TcpStream>) -> io::Result<()> {
    let passed: Vec<_> = stream.iter().map(|stream| stream.as_fd()).collect();
    client.async_io(Interest::WRITABLE, || handles::send(client, &[byte], &passed)).await
}
