//! The door to models: requests from inside, answered outside over two pipes.

use std::convert::Infallible;
use std::process::Stdio;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Starts the program and serves what comes over its pipes: says back what it heard.
async fn door() -> (Child, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve-runtime"));
    command.arg("forward").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program starts");
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    said.read_line(&mut line).await.expect("a line");
    let port = line.trim().parse().expect("a port");
    let streams = tokio::io::join(said, child.stdin.take().expect("its input"));
    let service = service_fn(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let names: Vec<&str> = head.headers.keys().map(hyper::header::HeaderName::as_str).collect();
        let said = format!("{} {} {}", head.method, head.uri, names.join(","));
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let answer = [said.as_bytes(), b"\n", &body].concat();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
    });
    tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(streams), service));
    (child, port)
}

async fn ask(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8(answer).expect("UTF-8")
}

#[tokio::test]
async fn requests_from_inside_are_answered_outside_many_at_once_and_without_what_is_this_connections() {
    let (_child, port) = door().await;
    let large = vec![b'x'; 3 << 20];
    let head = format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\nx-api-key: k\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    let whole = [head.as_bytes(), &large].concat();
    let asked = (0..8).map(|_| ask(port, &whole));
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.chars().take(200).collect::<String>());
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(
            body.contains("POST http://models.workspace/v1/messages?beta=true content-length,x-api-key\n"),
            "{}",
            &body[..200]
        );
        assert!(body.contains(&"x".repeat(1000)));
    }
}

#[tokio::test]
async fn it_ends_when_whoever_opened_it_is_gone() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve-runtime"));
    command.arg("forward").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program starts");
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    said.read_line(&mut String::new()).await.expect("a line");
    drop((said, child.stdin.take()));
    assert!(child.wait().await.expect("its end").code().is_some(), "by itself");
}
