//! Sessions: who waits for whom, and ending queries and sessions.

use super::*;

/// A session that holds a row and one that wants it, plus one that waits behind the second.
async fn chain(bench: &Bench) -> (Client, Vec<tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>>) {
    bench.server.psql("CREATE TABLE accounts (id int PRIMARY KEY, n int); INSERT INTO accounts VALUES (1, 0)");
    let holder = bench.application("holder").await;
    holder.batch_execute("BEGIN; UPDATE accounts SET n = 1").await.unwrap();
    let waiter = in_background(bench.application("waiter").await, "UPDATE accounts SET n = 2");
    bench.until("SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'waiter'", |w| w == "Lock");
    let ddl = in_background(bench.application("ddl").await, "ALTER TABLE accounts ADD COLUMN m int");
    bench.until("SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'ddl'", |w| w == "Lock");
    (holder, vec![waiter, ddl])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_whom_is_told_with_the_root() {
    let bench = Bench::new();
    let (_holder, _waiting) = chain(&bench).await;
    let (holder, waiter, ddl) = (bench.pid_of("holder"), bench.pid_of("waiter"), bench.pid_of("ddl"));

    let locks = bench.run("get_lock_info", json!({})).await;
    assert_eq!(row(data(&locks), "blocked_pid", waiter)["blocking_pid"], holder);
    assert_eq!(row(data(&locks), "blocked_pid", waiter)["blocking_query"], "BEGIN; UPDATE accounts SET n = 1");

    let blocking = bench.run("get_blocking_queries", json!({})).await;
    let rows = data(&blocking);
    let pair = row(rows, "blocked_pid", waiter);
    assert_eq!(pair["blocking_application"], "holder");
    assert_eq!(pair["blocking_state"], "idle in transaction");
    assert_eq!(pair["lock_type"], "transactionid");
    let of_ddl: Vec<&Value> = rows.as_array().unwrap().iter().filter(|r| r["blocked_pid"] == ddl).collect();
    assert_eq!(of_ddl[0]["relation"], "accounts");
    assert_eq!(of_ddl[0]["lock_mode"], "AccessExclusiveLock");
    assert!(rows.as_array().unwrap().iter().all(|r| r["root_pid"] == holder), "{rows}");
    let waits: Vec<f64> = rows.as_array().unwrap().iter().map(|r| r["blocked_seconds"].as_f64().unwrap()).collect();
    assert!(waits.is_sorted_by(|a, b| a >= b), "longest first: {waits:?}");

    let active = bench.run("get_active_connections", json!({"active_only": true})).await;
    assert_eq!(row(data(&active), "pid", waiter)["wait_event_type"], "Lock");
    assert!(data(&active).as_array().unwrap().iter().all(|r| r["pid"] != holder));
    let all = bench.run("get_active_connections", json!({})).await;
    assert_eq!(row(data(&all), "pid", holder)["state"], "idle in transaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remedy_of_a_diagnosis_can_be_submitted_as_it_is() {
    let bench = Bench::new();
    let (_holder, _waiting) = chain(&bench).await;
    let mut impatient = options();
    impatient.diagnose.thresholds.lock_wait_secs = 0.0;
    let gate = gate_with(impatient);
    let dsn = bench.dsn("postgres");
    let diagnosis = call(&gate, &dsn, "diagnose", json!({})).await.unwrap();
    let finding = row(&data(&diagnosis)["findings"], "code", "lock_chain");
    let remedy = &finding["remedies"][0];
    assert_eq!(remedy["arguments"]["pid"], bench.pid_of("holder"), "{}", diagnosis.output);
    assert!(diagnosis.output.contains("  Remedy: terminate_connection {"), "{}", diagnosis.output);

    let tool = remedy["tool"].as_str().unwrap();
    let cured = call(&gate, &dsn, tool, remedy["arguments"].clone()).await.unwrap();
    assert_eq!(cured.verify_status, Some(reeve_types::VerifyStatus::Ok));
    bench.until("SELECT count(*) FROM pg_locks WHERE NOT granted", |waiting| waiting == "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waiting_is_said() {
    let bench = Bench::new();
    assert_eq!(bench.run("get_lock_info", json!({})).await.output, "No session waits for a lock.\n");
    assert_eq!(bench.run("get_blocking_queries", json!({})).await.output, "No session is blocked by another.\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_described_before_it_is_ended() {
    let bench = Bench::new();
    let (_holder, _waiting) = chain(&bench).await;
    let info = bench.run("get_session_info", json!({"pid": bench.pid_of("holder")})).await;
    assert_eq!(data(&info)["state"], "idle in transaction");
    assert_eq!(data(&info)["has_writes"], true);
    assert_eq!(data(&info)["locked_tables"], json!(["accounts"]));
    assert_eq!(data(&info)["sessions_blocked"], 2);
    assert_eq!(data(&info)["rollback_estimate"]["undo"], "immediate");
    assert!(info.output.contains("has written"), "{}", info.output);
    assert!(info.output.contains("It blocks 2 other session(s)"), "{}", info.output);

    let reader = bench.application("reader").await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM pg_class").await.unwrap();
    let info = bench.run("get_session_info", json!({"pid": bench.pid_of("reader")})).await;
    assert!(info.output.contains("has written nothing"), "{}", info.output);

    bench.role("nosy");
    let hidden = bench.try_as("nosy", "get_session_info", json!({"pid": bench.pid_of("holder")})).await.unwrap();
    assert!(hidden.output.contains("GRANT pg_read_all_stats"), "{}", hidden.output);
    let failure = bench.fails("get_session_info", json!({"pid": 2_147_483_647})).await;
    assert_failure(&failure, FailureKind::Failed, "there is no session with process id 2147483647");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_cancelled_and_its_session_lives() {
    let bench = Bench::new();
    let sleeper = bench.application("sleeper").await;
    let (outcome, again) = tokio::join!(
        async {
            let error = sleeper.batch_execute("SELECT pg_sleep(60)").await.unwrap_err();
            (error.code().unwrap().code().to_owned(), sleeper.batch_execute("SELECT 1").await)
        },
        async {
            bench.until_state("sleeper", "active");
            bench.run("cancel_query", json!({"pid": bench.pid_of("sleeper")})).await
        }
    );
    assert_eq!(outcome.0, "57014");
    assert!(outcome.1.is_ok(), "the session lives on");
    assert_eq!(again.verify_status, Some(reeve_types::VerifyStatus::Ok));
    assert_eq!(again.affected, Some(1));
    assert_eq!(again.pre_state.as_ref().unwrap()["query"], "SELECT pg_sleep(60)");
    assert!(again.output.contains("The query has ended."), "{}", again.output);

    let pid = bench.pid_of("sleeper");
    let failure = bench.fails("cancel_query", json!({"pid": pid})).await;
    assert_failure(&failure, FailureKind::Failed, "runs no query that could be cancelled");
    let (state, words) = bench
        .gate
        .probe("cancel_query", json!({"pid": pid, "connection_string": bench.dsn("postgres")}), Timestamp::now())
        .await;
    assert_eq!(
        (state, words.contains("runs no query any more")),
        (reeve_types::ActionState::Succeeded, true),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_terminated_exactly_as_it_was_seen() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t (x int)");
    let writer = bench.application("writer").await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let pid = bench.pid_of("writer");
    let seen = bench.run("get_session_info", json!({"pid": pid})).await;
    let began = data(&seen)["backend_start"].as_str().unwrap().to_owned();

    let other = bench
        .fails("terminate_connection", json!({"pid": pid, "expected_backend_start": "2020-01-01T00:00:00Z"}))
        .await;
    assert_failure(&other, FailureKind::Failed, "is another one now");
    let other =
        bench.fails("terminate_connection", json!({"pid": pid, "expected_query_start": "2020-01-01T00:00:00Z"})).await;
    assert_failure(&other, FailureKind::Failed, "runs another query now");
    assert!(writer.batch_execute("SELECT 1").await.is_ok(), "nothing was done");
    let probe = json!({"pid": pid, "expected_backend_start": began, "connection_string": bench.dsn("postgres")});
    assert_eq!(
        bench.gate.probe("terminate_connection", probe.clone(), Timestamp::now()).await.0,
        reeve_types::ActionState::Failed
    );

    let output = bench.run("terminate_connection", json!({"pid": pid, "expected_backend_start": began})).await;
    assert_eq!(output.verify_status, Some(reeve_types::VerifyStatus::Ok));
    assert!(output.output.contains("The session is gone."), "{}", output.output);
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "0", "its transaction was rolled back");
    assert!(writer.batch_execute("SELECT 1").await.is_err());
    assert_eq!(
        bench.gate.probe("terminate_connection", probe, Timestamp::now()).await.0,
        reeve_types::ActionState::Succeeded
    );

    let failure = bench.fails("terminate_connection", json!({"pid": pid})).await;
    assert_failure(&failure, FailureKind::Failed, "there is no session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_does_not_end_needs_a_person() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t (x int)");
    let stuck = bench.application("stuck").await;
    stuck.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let pid = bench.pid_of("stuck");
    let frozen = bench.server.freeze_session(i32::try_from(pid).unwrap());
    let began = Instant::now();
    let output = bench.run("terminate_connection", json!({"pid": pid})).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(output.verify_status, Some(reeve_types::VerifyStatus::EscalationRequired), "{}", output.output);
    assert_eq!(output.retry_count, Some(7), "it looked as often as it was told to");
    for words in ["is still there although it was told to end", "A person must look", "never kill it with SIGKILL"] {
        assert!(output.output.contains(words), "`{words}` is not in: {}", output.output);
    }
    let began = &output.pre_state.as_ref().unwrap()["backend_start"];
    let probe = json!({"pid": pid, "expected_backend_start": began, "connection_string": bench.dsn("postgres")});
    let (state, words) = bench.gate.probe("terminate_connection", probe, Timestamp::now()).await;
    assert_eq!((state, words.contains("is still there")), (reeve_types::ActionState::Failed, true), "{words}");

    // The signal waits for the process to run again.
    drop(frozen);
    bench.until(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), |left| left == "0");
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_live_is_not_ended() {
    let bench = Bench::new();
    let walwriter: i64 =
        bench.server.psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").parse().unwrap();
    let failure = bench.fails("terminate_connection", json!({"pid": walwriter})).await;
    assert_failure(&failure, FailureKind::Failed, "the server's own walwriter");
    for name in ["reeve", "'reeve diagnose'"] {
        let own = bench.application(name).await;
        let pid: i32 = own.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let failure = bench.fails("terminate_connection", json!({"pid": pid})).await;
        assert_failure(&failure, FailureKind::Failed, "a session of Reeve itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_sessions_of_others_needs_the_right_role() {
    let bench = Bench::new();
    bench.role("weak");
    bench.role("owner");
    let theirs = connect_to(&format!("{} application_name=theirs", bench.dsn("owner"))).await;
    let pid = bench.pid_of("theirs");
    let failure = bench.try_as("weak", "terminate_connection", json!({"pid": pid})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "GRANT pg_signal_backend TO \"weak\"");
    let report = failure.report.unwrap();
    assert!(report.contains("Raw error: ") && !report.contains("password=weak"), "{report}");
    assert!(theirs.batch_execute("SELECT 1").await.is_ok());

    bench.server.psql("GRANT pg_signal_backend TO weak");
    let output = bench.try_as("weak", "terminate_connection", json!({"pid": pid})).await.unwrap();
    assert_eq!(output.verify_status, Some(reeve_types::VerifyStatus::Ok));
    assert!(theirs.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_transactions_with_writes_are_protected_by_the_limit() {
    let bench = Bench::new();
    let gate = gate_within("max_xact_age_secs: 1");
    bench.server.psql("CREATE TABLE t (x int)");
    let writer = bench.application("writer").await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let reader = bench.application("reader").await;
    reader.batch_execute("BEGIN; SELECT * FROM t").await.unwrap();
    let old = "SELECT bool_and(now() - xact_start > '1.5 s') FROM pg_stat_activity WHERE application_name IN ('writer', 'reader')";
    bench.until(old, |answer| answer == "t");

    let dsn = bench.dsn("postgres");
    let failure = call(&gate, &dsn, "terminate_connection", json!({"pid": bench.pid_of("writer")})).await.unwrap_err();
    assert_failure(&failure, FailureKind::LimitExceeded, "policy allows ending transactions of at most 1 s");
    assert!(writer.batch_execute("COMMIT").await.is_ok());
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "1");
    let output = call(&gate, &dsn, "terminate_connection", json!({"pid": bench.pid_of("reader")})).await.unwrap();
    assert_eq!(output.affected, Some(1), "a transaction without writes has nothing to lose");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_sessions_are_ended_within_the_limit() {
    let bench = Bench::new();
    bench.server.psql("CREATE DATABASE other");
    let mut idle = Vec::new();
    for name in ["a", "b", "c"] {
        idle.push(bench.application(name).await);
    }
    let elsewhere = connect_to(&format!("{} application_name=elsewhere", bench.server.dsn("postgres", "other"))).await;
    let busy = bench.application("busy").await;
    busy.batch_execute("BEGIN").await.unwrap();
    for name in ["a", "b", "c", "elsewhere"] {
        bench.until_state(name, "idle");
    }

    // The sessions that looked at the states end by themselves.
    let mut passing = 1;
    while passing > 0 {
        let sql = "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'psql'";
        passing = elsewhere.query_one(sql, &[]).await.unwrap().get(0);
    }

    let listed = bench.run("terminate_idle_connections", json!({"idle_minutes": 0, "dry_run": true})).await;
    assert_eq!(data(&listed)["count"], 4);
    let none = bench.run("terminate_idle_connections", json!({"idle_minutes": 5})).await;
    assert_eq!(none.affected, Some(0));

    let limited = gate_within("max_rows_affected: 2");
    let arguments = json!({"idle_minutes": 0, "database": "postgres"});
    let failure =
        call(&limited, &bench.dsn("postgres"), "terminate_idle_connections", arguments.clone()).await.unwrap_err();
    assert_failure(&failure, FailureKind::LimitExceeded, "3 sessions have been idle");
    for client in &idle {
        assert!(client.batch_execute("SELECT 1").await.is_ok(), "none was ended");
    }

    let ended = bench.run("terminate_idle_connections", arguments).await;
    assert_eq!(ended.affected, Some(3));
    assert_eq!(ended.verify_status, Some(reeve_types::VerifyStatus::Ok));
    assert_eq!(data(&ended)["sessions"].as_array().unwrap().len(), 3);
    assert!(elsewhere.batch_execute("SELECT 1").await.is_ok(), "another database");
    assert!(busy.batch_execute("COMMIT").await.is_ok(), "a transaction is not idle");
    assert!(idle[0].batch_execute("SELECT 1").await.is_err());
    let classes: Vec<_> = bench.gate.events().iter().filter_map(|e| e.action_class).collect();
    assert_eq!(classes.first(), Some(&reeve_types::ActionClass::Read), "a dry run is a read");
    assert_eq!(classes.last(), Some(&reeve_types::ActionClass::Destructive));
}
