//! Against a real server: that a session is what it says, and that every kind of failure is named.

use std::process::Command;
use std::time::{Duration, Instant};

use reeve_testkit::postgres::{PostgresServer, StopMode};
use tokio::net::TcpListener;
use tokio_postgres::Client;

use super::*;
use crate::conninfo::Surroundings;
use crate::failure::{QueryFailureKind, Stage};
use crate::guard::{GuardOptions, read_only};

fn target(dsn: &str) -> Target {
    Target::parse(dsn, &Surroundings::empty()).expect("the string is well formed")
}

fn quick() -> ConnectOptions {
    ConnectOptions { connect_timeout: Duration::from_secs(5), ..ConnectOptions::read_only() }
}

async fn open(dsn: &str) -> Session {
    connect(&target(dsn), &quick()).await.unwrap_or_else(|f| panic!("{dsn}: {} ({})", f.explain(), f.detail))
}

async fn refuse(dsn: &str) -> ConnectFailure {
    let failure = connect(&target(dsn), &quick()).await.expect_err("nobody should be let in");
    assert!(!failure.hints().is_empty(), "{failure:?} says what to do next");
    failure
}

#[tokio::test]
async fn a_read_only_session_cannot_write_and_is_bounded() {
    let server = PostgresServer::start();
    server.psql("CREATE TABLE t (x int); CREATE ROLE plain LOGIN PASSWORD 'p'");
    let session = open(&server.superuser_dsn()).await;
    assert!(session.server_version_num() >= 120_000);
    assert!(session.server_version().starts_with("PostgreSQL "));
    assert!(session.facts().superuser && session.facts().monitor && !session.is_in_recovery());
    let failure = session.execute("INSERT INTO t VALUES (1)", &[]).await.expect_err("it is read-only");
    assert_eq!(failure.kind, QueryFailureKind::ReadOnly);
    let row = session.query_one("SELECT current_setting('application_name'), current_setting('lock_timeout'), current_setting('statement_timeout')", &[]).await.expect("it answers");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)), ("reeve", "10s", "30s"));

    let plain = open(&format!("{} password=p", server.dsn("plain", "postgres"))).await;
    assert!(!plain.facts().superuser && !plain.facts().monitor && !plain.facts().signal_backend);
    assert_eq!(plain.facts().user, "plain");

    let writer = connect(&target(&server.superuser_dsn()), &ConnectOptions::read_write()).await.expect("it opens");
    assert_eq!(writer.execute("INSERT INTO t VALUES (1)", &[]).await.expect("it may write"), 1);
}

#[tokio::test]
async fn a_statement_is_prepared_once_and_a_session_keeps_only_so_many() {
    let server = PostgresServer::start();
    let session = open(&server.superuser_dsn()).await;
    for round in 0..2 {
        for n in 0..session::STATEMENTS_MAX + 5 {
            let statement = session.prepared(&format!("SELECT {n}")).await;
            let statement = statement.expect("it is prepared");
            let row = Client::query_one(&session, &statement, &[]).await.expect("it answers");
            assert_eq!(row.get::<_, i32>(0), n as i32, "round {round}");
        }
    }
    let kept = session.query_one("SELECT count(*), count(DISTINCT statement) FROM pg_prepared_statements", &[]);
    let kept = kept.await.expect("it answers");
    let most = session::STATEMENTS_MAX as i64 + 1;
    assert_eq!((kept.get::<_, i64>(0), kept.get::<_, i64>(1)), (most, most), "and the one that asks");
}

#[tokio::test]
async fn a_prepared_statement_follows_a_change_of_its_table() {
    let server = PostgresServer::start();
    server.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let session = open(&server.superuser_dsn()).await;
    let sql = "SELECT row_to_json(r.*)::text FROM (SELECT * FROM t) AS r";
    for (change, expected) in [("", r#"{"a":1}"#), ("ALTER TABLE t ADD b int DEFAULT 2", r#"{"a":1,"b":2}"#)] {
        server.psql(change);
        let statement = session.prepared(sql).await.expect("it is prepared");
        let row = Client::query_one(&session, &statement, &[]).await.expect("it answers");
        assert_eq!(row.get::<_, &str>(0), expected);
    }
}

#[tokio::test]
async fn the_users_own_options_cannot_undo_read_only() {
    let server = PostgresServer::start();
    server.psql("CREATE TABLE t (x int)");
    let dsn = format!("{} options='-c default_transaction_read_only=off -c work_mem=9MB'", server.superuser_dsn());
    let session = open(&dsn).await;
    let row = session.query_one("SELECT current_setting('work_mem'), current_setting('transaction_read_only')", &[]);
    let row = row.await.expect("it answers");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("9MB", "on"));
}

