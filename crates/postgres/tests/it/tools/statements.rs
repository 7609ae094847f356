//! Statements of the caller's own: queries, plans and changes.

use reeve_types::{ActionClass, VerifyStatus};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_takes_values_as_parameters_and_gives_typed_rows() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE TABLE orders (id int, name text, price numeric(30,5), at timestamptz, tags text[], doc jsonb);
         INSERT INTO orders SELECT g, 'n' || g, 12345678901234567890.12345, '2026-01-31T12:00:00.5Z', ARRAY['a','b'], '{\"k\":1}'
         FROM generate_series(1, 150) g",
    );
    let query = "SELECT id, name, price, at AT TIME ZONE 'UTC' AS at, tags, doc FROM orders WHERE id = ANY ($1) AND name <> $2 ORDER BY id DESC;";
    let output = bench.run("run_query", json!({"query": query, "params": [[1, 2, 3], "n3'; DROP TABLE orders"]})).await;
    assert_eq!(data(&output)["columns"], json!(["id", "name", "price", "at", "tags", "doc"]));
    assert_eq!(data(&output)["row_count"], 3);
    let first = &data(&output)["rows"][0];
    assert_eq!(first["id"], 3);
    assert_eq!(first["price"], "12345678901234567890.12345", "no digit is lost");
    assert_eq!(first["at"], "2026-01-31T12:00:00.5");
    assert_eq!(first["tags"], json!(["a", "b"]));
    assert_eq!(first["doc"], json!({"k": 1}));

    let output = bench.run("run_query", json!({"query": "SELECT id FROM orders"})).await;
    assert_eq!(data(&output)["row_count"], 100);
    assert_eq!(data(&output)["truncated"], true);
    assert!(output.output.contains("the limit of 100 rows was reached"));
    let output = bench.run("run_query", json!({"query": "SHOW work_mem"})).await;
    assert_eq!(data(&output)["rows"][0]["work_mem"], "4MB");
    let output = bench.run("run_query", json!({"query": "SELECT 1 AS a, 2 AS a, NULL AS reeve_row_"})).await;
    assert_eq!(data(&output)["rows"][0], json!({"a": 1, "a_2": 2, "reeve_row_": null}));
    let output = bench.run("run_query", json!({"query": "SELECT id FROM orders WHERE false -- nothing"})).await;
    assert_eq!(output.output, "(no rows)\n");
    let huge =
        bench.run("run_query", json!({"query": "SELECT repeat('x', 3000000) AS pad UNION ALL SELECT 'small'"})).await;
    assert_eq!(data(&huge)["rows"], json!([{"pad": "small"}]));
    assert_eq!(data(&huge)["truncated"], true);
    assert!(huge.output.contains("left out"), "{}", huge.output);
    assert_eq!(bench.server.psql("SELECT count(*) FROM orders"), "150");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_could_change_something_is_refused() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t AS SELECT 1 AS x; CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING x'");
    let table = [
        "DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "WITH gone AS (DELETE FROM t RETURNING x) SELECT * FROM gone",
        "SELECT wipe()",
        "SELECT pg_terminate_backend(1)",
        "EXPLAIN ANALYZE DELETE FROM t",
        "COPY t TO PROGRAM 'true'",
        "SELECT x FROM t FOR UPDATE",
    ];
    for query in table {
        for tool in ["run_query", "explain_query"] {
            let failure = bench.fails(tool, json!({"query": query})).await;
            assert_eq!(failure.kind, FailureKind::Invalid, "{query}: {failure}");
        }
    }
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "1");
    let failure = bench.fails("run_query", json!({"query": "SELECT nothing FROM t"})).await;
    assert_failure(&failure, FailureKind::Invalid, "column \"nothing\" does not exist");
    let failure = bench.fails("run_query", json!({"query": "SELECT * FROM t WHERE x = $1", "params": ["one"]})).await;
    assert_failure(&failure, FailureKind::Invalid, "invalid input syntax");
    let failure = bench.fails("run_query", json!({"query": "SELECT * FROM t WHERE x = $1"})).await;
    assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_measured_and_changes_are_rolled_back() {
    let bench = Bench::new();
    bench.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x");
    let plan = bench.run("explain_query", json!({"query": "SELECT * FROM t WHERE x < 10"})).await;
    assert!(
        plan.output.contains("Seq Scan on t") && plan.output.contains("actual time") && plan.output.contains("Buffers")
    );
    let only = bench.run("explain_query", json!({"query": "SELECT * FROM t", "analyze": false})).await;
    assert!(!only.output.contains("actual time"));

    let refused = bench.fails("explain_query", json!({"query": "DELETE FROM t"})).await;
    assert_eq!(refused.kind, FailureKind::Invalid);
    let plan = bench.run("explain_query", json!({"query": "DELETE FROM t", "allow_dml": true})).await;
    assert!(plan.output.contains("Delete on t") && plan.output.contains("run and rolled back"), "{}", plan.output);
    assert_eq!(data(&plan)["rolled_back"], true);
    assert_eq!(bench.server.psql("SELECT count(*) FROM t"), "1000");
    assert_eq!(
        bench.gate.events().last().unwrap().action_class,
        Some(ActionClass::Write),
        "running a change is a write"
    );
    let failure = bench.fails("explain_query", json!({"query": "EXPLAIN SELECT 1"})).await;
    assert_failure(&failure, FailureKind::Invalid, "without EXPLAIN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_counted_with_its_cascades_and_kept_within_the_limit() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE TABLE customers (id int PRIMARY KEY);
         CREATE TABLE orders (id int, customer int REFERENCES customers ON DELETE CASCADE);
         INSERT INTO customers SELECT generate_series(1, 5); INSERT INTO orders SELECT g, 1 + g % 5 FROM generate_series(0, 49) g",
    );
    let statement = "DELETE FROM customers WHERE id = $1";
    let dry = bench.run("execute_statement", json!({"statement": statement, "params": [1], "dry_run": true})).await;
    assert_eq!(data(&dry)["rows_affected"], 11, "one customer and ten orders");
    assert_eq!(data(&dry)["rows_by_statement"], 1);
    assert_eq!(data(&dry)["committed"], false);
    assert_eq!(bench.server.psql("SELECT count(*) FROM orders"), "50");

    let limited = gate_within("max_rows_affected: 10");
    let arguments = json!({"statement": statement, "params": [1]});
    let failure = call(&limited, &bench.dsn("postgres"), "execute_statement", arguments.clone()).await.unwrap_err();
    assert_failure(&failure, FailureKind::LimitExceeded, "would have changed 11 rows (1 by itself");
    assert_eq!(bench.server.psql("SELECT count(*) FROM customers"), "5", "rolled back");

    let done = bench.run("execute_statement", arguments).await;
    assert_eq!(done.affected, Some(11));
    assert_eq!(done.verify_status, Some(VerifyStatus::Ok));
    assert_eq!(row(&data(&done)["tables"], "table", "orders")["deleted"], 10);
    assert_eq!(bench.server.psql("SELECT count(*) FROM orders"), "40");
    let inserted = bench
        .run("execute_statement", json!({"statement": "INSERT INTO customers VALUES ($1), ($2)", "params": [10, "11"]}))
        .await;
    assert_eq!(inserted.affected, Some(2));
    assert_eq!(bench.gate.events().last().unwrap().action_class, Some(ActionClass::Write));
    bench.run("execute_statement", json!({"statement": "UPDATE orders SET id = id + 1", "dry_run": true})).await;
    assert_eq!(bench.gate.events().last().unwrap().action_class, Some(ActionClass::Destructive), "every row is meant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_the_server_refuses_changes_nothing() {
    let bench = Bench::new();
    bench.server.psql(
        "CREATE TABLE t (x int PRIMARY KEY); INSERT INTO t VALUES (1);
         CREATE TABLE late (x int REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
    );
    let failure = bench.fails("execute_statement", json!({"statement": "INSERT INTO t VALUES (1)"})).await;
    assert_failure(&failure, FailureKind::Failed, "duplicate key");
    let failure = bench.fails("execute_statement", json!({"statement": "INSERT INTO late VALUES (7)"})).await;
    assert_failure(&failure, FailureKind::Failed, "Nothing was changed");
    assert_eq!(bench.server.psql("SELECT count(*) FROM late"), "0");
    for statement in ["DROP TABLE t", "DELETE FROM t; DELETE FROM t", "SELECT 1", "TRUNCATE t"] {
        let failure = bench.fails("execute_statement", json!({"statement": statement})).await;
        assert_eq!(failure.kind, FailureKind::Invalid, "{statement}: {failure}");
    }

    let holder = bench.application("holder").await;
    holder.batch_execute("BEGIN; SELECT * FROM t FOR UPDATE").await.unwrap();
    let failure = bench.fails("execute_statement", json!({"statement": "UPDATE t SET x = 2 WHERE x = 1"})).await;
    assert_failure(&failure, FailureKind::Timeout, "lock");
    assert_eq!(bench.server.psql("SELECT x FROM t"), "1");
}
