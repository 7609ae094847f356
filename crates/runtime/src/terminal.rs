//! One terminal: a pseudo-terminal, its program, what it has shown, and whoever looks at it.
//!
//! Output and input do not wait for each other. Output is read only while everybody who looks keeps up, so a flood is
//! held back where it comes from: in the program. Input is written whenever the terminal takes it.

mod clients;
mod history;
mod input;
mod life;
mod pty;

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use reeve_types::workspace::processes::Terminal as Described;
use reeve_types::{ProblemCode, SessionId, TerminalId, WorkspaceError};
use rustix::process::Signal;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};

use clients::Clients;
pub(crate) use clients::{Client, Seen, Shown};
use history::History;
use input::Input;
pub(crate) use life::Life;

use crate::activity::Activity;

/// Columns that a terminal may have.
pub(crate) const COLUMNS: std::ops::RangeInclusive<u16> = 2..=500;
/// Rows that a terminal may have.
pub(crate) const ROWS: std::ops::RangeInclusive<u16> = 1..=300;

/// A terminal that runs.
pub(crate) struct Terminal {
    id: TerminalId,
    opened_at: Timestamp,
    program: String,
    session: Option<SessionId>,
    master: AsyncFd<OwnedFd>,
    screen: Mutex<Screen>,
    input: Input,
    /// Moves on whenever there is something new for those who look.
    news: watch::Sender<u64>,
    /// Told when somebody who looks has caught up.
    caught_up: Notify,
    /// Told when the terminal is to end.
    closing: Notify,
    /// Whether somebody has closed it.
    closed: AtomicBool,
    activity: Arc<Activity>,
}

/// What changes while a terminal runs.
struct Screen {
    cols: u16,
    rows: u16,
    history: History,
    clients: Clients,
    ever_attached: bool,
    pid: Option<i32>,
    exit_code: Option<i32>,
}

impl Terminal {
    /// As the API describes it.
    pub(crate) fn describe(&self) -> Described {
        let title = self.title();
        let screen = self.screen();
        Described {
            id: self.id.clone(),
            title,
            cols: screen.cols,
            rows: screen.rows,
            attached: u32::try_from(screen.clients.count()).unwrap_or(u32::MAX),
            opened_at: self.opened_at,
            session: self.session.clone(),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &TerminalId {
        &self.id
    }

    /// The session that it is for.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// How many look at it.
    pub(crate) fn attached(&self) -> usize {
        self.screen().clients.count()
    }

    /// Gives it another size; the program in front is told by the kernel.
    pub(crate) fn resize(&self, cols: u16, rows: u16) -> Result<(), WorkspaceError> {
        check_size(cols, rows)?;
        let mut screen = self.screen();
        pty::set_size(&self.master, cols, rows).map_err(|error| {
            WorkspaceError::new(ProblemCode::Internal, format!("the terminal cannot be given that size: {error}"))
        })?;
        (screen.cols, screen.rows) = (cols, rows);
        Ok(())
    }

    /// Sends a signal to the program in front.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(group) = rustix::termios::tcgetpgrp(&self.master) {
            let _gone = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Ends it with all that it started.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_one();
    }

    /// Whether somebody has closed it: then nobody wants to read it any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Types into it. Waits a moment when the program does not read; answers whether everything was taken.
    pub(crate) async fn type_in(&self, bytes: &[u8]) -> bool {
        self.activity.input();
        self.input.push(bytes, &self.master).await
    }

    /// The process of its program, once it has been started.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.screen().pid
    }

    /// Waits until its program has been started; nothing when it could not be.
    pub(crate) async fn started(&self) -> Option<i32> {
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            let (pid, over) = {
                let screen = self.screen();
                (screen.pid, screen.exit_code.is_some())
            };
            if pid.is_some() || over || news.changed().await.is_err() {
                return pid;
            }
        }
    }

    /// The process in front.
    fn front(&self) -> Option<i32> {
        rustix::termios::tcgetpgrp(&self.master).ok().map(|group| group.as_raw_nonzero().get())
    }

    /// The name of the program in front.
    fn title(&self) -> String {
        let name = self.front().and_then(|group| fs::read_to_string(format!("/proc/{group}/comm")).ok());
        let name = name.map(|name| name.trim_end().to_owned()).filter(|name| !name.is_empty());
        name.unwrap_or_else(|| self.program.clone())
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Refuses a size that no terminal has.
pub(crate) fn check_size(cols: u16, rows: u16) -> Result<(), WorkspaceError> {
    if COLUMNS.contains(&cols) && ROWS.contains(&rows) {
        return Ok(());
    }
    let message = format!("a terminal has 2 to 500 columns and 1 to 300 rows, not {cols} by {rows}");
    Err(WorkspaceError::new(ProblemCode::BadRequest, message))
}

fn window(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
