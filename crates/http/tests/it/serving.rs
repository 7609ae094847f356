//! The router on a real socket: answering, draining, and being cut off.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::platform::TestPlatform;

async fn served(t: &TestPlatform) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, hard) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(reeve_http::serve(vec![listener], t.router.clone(), t.stop.clone(), hard.clone()));
    (address, hard, task)
}

async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 16 * 1024];
    let n = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

#[tokio::test]
async fn connections_are_kept_and_close_when_the_server_stops() {
    let t = TestPlatform::new();
    let (address, _hard, task) = served(&t).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut stream, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    }
    t.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task)
        .await
        .expect("the idle connection does not hold it up")
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stream_does_not_hold_up_the_end() {
    let t = TestPlatform::new();
    let (address, _hard, task) = served(&t).await;
    let admin = t.user("root", &["admin"]).await;
    let key =
        admin.post("/api/v1/keys", json!({"principal": "x"})).await.expect(201)["key"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
    assert!(ask(&mut stream, &head).await.starts_with("HTTP/1.1 200"));
    t.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the stream ends").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("the server is stopping"), "{rest}");
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let t = TestPlatform::new();
    let (address, hard, task) = served(&t).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A request whose body never comes.
    stream.write_all(b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    ask(&mut TcpStream::connect(address).await.unwrap(), "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    t.stop.cancel();
    hard.cancel();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("nothing holds it up").unwrap();
}

#[tokio::test]
async fn guessing_keys_from_one_address_is_slowed_down() {
    let t = TestPlatform::new();
    let (address, hard, _task) = served(&t).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let guess = "GET /api/v1/tools HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n\r\n";
    for _ in 0..10 {
        assert!(ask(&mut stream, guess).await.starts_with("HTTP/1.1 401"));
    }
    let refused = ask(&mut stream, guess).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 5"));
    hard.cancel();
}
