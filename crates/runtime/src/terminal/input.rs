//! What is typed, on its way to the program.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::termios::{LocalModes, QueueSelector, SpecialCodeIndex};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::pty;

/// Bytes that may wait for a program that does not read.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Bytes written at once.
const PIECE_BYTES: usize = 4096;

/// How long a program may read nothing before more keystrokes are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bounded queue of keystrokes.
#[derive(Default)]
pub(super) struct Input {
    waiting: Mutex<VecDeque<u8>>,
    more: Notify,
    room: Notify,
    stuck: AtomicBool,
}

impl Input {
    /// Adds keystrokes. Answers whether all were taken: when a program has read nothing for a while and the queue is
    /// full, more is dropped, as a terminal does, so that an interrupt can still come through. An interrupt overtakes what
    /// the program has not read: whoever presses Ctrl-C wants the program to stop, not to read on.
    pub(super) async fn push(&self, bytes: &[u8], terminal: &AsyncFd<OwnedFd>) -> bool {
        let mut rest = bytes;
        if let Some(at) = interrupt(terminal).and_then(|key| bytes.iter().rposition(|byte| *byte == key)) {
            self.waiting().clear();
            self.stuck.store(false, Ordering::Relaxed);
            rest = bytes.get(at..).unwrap_or_default();
        }
        loop {
            rest = self.add(rest);
            if rest.is_empty() {
                return true;
            }
            if self.stuck.load(Ordering::Relaxed) {
                return false;
            }
            let room = tokio::time::timeout(PATIENCE, self.room.notified()).await;
            self.stuck.store(room.is_err(), Ordering::Relaxed);
        }
    }

    /// Adds what there is room for; gives back the rest.
    fn add<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut waiting = self.waiting();
        let room = WAITING_BYTES_MAX.saturating_sub(waiting.len());
        let (taken, rest) = bytes.split_at(bytes.len().min(room));
        waiting.extend(taken);
        self.more.notify_one();
        rest
    }

    /// Writes keystrokes to the terminal as it takes them, until the terminal is gone.
    pub(super) async fn pass_on(&self, terminal: &AsyncFd<OwnedFd>) {
        loop {
            let piece = self.peek();
            if piece.is_empty() {
                self.more.notified().await;
                continue;
            }
            if let Some(at) = self.interrupt_in(&piece, terminal) {
                self.make_way_for_interrupt(at, terminal);
            }
            let piece = self.peek();
            match rustix::io::write(terminal.get_ref(), &piece) {
                Ok(written) => self.written(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.until_writable(terminal).await,
                Err(_) => return,
            }
        }
    }

    /// Waits until the terminal may take more, or something else stands in front. Not every way in which a terminal comes
    /// to have room is told by the kernel (a program that throws its input away is not), so it is tried again now and then.
    async fn until_writable(&self, terminal: &AsyncFd<OwnedFd>) {
        tokio::select! {
            ready = terminal.writable() => if let Ok(mut ready) = ready {
                ready.clear_ready();
            },
            () = self.more.notified() => {}
            () = tokio::time::sleep(PATIENCE) => {}
        }
    }

    /// Where the last interrupt is among these keystrokes.
    fn interrupt_in(&self, piece: &[u8], terminal: &AsyncFd<OwnedFd>) -> Option<usize> {
        let key = interrupt(terminal)?;
        piece.iter().rposition(|byte| *byte == key)
    }

    /// A terminal whose program reads nothing would not see an interrupt: it stands behind all that was typed before. So
    /// what the program has not read is thrown away first, as the interrupt itself would do on its arrival: what waits
    /// here, what is on its way through the kernel, and what lies before the program. The order matters, for the kernel
    /// moves bytes from the second place to the third by itself.
    fn make_way_for_interrupt(&self, at: usize, terminal: &AsyncFd<OwnedFd>) {
        self.waiting().drain(..at);
        let _on_its_way = rustix::termios::tcflush(terminal, QueueSelector::OFlush);
        if let Ok(program_side) = pty::program_side(terminal.get_ref()) {
            let _lies_there = rustix::termios::tcflush(&program_side, QueueSelector::IFlush);
        }
    }

    fn peek(&self) -> Vec<u8> {
        self.waiting().iter().take(PIECE_BYTES).copied().collect()
    }

    fn written(&self, bytes: usize) {
        let mut waiting = self.waiting();
        let bytes = bytes.min(waiting.len());
        waiting.drain(..bytes);
        drop(waiting);
        self.stuck.store(false, Ordering::Relaxed);
        self.room.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key that interrupts, when the program lets the terminal make signals of keys and throw away what was typed before.
fn interrupt(terminal: &AsyncFd<OwnedFd>) -> Option<u8> {
    let modes = rustix::termios::tcgetattr(terminal).ok()?;
    let key = modes.special_codes[SpecialCodeIndex::VINTR];
    let flushes = modes.local_modes.contains(LocalModes::ISIG) && !modes.local_modes.contains(LocalModes::NOFLSH);
    (flushes && key != 0).then_some(key)
}
