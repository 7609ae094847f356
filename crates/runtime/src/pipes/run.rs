//! One program from its start to the end of everything it started, and of the connection to it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use reeve_types::workspace::processes::{PipeExit, PipeWord};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Program;
use super::flow::Flow;
use super::frames::{Reader, Writer};
use crate::signals;
use crate::supervise::Supervised;
use crate::supervise::order::{Ended, PATIENCE_MS, Report, Stop};

/// How long a program may go on when the connection is closed: its input has ended, and it may write things down.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long output is waited for after a program has ended, while something it started keeps the pipe open.
const DRAIN: Duration = Duration::from_millis(250);
/// How long a supervisor may take to end a tree, beyond the patience with those who are asked.
const INSIST: Duration = Duration::from_secs(3);
/// How long whoever reads may take for what is left once nothing runs any more.
const SLOW_READER: Duration = Duration::from_secs(60);
/// How long the other end may take to close the connection once it was told the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run(program: Program, reader: Reader, writer: Writer) {
    let Program { supervised, stdin, stdout, stderr, slot, activity } = program;
    let began = Clock::now();
    let flow = Arc::new(Flow::default());
    let (input, waiting) = mpsc::unbounded_channel();
    let mut hearing = pin!(flow.hear(reader, input));
    let mut feeding = pin!(flow.feed(stdin, waiting));
    let mut collecting = pin!(flow.collect(stderr, &activity));
    let mut telling = pin!(flow.tell(writer, stdout, &activity));
    let (mut fed, mut collected, mut told) = (false, false, None);
    let mut course = Course::new(supervised);
    while !course.is_over(told.is_some()) {
        tokio::select! {
            () = &mut hearing, if !course.gone => course.connection_closed(),
            () = &mut feeding, if !fed => fed = true,
            () = &mut collecting, if !collected => collected = true,
            writer = &mut telling, if told.is_none() => told = Some(writer),
            () = flow.output_ended.notified() => course.output_ended(),
            report = course.supervised.report(), if course.used.is_none() => course.reported(report),
            () = slot.end.notified() => course.end_tree(Stop::Ask),
            () = tokio::time::sleep_until(course.alarm), if course.stage != Stage::Running => course.rang(),
        }
        if let Some(stop) = course.stop.take() {
            course.supervised.stop(stop).await;
        }
        if course.used.is_some() {
            flow.over();
        }
    }
    let exit = course.exit(began.elapsed());
    drop(slot);
    if let Some(Some(mut writer)) = told {
        let _gone = writer.word(&PipeWord::Exit(exit)).await;
        let _gone = writer.shutdown().await;
        if !course.gone {
            // What is still unread when a connection is closed may take the last words with it.
            let _slow = tokio::time::timeout(CLOSE_WITHIN, hearing).await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The program runs.
    Running,
    /// The connection is closed, and the program may end by itself.
    Leaving,
    /// It has ended, and something it started still holds its output.
    Draining,
    /// The tree is being ended.
    Ending,
    /// Nothing is left but output that somebody reads slowly.
    Telling,
}

/// Where a program is, and what comes next.
struct Course {
    supervised: Supervised,
    stage: Stage,
    alarm: Instant,
    stop: Option<Stop>,
    gone: bool,
    output_done: bool,
    gave_up: bool,
    code: Option<i32>,
    signal: Option<i32>,
    used: Option<Ended>,
}

impl Course {
    fn new(supervised: Supervised) -> Self {
        Self {
            supervised,
            stage: Stage::Running,
            alarm: Instant::now(),
            stop: None,
            gone: false,
            output_done: false,
            gave_up: false,
            code: None,
            signal: None,
            used: None,
        }
    }

    fn is_over(&self, told: bool) -> bool {
        self.used.is_some() && (told || self.gone || self.gave_up)
    }

    fn connection_closed(&mut self) {
        self.gone = true;
        if self.stage == Stage::Running {
            self.enter(Stage::Leaving, FAREWELL);
        }
    }

    fn output_ended(&mut self) {
        self.output_done = true;
        if self.stage == Stage::Draining {
            self.end_tree(Stop::Kill);
        }
    }

    fn reported(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Started { .. }) => {}
            Some(Report::Exited { code, signal }) => {
                (self.code, self.signal) = (code, signal);
                match self.stage {
                    Stage::Running if !self.output_done => self.enter(Stage::Draining, DRAIN),
                    Stage::Running | Stage::Leaving => self.end_tree(Stop::Kill),
                    Stage::Draining | Stage::Ending | Stage::Telling => {}
                }
            }
            Some(Report::Ended(used)) => self.nothing_left(used),
            Some(Report::Failed(_)) | None => self.nothing_left(Ended::default()),
        }
    }

    fn rang(&mut self) {
        match self.stage {
            Stage::Running => {}
            Stage::Leaving => self.end_tree(Stop::AskPatiently),
            Stage::Draining => self.end_tree(Stop::Kill),
            Stage::Ending => {
                self.supervised.force();
                self.nothing_left(Ended::default());
            }
            Stage::Telling => self.gave_up = true,
        }
    }

    fn end_tree(&mut self, stop: Stop) {
        if self.used.is_none() {
            self.enter(Stage::Ending, Duration::from_millis(PATIENCE_MS) + INSIST);
            self.stop = Some(stop);
        }
    }

    fn nothing_left(&mut self, used: Ended) {
        self.used = Some(used);
        self.enter(Stage::Telling, SLOW_READER);
    }

    fn enter(&mut self, stage: Stage, lasting: Duration) {
        self.stage = stage;
        self.alarm = Instant::now() + lasting;
    }

    fn exit(&self, lasted: Duration) -> PipeExit {
        let used = self.used.unwrap_or_default();
        let signal = if self.code.is_none() { Some(self.signal.unwrap_or(9)) } else { None };
        PipeExit {
            exit_code: self.code.or(signal.map(|signal| 128 + signal)).unwrap_or(128 + 9),
            signal: signal.map(signals::name),
            duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            cpu_ms: used.cpu_ms,
            max_rss_bytes: used.max_rss_bytes,
        }
    }
}
