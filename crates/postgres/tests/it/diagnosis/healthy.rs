//! A healthy server, idle or busy, gives no alarm; a crowded or restricted one is still looked at.

use std::process::{Command, Stdio};

use reeve_diagnose::EvidenceSet;
use reeve_postgres::evidence::{DiagnoseOptions, diagnose};
use reeve_testkit::postgres::PostgresServer;

use super::{alarms, application, durable, find, in_background, look, look_now, target, until_found};

fn pgbench(server: &PostgresServer, args: &[&str]) -> Command {
    let mut command = Command::new(server.client_program("pgbench"));
    command.args(args).args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "-U", "postgres", "postgres"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test]
async fn a_fresh_server_gives_no_alarm() {
    let server = durable().start();
    let diagnosis = look_now(&server).await;
    assert!(alarms(&diagnosis).is_empty(), "{:#?}", alarms(&diagnosis));
    assert!(diagnosis.reachable);
    assert!(diagnosis.server_version.as_deref().is_some_and(|v| v.starts_with("PostgreSQL ")));
    let skipped: Vec<&str> = diagnosis.not_checked.iter().map(|n| n.check.as_str()).collect();
    assert_eq!(skipped, ["disk_space", "server_log", "statements"]);
}

#[tokio::test]
async fn a_busy_server_gives_no_alarm() {
    let server = durable().setting("shared_buffers", "128MB").setting("max_wal_size", "1GB").start();
    assert!(pgbench(&server, &["-i", "-q", "-s", "10"]).status().expect("pgbench runs").success());
    let mut load = pgbench(&server, &["-c", "8", "-j", "2", "-T", "4"]).spawn().expect("pgbench runs");
    let mut looks = 0;
    while load.try_wait().expect("pgbench is ours").is_none() {
        let diagnosis = look_now(&server).await;
        assert!(alarms(&diagnosis).is_empty(), "{:#?}", alarms(&diagnosis));
        assert!(
            diagnosis
                .not_checked
                .iter()
                .all(|n| ["disk_space", "server_log", "statements"].contains(&n.check.as_str())),
            "{:#?}",
            diagnosis.not_checked
        );
        looks += 1;
    }
    assert!(looks >= 3, "{looks} looks during the load");
}

#[tokio::test]
async fn saved_evidence_replays_into_the_same_findings() {
    let server = PostgresServer::start();
    let options = DiagnoseOptions::default();
    let (diagnosis, evidence) = diagnose(&target(&server.superuser_dsn()), &options).await;
    let saved = serde_json::to_string(&evidence).expect("evidence is JSON");
    let read: EvidenceSet = serde_json::from_str(&saved).expect("evidence reads back");
    assert_eq!(read, evidence);
    assert_eq!(reeve_diagnose::diagnose(&read, &options.thresholds), diagnosis.findings);
}

#[tokio::test]
async fn a_baseline_tells_what_changed() {
    let server = durable().start();
    let (_, before) = diagnose(&target(&server.superuser_dsn()), &DiagnoseOptions::default()).await;
    server.psql("ALTER SYSTEM SET work_mem = '32MB'");
    server.reload();
    server.psql("SELECT pg_stat_reset()");
    let options = DiagnoseOptions { baseline: Some(before), ..DiagnoseOptions::default() };
    let (finding, _) = until_found(&server, &options, "changed_settings").await;
    assert_eq!(finding.evidence[0].fact, "work_mem: 4096 → 32768");
}

/// For how long the session that waits longest has been waiting for a lock.
fn longest_wait(server: &PostgresServer) -> f64 {
    let sql = "SELECT coalesce(extract(epoch FROM max(now() - query_start)), 0) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock'";
    server.psql(sql).parse().unwrap_or(0.0)
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_it_lacks_and_still_sees_the_chain() {
    let server = durable().start();
    server.psql("CREATE ROLE app LOGIN PASSWORD 'x'; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); GRANT ALL ON t TO app");
    let head = application(&server, "api").await;
    head.batch_execute("BEGIN; DELETE FROM t WHERE id = 1").await.expect("locked");
    let pid = head.facts().backend_pid;
    let waiting = in_background(application(&server, "worker").await, "DELETE FROM t WHERE id = 1");
    let dsn = format!("{} password=x", server.dsn("app", "postgres"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut diagnosis = loop {
        let diagnosis = look(&dsn, &DiagnoseOptions::default()).await;
        let told = match server.major_version() {
            ..14 => longest_wait(&server) > 2.0,
            14.. => find(&diagnosis, "lock_chain").is_some(),
        };
        if told || std::time::Instant::now() > deadline {
            break diagnosis;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let lacking = diagnosis.not_checked.iter().find(|n| n.check == "sessions of other roles").expect("it is said");
    assert!(lacking.reason.contains("GRANT pg_monitor TO app;"), "{}", lacking.reason);
    if server.major_version() < 14 {
        // How long others wait is hidden there: that is said instead of guessed.
        let waits = diagnosis.not_checked.iter().find(|n| n.check == "lock waits of other roles").expect("it is said");
        assert!(waits.reason.ends_with("by 14 and newer only; GRANT pg_monitor TO app;"), "{}", waits.reason);
        server.psql("GRANT pg_monitor TO app");
        diagnosis = look(&dsn, &DiagnoseOptions::default()).await;
    }
    let chain = find(&diagnosis, "lock_chain").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert!(chain.title.starts_with(&format!("pid {pid} blocks 1 session")), "{}", chain.title);
    drop(head);
    waiting.await.expect("went on");
}
