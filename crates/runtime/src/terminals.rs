//! The terminals of the workspace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use reeve_types::workspace::processes::{ARGUMENT_BYTES_MAX, OpenTerminal, TERMINALS_MAX, Terminal as Described};
use reeve_types::{ProblemCode, SessionId, TerminalId, WorkspaceError};

use crate::activity::Activity;
use crate::environment::Environment;
use crate::place::Place;
use crate::supervise::Supervisors;
use crate::supervise::order::{ControllingTerminal, Order};
use crate::terminal::{Life, Terminal, check_size};

/// Terminals of sessions that have ended and can still be read: an agent looks when it gets round to it.
const ENDED_KEPT: usize = 4;

/// Every terminal that runs.
pub(crate) struct Terminals {
    place: Arc<Place>,
    supervisors: Arc<Supervisors>,
    environment: Environment,
    activity: Arc<Activity>,
    all: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    running: BTreeMap<TerminalId, Arc<Terminal>>,
    /// The last of sessions that have ended.
    ended: VecDeque<Arc<Terminal>>,
    /// Terminals that are being started count, so that the limit holds.
    starting: usize,
}

impl Terminals {
    /// None yet.
    pub(crate) fn new(
        place: Arc<Place>,
        supervisors: Arc<Supervisors>,
        environment: Environment,
        activity: Arc<Activity>,
    ) -> Self {
        Self { place, supervisors, environment, activity, all: Arc::default() }
    }

    /// Opens a terminal. Without an id it gets one of its own.
    pub(crate) async fn open(&self, id: Option<TerminalId>, wanted: OpenTerminal) -> Result<Described, WorkspaceError> {
        check_size(wanted.cols, wanted.rows)?;
        check_words(&wanted.argv)?;
        let cwd = self.place.directory(&wanted.cwd)?;
        let order = self.order(&wanted);
        let id = id.unwrap_or_else(|| TerminalId::new(Timestamp::now(), rand::random()));
        let starting = self.reserve(&id)?;
        let activity = Arc::clone(&self.activity);
        let began = Life::begin(id, &wanted, order, cwd, &self.supervisors, activity).await;
        let life = began.map_err(|error| cannot_open(&error))?;
        let terminal = life.terminal();
        {
            let mut all = self.all();
            all.running.insert(terminal.id().clone(), Arc::clone(&terminal));
        }
        drop(starting);
        self.activity.input();
        let described = terminal.describe();
        let all = Arc::clone(&self.all);
        tokio::spawn(async move {
            life.live().await;
            locked(&all).end(&terminal);
        });
        Ok(described)
    }

    /// One terminal, to be looked at.
    pub(crate) fn find(&self, id: &TerminalId) -> Result<Arc<Terminal>, WorkspaceError> {
        let all = self.all();
        let ended = || all.ended.iter().find(|terminal| terminal.id() == id);
        all.running.get(id).or_else(ended).cloned().ok_or_else(|| {
            let message = format!("there is no terminal {id}; its program may have ended: open a new one");
            WorkspaceError::new(ProblemCode::NotFound, message)
        })
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<Described> {
        self.running().iter().map(|terminal| terminal.describe()).collect()
    }

    /// How many there are, and how many look at them.
    pub(crate) fn count(&self) -> (usize, usize) {
        let running = self.running();
        (running.len(), running.iter().map(|terminal| terminal.attached()).sum())
    }

    /// Ends a terminal with all that it started.
    pub(crate) fn close(&self, id: &TerminalId) -> Result<(), WorkspaceError> {
        self.find(id).map(|terminal| terminal.close())?;
        self.all().ended.retain(|terminal| terminal.id() != id);
        Ok(())
    }

    /// Ends all terminals that are for one session.
    pub(crate) fn close_all_of(&self, session: &SessionId) {
        let of = |terminal: &Arc<Terminal>| terminal.session() == Some(session);
        self.running().iter().filter(|terminal| of(terminal)).for_each(|terminal| terminal.close());
        self.all().ended.retain(|terminal| !of(terminal));
    }

    /// Ends all of them.
    pub(crate) fn close_all(&self) {
        self.running().iter().for_each(|terminal| terminal.close());
    }

    fn running(&self) -> Vec<Arc<Terminal>> {
        self.all().running.values().cloned().collect()
    }

    fn reserve(&self, id: &TerminalId) -> Result<Starting, WorkspaceError> {
        let mut all = self.all();
        if all.running.contains_key(id) {
            let message = format!("there is a terminal {id} already; take another id");
            return Err(WorkspaceError::new(ProblemCode::Conflict, message));
        }
        if all.running.len() + all.starting >= TERMINALS_MAX {
            let message = format!("the workspace has {TERMINALS_MAX} terminals, and may have no more; close one");
            return Err(WorkspaceError::new(ProblemCode::RateLimited, message));
        }
        all.starting += 1;
        Ok(Starting(Arc::clone(&self.all)))
    }

    fn order(&self, wanted: &OpenTerminal) -> Order {
        let pwd = self.place.name(&wanted.cwd);
        let shell = self.shell();
        let more = [
            ("TERM", "xterm-256color"),
            ("COLORTERM", "truecolor"),
            ("SHELL", shell.as_str()),
            ("PWD", &*pwd.to_string_lossy()),
        ];
        let env = self.environment.with(more).into_pairs();
        let argv = if wanted.argv.is_empty() { vec![shell, "-l".to_owned()] } else { wanted.argv.clone() };
        Order { argv, env, terminal: ControllingTerminal::Yes }
    }

    /// The shell that the environment names, bash, or what every system has.
    fn shell(&self) -> String {
        let named = self.environment.get("SHELL").filter(|shell| shell.starts_with('/'));
        let there = |shell: &str| self.environment.find(shell).is_some_and(|path| path.is_file());
        let found = named.filter(|shell| there(shell)).map(str::to_owned);
        let bash = || self.environment.find("bash").and_then(|path| path.to_str().map(str::to_owned));
        found.or_else(bash).unwrap_or_else(|| "/bin/sh".to_owned())
    }

    fn all(&self) -> MutexGuard<'_, Registry> {
        locked(&self.all)
    }
}

impl Registry {
    fn end(&mut self, terminal: &Arc<Terminal>) {
        self.running.remove(terminal.id());
        if terminal.session().is_some() && !terminal.is_closing() {
            self.ended.push_back(Arc::clone(terminal));
            self.ended.drain(..self.ended.len().saturating_sub(ENDED_KEPT));
        }
    }
}

/// A terminal that is being started.
struct Starting(Arc<Mutex<Registry>>);

impl Drop for Starting {
    fn drop(&mut self) {
        locked(&self.0).starting -= 1;
    }
}

fn locked(all: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_words(argv: &[String]) -> Result<(), WorkspaceError> {
    let fine = argv.len() <= 256 && argv.iter().all(|word| word.len() <= ARGUMENT_BYTES_MAX && !word.contains('\0'));
    let refused = || {
        let message = "the program of a terminal takes at most 256 arguments, each without NUL and below 128 KiB";
        WorkspaceError::new(ProblemCode::BadRequest, message)
    };
    fine.then_some(()).ok_or_else(refused)
}

fn cannot_open(error: &std::io::Error) -> WorkspaceError {
    let message = format!(
        "the terminal cannot be opened: {error}; the workspace may have as many processes as it is allowed: end something"
    );
    WorkspaceError::new(ProblemCode::Unavailable, message)
}
