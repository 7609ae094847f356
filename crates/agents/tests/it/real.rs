//! Whole turns with real programs, Claude Code's adapter and Gemini CLI, against a scripted model server.
//!
//! `scripts/acp-agents` installs them. Without them, or without Node, these tests say so and do nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reeve_agents::acp::{Choice, Connection, ContentBlock, Options, Peer, SessionRequest, StopReason, Update};
use reeve_agents::profiles::{self, Located, Profile};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::script::{Ear, Heard};

/// How long a real program may take for a turn: it starts a run-time of its own on a busy machine.
const TURN: Duration = Duration::from_secs(120);

/// Where `scripts/acp-agents` puts programs.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/acp-agents/node_modules/.bin")
}

/// An agent's program, unless it is not here.
fn program(profile: &Profile) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut node = std::env::split_paths(&path).map(|directory| directory.join("node"));
    if !node.any(|node| node.is_file()) {
        println!("skipped: there is no node on this machine");
        return None;
    }
    match profile.locate(&[installed()]) {
        Located::Found(program) => Some(program),
        Located::Missing { looked_at, .. } => {
            println!("skipped: {looked_at:?} is not there; scripts/acp-agents installs it");
            None
        }
    }
}

/// A model server that ends with the test.
struct Model {
    port: u16,
    _server: Child,
}

