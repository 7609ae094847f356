//! Whole turns with real programs: Claude Code's adapter and Gemini CLI against a scripted model server, and the example
//! agent of the official kit.
//!
//! `scripts/acp-agents` installs them. Without them, or without Node, these tests say so and do nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use reeve_agents::acp::{Choice, Connection, ContentBlock, Options, SessionRequest, StopReason, Update};
use reeve_agents::profiles::{self, Located, Profile};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::script::{Ear, Heard, Mind};

/// How long a real program may take for a turn: it starts a run-time of its own on a busy machine.
const TURN: Duration = Duration::from_secs(120);

/// Where `scripts/acp-agents` puts programs.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/acp-agents/node_modules/.bin")
}

/// A model server and a place to work in, where there is Node.
async fn stage() -> Option<(Model, Ground)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join("node").is_file()) {
        return Some((Model::start().await, Ground::new()));
    }
    println!("skipped: there is no node on this machine");
    None
}

/// An agent's program, unless it is not here.
fn program(profile: &Profile) -> Option<PathBuf> {
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

/// A connection to an agent that runs.
struct Live {
    connection: Connection,
    mind: Mind,
    _child: Child,
}

/// What a test does when the agent asks.
#[derive(Clone, Copy)]
enum WhenAsked {
    Say(Choice),
    CancelTheTurn,
}

/// What one turn came to.
#[derive(Default)]
struct Turn {
    said: String,
    calls: Vec<String>,
    questions: usize,
}

impl Live {
    async fn open(mut child: Child) -> Self {
        let (ear, mind) = Ear::new();
        let (read, write) = (child.stdout.take().expect("output"), child.stdin.take().expect("input"));
        let options = Options { start_within: TURN, answer_within: TURN, ..Options::default() };
        let (connection, _) = Connection::open(read, write, ear, options).await.expect("a connection");
        Self { connection, mind, _child: child }
    }

    async fn begin(&self, ground: &Ground) -> String {
        self.connection.new_session(at(ground)).await.expect("a session").session_id
    }

    async fn turn(&mut self, session: &str, when_asked: WhenAsked) -> (Turn, StopReason) {
        let mut turn = Turn::default();
        let Self { connection, mind, .. } = self;
        let mut prompt = pin!(connection.prompt(session, vec![ContentBlock::text("make the file, please")]));
        let stop = loop {
            let heard = tokio::select! {
                biased;
                heard = mind.next_within(TURN) => heard,
                done = &mut prompt => break done.expect("an end").stop,
            };
            match (turn.hear(heard), when_asked) {
                (Some(answer), WhenAsked::Say(choice)) => answer.send(choice).expect("it waits"),
                (Some(_), WhenAsked::CancelTheTurn) => connection.cancel(session).await.expect("told"),
                (None, _) => {}
            }
        };
        while let Some(heard) = mind.already() {
            assert!(turn.hear(heard).is_none(), "nothing is asked after the end");
        }
        assert_eq!((connection.counts().unknown_answers, connection.counts().repeated_answers), (0, 0));
        (turn, stop)
    }
}

fn at(ground: &Ground) -> SessionRequest {
    SessionRequest { cwd: ground.path("work"), ..SessionRequest::default() }
}

impl Turn {
    /// Keeps what is told; hands a question on.
    fn hear(&mut self, heard: Heard) -> Option<oneshot::Sender<Choice>> {
        match heard {
            Heard::Question(question, answer) => {
                assert!(!question.options.is_empty(), "{question:?}");
                self.questions += 1;
                return Some(answer);
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
        None
    }
}

/// Claude Code against a model server, unless it is not here.
async fn claude(model: &Model, ground: &Ground) -> Option<Live> {
    let profile = profiles::find("claude").expect("a profile");
    let program = program(&profile)?;
    let session = [
        ("ANTHROPIC_BASE_URL", model.url()),
        ("ANTHROPIC_API_KEY", "no-key".to_owned()),
        ("CLAUDE_CONFIG_DIR", ground.path("home/.claude")),
        // Root is refused without it.
        ("IS_SANDBOX", "1".to_owned()),
    ];
    Some(Live::open(start(&profile, &program, ground, &session)).await)
}

#[tokio::test]
async fn claude_code_asks_makes_the_file_and_says_so() {
    let Some((model, ground)) = stage().await else { return };
    let Some(mut live) = claude(&model, &ground).await else { return };
    let session = live.begin(&ground).await;
    let (turn, stop) = live.turn(&session, WhenAsked::Say(Choice::AllowOnce)).await;
    assert_eq!((stop, turn.questions), (StopReason::EndTurn, 1));
    assert_eq!(ground.made().as_deref(), Some("made-by-tool\n"));
    assert!(turn.said.contains("It is made.") && !turn.calls.is_empty(), "{}", turn.said);
    live.connection.close(&session).await.expect("closed");
}

#[tokio::test]
async fn claude_code_makes_nothing_when_it_is_told_no() {
    let Some((model, ground)) = stage().await else { return };
    let Some(mut live) = claude(&model, &ground).await else { return };
    let session = live.begin(&ground).await;
    let (turn, _) = live.turn(&session, WhenAsked::Say(Choice::RejectOnce)).await;
    assert_eq!((turn.questions, ground.made()), (1, None));
}

#[tokio::test]
async fn claude_code_ends_its_turn_when_it_is_cancelled() {
    let Some((model, ground)) = stage().await else { return };
    let Some(mut live) = claude(&model, &ground).await else { return };
    let session = live.begin(&ground).await;
    let (turn, stop) = live.turn(&session, WhenAsked::CancelTheTurn).await;
    assert_eq!((stop, turn.questions, ground.made()), (StopReason::Cancelled, 1, None));
    let (_, stop) = live.turn(&session, WhenAsked::Say(Choice::AllowOnce)).await;
    assert_eq!(stop, StopReason::EndTurn, "the session goes on");
}

#[tokio::test]
async fn claude_code_goes_on_with_a_session_in_another_process() {
    let Some((model, ground)) = stage().await else { return };
    let Some(mut live) = claude(&model, &ground).await else { return };
    let session = live.begin(&ground).await;
    live.turn(&session, WhenAsked::Say(Choice::AllowOnce)).await;
    assert!(live.connection.info().loads_sessions && live.connection.info().resumes_sessions);
    drop(live);

    let Some(mut live) = claude(&model, &ground).await else { return };
    let loaded = live.connection.load_session(&session, at(&ground)).await.expect("loaded");
    assert_eq!(loaded.session_id, session);
    let mut told = Turn::default();
    while let Some(heard) = live.mind.already() {
        told.hear(heard);
    }
    assert!(told.said.contains("It is made.") && told.calls.len() == 1, "{:?} {}", told.calls, told.said);
    drop(live);

    let Some(mut live) = claude(&model, &ground).await else { return };
    live.connection.resume_session(&session, at(&ground)).await.expect("resumed");
    let (_, stop) = live.turn(&session, WhenAsked::Say(Choice::AllowOnce)).await;
    assert_eq!(stop, StopReason::EndTurn);
}

#[tokio::test]
async fn gemini_cli_asks_makes_the_file_and_says_so() {
    let profile = profiles::find("gemini").expect("a profile");
    let Some((model, ground)) = stage().await else { return };
    let Some(program) = program(&profile) else { return };
    let settings = r#"{"security":{"auth":{"selectedType":"gemini-api-key"}},
        "privacy":{"usageStatisticsEnabled":false},"telemetry":{"enabled":false}}"#;
    std::fs::write(ground.path("home/.gemini/settings.json"), settings).expect("a file");
    let session = [
        ("GOOGLE_GEMINI_BASE_URL", model.url()),
        ("GEMINI_API_KEY", "no-key".to_owned()),
        ("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned()),
    ];
    let mut live = Live::open(start(&profile, &program, &ground, &session)).await;
    let session = live.begin(&ground).await;
    let (turn, stop) = live.turn(&session, WhenAsked::Say(Choice::AllowOnce)).await;
    assert_eq!((stop, turn.questions), (StopReason::EndTurn, 1));
    assert_eq!(ground.made().as_deref(), Some("made-by-tool\n"));
    assert!(turn.said.contains("It is made."), "{}", turn.said);
}

#[tokio::test]
async fn the_example_agent_of_the_official_kit_takes_its_turn() {
    let Some((_model, ground)) = stage().await else { return };
    let script = installed().join("../@agentclientprotocol/sdk/dist/examples/agent.js");
    if !script.is_file() {
        println!("skipped: {} is not there; scripts/acp-agents installs it", script.display());
        return;
    }
    let profile = Profile::command("example", vec!["node".to_owned(), script.display().to_string()]);
    let mut live = Live::open(start(&profile, Path::new("node"), &ground, &[])).await;
    let session = live.begin(&ground).await;
    let (turn, stop) = live.turn(&session, WhenAsked::Say(Choice::AllowAlways)).await;
    assert_eq!((stop, turn.questions, turn.calls.len()), (StopReason::EndTurn, 1, 2));
    assert!(turn.said.contains("successfully updated"), "{}", turn.said);
}
