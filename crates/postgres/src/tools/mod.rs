//! The tools of the `database` agent: what people, models and playbooks may do to a PostgreSQL server.
//!
//! Each tool is a [`define::Definition`]: what it is, and one function that does it. [`DbTool`] is everything they
//! share: opening the permit, finding the target, the deadline, and turning what went wrong into a report. Reads run in
//! sessions that cannot write. Changes look first, act once, and look again; a change whose end nobody saw is reported
//! as unknown, never as failed.

mod activity;
mod args;
mod baseline;
mod databases;
mod define;
mod diagnosis;
mod dml;
mod explain;
mod idle_write;
mod io;
mod job;
mod locks;
mod logs;
mod masking;
mod moments;
mod params;
mod query;
mod reads;
mod render;
mod replication;
mod rows;
mod server;
mod session_facts;
mod sessions_write;
mod settings;
mod settings_write;
mod slots_write;
mod statements;
mod stored;
mod tables;
mod trouble;
mod vacuum_write;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reeve_gate::{Permitted, ProbeVerdict, TaskCx, Tool, ToolCall, ToolFailure};
use reeve_types::{ActionClass, Arguments, Principal, Resource, ToolOutput, ToolSpec};

use crate::connect::SessionPool;
use crate::conninfo::Target;
use crate::evidence::DiagnoseOptions;
use crate::guard::GuardOptions;
use define::Definition;
use job::Job;

/// Knows how to reach the databases that the gate has resolved.
pub trait Targets: Send + Sync {
    /// The connection parameters of a resource. `given` is the target argument as the caller wrote it, which may name
    /// a database that the inventory does not know when there is no inventory.
    ///
    /// The error is a sentence for people and holds no secret.
    fn target(&self, resource: &Resource, given: Option<&str>) -> Result<Target, String>;
}

/// Which stored answers are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotQuery {
    /// The tool that gave them.
    pub tool_name: String,
    /// The server they are about; absent means any.
    pub server_name: Option<String>,
    /// The oldest moment of interest.
    pub since: Timestamp,
    /// How many at most, newest first.
    pub limit: usize,
}

/// One stored answer of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub result_id: String,
    /// The server it is about.
    pub server_name: String,
    /// The tool that gave it.
    pub tool_name: String,
    /// When it was stored.
    pub recorded_at: Timestamp,
    /// Whether the tool succeeded.
    pub success: bool,
    /// The answer.
    pub output: String,
}

/// One file that someone handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name, as it was handed in.
    pub filename: String,
    /// When it was handed in.
    pub uploaded_at: Timestamp,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What is kept of earlier work: answers of tools, and files that people handed in.
///
/// Every method is asked on behalf of a principal, whose tenant bounds what may be seen. Errors are sentences for
/// people.
pub trait Archive: Send + Sync {
    /// Stored answers, newest first.
    fn snapshots<'a>(
        &'a self,
        principal: &'a Principal,
        query: SnapshotQuery,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>, String>>;

    /// A file by its id; `None` when there is none or it has expired.
    fn upload<'a>(
        &'a self,
        principal: &'a Principal,
        upload_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Upload>, String>>;

    /// Stores the answer of a call for later comparison and gives its id.
    fn save<'a>(&'a self, call: &'a ToolCall, output: &'a ToolOutput) -> BoxFuture<'a, Result<String, String>>;
}

/// How often and how long a change is looked at afterwards. The first look is immediate; pauses double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// How many looks at most, at least one.
    pub attempts: u32,
    /// The pause before the second look.
    pub initial_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { attempts: 8, initial_delay: Duration::from_millis(100), max_delay: Duration::from_secs(5) }
    }
}

/// How the tools behave on every server.
#[derive(Debug, Clone)]
pub struct ToolOptions {
    /// How long connecting may take, per host.
    pub connect_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How changes are verified.
    pub verify: VerifyOptions,
    /// What queries may do beyond the rule for reads.
    pub guard: GuardOptions,
    /// How a diagnosis is made.
    pub diagnose: DiagnoseOptions,
}

impl Default for ToolOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(10),
            verify: VerifyOptions::default(),
            guard: GuardOptions::default(),
            diagnose: DiagnoseOptions::default(),
        }
    }
}

/// What every tool of this module holds.
struct Kit {
    targets: Arc<dyn Targets>,
    archive: Arc<dyn Archive>,
    options: ToolOptions,
    sessions: Arc<SessionPool>,
}

/// Every tool of the `database` agent.
pub fn all(targets: Arc<dyn Targets>, archive: Arc<dyn Archive>, options: ToolOptions) -> Vec<Arc<dyn Tool>> {
    let kit = Arc::new(Kit { targets, archive, options, sessions: SessionPool::new() });
    definitions()
        .into_iter()
        .map(|definition| Arc::new(DbTool { definition, kit: Arc::clone(&kit) }) as Arc<dyn Tool>)
        .collect()
}

fn definitions() -> Vec<Definition> {
    let families = [
        server::tools(),
        databases::tools(),
        activity::tools(),
        locks::tools(),
        tables::tools(),
        replication::tools(),
        settings::tools(),
        statements::tools(),
        explain::tools(),
        query::tools(),
        io::tools(),
        logs::tools(),
        stored::tools(),
        baseline::tools(),
        diagnosis::tools(),
        sessions_write::tools(),
        idle_write::tools(),
        vacuum_write::tools(),
        slots_write::tools(),
        settings_write::tools(),
        dml::tools(),
    ];
    families.into_iter().flatten().collect()
}

/// One tool, ready for the gate.
struct DbTool {
    definition: Definition,
    kit: Arc<Kit>,
}

impl Tool for DbTool {
    fn spec(&self) -> &ToolSpec {
        &self.definition.spec
    }

    fn class_of(&self, arguments: &Arguments) -> ActionClass {
        self.definition.class_of(arguments)
    }

    fn run<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, Result<ToolOutput, ToolFailure>> {
        Box::pin(async move {
            let (call, limits) = call.open();
            let job = Job::new(&self.kit, &self.definition.spec, call, limits, cx);
            job.carry_out(self.definition.body).await
        })
    }

    fn probe<'a>(&'a self, call: Permitted<ToolCall>, cx: &'a TaskCx) -> BoxFuture<'a, ProbeVerdict> {
        Box::pin(async move {
            let (call, limits) = call.open();
            let job = Job::new(&self.kit, &self.definition.spec, call, limits, cx);
            job.look_back(self.definition.probe).await
        })
    }
}
