//! Every tool against a real server, through the gate, as everybody uses it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod catalogue;
mod failures;
mod reads;
mod sessions;
mod statements;
mod writes;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{FailureKind, ToolCall, ToolFailure};
use reeve_postgres::conninfo::{Surroundings, Target};
use reeve_postgres::tools::{Archive, Snapshot, SnapshotQuery, Targets, ToolOptions, Upload, VerifyOptions, all};
use reeve_testkit::gate::{TestGate, allow_within};
use reeve_testkit::postgres::PostgresServer;
use reeve_types::{Principal, Resource, ToolOutput};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

/// Takes connection strings as they are: a test double.
struct StringsAreTargets;

impl Targets for StringsAreTargets {
    fn target(&self, _: &Resource, given: Option<&str>) -> Result<Target, String> {
        let given = given.ok_or("a test names its target")?;
        Target::parse(given, &Surroundings::empty()).map_err(|error| error.to_string())
    }
}

/// Keeps answers in memory: a test double.
#[derive(Default)]
struct TestArchive {
    saved: Mutex<Vec<Snapshot>>,
}

impl Archive for TestArchive {
    fn snapshots<'a>(&'a self, _: &'a Principal, query: SnapshotQuery) -> BoxFuture<'a, Result<Vec<Snapshot>, String>> {
        Box::pin(async move {
            let saved = self.saved.lock().unwrap();
            let fits = |s: &&Snapshot| {
                s.tool_name == query.tool_name
                    && query.server_name.as_ref().is_none_or(|name| *name == s.server_name)
                    && s.recorded_at >= query.since
            };
            Ok(saved.iter().rev().filter(fits).take(query.limit).cloned().collect())
        })
    }

    fn upload<'a>(&'a self, _: &'a Principal, upload_id: &'a str) -> BoxFuture<'a, Result<Option<Upload>, String>> {
        Box::pin(async move {
            Ok((upload_id == "ul_1").then(|| Upload {
                filename: "app.log".to_owned(),
                uploaded_at: Timestamp::UNIX_EPOCH,
                content: b"ok one\nFATAL: out of memory\nok two \xff\nfatal: password 's3cret'\n".to_vec(),
            }))
        })
    }

    fn save<'a>(&'a self, call: &'a ToolCall, output: &'a ToolOutput) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            self.saved.lock().unwrap().push(Snapshot {
                result_id: "res_1".to_owned(),
                server_name: call.resource.name.clone(),
                tool_name: call.tool.clone(),
                recorded_at: Timestamp::now(),
                success: true,
                output: output.output.clone(),
            });
            Ok("res_1".to_owned())
        })
    }
}

fn options() -> ToolOptions {
    let verify =
        VerifyOptions { attempts: 8, initial_delay: Duration::from_millis(20), max_delay: Duration::from_millis(500) };
    ToolOptions { verify, lock_timeout: Duration::from_millis(300), ..ToolOptions::default() }
}

fn gate() -> TestGate {
    gate_with(options())
}

fn gate_with(options: ToolOptions) -> TestGate {
    TestGate::new(all(Arc::new(StringsAreTargets), Arc::new(TestArchive::default()), options))
}

fn gate_within(conditions: &str) -> TestGate {
    let tools = all(Arc::new(StringsAreTargets), Arc::new(TestArchive::default()), options());
    TestGate::with_policy(tools, &allow_within(conditions))
}

/// A server, and a gate in front of the tools.
struct Bench {
    server: PostgresServer,
    gate: TestGate,
}

impl Bench {
    fn new() -> Self {
        Self::on(PostgresServer::start())
    }

    fn on(server: PostgresServer) -> Self {
        Self { server, gate: gate() }
    }

    /// Runs a tool as superuser.
    async fn run(&self, tool: &str, arguments: Value) -> ToolOutput {
        match self.try_as("postgres", tool, arguments).await {
            Ok(output) => output,
            Err(failure) => panic!("{}", failure.report.unwrap_or(failure.message)),
        }
    }

    async fn fails(&self, tool: &str, arguments: Value) -> ToolFailure {
        self.try_as("postgres", tool, arguments).await.expect_err("it should have failed")
    }

    /// Runs a tool as some role; the password is the role's name.
    async fn try_as(&self, role: &str, tool: &str, arguments: Value) -> Result<ToolOutput, ToolFailure> {
        call(&self.gate, &self.dsn(role), tool, arguments).await
    }

    fn dsn(&self, role: &str) -> String {
        match role {
            "postgres" => self.server.superuser_dsn(),
            other => format!("{} password={other}", self.server.dsn(other, "postgres")),
        }
    }

    /// A session of an application.
    async fn application(&self, name: &str) -> Client {
        connect_to(&format!("{} application_name={name}", self.server.superuser_dsn())).await
    }

    /// A role that may log in and nothing else.
    fn role(&self, name: &str) {
        self.server.psql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{name}'"));
    }

    /// The process id of an application's session.
    fn pid_of(&self, application: &str) -> i64 {
        self.until(&format!("SELECT min(pid) FROM pg_stat_activity WHERE application_name = '{application}'"), |pid| {
            !pid.is_empty()
        })
        .parse()
        .unwrap()
    }

    /// Asks until the answer fits.
    fn until(&self, sql: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.server.psql(sql);
            if fits(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "`{sql}` still gives `{answer}`");
        }
    }

    /// Waits until an application's session is in a state.
    fn until_state(&self, application: &str, state: &str) {
        let sql = format!("SELECT state FROM pg_stat_activity WHERE application_name = '{application}'");
        self.until(&sql, |found| found == state);
    }
}

async fn call(gate: &TestGate, dsn: &str, tool: &str, mut arguments: Value) -> Result<ToolOutput, ToolFailure> {
    arguments["connection_string"] = json!(dsn);
    gate.call(tool, arguments).await
}

async fn connect_to(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

/// Runs a statement in the background, for it will wait or take long.
fn in_background(client: Client, sql: &'static str) -> tokio::task::JoinHandle<Result<(), tokio_postgres::Error>> {
    tokio::spawn(async move { client.batch_execute(sql).await })
}

fn data(output: &ToolOutput) -> &Value {
    output.data.as_ref().expect("data")
}

/// The row of an array whose column has a value.
fn row<'a>(rows: &'a Value, column: &str, value: impl Into<Value>) -> &'a Value {
    let value = value.into();
    let found = rows.as_array().expect("rows").iter().find(|row| row[column] == value);
    found.unwrap_or_else(|| panic!("no row with {column} = {value} in {rows}"))
}

#[track_caller]
fn assert_failure(failure: &ToolFailure, kind: FailureKind, words: &str) {
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.message.contains(words), "`{words}` is not in: {failure}");
    let report = failure.report.as_deref().expect("a report");
    assert!(report.starts_with("---\nERROR — ") && report.ends_with("\n---"), "{report}");
}
