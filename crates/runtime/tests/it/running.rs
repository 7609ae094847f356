//! The real program, started on a directory of its own, and what a client says to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use reeve_types::workspace::processes::{ExecEvent, ExecOutcome, ExecRequest, OutputStream};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

pub(crate) const TOKEN: &str = "a-token-for-tests-only";
/// How long anything that should happen may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One runtime. Its end is the end of everything it started.
pub(crate) struct Running {
    dir: TempDir,
    child: Child,
    id: String,
}

/// The program, and the program before it when it is started by another.
fn program(before: &[&str]) -> Command {
    let runtime = env!("CARGO_BIN_EXE_reeve-runtime");
    match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(runtime);
            command
        }
        None => Command::new(runtime),
    }
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(variables: &[(&str, &str)]) -> Self {
        Self::start_prepared(&[], variables, |_| {}).await
    }

    /// `before` is a program that starts the runtime; `prepare` lays out its root first.
    pub(crate) async fn start_prepared(
        before: &[&str],
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["workspace", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        std::fs::write(dir.path().join("tmp/.inputrc"), "set enable-bracketed-paste off\n").expect("a file");
        prepare(&dir.path().join("workspace"));
        Self::start_in(dir, before, variables).await
    }

    async fn start_in(dir: TempDir, before: &[&str], variables: &[(&str, &str)]) -> Self {
        let id = format!("{:x}", rand::random::<u64>());
        let child = program(before)
            .arg("serve")
            .env("REEVE_RUNTIME_SOCKET", dir.path().join("runtime.sock"))
            .env("REEVE_RUNTIME_ROOT", dir.path().join("workspace"))
            .env("REEVE_RUNTIME_TOKEN", TOKEN)
            .env("TMPDIR", dir.path().join("tmp"))
            .env("HOME", dir.path().join("tmp"))
            .env("SHELL", "/bin/bash")
            .env("MARK_OF_THIS_RUN", &id)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the runtime starts");
        let running = Self { dir, child, id };
        until("the runtime answers", || async { UnixStream::connect(running.socket()).await.is_ok() }).await;
        running
    }

    /// Ends it as a power failure would, and starts it again on the same files.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.child.kill().await.expect("its end");
        Self::start_in(self.dir, &[], &[]).await
    }

    /// Ends it without a word, at once.
    pub(crate) fn kill(&self) {
        rustix::process::kill_process(self.process(), rustix::process::Signal::KILL).expect("a signal");
    }

    fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("runtime.sock")
    }

    pub(crate) fn dial_socket(&self) -> PathBuf {
        self.dir.path().join("dial.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file");
    }

    /// Processes that carry this run's mark in their environment: what its programs started, wherever they hide.
    pub(crate) fn offspring(&self) -> Vec<String> {
        let mark = format!("MARK_OF_THIS_RUN={}", self.id);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != self.pid().to_string()
                && environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
            {
                let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push(format!("{name} {}", comm.trim()));
            }
        }
        found
    }

    /// Whether a program of that name waits for something, in the kernel.
    pub(crate) fn waits(&self, name: &str) -> bool {
        self.offspring().iter().filter(|one| one.ends_with(&format!(" {name}"))).any(|one| {
            let pid = one.split(' ').next().unwrap_or_default();
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
        })
    }

    pub(crate) async fn until_childless(&self) {
        until("nothing is left of what was started", || async { self.offspring().is_empty() }).await;
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.expect("an answer")
    }

    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "workspace")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Full::new(body.into()))
            .expect("a request")
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let response = self.send(self.request(method, path, body.to_owned())).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, &body.to_string()).await
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, what: ExecRequest) -> Ran {
        Ran::of(Events::of(self.begin("", what).await).all().await)
    }

    pub(crate) async fn sh(&self, script: &str) -> Ran {
        self.run(shell(script)).await
    }

    /// Starts a program; `query` follows the path.
    pub(crate) async fn begin(&self, query: &str, what: ExecRequest) -> Response<Incoming> {
        let body = serde_json::to_vec(&what).expect("JSON");
        let response = self.send(self.request(Method::POST, &format!("/v1/executions{query}"), body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    /// Ends it and waits for its end.
    pub(crate) async fn terminate(mut self) -> Duration {
        let began = Instant::now();
        rustix::process::kill_process(self.process(), rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().await.expect("its end");
        began.elapsed()
    }
}

pub(crate) fn shell(script: &str) -> ExecRequest {
    let argv = ["bash", "-c", script].map(str::to_owned).to_vec();
    ExecRequest { argv, ..ExecRequest::default() }
}

/// Events as they come.
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    pub(crate) async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = tokio::time::timeout(SOON * 3, self.body.frame()).await.expect("an event in time")?;
            self.buffer.extend_from_slice(&frame.expect("a frame").into_data().expect("data"));
        }
    }

    pub(crate) async fn all(mut self) -> Vec<ExecEvent> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// Waits until a program has written something.
    pub(crate) async fn until_said(&mut self, words: &str) {
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(words) {
            match self.next::<ExecEvent>().await.expect("more events") {
                ExecEvent::Output { data, .. } => said.extend(data),
                ExecEvent::Start { .. } => {}
                ExecEvent::Exit(outcome) => panic!("it ended: {outcome:?}; it said {}", String::from_utf8_lossy(&said)),
            }
        }
    }
}

/// A run, whole.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) argvs: Vec<Vec<String>>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) outcome: ExecOutcome,
}

impl Ran {
    pub(crate) fn of(events: Vec<ExecEvent>) -> Self {
        let (mut argvs, mut out, mut err, mut end) = (Vec::new(), Vec::new(), Vec::new(), None);
        for event in events {
            assert!(end.is_none(), "nothing follows the exit");
            match event {
                ExecEvent::Start { argv, .. } => argvs.push(argv),
                ExecEvent::Output { stream: OutputStream::Stdout, data } => out.extend(data),
                ExecEvent::Output { stream: OutputStream::Stderr, data } => err.extend(data),
                ExecEvent::Exit(outcome) => end = Some(outcome),
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { argvs, stdout: text(out), stderr: text(err), outcome: end.expect("an exit") }
    }
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    while !so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A process's memory now, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}

/// Whether a program is installed here.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|directory| Path::new(directory).join(program).is_file())
}
