//! Other people's agents on a real server: started in a real workspace, spoken with over the API, through kills and floods.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::conversation::{Cleared, begin, content, ends, event, events, prompt, said, said_so_far, turn, workspace};
use crate::server::{Home, Server, eventually};

const SCRIPTED: &str = include_str!("agents/scripted.py");
/// What only the server knows.
const KEY: &str = "sk-the-real-key-of-the-house";

/// A model server that answers anything with one word or, asked to spend, with tokens; it keeps the requests that it was
/// sent.
struct Model {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Model {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let request = answer(connection).unwrap_or_else(|error| format!("broken: {error}"));
                kept.lock().expect("no panic").push(request);
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }
}

fn answer(connection: TcpStream) -> std::io::Result<String> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let (kind, said) = match body.contains("spend") {
        true => ("application/json", r#"{"model": "scripted-1", "usage": {"input_tokens": 100, "output_tokens": 10}}"#),
        false => ("text/plain", "thought"),
    };
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    (&connection).write_all(reply.as_bytes())?;
    Ok(head + &body)
}

/// A server's home with agents, and a model that they may ask.
fn home(model: &str, agents: &str) -> Home {
    home_of("anthropic", model, agents)
}

/// The same with a model of another kind.
fn home_of(kind: &str, model: &str, agents: &str) -> Home {
    let prices = "[[prices]]\nmodel = 'scripted-1'\ninput = 3.0\noutput = 15.0\n";
    let models = format!("[providers.house]\nkind = '{kind}'\nbase_url = '{model}'\nkey = '{KEY}'\n{prices}");
    let home = Home::new().with("REEVE_WORKSPACES_DRIVER", "namespace").with("REEVE_WORKSPACES_WARM", "0");
    let home = home.with_file("REEVE_MODELS_FILE", "models.toml", &models);
    std::fs::create_dir_all(home.data()).expect("a directory");
    std::fs::write(home.data().join("agents.toml"), agents).expect("a file");
    home
}

/// A home whose agent does what its prompt says.
fn scripted(model: &Model) -> Home {
    let address = format!("http://127.0.0.1:{}", model.port);
    let home = home(&address, "");
    let place = home.path().join("agent");
    std::fs::create_dir_all(&place).expect("a directory");
    let program = place.join("scripted");
    std::fs::write(&program, SCRIPTED).expect("a file");
    executable(&program);
    let text = format!(
        "[agent.scripted]\ncommand = ['scripted']\ntitle = 'Scripted'\nmodel_provider = 'house'\nmount = '{}'\n",
        place.display()
    );
    std::fs::write(home.data().join("agents.toml"), text).expect("a file");
    home
}

fn executable(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("permissions");
}

