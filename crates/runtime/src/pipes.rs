//! Programs that somebody talks with over standard input and output: agents, language servers, tool servers.
//!
//! A program has one connection and lives as long as it. Bytes go both ways unchanged and at the speed of the slower end;
//! what it writes to standard error never holds it up: the last of it is kept until it can be sent, and what was left out
//! is counted.

mod flow;
mod frames;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use reeve_types::workspace::processes::{OpenPipe, PipeWord};
use reeve_types::{ProblemCode, WorkspaceError};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::environment::Environment;
use crate::executions::check_words;
use crate::place::Place;
use crate::supervise::order::{ControllingTerminal, Failure, Order, Report};
use crate::supervise::{Supervised, Supervisors};
use frames::{Frame, Reader, Writer};

/// How many of them may run at once.
pub(crate) const PIPES_MAX: usize = 16;
/// How long whoever opens one may take to say what it is.
const SAY_WITHIN: Duration = Duration::from_secs(30);

/// The programs with pipes that run.
pub(crate) struct Pipes {
    place: Arc<Place>,
    supervisors: Arc<Supervisors>,
    environment: Environment,
    activity: Arc<Activity>,
    all: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    next: u64,
    running: HashMap<u64, Arc<Notify>>,
}

/// A place among them; given back when it is dropped.
struct Slot {
    number: u64,
    end: Arc<Notify>,
    all: Arc<Mutex<Registry>>,
}

/// A program that runs, and the runtime's ends of its streams.
struct Program {
    supervised: Supervised,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    slot: Slot,
    activity: Arc<Activity>,
}

impl Pipes {
    /// None yet.
    pub(crate) fn new(
        place: Arc<Place>,
        supervisors: Arc<Supervisors>,
        environment: Environment,
        activity: Arc<Activity>,
    ) -> Self {
        Self { place, supervisors, environment, activity, all: Arc::default() }
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        locked(&self.all).running.len()
    }

    /// Ends all of them.
    pub(crate) fn end_all(&self) {
        locked(&self.all).running.values().for_each(|end| end.notify_one());
    }

    /// Lives one program, from the frame that says what it is to its end.
    pub(crate) async fn converse(&self, connection: Upgraded) {
        let (read, write) = tokio::io::split(TokioIo::new(connection));
        let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
        let begun = match tokio::time::timeout(SAY_WITHIN, reader.next()).await {
            Ok(Ok(Frame::Control(said))) => self.begin(&said).await,
            Ok(Ok(_)) => Err(bad("the first frame says what to start")),
            Ok(Err(_)) | Err(_) => return,
        };
        match begun {
            Ok(program) => {
                if writer.word(&PipeWord::Started).await.is_ok() {
                    run::run(program, reader, writer).await;
                }
            }
            Err(error) => {
                let _gone = writer.word(&PipeWord::Refused { error }).await;
                let _gone = writer.shutdown().await;
            }
        }
    }

    async fn begin(&self, said: &[u8]) -> Result<Program, WorkspaceError> {
        let wanted: OpenPipe =
            serde_json::from_slice(said).map_err(|error| bad(format!("what to start cannot be read: {error}")))?;
        if wanted.argv.is_empty() {
            return Err(bad("name what to run: `argv`"));
        }
        check_words(wanted.argv.iter(), &wanted.env)?;
        let cwd = self.place.directory(&wanted.cwd)?;
        let pwd = self.place.name(&wanted.cwd);
        let added = wanted.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment = self.environment.with([("PWD", &*pwd.to_string_lossy())]).with(added);
        let slot = self.reserve()?;
        let name = wanted.argv.first().cloned().unwrap_or_default();
        let order = Order { argv: wanted.argv, env: environment.into_pairs(), terminal: ControllingTerminal::No };
        let mut program = self.launch(&order, cwd, slot).await.map_err(|error| cannot_start(&name, &error))?;
        match program.supervised.report().await {
            Some(Report::Started { .. }) => {
                self.activity.input();
                Ok(program)
            }
            Some(Report::Failed(Failure { message })) => {
                let said = format!("`{name}` cannot be started: {message}; install it in the workspace");
                Err(WorkspaceError::new(ProblemCode::NotFound, said))
            }
            _ => Err(cannot_start(&name, &std::io::Error::other("its supervisor has ended"))),
        }
    }

    async fn launch(&self, order: &Order, cwd: std::os::fd::OwnedFd, slot: Slot) -> std::io::Result<Program> {
        let (their_in, stdin) = std::io::pipe()?;
        let (stdout, their_out) = std::io::pipe()?;
        let (stderr, their_err) = std::io::pipe()?;
        let handles = [cwd, their_in.into(), their_out.into(), their_err.into()];
        Ok(Program {
            supervised: self.supervisors.start(order, &handles).await?,
            stdin: pipe::Sender::from_owned_fd(stdin.into())?,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
            slot,
            activity: Arc::clone(&self.activity),
        })
    }

    fn reserve(&self) -> Result<Slot, WorkspaceError> {
        let mut all = locked(&self.all);
        if all.running.len() >= PIPES_MAX {
            let said = format!("{PIPES_MAX} programs with pipes run here already; end one");
            return Err(WorkspaceError::new(ProblemCode::RateLimited, said));
        }
        let number = all.next;
        all.next += 1;
        let end = Arc::clone(all.running.entry(number).or_default());
        Ok(Slot { number, end, all: Arc::clone(&self.all) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.all).running.remove(&self.number);
    }
}

fn locked(all: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bad(message: impl Into<String>) -> WorkspaceError {
    WorkspaceError::new(ProblemCode::BadRequest, message)
}

fn cannot_start(name: &str, error: &std::io::Error) -> WorkspaceError {
    let what = "the workspace may have as many processes as it is allowed; end something and try again";
    WorkspaceError::new(ProblemCode::Unavailable, format!("`{name}` cannot be started: {error}; {what}"))
}
