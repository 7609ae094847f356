//! Servers that stop answering in the middle of a look: it ends in the time that was promised and says so.

use std::time::{Duration, Instant};

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_testkit::postgres::PostgresServer;
use reeve_types::{Diagnosis, Severity};
use tokio::task::JoinHandle;

use super::{application, durable, find, look};

/// A look of which one connection waits for a lock, so that something can happen to it.
struct Midway {
    server: PostgresServer,
    diagnosis: JoinHandle<Diagnosis>,
    /// The process that waits.
    pid: i32,
    /// Holds the lock.
    _holder: reeve_postgres::connect::Session,
}

impl Midway {
    async fn begin(connections_max: usize) -> Self {
        let server = durable().start();
        let holder = application(&server, "odd").await;
        holder.batch_execute("BEGIN; LOCK TABLE pg_sequence IN ACCESS EXCLUSIVE MODE").await.expect("locked");
        let mut options = DiagnoseOptions::default();
        options.collect.connections_max = connections_max;
        options.collect.check_timeout = Duration::from_secs(4);
        options.collect.lock_timeout = Duration::from_secs(60);
        let dsn = server.superuser_dsn();
        let diagnosis = tokio::spawn(async move { look(&dsn, &options).await });
        let waiting =
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'reeve diagnose' AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + Duration::from_secs(20);
        let pid = loop {
            if let Ok(pid) = server.psql(waiting).parse() {
                break pid;
            }
            assert!(Instant::now() < deadline, "no connection of the look waits for the lock");
        };
        Self { server, diagnosis, pid, _holder: holder }
    }

    /// 4 s for a check and half a second for the way; the rest is what a crowded machine takes to connect.
    async fn end(self) -> Diagnosis {
        let diagnosis = self.diagnosis.await.expect("a diagnosis never fails");
        assert!(diagnosis.duration_ms < 8_000, "{} ms", diagnosis.duration_ms);
        assert!(diagnosis.reachable);
        diagnosis
    }
}

fn reason<'a>(diagnosis: &'a Diagnosis, check: &str) -> &'a str {
    diagnosis.not_checked.iter().find(|n| n.check == check).map_or("it was checked", |n| &n.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_hangs_is_named_and_the_others_go_on() {
    let midway = Midway::begin(4).await;
    let _frozen = midway.server.freeze_session(midway.pid);
    let diagnosis = midway.end().await;
    assert_eq!(reason(&diagnosis, "sequences"), "no answer within 4.5 s");
    let finding = find(&diagnosis, "stopped_answering").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.title, "a session of the server stopped answering in the middle of the look");
    assert!(finding.cause.contains("nothing came back within 4.5 s"), "{}", finding.cause);
    assert_eq!(finding.evidence[0].fact, "without an answer: sequences");
    assert!(diagnosis.checks_run >= 15, "the rest goes on: {}", diagnosis.checks_run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_critical_and_nothing_is_waited_for_twice() {
    let midway = Midway::begin(1).await;
    let _frozen = midway.server.freeze_session(midway.pid);
    let diagnosis = midway.end().await;
    let finding = &diagnosis.findings[0];
    assert_eq!((finding.code.as_str(), finding.severity), ("stopped_answering", Severity::Critical), "{diagnosis:#?}");
    assert_eq!(finding.title, "the server stopped answering in the middle of the look");
    assert!(finding.advice.iter().any(|line| line.contains("Do not kill -9")), "{:#?}", finding.advice);
    assert_eq!(reason(&diagnosis, "sequences"), "no answer within 4.5 s");
    assert_eq!(reason(&diagnosis, "archiver"), "the server stopped answering before it was this check's turn");
    assert!(diagnosis.checks_run >= 5, "what was seen before is told: {}", diagnosis.checks_run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_midway_is_named() {
    let midway = Midway::begin(1).await;
    midway.server.psql(&format!("SELECT pg_terminate_backend({})", midway.pid));
    let diagnosis = midway.end().await;
    let finding = find(&diagnosis, "connection_lost").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.evidence[0].fact, "without an answer: sequences");
    assert!(reason(&diagnosis, "sequences").contains("terminating connection"), "{diagnosis:#?}");
}