#[test]
fn an_agent_asks_its_owner_writes_thinks_without_a_key_and_is_never_let_out() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let listed = server.get("/api/v1/agents/definitions").expect(200);
    assert!(listed.to_string().contains("scripted"), "{listed}");
    let session = begin(&server, &place, "scripted");

    prompt(&server, &session, "write");
    let waiting = event(&server, &session, "tool_waiting", 0);
    let pending = server.get(&format!("/api/v1/sessions/{session}/approval/pending")).expect(200);
    let detail = pending["pending"]["tool"]["input"]["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("+made"), "people see the change before it is made: {pending}");
    assert_ne!(content(&server, &place, "made.txt")["exit_code"], 0, "nothing is written before");
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    let end = event(&server, &session, "turn_ended", 0);
    assert_eq!(end["end"], "completed", "{end}");
    assert_eq!(said(&server, &session), "chosen: fine", "a yes is for once");
    assert_eq!(content(&server, &place, "made.txt")["stdout"], "made\n");
    let finished = event(&server, &session, "tool_finished", 0);
    assert_eq!((&finished["diffs"][0]["path"], &finished["diffs"][0]["new"]), (&json!("made.txt"), &json!("made\n")));
    assert_eq!(finished["call_id"], waiting["call_id"], "the question is about the call");
    let called = event(&server, &session, "tool_called", 0);
    assert!(called.to_string().contains("REDACTED") && !called.to_string().contains("hidden-1"), "{called}");

    prompt(&server, &session, "write");
    event(&server, &session, "tool_waiting", 1);
    server.post(&format!("/api/v1/sessions/{session}/reject"), &json!({"reason": "not today"})).expect(200);
    event(&server, &session, "turn_ended", 1);
    assert_eq!(said(&server, &session), "chosen: never");

    assert_eq!(turn(&server, &session, "think")["end"], "completed");
    assert_eq!(said(&server, &session), "thought 404 401", "models only, and only for this agent");
    let heard = model.heard();
    let [asked] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(asked.starts_with("POST /v1/messages") && asked.contains(KEY) && !asked.contains("reeve-"), "{asked}");
    let inside = ["sh", "-c", "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'"];
    let seen = server.post(&format!("/api/v1/workspaces/{place}/executions"), &json!({"argv": inside})).expect(200);
    let seen = seen["stdout"].as_str().unwrap_or_default();
    assert!(seen.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:") && !seen.contains(KEY), "the key is not inside");

    prompt(&server, &session, "run");
    let waiting = event(&server, &session, "tool_waiting", 2);
    assert_eq!(waiting["question"], "Run echo out; echo err >&2; exit 3", "a program is asked about, too");
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    event(&server, &session, "turn_ended", 3);
    assert_eq!(said(&server, &session), "3 ['out', 'err']");
    let ran = events(&server, &session).into_iter().rfind(|event| event["event"] == "tool_finished");
    assert!(ran.as_ref().is_some_and(|ran| ran["content"].to_string().contains("exit code 3")), "{ran:?}");
    let verdict = server.post("/api/v1/audit/verify", &json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    drop((server, cleared));
}

#[test]
fn an_agent_hears_its_sessions_model_and_mode_and_what_it_uses_is_counted() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let wanted = json!({"agent": "scripted", "workspace_id": place, "model": "house/second"});
    let made = server.post("/api/v1/sessions", &wanted).expect(201);
    let session = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/sessions/{session}");
    let patch = |change: Value| server.request("PATCH", &path, Some(server.token()), Some(&change));
    let heard = || {
        assert_eq!(turn(&server, &session, "settings")["end"], "completed");
        said(&server, &session)
    };
    assert_eq!(heard(), "second", "when it is started");
    let told = event(&server, &session, "model", 0);
    assert_eq!((&told["model"], &told["offered"]), (&json!("second"), &json!(["first", "second"])), "{told}");
    let refused = patch(json!({"model": "third"}));
    assert!(refused.status == 400 && refused.text.contains("`first`, `second`"), "{}", refused.text);
    patch(json!({"model": "first"})).expect(200);
    assert_eq!(event(&server, &session, "model", 1)["model"], "first", "whoever watches is told");
    assert_eq!(heard(), "second first");
    patch(json!({"mode": "plan"})).expect(200);
    assert_eq!(heard(), "second first plan");
    patch(json!({"mode": "auto"})).expect(200);
    assert_eq!(heard(), "second first plan default", "and never into a mode in which it asks nobody");
    assert_eq!(server.get(&path).expect(200)["model"], "first");

    let spent = turn(&server, &session, "spend");
    let usage = |input: u64, output: u64, cost: u64| {
        json!({"input_tokens": input, "output_tokens": output, "cache_read_tokens": 0, "cache_write_tokens": 0,
            "cost_micro_usd": cost})
    };
    assert_eq!(spent["usage"], usage(100, 10, 450), "what passed through the relay: {spent}");
    let spent = turn(&server, &session, "count");
    assert_eq!(spent["usage"], usage(7, 3, 450), "its own count, and never both: {spent}");
    let replied = events(&server, &session).into_iter().filter(|event| event["event"] == "model_replied");
    assert_eq!(replied.map(|event| event["reply"]["model"].clone()).collect::<Vec<_>>(), ["house/scripted-1"; 2]);
    assert_eq!(server.get(&path).expect(200)["usage"], usage(107, 13, 900));
    drop((server, cleared));
}

#[test]
fn a_model_that_an_agent_does_not_offer_ends_the_turn_with_those_that_it_offers() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let wanted = json!({"agent": "scripted", "workspace_id": place, "model": "third"});
    let made = server.post("/api/v1/sessions", &wanted).expect(201);
    let session = made["id"].as_str().expect("an id").to_owned();
    let end = turn(&server, &session, "settings");
    assert_eq!(end["end"], "failed", "{end}");
    assert!(end["reason"].as_str().is_some_and(|said| said.contains("`third`; it offers `first`, `second`")), "{end}");
    let path = format!("/api/v1/sessions/{session}");
    server.request("PATCH", &path, Some(server.token()), Some(&json!({"model": ""}))).expect(200);
    assert_eq!(turn(&server, &session, "settings")["end"], "completed", "and it goes on with its own");
    drop((server, cleared));
}

