//! Networks and name servers that say nothing: whoever connects is answered in the time promised, and told by whom not.
#![expect(clippy::expect_used, reason = "a test that cannot have its network must fail")]

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use reeve_postgres::connect::{ConnectOptions, connect};
use reeve_postgres::conninfo::{Surroundings, Target};
use reeve_postgres::evidence::{DiagnoseOptions, diagnose};
use reeve_postgres::failure::{ConnectFailure, ConnectFailureKind, Stage};
use reeve_testkit::postgres::PostgresServer;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

fn target(dsn: &str) -> Target {
    Target::parse(dsn, &Surroundings::empty()).expect("a target")
}

fn within(connect_timeout: Duration) -> ConnectOptions {
    ConnectOptions { connect_timeout, ..ConnectOptions::read_only() }
}

/// Fails to connect, and tells how long that took.
async fn refused(dsn: &str, connect_timeout: Duration) -> (ConnectFailure, Duration) {
    let began = Instant::now();
    let failure = connect(&target(dsn), &within(connect_timeout)).await.expect_err("nobody answers");
    assert!(!failure.hints().is_empty(), "{failure:?} says what to do next");
    (failure, began.elapsed())
}

/// The code of the only finding, and how long the diagnosis took.
async fn diagnosed(dsn: &str, connect_timeout: Duration) -> (String, Duration) {
    let mut options = DiagnoseOptions::default();
    options.collect.connect_timeout = connect_timeout;
    let began = Instant::now();
    let (diagnosis, _) = diagnose(&target(dsn), &options).await;
    assert!(!diagnosis.reachable && diagnosis.findings.len() == 1, "{diagnosis:#?}");
    (diagnosis.findings[0].code.clone(), began.elapsed())
}

/// A port whose queue is full: the kernel drops what asks for a connection, as a firewall does.
struct BlackHole {
    address: SocketAddr,
    _listener: OwnedFd,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn open() -> Self {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        listen(&listener, 0).expect("it listens");
        let address = getsockname(&listener).expect("an address");
        let address = SocketAddr::try_from(address).expect("an address of IPv4");
        let mut queue = Vec::new();
        while let Ok(queued) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(queued);
            assert!(queue.len() < 64, "the queue of a listener is short");
        }
        Self { address, _listener: listener, _queue: queue }
    }

    fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user=u dbname=d", self.address.port())
    }
}

#[tokio::test]
async fn a_machine_that_drops_packets_is_named_in_time() {
    let hole = BlackHole::open();
    let patience = Duration::from_millis(400);
    let (failure, took) = refused(&hole.dsn(), patience).await;
    assert_eq!(failure.kind, ConnectFailureKind::Timeout { stage: Stage::Connect });
    assert!(failure.explain().contains("does not answer at all"), "{}", failure.explain());
    assert!(took >= patience && took < Duration::from_secs(2), "{took:?}");

    let (code, took) = diagnosed(&hole.dsn(), patience).await;
    assert_eq!(code, "connect_timeout");
    assert!(took < Duration::from_secs(2), "{took:?}");

    // The target's own word counts for more, and every host gets its time.
    let twice = format!("{} connect_timeout=2", hole.dsn().replace("127.0.0.1", "127.0.0.1,127.0.0.1"));
    let (failure, took) = refused(&twice, patience).await;
    assert_eq!(failure.earlier.len(), 1);
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(7), "{took:?}");
}

#[tokio::test]
async fn a_host_that_is_silent_does_not_keep_us_from_the_next() {
    let (hole, server) = (BlackHole::open(), PostgresServer::start());
    let dsn = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname=postgres",
        hole.address.port(),
        server.port()
    );
    let session = connect(&target(&dsn), &within(Duration::from_secs(5))).await.expect("the second host answers");
    assert_eq!(session.facts().user, "postgres");
}

/// Set for the part of a test that runs in a network of its own.
const INSIDE: &str = "REEVE_TEST_SILENT_NAME_SERVER";

/// Runs one test of this program again, in a network where the only name server is 127.0.0.1.
fn in_a_network_of_its_own(test: &str) {
    let files = tempfile::tempdir().expect("a directory");
    let mut bwrap = Command::new("bwrap");
    bwrap.args(["--unshare-user", "--unshare-net", "--uid", "0", "--cap-add", "CAP_NET_BIND_SERVICE"]);
    bwrap.args(["--die-with-parent", "--bind", "/", "/", "--dev-bind", "/dev", "/dev"]);
    for (name, content) in [
        ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ] {
        let Ok(place) = fs::canonicalize(name) else { continue };
        let ours = files.path().join(name.trim_start_matches("/etc/"));
        fs::write(&ours, content).expect("it is written");
        bwrap.arg("--ro-bind").arg(ours).arg(place);
    }
    bwrap.arg("--").arg(std::env::current_exe().expect("this program"));
    bwrap.args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let done = bwrap.output().expect("this test needs bwrap (package bubblewrap)");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_name_server_that_is_silent_is_named_in_time() {
    if std::env::var_os(INSIDE).is_none() {
        return in_a_network_of_its_own("silent::a_name_server_that_is_silent_is_named_in_time");
    }
    let _silent = UdpSocket::bind(("127.0.0.1", 53)).expect("the name server's port");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dsn = "host=db.example user=u dbname=d";
        let patience = Duration::from_millis(300);
        let (failure, took) = refused(dsn, patience).await;
        assert_eq!(failure.kind, ConnectFailureKind::Timeout { stage: Stage::Dns }, "{failure:?}");
        assert!(failure.explain().contains("the name server does not answer"), "{}", failure.explain());
        assert!(took >= patience && took < Duration::from_millis(900), "{took:?}");
        let (code, took) = diagnosed(dsn, patience).await;
        assert_eq!(code, "host_not_found");
        assert!(took < Duration::from_millis(900), "{took:?}");

        // With more patience, it is the resolver that gives up.
        let (failure, _) = refused(dsn, Duration::from_secs(10)).await;
        assert_eq!(failure.kind, ConnectFailureKind::HostNotFound, "{failure:?}");
        assert_eq!(failure.explain(), "The host name of db.example:5432 cannot be resolved.");

        // An address needs no name server.
        let (failure, _) = refused("host=db.example hostaddr=127.0.0.1 port=1 user=u", patience).await;
        assert_eq!(failure.kind, ConnectFailureKind::Refused, "{failure:?}");
    });
    runtime.shutdown_background();
}
