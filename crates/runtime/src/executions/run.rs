//! One run, step by step, from its start to the end of everything it started.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use reeve_types::WorkspaceError;
use reeve_types::workspace::processes::{EXECUTION_TIMEOUT_MS, ExecEvent, ExecOutcome, ExecPhase, OutputStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::{Prepared, Slot};
use crate::environment::Environment;
use crate::memory::OutOfMemory;
use crate::output::{Pump, pass_on};
use crate::signals;
use crate::supervise::order::{ControllingTerminal, Ended, Failure, GRACE_MS, Order, Report, Stop};
use crate::supervise::{Supervised, Supervisors};

/// How long output is waited for after a program has ended, while something it started keeps the pipe open.
const DRAIN: Duration = Duration::from_millis(250);
/// How long a supervisor may take to end a tree, beyond the grace of those who are asked.
const INSIST: Duration = Duration::from_secs(3);
/// How long whoever reads the output may make an ended run wait.
const SLOW_READER: Duration = Duration::from_secs(60);

/// How one step ended.
#[derive(Default)]
struct StepEnd {
    code: Option<i32>,
    signal: Option<i32>,
    failure: Option<String>,
    timed_out: bool,
    cancelled: bool,
    truncated: bool,
    used: Ended,
}

/// What a step is run with.
struct Surroundings<'a> {
    prepared: &'a Prepared,
    supervisors: &'a Arc<Supervisors>,
    cancel: &'a Notify,
    events: &'a mpsc::Sender<ExecEvent>,
}

pub(super) async fn run(
    mut prepared: Prepared,
    slot: Slot,
    supervisors: Arc<Supervisors>,
    memory: OutOfMemory,
    events: mpsc::Sender<ExecEvent>,
) {
    let began = Clock::now();
    let kills_before = memory.count();
    let mut outcome = nothing_yet();
    let steps = std::mem::take(&mut prepared.plan.steps);
    for step in &steps {
        let around =
            Surroundings { prepared: &prepared, supervisors: &supervisors, cancel: &slot.cancel, events: &events };
        let end = match step.argv() {
            Ok(argv) => around.step(step.phase, argv).await,
            Err(error) => around.refused(&error).await,
        };
        outcome = add(outcome, step.phase, &end);
        if outcome.exit_code != 0 || end.cancelled {
            break;
        }
    }
    outcome.out_of_memory = outcome.exit_code != 0 && !outcome.timed_out && memory.count() > kills_before;
    outcome.duration_ms = millis(began.elapsed());
    drop(slot);
    let _nobody_listens = events.send(ExecEvent::Exit(outcome)).await;
}

/// The first line that a program writes, for asking it its version.
pub(super) async fn first_words(
    supervisors: &Arc<Supervisors>,
    argv: Vec<String>,
    environment: Environment,
    cwd: OwnedFd,
) -> Option<String> {
    let order = Order { argv, env: environment.into_pairs(), terminal: ControllingTerminal::No };
    let (ours, theirs) = Pipes::open(false).ok()?;
    let _supervised = supervisors.start(&order, &theirs.handles(cwd)).await.ok()?;
    let mut said = Vec::new();
    ours.stdout.take(200).read_to_end(&mut said).await.ok()?;
    String::from_utf8(said).ok()
}

