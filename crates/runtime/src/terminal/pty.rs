//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions};

use super::window;

/// The side of the runtime, and that of the program.
pub(super) struct Pty {
    pub(super) master: OwnedFd,
    pub(super) program: OwnedFd,
}

/// Opens a pseudo-terminal of a size. The program's side is opened through the master, so no path is involved.
pub(super) fn open(cols: u16, rows: u16) -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let program = program_side(&master)?;
    set_size(&master, cols, rows)?;
    let mut modes = rustix::termios::tcgetattr(&program)?;
    modes.input_modes |= InputModes::IUTF8;
    rustix::termios::tcsetattr(&program, OptionalActions::Now, &modes)?;
    let status = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, status | OFlags::NONBLOCK)?;
    Ok(Pty { master, program })
}

/// The program's side once more. Whoever holds it keeps the terminal from ending, so it is not to be held for long.
pub(super) fn program_side(master: impl AsFd) -> rustix::io::Result<OwnedFd> {
    rustix::pty::ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

pub(super) fn set_size(terminal: impl AsFd, cols: u16, rows: u16) -> rustix::io::Result<()> {
    rustix::termios::tcsetwinsize(terminal, window(cols, rows))
}