#[tokio::test]
async fn sockets_and_several_hosts_work() {
    let server = PostgresServer::start();
    let over_socket = open(&server.socket_dsn("postgres", "postgres")).await;
    assert!(!over_socket.is_encrypted());
    let missing = format!("postgresql://postgres@127.0.0.1:1,{}:{}/postgres", "127.0.0.1", server.port());
    open(&missing).await;
    let uri =
        format!("postgres:///postgres?host={}&port={}&user=postgres", server.socket_dir().display(), server.port());
    open(&uri).await;
}

#[tokio::test]
async fn the_wanted_kind_of_server_is_found() {
    let primary = PostgresServer::start();
    let standby = primary.standby();
    let hosts = |attrs: &str| {
        format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname=postgres target_session_attrs={attrs}",
            primary.port(),
            standby.port()
        )
    };
    for (attrs, in_recovery) in [
        ("any", false),
        ("primary", false),
        ("read-write", false),
        ("standby", true),
        ("read-only", true),
        ("prefer-standby", true),
    ] {
        assert_eq!(open(&hosts(attrs)).await.is_in_recovery(), in_recovery, "{attrs}");
    }
    let only_primary = format!("{} target_session_attrs=standby", primary.superuser_dsn());
    assert_eq!(refuse(&only_primary).await.kind, ConnectFailureKind::WrongServer);
    let prefer = format!("{} target_session_attrs=prefer-standby", primary.superuser_dsn());
    assert!(!open(&prefer).await.is_in_recovery());
}

#[tokio::test]
async fn refusals_at_login_are_told_apart() {
    let server = PostgresServer::builder().hba("host all banned 127.0.0.1/32 reject").start();
    server.psql("CREATE ROLE secret LOGIN PASSWORD 'right'; CREATE ROLE banned LOGIN; CREATE ROLE asleep NOLOGIN");
    server.psql("CREATE DATABASE closed ALLOW_CONNECTIONS false");
    server.psql("CREATE DATABASE private");
    server.psql("REVOKE CONNECT ON DATABASE private FROM public");
    server.psql("CREATE ROLE few LOGIN CONNECTION LIMIT 0 PASSWORD 'f'; ALTER ROLE asleep PASSWORD 'a'");
    let with = |user: &str, dbname: &str, more: &str| format!("{} {more}", server.dsn(user, dbname));
    use ConnectFailureKind as K;
    let table = [
        (with("secret", "postgres", "password=wrong"), K::AuthFailed, Some("28P01")),
        (with("secret", "postgres", ""), K::PasswordMissing, None),
        (with("banned", "postgres", ""), K::HbaRejected, Some("28000")),
        (with("postgres", "nowhere", ""), K::DatabaseMissing, Some("3D000")),
        (with("postgres", "closed", ""), K::DatabaseClosed, Some("55000")),
        (with("secret", "private", "password=right"), K::PermissionDenied, Some("42501")),
        (with("few", "postgres", "password=f"), K::TooManyConnections, Some("53300")),
        (with("asleep", "postgres", "password=a"), K::RoleCannotLogin, Some("28000")),
        (with("postgres", "postgres", "sslmode=require"), K::TlsRefused, None),
    ];
    for (dsn, kind, sqlstate) in table {
        let failure = refuse(&dsn).await;
        assert_eq!((failure.kind, failure.sqlstate.as_deref()), (kind, sqlstate), "{dsn}: {failure:?}");
        assert!(!format!("{failure:?}{failure}{}", failure.diagnosis()).contains("wrong"), "no password is shown");
    }
    // A role that does not exist is only told where no password is asked for.
    let trusting = PostgresServer::builder().hba("host all all 127.0.0.1/32 trust").start();
    assert_eq!(refuse(&trusting.dsn("ghost", "postgres")).await.kind, K::RoleMissing);
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = PostgresServer::builder()
        .setting("max_connections", 5)
        .setting("superuser_reserved_connections", 0)
        .setting("max_wal_senders", 0)
        .start();
    let mut sessions = Vec::new();
    let failure = loop {
        match connect(&target(&server.superuser_dsn()), &quick()).await {
            Ok(session) => sessions.push(session),
            Err(failure) => break failure,
        }
        assert!(sessions.len() <= 5);
    };
    assert_eq!(failure.kind, ConnectFailureKind::TooManyConnections);
    assert!(failure.is_transient());
}

