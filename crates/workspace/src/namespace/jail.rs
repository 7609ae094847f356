//! Starting a box: `confine` gives up what the server has, bubblewrap makes the namespaces, the runtime serves.
//!
//! No shell reads anything here. What bubblewrap is told, secrets included, goes through a descriptor and stands in no
//! list of processes; so does the filter of system calls.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reeve_types::workspace::path::WORKSPACE_ROOT;
use reeve_types::{ProblemCode, WorkspaceError, WorkspaceLimits};
use rustix::fs::MemfdFlags;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::failure::cannot;
use super::system::{RUNTIME_INSIDE, System};
use crate::client::{RuntimeClient, RuntimeHealth, RuntimeToken};
use crate::egress;
use crate::process::{self, ProcessMark};

/// The user inside.
pub(super) const INSIDE_UID: u32 = 1000;
/// How long the program inside may take to answer for the first time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How long the program inside usually takes at most.
const SOON: Duration = Duration::from_millis(100);
/// Largest `/tmp`, in bytes.
const TMP_BYTES_MAX: u64 = 1 << 30;
/// Where the group's own numbers are seen inside.
const CGROUP_INSIDE: &str = "/run/reeve-cgroup";
/// Files below `/proc` that tell everybody about the whole machine. Others that do are root's alone.
const PROC_HIDDEN: [&str; 3] = ["/proc/kallsyms", "/proc/key-users", "/proc/keys"];
/// How processes that hold a box from outside are found when nobody wrote their numbers down.
pub(super) const MARK: &str = "REEVE_BOX";
const ARGUMENTS_FD: &str = "0";
const FILTER_FD: &str = "1";
/// The word that `confine` replaces by the number of a directory of the host. bubblewrap closes it before anything inside
/// begins.
const DIRECTORY_FD: &str = "@directory";

/// Everything that decides how a box is started.
pub(super) struct Jail<'a> {
    pub(super) bwrap: &'a Path,
    pub(super) runtime: &'a Path,
    pub(super) system: &'a System,
    pub(super) filter: &'a [u8],
    pub(super) inside: PathBuf,
    /// Whether there is a proxy inside.
    pub(super) egress: bool,
    /// What its processes outside carry in their environment, as the value of [`MARK`].
    pub(super) mark: String,
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// What stands at `/workspace` in place of the files of the box.
    pub(super) directory: Option<&'a OwnedFd>,
    pub(super) limits: &'a WorkspaceLimits,
    pub(super) token: &'a RuntimeToken,
    pub(super) environment: Vec<(String, String)>,
}

/// A box whose program inside answers.
pub(super) struct Jailed {
    pub(super) monitor: ProcessMark,
    pub(super) init: ProcessMark,
    pub(super) child: Child,
    pub(super) health: RuntimeHealth,
}