#[test]
fn files_are_served_to_an_agent_below_the_workspaces_root_and_nowhere_else() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    prompt(&server, &session, "files");
    event(&server, &session, "tool_waiting", 0);
    let pending = server.get(&format!("/api/v1/sessions/{session}/approval/pending")).expect(200);
    let detail = pending["pending"]["tool"]["input"]["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("+++ b/notes/a.txt") && detail.contains("+two"), "{pending}");
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    let end = event(&server, &session, "turn_ended", 0);
    assert_eq!(end["end"], "completed", "{end}\n{}", server.log());
    assert_eq!(said(&server, &session), "True two -32001", "files of the workspace and no others");
    assert_eq!(content(&server, &place, "notes/a.txt")["stdout"], "one\ntwo\nthree\n");
    drop((server, cleared));
}

#[test]
fn a_session_outlives_a_killed_server_a_dead_agent_and_one_that_does_not_behave() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    prompt(&server, &session, "hang");
    event(&server, &session, "delta", 0);
    server.kill();

    let server = home.start();
    let end = event(&server, &session, "turn_ended", 0);
    assert_eq!(end["end"], "failed", "{end}");
    assert!(end["reason"].as_str().is_some_and(|reason| reason.contains("server stopped")), "{end}");
    assert_eq!(turn(&server, &session, "recall")["end"], "completed");
    assert_eq!(said(&server, &session), "3 turns", "it was taken up again and remembers");
    assert!(
        !events(&server, &session).iter().any(|event| event.to_string().contains("told again")),
        "and is not told again"
    );

    prompt(&server, &session, "hang");
    let before = ends(&server, &session);
    eventually(|| (said_so_far(&server, &session).matches("hanging").count() == 2).then_some(()));
    server.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({})).expect(200);
    assert_eq!(event(&server, &session, "turn_ended", before)["end"], "cancelled");

    let end = turn(&server, &session, "die");
    let reason = end["reason"].as_str().unwrap_or_default();
    assert_eq!(end["end"], "failed");
    assert!(reason.contains("exit code 3") && reason.contains("boom") && !reason.contains("ghp_"), "{end}");
    let warned = event(&server, &session, "warning", 0);
    assert!(warned["message"].as_str().is_some_and(|said| said.contains("first")), "{warned}");
    assert_eq!(turn(&server, &session, "flood")["end"], "completed");
    assert_eq!(said(&server, &session), "flooded");
    assert_eq!(turn(&server, &session, "noise")["end"], "completed");
    eventually(|| {
        events(&server, &session)
            .iter()
            .any(|event| event.to_string().contains("no messages of the protocol"))
            .then_some(())
    });
    let end = turn(&server, &session, "unsafe");
    assert!(end["end"] == "failed" && end["reason"].as_str().is_some_and(|said| said.contains("asks nobody")), "{end}");
    assert_eq!(turn(&server, &session, "recall")["end"], "completed", "and it goes on");

    let other = begin(&server, &place, "scripted");
    prompt(&server, &other, "hang");
    event(&server, &other, "delta", 0);
    assert_eq!(turn(&server, &session, "think")["end"], "completed", "two at once, each with a door of its own");
    assert!(said(&server, &session).starts_with("thought "), "{}", said(&server, &session));
    server.post(&format!("/api/v1/sessions/{other}/kill"), &json!({})).expect(200);
    drop((server, cleared));
}