#[tokio::test]
async fn a_server_that_starts_or_stops_says_so() {
    let server = PostgresServer::start();
    let session = open(&server.superuser_dsn()).await;
    server.begin_stop(StopMode::Smart);
    let failure = loop {
        match connect(&target(&server.superuser_dsn()), &quick()).await {
            // The signal may still be on its way.
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(failure) => break failure,
        }
    };
    assert_eq!((failure.kind, failure.sqlstate.as_deref()), (ConnectFailureKind::ShuttingDown, Some("57P03")));
    drop(session);

    // A standby without hot_standby recovers forever and lets nobody in.
    let primary = PostgresServer::start();
    let cold = std::thread::scope(|scope| {
        scope.spawn(|| primary.standby_with(PostgresServer::builder().setting("hot_standby", "off"))).join()
    })
    .expect("the cold standby starts");
    let failure = refuse(&cold.superuser_dsn()).await;
    // A server older than 14 says no more than that it is starting up.
    let expected = match cold.major_version() {
        ..14 => ConnectFailureKind::Starting,
        14.. => ConnectFailureKind::InRecoveryNotAccepting,
    };
    assert_eq!(failure.kind, expected, "{failure:?}");
}

#[tokio::test]
async fn absent_servers_are_told_apart() {
    use ConnectFailureKind as K;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    assert_eq!(refuse(&format!("host=127.0.0.1 port={unused} user=u")).await.kind, K::Refused);
    assert_eq!(refuse("host=no-such-host.invalid user=u").await.kind, K::HostNotFound);
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(refuse(&format!("host={} user=u", directory.path().display())).await.kind, K::SocketMissing);
    let failure =
        refuse(&format!("host={d},127.0.0.1 port=5432,{unused} user=u", d = directory.path().display())).await;
    assert_eq!((failure.kind, failure.earlier.len()), (K::Refused, 1));
    assert_eq!(failure.earlier.first().map(|f| f.kind), Some(K::SocketMissing));
}

#[tokio::test]
async fn what_accepts_and_never_answers_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let hold = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let options = ConnectOptions { connect_timeout: Duration::from_millis(200), ..quick() };
    for (sslmode, stage) in
        [("prefer", Stage::Encryption), ("disable", Stage::Authentication), ("require", Stage::Encryption)]
    {
        let began = Instant::now();
        let target = target(&format!("host=127.0.0.1 port={port} user=u sslmode={sslmode}"));
        let failure = connect(&target, &options).await.expect_err("nobody answers");
        assert_eq!(failure.kind, ConnectFailureKind::Timeout { stage }, "{sslmode}");
        assert!(failure.explain().contains("proxy"), "{}", failure.explain());
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    hold.abort();
}

#[tokio::test]
async fn a_frozen_server_is_named_and_does_not_hold_us() {
    let server = PostgresServer::start();
    server.freeze();
    let options = ConnectOptions { connect_timeout: Duration::from_millis(300), ..quick() };
    let failure = connect(&target(&server.superuser_dsn()), &options).await.expect_err("it is frozen");
    server.thaw();
    assert!(matches!(failure.kind, ConnectFailureKind::Timeout { .. }), "{failure:?}");
}

#[tokio::test]
async fn what_does_not_speak_the_protocol_is_named() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let talk = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for sslmode in ["prefer", "disable"] {
        let failure = refuse(&format!("host=127.0.0.1 port={port} user=u sslmode={sslmode}")).await;
        assert!(
            matches!(failure.kind, ConnectFailureKind::ProtocolViolation | ConnectFailureKind::Interrupted),
            "{sslmode}: {failure:?}"
        );
    }
    talk.abort();
}

#[tokio::test]
async fn statements_are_cancelled_and_ended_in_time() {
    let server = PostgresServer::start();
    let session = open(&server.superuser_dsn()).await;
    let canceller = session.canceller();
    let cancel = async {
        while server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        canceller.cancel().await
    };
    let (slept, cancelled) = tokio::join!(session.query("SELECT pg_sleep(60)", &[]), cancel);
    cancelled.expect("the request is taken");
    assert_eq!(slept.expect_err("it was cancelled").kind, QueryFailureKind::Cancelled);

    let options = ConnectOptions { statement_timeout: Duration::from_millis(100), ..quick() };
    let hasty = connect(&target(&server.superuser_dsn()), &options).await.expect("it opens");
    let failure = hasty.query("SELECT pg_sleep(60)", &[]).await.expect_err("it takes too long");
    assert_eq!(failure.kind, QueryFailureKind::StatementTimeout);
}

