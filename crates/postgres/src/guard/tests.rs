//! Attacks that must fail and honest queries that must pass.

use super::*;

const ATTACKS: &[&str] = &[
    // more than one statement
    "SELECT 1; DROP TABLE t",
    "SELECT 1; SELECT 2",
    "SELECT 1;; DELETE FROM t",
    "SELECT 1 /* ; */ ; COMMIT",
    "SELECT $$a$$; DROP TABLE t --$$",
    "SELECT 'a'';'; DELETE FROM t; --'",
    "SELECT U&'\\0027; DROP TABLE t; --'; DROP TABLE t",
    "COMMIT; DROP TABLE t",
    "SELECT E'\\'; DROP TABLE t; --'; DROP TABLE t",
    // writing statements
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET x = 1",
    "DELETE FROM t",
    "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE t",
    "DROP TABLE t",
    "CREATE TABLE t (x int)",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP VIEW v AS SELECT 1",
    "ALTER SYSTEM SET fsync = off",
    "VACUUM",
    "ANALYZE t",
    "CLUSTER",
    "REINDEX DATABASE postgres",
    "REFRESH MATERIALIZED VIEW m",
    "COPY t TO '/tmp/x'",
    "COPY t TO PROGRAM 'id'",
    "COPY (SELECT 1) TO STDOUT",
    "CALL p()",
    "DO $$ BEGIN PERFORM 1; END $$",
    "SET ROLE postgres",
    "SET default_transaction_read_only = off",
    "RESET ALL",
    "SET TRANSACTION READ WRITE",
    "BEGIN READ WRITE",
    "ROLLBACK",
    "SAVEPOINT a",
    "PREPARE p AS DELETE FROM t",
    "EXECUTE p",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH 1 FROM c",
    "LISTEN x",
    "NOTIFY x",
    "LOAD 'evil'",
    "LOCK TABLE t",
    "CHECKPOINT",
    "DISCARD ALL",
    "GRANT ALL ON t TO public",
    "COMMENT ON TABLE t IS 'x'",
    "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y",
    "SECURITY LABEL ON TABLE t IS 'x'",
    // writes inside reads
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) TABLE x",
    "WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT 1",
    "WITH a AS (SELECT 1), b AS (WITH c AS (SELECT 1) SELECT * FROM c), d AS (DELETE FROM t RETURNING 1) SELECT 1",
    "WITH x AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE RETURNING 1) SELECT 1",
    "SELECT * INTO u FROM t",
    "SELECT 1 INTO TEMP u",
    "SELECT 1 UNION SELECT 2 INTO u",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR KEY SHARE SKIP LOCKED",
    "SELECT * FROM (SELECT * FROM t FOR NO KEY UPDATE) s",
    "SELECT (SELECT x FROM t LIMIT 1 FOR SHARE)",
    "VALUES ((SELECT x FROM t FOR UPDATE))",
    // explain
    "EXPLAIN DELETE FROM t",
    "EXPLAIN ANALYZE DELETE FROM t",
    "EXPLAIN (ANALYZE) INSERT INTO t VALUES (1)",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (ANALYZE on, BUFFERS) SELECT 1",
    "EXPLAIN (ANALYZE 1) SELECT 1",
    "EXPLAIN EXECUTE p",
    "EXPLAIN CREATE TABLE t AS SELECT 1",
    "EXPLAIN DECLARE c CURSOR FOR SELECT 1",
    "EXPLAIN SELECT pg_sleep(1)",
    // functions, wherever they hang
    "SELECT pg_sleep(1)",
    "SELECT pg_catalog.pg_sleep(1)",
    "SELECT \"pg_sleep\"(1)",
    "SELECT U&\"pg\\005Fsleep\"(1)",
    "SELECT PG_SLEEP(1)",
    "SELECT/**/pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('.')",
    "SELECT * FROM LATERAL pg_ls_waldir() AS w",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), pg_ls_dir('.'))",
    "SELECT 1 ORDER BY pg_terminate_backend(1)",
    "SELECT 1 LIMIT (SELECT pg_terminate_backend(1)::int)",
    "SELECT 1 OFFSET length(pg_read_file('x'))",
    "SELECT 1 WHERE pg_cancel_backend(1)",
    "SELECT count(*) FILTER (WHERE pg_reload_conf()) FROM t",
    "SELECT sum(x) OVER (PARTITION BY pg_advisory_lock(1)) FROM t",
    "SELECT sum(x) OVER w FROM t WINDOW w AS (ORDER BY nextval('s'))",
    "SELECT 1 GROUP BY setval('s', 1)",
    "SELECT 1 HAVING pg_promote()",
    "SELECT DISTINCT ON (lo_import('/etc/passwd')) 1",
    "SELECT CASE WHEN true THEN lo_export(1, '/tmp/x') END",
    "SELECT coalesce(dblink_exec('x', 'DROP TABLE t'), '')",
    "SELECT ARRAY[set_config('a.b', 'c', false)]",
    "SELECT ROW(pg_switch_wal())",
    "SELECT (ARRAY[1])[pg_backend_pid() + pg_logical_emit_message(true, 'a', 'b')::int]",
    "SELECT * FROM t JOIN u ON pg_try_advisory_lock(1)",
    "SELECT * FROM t TABLESAMPLE evil (1)",
    "SELECT * FROM t TABLESAMPLE system (length(pg_read_file('x')))",
    "SELECT query_to_xml('DELETE FROM t', true, true, '')",
    "SELECT * FROM ts_stat('SELECT evil()')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT evil()')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT * FROM XMLTABLE('/a' PASSING (SELECT pg_read_file('x')::xml) COLUMNS a text PATH 'b')",
    "SELECT * FROM XMLTABLE('/a' PASSING '<a/>'::xml COLUMNS a text DEFAULT pg_read_file('x'))",
    "SELECT * FROM JSON_TABLE(pg_read_file('x')::jsonb, '$' COLUMNS (a int PATH '$'))",
    "SELECT JSON_VALUE('{}', '$' DEFAULT nextval('s') ON EMPTY)",
    "SELECT JSON_OBJECT('a': pg_read_file('x'))",
    "SELECT JSON_ARRAY(SELECT nextval('s'))",
    "SELECT xmlserialize(CONTENT xmlparse(DOCUMENT pg_read_file('x')) AS text)",
    "SELECT x FROM (VALUES (pg_read_binary_file('x'))) AS v(x)",
    "SELECT EXISTS (SELECT pg_stat_reset())",
    "SELECT 1 = ANY (SELECT nextval('s'))",
    "WITH RECURSIVE r AS (SELECT nextval('s') UNION ALL SELECT 1 FROM r) SELECT 1",
    "TABLE t ORDER BY evil()",
    "SELECT evil()",
    "SELECT public.lower('a')",
    "SELECT evil.upper('a')",
    "SELECT a.b.c('x')",
    "SELECT string_agg(x, ',' ORDER BY evil(x)) FROM t",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY evil(x)) FROM t",
    "SELECT f(VARIADIC ARRAY[1])",
    "SELECT upper(txt => pg_read_file('x'))",
    "SELECT txid_current()",
    "SELECT pg_current_xact_id()",
    "SELECT pg_export_snapshot()",
    "SELECT pg_create_restore_point('x')",
    "SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)",
    "SELECT * FROM pg_logical_slot_peek_changes('s', NULL, NULL)",
    "SELECT pg_import_system_collations('public')",
    "SELECT lo_get(1)",
    "SELECT current_setting(concat('primary_', 'conninfo'))",
    "SELECT current_setting('primary_conninfo')",
    "SHOW primary_conninfo",
    "SHOW ALL",
    // operators of other schemas
    "SELECT 1 OPERATOR(evil.+) 2",
    "SELECT OPERATOR(evil.-) 2",
    "SELECT 1 OPERATOR(evil.=) ANY (SELECT 2)",
    "SELECT x FROM t ORDER BY x USING OPERATOR(evil.<)",
    "SELECT x OPERATOR(evil.~~) ALL (ARRAY['a'])",
    // secrets
    "SELECT rolpassword FROM pg_authid",
    "TABLE pg_catalog.pg_shadow",
    "SELECT * FROM pg_user_mappings",
    "SELECT subconninfo FROM pg_subscription",
    "SELECT (SELECT passwd FROM pg_shadow LIMIT 1)",
    // others
    "SELECT * FROM t WHERE CURRENT OF c",
    "SELECT DEFAULT",
    "",
    "  -- nothing\n",
    ";",
    "/* nothing */",
    "SELECT 1\0; DROP TABLE t",
    "SELECT 'unterminated",
    "SELECT $a$ unterminated $b$",
    "not sql at all",
];

