//! Other people's agents: what a way to start them implements, and how a turn of theirs is supervised.
//!
//! The program runs in the session's workspace. Whatever it tells becomes events; whatever it asks for is asked of the
//! gate in the name of the agent, acting for the session's owner. It is stopped with its session, and taken up again
//! where it can: a turn that was in flight when the server ended is never sent twice.

mod environment;
mod peer;
mod silence;
mod steering;
mod toolbox;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_gate::relay::{RelayAnswer, RelayCall};
use reeve_store::{OpenTurn, StoredSession};
use reeve_types::model::{ModelTool, Usage};
use reeve_types::session::{Happening, PermissionMode, TurnEnd};
use reeve_types::workspace::processes::{ExecRequest, ExecResult};
use reeve_types::{EventId, SessionId, WorkspaceId};
use serde_json::Value;
use tracing::Instrument as _;

use super::Sessions;
use super::turn::{Never, Stop, TurnCx};
use crate::workspaces::Asker;
use peer::Peer;

pub(super) use environment::checked_environment;
pub(super) use steering::Changed;

/// How long an agent has to end a turn that was cancelled before it is stopped.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// A program that can be an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalProfile {
    /// The agent's name.
    pub name: String,
    /// What it is, in one sentence.
    pub description: String,
    /// Why it cannot be started here, and what to do; absent when it can.
    pub unavailable: Option<String>,
}

/// An agent to be started.
#[derive(Debug, Clone)]
pub struct ExternalWanted {
    /// By which profile.
    pub profile: String,
    /// For which session.
    pub session_id: SessionId,
    /// In which workspace.
    pub workspace_id: WorkspaceId,
    /// In which directory of it.
    pub directory: String,
    /// On whose behalf it is started.
    pub asker: Asker,
    /// What the agent called this session before, to be taken up again where it can.
    pub resume: Option<String>,
    /// What the session's maker added to its environment.
    pub environment: Vec<(String, String)>,
    /// What it must ask.
    pub mode: PermissionMode,
    /// The model that it is to use, where somebody chose one.
    pub model: Option<String>,
}

/// Why an agent was not started, or did not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ExternalFailure {
    /// In words: what failed, and what to do.
    pub message: String,
}

/// Where external agents come from.
pub trait ExternalAgents: Send + Sync {
    /// The programs that are known, whether they can be started or not.
    fn profiles(&self) -> Vec<ExternalProfile>;

    /// Starts one and begins a session with it.
    fn open<'a>(
        &'a self,
        wanted: ExternalWanted,
        peer: Arc<dyn ExternalPeer>,
    ) -> BoxFuture<'a, Result<ExternalAgent, ExternalFailure>>;
}

/// An agent that was started.
pub struct ExternalAgent {
    /// What it calls the session.
    pub external_id: String,
    /// Whether it remembers what was said before it was started.
    pub resumed: bool,
    /// The way to it. Dropping it stops the program.
    pub link: Arc<dyn ExternalLink>,
}

/// The way to a running agent.
pub trait ExternalLink: Send + Sync {
    /// Says something and waits for the end of the turn.
    fn prompt<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<(TurnEnd, String), ExternalFailure>>;
    /// Asks it to end the turn; [`ExternalLink::prompt`] then answers.
    fn cancel(&self) -> BoxFuture<'_, ()>;
    /// Stops the program.
    fn close(&self) -> BoxFuture<'_, ()>;
    /// The session's mode is another: puts the agent into its own mode that fits, where it has one.
    fn set_mode(&self, mode: PermissionMode) -> BoxFuture<'_, ()>;
    /// Whether the agent can be given a model, as far as it tells. Otherwise which it offers, in words.
    fn check_model(&self, model: Option<&str>) -> Result<(), ExternalFailure>;
    /// Gives it a model, or with `None` its own choice back. An agent that cannot be given one keeps what it has, and the
    /// session is told so once.
    fn set_model<'a>(&'a self, model: Option<&'a str>) -> BoxFuture<'a, Result<(), ExternalFailure>>;
    /// What was used since this was last asked.
    fn take_used(&self) -> Option<ExternalUsage>;
    /// Whether it runs and keeps to the protocol.
    fn is_alive(&self) -> bool;
}

/// What an agent has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUsage {
    /// The model that most of it is of; empty where nobody knows.
    pub model: String,
    /// Tokens, and their price where it is known.
    pub usage: Usage,
}

/// What an agent asks before it acts.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionAsked {
    /// The call it is about.
    pub call_id: String,
    /// The tool, as the agent names it.
    pub tool: String,
    /// In one line.
    pub title: String,
    /// `read`, `edit`, `delete`, `move`, `search`, `execute`, `think`, `fetch` or `other`.
    pub kind: String,
    /// What people read before they answer: a command, a diff.
    pub detail: String,
    /// The files that it is about, from the root of the workspace, as far as the agent says.
    pub files: Vec<String>,
    /// The command that it would run, where it is one.
    pub command: Option<String>,
}