#[tokio::test]
async fn locks_and_lost_sessions_are_named() {
    let server = PostgresServer::start();
    server.psql("CREATE TABLE t (x int)");
    let holder = connect(&target(&server.superuser_dsn()), &ConnectOptions::read_write()).await.expect("it opens");
    holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("it locks");
    let options = ConnectOptions { lock_timeout: Duration::from_millis(50), ..quick() };
    let waiter = connect(&target(&server.superuser_dsn()), &options).await.expect("it opens");
    let failure = waiter.query("SELECT * FROM t", &[]).await.expect_err("the table is locked");
    assert_eq!(failure.kind, QueryFailureKind::LockTimeout);

    let pid = holder.facts().backend_pid;
    server.psql(&format!("SELECT pg_terminate_backend({pid})"));
    while server.psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")) != "0" {}
    let failure = holder.query("SELECT 1", &[]).await.expect_err("the session is gone");
    assert_eq!(failure.kind, QueryFailureKind::ConnectionLost, "{failure:?}");
}

#[tokio::test]
async fn guarded_reads_leave_nothing_and_are_cut() {
    let server = PostgresServer::start();
    server.psql("CREATE TABLE t AS SELECT x, 'dsn password=hunter2 host=a' AS note FROM generate_series(1, 5000) x");
    let mut session = open(&server.superuser_dsn()).await;
    let read = read_only("SELECT x, note FROM t ORDER BY x -- all of them").expect("a read");
    let limits = super::ReadLimits { rows_max: 300, bytes_max: 1 << 20 };
    let rows = session.read_guarded(&read, &GuardOptions::default(), limits).await.expect("it answers");
    assert_eq!((rows.rows.len(), rows.truncated), (300, true));
    assert_eq!(rows.columns, ["x", "note"]);
    assert_eq!(rows.rows[0], [Some("1".to_owned()), Some("dsn password=*** host=a".to_owned())]);
    for (sql, columns) in [("SHOW work_mem", 1), ("EXPLAIN SELECT * FROM t", 1), ("VALUES (1, NULL)", 2)] {
        let rows = session.read_guarded(&read_only(sql).expect("a read"), &GuardOptions::default(), limits).await;
        assert_eq!(rows.expect("it answers").rows[0].len(), columns, "{sql}");
    }
    let failing = read_only("SELECT 1 / 0").expect("a read");
    session.read_guarded(&failing, &GuardOptions::default(), limits).await.expect_err("division by zero");
    session.query_one("SELECT 1", &[]).await.expect("the session is usable after a failure");
}

#[tokio::test]
async fn code_that_a_statement_does_not_show_is_found() {
    let server = PostgresServer::start();
    for sql in [
        "CREATE TABLE t (a varchar, b int)",
        "CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT pg_read_file($1)'",
        "CREATE FUNCTION public.pwn() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION public.leak(t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW innocent AS SELECT pwn() AS x",
        "CREATE VIEW outer_view AS SELECT * FROM innocent",
        "CREATE VIEW sleepy AS SELECT pg_sleep(1)::text AS x",
        "CREATE VIEW fine AS SELECT upper(a) AS a, now() AS at FROM t WHERE b > 1",
        "CREATE OPERATOR public.=== (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)",
        "CREATE DOMAIN trap AS int CHECK (pwn() = VALUE)",
        "CREATE DOMAIN small AS int CHECK (VALUE < 10)",
        "CREATE TABLE guarded (x int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON guarded USING (pwn() = x)",
    ] {
        server.psql(sql);
    }
    let mut session = open(&server.superuser_dsn()).await;
    let options = GuardOptions::default();
    for (sql, passes) in [
        ("SELECT lower(a) FROM t", false),
        ("SELECT pg_catalog.lower(a) FROM t", true),
        ("SELECT t.leak FROM t", false),
        ("SELECT (t).leak FROM t", false),
        ("SELECT x FROM innocent", false),
        ("TABLE outer_view", false),
        ("SELECT x FROM sleepy", false),
        ("SELECT a, at FROM fine", true),
        ("SELECT 1 === 1", false),
        ("SELECT 1::trap", false),
        ("SELECT 1::small", true),
        ("SELECT * FROM guarded", false),
        ("SELECT count(*) FROM t WHERE b = 1", true),
        ("WITH innocent2 AS (SELECT 1) SELECT * FROM innocent2", true),
        ("SELECT pid, state FROM pg_stat_activity", true),
        ("SELECT relname, n_dead_tup FROM pg_stat_user_tables", true),
        ("SELECT table_name FROM information_schema.tables", true),
    ] {
        let guarded = read_only(sql).unwrap_or_else(|refused| panic!("{sql}: {refused}"));
        let answer = session.read_guarded(&guarded, &options, super::ReadLimits::default()).await;
        assert_eq!(answer.is_ok(), passes, "{sql}: {answer:?}");
    }
}

