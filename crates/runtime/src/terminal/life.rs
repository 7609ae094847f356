//! A terminal from its opening to the end of everything that was started in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use reeve_types::TerminalId;
use reeve_types::workspace::processes::{OpenTerminal, TERMINAL_HISTORY_BYTES};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::clients::Clients;
use super::history::History;
use super::input::Input;
use super::{Screen, Terminal, pty};
use crate::activity::Activity;
use crate::supervise::order::{ControllingTerminal, GRACE_MS, Order, Report, Stop};
use crate::supervise::{Supervised, Supervisors};

/// Bytes read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// How often somebody who is late is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the rest of the output may take once nothing is left that writes.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a supervisor may take to end a terminal, beyond the grace of those who are asked.
const INSIST: Duration = Duration::from_secs(3);

/// A terminal and its program, to be lived to its end.
pub(crate) struct Life {
    terminal: Arc<Terminal>,
    supervised: Supervised,
}

impl Life {
    /// Opens a terminal and starts its program in it.
    pub(crate) async fn begin(
        id: TerminalId,
        wanted: &OpenTerminal,
        order: Order,
        cwd: OwnedFd,
        supervisors: &Arc<Supervisors>,
        activity: Arc<Activity>,
    ) -> io::Result<Self> {
        let pty = pty::open(wanted.cols, wanted.rows)?;
        let program = order.argv.first().map(|program| program.rsplit('/').next().unwrap_or(program).to_owned());
        let order = Order { terminal: ControllingTerminal::Yes, ..order };
        let supervised = supervisors.start(&order, &[cwd, pty.program]).await?;
        let screen = Screen {
            cols: wanted.cols,
            rows: wanted.rows,
            history: History::new(TERMINAL_HISTORY_BYTES),
            clients: Clients::default(),
            ever_attached: false,
            pid: None,
            exit_code: None,
        };
        let terminal = Arc::new(Terminal {
            id,
            opened_at: Timestamp::now(),
            program: program.unwrap_or_default(),
            session: wanted.session.clone(),
            master: register(pty.master)?,
            screen: Mutex::new(screen),
            input: Input::default(),
            news: watch::Sender::new(0),
            caught_up: Notify::new(),
            closing: Notify::new(),
            closed: AtomicBool::new(false),
            activity,
        });
        Ok(Self { terminal, supervised })
    }

    /// The terminal.
    pub(crate) fn terminal(&self) -> Arc<Terminal> {
        Arc::clone(&self.terminal)
    }

    /// Lives until nothing of it is left. Those who look have been told the exit code when this returns.
    pub(crate) async fn live(mut self) {
        let terminal = Arc::clone(&self.terminal);
        let code = {
            let showing = show(&terminal);
            let typing = terminal.input.pass_on(&terminal.master);
            tokio::pin!(showing, typing);
            let (mut shown, mut typed) = (false, false);
            let ending = self.until_ended();
            tokio::pin!(ending);
            let code = loop {
                tokio::select! {
                    code = &mut ending => break code,
                    () = &mut showing, if !shown => shown = true,
                    () = &mut typing, if !typed => typed = true,
                }
            };
            if !shown {
                let _enough = tokio::time::timeout(LAST_WORDS, &mut showing).await;
            }
            code
        };
        terminal.screen().exit_code = Some(code);
        terminal.tell();
    }

    /// Waits for the program's end, or for somebody who closes the terminal; then ends what the program left behind.
    async fn until_ended(&mut self) -> i32 {
        let mut code = None;
        let mut insist: Option<Instant> = None;
        loop {
            let alarm = insist.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
            tokio::select! {
                report = self.supervised.report() => match report {
                    Some(Report::Started { pid }) => {
                        self.terminal.screen().pid = Some(pid);
                        self.terminal.tell();
                    }
                    Some(Report::Exited { code: exit, signal }) => {
                        code = exit.or(signal.map(|signal| 128 + signal));
                        insist.get_or_insert_with(|| Instant::now() + Duration::from_millis(GRACE_MS) + INSIST);
                        self.supervised.stop(Stop::HangUp).await;
                    }
                    Some(Report::Ended(_)) | None => return code.unwrap_or(128 + 9),
                    Some(Report::Failed(_)) => return 127,
                },
                () = self.terminal.closing.notified() => {
                    insist.get_or_insert_with(|| Instant::now() + Duration::from_millis(GRACE_MS) + INSIST);
                    self.supervised.stop(Stop::HangUp).await;
                }
                () = tokio::time::sleep_until(alarm), if insist.is_some() => {
                    self.supervised.force();
                    return code.unwrap_or(128 + 9);
                }
            }
        }
    }
}

/// Tokio's newer constructor takes a promise that the descriptor stays open and stays the same. An `OwnedFd` that is
/// moved in keeps it by itself, so the older one is sound here, and needs no `unsafe`.
#[expect(deprecated, reason = "the constructor that replaces it is unsafe, for types that are no OwnedFd")]
fn register(master: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(master)
}

/// Reads what the program writes, as fast as the slowest who looks, until nobody can write any more.
async fn show(terminal: &Terminal) {
    let mut piece = vec![0u8; PIECE_BYTES];
    loop {
        until_caught_up(terminal).await;
        let Ok(mut ready) = terminal.master.readable().await else { return };
        match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut piece)?)) {
            Ok(Ok(read)) if read > 0 => {
                terminal.activity.output();
                terminal.screen().history.push(piece.get(..read).unwrap_or_default());
                terminal.tell();
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // The end, or EIO: nothing has the program's side open any more.
            Ok(_) => return,
            Err(_would_block) => {}
        }
    }
}

async fn until_caught_up(terminal: &Terminal) {
    loop {
        {
            let mut screen = terminal.screen();
            let end = screen.history.end();
            if screen.clients.keep_up(end) {
                return;
            }
        }
        terminal.tell();
        let _look = tokio::time::timeout(LOOK_AGAIN, terminal.caught_up.notified()).await;
    }
}