/// What is decided about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Yes, this time.
    Allow,
    /// No, this time.
    Reject,
    /// Nobody decides any more.
    Cancelled,
}

/// What a running agent's way here calls: our side of the conversation.
pub trait ExternalPeer: Send + Sync {
    /// More words. They are written down whole when something else follows.
    fn said(&self, text: String) -> BoxFuture<'_, ()>;
    /// More of a thought.
    fn thought(&self, text: String) -> BoxFuture<'_, ()>;
    /// Anything else that happened. Numbers of turns in it are replaced by that of the turn in flight.
    fn happened(&self, what: Happening) -> BoxFuture<'_, ()>;
    /// It asks before it acts. Takes as long as people take.
    fn permission(&self, asked: PermissionAsked) -> BoxFuture<'_, Choice>;
    /// It reads a file of the workspace; `path` is absolute.
    fn read_file(&self, path: String) -> BoxFuture<'_, Result<String, String>>;
    /// It writes a file of the workspace; `path` is absolute.
    fn write_file(&self, path: String, content: String) -> BoxFuture<'_, Result<(), String>>;
    /// It runs a program in the workspace to its end.
    fn run(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecResult, String>>;
    /// The gate's tools that it may call: names of tools, names of agents whose tools they are, or `*`. `None` when there
    /// are none for it.
    fn tools(&self, wanted: &[String]) -> Option<Arc<dyn SessionTools>>;
}

/// A tool that an external agent may call.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTool {
    /// What the agent is told of it.
    pub tool: ModelTool,
    /// Whether it changes nothing.
    pub only_looks: bool,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// Whether it failed or was refused.
    pub is_error: bool,
    /// What came back, in words.
    pub content: String,
    /// The record of it.
    pub record: Option<EventId>,
}

/// The gate's tools as an external agent has them in its session: each call is an act of the session, told in its events
/// with its record, by the same policy and with the same questions to people as a call of an agent of ours.
pub trait SessionTools: Send + Sync {
    /// Those that there are.
    fn list(&self) -> Vec<OfferedTool>;
    /// Calls one. What was begun goes on when nobody waits for the answer any more.
    fn call(&self, tool: &str, input: Value) -> BoxFuture<'static, ToolAnswer>;
}

/// Answers programs that ask for a session's tools in a protocol of theirs.
pub trait ToolServer: Send + Sync {
    /// One request over HTTP, from a program that has proved that it belongs to the session.
    fn answer(&self, tools: Arc<dyn SessionTools>, call: RelayCall) -> BoxFuture<'static, RelayAnswer>;
}

/// A running agent, with our side of it.
pub(super) struct Live {
    link: Arc<dyn ExternalLink>,
    peer: Arc<Peer>,
    /// What it was told of the session last.
    told: tokio::sync::Mutex<steering::Told>,
}

impl Sessions {
    /// A turn of an external agent, from its prompt to its end.
    pub(super) async fn run_external(
        &self,
        cx: &Arc<TurnCx>,
        row: &StoredSession,
        turn: &OpenTurn,
    ) -> Result<Never, Stop> {
        if turn.sent {
            self.withdraw_questions(cx).await;
            let reason = "the server stopped while the agent was at work, and what it was told is not said twice; look at what it did, and go on with another prompt";
            return Err(Stop::Ended(TurnEnd::Failed, reason.to_owned()));
        }
        let live = tokio::select! {
            () = cx.stopped() => return Err(stop_of(cx)),
            live = self.live(cx, row) => live?,
        };
        tokio::select! {
            () = cx.stopped() => return Err(stop_of(cx)),
            told = live.hears(cx.mode(), Some(cx.session.model.as_deref())) => told.map_err(|failure| {
                Stop::Ended(TurnEnd::Failed, failure.message)
            })?,
        }
        live.peer.follow(Some(Arc::clone(cx)));
        cx.note_with(Vec::new(), |row, _| {
            if let Some(turn) = &mut row.turn {
                turn.sent = true;
            }
        })
        .await?;
        let ended = self.prompt_external(cx, &live, &turn.prompt.text).await;
        live.peer.flush(true).await;
        if let Some(used) = live.link.take_used() {
            self.count_external(cx, used).await;
        }
        if let Ok((TurnEnd::Completed, _)) = &ended {
            super::claims::hold(cx).await?;
        }
        // What the agent called and left does not go on after its turn.
        cx.cancel.cancel();
        live.peer.follow(None);
        if !live.link.is_alive() {
            self.core.links.lock().await.remove(&cx.id);
        }
        match ended {
            Ok((end, reason)) => Err(Stop::Ended(end, reason)),
            Err(stop) => Err(stop),
        }
    }