const HONEST: &[&str] = &[
    "SELECT 1",
    "SELECT 1;",
    "  SELECT 1 ; -- done",
    "/* why */ SELECT ';' || $$;$$ || E'\\';' -- ; DROP TABLE t",
    "TABLE orders",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT * FROM orders WHERE id = $1",
    "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC NULLS LAST LIMIT 10 OFFSET 5",
    "SELECT count(*) FILTER (WHERE state = 'active'), max(now() - query_start) FROM pg_stat_activity",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT sum(n) FROM r",
    "WITH a AS MATERIALIZED (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM a NATURAL JOIN b",
    "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0",
    "SELECT relname, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class ORDER BY pg_total_relation_size(oid) DESC",
    "SELECT 'orders'::regclass::oid, CAST('1' AS numeric(10, 2)), '{1,2}'::int[], interval '1 day'",
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "SELECT lag(x, 1) OVER w FROM t WINDOW w AS (ORDER BY y)",
    "SELECT a, grouping(a), sum(b) FROM t GROUP BY ROLLUP (a), GROUPING SETS ((), (a))",
    "SELECT extract(epoch FROM now()), date_trunc('hour', now()), now() AT TIME ZONE 'UTC', age(now())",
    "SELECT substring('abc' FROM 2), overlay('abc' PLACING 'x' FROM 1), trim(both ' ' FROM ' a '), position('a' IN 'ba')",
    "SELECT x FROM t WHERE a LIKE 'x%' ESCAPE '!' AND b ILIKE 'y' AND c SIMILAR TO 'z' AND d ~ '^a' AND e BETWEEN 1 AND 2",
    "SELECT coalesce(a, b), nullif(a, b), greatest(1, 2), least(1, 2), CASE a WHEN 1 THEN 'x' ELSE 'y' END FROM t",
    "SELECT j -> 'a' ->> 'b', jsonb_path_query(j, '$.a'), j @> '{}' FROM t, jsonb_each(t.j) AS e(k, v)",
    "SELECT * FROM jsonb_to_recordset('[]') AS x(a int, b text)",
    "SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(x, n)",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1, 2])) AS r(a, b)",
    "SELECT * FROM t TABLESAMPLE bernoulli (1) REPEATABLE (42)",
    "SELECT string_agg(name, ', ' ORDER BY name), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FROM t",
    "SELECT * FROM a LEFT JOIN b USING (id) CROSS JOIN LATERAL (SELECT * FROM c WHERE c.id = a.id) l",
    "SELECT 1 UNION ALL SELECT 2 INTERSECT SELECT 3 EXCEPT SELECT 4",
    "SELECT EXISTS (SELECT 1), 1 IN (1, 2), 1 = ANY (ARRAY[1]), NOT true IS DISTINCT FROM false",
    "SELECT to_tsvector('english', body) @@ plainto_tsquery('x'), ts_rank(v, q) FROM t",
    "SELECT has_table_privilege('t', 'SELECT'), pg_has_role('pg_monitor', 'MEMBER'), pg_get_viewdef('v'::regclass)",
    "SELECT pg_current_wal_lsn(), pg_wal_lsn_diff('0/0', '0/1'), pg_is_in_recovery(), pg_last_wal_replay_lsn()",
    "SELECT current_user, session_user, current_date, localtimestamp, current_database(), current_schema",
    "SELECT current_setting('work_mem'), current_setting('server_version_num')::int, version()",
    "SELECT random(), gen_random_uuid(), clock_timestamp(), md5('a'), encode('a'::bytea, 'hex')",
    "SELECT xmlelement(name a, 'b'), xpath('/a', '<a/>'), xmlforest(1 AS x)",
    "SELECT JSON_OBJECT('a': 1), JSON_ARRAY(1, 2), JSON_VALUE('{}', '$.a'), '{}' IS JSON",
    "SELECT * FROM JSON_TABLE('[]'::jsonb, '$[*]' COLUMNS (a int PATH '$.a'))",
    "SELECT (ROW(1, 2)).f1, (ARRAY[1, 2])[1:2], a.b FROM t a",
    "SELECT 1 OPERATOR(pg_catalog.+) 2, 'a' COLLATE \"C\"",
    "SELECT schemaname, relname, n_dead_tup FROM pg_catalog.pg_stat_user_tables",
    "SHOW work_mem",
    "SHOW transaction_read_only",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN (VERBOSE, COSTS off, FORMAT json) SELECT 1",
    "EXPLAIN (ANALYZE off) SELECT 1",
    "EXPLAIN (ANALYZE false, FORMAT yaml) WITH a AS (SELECT 1) SELECT * FROM a",
];

