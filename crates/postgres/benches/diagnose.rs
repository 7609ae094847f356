//! How long a full diagnosis takes: 1,000 tables with indexes, foreign keys and sequences, while pgbench keeps the
//! server busy. Prints figures and never fails a build.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs, reason = "a program that prints figures")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reeve_postgres::conninfo::{Surroundings, Target};
use reeve_postgres::evidence::{DiagnoseOptions, diagnose};
use reeve_testkit::postgres::PostgresServer;

const TABLES: u32 = 1000;
const ROUNDS: usize = 20;

fn main() {
    let server = PostgresServer::builder()
        .setting("fsync", "on")
        .setting("shared_buffers", "128MB")
        .setting("max_locks_per_transaction", 256)
        .start();
    for from in (0..TABLES).step_by(100) {
        server.psql(
            &format!(
                "DO $$ BEGIN FOR n IN {from}..{} LOOP
               EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, parent int REFERENCES t0, a int, b text)', n);
               EXECUTE format('CREATE INDEX ON t%s (a)', n);
               EXECUTE format('INSERT INTO t%s (a, b) SELECT i, repeat(''x'', 50) FROM generate_series(1, 50) i', n);
             END LOOP; END $$",
                from + 99
            )
            .replace("REFERENCES t0", if from == 0 { "" } else { "REFERENCES t0" }),
        );
    }
    server.psql("ANALYZE");
    let pgbench = |args: &[&str]| {
        let mut command = Command::new(server.client_program("pgbench"));
        command.args(args).args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "-U", "postgres", "postgres"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    pgbench(&["-i", "-q", "-s", "10"]).status().expect("pgbench runs");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let target = Target::parse(&server.superuser_dsn(), &Surroundings::empty()).expect("a target");
    report("idle", &runtime, &target);
    let mut load = pgbench(&["-c", "8", "-j", "2", "-T", "30"]).spawn().expect("pgbench runs");
    std::thread::sleep(Duration::from_secs(1));
    report("pgbench -c 8", &runtime, &target);
    let _ = load.kill();
    let _ = load.wait();
}

fn report(load: &str, runtime: &tokio::runtime::Runtime, target: &Target) {
    let options = DiagnoseOptions::default();
    let mut took: Vec<Duration> = Vec::with_capacity(ROUNDS);
    let (mut checks, mut findings, mut skipped) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let (diagnosis, _) = runtime.block_on(diagnose(target, &options));
        took.push(started.elapsed());
        (checks, findings, skipped) = (diagnosis.checks_run, diagnosis.findings.len(), diagnosis.not_checked.len());
    }
    took.sort();
    println!(
        "{TABLES} tables, {load}: median {:?}, worst {:?} of {ROUNDS} ({checks} checks, {findings} findings, {skipped} not checked)",
        took[ROUNDS / 2],
        took[ROUNDS - 1]
    );
}
