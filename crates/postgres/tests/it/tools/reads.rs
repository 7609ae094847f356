//! Looking: every read is run once and its answer held against what is there.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_tells_about_itself() {
    let bench = Bench::new();
    let output = bench.run("check_connection", json!({})).await;
    assert!(output.output.starts_with("Connection successful!\n"), "{}", output.output);
    assert_eq!(data(&output)["database"], "postgres");
    assert_eq!(data(&output)["role"], "primary");
    assert_eq!(data(&output)["server_port"], bench.server.port());

    let output = bench.run("get_server_info", json!({})).await;
    assert_eq!(data(&output)["data_directory"], bench.server.data_dir().to_str().unwrap());
    assert_eq!(data(&output)["max_connections"], 30);
    assert!(data(&output)["database_size_bytes"].as_i64().unwrap() > 1_000_000);
    assert!(data(&output)["database_size_pretty"].as_str().unwrap().ends_with(" MB"));
    assert!(data(&output)["started_at"].as_str().unwrap().parse::<Timestamp>().is_ok());

    let output = bench.run("get_status_summary", json!({})).await;
    let summary: Value = serde_json::from_str(&output.output).unwrap();
    assert_eq!(&summary, data(&output));
    assert_eq!(summary["status"], "ok");
    assert!(summary["version"].as_str().unwrap().starts_with("PG 1"));
    assert_eq!(summary["uptime"], "0d 0h");
    assert!(summary["connections"].as_i64().unwrap() >= 1);
    assert!(summary["cache_hit_ratio"].as_f64().is_some());

    let idle = bench.application("idler").await;
    idle.batch_execute("BEGIN").await.unwrap();
    let output = bench.run("get_connection_stats", json!({})).await;
    assert_eq!(row(&data(&output)["databases"], "database", "postgres")["idle_in_transaction"], 1);
    assert!(data(&output)["limits"]["in_use"].as_i64().unwrap() >= 2, "{}", output.output);
    assert!(output.output.contains("== Limits =="), "{}", output.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_and_disk_are_listed_largest_first() {
    let bench = Bench::new();
    bench.server.psql("CREATE DATABASE small");
    bench.server.psql("CREATE TABLE big AS SELECT g, repeat('x', 200) AS pad FROM generate_series(1, 20000) g; CREATE TABLE tiny (x int)");
    let databases = bench.run("get_database_info", json!({})).await;
    let names: Vec<&str> = data(&databases).as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["postgres", "small"]);
    assert_eq!(row(data(&databases), "name", "small")["encoding"], "UTF8");
    assert_eq!(row(data(&databases), "name", "small")["in_recovery"], false);

    let stats = bench.run("get_database_stats", json!({})).await;
    let own = row(data(&stats), "database", "postgres");
    assert!(own["commits"].as_i64().unwrap() > 0 && own["deadlocks"] == 0, "{own}");

    let disk = bench.run("get_disk_usage", json!({"top_n": 1})).await;
    let tables = data(&disk)["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0]["name"], "big");
    assert!(tables[0]["total_size_bytes"].as_i64().unwrap() > 4_000_000);
    assert!(disk.output.contains("== Largest tables of this database =="));

    bench.role("nosy");
    bench.server.psql("REVOKE CONNECT ON DATABASE small FROM PUBLIC");
    let output = bench.try_as("nosy", "get_database_info", json!({})).await.unwrap();
    assert_eq!(row(data(&output), "name", "small")["size_bytes"], Value::Null, "what may not be known is left open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_show_their_dead_rows() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE SCHEMA sales; CREATE TABLE sales.\"Odd'Name\" (x int) WITH (autovacuum_enabled = false);
         INSERT INTO sales.\"Odd'Name\" SELECT generate_series(1, 1000); DELETE FROM sales.\"Odd'Name\" WHERE x <= 600;
         CREATE TABLE fresh (x int)",
    );
    bench.until("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname LIKE 'Odd%'", |n| n == "600");
    let one = bench.run("get_table_stats", json!({"schema_name": "sales", "table_name": "Odd'Name"})).await;
    assert_eq!(data(&one)["dead_rows"], 600);
    assert_eq!(data(&one)["live_rows"], 400);
    assert_eq!(data(&one)["dead_pct"], 60.0);
    assert!(one.output.contains(" : 60 %\n"), "{}", one.output);

    let all = bench.run("get_table_stats", json!({})).await;
    assert_eq!(row(data(&all), "table", "fresh")["dead_rows"], 0);
    let injection = bench.fails("get_table_stats", json!({"table_name": "x'; DROP TABLE fresh; --"})).await;
    assert_failure(&injection, FailureKind::Failed, "there is no table");
    assert_eq!(bench.server.psql("SELECT count(*) FROM fresh"), "0");

    let worst = bench.run("get_vacuum_status", json!({"min_dead_ratio": 50})).await;
    assert_eq!(data(&worst).as_array().unwrap().len(), 1);
    assert_eq!(data(&worst)[0]["table"], "Odd'Name");
    assert_eq!(data(&worst)[0]["autovacuum"], false);
    let none = bench.run("get_vacuum_status", json!({"min_dead_ratio": 90})).await;
    assert_eq!(none.output, "No table has that share of dead rows.\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_found_literally_and_hold_no_secret() {
    let bench = Bench::on(
        PostgresServer::builder()
            .setting("work_mem", "7MB")
            .setting("primary_conninfo", "host=x password=s3cret user=r")
            .start(),
    );
    let found = bench.run("get_config_parameter", json!({"parameter_name": "WORK_MEM"})).await;
    assert_eq!(data(&found)[0]["name"], "work_mem", "the exact name comes first");
    assert_eq!(data(&found)[0]["setting"], "7168");
    assert!(data(&found).as_array().unwrap().len() > 1);
    let none = bench.run("get_config_parameter", json!({"parameter_name": "%_%"})).await;
    assert_eq!(none.output, "No setting has that in its name.\n");
    let important = bench.run("get_config_parameter", json!({})).await;
    assert_eq!(data(&important).as_array().unwrap().len(), 15);

    let changed = bench.run("get_pg_settings", json!({})).await;
    assert_eq!(row(data(&changed), "name", "work_mem")["default"], "4096");
    assert!(changed.output.contains("== Resource Usage / Memory =="), "{}", changed.output);
    assert!(!changed.output.contains("s3cret") && changed.output.contains("password=***"), "{}", changed.output);
    assert!(!data(&changed).to_string().contains("s3cret"));
    let ours = data(&changed).as_array().unwrap().iter().any(|s| s["name"] == "statement_timeout");
    assert!(!ours, "what our own session sets is not the server's");
    let one = bench.run("get_pg_settings", json!({"category": "autovacuum", "show_all": true})).await;
    assert!(data(&one).as_array().unwrap().iter().all(|s| s["category"].as_str().unwrap().contains("Autovacuum")));

    let extensions = bench.run("get_extensions", json!({})).await;
    assert_eq!(row(data(&extensions), "name", "plpgsql")["update_available"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_baseline_is_kept_and_found_again() {
    let bench = Bench::new();
    let baseline = bench.run("get_baseline", json!({})).await;
    for title in ["SERVER INFO", "SETTINGS", "EXTENSIONS", "DISK USAGE"] {
        assert!(baseline.output.contains(&format!("== {title} ==")), "{}", baseline.output);
    }
    assert!(baseline.output.ends_with("Kept as res_1.\n"));
    assert_eq!(data(&baseline)["server"]["max_connections"], 30);

    let saved = bench.gate.call("get_saved_snapshots", json!({"tool_name": "get_baseline"})).await.unwrap();
    assert_eq!(data(&saved)[0]["result_id"], "res_1");
    assert!(saved.output.contains("SERVER INFO"));
    let none =
        bench.gate.call("get_saved_snapshots", json!({"tool_name": "get_baseline", "server_name": "elsewhere"})).await;
    assert_eq!(none.unwrap().output, "No answer of get_baseline was kept in the last 90d.\n");
}

#[tokio::test]
async fn uploads_are_read_from_their_end() {
    let gate = gate();
    let output =
        gate.call("read_uploaded_file", json!({"upload_id": "ul_1", "filter": "FATAL", "lines": 1})).await.unwrap();
    assert_eq!(data(&output)["lines"], json!(["fatal: password '***'"]));
    assert!(output.output.contains("(1 earlier lines not shown)"), "{}", output.output);
    let failure = gate.call("read_uploaded_file", json!({"upload_id": "ul_2"})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "there is no upload `ul_2`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_and_waits_are_counted() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000); CHECKPOINT");
    let output = bench.run("get_bgwriter_stats", json!({})).await;
    let requested = data(&output)
        .pointer("/checkpoints_requested")
        .or(data(&output).pointer("/checkpointer/checkpoints_requested"));
    assert!(requested.and_then(Value::as_i64).unwrap() >= 1, "{}", output.output);

    let sleeper = in_background(bench.application("sleeper").await, "SELECT pg_sleep(60)");
    bench.until_state("sleeper", "active");
    let waits = bench.run("get_wait_events", json!({})).await;
    let sleeping = row(data(&waits), "wait_event", "PgSleep");
    assert_eq!(sleeping["active"], 1);
    assert_eq!(sleeping["pids"], json!([bench.pid_of("sleeper")]));
    sleeper.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_queries_come_from_pg_stat_statements_wherever_it_lives() {
    let bench = Bench::on(PostgresServer::builder().setting("shared_preload_libraries", "pg_stat_statements").start());
    let output = bench.run("get_slow_queries", json!({})).await;
    assert_eq!(data(&output)["installed"], false);
    assert!(output.output.contains("CREATE EXTENSION pg_stat_statements"));

    bench.server.psql("CREATE SCHEMA \"Odd ext\"; CREATE EXTENSION pg_stat_statements SCHEMA \"Odd ext\"");
    bench.server.psql("SELECT pg_sleep(0.2)");
    let output = bench.run("get_slow_queries", json!({"limit": 1})).await;
    let statements = data(&output)["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["query"], "SELECT pg_sleep($1)");
    assert!(statements[0]["total_ms"].as_f64().unwrap() >= 200.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replication_is_seen_from_both_ends() {
    let bench = Bench::new();
    bench.server.psql("SELECT pg_create_physical_replication_slot('spare', true)");
    let standby = bench.server.standby();
    bench.until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", |n| n == "1");
    bench.server.wait_for(&standby);
    let primary = bench.run("get_replication_status", json!({})).await;
    assert_eq!(data(&primary)["server"]["role"], "primary");
    assert_eq!(data(&primary)["standbys"][0]["state"], "streaming");
    let slot = row(&data(&primary)["slots"], "slot_name", "spare");
    assert_eq!(slot["active"], false);
    assert!(slot["retained_wal_bytes"].as_i64().is_some());

    standby.psql("SELECT pg_create_physical_replication_slot('cascade', true)");
    let seen = call(&bench.gate, &standby.superuser_dsn(), "get_replication_status", json!({})).await.unwrap();
    assert_eq!(data(&seen)["server"]["role"], "standby");
    assert_eq!(data(&seen)["server"]["replay_pause_state"], "not paused");
    assert_eq!(data(&seen)["slots"][0]["slot_name"], "cascade", "slots of a standby can be measured too");
    assert_eq!(data(&seen)["receiver"][0]["status"], "streaming");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_read_from_its_end() {
    let bench = Bench::on(
        PostgresServer::builder().setting("logging_collector", "on").setting("log_directory", "logs").start(),
    );
    let client = bench.application("noisy").await;
    let _ = client.batch_execute("SELECT 1/0 AS \"Ünïcode\"").await;
    let _ = client.batch_execute("ALTER ROLE nobody PASSWORD 's3cret'").await;
    let _ = client.batch_execute("SELECT * FROM nowhere").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let output = loop {
        let output = bench.run("read_pg_log", json!({"filter": "error:"})).await;
        if output.output.contains("nowhere") || Instant::now() > deadline {
            break output;
        }
    };
    let lines = data(&output)["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 3, "{}", output.output);
    assert!(lines[0].as_str().unwrap().contains("division by zero"));
    let whole = bench.run("read_pg_log", json!({"lines": 500})).await;
    assert!(whole.output.contains("Ünïcode") && whole.output.contains("PASSWORD '***'"), "{}", whole.output);
    assert!(!whole.output.contains("s3cret"));
    let last = bench.run("read_pg_log", json!({"lines": 1})).await;
    assert_eq!(data(&last)["lines"].as_array().unwrap().len(), 1);

    bench.role("nosy");
    let failure = bench.try_as("nosy", "read_pg_log", json!({})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "GRANT pg_monitor TO \"nosy\"");
    bench.server.psql("GRANT pg_monitor TO nosy");
    let failure = bench.try_as("nosy", "read_pg_log", json!({})).await.unwrap_err();
    assert_failure(&failure, FailureKind::Failed, "GRANT EXECUTE ON FUNCTION pg_read_binary_file");
    bench.server.psql("GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint) TO nosy");
    assert!(bench.try_as("nosy", "read_pg_log", json!({})).await.is_ok(), "the words name the right grants");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diagnosis_is_a_tool_too() {
    let bench = Bench::new();
    let output = bench.run("diagnose", json!({})).await;
    assert_eq!(data(&output)["reachable"], true);
    assert!(data(&output)["checks_run"].as_i64().unwrap() > 5);
    assert!(output.output.contains("PostgreSQL 1"), "{}", output.output);

    let nobody = call(&bench.gate, "host=127.0.0.1 port=1 user=u dbname=d", "diagnose", json!({})).await.unwrap();
    assert_eq!(data(&nobody)["reachable"], false);
    assert!(nobody.output.contains("CRITICAL ["), "{}", nobody.output);
}