#[test]
fn what_an_agent_asked_before_a_crash_is_taken_back_and_asked_anew() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    prompt(&server, &session, "write");
    let waiting = event(&server, &session, "tool_waiting", 0);
    let before = events(&server, &session);
    server.kill();

    let server = home.start();
    let end = event(&server, &session, "turn_ended", 0);
    assert!(end["reason"].as_str().is_some_and(|reason| reason.contains("server stopped")), "{end}");
    assert_eq!(events(&server, &session)[..before.len()], before[..], "what was told is what is there");
    // Whoever asked is gone: a yes would be for nobody.
    let question = format!("/api/v1/approvals/{}", waiting["approval_id"].as_str().expect("an id"));
    assert_eq!(server.get(&question).expect(200)["status"], "cancelled");
    assert_eq!(server.post(&format!("{question}/approve"), &json!({})).status, 409);
    assert_ne!(content(&server, &place, "made.txt")["exit_code"], 0, "nothing was written");

    prompt(&server, &session, "write");
    event(&server, &session, "tool_waiting", 1);
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    assert_eq!(event(&server, &session, "turn_ended", 1)["end"], "completed");
    assert_eq!(said(&server, &session), "chosen: fine");
    assert_eq!(content(&server, &place, "made.txt")["stdout"], "made\n");
    let verdict = server.post("/api/v1/audit/verify", &json!({})).expect(200);
    assert_eq!(verdict["valid"], true, "{verdict}");
    drop((server, cleared));
}

/// What is known of an agent's questions: how each was answered, and why.
fn answers(server: &Server) -> Vec<(String, String)> {
    let all = server.get("/api/v1/approvals?limit=100").expect(200);
    let all = all.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().rev().map(|one| (text(&one["status"]), text(&one["resolution_reason"]))).collect()
}

#[test]
fn what_an_agent_asked_for_is_not_asked_again_when_it_does_it_and_a_mode_answers_for_its_owner() {
    let model = Model::start();
    let home = scripted(&model);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    prompt(&server, &session, "ask_and_do");
    event(&server, &session, "tool_waiting", 0);
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    // The file that it asked about is written at once; another is a question of its own.
    let waiting = event(&server, &session, "tool_waiting", 1);
    assert_eq!(waiting["question"], "Write /workspace/other.txt", "{waiting}");
    assert_eq!(content(&server, &place, "asked.txt")["stdout"], "asked\n");
    server.post(&format!("/api/v1/sessions/{session}/reject"), &json!({"reason": "only that one"})).expect(200);
    event(&server, &session, "turn_ended", 0);
    assert_eq!(said(&server, &session), "True False");
    assert_ne!(content(&server, &place, "other.txt")["exit_code"], 0, "a no is a no");

    let mode = |mode: &str| {
        let path = format!("/api/v1/sessions/{session}");
        server.request("PATCH", &path, Some(server.token()), Some(&json!({"mode": mode}))).expect(200);
    };
    let questions = || events(&server, &session).iter().filter(|event| event["event"] == "tool_waiting").count();
    mode("plan");
    assert_eq!(turn(&server, &session, "write")["end"], "completed");
    assert_eq!(said(&server, &session), "chosen: never", "it only plans");
    assert_eq!(turn(&server, &session, "ask_and_do")["end"], "completed");
    assert_eq!(said(&server, &session), "False False");
    mode("accept_edits");
    assert_eq!(turn(&server, &session, "ask_and_do")["end"], "completed");
    assert_eq!(said(&server, &session), "True True");
    mode("auto");
    assert_eq!(turn(&server, &session, "write")["end"], "completed");
    assert_eq!(said(&server, &session), "chosen: fine");
    assert_eq!(turn(&server, &session, "run")["end"], "completed");
    assert_eq!(questions(), 2, "nobody was asked");
    let by_mode = answers(&server).into_iter().filter(|(_, reason)| reason.contains("mode allows")).count();
    assert!(by_mode >= 2, "the questions of a mode are recorded as any: {:?}", answers(&server));
    let records = server.get("/api/v1/events?limit=500").expect(200).to_string();
    assert!(
        records.contains("permission refused") && records.contains("only plans"),
        "and so is what planning refuses"
    );
    drop((server, cleared));
}

