//! Ports inside: noticed, and reached both ways.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::workspace::processes::ExecEvent;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::running::{Events, Running, TOKEN, shell};

#[tokio::test]
async fn a_port_is_listed_with_its_program() {
    let runtime = Running::start().await;
    let server = "import socket,time\ns=socket.socket(); s.bind(('127.0.0.1',0)); s.listen()\n\
                  print(s.getsockname()[1], flush=True)\ntime.sleep(600)";
    let mut events = Events::of(runtime.begin("", shell(&format!("exec python3 -c \"{server}\""))).await);
    let mut port = Value::Null;
    while port.is_null() {
        if let Some(ExecEvent::Output { data, .. }) = events.next().await {
            port = serde_json::from_slice(data.trim_ascii()).expect("a port");
        }
    }
    let ports = runtime.get("/v1/ports").await;
    let found = ports.as_array().expect("ports").iter().find(|found| found["port"] == port).expect("it is listed");
    assert_eq!(found["address"], "127.0.0.1");
    assert!(found["program"].as_str().is_some_and(|program| program.starts_with("python")), "{found}");
    assert!(found["pid"].as_u64().is_some());
}

/// Listens and echoes what the first connection says.
fn echo(address: &str) -> Option<u16> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().expect("a copy");
                std::io::copy(&mut stream, &mut copy).ok();
            });
        }
    });
    Some(port)
}

#[tokio::test]
async fn an_upgraded_connection_is_that_to_the_port() {
    let runtime = Running::start().await;
    for port in [echo("127.0.0.1"), echo("::1")].into_iter().flatten() {
        let mut request = runtime.request(Method::GET, &format!("/v1/dial?port={port}"), "");
        request.headers_mut().insert("connection", "Upgrade".parse().expect("a value"));
        request.headers_mut().insert("upgrade", "reeve-dial".parse().expect("a value"));
        let response = runtime.send(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut inside = TokioIo::new(hyper::upgrade::on(response).await.expect("an upgrade"));
        let sent = vec![7u8; 1 << 20];
        let (mut read, mut write) = tokio::io::split(&mut inside);
        let sending = async {
            write.write_all(&sent).await.expect("sent");
            write.shutdown().await.expect("closed");
        };
        let mut heard = Vec::new();
        tokio::join!(sending, async { read.read_to_end(&mut heard).await.expect("heard") });
        assert_eq!(heard.len(), sent.len());
    }
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_is_not_found() {
    let runtime = Running::start().await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a listener").local_addr().expect("an address").port();
    for (port, status) in [(free.to_string(), StatusCode::NOT_FOUND), ("0".to_owned(), StatusCode::BAD_REQUEST)] {
        let mut request = runtime.request(Method::GET, &format!("/v1/dial?port={port}"), "");
        request.headers_mut().insert("connection", "Upgrade".parse().expect("a value"));
        request.headers_mut().insert("upgrade", "reeve-dial".parse().expect("a value"));
        assert_eq!(runtime.send(request).await.status(), status);
    }
    let (status, _) = runtime.ask(Method::GET, "/v1/dial?port=80", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "it takes an upgrade");
}

/// Asks the dial socket; answers the byte and what came with it.
fn ask(socket: &UnixStream, words: &str) -> (Option<u8>, Option<TcpStream>) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    (&mut &*socket).write_all(words.as_bytes()).expect("asked");
    let mut byte = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let received = received.expect("an answer");
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next().map(TcpStream::from),
        _ => None,
    });
    ((received.bytes == 1).then_some(byte[0]), passed)
}

#[tokio::test]
async fn the_dial_socket_passes_the_connection_itself() {
    let runtime = Running::start().await;
    let port = echo("127.0.0.1").expect("a listener");
    let socket = runtime.dial_socket();
    tokio::task::spawn_blocking(move || {
        let dial = UnixStream::connect(&socket).expect("a connection");
        for words in [format!("{TOKEN}\n{port}\n"), format!("{port}\n")] {
            let (byte, stream) = ask(&dial, &words);
            assert_eq!(byte, Some(reeve_runtime::dial::CONNECTED));
            let mut stream = stream.expect("a socket");
            stream.set_nonblocking(false).expect("blocking");
            stream.write_all(b"ping").expect("sent");
            let mut heard = [0u8; 4];
            stream.read_exact(&mut heard).expect("heard");
            assert_eq!(&heard, b"ping");
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a listener").local_addr().expect("an address").port();
        assert!(matches!(ask(&dial, &format!("{free}\n")), (Some(reeve_runtime::dial::NOBODY), None)));
        assert!(matches!(ask(&dial, "beer\n"), (Some(reeve_runtime::dial::NO_PORT), None)));
        let stranger = UnixStream::connect(&socket).expect("a connection");
        let guessed = format!("not-the-token-at-all\n{port}\n");
        assert!(matches!(ask(&stranger, &guessed), (Some(reeve_runtime::dial::REFUSED), None)));
    })
    .await
    .expect("dialled");
}
