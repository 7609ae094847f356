//! An agent that lives in a workspace and is spoken with over a pipe: the whole way, through the real driver.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use reeve_agents::acp::{
    Answered, Choice, Connection, ContentBlock, CreateTerminal, End, Options, Peer, PeerError, PermissionRequest,
    ProtocolWarning, ReadTextFile, SessionRequest, StopReason, TerminalExit, TerminalOutput, TerminalRef, Update,
    WriteTextFile,
};
use reeve_types::workspace::processes::OpenPipe;

use crate::actor::spec;
use crate::stage::Stage;

/// Asks before it writes a file, tells whether it may, and says who it is.
const AGENT: &str = r#"
import json, os, sys
def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def hear(): return json.loads(sys.stdin.readline())
def update(**what): say(method="session/update", params={"sessionId": "s", "update": what})
print("a line of noise", flush=True)
print("starting", file=sys.stderr, flush=True)
say(id=hear()["id"], result={"protocolVersion": 1, "agentCapabilities": {}})
say(id=hear()["id"], result={"sessionId": "s"})
turn = hear()["id"]
call = {"toolCallId": "t", "title": "Write", "kind": "edit"}
update(sessionUpdate="tool_call", **call)
say(id="q", method="session/request_permission", params={"sessionId": "s", "toolCall": call, "options": [
    {"optionId": "fine", "name": "Yes", "kind": "allow_once"}]})
outcome = hear()["result"]["outcome"]
open("made.txt", "w").write(outcome["optionId"])
text = f"{os.getuid()} {os.getcwd()} {os.environ['AGENT_KEY']} {'REEVE_RUNTIME_TOKEN' in os.environ} ü"
update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})
say(id=turn, result={"stopReason": "end_turn"})
sys.stdin.read()
print("goodbye", file=sys.stderr, flush=True)
sys.exit(4)
"#;

/// Says yes to everything and keeps what it was told.
#[derive(Default)]
struct Yes {
    said: Mutex<String>,
    warnings: Mutex<Vec<ProtocolWarning>>,
}

fn unserved<'a, T>() -> Answered<'a, T> {
    Box::pin(async { Err(PeerError::NotServed("not in this test".to_owned())) })
}

impl Peer for Yes {
    fn update<'a>(&'a self, _: &'a str, update: Update, _: serde_json::Value) -> BoxFuture<'a, ()> {
        if let Update::AgentMessage { content, .. } = &update {
            self.said.lock().expect("no panic").push_str(content.as_text().unwrap_or_default());
        }
        Box::pin(async {})
    }
    fn request_permission(&self, _: PermissionRequest) -> BoxFuture<'_, Choice> {
        Box::pin(async { Choice::AllowOnce })
    }
    fn read_text_file(&self, _: ReadTextFile) -> Answered<'_, String> {
        unserved()
    }
    fn write_text_file(&self, _: WriteTextFile) -> Answered<'_, ()> {
        unserved()
    }
    fn terminal_create(&self, _: CreateTerminal) -> Answered<'_, String> {
        unserved()
    }
    fn terminal_output(&self, _: TerminalRef) -> Answered<'_, TerminalOutput> {
        unserved()
    }
    fn terminal_wait_for_exit(&self, _: TerminalRef) -> Answered<'_, TerminalExit> {
        unserved()
    }
    fn terminal_kill(&self, _: TerminalRef) -> Answered<'_, ()> {
        unserved()
    }
    fn terminal_release(&self, _: TerminalRef) -> Answered<'_, ()> {
        unserved()
    }
    fn protocol_warning(&self, warning: ProtocolWarning) {
        self.warnings.lock().expect("no panic").push(warning);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_workspace_takes_a_turn_and_leaves_when_the_connection_does() {
    let stage = Stage::new().await;
    let (actor, spec) = (stage.actor(), spec());
    actor.begin(&spec).await;
    actor.save(&spec.id, "agent.py", AGENT.as_bytes()).await;
    let link = actor.link(&spec.id).await;
    let what = OpenPipe {
        argv: vec!["python3".to_owned(), "agent.py".to_owned()],
        env: std::collections::BTreeMap::from([("AGENT_KEY".to_owned(), "key-of-this-session".to_owned())]),
        ..OpenPipe::default()
    };
    let pipe = link.open_pipe(actor.permit(what).await).await.expect("it runs");
    let peer = Arc::new(Yes::default());
    let opened = Connection::open(pipe.stdout, pipe.stdin, Arc::clone(&peer) as Arc<dyn Peer>, Options::default());
    let (connection, _) = opened.await.expect("a connection");
    let request = SessionRequest { cwd: "/workspace".to_owned(), ..SessionRequest::default() };
    let session = connection.new_session(request).await.expect("a session");
    let done = connection.prompt(&session.session_id, vec![ContentBlock::text("go")]).await;
    assert_eq!(done.map(|done| done.stop), Ok(StopReason::EndTurn));
    assert_eq!(*peer.said.lock().expect("no panic"), "1000 /workspace key-of-this-session False ü");
    assert!(matches!(peer.warnings.lock().expect("no panic").as_slice(), [ProtocolWarning::Garbage(_)]));
    assert_eq!(actor.read(&spec.id, "made.txt").await.expect("a file"), b"fine");
    drop(connection);
    let end = pipe.exit.await.expect("its end");
    assert_eq!((end.exit.exit_code, end.last_errors.as_str()), (4, "starting\ngoodbye\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_ends_the_connection_and_the_workspace_goes_on() {
    let stage = Stage::new().await;
    let (actor, spec) = (stage.actor(), spec());
    actor.begin(&spec).await;
    let link = actor.link(&spec.id).await;
    let script =
        "read line; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":1}}'; read line; kill -9 $$";
    let what = OpenPipe { argv: ["bash", "-c", script].map(str::to_owned).to_vec(), ..OpenPipe::default() };
    let pipe = link.open_pipe(actor.permit(what).await).await.expect("it runs");
    let opened = Connection::open(pipe.stdout, pipe.stdin, Arc::new(Yes::default()), Options::default());
    let (connection, _) = opened.await.expect("a connection");
    let failed = connection.new_session(SessionRequest::default()).await.expect_err("it is dead");
    assert!(failed.to_string().contains("start the agent again"), "{failed}");
    assert_eq!(connection.ended().await, End::Closed);
    let end = pipe.exit.await.expect("its end");
    assert_eq!((end.exit.exit_code, end.exit.signal.as_deref()), (137, Some("SIGKILL")));
    assert_eq!(actor.told(&spec.id, &["echo", "well"]).await, "well");
}
