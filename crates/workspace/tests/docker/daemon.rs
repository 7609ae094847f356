//! A Docker Engine of one test's own: its own socket, data and network, ended with the test. Or another engine, which
//! `REEVE_TEST_ENGINE` names as `DOCKER_HOST` would: it should have nothing else to do, and is left as it is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::Docker;
use rustix::process::{Pid, Signal};

/// How long the engine may take to answer.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// How long it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The variable that names another engine.
const GIVEN: &str = "REEVE_TEST_ENGINE";

/// The engine. Everything below its directory is unmounted when it is dropped.
pub(crate) struct Daemon {
    directory: PathBuf,
    socket: PathBuf,
    settings: serde_json::Value,
    running: Option<Child>,
    /// Whether it is not the test's own.
    pub(crate) given: bool,
}

impl Daemon {
    /// Starts an engine in a directory, with what is in its `daemon.json`, and waits until it answers. A machine that
    /// cannot run one fails the test.
    pub(crate) async fn start(directory: &Path, settings: serde_json::Value) -> Self {
        let directory = directory.to_path_buf();
        if let Some(given) = std::env::var(GIVEN).ok().filter(|given| !given.is_empty()) {
            let socket = PathBuf::from(given.strip_prefix("unix://").unwrap_or(&given));
            return Self { directory, socket, settings, running: None, given: true };
        }
        assert!(rustix::process::geteuid().is_root(), "tests of the driver `docker` start an engine, which needs root");
        std::fs::create_dir_all(&directory).expect("a directory");
        let socket = directory.join("docker.sock");
        let mut daemon = Self { directory, socket, settings, running: None, given: false };
        daemon.start_again().await;
        daemon
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Its address, as in `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A client of the tests' own.
    pub(crate) async fn client(&self) -> Docker {
        let path = self.socket();
        let path = path.to_str().expect("a plain path");
        let docker = Docker::connect_with_unix(path, 120, bollard::API_DEFAULT_VERSION).expect("a socket");
        docker.negotiate_version().await.expect("the engine speaks a version of its API")
    }

    /// Starts it over the data it had.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let at = |name: &str| self.directory.join(name);
        std::fs::write(at("daemon.json"), self.settings.to_string()).expect("settings");
        let log = std::fs::File::options().create(true).append(true).open(at("log")).expect("a log");
        // A network namespace of its own: nothing of this machine's bridges and rules is touched. It ends with the test
        // even when the test is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "unshare", "--net", "dockerd", "--bridge", "none", "--iptables=false"])
            .args(["--ip-forward=false", "--ip-masq=false", "--log-level", "warn", "--host", &self.host()])
            .args(["--data-root".as_ref(), at("data").as_os_str(), "--exec-root".as_ref(), at("exec").as_os_str()])
            .args(["--pidfile".as_ref(), at("pid").as_os_str()])
            .args(["--config-file".as_ref(), at("daemon.json").as_os_str()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let child = command.spawn().expect("setpriv and unshare are there; `scripts/ensure docker` installs the rest");
        self.running = Some(child);
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.answers().await {
            let ended = self.running.as_mut().and_then(|child| child.try_wait().expect("a process of ours"));
            let said = std::fs::read_to_string(at("log")).unwrap_or_default();
            assert!(ended.is_none(), "this machine cannot run dockerd ({ended:?}); it says:\n{said}");
            assert!(Instant::now() < deadline, "dockerd does not answer; it says:\n{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processes that hold containers of this engine, or are in one of those that are named.
    pub(crate) fn processes(&self, containers: &[String]) -> Vec<String> {
        let holds = self.directory.display().to_string();
        let entries = std::fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
        let of_ours = entries.filter_map(|process| {
            let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            let inside = containers.iter().any(|id| groups.contains(id));
            let holder = command.contains("containerd-shim") && command.contains(&holds);
            (inside || holder).then(|| format!("process {} {command}", process.display()))
        });
        of_ours.collect()
    }

    async fn answers(&self) -> bool {
        let path = self.socket();
        let Some(path) = path.to_str().filter(|path| Path::new(path).exists()) else { return false };
        match Docker::connect_with_unix(path, 5, bollard::API_DEFAULT_VERSION) {
            Ok(docker) => docker.ping().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
        // What holds the containers ends with it. Where the first process of the machine reaps nobody, its number stays
        // taken, and the next engine would wait for it.
        let _gone = std::fs::remove_file(self.directory.join("exec/containerd/containerd.pid"));
    }

    fn end(&mut self) {
        let Some(mut child) = self.running.take() else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
        let _gone = rustix::process::kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + ENDS_WITHIN;
        while child.try_wait().expect("a process of ours").is_none() {
            if Instant::now() >= deadline {
                child.kill().expect("killed");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A killed engine leaves the program that holds its containers; the mark of its number is in the data.
    fn end_what_held_containers(&self) {
        let mark = std::fs::read_to_string(self.directory.join("exec/containerd/containerd.pid")).unwrap_or_default();
        let Some(pid) = mark.trim().parse().ok().and_then(Pid::from_raw) else { return };
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&*self.directory.to_string_lossy()) {
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.given {
            return;
        }
        self.end();
        self.end_what_held_containers();
        unmount_below(&self.directory);
    }
}

/// Mounts below a directory.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the list of mounts");
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|place| place.starts_with(directory)).collect()
}

fn unmount_below(directory: &Path) {
    for place in mounts_below(directory).into_iter().rev() {
        let _gone = rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH);
    }
}
