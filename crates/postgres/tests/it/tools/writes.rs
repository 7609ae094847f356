//! Changes of the server: they act, verify, and leave alone what they must.

use reeve_types::{ActionState, VerifyStatus};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_is_resumed_on_a_standby_only() {
    let bench = Bench::new();
    let standby = bench.server.standby();
    let dsn = standby.superuser_dsn();
    let arguments = || json!({});
    let unchanged = call(&bench.gate, &dsn, "resume_wal_replay", arguments()).await.unwrap();
    assert_eq!(data(&unchanged)["changed"], false);

    standby.psql("SELECT pg_wal_replay_pause()");
    let deadline = Instant::now() + Duration::from_secs(10);
    while standby.psql("SELECT pg_is_wal_replay_paused()") != "t" && Instant::now() < deadline {}
    let probe = json!({"connection_string": dsn});
    assert_eq!(bench.gate.probe("resume_wal_replay", probe.clone(), Timestamp::now()).await.0, ActionState::Failed);
    let resumed = call(&bench.gate, &dsn, "resume_wal_replay", arguments()).await.unwrap();
    assert_eq!(resumed.verify_status, Some(VerifyStatus::Ok));
    assert_eq!(data(&resumed)["changed"], true);
    assert_eq!(standby.psql("SELECT pg_is_wal_replay_paused()"), "f");
    assert_eq!(bench.gate.probe("resume_wal_replay", probe, Timestamp::now()).await.0, ActionState::Succeeded);

    let failure = bench.fails("resume_wal_replay", arguments()).await;
    assert_failure(&failure, FailureKind::Failed, "this server is a primary");
    let failure = call(&bench.gate, &dsn, "run_vacuum", json!({"table": "pg_catalog.pg_class"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "this server is a standby");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_vacuumed_and_seen_to_be() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE SCHEMA \"My Shop\"; CREATE TABLE \"My Shop\".\"Orders\" (x int) WITH (autovacuum_enabled = false);
         INSERT INTO \"My Shop\".\"Orders\" SELECT generate_series(1, 5000); DELETE FROM \"My Shop\".\"Orders\" WHERE x <= 4000;
         CREATE VIEW v AS SELECT 1",
    );
    bench.until("SELECT n_dead_tup FROM pg_stat_user_tables", |n| n == "4000");
    let table = json!({"table": "\"My Shop\".\"Orders\""});
    let asked = Timestamp::now() - Duration::from_secs(3600);
    let mut probe = table.clone();
    probe["connection_string"] = json!(bench.dsn("postgres"));
    assert_eq!(
        bench.gate.probe("run_vacuum", probe.clone(), asked).await.0,
        ActionState::Failed,
        "never vacuumed by hand"
    );

    let done = bench.run("run_vacuum", table.clone()).await;
    assert_eq!(done.verify_status, Some(VerifyStatus::Ok), "{}", done.output);
    assert!(
        done.output.starts_with("VACUUM (ANALYZE) \"My Shop\".\"Orders\" has run. Dead rows: 4000 before, 0 after."),
        "{}",
        done.output
    );
    assert_eq!(data(&done)["after"]["analyze_count"], 1);
    assert_eq!(bench.gate.probe("run_vacuum", probe, asked).await.0, ActionState::Succeeded);

    // An old snapshot keeps dead rows: the change took place, and did not help.
    let old = bench.application("old").await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    bench.server.psql("DELETE FROM \"My Shop\".\"Orders\"");
    let done = bench.run("run_vacuum", json!({"table": "\"My Shop\".\"Orders\"", "analyze": false})).await;
    assert_eq!(done.verify_status, Some(VerifyStatus::Warning), "{}", done.output);
    assert!(done.output.contains("can still be seen by an old transaction"), "{}", done.output);

    for (table, kind, words) in [
        ("public.nothing", FailureKind::Failed, "there is no table"),
        ("public.v", FailureKind::Invalid, "neither a table"),
        ("t; DROP TABLE x", FailureKind::Failed, "there is no table"),
    ] {
        assert_failure(&bench.fails("run_vacuum", json!({"table": table})).await, kind, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacuum_that_the_server_would_skip_is_refused() {
    let bench = Bench::new();
    bench.role("weak");
    bench.server.psql("CREATE TABLE t (x int)");
    let failure = bench.try_as("weak", "run_vacuum", json!({"table": "public.t"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "role \"weak\" may not vacuum public.t");
    assert_eq!(bench.server.psql("SELECT vacuum_count FROM pg_stat_user_tables"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_idle_slot_is_dropped() {
    let bench = Bench::new();
    bench.server.psql("SELECT pg_create_physical_replication_slot('spare', true)");
    let standby = bench.server.standby_with(PostgresServer::builder().setting("primary_slot_name", "busy"));
    bench.server.psql("SELECT pg_create_physical_replication_slot('busy', true)");
    bench.until("SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'", |active| active == "t");

    let failure = bench.fails("drop_replication_slot", json!({"slot_name": "busy"})).await;
    assert_failure(&failure, FailureKind::Failed, "is in use by process");
    assert_eq!(bench.server.psql("SELECT count(*) FROM pg_replication_slots"), "2");
    let failure = bench.fails("drop_replication_slot", json!({"slot_name": "nothing"})).await;
    assert_failure(&failure, FailureKind::Failed, "there is no replication slot `nothing`");
    bench.role("weak");
    let failure = bench.try_as("weak", "drop_replication_slot", json!({"slot_name": "spare"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "ALTER ROLE \"weak\" REPLICATION");

    let probe = json!({"slot_name": "spare", "connection_string": bench.dsn("postgres")});
    assert_eq!(bench.gate.probe("drop_replication_slot", probe.clone(), Timestamp::now()).await.0, ActionState::Failed);
    let done = bench.run("drop_replication_slot", json!({"slot_name": "spare"})).await;
    assert_eq!(done.verify_status, Some(VerifyStatus::Ok));
    assert_eq!(done.pre_state.as_ref().unwrap()["type"], "physical");
    assert_eq!(bench.server.psql("SELECT slot_name FROM pg_replication_slots"), "busy");
    assert_eq!(bench.gate.probe("drop_replication_slot", probe, Timestamp::now()).await.0, ActionState::Succeeded);
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_is_taken_back_and_its_old_value_kept() {
    let bench = Bench::new();
    bench.server.psql("ALTER SYSTEM SET work_mem = '64MB'");
    bench.server.psql("ALTER SYSTEM SET max_connections = 55");
    bench.server.reload();
    bench.until("SHOW work_mem", |value| value == "64MB");
    let probe = json!({"setting_name": "work_mem", "connection_string": bench.dsn("postgres")});
    assert_eq!(bench.gate.probe("reset_pg_setting", probe.clone(), Timestamp::now()).await.0, ActionState::Failed);
    let done = bench.run("reset_pg_setting", json!({"setting_name": "WORK_MEM"})).await;
    assert_eq!(done.verify_status, Some(VerifyStatus::Ok), "{}", done.output);
    assert_eq!(done.pre_state.as_ref().unwrap()["alter_system_value"], "64MB");
    assert_eq!(data(&done)["after"]["setting"], "4096");
    assert_eq!(bench.server.psql("SHOW work_mem"), "4MB");
    assert_eq!(bench.gate.probe("reset_pg_setting", probe, Timestamp::now()).await.0, ActionState::Succeeded);

    let restart = bench.run("reset_pg_setting", json!({"setting_name": "max_connections"})).await;
    assert_eq!(restart.verify_status, Some(VerifyStatus::Warning));
    assert!(restart.output.contains("must be restarted"), "{}", restart.output);
    let nothing = bench.run("reset_pg_setting", json!({"setting_name": "DateStyle"})).await;
    assert_eq!(nothing.affected, Some(0));
    for (name, kind, words) in [
        ("no_such_thing", FailureKind::Failed, "has no setting"),
        ("block_size", FailureKind::Invalid, "cannot be set or reset"),
    ] {
        assert_failure(&bench.fails("reset_pg_setting", json!({"setting_name": name})).await, kind, words);
    }
    bench.role("weak");
    bench.server.psql("ALTER SYSTEM SET work_mem = '64MB'");
    let failure = bench.try_as("weak", "reset_pg_setting", json!({"setting_name": "work_mem"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "superuser");
    if bench.server.major_version() < 15 {
        assert!(!failure.message.contains("GRANT ALTER SYSTEM"), "there is no such grant before 15: {failure}");
        return;
    }
    bench.server.psql("GRANT ALTER SYSTEM ON PARAMETER work_mem TO weak");
    let failure = bench.try_as("weak", "reset_pg_setting", json!({"setting_name": "work_mem"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Unknown, "the change was made, but what came after it failed");
    assert!(failure.message.contains("pg_reload_conf"), "half a change is said to be one: {failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_start_at_zero() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t AS SELECT generate_series(1, 100) AS x");
    bench.server.psql("SELECT count(*) FROM t");
    bench.until("SELECT seq_scan FROM pg_stat_user_tables", |n| n != "0");
    let done = bench.run("reset_cache_stats", json!({})).await;
    assert_eq!(done.verify_status, Some(VerifyStatus::Ok));
    assert!(done.pre_state.as_ref().unwrap()["commits"].as_i64().is_some());
    assert_eq!(bench.server.psql("SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables"), "0");
    bench.role("weak");
    let failure = bench.try_as("weak", "reset_cache_stats", json!({})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "GRANT EXECUTE ON FUNCTION pg_stat_reset()");
}
