//! An agent that does what a test tells it, line by line, and a peer that keeps what it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_agents::acp::{
    AcpError, AgentInfo, Choice, Connection, CreateTerminal, Options, Peer, PeerError, PermissionRequest,
    ProtocolWarning, ReadTextFile, TerminalExit, TerminalOutput, TerminalRef, Update, WriteTextFile,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long anything that should happen may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The agent's end of the streams.
pub(crate) struct Agent {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: WriteHalf<DuplexStream>,
}

/// The streams between a client and a scripted agent.
pub(crate) fn streams() -> (DuplexStream, Agent) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    (ours, Agent { lines: BufReader::new(read).lines(), write })
}

impl Agent {
    /// The next message of the client's.
    pub(crate) async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_line().await).expect("JSON")
    }

    /// The next message of the client's, as it was written.
    pub(crate) async fn hear_line(&mut self) -> String {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.expect("a message in time");
        line.expect("a line").expect("a message")
    }

    /// Whether the client has closed its stream.
    pub(crate) async fn hears_nothing_more(&mut self) -> bool {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.expect("an end in time");
        matches!(line, Ok(None))
    }

    /// Waits for a request of that name, and answers its id and parameters.
    pub(crate) async fn hear_request(&mut self, method: &str) -> (Value, Value) {
        let message = self.hear().await;
        assert_eq!(message["method"], method, "{message}");
        (message["id"].clone(), message["params"].clone())
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("written");
        self.write.flush().await.expect("written");
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.raw(format!("{message}\n").as_bytes()).await;
    }

    pub(crate) async fn answer(&mut self, id: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    pub(crate) async fn ask(&mut self, id: Value, method: &str, params: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }

    pub(crate) async fn update(&mut self, update: Value) {
        let params = json!({"sessionId": "s", "update": update});
        self.say(json!({"jsonrpc": "2.0", "method": "session/update", "params": params})).await;
    }

    /// Answers `initialize`, with these capabilities.
    pub(crate) async fn introduce(&mut self, capabilities: Value) {
        let (id, params) = self.hear_request("initialize").await;
        assert_eq!(params["protocolVersion"], 1);
        assert_eq!(params["clientInfo"]["name"], "reeve");
        assert_eq!(params["clientCapabilities"]["terminal"], true);
        self.answer(
            &id,
            json!({"protocolVersion": 1, "agentCapabilities": capabilities,
            "agentInfo": {"name": "script", "version": "0"},
            "authMethods": [{"id": "key", "name": "A key", "description": null}]}),
        )
        .await;
    }
}

/// Options under which tests do not wait long.
pub(crate) fn options() -> Options {
    Options { start_within: SOON, answer_within: SOON, write_within: SOON, ..Options::default() }
}

/// A connection to a scripted agent that has introduced itself.
pub(crate) async fn connected(peer: &Arc<Ear>, options: Options, capabilities: Value) -> (Arc<Connection>, Agent) {
    let (ours, mut agent) = streams();
    let (read, write) = tokio::io::split(ours);
    let peer = Arc::clone(peer) as Arc<dyn Peer>;
    let opening = tokio::spawn(Connection::open(read, write, peer, options));
    agent.introduce(capabilities).await;
    let (connection, _) = opening.await.expect("no panic").expect("a connection");
    (Arc::new(connection), agent)
}

/// The same with the usual options and no capabilities.
pub(crate) async fn plainly(peer: &Arc<Ear>) -> (Arc<Connection>, Agent) {
    connected(peer, options(), json!({})).await
}

type Opened = Result<(Connection, AgentInfo), AcpError>;

/// Opens a connection while the test plays the agent.
pub(crate) fn opening(options: Options) -> (JoinHandle<Opened>, Agent) {
    let (ours, agent) = streams();
    let (read, write) = tokio::io::split(ours);
    (tokio::spawn(Connection::open(read, write, Ear::new().0, options)), agent)
}

/// Begins a turn and answers what the agent hears of it.
pub(crate) async fn prompted(
    connection: &Arc<Connection>,
    agent: &mut Agent,
) -> (JoinHandle<Result<reeve_agents::acp::StopReason, AcpError>>, Value) {
    let asking = Arc::clone(connection);
    let content = vec![reeve_agents::acp::ContentBlock::text("do it")];
    let turn = tokio::spawn(async move { asking.prompt("s", content).await.map(|done| done.stop) });
    let (id, params) = agent.hear_request("session/prompt").await;
    assert_eq!(params, json!({"sessionId": "s", "prompt": [{"type": "text", "text": "do it"}]}));
    (turn, id)
}

/// What a peer was told.
#[derive(Debug)]
pub(crate) enum Heard {
    Update(String, Box<Update>, Value),
    Warning(ProtocolWarning),
    /// A question, and where its answer goes.
    Question(Box<PermissionRequest>, oneshot::Sender<Choice>),
    /// A question that was withdrawn.
    Withdrawn(String),
}