impl Jail<'_> {
    /// Starts the box and waits until `client` gets an answer.
    pub(super) async fn start(&self, client: &RuntimeClient) -> Result<Jailed, WorkspaceError> {
        self.clear_sockets()?;
        let mut child = self.command()?.spawn().map_err(|error| cannot("start a workspace", &error))?;
        match self.wait(&mut child, client).await {
            Ok((monitor, init, health)) => {
                // Nobody reads what the monitor says from now on; it must not wait for a reader.
                drop(child.stderr.take());
                Ok(Jailed { monitor, init, child, health })
            }
            Err(error) => {
                end(&mut child).await;
                Err(error)
            }
        }
    }

    async fn wait(
        &self,
        child: &mut Child,
        client: &RuntimeClient,
    ) -> Result<(ProcessMark, ProcessMark, RuntimeHealth), WorkspaceError> {
        let begun = Instant::now();
        let deadline = begun + ANSWERS_WITHIN;
        let socket = self.inside.join("run/runtime.sock");
        let mut pause = Duration::from_micros(300);
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(failed(&format!("ended with {status}"), &complaint(child).await));
            }
            if socket.exists()
                && let Ok(health) = client.health(Duration::from_secs(2)).await
            {
                let (monitor, init) = marks(child).ok_or_else(|| failed("ended as soon as it answered", ""))?;
                return Ok((monitor, init, health));
            }
            if Instant::now() >= deadline {
                return Err(failed("did not answer in time", ""));
            }
            tokio::time::sleep(pause).await;
            // Most are there within a few milliseconds, and looking costs less than waiting for what is there.
            let longest = if begun.elapsed() < SOON { 1 } else { 10 };
            pause = (pause * 3 / 2).min(Duration::from_millis(longest));
        }
    }

    /// Sockets of an earlier run would look like an answer.
    fn clear_sockets(&self) -> Result<(), WorkspaceError> {
        for name in ["runtime.sock", "dial.sock"] {
            match std::fs::remove_file(self.inside.join("run").join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot("remove an old socket of a workspace", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn command(&self) -> Result<Command, WorkspaceError> {
        let mut command = Command::new(self.runtime);
        command.arg("confine");
        for group in &self.cgroups {
            command.arg("--cgroup").arg(group);
        }
        for limit in self.resource_limits() {
            command.arg("--rlimit").arg(limit);
        }
        if let Some(uid) = self.uid {
            let (uid, gid) = (uid.to_string(), self.gid.unwrap_or(uid).to_string());
            command.args(["--uid", &uid, "--gid", &gid]);
        }
        if let Some(directory) = self.directory {
            // The very handle that was looked at, whatever its path leads to by now.
            let handle = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd());
            command.args(["--directory", &handle]);
        }
        command.arg("--").arg(self.bwrap);
        if self.directory.is_some() {
            command.args(["--bind-fd", DIRECTORY_FD, WORKSPACE_ROOT]);
        }
        command.args(["--args", ARGUMENTS_FD, "--", RUNTIME_INSIDE]);
        if self.cgroups.is_empty() {
            // Set outside, it would count everything that the server's user runs on this machine.
            let processes = format!("nproc={}", self.limits.pids);
            command.args(["confine", "--rlimit", &processes, "--", RUNTIME_INSIDE]);
        }
        command
            .arg("serve")
            .env_clear()
            .env(MARK, &self.mark)
            .current_dir("/")
            .process_group(0)
            .stdin(handed_over("arguments", &self.arguments())?)
            .stdout(handed_over("filter", self.filter)?)
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// Without control groups memory is limited for each process by itself.
    fn resource_limits(&self) -> Vec<String> {
        let mut limits = vec!["core=0".to_owned(), format!("nofile={}", self.limits.open_files)];
        if self.cgroups.is_empty() {
            limits.push(format!("data={}", self.limits.memory_bytes));
        }
        limits
    }

    /// What bubblewrap is told, each followed by NUL.
    fn arguments(&self) -> Vec<u8> {
        let mut all = Arguments::default();
        all.words(&["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]);
        all.words(&["--unshare-cgroup-try", "--disable-userns", "--new-session", "--cap-drop", "ALL"]);
        // The program inside reaps by itself. One process of bubblewrap less, whose memory would still hold the token.
        all.words(&["--as-pid-1"]);
        let inside_id = INSIDE_UID.to_string();
        all.words(&["--uid", &inside_id, "--gid", &inside_id, "--hostname", "workspace"]);
        all.words(&["--seccomp", FILTER_FD]);
        all.os_words(self.system.arguments());
        all.words(&["--proc", "/proc", "--dev", "/dev", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]);
        for path in PROC_HIDDEN.into_iter().filter(|path| Path::new(path).exists()) {
            all.words(&["--ro-bind", "/dev/null", path]);
        }
        let tmp = (self.limits.memory_bytes / 2).clamp(16 << 20, TMP_BYTES_MAX).to_string();
        all.words(&["--perms", "1777", "--size", &tmp, "--tmpfs", "/tmp"]);
        all.words(&["--perms", "1777", "--size", &tmp, "--tmpfs", "/dev/shm"]);
        if self.directory.is_none() {
            all.bind("--bind", &self.inside.join("files"), WORKSPACE_ROOT);
        }
        all.bind("--bind", &self.inside.join("home"), "/home/reeve");
        all.bind("--bind", &self.inside.join("run"), "/run/reeve");
        if let Some(group) = self.cgroups.first() {
            all.bind("--ro-bind", group, CGROUP_INSIDE);
        }
        all.words(&["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE_ROOT, "--clearenv"]);
        for (name, value) in self.variables() {
            all.words(&["--setenv", &name, &value]);
        }
        all.0
    }

    fn variables(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = vec![
            ("PATH".into(), format!("/home/reeve/.local/bin:{}", self.system.path())),
            ("LANG".into(), "C.UTF-8".into()),
            ("TERM".into(), "xterm-256color".into()),
            ("SHELL".into(), "/bin/bash".into()),
        ];
        if self.egress {
            all.extend(egress::variables().map(|(name, value)| (name.to_owned(), value)));
        }
        all.extend(self.environment.iter().filter(|(name, _)| !name.starts_with("REEVE_")).cloned());
        all.push(("HOME".into(), "/home/reeve".into()));
        all.push(("USER".into(), "reeve".into()));
        all.push(("LOGNAME".into(), "reeve".into()));
        if !self.cgroups.is_empty() {
            all.push(("REEVE_RUNTIME_CGROUPS".into(), CGROUP_INSIDE.into()));
        }
        all.push(("REEVE_RUNTIME_TOKEN".into(), self.token.expose().to_owned()));
        all
    }
}

/// Arguments for bubblewrap, as its `--args` takes them.
#[derive(Default)]
struct Arguments(Vec<u8>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        for word in words {
            self.push(word.as_bytes());
        }
    }

    fn os_words(&mut self, words: &[OsString]) {
        for word in words {
            self.push(word.as_bytes());
        }
    }

    fn bind(&mut self, how: &str, from: &Path, to: &str) {
        self.push(how.as_bytes());
        self.push(from.as_os_str().as_bytes());
        self.push(to.as_bytes());
    }

    /// A NUL would begin another argument; nothing that holds one is let through.
    fn push(&mut self, word: &[u8]) {
        self.0.extend(word.iter().filter(|byte| **byte != 0));
        self.0.push(0);
    }
}

/// Bytes as a file without a name that a child reads from its beginning.
fn handed_over(name: &str, bytes: &[u8]) -> Result<Stdio, WorkspaceError> {
    let hand_over = || -> io::Result<Stdio> {
        let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(Stdio::from(file))
    };
    hand_over().map_err(|error| cannot("hand arguments to a workspace", &error))
}

fn marks(child: &Child) -> Option<(ProcessMark, ProcessMark)> {
    let monitor = ProcessMark::of(child.id()?)?;
    let init = process::children(monitor.pid()).into_iter().find_map(ProcessMark::of)?;
    Some((monitor, init))
}

/// Ends a box that did not come up, with whatever is inside already.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        for inner in process::children(i32::try_from(pid).unwrap_or_default()) {
            if let Some(mark) = ProcessMark::of(inner) {
                mark.signal(rustix::process::Signal::KILL);
            }
        }
    }
    if let Err(error) = child.kill().await {
        tracing::debug!(%error, "a workspace that did not start was gone already");
    }
}

async fn complaint(child: &mut Child) -> String {
    let Some(stderr) = child.stderr.take() else { return String::new() };
    let mut said = Vec::new();
    let reading = stderr.take(4096).read_to_end(&mut said).await;
    if reading.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&said).trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn failed(how: &str, said: &str) -> WorkspaceError {
    let words = if said.is_empty() { String::new() } else { format!(": {said}") };
    let sentence = format!("the workspace's program {how}{words}; `reeve doctor` tells what this machine lacks");
    WorkspaceError::new(ProblemCode::Unavailable, sentence)
}