    async fn prompt_external(&self, cx: &TurnCx, live: &Live, text: &str) -> Result<(TurnEnd, String), Stop> {
        let failed = |failure: ExternalFailure| Stop::Ended(TurnEnd::Failed, failure.message);
        let span = tracing::debug_span!(
            "acp.json_rpc.request",
            otel.kind = "client",
            rpc.system = "jsonrpc",
            rpc.method = "session/prompt",
            session.id = %cx.id,
        );
        let mut prompt = live.link.prompt(text).instrument(span);
        let too_silent = tokio::select! {
            ended = &mut prompt => return ended.map_err(failed),
            () = cx.stopped() => false,
            () = silence::bear(cx, live) => true,
        };
        if !too_silent && !cx.cancel.is_cancelled() {
            // The server stops: the program ends with it, and the turn is told as cut off at the next start.
            live.link.close().await;
            return Err(Stop::Paused);
        }
        live.link.cancel().await;
        if tokio::time::timeout(CANCEL_GRACE, prompt).await.is_err() {
            live.link.close().await;
            self.core.links.lock().await.remove(&cx.id);
            let message = "the agent did not end its turn when it was told to, and was stopped".to_owned();
            live.peer.note(vec![Happening::Warning { message }]).await;
        }
        if too_silent {
            return Ok((TurnEnd::Failed, silence::reason(cx)));
        }
        Err(Stop::Cancelled)
    }

    /// The session's running agent; started when there is none.
    async fn live(&self, cx: &Arc<TurnCx>, row: &StoredSession) -> Result<Arc<Live>, Stop> {
        if let Some(live) = self.running(&cx.id).await {
            return Ok(live);
        }
        let failed = |message: String| Stop::Ended(TurnEnd::Failed, message);
        let agents = self.core.parts.external.as_ref();
        let agents = agents.ok_or_else(|| failed(format!("this server cannot start `{}`", row.session.agent)))?;
        let peer = Peer::new(self, cx);
        let wanted = ExternalWanted {
            profile: row.session.agent.clone(),
            session_id: cx.id.clone(),
            workspace_id: cx.workspace_id().map_err(failed)?,
            directory: row.session.directory.clone(),
            asker: cx.asker(),
            resume: row.external_id.clone(),
            environment: row.environment.clone(),
            mode: cx.mode(),
            model: row.session.model.clone(),
        };
        let told = steering::Told { mode: wanted.mode, model: wanted.model.clone() };
        // A session that has a past: its own, or that of the one it was forked from.
        let has_past = wanted.resume.is_some() || row.session.turns > 1;
        let span = tracing::debug_span!(
            "acp.child_process.spawn",
            otel.kind = "internal",
            otel.status_code = tracing::field::Empty,
            gen_ai.agent.name = %row.session.agent,
            session.id = %cx.id,
        );
        let opened = agents.open(wanted, Arc::clone(&peer) as Arc<dyn ExternalPeer>).instrument(span.clone()).await;
        if opened.is_err() {
            span.record("otel.status_code", "error");
        }
        drop(span);
        let opened = opened.map_err(|failure| failed(failure.message))?;
        let mut happened = Vec::new();
        if has_past && !opened.resumed {
            let message = "the agent was started anew and does not remember what was said before".to_owned();
            happened.push(Happening::Warning { message });
        }
        let external_id = opened.external_id;
        cx.note_with(happened, move |row, _| row.external_id = Some(external_id)).await?;
        let live = Arc::new(Live { link: opened.link, peer, told: tokio::sync::Mutex::new(told) });
        self.core.links.lock().await.insert(cx.id.clone(), Arc::clone(&live));
        // Whoever ended the session before it stood there could not stop it.
        if cx.stop().is_some() {
            self.stop_external(&cx.id).await;
            return Err(stop_of(cx));
        }
        Ok(live)
    }

    /// The session's running agent, if there is one.
    async fn running(&self, id: &SessionId) -> Option<Arc<Live>> {
        self.core.links.lock().await.get(id).filter(|live| live.link.is_alive()).cloned()
    }

    /// Stops a session's running agent, if there is one.
    pub(super) async fn stop_external(&self, id: &SessionId) {
        let live = self.core.links.lock().await.remove(id);
        if let Some(live) = live {
            live.link.close().await;
        }
    }

    /// Takes back what an agent that is gone has asked.
    async fn withdraw_questions(&self, cx: &TurnCx) {
        for question in &cx.session.waiting_for {
            let reason = "the agent that asked is gone";
            if let Err(error) = self.platform.cancel(&cx.who().owner, question, reason).await {
                tracing::debug!(session.id = %cx.id, "a question was not taken back: {error}");
            }
        }
    }
}

fn stop_of(cx: &TurnCx) -> Stop {
    if cx.cancel.is_cancelled() { Stop::Cancelled } else { Stop::Paused }
}