#[test]
fn attacks_are_refused() {
    for sql in ATTACKS {
        if let Ok(guarded) = read_only(sql) {
            panic!("accepted: {sql} as {guarded:?}");
        }
    }
}

#[test]
fn honest_queries_pass() {
    for sql in HONEST {
        if let Err(refused) = read_only(sql) {
            panic!("{sql}: {refused}");
        }
    }
}

#[test]
fn the_statement_comes_back_without_what_surrounds_it() {
    let guarded = read_only(" /* a */ SELECT 1 /* b */ ; -- c").expect("a read");
    assert_eq!(guarded.sql(), "SELECT 1 /* b */");
    assert_eq!(read_only("SELECT 'é', 1").expect("a read").sql(), "SELECT 'é', 1");
}

#[test]
fn refusals_say_what_and_why() {
    let text = |sql: &str| read_only(sql).expect_err("it is refused").to_string();
    assert_eq!(text("SELECT 1; SELECT 2"), "the text holds 2 statements; exactly one is accepted");
    assert_eq!(
        text("DROP TABLE t"),
        "drop is not a read; only SELECT, VALUES, TABLE, WITH, SHOW and EXPLAIN are accepted"
    );
    assert_eq!(
        text("SELECT pg_read_file('x')"),
        "function `pg_read_file` is not accepted in a read: it reads files of the server"
    );
    assert_eq!(
        text("SELECT my.f()"),
        "function `my.f` is not known to be free of effects, so it is not accepted in a read"
    );
    assert_eq!(
        text("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1"),
        "a data-modifying with query (delete) is not accepted in a read"
    );
    assert_eq!(text("SELECT 1 FOR UPDATE"), "for update or for share is not accepted in a read");
}

