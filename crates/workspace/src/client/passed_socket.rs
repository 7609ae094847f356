//! A connected TCP socket that came out of a workspace.
//!
//! The program that passed it may still hold it, and may switch it to blocking at any moment. So every read and write
//! says by itself that it must not wait; the flag on the shared description is never relied on.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub(super) struct PassedSocket(TcpStream);

impl PassedSocket {
    /// Takes a descriptor if it is a stream socket of the internet families, and nothing else.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let family = sockopt::socket_domain(&fd)?;
        let wanted = matches!(family, AddressFamily::INET | AddressFamily::INET6);
        if !wanted || sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what the workspace passed is no TCP connection"));
        }
        let stream = std::net::TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        Ok(Self(TcpStream::from_std(stream)?))
    }
}

impl AsyncRead for PassedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let receive = || Ok(rustix::net::recv(&self.0, &mut *room, RecvFlags::DONTWAIT)?);
            match self.0.try_io(Interest::READABLE, receive) {
                Ok((_, count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsyncWrite for PassedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let send = || Ok(rustix::net::send(&self.0, bytes, flags)?);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(error) if again(&error) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&self.0, Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn only_a_tcp_connection_is_taken() {
        let (local, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(PassedSocket::new(local.into()).is_err());
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(PassedSocket::new(datagram.into()).is_err());
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(PassedSocket::new(file.into()).is_err());
    }

    #[tokio::test]
    async fn whoever_passed_it_cannot_make_it_block() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let passed = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let kept = passed.try_clone().expect("a copy");
        let mut other = listener.accept().expect("a connection").0;
        let mut socket = PassedSocket::new(passed.into()).expect("a TCP connection");
        kept.set_nonblocking(false).expect("blocking again");
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(50), socket.read_u8()).await;
        assert!(nothing.is_err(), "there is nothing to read, and the reader was not stuck");
        socket.write_all(b"in").await.expect("written");
        let mut heard = [0; 2];
        std::io::Read::read_exact(&mut other, &mut heard).expect("read");
        std::io::Write::write_all(&mut other, b"out").expect("written");
        let mut answer = [0; 3];
        socket.read_exact(&mut answer).await.expect("read");
        assert_eq!((&heard, &answer), (b"in", b"out"));
    }
}
