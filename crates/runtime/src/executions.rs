//! Programs that somebody runs and waits for.

mod run;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reeve_types::workspace::processes::{
    ARGUMENT_BYTES_MAX, EXECUTION_TIMEOUT_MS, EXECUTION_TIMEOUT_MS_MAX, ExecEvent, ExecRequest, Language,
};
use reeve_types::{ExecutionId, ProblemCode, WorkspaceError};
use tokio::sync::{Notify, OnceCell, mpsc};

use crate::activity::Activity;
use crate::environment::Environment;
use crate::languages::{self, Plan};
use crate::memory::OutOfMemory;
use crate::output::Amount;
use crate::place::Place;
use crate::supervise::Supervisors;

/// How many programs may run at once.
pub(crate) const EXECUTIONS_MAX: usize = 32;
/// How many arguments and variables a program may be given.
const WORDS_MAX: usize = 4096;
/// Events that wait for whoever reads them.
const EVENTS_WAITING: usize = 8;
/// How long asking a program for its version may take.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

/// The programs that run.
pub(crate) struct Executions {
    place: Arc<Place>,
    supervisors: Arc<Supervisors>,
    environment: Environment,
    memory: OutOfMemory,
    activity: Arc<Activity>,
    running: Arc<Mutex<HashMap<ExecutionId, Arc<Notify>>>>,
    node: OnceCell<Option<(u32, u32)>>,
}

/// A program about to run: everything that can be refused has been looked at.
struct Prepared {
    id: ExecutionId,
    plan: Plan,
    cwd: std::os::fd::OwnedFd,
    environment: Environment,
    stdin: Option<String>,
    timeout: Duration,
    amount: Amount,
    activity: Arc<Activity>,
}

/// A place among the programs that run; given back when it is dropped.
struct Slot {
    id: ExecutionId,
    cancel: Arc<Notify>,
    running: Arc<Mutex<HashMap<ExecutionId, Arc<Notify>>>>,
}

impl Executions {
    /// None yet.
    pub(crate) fn new(
        place: Arc<Place>,
        supervisors: Arc<Supervisors>,
        environment: Environment,
        memory: OutOfMemory,
        activity: Arc<Activity>,
    ) -> Self {
        let running = Arc::default();
        Self { place, supervisors, environment, memory, activity, running, node: OnceCell::new() }
    }

    /// Starts a program. Its events come until `Exit`; dropping the receiver ends the program.
    pub(crate) async fn begin(
        &self,
        id: ExecutionId,
        request: ExecRequest,
        amount: Amount,
    ) -> Result<mpsc::Receiver<ExecEvent>, WorkspaceError> {
        let prepared = self.prepare(id, request, amount).await?;
        let slot = self.reserve(&prepared.id)?;
        self.activity.input();
        let (events, receiver) = mpsc::channel(EVENTS_WAITING);
        tokio::spawn(run::run(prepared, slot, Arc::clone(&self.supervisors), self.memory.clone(), events));
        Ok(receiver)
    }

    /// Ends a program with all it started.
    pub(crate) fn cancel(&self, id: &ExecutionId) -> Result<(), WorkspaceError> {
        let running = self.running();
        let cancel = running.get(id).ok_or_else(|| {
            WorkspaceError::new(ProblemCode::NotFound, format!("no program {id} runs here; it may have ended already"))
        })?;
        cancel.notify_one();
        Ok(())
    }

    /// Ends all of them.
    pub(crate) fn cancel_all(&self) {
        self.running().values().for_each(|cancel| cancel.notify_one());
    }

    /// How often the kernel has killed something here for want of memory, where that can be known.
    pub(crate) fn out_of_memory(&self) -> Option<u64> {
        self.memory.count()
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        self.running().len()
    }

    /// Which languages can be run here.
    pub(crate) async fn languages(&self) -> Vec<Language> {
        languages::all(&self.environment, self.node_version().await)
    }

