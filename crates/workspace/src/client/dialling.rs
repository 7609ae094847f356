//! Connections to ports inside: the runtime connects and passes the socket, so previews cost no copying. Where that
//! socket is not served, the bytes go through the runtime.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use hyper::Method;
use hyper_util::rt::TokioIo;
use reeve_gate::workspace::Duplex;
use reeve_types::{ProblemCode, WorkspaceError};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use super::RuntimeClient;
use super::connection::{empty, within};
use super::passed_socket::PassedSocket;

/// The socket that passes connections out.
const DIAL_SOCKET: &str = "dial.sock";
/// How long dialling may take.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// What the runtime answers when the connection comes with it.
const CONNECTED: u8 = 0;

impl RuntimeClient {
    pub(super) async fn dial_port(&self, port: u16) -> Result<Box<dyn Duplex>, WorkspaceError> {
        match self.connections.open(DIAL_SOCKET).await {
            Ok(stream) => Ok(Box::new(within(DIAL_WITHIN, self.receive_connection(stream, port)).await?)),
            Err(_) => self.dial_through(port).await,
        }
    }

    async fn receive_connection(&self, mut stream: UnixStream, port: u16) -> Result<PassedSocket, WorkspaceError> {
        let request = format!("{}\n{port}\n", self.connections.token().expose());
        stream.write_all(request.as_bytes()).await.map_err(|error| failed(port, &error))?;
        let (answer, passed) =
            stream.async_io(Interest::READABLE, || receive(&stream)).await.map_err(|error| failed(port, &error))?;
        match (answer, passed) {
            (Some(CONNECTED), Some(fd)) => PassedSocket::new(fd).map_err(|error| failed(port, &error)),
            _ => {
                let said = format!("nothing listens on port {port} of the workspace; start the program that should");
                Err(WorkspaceError::new(ProblemCode::NotFound, said))
            }
        }
    }

    async fn dial_through(&self, port: u16) -> Result<Box<dyn Duplex>, WorkspaceError> {
        let request = self.connections.request(Method::GET, &format!("/v1/dial?port={port}"), empty())?;
        let upgraded = self.connections.upgrade(request, "reeve-dial").await?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// One byte and at most one descriptor; the kernel closes any more.
fn receive(stream: &UnixStream) -> io::Result<(Option<u8>, Option<OwnedFd>)> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut passed = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed = descriptors.into_iter().last().or(passed);
        }
    }
    Ok(((received.bytes == 1).then_some(byte[0]), passed))
}

fn failed(port: u16, error: &io::Error) -> WorkspaceError {
    let said = format!("port {port} of the workspace cannot be reached ({error}); look whether the program still runs");
    WorkspaceError::new(ProblemCode::Unavailable, said)
}
