//! Sessions that are idle in transaction, long, or stuck.

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_types::{ActionClass, Severity};

use super::{application, durable, find, in_background, until_found, with_thresholds};

#[tokio::test]
async fn idle_in_transaction_with_writes_says_what_ending_it_costs() {
    let server = durable().start();
    server.psql("CREATE TABLE t (id int)");
    let session = application(&server, "api").await;
    session.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.expect("inserted");
    let options = with_thresholds(|t| t.idle_in_transaction_writes_secs = 0.1);
    let (finding, _) = until_found(&server, &options, "idle_in_transaction").await;
    let pid = session.facts().backend_pid;
    assert!(finding.title.starts_with(&format!("pid {pid} has been idle in transaction for ")), "{}", finding.title);
    assert!(finding.cause.contains("uncommitted changes"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].tool, "terminate_connection");
    assert_eq!(finding.remedies[0].action_class, ActionClass::Destructive);
    assert!(!finding.remedies[0].reversible);
}

#[tokio::test]
async fn a_long_statement_is_cancelled_not_terminated() {
    let server = durable().start();
    let session = application(&server, "report").await;
    let pid = session.facts().backend_pid;
    let running = in_background(session, "SELECT pg_sleep(60)");
    let options = with_thresholds(|t| {
        t.long_query_secs = 0.1;
        t.very_long_query_secs = 0.2;
    });
    let (finding, _) = until_found(&server, &options, "long_running_query").await;
    assert_eq!(finding.remedies[0].tool, "cancel_query");
    assert_eq!(finding.remedies[0].arguments["pid"], pid);
    server.psql(&format!("SELECT pg_cancel_backend({pid})"));
    running.await.expect("ended");
}

#[tokio::test]
async fn commits_that_wait_for_a_standby_that_is_not_there() {
    let server = durable().start();
    server.psql("CREATE TABLE t (id int)");
    server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.reload();
    let session = application(&server, "api").await;
    let pid = session.facts().backend_pid;
    let committing = in_background(session, "INSERT INTO t VALUES (1)");
    let options = with_thresholds(|t| t.wait_secs = 0.1);
    let (finding, diagnosis) = until_found(&server, &options, "synchronous_commit_stuck").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.cause.contains("No synchronous standby is connected"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].tool, "reset_pg_setting");
    assert_eq!(finding.remedies[0].arguments["setting_name"], "synchronous_standby_names");
    assert!(find(&diagnosis, "long_running_query").is_none());
    server.psql(&format!("SELECT pg_cancel_backend({pid})"));
    committing.await.expect("ended");
}

#[tokio::test]
async fn a_killed_server_process_is_read_from_the_log() {
    let server = durable().setting("logging_collector", "on").start();
    let session = application(&server, "victim").await;
    let pid = session.facts().backend_pid;
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let (finding, _) = until_found(&server, &DiagnoseOptions::default(), "process_crash").await;
    assert!(finding.evidence[0].fact.contains("terminated by signal 9"), "{:#?}", finding.evidence);
}