    async fn prepare(&self, id: ExecutionId, request: ExecRequest, amount: Amount) -> Result<Prepared, WorkspaceError> {
        check_words(request.argv.iter().chain(&request.args), &request.env)?;
        let timeout = timeout(request.timeout_ms)?;
        let cwd = self.place.directory(&request.cwd)?;
        let pwd = self.place.name(&request.cwd);
        let added = request.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment = self.environment.with([("PWD", &*pwd.to_string_lossy())]).with(added);
        let plan = self.plan(&request, &environment).await?;
        let activity = Arc::clone(&self.activity);
        Ok(Prepared { id, plan, cwd, environment, stdin: request.stdin, timeout, amount, activity })
    }

    async fn plan(&self, request: &ExecRequest, environment: &Environment) -> Result<Plan, WorkspaceError> {
        match (&request.file, request.argv.is_empty()) {
            (None, false) => Ok(Plan::program(request.argv.clone())),
            (Some(path), true) => {
                let file = self.place.file(path)?;
                let node = if is_typescript(&file, request) { self.node_version().await } else { None };
                Plan::file(&file, request.language.as_deref(), &request.args, environment, node)
            }
            (None, true) => Err(bad("name what to run: `argv`, or `file`")),
            (Some(_), false) => Err(bad("name `argv` or `file`, not both; arguments of a file go into `args`")),
        }
    }

    async fn node_version(&self) -> Option<(u32, u32)> {
        if !languages::needs_node_version(&self.environment) {
            return None;
        }
        *self.node.get_or_init(|| self.ask_node()).await
    }

    async fn ask_node(&self) -> Option<(u32, u32)> {
        let cwd = self.place.directory(&reeve_types::WorkspacePath::root()).ok()?;
        let argv = vec!["node".to_owned(), "--version".to_owned()];
        let asked = run::first_words(&self.supervisors, argv, self.environment.clone(), cwd);
        let said = tokio::time::timeout(VERSION_WITHIN, asked).await.ok().flatten()?;
        languages::node_version(&said)
    }

    fn reserve(&self, id: &ExecutionId) -> Result<Slot, WorkspaceError> {
        let mut running = self.running();
        if running.len() >= EXECUTIONS_MAX {
            let message = format!("{EXECUTIONS_MAX} programs run here already; wait for one to end, or end one");
            return Err(WorkspaceError::new(ProblemCode::RateLimited, message));
        }
        match running.entry(id.clone()) {
            Entry::Occupied(_) => {
                Err(WorkspaceError::new(ProblemCode::Conflict, format!("a program {id} runs already; take another id")))
            }
            Entry::Vacant(free) => {
                let cancel = Arc::clone(free.insert(Arc::default()));
                Ok(Slot { id: id.clone(), cancel, running: Arc::clone(&self.running) })
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

fn is_typescript(file: &Path, request: &ExecRequest) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(request.language.as_deref().unwrap_or(extension), "ts" | "tsx" | "typescript")
}

fn timeout(asked_ms: Option<u64>) -> Result<Duration, WorkspaceError> {
    match asked_ms.unwrap_or(EXECUTION_TIMEOUT_MS) {
        ms @ 1..=EXECUTION_TIMEOUT_MS_MAX => Ok(Duration::from_millis(ms)),
        ms => Err(bad(&format!("`timeout_ms` is {ms}; it goes from 1 to {EXECUTION_TIMEOUT_MS_MAX}"))),
    }
}

/// Refuses what no program can be given.
pub(crate) fn check_words<'a>(
    arguments: impl Iterator<Item = &'a String>,
    env: &'a BTreeMap<String, String>,
) -> Result<(), WorkspaceError> {
    let words: Vec<&String> = arguments.chain(env.keys()).chain(env.values()).collect();
    if words.len() > WORDS_MAX {
        return Err(bad(&format!("a program takes at most {WORDS_MAX} arguments and variables")));
    }
    if let Some(word) = words.iter().find(|word| word.len() > ARGUMENT_BYTES_MAX) {
        let message = format!("an argument of {} bytes is too long; hand it over on `stdin` or in a file", word.len());
        return Err(bad(&message));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(bad("an argument or variable holds a NUL, which no program can be given"));
    }
    if env.keys().any(|name| name.is_empty() || name.contains('=')) {
        return Err(bad("the name of a variable is empty or holds `=`"));
    }
    Ok(())
}

fn bad(message: &str) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, message)
}
