//! From a place to bytes: name look-up, socket, TLS. Every step ends by the deadline and says where it ended.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::conninfo::{Host, HostPort, Keepalive, SslNegotiation};
use crate::failure::{ConnectFailureKind, Stage, of_io_error};
use crate::tls::{self, Wire};

/// A step that did not succeed: its kind and what was said.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: ConnectFailureKind,
    pub(crate) detail: String,
}

impl Broken {
    pub(crate) fn new(kind: ConnectFailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    fn io(error: &io::Error, stage: Stage, unix: bool) -> Self {
        Self::new(of_io_error(error, stage, unix), error.to_string())
    }
}

/// Waits for a step until the deadline.
pub(crate) async fn within<T>(
    deadline: Instant,
    stage: Stage,
    step: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    match timeout_at(deadline, step).await {
        Ok(result) => result,
        Err(_) => {
            Err(Broken::new(ConnectFailureKind::Timeout { stage }, format!("no answer in time ({})", stage.as_str())))
        }
    }
}

/// An address at which a socket can be opened.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The addresses of a place.
pub(crate) async fn resolve(place: &HostPort, deadline: Instant) -> Result<Vec<Endpoint>, Broken> {
    let name = match &place.host {
        Host::Unix(dir) => return Ok(vec![Endpoint::Unix(socket_path(dir, place.port))]),
        Host::Tcp { addr: Some(addr), .. } => return Ok(vec![Endpoint::Tcp(SocketAddr::new(*addr, place.port))]),
        Host::Tcp { name, addr: None } => name.as_deref().unwrap_or("localhost"),
    };
    if let Ok(addr) = name.parse::<IpAddr>() {
        return Ok(vec![Endpoint::Tcp(SocketAddr::new(addr, place.port))]);
    }
    within(deadline, Stage::Dns, async {
        let found =
            tokio::net::lookup_host((name, place.port)).await.map_err(|error| Broken::io(&error, Stage::Dns, false))?;
        let endpoints: Vec<Endpoint> = found.map(Endpoint::Tcp).collect();
        if endpoints.is_empty() {
            return Err(Broken::new(ConnectFailureKind::HostNotFound, "the name has no address"));
        }
        Ok(endpoints)
    })
    .await
}

/// `dir/.s.PGSQL.port`; a leading `@` stands for the NUL of Linux's abstract names.
fn socket_path(dir: &Path, port: u16) -> PathBuf {
    let path = format!("{}/.s.PGSQL.{port}", dir.display());
    PathBuf::from(match path.strip_prefix('@') {
        Some(name) => format!("\0{name}"),
        None => path,
    })
}

/// Opens a socket.
pub(crate) async fn open(endpoint: &Endpoint, keepalive: &Keepalive, deadline: Instant) -> Result<Wire, Broken> {
    within(deadline, Stage::Connect, async {
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| Broken::io(&e, Stage::Connect, true))?;
                Ok(Wire::Unix(stream))
            }
            Endpoint::Tcp(addr) => {
                let stream = TcpStream::connect(addr).await.map_err(|e| Broken::io(&e, Stage::Connect, false))?;
                tune(&stream, keepalive).map_err(|e| Broken::io(&e, Stage::Connect, false))?;
                Ok(Wire::Tcp(stream))
            }
        }
    })
    .await
}

fn tune(stream: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, !keepalive.disabled)?;
    if let Some(idle) = keepalive.idle {
        sockopt::set_tcp_keepidle(stream, idle)?;
    }
    if let Some(interval) = keepalive.interval {
        sockopt::set_tcp_keepintvl(stream, interval)?;
    }
    if let Some(count) = keepalive.count {
        sockopt::set_tcp_keepcnt(stream, count)?;
    }
    if let Some(timeout_ms) = keepalive.user_timeout_ms {
        sockopt::set_tcp_user_timeout(stream, timeout_ms)?;
    }
    Ok(())
}

/// What the server said to a request for TLS.
pub(crate) enum Encryption {
    /// The connection is encrypted now.
    Agreed(Wire),
    /// The server has no TLS; the connection goes on in the clear if that is acceptable.
    Declined(Wire),
}

/// Asks for TLS and performs the handshake.
pub(crate) async fn encrypt(
    wire: Wire,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    negotiation: SslNegotiation,
    deadline: Instant,
) -> Result<Encryption, Broken> {
    within(deadline, Stage::Encryption, async {
        let Wire::Tcp(mut tcp) = wire else { return Ok(Encryption::Declined(wire)) };
        if negotiation == SslNegotiation::Postgres && !ask(&mut tcp).await? {
            return Ok(Encryption::Declined(Wire::Tcp(tcp)));
        }
        tls::open(config, tcp, name).await.map(Encryption::Agreed).map_err(|error| of_handshake(&error))
    })
    .await
}

/// Sends `SSLRequest`; the answer is one byte, and nothing may follow it before the handshake (CVE-2021-23222).
async fn ask(tcp: &mut TcpStream) -> Result<bool, Broken> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let broken = |error: io::Error| Broken::io(&error, Stage::Encryption, false);
    tcp.write_all(&SSL_REQUEST).await.map_err(broken)?;
    match tcp.read_u8().await.map_err(broken)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        b'E' => Err(Broken::new(ConnectFailureKind::Interrupted, server_complaint(tcp).await)),
        _ => Err(Broken::new(
            ConnectFailureKind::ProtocolViolation,
            "the answer to the request for TLS is none of PostgreSQL's",
        )),
    }
}

/// The text of an error sent in place of an answer, when a server cannot even fork.
async fn server_complaint(tcp: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // Whatever cannot be read is simply not shown.
    let _ = tcp.take(512).read_to_end(&mut text).await;
    let readable: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
    format!("the server answered the request for TLS with an error: {readable}")
}

/// The name that the certificate must be for. An unusable one becomes an address that no certificate has.
pub(crate) fn server_name(host: &Host) -> ServerName<'static> {
    let text = match host {
        Host::Tcp { name: Some(name), .. } => name.clone(),
        host => host.to_string(),
    };
    ServerName::try_from(text).unwrap_or_else(|_| ServerName::from(IpAddr::from([0, 0, 0, 0])))
}

fn of_handshake(error: &io::Error) -> Broken {
    use ConnectFailureKind as K;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let kind = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => K::TlsVerification,
        Some(rustls::Error::InvalidMessage(_)) => K::ProtocolViolation,
        Some(_) => K::TlsHandshake,
        None => match of_io_error(error, Stage::Encryption, false) {
            K::Interrupted => K::TlsHandshake,
            kind => kind,
        },
    };
    Broken::new(kind, error.to_string())
}
