//! `reeve-runtime confine`: takes away what the driver may have and a workspace may not, and becomes another program.
//!
//! A driver that runs as root cannot put a child into control groups, limit it and change its user without code between
//! `fork` and `exec`. This small step does that in a process of its own: join the groups while still allowed to, set the
//! limits, give up every group and user, and `exec`. Whatever fails ends it before anything was started.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The argument in whose place the program finds the number of its directory.
pub const DIRECTORY_WORD: &str = "@directory";

/// What a program is confined to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Directories of control groups to join, of any hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Limits to set.
    pub limits: Vec<Limit>,
    /// The user to become.
    pub uid: Option<u32>,
    /// The group to become; supplementary groups are given up with it.
    pub gid: Option<u32>,
    /// A directory that the program gets opened; its number stands where an argument is [`DIRECTORY_WORD`].
    pub directory: Option<PathBuf>,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
}

/// One resource limit; nothing stands for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

/// Why a program was not confined, and so not started.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The arguments cannot be read.
    #[error(
        "confine: {0}; use confine [--cgroup DIR]… [--rlimit NAME=VALUE]… [--uid N] [--gid N] [--directory PATH] -- \
         PROGRAM ARGUMENT…"
    )]
    Usage(String),
    /// A control group could not be joined.
    #[error("confine: cannot join the control group {}: {source}; is it there, and may this user write its cgroup.procs?", path.display())]
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A limit could not be set.
    #[error("confine: cannot set the limit {resource:?}: {source}; only root may raise a hard limit")]
    Limit {
        /// Which.
        resource: Resource,
        /// What the kernel says.
        source: io::Error,
    },
    /// The user or group could not be changed.
    #[error("confine: cannot become {what}: {source}; this takes root")]
    Identity {
        /// `user 1000`.
        what: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The directory could not be opened.
    #[error("confine: cannot open the directory {}: {source}", path.display())]
    Directory {
        /// Where it is.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("confine: cannot start {}: {source}", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl ConfineError {
    /// The exit code: 127 when there is no such program, 126 when it cannot be run, 125 for everything before.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            _ => 125,
        }
    }
}

/// Confines this process and becomes the program. Returns only when something failed.
pub fn confine(arguments: impl Iterator<Item = OsString>) -> ConfineError {
    match Confinement::read(arguments).and_then(Confinement::enter) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

impl Confinement {
    /// Reads the command line after `confine`.
    pub fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, ConfineError> {
        let mut read = Self::default();
        while let Some(argument) = arguments.next() {
            let option = argument.to_str().unwrap_or_default().to_owned();
            if option == "--" {
                read.argv = arguments.collect();
                break;
            }
            let value = arguments.next().ok_or_else(|| ConfineError::Usage(format!("`{option}` takes a value")))?;
            read.option(&option, value)?;
        }
        if read.argv.is_empty() {
            return Err(ConfineError::Usage("after `--` comes the program to start".to_owned()));
        }
        Ok(read)
    }

    fn option(&mut self, option: &str, value: OsString) -> Result<(), ConfineError> {
        let text = value.to_str().unwrap_or_default();
        match option {
            "--cgroup" => self.cgroups.push(value.into()),
            "--rlimit" => self.limits.push(Limit::read(text)?),
            "--uid" => self.uid = Some(number(option, text)?),
            "--gid" => self.gid = Some(number(option, text)?),
            "--directory" => self.directory = Some(directory(value)?),
            other => return Err(ConfineError::Usage(format!("`{other}` is no option"))),
        }
        Ok(())
    }

    fn enter(self) -> Result<std::convert::Infallible, ConfineError> {
        // Opened while still allowed to, and held until the program is there.
        let held = self
            .directory
            .as_ref()
            .map(|path| hold(path).map_err(|source| ConfineError::Directory { path: path.clone(), source }));
        let held = held.transpose()?;
        for path in &self.cgroups {
            join_cgroup(path).map_err(|source| ConfineError::Cgroup { path: path.clone(), source })?;
        }
        for limit in &self.limits {
            limit.set()?;
        }
        if let Some(gid) = self.gid {
            become_group(gid).map_err(|error| identity(format!("group {gid}"), error))?;
        }
        if let Some(uid) = self.uid {
            let user = Uid::from_raw(uid);
            set_thread_res_uid(user, user, user).map_err(|error| identity(format!("user {uid}"), error))?;
        }
        let (program, arguments) =
            self.argv.split_first().ok_or_else(|| ConfineError::Usage("no program".to_owned()))?;
        let number = held.as_ref().map(|held| OsString::from(held.as_raw_fd().to_string()));
        let arguments = arguments.iter().map(|argument| match &number {
            Some(number) if argument == DIRECTORY_WORD => number,
            _ => argument,
        });
        let source = Command::new(program).args(arguments).exec();
        Err(ConfineError::Start { program: program.into(), source })
    }
}

impl Limit {
    /// Reads `nofile=8192`, `core=0`, `nproc=unlimited` or `nofile=1024:8192` (soft, hard).
    pub fn read(text: &str) -> Result<Self, ConfineError> {
        let bad = || ConfineError::Usage(format!("`{text}` is no limit: write NAME=VALUE or NAME=SOFT:HARD"));
        let (name, value) = text.split_once('=').ok_or_else(bad)?;
        let resource = resource(name).ok_or_else(|| ConfineError::Usage(format!("`{name}` is no resource")))?;
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let amount = |part: &str| match part {
            "unlimited" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| bad()),
        };
        Ok(Self { resource, soft: amount(soft)?, hard: amount(hard)? })
    }

    /// Sets it for this process and all that it starts.
    pub fn set(self) -> Result<(), ConfineError> {
        setrlimit(self.resource, Rlimit { current: self.soft, maximum: self.hard })
            .map_err(|error| ConfineError::Limit { resource: self.resource, source: error.into() })
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// `0` stands for the process that writes, in whatever process namespace it is.
fn join_cgroup(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path.join("cgroup.procs"))?.write_all(b"0")
}

fn become_group(gid: u32) -> rustix::io::Result<()> {
    let group = Gid::from_raw(gid);
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)
}