#[test]
fn no_mode_stands_above_policy() {
    let model = Model::start();
    let policy = "
policies:
  - name: no-edits
    priority: 30
    resources: [{type: agent}]
    rules: [{action: [write, destructive], effect: deny, message: agents change nothing here}]
  - name: all-else
    priority: 20
    resources: [{type: any}]
    rules: [{action: [read, write, destructive], effect: allow}]
";
    let home = scripted(&model).policy(policy);
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let wanted = json!({"agent": "scripted", "workspace_id": place, "mode": "auto"});
    let session = server.post("/api/v1/sessions", &wanted).expect(201)["id"].as_str().expect("an id").to_owned();
    assert_eq!(turn(&server, &session, "write")["end"], "completed");
    assert_eq!(said(&server, &session), "chosen: never");
    assert_ne!(content(&server, &place, "made.txt")["exit_code"], 0, "nothing was written");
    let denied = server.get("/api/v1/events?event_type=policy_decision&tool_name=agent_permission").expect(200);
    assert!(denied.to_string().contains("agents change nothing here"), "{denied}");
    drop((server, cleared));
}

#[test]
fn an_agent_that_falls_silent_is_told_of_and_its_turn_ends() {
    let model = Model::start();
    let home = scripted(&model).with("REEVE_SESSIONS_SILENCE_TOLD_S", "1").with("REEVE_SESSIONS_SILENCE_MAX_S", "3");
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    prompt(&server, &session, "hang");
    let warned = event(&server, &session, "warning", 0);
    assert!(warned["message"].as_str().is_some_and(|said| said.contains("said nothing for a second")), "{warned}");
    let end = event(&server, &session, "turn_ended", 0);
    assert!(end["end"] == "failed" && end["reason"].to_string().contains("said nothing for 3 seconds"), "{end}");
    // A question is no silence: people may take their time.
    prompt(&server, &session, "write");
    event(&server, &session, "tool_waiting", 0);
    let asked = std::time::Instant::now();
    eventually(|| (asked.elapsed() > Duration::from_secs(4)).then_some(()));
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    assert_eq!(event(&server, &session, "turn_ended", 1)["end"], "completed");
    drop((server, cleared));
}

#[test]
fn what_cannot_be_started_is_told_with_its_reason() {
    let text = "[agent.eager]\ncommand = ['sh', '-c', 'agent --yolo']\n[agent.silent]\ncommand = ['true']\n";
    let home = home("http://127.0.0.1:9", text);
    let cleared = Cleared(&home);
    let server = home.start();
    let listed = server.get("/api/v1/agents/definitions").expect(200).to_string();
    assert!(listed.contains("without asking") && listed.contains("/usr/bin/kimi"), "{listed}");
    let place = workspace(&server);
    let wanted = json!({"agent": "eager", "workspace_id": place});
    let refused = server.post("/api/v1/sessions", &wanted);
    assert!(refused.status >= 400 && refused.text.contains("yolo"), "{}", refused.text);
    let session = begin(&server, &place, "silent");
    let end = turn(&server, &session, "hello");
    assert!(end["reason"].as_str().is_some_and(|reason| reason.contains("ended with exit code 0")), "{end}");
    drop((server, cleared));
}

/// The model server that real agents are content with; ends with the test.
struct RealModel(Child, u16);

