//! The server's process and its directory: started so that neither outlives the tests.
#![expect(clippy::panic, reason = "a test that cannot have its server must fail with a sentence")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::install::Install;
use super::{StopMode, give_to};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const DIRECTORY_PREFIX: &str = "reeve-pg-";

/// A running postmaster.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Starts it and waits until it is ready; when it ends instead, its log.
    pub(super) fn start(install: &Install, root: &Path) -> Result<Self, String> {
        let data = root.join("data");
        let log_path = root.join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path);
        let Ok((out, err)) = log.and_then(|log| Ok((log.try_clone()?, log))) else {
            panic!("`{}` cannot be opened", log_path.display())
        };
        let logged_before = fs::metadata(&log_path).map_or(0, |about| about.len());
        let mut command = install.command("postgres");
        command.arg("-D").arg(&data).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = spawn(command);
        let started = Instant::now();
        loop {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let log = fs::read(&log_path).unwrap_or_default();
                let fresh = log.get(usize::try_from(logged_before).unwrap_or_default()..).unwrap_or_default();
                return Err(String::from_utf8_lossy(fresh).into_owned());
            }
            if is_ready(&data, child.id()) {
                return Ok(Self { child });
            }
            if started.elapsed() > START_TIMEOUT {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "PostgreSQL was not ready in time; its log: {}",
                    fs::read_to_string(&log_path).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn signal_stop(&self, mode: StopMode) {
        self.signal(match mode {
            StopMode::Smart => Signal::TERM,
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        });
    }

    pub(super) fn stop(mut self, mode: StopMode) {
        self.signal_stop(mode);
        self.signal(Signal::CONT);
        let began = Instant::now();
        while began.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that does not run. It goes on when this is dropped.
#[derive(Debug)]
#[must_use = "the process goes on when this is dropped"]
pub struct Frozen(Pid);

impl Frozen {
    pub(super) fn new(pid: i32) -> Self {
        let Some(pid) = Pid::from_raw(pid) else { panic!("{pid} is no process") };
        match kill_process(pid, Signal::STOP) {
            Ok(()) => Self(pid),
            Err(error) => panic!("process {pid} cannot be stopped: {error}"),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The eighth line of `postmaster.pid` is the server's own word for its state.
fn is_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = text.lines();
    lines.next().map(str::trim) == Some(pid.to_string().as_str())
        && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
}

/// Starts a process from a thread that lives as long as this one. A process that dies with its parent dies with the
/// *thread* that started it, and the threads of tests come and go.
fn spawn(command: Command) -> Child {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = channel();
    let _ = spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
    match child.recv() {
        Ok(Ok(child)) => child,
        Ok(Err(error)) => panic!("PostgreSQL cannot be started: {error}"),
        Err(_) => panic!("the thread that starts servers has ended"),
    }
}

/// A new directory that belongs to the server's account. Its name holds our process id, so that what a killed test left
/// behind can be told from what is in use. It is below `/tmp`, for the path of a socket must be short.
pub(super) fn own_directory(install: &Install) -> PathBuf {
    static SWEPT: OnceLock<()> = OnceLock::new();
    SWEPT.get_or_init(sweep);
    let name = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
    match tempfile::Builder::new().prefix(&name).rand_bytes(6).tempdir_in("/tmp") {
        Ok(directory) => {
            let path = directory.keep();
            give_to(&path, install.owner, 0o755);
            path
        }
        Err(error) => panic!("no directory can be made in /tmp: {error}"),
    }
}

/// Removes directories of processes that are gone.
fn sweep() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.strip_prefix(DIRECTORY_PREFIX)).and_then(|n| n.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

pub(super) fn free_port() -> u16 {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()) {
        Ok(address) => address.port(),
        Err(error) => panic!("no port is free on 127.0.0.1: {error}"),
    }
}

/// Looks again every few milliseconds until it is so, or fails.
pub(super) fn wait_until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > limit {
            panic!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
