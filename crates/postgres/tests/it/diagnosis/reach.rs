//! Servers that let nobody in: one critical finding that names the reason, in bounded time.

use std::time::Duration;

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_testkit::postgres::{PostgresServer, StopMode};
use reeve_types::{Diagnosis, Severity};

use super::{application, durable, find, look, until_found};

async fn only_finding(dsn: &str) -> (String, Diagnosis) {
    let mut options = DiagnoseOptions::default();
    options.collect.connect_timeout = Duration::from_secs(2);
    let diagnosis = look(dsn, &options).await;
    assert!(!diagnosis.reachable);
    assert_eq!(diagnosis.findings.len(), 1, "{diagnosis:#?}");
    assert_eq!(diagnosis.findings[0].severity, Severity::Critical);
    assert!(diagnosis.duration_ms < 3000, "{} ms", diagnosis.duration_ms);
    assert!(!diagnosis.findings[0].cause.is_empty() && !diagnosis.findings[0].advice.is_empty());
    (diagnosis.findings[0].code.clone(), diagnosis)
}

#[tokio::test]
async fn each_kind_of_failing_connection_is_named() {
    let mut server = durable().hba("host all nobody 127.0.0.1/32 reject").start();
    server.psql(
        "CREATE ROLE app LOGIN PASSWORD 'right'; CREATE ROLE nobody LOGIN; CREATE ROLE team NOLOGIN PASSWORD 'x'",
    );
    let port = server.port();
    let table = [
        (format!("{} password=s3cretwrong", server.dsn("app", "postgres")), "authentication_failed"),
        (server.dsn("nobody", "postgres"), "hba_rejected"),
        (server.dsn("postgres", "shop"), "database_not_found"),
        (format!("{} password=x", server.dsn("team", "postgres")), "connection_forbidden"),
        (format!("{} sslmode=require", server.superuser_dsn()), "tls_failure"),
        (format!("host=no-such-host.invalid port={port} user=postgres"), "host_not_found"),
    ];
    for (dsn, code) in table {
        let (found, diagnosis) = only_finding(&dsn).await;
        assert_eq!(found, code, "{dsn}: {diagnosis:#?}");
        assert!(!format!("{diagnosis:?}").contains("s3cretwrong"), "the password leaked: {diagnosis:#?}");
    }
    server.freeze();
    let (hung, _) = only_finding(&server.superuser_dsn()).await;
    server.thaw();
    assert_eq!(hung, "server_hung");
    server.stop(StopMode::Immediate);
    let (refused, _) = only_finding(&server.dsn("postgres", "postgres")).await;
    assert_eq!(refused, "connection_refused");
}

#[tokio::test]
async fn exhausted_connections_are_diagnosed_through_the_reserved_slots() {
    let server = durable().setting("max_connections", 12).setting("superuser_reserved_connections", 3).start();
    server.psql("CREATE ROLE app LOGIN PASSWORD 'x'");
    let mut crowd = Vec::new();
    for _ in 0..9 {
        crowd.push(application(&server, "pool").await);
    }
    let (outside, _) = only_finding(&format!("{} password=x", server.dsn("app", "postgres"))).await;
    assert_eq!(outside, "connection_exhaustion");
    let (finding, diagnosis) = until_found(&server, &DiagnoseOptions::default(), "connection_exhaustion").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.title, "no connection slot is left: 9 of 12 are in use");
    assert!(finding.cause.starts_with("9 of the 9 sessions are idle"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].tool, "terminate_idle_connections");
    assert_eq!(finding.remedies[0].arguments["idle_minutes"], 0);
    assert!(diagnosis.checks_run >= 15, "the rest goes on over one connection");
    assert!(find(&diagnosis, "disk_usage").is_some());
}

#[tokio::test]
async fn a_server_that_is_shutting_down_says_so() {
    let server = PostgresServer::start();
    let session = application(&server, "keeps it from stopping").await;
    server.begin_stop(StopMode::Smart);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let code = loop {
        let diagnosis = look(&server.superuser_dsn(), &DiagnoseOptions::default()).await;
        let code = diagnosis.findings[0].code.clone();
        if !diagnosis.reachable || std::time::Instant::now() > deadline {
            break code;
        }
    };
    assert_eq!(code, "server_shutting_down");
    drop(session);
}