/// A peer that tells a test everything, and has files in memory.
pub(crate) struct Ear {
    heard: mpsc::UnboundedSender<Heard>,
    pub(crate) files: Mutex<HashMap<String, String>>,
    pub(crate) ended: Notify,
}

/// What an [`Ear`] has heard.
pub(crate) struct Mind(mpsc::UnboundedReceiver<Heard>);

impl Ear {
    pub(crate) fn new() -> (Arc<Self>, Mind) {
        let (heard, mind) = mpsc::unbounded_channel();
        (Arc::new(Self { heard, files: Mutex::default(), ended: Notify::new() }), Mind(mind))
    }

    fn tell(&self, heard: Heard) {
        let _the_test_is_over = self.heard.send(heard);
    }
}

impl Mind {
    pub(crate) async fn next(&mut self) -> Heard {
        self.next_within(SOON).await
    }

    pub(crate) async fn next_within(&mut self, within: Duration) -> Heard {
        tokio::time::timeout(within, self.0.recv()).await.expect("something in time").expect("something")
    }

    /// What was heard before now.
    pub(crate) fn already(&mut self) -> Option<Heard> {
        self.0.try_recv().ok()
    }

    pub(crate) async fn update(&mut self) -> Update {
        match self.next().await {
            Heard::Update(session, update, _) => {
                assert_eq!(session, "s");
                *update
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn warning(&mut self) -> ProtocolWarning {
        match self.next().await {
            Heard::Warning(warning) => warning,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn question(&mut self) -> (PermissionRequest, oneshot::Sender<Choice>) {
        match self.next().await {
            Heard::Question(question, answer) => (*question, answer),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing else was heard so far.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Tells that a question was withdrawn, unless it was answered.
struct Question<'a> {
    ear: &'a Ear,
    id: Option<String>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.ear.tell(Heard::Withdrawn(id));
        }
    }
}

impl Peer for Ear {
    fn update<'a>(&'a self, session_id: &'a str, update: Update, raw: Value) -> BoxFuture<'a, ()> {
        self.tell(Heard::Update(session_id.to_owned(), Box::new(update), raw));
        Box::pin(async {})
    }

    fn request_permission(&self, request: PermissionRequest) -> BoxFuture<'_, Choice> {
        Box::pin(async move {
            let mut open = Question { ear: self, id: Some(request.tool_call.id.clone()) };
            let (answer, answered) = oneshot::channel();
            self.tell(Heard::Question(Box::new(request), answer));
            let choice = answered.await.unwrap_or(Choice::Cancelled);
            open.id = None;
            choice
        })
    }

    fn read_text_file(&self, request: ReadTextFile) -> BoxFuture<'_, Result<String, PeerError>> {
        Box::pin(async move {
            if !request.path.starts_with("/workspace/") {
                return Err(PeerError::Outside(format!("{} is not in the workspace", request.path)));
            }
            let files = self.files.lock().expect("no panic");
            let text = files.get(&request.path).ok_or_else(|| PeerError::Failed("there is no such file".to_owned()))?;
            let from = request.line.unwrap_or(1).saturating_sub(1) as usize;
            let lines = text.lines().skip(from).take(request.limit.unwrap_or(u32::MAX) as usize);
            Ok(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    fn write_text_file(&self, request: WriteTextFile) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            self.files.lock().expect("no panic").insert(request.path, request.content);
            Ok(())
        })
    }

    fn terminal_create(&self, request: CreateTerminal) -> BoxFuture<'_, Result<String, PeerError>> {
        Box::pin(async move { Ok(format!("{} {:?} {:?}", request.command, request.args, request.env)) })
    }

    fn terminal_output(&self, terminal: TerminalRef) -> BoxFuture<'_, Result<TerminalOutput, PeerError>> {
        Box::pin(async move { Ok(TerminalOutput { output: terminal.terminal_id, truncated: true, exit: None }) })
    }

    fn terminal_wait_for_exit(&self, _: TerminalRef) -> BoxFuture<'_, Result<TerminalExit, PeerError>> {
        Box::pin(async move {
            self.ended.notified().await;
            Ok(TerminalExit { exit_code: Some(3), signal: None })
        })
    }

    fn terminal_kill(&self, _: TerminalRef) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            self.ended.notify_one();
            Ok(())
        })
    }

    fn terminal_release(&self, terminal: TerminalRef) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move { Err(PeerError::BadParameters(format!("there is no terminal {}", terminal.terminal_id))) })
    }

    fn protocol_warning(&self, warning: ProtocolWarning) {
        self.tell(Heard::Warning(warning));
    }
}
