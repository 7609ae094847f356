//! `reeve-runtime supervise`: the process between the runtime and one program, so that nothing of the program survives.
//!
//! A program may start others, move them into sessions of their own and lose them; a process group does not hold them.
//! The supervisor is the reaper of everything below it (`PR_SET_CHILD_SUBREAPER`), so whatever the program starts stays
//! below the supervisor in the tree of processes, is reaped when it dies and found when it must die. It lives on a thread
//! of the conversation with the runtime: when the runtime is gone, so is the tree.
//!
//! The order and its file handles arrive over a socket on standard input, not on the command line: arguments and
//! environment of a program are nobody else's business.

mod handle;
pub(crate) mod handles;
pub(crate) mod order;
mod tree;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, WaitOptions, WaitStatus};

pub(crate) use handle::{Supervised, Supervisors};
use order::{ControllingTerminal, Ended, Failure, ORDER_BYTES_MAX, Order, Report, Stop, Streams};

/// Runs one program as the order on standard input says, to its end and that of all it started.
pub fn supervise() -> io::Result<()> {
    let socket = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let (order, streams) = receive(&socket)?;
    let _leads_one_already = rustix::process::setsid();
    // What it watches over runs as the same user, and may not reach into it with a debugger.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    match launch(&order, streams) {
        Ok(program) => watch_over(program, socket),
        Err(failure) => tell(&socket, &Report::Failed(failure)),
    }
}

/// `reeve-runtime tty -- PROGRAM …`: makes standard input the controlling terminal and becomes the program.
pub fn take_terminal(arguments: impl Iterator<Item = OsString>) -> (io::Error, OsString) {
    let argv: Vec<OsString> = arguments.skip_while(|word| word == "--").collect();
    let Some((program, rest)) = argv.split_first() else {
        return (io::Error::from(io::ErrorKind::InvalidInput), OsString::from("nothing"));
    };
    let owned = rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
    match owned {
        Ok(()) => (Command::new(program).args(rest).exec(), program.clone()),
        Err(error) => (error.into(), program.clone()),
    }
}

fn receive(socket: &UnixStream) -> io::Result<(Order, Vec<OwnedFd>)> {
    let mut length = [0u8; 4];
    let handles = handles::receive(socket, &mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ORDER_BYTES_MAX {
        return Err(io::Error::other("the order is too long"));
    }
    let mut body = vec![0u8; length];
    (&mut &*socket).read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, handles))
}

fn launch(order: &Order, handles: Vec<OwnedFd>) -> Result<Pid, Failure> {
    let streams = Streams::from_handles(order.terminal, handles)
        .ok_or_else(|| Failure::new(&io::Error::other("the order came without its file handles")))?;
    rustix::process::fchdir(&streams.directory).map_err(|error| Failure::new(&error.into()))?;
    let mut command = command(order)?;
    command.env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::from(streams.stdin)).stdout(Stdio::from(streams.stdout)).stderr(Stdio::from(streams.stderr));
    let child = command.spawn().map_err(|error| Failure::new(&error))?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::new(&io::Error::other("the program has no process id")))
}

fn command(order: &Order) -> Result<Command, Failure> {
    let missing = || Failure::new(&io::Error::from(rustix::io::Errno::NOENT));
    let (program, arguments) = order.argv.split_first().ok_or_else(missing)?;
    let mut command = match order.terminal {
        ControllingTerminal::Yes => {
            let mut command = Command::new("/proc/self/exe");
            command.arg("tty").arg("--").arg(program);
            command
        }
        ControllingTerminal::No => {
            // Looked for on the program's own path, not on the supervisor's.
            let mut command = Command::new(order.find(program).ok_or_else(missing)?);
            command.arg0(program).process_group(0);
            command
        }
    };
    command.args(arguments);
    Ok(command)
}

/// Reaps whatever dies below, tells how the program ended, and leaves when nothing is left.
fn watch_over(program: Pid, socket: UnixStream) -> io::Result<()> {
    tell(&socket, &Report::Started { pid: program.as_raw_nonzero().get() })?;
    let orders = socket.try_clone()?;
    thread::Builder::new().stack_size(64 * 1024).spawn(move || obey(&orders))?;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                if let Some(exited) = exited(status) {
                    tell(&socket, &exited)?;
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return tell(&socket, &Report::Ended(usage())),
        }
    }
}

fn exited(status: WaitStatus) -> Option<Report> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Report::Exited { code: Some(code), signal: None }),
        (None, Some(signal)) => Some(Report::Exited { code: None, signal: Some(signal) }),
        (None, None) => None,
    }
}

/// Waits to be told to end the tree. A closed conversation means that the runtime is gone.
fn obey(orders: &UnixStream) {
    let mut word = [0u8; 1];
    loop {
        match (&mut &*orders).read(&mut word) {
            Ok(1) => tree::end(Stop::from_byte(word[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return tree::end(Stop::Kill),
        }
    }
}

/// What all that was reaped has used: the tree, since every orphan came to this process.
fn usage() -> Ended {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Ended::default();
    };
    let millis =
        |time: nix::sys::time::TimeVal| time.tv_sec().saturating_mul(1000).saturating_add(time.tv_usec() / 1000);
    let cpu = millis(usage.user_time()).saturating_add(millis(usage.system_time()));
    Ended {
        cpu_ms: u64::try_from(cpu).unwrap_or(0),
        max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
    }
}

/// A runtime that no longer listens is no reason to leave the tree alone.
fn tell(socket: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    match (&mut &*socket).write_all(&line) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
