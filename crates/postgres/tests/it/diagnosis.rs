//! Faults made on real servers, and what a diagnosis says of them. A healthy server must stay silent.

#![expect(clippy::expect_used, reason = "a test that cannot have its session must fail")]

mod hanging;
mod healthy;
mod locks;
mod reach;
mod replication;
mod sessions;
mod storage;

use std::time::{Duration, Instant};

use reeve_diagnose::Thresholds;
use reeve_postgres::connect::{ConnectOptions, Session, connect};
use reeve_postgres::conninfo::{Surroundings, Target};
use reeve_postgres::evidence::{DiagnoseOptions, diagnose};
use reeve_testkit::postgres::{Builder, PostgresServer};
use reeve_types::{Diagnosis, Finding, Severity};

/// A server as one would run it: durable.
fn durable() -> Builder {
    PostgresServer::builder()
        .setting("fsync", "on")
        .setting("full_page_writes", "on")
        .setting("synchronous_commit", "on")
}

fn target(dsn: &str) -> Target {
    Target::parse(dsn, &Surroundings::empty()).expect("a target")
}

async fn look(dsn: &str, options: &DiagnoseOptions) -> Diagnosis {
    diagnose(&target(dsn), options).await.0
}

async fn look_now(server: &PostgresServer) -> Diagnosis {
    look(&server.superuser_dsn(), &DiagnoseOptions::default()).await
}

fn with_thresholds(change: impl FnOnce(&mut Thresholds)) -> DiagnoseOptions {
    let mut options = DiagnoseOptions::default();
    change(&mut options.thresholds);
    options
}

/// A session of an application.
async fn application(server: &PostgresServer, name: &str) -> Session {
    let options = ConnectOptions { application_name: name.to_owned(), ..ConnectOptions::read_write() };
    let options = ConnectOptions { lock_timeout: Duration::ZERO, statement_timeout: Duration::ZERO, ..options };
    connect(&target(&server.superuser_dsn()), &options).await.expect("a session")
}

/// Runs a statement in the background, for it will wait.
fn in_background(session: Session, sql: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let _ = session.batch_execute(sql).await;
    })
}

/// Looks again and again until a finding of this code is there.
async fn until_found(server: &PostgresServer, options: &DiagnoseOptions, code: &str) -> (Finding, Diagnosis) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let diagnosis = look(&server.superuser_dsn(), options).await;
        if let Some(finding) = find(&diagnosis, code) {
            return (finding.clone(), diagnosis);
        }
        assert!(Instant::now() < deadline, "no {code} was found: {diagnosis:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Looks again and again until a finding of this code is gone. Before 15, counters reach the views with a delay.
async fn until_gone(server: &PostgresServer, code: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let diagnosis = look_now(server).await;
        if find(&diagnosis, code).is_none() {
            return;
        }
        assert!(Instant::now() < deadline, "{code} is still there: {diagnosis:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn find<'a>(diagnosis: &'a Diagnosis, code: &str) -> Option<&'a Finding> {
    diagnosis.findings.iter().find(|finding| finding.code == code)
}

fn codes(diagnosis: &Diagnosis) -> Vec<&str> {
    diagnosis.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn alarms(diagnosis: &Diagnosis) -> Vec<&Finding> {
    diagnosis.findings.iter().filter(|finding| finding.severity != Severity::Info).collect()
}