impl Drop for RealModel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn real_model() -> RealModel {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents/tests/scripted_model.mjs");
    let mut child =
        Command::new("node").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a model server");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let port = line.trim().parse().expect("a port");
    RealModel(child, port)
}

/// A server for a real program and the model that it is content with, unless the program is not here.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn real_home(agent: &str, program: &str, speech: &str) -> Option<(Home, RealModel)> {
    let installed: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/acp-agents");
    if !installed.join("node_modules/.bin").join(program).exists() || !Path::new("/usr/bin/node").exists() {
        println!("skipped: {program} or /usr/bin/node is not here; scripts/acp-agents installs the first");
        return None;
    }
    let installed = installed.canonicalize().expect("a path");
    let model = real_model();
    let text = format!("[agent.{agent}]\nmount = '{}'\n", installed.display());
    Some((home_of(speech, &format!("http://127.0.0.1:{}", model.1), &text), model))
}

/// A whole turn of a real program in a workspace, unless it is not here. Answers the end of the turn.
fn real_turn(agent: &str, program: &str, speech: &str) -> Option<Value> {
    let (home, _model) = real_home(agent, program, speech)?;
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, agent);
    prompt(&server, &session, "make the file, please");
    let ended_early = || events(&server, &session).into_iter().find(|event| event["event"] == "turn_ended");
    let waiting = eventually(|| {
        assert!(ended_early().is_none(), "{:?}", ended_early());
        events(&server, &session).into_iter().find(|event| event["event"] == "tool_waiting")
    });
    assert!(waiting["call_id"].is_string(), "{waiting}");
    server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
    let end = event(&server, &session, "turn_ended", 0);
    assert_eq!(end["end"], "completed", "{end}");
    assert_eq!(content(&server, &place, "made.txt")["stdout"], "made-by-tool\n");
    assert!(said(&server, &session).contains("It is made."), "{}", said(&server, &session));
    let warned: Vec<Value> =
        events(&server, &session).into_iter().filter(|event| event["event"] == "warning").collect();
    assert!(warned.is_empty(), "{warned:?}");
    let told = event(&server, &session, "model", 0);
    assert!(told["offered"].as_array().is_some_and(|offered| !offered.is_empty()), "{told}");
    drop((server, cleared));
    Some(end)
}

/// A real program calls a tool of the gate, which is an act of its session with a record.
fn real_call(agent: &str, program: &str, speech: &str) {
    let Some((home, _model)) = real_home(agent, program, speech) else { return };
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, agent);
    prompt(&server, &session, "ask the gate, please");
    let mut approved = 0;
    let end = eventually(|| {
        let all = events(&server, &session);
        let waiting = all.iter().filter(|event| event["event"] == "tool_waiting").count();
        if waiting > approved {
            server.post(&format!("/api/v1/sessions/{session}/approve"), &json!({})).expect(200);
            approved = waiting;
        }
        all.into_iter().find(|event| event["event"] == "turn_ended")
    });
    assert_eq!(end["end"], "completed", "{end}");
    let said = said(&server, &session);
    assert!(said.contains("127.0.0.1"), "its last word is what the tool answered: {said}");
    let records = server.get(&format!("/api/v1/events?session_id={session}&tool_name=get_server_info")).expect(200);
    let executed = &records[0];
    assert_eq!((&executed["event_type"], &executed["principal"]["kind"]), (&json!("tool_execution"), &json!("agent")));
    assert_eq!(executed["principal"]["id"], agent, "{executed}");
    let linked = events(&server, &session).into_iter().filter(|event| event["record"] == executed["event_id"]).count();
    assert!(linked > 0, "its call leads to the record: {:?}", events(&server, &session));
    drop((server, cleared));
}

#[test]
fn claude_code_calls_a_tool_of_the_gate() {
    real_call("claude", "claude-agent-acp", "anthropic");
}

#[test]
fn gemini_cli_calls_a_tool_of_the_gate() {
    real_call("gemini", "gemini", "gemini");
}

