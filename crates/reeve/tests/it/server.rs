//! A `reeve` process of a test's own, in a directory of its own, on a port that the system chose.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub(crate) const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
/// How long anything may take before a test calls it hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Policies that let everybody look and ask a person about everything else.
pub(crate) const ASK: &str = "
policies:
  - name: look
    priority: 20
    resources: [{type: any}]
    rules: [{action: read, effect: allow}]
  - name: ask
    priority: 10
    resources: [{type: database}]
    rules: [{action: [write, destructive], effect: require_approval, message: a person decides}]
";

/// Where a server lives and how it is started; outlives the process.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), variables: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Writes a file beside the data and names it in a variable.
    pub(crate) fn with_file(self, variable: &str, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file");
        self.with(variable, path.display().to_string())
    }

    pub(crate) fn inventory(self, dsn: &str) -> Self {
        let text = serde_json::json!({"db_servers": {"shop": {"connection_string": dsn, "tags": ["production"]}}});
        self.with_file("REEVE_INVENTORY_FILE", "infrastructure.json", &text.to_string())
    }

    pub(crate) fn policy(self, text: &str) -> Self {
        self.with_file("REEVE_POLICY_FILES", "policies.yaml", text)
    }

    /// A command of the program with nothing of the tester's surroundings.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default()).env("HOME", self.path());
        command.env("REEVE_DATA_DIR", self.data()).current_dir(self.path());
        // Tests that are about workspaces ask for them.
        command.env("REEVE_WORKSPACES_DRIVER", "none");
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        command
    }

    pub(crate) fn start(&self) -> Server {
        let mut command = self.command(REEVE);
        command.args(["up", "--listen", "127.0.0.1:0"]);
        Server::spawn(command, self)
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    token: String,
    client: reqwest::blocking::Client,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Server {
    pub(crate) fn spawn(mut command: Command, home: &Home) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log"));
        let mut log = String::new();
        let url = loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("its log");
            log.push_str(&line);
            assert!(read > 0, "the server ended before it listened:\n{log}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([',', ' ', '\n', '"']).next().unwrap_or_default().trim().to_owned();
            }
        };
        let log = std::sync::Arc::new(std::sync::Mutex::new(log));
        let sink = std::sync::Arc::clone(&log);
        // The pipe must be read, or the server would block on a full one.
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                sink.lock().expect("the log").push_str(&line);
                line.clear();
            }
        });
        let token = std::fs::read_to_string(home.data().join("admin.token")).unwrap_or_default().trim().to_owned();
        let client = reqwest::blocking::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { child, url, token, client, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// A request as the administrator.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(self.client.get(format!("{}{path}", self.url)), Some(&self.token))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_as(&self.token, path, body)
    }

    pub(crate) fn post_as(&self, key: &str, path: &str, body: &Value) -> Reply {
        self.send(self.client.post(format!("{}{path}", self.url)).json(body), Some(key))
    }

    pub(crate) fn get_as(&self, key: Option<&str>, path: &str) -> Reply {
        self.send(self.client.get(format!("{}{path}", self.url)), key)
    }

    pub(crate) fn request(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Reply {
        let method = method.to_uppercase().parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request, key)
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder, key: Option<&str>) -> Reply {
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = request.send().unwrap_or_else(|error| panic!("no answer: {error}\n{}", self.log()));
        let status = answer.status().as_u16();
        let text = answer.text().unwrap_or_default();
        Reply { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// A key for a service with roles.
    pub(crate) fn service(&self, name: &str, roles: &[&str]) -> String {
        let body = serde_json::json!({"kind": "service", "principal": name, "roles": roles, "note": "a test"});
        let reply = self.post("/api/v1/keys", &body).expect(201);
        reply["key"].as_str().expect("a key").to_owned()
    }

    /// A key for a person with roles.
    pub(crate) fn user(&self, name: &str, roles: &[&str]) -> String {
        let body = serde_json::json!({"kind": "user", "principal": name, "roles": roles, "note": "a test"});
        let reply = self.post("/api/v1/keys", &body).expect(201);
        reply["key"].as_str().expect("a key").to_owned()
    }

    /// Waits until an action is settled.
    pub(crate) fn settled(&self, action_id: &str) -> Value {
        eventually(|| {
            let action = self.get(&format!("/api/v1/actions/{action_id}")).expect(200);
            let state = action["state"].as_str().unwrap_or_default().to_owned();
            (!matches!(state.as_str(), "awaiting_approval" | "approved" | "running")).then_some(action)
        })
    }

    /// Runs a command line of the program against this server.
    pub(crate) fn cli(&self, home: &Home, arguments: &[&str]) -> Output {
        home.command(REEVE).env("REEVE_SERVER", &self.url).args(arguments).output().expect("the command runs")
    }

    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal was sent");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// The body, when the status is the expected one.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }
}

/// Looks again until there is something to see.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "it did not happen in {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