impl Surroundings<'_> {
    async fn step(&self, phase: ExecPhase, argv: Vec<String>) -> StepEnd {
        let id = self.prepared.id.clone();
        let started = ExecEvent::Start { id, phase, argv: argv.clone() };
        if self.events.send(started).await.is_err() {
            return StepEnd { cancelled: true, ..StepEnd::default() };
        }
        let name = argv.first().cloned().unwrap_or_default();
        match self.launch(argv).await {
            Ok((supervised, pipes)) => {
                let end = self.accompany(phase, supervised, pipes).await;
                if let Some(failure) = &end.failure {
                    self.say(&format!("`{name}` cannot be started: {failure}")).await;
                }
                end
            }
            Err(error) => {
                let what = "the workspace may have as many processes as it is allowed; end something and try again";
                self.say(&format!("`{name}` cannot be started: {error}; {what}")).await;
                StepEnd { failure: Some(error.to_string()), ..StepEnd::default() }
            }
        }
    }

    async fn refused(&self, error: &WorkspaceError) -> StepEnd {
        self.say(&error.message).await;
        StepEnd { failure: Some(error.message.clone()), ..StepEnd::default() }
    }

    async fn launch(&self, argv: Vec<String>) -> io::Result<(Supervised, Pipes)> {
        let env = self.prepared.environment.clone().into_pairs();
        let order = Order { argv, env, terminal: ControllingTerminal::No };
        let (ours, theirs) = Pipes::open(self.prepared.stdin.is_some())?;
        let cwd = self.prepared.cwd.try_clone()?;
        Ok((self.supervisors.start(&order, &theirs.handles(cwd)).await?, ours))
    }

    async fn accompany(&self, phase: ExecPhase, mut supervised: Supervised, pipes: Pipes) -> StepEnd {
        let feeding = pipes.stdin.zip(self.prepared.stdin.clone()).map(|(pipe, text)| tokio::spawn(feed(pipe, text)));
        let pump = |stream| Pump {
            stream,
            amount: self.prepared.amount,
            events: self.events.clone(),
            activity: Arc::clone(&self.prepared.activity),
        };
        let out = pass_on(pipes.stdout, pump(OutputStream::Stdout));
        let err = pass_on(pipes.stderr, pump(OutputStream::Stderr));
        let mut output = pin!(async { tokio::join!(out, err) });
        let mut course = Course::new(step_timeout(phase, self.prepared.timeout));
        while !course.is_over() {
            tokio::select! {
                (out, err) = &mut output, if !course.output_done => course.output_ended(out || err),
                report = supervised.report(), if course.ended.is_none() => course.reported(report),
                () = tokio::time::sleep_until(course.alarm) => course.rang(&supervised),
                () = self.cancel.notified(), if course.stage == Stage::Running => course.cancelled(),
                () = self.events.closed(), if !course.abandoned => course.abandoned(),
            }
            if let Some(stop) = course.stop.take() {
                supervised.stop(stop).await;
            }
        }
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        course.end()
    }

    async fn say(&self, words: &str) {
        let data = format!("reeve: {words}\n").into_bytes();
        let _nobody_listens = self.events.send(ExecEvent::Output { stream: OutputStream::Stderr, data }).await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The program runs.
    Running,
    /// It has ended, and something it started still holds its output.
    Draining,
    /// The tree is being ended.
    Ending,
    /// Nothing is left but output that somebody reads slowly.
    Telling,
}

/// Where a step is, and what comes next.
struct Course {
    stage: Stage,
    alarm: Instant,
    stop: Option<Stop>,
    output_done: bool,
    abandoned: bool,
    gave_up: bool,
    ended: Option<Ended>,
    end: StepEnd,
}

