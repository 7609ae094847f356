//! Tables, indexes, sequences and settings.

use reeve_postgres::evidence::DiagnoseOptions;
use reeve_testkit::postgres::PostgresServer;
use reeve_types::{ActionClass, Severity};

use super::{codes, durable, find, look, look_now, until_found, until_gone, with_thresholds};

#[tokio::test]
async fn dead_rows_that_nobody_cleans_need_a_vacuum() {
    let server = durable().start();
    server.psql(
        "CREATE TABLE events (id int, v text) WITH (autovacuum_enabled = off); \
                 INSERT INTO events SELECT n, 'x' FROM generate_series(1, 5000) n; DELETE FROM events WHERE id % 2 = 0",
    );
    let (finding, _) = until_found(&server, &DiagnoseOptions::default(), "vacuum_needed").await;
    assert_eq!(finding.title, "table events has 2,500 dead rows, 50 % of all");
    assert!(finding.cause.contains("Autovacuum is switched off for events"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].tool, "run_vacuum");
    assert_eq!(finding.remedies[0].arguments["table"], "public.events");
    assert_eq!(finding.remedies[0].action_class, ActionClass::Write);
    server.psql("VACUUM ANALYZE events");
    until_gone(&server, "vacuum_needed").await;
}

#[tokio::test]
async fn a_table_that_is_mostly_empty_space_is_bloated() {
    let server = durable().start();
    server.psql(
        "CREATE TABLE wide (id int, v text) WITH (autovacuum_enabled = off); \
                 INSERT INTO wide SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n; \
                 DELETE FROM wide WHERE id < 19000",
    );
    server.psql("INSERT INTO wide VALUES (1000000, 'last')");
    server.psql("VACUUM ANALYZE wide");
    let options = with_thresholds(|t| t.bloat_bytes_min = 1024 * 1024);
    let (finding, _) = until_found(&server, &options, "table_bloat").await;
    assert!(finding.cause.contains("estimate"), "{}", finding.cause);
    assert_eq!(finding.remedies[0].arguments["table"], "public.wide");
}

#[tokio::test]
async fn indexes_that_do_no_good_are_listed_with_statements() {
    let server = durable().start();
    server.psql(
        "CREATE TABLE customers (id int PRIMARY KEY);
         CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text);
         INSERT INTO customers SELECT generate_series(1, 10);
         INSERT INTO orders SELECT n, n % 10 + 1, 'same' FROM generate_series(1, 2000) n;
         CREATE INDEX orders_note ON orders (note);
         CREATE INDEX orders_note_again ON orders (note); ANALYZE",
    );
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.psql("CREATE UNIQUE INDEX CONCURRENTLY orders_note_once ON orders (note)");
    }));
    assert!(failed.is_err(), "duplicates keep the index from being built");
    let options = with_thresholds(|t| {
        t.index_bytes_min = 0;
        t.unused_index_secs = 0.0;
        t.foreign_key_rows_min = 100.0;
    });
    let diagnosis = look(&server.superuser_dsn(), &options).await;
    let advice =
        |code: &str| find(&diagnosis, code).unwrap_or_else(|| panic!("no {code}: {diagnosis:#?}")).advice.join("\n");
    assert!(advice("invalid_index").contains("REINDEX INDEX CONCURRENTLY public.orders_note_once;"));
    assert!(advice("unused_index").contains("DROP INDEX CONCURRENTLY public.orders_note;"));
    assert!(advice("duplicate_index").contains("DROP INDEX CONCURRENTLY public.orders_note_again;"));
    assert!(advice("missing_foreign_key_index").contains("CREATE INDEX CONCURRENTLY ON public.orders (customer);"));
}

#[tokio::test]
async fn a_sequence_ends_where_its_column_ends() {
    let server = durable().start();
    server.psql("CREATE TABLE t (id serial); ALTER SEQUENCE t_id_seq AS bigint; SELECT setval('t_id_seq', 2100000000)");
    let diagnosis = look_now(&server).await;
    let finding = find(&diagnosis, "sequence_exhaustion").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.title.contains("47,483,647 are left"), "{}", finding.title);
    assert!(finding.cause.contains("column t.id is too small"), "{}", finding.cause);
}

#[tokio::test]
async fn temporary_files_are_counted() {
    let server = durable().setting("work_mem", "64kB").start();
    server.psql("SELECT count(*) FROM (SELECT n FROM generate_series(1, 400000) n ORDER BY random()) x");
    let options = with_thresholds(|t| t.temp_bytes_min = 1024 * 1024);
    let (finding, _) = until_found(&server, &options, "temporary_files").await;
    assert!(finding.cause.contains("work_mem (64 kB)"), "{}", finding.cause);
}

#[tokio::test]
async fn unsafe_settings_are_found_with_their_harm() {
    let server = PostgresServer::builder().setting("autovacuum", "off").start();
    let diagnosis = look_now(&server).await;
    let titles: Vec<&str> =
        diagnosis.findings.iter().filter(|f| f.code == "unsafe_setting").map(|f| f.title.as_str()).collect();
    assert_eq!(titles, ["fsync is off", "full_page_writes is off", "autovacuum is off", "synchronous_commit is off"]);
}

#[tokio::test]
async fn errors_in_the_configuration_and_a_read_only_default_are_found() {
    let server = durable().start();
    server.psql("ALTER DATABASE postgres SET default_transaction_read_only = on");
    let conf = std::fs::read_to_string(server.data_dir().join("postgresql.conf")).expect("the configuration");
    server.put_file("postgresql.conf", format!("{conf}\nwork_mem = 'much'\n").as_bytes());
    let diagnosis = look(&server.superuser_dsn(), &DiagnoseOptions::default()).await;
    assert!(find(&diagnosis, "read_only").is_some(), "{:?}", codes(&diagnosis));
    let finding = find(&diagnosis, "config_file_error").unwrap_or_else(|| panic!("{diagnosis:#?}"));
    assert!(finding.evidence[0].fact.contains("work_mem"), "{:#?}", finding.evidence);
}