/// An authority, a server certificate for `names` and its key, all in PEM.
fn certificates(
    directory: &std::path::Path,
    authority: &str,
    subject: &str,
    names: Option<&str>,
) -> (Vec<u8>, Vec<u8>) {
    let openssl = |arguments: &[&str]| {
        let done =
            Command::new("openssl").current_dir(directory).args(arguments).output().expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let (ca_key, ca_crt) = (format!("{authority}.key"), format!("{authority}.crt"));
    if !directory.join(&ca_crt).exists() {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            &ca_key,
            "-out",
            &ca_crt,
            "-subj",
            &format!("/CN={authority}"),
        ]);
    }
    openssl(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        subject,
    ]);
    let extensions =
        names.map_or_else(|| "basicConstraints=CA:FALSE".to_owned(), |names| format!("subjectAltName={names}"));
    std::fs::write(directory.join("ext"), extensions).expect("it is written");
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        &ca_crt,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "server.crt",
    ]);
    let read = |name: &str| std::fs::read(directory.join(name)).expect("it is there");
    (read("server.crt"), read("server.key"))
}

#[tokio::test]
async fn tls_means_what_sslmode_says() {
    use ConnectFailureKind as K;
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = certificates(directory.path(), "ours", "/CN=elsewhere", Some("DNS:localhost"));
    let (_, _) = certificates(directory.path(), "theirs", "/CN=x", None);
    let server = PostgresServer::builder()
        .setting("ssl", "on")
        .file("server.crt", certificate.clone())
        .file("server.key", key)
        .hba("hostssl all strict 127.0.0.1/32 scram-sha-256")
        .hba("host all strict 127.0.0.1/32 reject")
        .start();
    server.psql("CREATE ROLE strict LOGIN PASSWORD 'p'");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(directory.path().join("pinned.crt"), &certificate).expect("it is written");
    let (ours, theirs, pinned) = (path("ours.crt"), path("theirs.crt"), path("pinned.crt"));
    let with = |more: &str| {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=strict password=p dbname=postgres {more}",
            server.port()
        )
    };

    for good in [
        "sslmode=require".to_owned(),
        "sslmode=prefer".to_owned(),
        "sslmode=allow".to_owned(),
        format!("sslmode=verify-ca sslrootcert={ours}"),
        format!("sslmode=verify-full sslrootcert={ours}"),
        format!("sslmode=require sslrootcert={ours}"),
        format!("sslmode=verify-full sslrootcert={pinned}"),
        "sslmode=require channel_binding=require".to_owned(),
        "sslmode=require ssl_min_protocol_version=TLSv1.3".to_owned(),
        "sslmode=require ssl_max_protocol_version=TLSv1.2".to_owned(),
    ] {
        assert!(open(&with(&good)).await.is_encrypted(), "{good}");
    }
    let by_address = format!("{} sslmode=verify-full sslrootcert={ours} user=postgres", server.superuser_dsn());
    for (bad, kind) in [
        (with("sslmode=disable"), K::TlsRequired),
        (with(&format!("sslmode=verify-ca sslrootcert={theirs}")), K::TlsVerification),
        (with(&format!("sslmode=require sslrootcert={theirs}")), K::TlsVerification),
        (by_address, K::TlsVerification),
        (with("sslmode=verify-full sslrootcert=/no/such/file"), K::TlsHandshake),
        (with("sslmode=verify-full"), K::TlsHandshake),
    ] {
        let failure = refuse(&bad).await;
        assert_eq!(failure.kind, kind, "{bad}: {failure:?}");
    }
    // Cancelling goes the same way.
    let session = open(&with("sslmode=require")).await;
    session.cancel().await.expect("the request is taken over TLS");
}

#[tokio::test]
async fn a_common_name_counts_when_there_is_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = certificates(directory.path(), "ours", "/CN=localhost", None);
    let server =
        PostgresServer::builder().setting("ssl", "on").file("server.crt", certificate).file("server.key", key).start();
    let root = directory.path().join("ours.crt");
    let dsn = |name: &str| {
        format!(
            "host={name} hostaddr=127.0.0.1 port={} user=postgres sslmode=verify-full sslrootcert={}",
            server.port(),
            root.display()
        )
    };
    assert!(open(&dsn("localhost")).await.is_encrypted());
    assert_eq!(refuse(&dsn("other.example")).await.kind, ConnectFailureKind::TlsVerification);
}