#[test]
fn callers_may_permit_more() {
    let mut options = GuardOptions { allow_explain_analyze: true, ..GuardOptions::default() };
    let guarded = read_only_with("EXPLAIN (ANALYZE, BUFFERS) SELECT 1", &options).expect("it is permitted");
    assert_eq!(guarded.kind(), ReadKind::Explain { analyze: true });
    read_only_with("EXPLAIN ANALYZE DELETE FROM t", &options).expect_err("still a write");
    options.allow_functions.insert("app.total".to_owned());
    read_only_with("SELECT app.total(1)", &options).expect("it is vouched for");
    read_only_with("SELECT other.total(1)", &options).expect_err("that is another one");
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = [
        format!("SELECT {}1{}", "(".repeat(3000), ")".repeat(3000)),
        format!("SELECT {}1", "- ".repeat(50_000)),
        format!("SELECT {}1", "NOT ".repeat(3_900)),
        format!("SELECT 1{}", "+1".repeat(3_900)),
        format!("SELECT 1{}", " || 'a'".repeat(20_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(900), ")".repeat(900)),
        format!("SELECT {}1{}", "abs(".repeat(900), ")".repeat(900)),
        format!("SELECT {}1{}", "ARRAY[".repeat(900), "]".repeat(900)),
        format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(1500)),
        format!("SELECT '{}'", "a".repeat(200_000)),
        "(".repeat(100_000),
        "[".repeat(100_000),
        "/*".repeat(60_000),
        format!("SELECT 1 {} 1", "+-".repeat(50_000)),
        "@".repeat(100_000),
    ];
    for sql in deep {
        let refused = read_only(&sql).expect_err("too much");
        assert!(refused.to_string().len() < 500, "{refused}");
    }
    let long_list = format!("SELECT 1 WHERE 1 IN ({})", vec!["12345"; 10_000].join(", "));
    read_only(&long_list).expect("a long flat list is fine");
    let long_or = format!("SELECT 1 WHERE {}", vec!["a = 1"; 1000].join(" OR "));
    read_only(&long_or).expect("a long flat condition is fine");
}

