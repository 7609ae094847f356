//! The unix socket stream: every record, in order, from where the client wants.

use std::time::Duration;

use reeve_types::EventType;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::support::{House, Plan};

struct Open {
    house: House,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Open {
    async fn on(house: House) -> Self {
        let (stop, platform) = (CancellationToken::new(), house.platform.clone());
        let token = stop.clone();
        let running = tokio::spawn(async move { platform.run(token).await });
        Self { house, stop, running }
    }

    async fn connect(&self) -> UnixStream {
        for _ in 0..200 {
            if let Ok(stream) = UnixStream::connect(self.house.path("audit.sock")).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the socket never opened");
    }

    async fn note(&self, text: &str) {
        let event = self.house.platform.own_event(EventType::Lifecycle, text.to_owned());
        self.house.platform.record(event).await.unwrap();
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.running).await.expect("it stops in time").unwrap();
        assert!(!self.house.path("audit.sock").exists());
    }
}

async fn read(stream: &mut BufReader<UnixStream>, count: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for _ in 0..count {
        let mut line = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line)).await.expect("a line").unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        found.push((value["seq"].as_u64().unwrap(), value["note"].as_str().unwrap_or_default().to_owned()));
    }
    found
}

#[tokio::test]
async fn a_silent_client_gets_what_happens_from_its_connection_on() {
    let open = Open::on(House::new(Plan { socket: true, ..Plan::default() }).await).await;
    open.note("before").await;
    let mut stream = BufReader::new(open.connect().await);
    // The server must have accepted it; from there on nothing may be lost, not even while it waits for a first line.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for n in 1..=3 {
        open.note(&n.to_string()).await;
    }
    assert_eq!(read(&mut stream, 3).await, [(1, "1".to_owned()), (2, "2".to_owned()), (3, "3".to_owned())]);
    open.end().await;
}

#[tokio::test]
async fn a_client_that_names_a_number_gets_everything_from_there_and_goes_on_live() {
    let open = Open::on(House::new(Plan { socket: true, ..Plan::default() }).await).await;
    for n in 0..1200 {
        open.note(&n.to_string()).await;
    }
    let mut stream = open.connect().await;
    stream.write_all(b"100\n").await.unwrap();
    let mut stream = BufReader::new(stream);
    let (found, ()) = tokio::join!(read(&mut stream, 1300), async {
        for n in 1200..1400 {
            open.note(&n.to_string()).await;
        }
    });
    let wanted: Vec<(u64, String)> = (100..1400).map(|n| (n, n.to_string())).collect();
    assert_eq!(found, wanted);
    open.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let open = Open::on(House::new(Plan { socket: true, ..Plan::default() }).await).await;
    let mut deaf = open.connect().await;
    deaf.write_all(b"0\n").await.unwrap();
    let mut other = open.connect().await;
    other.write_all(b"0\n").await.unwrap();
    let mut other = BufReader::new(other);
    let long = "x".repeat(20_000);
    let (found, ()) = tokio::join!(read(&mut other, 100), async {
        for _ in 0..100 {
            open.note(&long).await;
        }
    });
    assert_eq!(found.last().map(|(seq, _)| *seq), Some(99));
    // The deaf one is dropped: what it still finds ends before the last record.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let mut text = Vec::new();
    let all = tokio::io::AsyncReadExt::read_to_end(&mut deaf, &mut text);
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("its connection was ended").unwrap();
    assert!(text.len() < 100 * 20_000, "{}", text.len());
    open.end().await;
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let open = Open::on(House::new(Plan { socket: true, ..Plan::default() }).await).await;
    let mut stream = open.connect().await;
    stream.write_all(b"give me all\n").await.unwrap();
    let mut text = Vec::new();
    let all = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut text);
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("it ends").unwrap();
    assert_eq!(text, b"");
    open.end().await;
}

#[tokio::test]
async fn a_socket_that_a_killed_server_left_is_replaced_and_a_living_one_and_other_files_are_not() {
    let house = House::new(Plan { socket: true, ..Plan::default() }).await;
    drop(std::os::unix::net::UnixListener::bind(house.path("audit.sock")).unwrap());
    assert!(house.path("audit.sock").exists());
    let open = Open::on(house).await;
    open.note("first").await;
    let mut stream = open.connect().await;
    stream.write_all(b"0\n").await.unwrap();
    assert_eq!(read(&mut BufReader::new(stream), 1).await[0].1, "first");
    open.end().await;

    let house = House::new(Plan { socket: true, ..Plan::default() }).await;
    let living = std::os::unix::net::UnixListener::bind(house.path("audit.sock")).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    house.platform.run(stop.clone()).await;
    assert!(std::os::unix::net::UnixStream::connect(house.path("audit.sock")).is_ok(), "still the other's");
    drop(living);

    let house = House::new(Plan { socket: true, ..Plan::default() }).await;
    std::fs::write(house.path("audit.sock"), "mine").unwrap();
    house.platform.run(stop).await;
    assert_eq!(std::fs::read_to_string(house.path("audit.sock")).unwrap(), "mine");
}