#[test]
fn claude_code_works_in_a_workspace_without_network_and_without_a_key() {
    let Some(end) = real_turn("claude", "claude-agent-acp", "anthropic") else { return };
    let usage = &end["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(22), &json!(18)), "its own count: {usage}");
}

#[test]
fn gemini_cli_works_in_a_workspace_without_network_and_without_a_key() {
    let Some(end) = real_turn("gemini", "gemini", "gemini") else { return };
    // It counts nothing itself: each of its calls has one token there and one back, and it makes calls of its own, too.
    let count = |kind: &str| end["usage"][kind].as_u64().unwrap_or_default();
    assert!(count("input_tokens") >= 2 && count("input_tokens") == count("output_tokens"), "{end}");
}

/// Read-only looks at databases are allowed, and nothing may be ended.
const NO_ENDING: &str = "
policies:
  - name: nothing-is-ended
    priority: 30
    resources: [{type: any, match: {tool: terminate_connection}}]
    rules: [{action: [read, write, destructive], effect: deny, message: nothing is ended here}]
  - name: all-else
    priority: 20
    resources: [{type: any}]
    rules: [{action: [read, write, destructive], effect: allow}]
";

/// A turn in which the scripted agent calls the gate's tools, over HTTP or by a program that it starts.
fn calls_tools(arguments: &str) -> (String, Vec<Value>, Value, String) {
    let model = Model::start();
    let home = scripted(&model).policy(NO_ENDING);
    let path = home.data().join("agents.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    std::fs::write(&path, text.replace("['scripted']", &format!("['scripted'{arguments}]"))).expect("a file");
    let cleared = Cleared(&home);
    let server = home.start();
    let place = workspace(&server);
    let session = begin(&server, &place, "scripted");
    let end = turn(&server, &session, "tools");
    assert_eq!(end["end"], "completed", "{end} {:?}", events(&server, &session));
    let said = said(&server, &session);
    let all = events(&server, &session);
    let records = server.get("/api/v1/events?event_type=delegation_verification").expect(200);
    let denied = server.get(&format!("/api/v1/events?session_id={session}&tool_name=terminate_connection")).expect(200);
    let metrics = server.request("GET", "/metrics", Some(server.token()), None).text;
    assert!(metrics.contains("gateway_fabrication_mismatches_total{agent=\"scripted\",action_class="), "{metrics}");
    drop((server, cleared));
    (said, all, records, denied.to_string())
}

#[test]
fn an_agent_calls_the_gates_tools_as_acts_of_its_session_and_what_it_states_is_held_against_them() {
    for (arguments, guess) in [("", "401"), (", '--stdio'", "")] {
        let (said, all, records, denied) = calls_tools(arguments);
        let words: Vec<&str> = said.split_whitespace().collect();
        let expected = ["True", "False", "True", "True", "True", "True", "[act", "1-1]", "True"];
        assert_eq!(words[..expected.len()], expected, "{said}");
        assert_eq!(words.get(expected.len()).copied().unwrap_or_default(), guess, "the word for models opens no tools");
        let of = |kind: &str, tool: &str| {
            all.iter().find(|event| event["event"] == kind && event["tool"] == tool).cloned().unwrap_or_default()
        };
        let called = of("tool_called", "terminate_connection");
        assert!(called["action_id"].is_string(), "{called}");
        let finished =
            all.iter().find(|event| event["event"] == "tool_finished" && event["call_id"] == called["call_id"]);
        let record = finished.map(|event| event["record"].clone()).unwrap_or_default();
        assert!(record.as_str().is_some_and(|record| denied.contains(record)), "{record} of {denied}");
        let marked: Vec<&Value> = all.iter().filter(|event| event["event"] == "claim_unproven").collect();
        let [mark] = marked.as_slice() else { panic!("{marked:?}") };
        assert_eq!(mark["reason"], "act 1-1 was denied, not succeeded");
        assert!(mark["record"].as_str().is_some_and(|record| records.to_string().contains(record)), "{records}");
    }
}
