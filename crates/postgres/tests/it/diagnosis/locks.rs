//! Locks: chains, queues, holders, circles.

use std::time::Duration;

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_types::{ActionClass, Severity};

use super::{application, durable, find, in_background, look, look_now, until_found, with_thresholds};

#[tokio::test]
async fn the_head_of_a_lock_chain_is_named_and_not_its_victims() {
    let server = durable().start();
    server
        .psql("CREATE TABLE orders (id int PRIMARY KEY, state text); INSERT INTO orders VALUES (1, 'new'), (2, 'new')");
    let head = application(&server, "api").await;
    head.batch_execute("BEGIN; UPDATE orders SET state = 'paid' WHERE id = 1").await.expect("updated");
    let middle = application(&server, "worker").await;
    middle.batch_execute("BEGIN; UPDATE orders SET state = 'sent' WHERE id = 2").await.expect("updated");
    let middle_pid = middle.facts().backend_pid;
    let waiting = in_background(middle, "UPDATE orders SET state = 'x' WHERE id = 1");
    let last = in_background(application(&server, "report").await, "UPDATE orders SET state = 'y' WHERE id = 2");

    let two_wait = async {
        loop {
            let (finding, diagnosis) = until_found(&server, &DiagnoseOptions::default(), "lock_chain").await;
            if finding.title.contains("2 sessions") {
                return (finding, diagnosis);
            }
        }
    };
    let (finding, diagnosis) = tokio::time::timeout(Duration::from_secs(20), two_wait).await.expect("found in time");
    let pid = head.facts().backend_pid;
    assert!(
        finding.title.starts_with(&format!("pid {pid} blocks 2 sessions on table orders for ")),
        "{}",
        finding.title
    );
    assert!(finding.cause.contains("application api"), "{}", finding.cause);
    assert!(finding.cause.contains("idle in transaction"), "{}", finding.cause);
    assert!(finding.cause.contains("1 for it directly, 1 behind the others"), "{}", finding.cause);
    assert_eq!(finding.remedies.len(), 1, "{:#?}", finding.remedies);
    assert_eq!(finding.remedies[0].tool, "terminate_connection");
    assert_eq!(finding.remedies[0].arguments["pid"], pid);
    assert_eq!(finding.remedies[0].action_class, ActionClass::Destructive);
    assert!(finding.severity <= Severity::Warning);
    assert_eq!(diagnosis.findings[0].code, "lock_chain");
    let blamed =
        diagnosis.findings.iter().flat_map(|f| &f.remedies).any(|r| r.arguments.get("pid") == Some(&middle_pid.into()));
    assert!(!blamed, "the victim in the middle must not be ended: {diagnosis:#?}");
    drop(head);
    waiting.await.expect("went on");
    last.await.expect("went on");
}

#[tokio::test]
async fn a_prepared_transaction_at_the_head_is_named_by_its_gid() {
    let server = durable().setting("max_prepared_transactions", 3).start();
    server.psql("CREATE TABLE stock (id int PRIMARY KEY, n int); INSERT INTO stock VALUES (1, 5)");
    server.psql("BEGIN; UPDATE stock SET n = 4 WHERE id = 1; PREPARE TRANSACTION 'shop-42'");
    let waiting = in_background(application(&server, "api").await, "UPDATE stock SET n = 3 WHERE id = 1");
    let options = with_thresholds(|t| {
        t.stuck_lock_wait_secs = 0.1;
        t.prepared_secs = 0.1;
    });
    let (finding, diagnosis) = until_found(&server, &options, "lock_chain").await;
    assert!(
        finding.title.starts_with("prepared transaction 'shop-42' blocks 1 session on table stock"),
        "{}",
        finding.title
    );
    assert!(finding.remedies.is_empty(), "no tool ends a prepared transaction: {:#?}", finding.remedies);
    assert!(finding.advice.iter().any(|line| line.contains("ROLLBACK PREPARED 'shop-42';")), "{:#?}", finding.advice);
    assert!(find(&diagnosis, "prepared_transaction").is_some(), "{diagnosis:#?}");
    server.psql("ROLLBACK PREPARED 'shop-42'");
    waiting.await.expect("went on");
}

#[tokio::test]
async fn ddl_in_the_queue_is_the_gentlest_thing_to_cancel() {
    let server = durable().start();
    server.psql("CREATE TABLE items (id int)");
    let reader = application(&server, "report").await;
    let reader_pid = reader.facts().backend_pid;
    reader.batch_execute("BEGIN; SELECT count(*) FROM items").await.expect("read");
    let reading = in_background(reader, "SELECT pg_sleep(30)");
    let options = with_thresholds(|t| t.lock_wait_secs = 0.1);
    let migration = application(&server, "migration").await;
    let ddl_pid = migration.facts().backend_pid;
    let altering = in_background(migration, "ALTER TABLE items ADD COLUMN n int");
    until_found(&server, &options, "lock_chain").await;
    let stuck = in_background(application(&server, "api").await, "SELECT * FROM items");
    let finding = loop {
        let (finding, _) = until_found(&server, &options, "lock_chain").await;
        if finding.title.contains("2 sessions") {
            break finding;
        }
    };
    assert!(
        finding.title.starts_with(&format!("pid {reader_pid} blocks 2 sessions on table items")),
        "{}",
        finding.title
    );
    assert_eq!(finding.remedies[0].tool, "cancel_query");
    assert_eq!(finding.remedies[0].arguments["pid"], ddl_pid);
    assert_eq!(finding.remedies[0].action_class, ActionClass::Write);
    assert!(finding.cause.contains("AccessExclusiveLock"), "{}", finding.cause);
    server.psql(&format!("SELECT pg_cancel_backend({reader_pid})"));
    for task in [reading, altering, stuck] {
        task.await.expect("went on");
    }
}