impl Course {
    fn new(timeout: Duration) -> Self {
        Self {
            stage: Stage::Running,
            alarm: Instant::now() + timeout,
            stop: None,
            output_done: false,
            abandoned: false,
            gave_up: false,
            ended: None,
            end: StepEnd::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.ended.is_some() && (self.output_done || self.abandoned || self.gave_up)
    }

    fn reported(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Started { .. }) => {}
            Some(Report::Failed(Failure { message })) => {
                self.end.failure = Some(message);
                self.gone(Ended::default());
            }
            Some(Report::Exited { code, signal }) => {
                (self.end.code, self.end.signal) = (code, signal);
                self.program_ended();
            }
            Some(Report::Ended(used)) => self.gone(used),
            None => {
                if self.end.code.is_none() {
                    self.end.signal.get_or_insert(9);
                }
                self.gone(Ended::default());
            }
        }
    }

    fn program_ended(&mut self) {
        match self.stage {
            Stage::Running if self.output_done => self.end_tree(Stop::Kill),
            Stage::Running => {
                self.stage = Stage::Draining;
                self.alarm = Instant::now() + DRAIN;
            }
            _ => {}
        }
    }

    fn output_ended(&mut self, truncated: bool) {
        self.output_done = true;
        self.end.truncated = truncated;
        if self.stage == Stage::Draining {
            self.end_tree(Stop::Kill);
        }
    }

    fn rang(&mut self, supervised: &Supervised) {
        match self.stage {
            Stage::Running => {
                self.end.timed_out = true;
                self.end_tree(Stop::Ask);
            }
            Stage::Draining => self.end_tree(Stop::Kill),
            Stage::Ending => {
                supervised.force();
                self.gone(Ended::default());
            }
            Stage::Telling => {
                self.end.truncated = true;
                self.gave_up = true;
            }
        }
    }

    fn cancelled(&mut self) {
        self.end.cancelled = true;
        self.end_tree(Stop::Ask);
    }

    fn abandoned(&mut self) {
        self.abandoned = true;
        self.end.cancelled = true;
        self.end_tree(Stop::Kill);
    }

    fn end_tree(&mut self, stop: Stop) {
        if self.stage != Stage::Telling {
            self.stage = Stage::Ending;
            self.alarm = Instant::now() + Duration::from_millis(GRACE_MS) + INSIST;
            self.stop = Some(stop);
        }
    }

    fn gone(&mut self, used: Ended) {
        self.ended = Some(used);
        self.stage = Stage::Telling;
        self.alarm = Instant::now() + SLOW_READER;
    }

    fn end(mut self) -> StepEnd {
        self.end.used = self.ended.unwrap_or_default();
        self.end
    }
}

/// A compiler is given at least the usual time, however little its program gets.
fn step_timeout(phase: ExecPhase, asked: Duration) -> Duration {
    match phase {
        ExecPhase::Compile => asked.max(Duration::from_millis(EXECUTION_TIMEOUT_MS)),
        ExecPhase::Run => asked,
    }
}

fn add(before: ExecOutcome, phase: ExecPhase, end: &StepEnd) -> ExecOutcome {
    let exit_code = match (end.timed_out, &end.failure, end.code, end.signal) {
        (true, ..) => 124,
        (_, Some(_), ..) => 127,
        (_, _, Some(code), _) => code,
        (_, _, None, Some(signal)) => 128 + signal,
        (_, _, None, None) => 128 + 9,
    };
    ExecOutcome {
        exit_code,
        signal: end.signal.map(signals::name),
        phase,
        timed_out: end.timed_out,
        cancelled: end.cancelled,
        truncated: before.truncated || end.truncated,
        cpu_ms: before.cpu_ms + end.used.cpu_ms,
        max_rss_bytes: before.max_rss_bytes.max(end.used.max_rss_bytes),
        ..before
    }
}

fn nothing_yet() -> ExecOutcome {
    ExecOutcome {
        exit_code: 127,
        signal: None,
        phase: ExecPhase::Run,
        timed_out: false,
        cancelled: false,
        out_of_memory: false,
        truncated: false,
        duration_ms: 0,
        cpu_ms: 0,
        max_rss_bytes: 0,
    }
}

/// The runtime's ends of a program's streams.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// The program's ends.
struct ProgramEnds {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Pipes {
    fn open(with_stdin: bool) -> io::Result<(Self, ProgramEnds)> {
        let (stdin, ours) = if with_stdin {
            let (read, write) = io::pipe()?;
            (OwnedFd::from(read), Some(pipe::Sender::from_owned_fd(write.into())?))
        } else {
            (OwnedFd::from(std::fs::File::open("/dev/null")?), None)
        };
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        let ours = Self {
            stdin: ours,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        };
        Ok((ours, ProgramEnds { stdin, stdout: out.into(), stderr: err.into() }))
    }
}

impl ProgramEnds {
    fn handles(self, cwd: OwnedFd) -> [OwnedFd; 4] {
        [cwd, self.stdin, self.stdout, self.stderr]
    }
}

/// A program that does not read all it is given is no failure.
async fn feed(mut pipe: pipe::Sender, text: String) {
    let _not_read = pipe.write_all(text.as_bytes()).await;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