#[test]
fn names_are_collected() {
    let guarded =
        read_only("SELECT lower(o.name), o.total::app.money2 FROM shop.orders o WHERE o.id @@@ 1").expect("a read");
    let names = guarded.names();
    assert!(names.functions.contains(&Name { schema: None, name: "lower".to_owned() }));
    assert!(names.relations.contains(&Name { schema: Some("shop".to_owned()), name: "orders".to_owned() }));
    assert!(names.types.contains(&Name { schema: Some("app".to_owned()), name: "money2".to_owned() }));
    assert!(names.operators.contains("@@@") && names.attributes.contains("total"));
}

#[test]
fn single_changes_are_recognised() {
    let dml = single_dml("UPDATE shop.orders SET a = DEFAULT, b = lower('X') WHERE id = 1").expect("one change");
    assert_eq!((dml.kind, dml.table.to_string().as_str(), dml.has_where), (DmlKind::Update, "shop.orders", true));
    assert!(!single_dml("DELETE FROM t").expect("one change").has_where);
    for sql in [
        "INSERT INTO t (a) VALUES (DEFAULT), (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a RETURNING a",
        "UPDATE t SET (a, b) = (SELECT 1, 2) FROM u WHERE t.id = u.id",
        "DELETE FROM t USING u WHERE t.id = u.id RETURNING *",
        "WITH old AS (SELECT 1 AS id) DELETE FROM t WHERE id IN (SELECT id FROM old)",
        "INSERT INTO t SELECT * FROM u",
    ] {
        single_dml(sql).unwrap_or_else(|refused| panic!("{sql}: {refused}"));
    }
    for sql in [
        "SELECT 1",
        "DELETE FROM t; DELETE FROM u",
        "TRUNCATE t",
        "DELETE FROM t WHERE pg_terminate_backend(1)",
        "WITH x AS (DELETE FROM u RETURNING 1) UPDATE t SET a = 1",
        "UPDATE pg_class SET relname = 'x'",
        "UPDATE pg_catalog.pg_class SET relname = 'x'",
        "UPDATE t SET a = nextval('s')",
        "INSERT INTO t VALUES (evil())",
        "DELETE FROM t WHERE CURRENT OF c",
    ] {
        assert!(single_dml(sql).is_err(), "{sql}");
    }
}

