//! The preview process: a server that the workspace is for, started with the runtime and started again when it ends.
//!
//! It runs in a terminal of its own, which nobody looks at: what it writes goes to a log, and development servers that
//! take a key for a restart are given that key. Its chatter is no sign that somebody uses the workspace.

mod log;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reeve_types::workspace::processes::{OpenTerminal, TerminalOutput};
use reeve_types::{TerminalId, WorkspacePath};
use serde::Serialize;
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::config::PreviewConfig;
use crate::environment::Environment;
use crate::place::Place;
use crate::supervise::Supervisors;
use crate::supervise::order::{ControllingTerminal, Order};
use crate::terminal::{Client, Life, Shown, Terminal};
use log::Log;

/// How long it rests before it is started again.
const BACK_OFF: Duration = Duration::from_secs(3);
/// How often it is started again.
const RESTARTS_MAX: u32 = 100;
/// How long nothing may have changed before the restart key is pressed.
const SETTLED: Duration = Duration::from_millis(500);
/// The key that development servers restart on.
const RESTART_KEY: &[u8] = b"R";

/// The preview process and what keeps it running.
pub(crate) struct Preview {
    config: PreviewConfig,
    place: Arc<Place>,
    supervisors: Arc<Supervisors>,
    environment: Environment,
    course: Mutex<Course>,
    changed: Notify,
    ending: Notify,
}

/// How it stands, as `/healthz` tells it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Standing {
    /// Whether it runs now.
    pub(crate) running: bool,
    /// Its process.
    running_pid: Option<i32>,
    /// How often it was started again.
    restart_count: u32,
    /// How often it may be.
    max_restarts: u32,
    /// Whether it is not started any more.
    exhausted: bool,
    /// How it last ended.
    last_exit_code: Option<i32>,
    /// When, in milliseconds since 1970.
    last_exit_ts_ms: Option<i64>,
    /// Why it could not be started.
    last_error: Option<String>,
}

#[derive(Default)]
struct Course {
    standing: Standing,
    terminal: Option<Arc<Terminal>>,
    ended: bool,
}

impl Preview {
    /// Starts nothing yet.
    pub(crate) fn new(
        config: PreviewConfig,
        place: Arc<Place>,
        supervisors: Arc<Supervisors>,
        environment: Environment,
    ) -> Self {
        let standing = Standing { max_restarts: RESTARTS_MAX, ..Standing::default() };
        let course = Mutex::new(Course { standing, ..Course::default() });
        Self { config, place, supervisors, environment, course, changed: Notify::new(), ending: Notify::new() }
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let course = self.course();
        let mut standing = course.standing.clone();
        standing.running_pid = course.terminal.as_ref().and_then(|terminal| terminal.pid());
        standing
    }

    /// Something was written or run: a server that restarts on a key is given it once things have settled.
    pub(crate) fn changed(&self) {
        if self.config.hot_restart {
            self.changed.notify_one();
        }
    }

    /// Presses the restart key now. Answers whether there was anybody to press it for.
    pub(crate) async fn hot_restart(&self) -> bool {
        let terminal = self.course().terminal.clone();
        match terminal {
            Some(terminal) => terminal.type_in(RESTART_KEY).await,
            None => false,
        }
    }

    /// Ends it, for good.
    pub(crate) fn end(&self) {
        let mut course = self.course();
        course.ended = true;
        if let Some(terminal) = course.terminal.take() {
            terminal.close();
        }
        self.ending.notify_one();
    }

    /// Keeps it running until it is ended or has ended too often.
    pub(crate) async fn keep_running(&self) {
        tokio::join!(self.start_again_and_again(), self.restart_on_change());
    }

    async fn start_again_and_again(&self) {
        let log = Log::new(&self.config.log);
        loop {
            let ended = self.once(&log).await;
            if !self.note(ended) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(BACK_OFF) => {}
                () = self.ending.notified() => return,
            }
            self.course().standing.restart_count += 1;
        }
    }

    /// Runs it once, to its end.
    async fn once(&self, log: &Log) -> io::Result<i32> {
        let root = WorkspacePath::root();
        let cwd = self.place.directory(&root).map_err(|error| io::Error::other(error.message))?;
        let pwd = self.place.name(&root);
        let env = [("TERM", "xterm-256color"), ("PWD", &*pwd.to_string_lossy())];
        let order = Order {
            argv: self.config.argv.clone(),
            env: self.environment.with(env).into_pairs(),
            terminal: ControllingTerminal::Yes,
        };
        let id = TerminalId::new(Timestamp::now(), rand::random());
        let wanted = OpenTerminal::default();
        let life = Life::begin(id, &wanted, order, cwd, &self.supervisors, Arc::new(Activity::new())).await?;
        let terminal = life.terminal();
        if !self.began(&terminal) {
            terminal.close();
        }
        let noted = async { log.begin(terminal.started().await).await };
        let (code, (), ()) = tokio::join!(written_to(log, &terminal), life.live(), noted);
        Ok(code)
    }

    fn began(&self, terminal: &Arc<Terminal>) -> bool {
        let mut course = self.course();
        course.standing.running = true;
        course.standing.last_error = None;
        course.terminal = (!course.ended).then(|| Arc::clone(terminal));
        !course.ended
    }

    /// Notes how it ended. Answers whether it is to be started again.
    fn note(&self, ended: io::Result<i32>) -> bool {
        let mut course = self.course();
        course.terminal = None;
        let standing = &mut course.standing;
        standing.running = false;
        standing.last_exit_ts_ms = Some(Timestamp::now().as_millisecond());
        match ended {
            Ok(code) => standing.last_exit_code = Some(code),
            Err(error) => standing.last_error = Some(error.to_string()),
        }
        standing.exhausted = standing.restart_count >= RESTARTS_MAX;
        !standing.exhausted && !course.ended
    }

    async fn restart_on_change(&self) {
        loop {
            self.changed.notified().await;
            while tokio::time::timeout(SETTLED, self.changed.notified()).await.is_ok() {}
            self.hot_restart().await;
        }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what a terminal shows to the log; answers its exit code.
async fn written_to(log: &Log, terminal: &Arc<Terminal>) -> i32 {
    let (mut client, _ready) = Client::attach(terminal);
    let mut code = 128 + 9;
    while let Some(shown) = client.next().await {
        match shown {
            Shown::Bytes(bytes) => log.append(bytes).await,
            Shown::Last(TerminalOutput::Exit { code: told }) => code = told,
            Shown::Last(_) => {}
        }
    }
    code
}