#[tokio::test]
async fn an_exclusive_lock_is_found_without_waiters_and_does_not_hold_up_the_look() {
    let server = durable().start();
    server.psql("CREATE TABLE invoices (id serial PRIMARY KEY, v text); INSERT INTO invoices(v) SELECT 'x' FROM generate_series(1, 100)");
    let holder = application(&server, "migration").await;
    holder.batch_execute("BEGIN; LOCK TABLE invoices, invoices_id_seq IN ACCESS EXCLUSIVE MODE").await.ok();
    holder.batch_execute("ROLLBACK; BEGIN; LOCK TABLE invoices IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let options = with_thresholds(|t| t.exclusive_lock_secs = 0.1);
    let (finding, diagnosis) = until_found(&server, &options, "exclusive_lock_held").await;
    assert!(finding.title.contains("holds ACCESS EXCLUSIVE on invoices"), "{}", finding.title);
    assert_eq!(finding.remedies[0].tool, "terminate_connection");
    assert!(diagnosis.duration_ms < 2000, "{} ms", diagnosis.duration_ms);
    let cut: Vec<_> = diagnosis.not_checked.iter().filter(|n| n.check == "tables" || n.check == "sequences").collect();
    assert!(cut.is_empty(), "{cut:?}");
}

#[tokio::test]
async fn a_check_that_waits_for_a_lock_is_cut_off_and_said() {
    let server = durable().start();
    let holder = application(&server, "odd").await;
    holder.batch_execute("BEGIN; LOCK TABLE pg_sequence IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let mut options = DiagnoseOptions::default();
    options.collect.lock_timeout = Duration::from_millis(100);
    let diagnosis = look(&server.superuser_dsn(), &options).await;
    let cut = diagnosis.not_checked.iter().find(|n| n.check == "sequences").expect("sequences were not checked");
    assert_eq!(cut.reason, "it waited for a lock for 0.1 s and was cut off");
    assert!(diagnosis.checks_run >= 15, "the rest goes on: {}", diagnosis.checks_run);
}

#[tokio::test]
async fn a_deadlock_is_counted() {
    let server = durable().setting("deadlock_timeout", "50ms").start();
    // How often counts: the counters of a cluster that was made a while ago would make one deadlock look rare.
    server.psql("SELECT pg_stat_reset(); CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    let (a, b) = (application(&server, "a").await, application(&server, "b").await);
    a.batch_execute("BEGIN; DELETE FROM t WHERE id = 1").await.expect("locked");
    b.batch_execute("BEGIN; DELETE FROM t WHERE id = 2").await.expect("locked");
    let (first, second) =
        tokio::join!(a.batch_execute("DELETE FROM t WHERE id = 2"), b.batch_execute("DELETE FROM t WHERE id = 1"));
    assert!(first.is_err() || second.is_err(), "one of them was the victim");
    drop((a, b));
    let (finding, _) = until_found(&server, &DiagnoseOptions::default(), "deadlocks").await;
    assert!(finding.title.starts_with("1 deadlock in postgres"), "{}", finding.title);
    assert_eq!(finding.severity, Severity::Warning);
}

#[tokio::test]
async fn a_circle_is_seen_before_the_server_breaks_it() {
    let server = durable().setting("deadlock_timeout", "60s").start();
    server.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    let (a, b) = (application(&server, "a").await, application(&server, "b").await);
    a.batch_execute("BEGIN; DELETE FROM t WHERE id = 1").await.expect("locked");
    b.batch_execute("BEGIN; DELETE FROM t WHERE id = 2").await.expect("locked");
    let pid = a.facts().backend_pid;
    let one = in_background(a, "DELETE FROM t WHERE id = 2");
    let two = in_background(b, "DELETE FROM t WHERE id = 1");
    let options = with_thresholds(|t| t.stuck_lock_wait_secs = 0.05);
    let (finding, _) = until_found(&server, &options, "deadlock").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.title.contains(&pid.to_string()), "{}", finding.title);
    server.psql(&format!("SELECT pg_cancel_backend({pid})"));
    one.await.expect("ended");
    two.await.expect("ended");
    let calm = look_now(&server).await;
    assert!(find(&calm, "deadlock").is_none(), "{calm:#?}");
}