/// Opens a directory so that the program that comes next has it too.
fn hold(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?)
}

fn directory(value: OsString) -> Result<PathBuf, ConfineError> {
    let path = PathBuf::from(value);
    let bad = || ConfineError::Usage(format!("`--directory` takes an absolute path, not `{}`", path.display()));
    if path.is_absolute() { Ok(path) } else { Err(bad()) }
}

fn identity(what: String, error: rustix::io::Errno) -> ConfineError {
    ConfineError::Identity { what, source: error.into() }
}

fn number(option: &str, text: &str) -> Result<u32, ConfineError> {
    let parsed = text.parse().ok().filter(|number| *number != u32::MAX);
    parsed.ok_or_else(|| ConfineError::Usage(format!("`{option}` takes a number, not `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Confinement, ConfineError> {
        Confinement::read(words.iter().map(OsString::from))
    }

    #[test]
    fn a_whole_command_line_is_read() {
        let words = ["--cgroup", "/cg/a", "--cgroup", "/cg/b", "--rlimit", "nofile=10:20", "--rlimit", "core=0"];
        let more = ["--uid", "1000", "--gid", "1001", "--directory", "/proc/7/fd/4", "--", "bwrap", "--uid", "7"];
        let read = read(&[&words[..], &more[..]].concat()).expect("a confinement");
        assert_eq!(read.cgroups, [PathBuf::from("/cg/a"), PathBuf::from("/cg/b")]);
        assert_eq!(read.limits[0], Limit { resource: Resource::Nofile, soft: Some(10), hard: Some(20) });
        assert_eq!(read.limits[1], Limit { resource: Resource::Core, soft: Some(0), hard: Some(0) });
        assert_eq!((read.uid, read.gid), (Some(1000), Some(1001)));
        assert_eq!(read.directory, Some(PathBuf::from("/proc/7/fd/4")));
        assert_eq!(read.argv, ["bwrap", "--uid", "7"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let wrong: [&[&str]; 9] = [
            &[],
            &["--"],
            &["--uid", "4294967295", "--", "true"],
            &["--uid", "-1", "--", "true"],
            &["--rlimit", "nofile", "--", "true"],
            &["--rlimit", "beer=1", "--", "true"],
            &["--cgroup"],
            &["--user", "x", "--", "true"],
            &["--directory", "tmp", "--", "true"],
        ];
        for words in wrong {
            assert!(matches!(read(words), Err(ConfineError::Usage(_))), "{words:?}");
        }
    }
}
