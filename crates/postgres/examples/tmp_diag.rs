//! tmp
#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout)]
#[tokio::main]
async fn main() {
    for dsn in std::env::args().skip(1) {
        let t = reeve_postgres::conninfo::Target::parse(&dsn, &reeve_postgres::conninfo::Surroundings::empty()).unwrap();
        let (d, _) = reeve_postgres::evidence::diagnose(&t, &Default::default()).await;
        println!("== {} {:?} {} ms, {} checks", d.target, d.server_version, d.duration_ms, d.checks_run);
        for f in &d.findings { println!("  [{}] {}: {}", f.severity.as_str(), f.code, f.title); }
        for n in &d.not_checked { println!("  not checked {}: {}", n.check, n.reason); }
    }
}