#[test]
fn identifiers_are_quoted_and_checked() {
    assert_eq!(identifier("Orders").as_deref(), Ok("\"Orders\""));
    assert_eq!(identifier("a\"; DROP TABLE t; --").as_deref(), Ok("\"a\"\"; DROP TABLE t; --\""));
    assert_eq!(qualified_identifier("Shop.Orders").as_deref(), Ok("\"shop\".\"orders\""));
    assert_eq!(qualified_identifier("\"Shop\".\"a.b\"\"c\"").as_deref(), Ok("\"Shop\".\"a.b\"\"c\""));
    for bad in ["", ".", "a.", "a.b.c", "\"a", "\"a\"b", "a\"b", "a\0b", &"x".repeat(64)] {
        assert!(qualified_identifier(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_list_of_functions_is_sorted_and_has_no_known_bad_ones() {
    let lines: Vec<&str> = include_str!("functions.txt").lines().filter(|l| !l.starts_with('#')).collect();
    assert!(lines.is_sorted());
    for bad in ["pg_sleep", "set_config", "nextval", "pg_read_file", "query_to_xml", "lo_get", "txid_current", "dblink"]
    {
        assert!(!functions::is_allowed(bad), "{bad}");
    }
}

#[test]
fn listed_functions_are_not_volatile_on_a_real_server() {
    const LOOKS_OR_COMPUTES_ONLY: &[&str] = &[
        "clock_timestamp",
        "gen_random_uuid",
        "random",
        "timeofday",
        "current_query",
        "pg_blocking_pids",
        "pg_collation_actual_version",
        "pg_control_checkpoint",
        "pg_control_init",
        "pg_control_recovery",
        "pg_control_system",
        "pg_current_logfile",
        "pg_current_wal_flush_lsn",
        "pg_current_wal_insert_lsn",
        "pg_current_wal_lsn",
        "pg_database_collation_actual_version",
        "pg_database_size",
        "pg_get_backend_memory_contexts",
        "pg_get_multixact_members",
        "pg_get_shmem_allocations",
        "pg_get_wal_replay_pause_state",
        "pg_get_wal_resource_managers",
        "pg_indexes_size",
        "pg_is_in_recovery",
        "pg_is_wal_replay_paused",
        "pg_jit_available",
        "pg_last_committed_xact",
        "pg_last_wal_receive_lsn",
        "pg_last_wal_replay_lsn",
        "pg_last_xact_replay_timestamp",
        "pg_lock_status",
        "pg_notification_queue_usage",
        "pg_partition_ancestors",
        "pg_partition_tree",
        "pg_prepared_xact",
        "pg_relation_size",
        "pg_safe_snapshot_blocking_pids",
        "pg_sequence_last_value",
        "pg_show_replication_origin_status",
        "pg_stat_get_recovery_prefetch",
        "pg_stat_have_stats",
        "pg_table_size",
        "pg_tablespace_size",
        "pg_total_relation_size",
        "pg_xact_commit_timestamp",
        "pg_xact_commit_timestamp_origin",
        "pg_xact_status",
        // Before 15, for it may ask the clock which offset a zone has today.
        "timezone",
        "txid_status",
        // From 16 on.
        "array_sample",
        "array_shuffle",
        "random_normal",
        // From 17 on.
        "pg_available_wal_summaries",
        "pg_get_wait_events",
        "pg_get_wal_summarizer_state",
        "pg_wal_summary_contents",
        // From 18 on.
        "pg_get_loaded_modules",
        "uuidv4",
        "uuidv7",
    ];
    let server = reeve_testkit::postgres::PostgresServer::start();
    let volatile = server.psql(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'",
    );
    for name in volatile.lines() {
        let may = LOOKS_OR_COMPUTES_ONLY.contains(&name) || name.starts_with("pg_stat_get_");
        assert!(!functions::is_allowed(name) || may, "{name} is volatile");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,120}") {
        let _ = read_only(&text);
        let _ = single_dml(&text);
        let _ = (identifier(&text), qualified_identifier(&text));
    }

    #[test]
    fn pieces_of_sql_never_smuggle_a_second_statement(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec!["SELECT", "1", ";", "DELETE FROM t", "'", "$$", "--\n", "/*", "*/", "E'", "\\", "(", ")", ",", "\"", "WITH x AS (", "U&'"]),
            0..14,
        )
    ) {
        let text = pieces.join(" ");
        if let Ok(guarded) = read_only(&text) {
            let again = read_only(guarded.sql());
            proptest::prop_assert!(again.is_ok_and(|again| again.names == guarded.names), "{text}");
            let parsed = pg_query::parse(&text, 0).map(|p| p.protobuf.stmts.len());
            proptest::prop_assert_eq!(parsed.ok(), Some(1));
        }
    }
}
