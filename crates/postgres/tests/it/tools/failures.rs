//! What is said when something does not work, and what is left undone.

use reeve_gate::Refusal;

use super::*;

#[tokio::test]
async fn a_server_that_is_not_there_is_explained_without_the_password() {
    let gate = gate();
    let dsn = "host=127.0.0.1 port=1 user=u dbname=d password=s3cret";
    let failure = call(&gate, dsn, "get_server_info", json!({})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Unreachable, "Connection refused");
    let report = failure.report.as_deref().unwrap();
    assert!(
        report.starts_with(
            "---\nERROR — get_server_info failed for host=127.0.0.1 port=1 user=u dbname=d password=***\n\n"
        ),
        "{report}"
    );
    assert!(report.contains("\n\nRaw error: ") && !report.contains("s3cret"), "{report}");

    let failure = call(&gate, dsn, "get_status_summary", json!({})).await.unwrap_err();
    assert!(failure.report.as_deref().unwrap().contains(r#"{"status":"error"}"#));
}

#[tokio::test]
async fn arguments_that_do_not_fit_never_reach_the_server() {
    let gate = gate();
    let table = [
        ("cancel_query", json!({})),
        ("cancel_query", json!({"pid": 0})),
        ("cancel_query", json!({"pid": "1"})),
        ("drop_replication_slot", json!({"slot_name": "a'b"})),
        ("reset_pg_setting", json!({"setting_name": "work_mem; DROP TABLE x"})),
        ("terminate_idle_connections", json!({"idle_minutes": -1})),
        ("get_slow_queries", json!({"limit": 1000})),
        ("run_query", json!({"query": "SELECT 1", "limit": 1001})),
        ("get_lock_info", json!({"unknown": 1})),
        ("get_saved_snapshots", json!({"tool_name": "x", "since": "yesterday"})),
    ];
    for (tool, arguments) in table {
        match gate.submit(tool, arguments.clone()).await {
            Err(Refusal::InvalidArguments { .. }) => {}
            other => panic!("{tool} took {arguments}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_read_says_why() {
    let bench = Bench::new();
    let failure = bench.fails("read_pg_log", json!({})).await;
    assert_failure(&failure, FailureKind::Failed, "logging_collector is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_the_middle_of_a_change_is_unknown() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t (x int) WITH (autovacuum_enabled = false); INSERT INTO t VALUES (1)");
    let holder = bench.application("holder").await;
    holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let gate = gate_with(ToolOptions { lock_timeout: Duration::from_secs(30), ..options() });
    let dsn = bench.dsn("postgres");
    let (outcome, ()) = tokio::join!(call(&gate, &dsn, "run_vacuum", json!({"table": "public.t"})), async {
        bench.until("SELECT wait_event_type FROM pg_stat_activity WHERE query LIKE 'VACUUM%'", |w| w == "Lock");
        bench.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'VACUUM%'");
    });
    let failure = outcome.unwrap_err();
    assert_failure(&failure, FailureKind::Unknown, "nobody knows whether it took effect");
    let outcome = gate.events().last().unwrap().outcome.clone().unwrap();
    assert_eq!(outcome.status, "unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_before_the_commit_has_changed_nothing() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let holder = bench.application("holder").await;
    holder.batch_execute("BEGIN; SELECT * FROM t FOR UPDATE").await.unwrap();
    let gate = gate_with(ToolOptions { lock_timeout: Duration::from_secs(30), ..options() });
    let dsn = bench.dsn("postgres");
    let (outcome, ()) = tokio::join!(
        call(&gate, &dsn, "execute_statement", json!({"statement": "UPDATE t SET x = 2 WHERE x = 1"})),
        async {
            bench.until("SELECT wait_event_type FROM pg_stat_activity WHERE query LIKE 'UPDATE%'", |w| w == "Lock");
            bench.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'UPDATE%'");
        }
    );
    let failure = outcome.unwrap_err();
    assert_failure(&failure, FailureKind::Unreachable, "Nothing was changed");
    assert_eq!(bench.server.psql("SELECT x FROM t"), "1");
}

/// Runs an INSERT whose COMMIT waits, ends its session then, and gives what the tool says.
async fn lose_the_commit(bench: &Bench, waits_on: &str) -> Result<ToolOutput, ToolFailure> {
    let arguments = json!({"statement": "INSERT INTO t VALUES (1)"});
    let dsn = bench.dsn("postgres");
    let (outcome, ()) = tokio::join!(call(&bench.gate, &dsn, "execute_statement", arguments), async {
        bench.until("SELECT wait_event FROM pg_stat_activity WHERE query = 'COMMIT'", |event| event == waits_on);
        bench.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT'");
    });
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_that_was_rolled_back_is_a_failure() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE TABLE t (x int);
         CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()",
    );
    let failure = lose_the_commit(&bench, "PgSleep").await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "was rolled back; nothing was changed");
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_that_took_effect_is_a_success() {
    let bench = Bench::on(PostgresServer::builder().setting("synchronous_commit", "on").start());
    bench.server.psql("CREATE TABLE t (x int)");
    // A standby that never comes makes the commit wait after it has been made.
    bench.server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    bench.server.reload();
    bench.until("SHOW synchronous_standby_names", |value| value == "nobody");
    let output = lose_the_commit(&bench, "SyncRep").await.unwrap();
    assert_eq!(output.affected, Some(1));
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "1");
}
