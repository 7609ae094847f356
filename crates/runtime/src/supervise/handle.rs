//! The runtime's side of its supervisors.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::order::{Order, Report, Stop};
use super::{handles, tree};

/// The supervisors that run. They are the only children that the runtime starts; any other child is an orphan.
#[derive(Debug, Default)]
pub(crate) struct Supervisors {
    pids: Mutex<HashSet<Pid>>,
    /// How often orphans are still looked for.
    looks: AtomicU32,
}

/// What multiplies while it is looked for may be missed once. It is gone when it was not seen so often in a row.
const LOOKS: u32 = 5;

/// A program with its supervisor. Dropping it ends the program and all that it started.
#[derive(Debug)]
pub(crate) struct Supervised {
    reports: Lines<BufReader<OwnedReadHalf>>,
    orders: OwnedWriteHalf,
    supervisor: Pid,
    all: Arc<Supervisors>,
}

impl Supervisors {
    /// Starts a supervisor and gives it its order. The handles are the directory to start in, then the terminal, or
    /// standard input, output and error.
    pub(crate) async fn start(self: &Arc<Self>, order: &Order, handles: &[OwnedFd]) -> io::Result<Supervised> {
        let body = serde_json::to_vec(order)?;
        let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (socket, supervisor) = self.spawn()?;
        let borrowed: Vec<BorrowedFd<'_>> = handles.iter().map(AsFd::as_fd).collect();
        handles::send(&socket, &length.to_be_bytes(), &borrowed)?;
        socket.set_nonblocking(true)?;
        let (read, mut orders) = UnixStream::from_std(socket)?.into_split();
        orders.write_all(&body).await?;
        Ok(Supervised { reports: BufReader::new(read).lines(), orders, supervisor, all: Arc::clone(self) })
    }

    /// The supervisor sees nothing of the runtime's environment: the token is in there.
    fn spawn(&self) -> io::Result<(StdStream, Pid)> {
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("supervise").env_clear();
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pids = self.pids();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process has no id"))?;
        pids.insert(pid);
        Ok((ours, pid))
    }

    /// Reaps every child that has died, own and inherited. When a supervisor did not end by itself, what it watched
    /// over has come to the runtime, and is ended here.
    pub(crate) fn reap(&self) {
        let mut lost = false;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            lost |= self.pids().remove(&pid) && status.exit_status() != Some(0);
        }
        if lost {
            self.looks.store(LOOKS, Ordering::Relaxed);
            self.end_orphans();
        }
    }

    /// Whether orphans are to be looked for again, with [`Self::end_orphans`].
    pub(crate) fn has_lost(&self) -> bool {
        self.looks.load(Ordering::Relaxed) > 0
    }

    /// Ends what lives of trees whose supervisor is gone.
    pub(crate) fn end_orphans(&self) {
        let own = rustix::process::getpid();
        let kept = self.pids().clone();
        let mut left = self.looks.load(Ordering::Relaxed).saturating_sub(1);
        for orphan in tree::children(own).into_iter().filter(|child| !kept.contains(child)) {
            for pid in tree::below(orphan).into_iter().chain([orphan]) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            left = LOOKS;
        }
        self.looks.store(left, Ordering::Relaxed);
    }

    /// Ends every tree at once.
    pub(crate) fn kill_all(&self) {
        let supervisors: Vec<Pid> = self.pids().iter().copied().collect();
        for supervisor in supervisors {
            for pid in tree::below(supervisor).into_iter().chain([supervisor]) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Whether no supervisor runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.pids().is_empty()
    }

    fn pids(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervised {
    /// The next report; nothing once the supervisor is gone. May be dropped and called again.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        loop {
            let line = self.reports.next_line().await.ok()??;
            if let Ok(report) = serde_json::from_str(&line) {
                return Some(report);
            }
        }
    }

    /// Asks for the end of the tree. `Ended` is reported when nothing is left.
    pub(crate) async fn stop(&mut self, stop: Stop) {
        let _gone = self.orders.write_all(&[stop.byte()]).await;
    }

    /// Ends a tree whose supervisor does not do so: a program of the same user may have stopped it.
    pub(crate) fn force(&self) {
        if self.all.pids().contains(&self.supervisor) {
            for pid in tree::below(self.supervisor).into_iter().chain([self.supervisor]) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Supervised {
    /// The conversation closes, and a supervisor that was stopped goes on, to notice it.
    fn drop(&mut self) {
        if self.all.pids().contains(&self.supervisor) {
            let _gone = kill_process(self.supervisor, Signal::CONT);
        }
    }
}