impl Model {
    async fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripted_model.mjs");
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut server = command.spawn().expect("a model server");
        let mut said = BufReader::new(server.stdout.take().expect("its output")).lines();
        let port = said.next_line().await.expect("a line").expect("a port").parse().expect("a number");
        Self { port, _server: server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A directory with a home and a place to work in.
struct Ground(TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir().expect("a directory"));
        for name in ["home/.gemini", "work"] {
            std::fs::create_dir_all(ground.0.path().join(name)).expect("a directory");
        }
        ground
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn made(&self) -> Option<String> {
        std::fs::read_to_string(self.0.path().join("work/made.txt")).ok()
    }
}

/// Starts an agent as its profile says.
fn start(profile: &Profile, program: &Path, ground: &Ground, session: &[(&str, String)]) -> Child {
    let mut session: BTreeMap<String, String> =
        session.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    session.insert("HOME".to_owned(), ground.path("home"));
    let path = std::env::var("PATH").expect("a search path");
    let environment = profile.environment([("PATH", path.as_str()), ("REEVE_TOKEN", "the server's")], &session);
    profiles::check_launch(&profile.argv, &environment).expect("a safe launch");
    let mut command = Command::new(program);
    command.args(profile.argv.iter().skip(1)).env_clear().envs(environment).current_dir(ground.path("work"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the agent starts")
}

/// What one turn came to.
#[derive(Default)]
struct Turn {
    said: String,
    calls: Vec<String>,
    questions: usize,
}

async fn turn(child: &mut Child, ground: &Ground, choice: Choice) -> (Turn, StopReason) {
    let (ear, mut mind) = Ear::new();
    let (read, write) = (child.stdout.take().expect("output"), child.stdin.take().expect("input"));
    let options = Options { start_within: TURN, answer_within: TURN, ..Options::default() };
    let peer = Arc::clone(&ear) as Arc<dyn Peer>;
    let (connection, info) = Connection::open(read, write, peer, options).await.expect("a connection");
    assert!(info.loads_sessions, "{info:?}");
    let cwd = ground.path("work");
    let begun = connection.new_session(SessionRequest { cwd, ..SessionRequest::default() }).await.expect("a session");
    let mut turn = Turn::default();
    let mut prompt =
        std::pin::pin!(connection.prompt(&begun.session_id, vec![ContentBlock::text("make the file, please")]));
    let stop = loop {
        let heard = tokio::select! {
            biased;
            heard = mind.next_within(TURN) => heard,
            stop = &mut prompt => break stop.expect("an end"),
        };
        turn.hear(heard, choice);
    };
    while let Some(heard) = mind.already() {
        turn.hear(heard, choice);
    }
    assert_eq!(connection.counts().unknown_answers, 0);
    connection.close(&begun.session_id).await.expect("closed");
    (turn, stop)
}

impl Turn {
    fn hear(&mut self, heard: Heard, choice: Choice) {
        match heard {
            Heard::Question(question, answer) => {
                assert!(!question.options.is_empty(), "{question:?}");
                self.questions += 1;
                answer.send(choice).expect("it waits");
            }
            Heard::Update(_, update, raw) => match *update {
                Update::AgentMessage { content, .. } => self.said.push_str(content.as_text().unwrap_or_default()),
                Update::ToolCall(call) => self.calls.push(call.title),
                Update::Unsupported { .. } | Update::Malformed { .. } => panic!("{update:?}: {raw}"),
                _ => {}
            },
            Heard::Warning(warning) => println!("{warning}"),
            Heard::Withdrawn(_) => {}
        }
    }
}

#[tokio::test]
async fn claude_code_asks_makes_the_file_and_says_so() {
    let profile = profiles::find("claude").expect("a profile");
    let Some(program) = program(&profile) else { return };
    let (model, ground) = (Model::start().await, Ground::new());
    let session = [
        ("ANTHROPIC_BASE_URL", model.url()),
        ("ANTHROPIC_API_KEY", "no-key".to_owned()),
        ("CLAUDE_CONFIG_DIR", ground.path("home/.claude")),
        ("IS_SANDBOX", "1".to_owned()),
    ];
    let mut child = start(&profile, &program, &ground, &session);
    let (turn, stop) = turn(&mut child, &ground, Choice::AllowOnce).await;
    assert_eq!((stop, turn.questions), (StopReason::EndTurn, 1));
    assert_eq!(ground.made().as_deref(), Some("made-by-tool\n"));
    assert!(turn.said.contains("It is made.") && !turn.calls.is_empty(), "{}", turn.said);
}

#[tokio::test]
async fn claude_code_makes_nothing_when_it_is_told_no() {
    let profile = profiles::find("claude").expect("a profile");
    let Some(program) = program(&profile) else { return };
    let (model, ground) = (Model::start().await, Ground::new());
    let session = [
        ("ANTHROPIC_BASE_URL", model.url()),
        ("ANTHROPIC_API_KEY", "no-key".to_owned()),
        ("CLAUDE_CONFIG_DIR", ground.path("home/.claude")),
        ("IS_SANDBOX", "1".to_owned()),
    ];
    let mut child = start(&profile, &program, &ground, &session);
    let (turn, _) = turn(&mut child, &ground, Choice::RejectOnce).await;
    assert_eq!((turn.questions, ground.made()), (1, None));
}

#[tokio::test]
async fn gemini_cli_asks_makes_the_file_and_says_so() {
    let profile = profiles::find("gemini").expect("a profile");
    let Some(program) = program(&profile) else { return };
    let (model, ground) = (Model::start().await, Ground::new());
    let settings = r#"{"security":{"auth":{"selectedType":"gemini-api-key"}},
        "privacy":{"usageStatisticsEnabled":false},"telemetry":{"enabled":false}}"#;
    std::fs::write(ground.path("home/.gemini/settings.json"), settings).expect("a file");
    let session = [
        ("GOOGLE_GEMINI_BASE_URL", model.url()),
        ("GEMINI_API_KEY", "no-key".to_owned()),
        ("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned()),
    ];
    let mut child = start(&profile, &program, &ground, &session);
    let (turn, stop) = turn(&mut child, &ground, Choice::AllowOnce).await;
    assert_eq!((stop, turn.questions), (StopReason::EndTurn, 1));
    assert_eq!(ground.made().as_deref(), Some("made-by-tool\n"));
    assert!(turn.said.contains("It is made."), "{}", turn.said);
}
