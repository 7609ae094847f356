//! Our side of the conversation with an external agent: what it tells is written down, what it asks for is asked.
//!
//! Nothing that it wants done passes by policy: its questions are acts, and so are the files that it has written and the
//! programs that it has run. Where the session's mode says so, the one it works for is asked first. An agent that asked
//! before and then does just that through us is not asked about twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_types::session::{FileDiff, Happening, PermissionMode};
use reeve_types::workspace::processes::{ExecRequest, ExecResult};
use reeve_types::{ActionId, EventId, SessionId, TenantId, WorkspacePath};
use serde_json::{Value, json};

use super::silence::Heard;
use super::toolbox::Toolbox;
use super::{Choice, ExternalPeer, PermissionAsked, SessionTools};
use crate::difference::unified;
use crate::sessions::permission::PERMISSION_TOOL;
use crate::sessions::tools::{from_root, told_of_program};
use crate::sessions::turn::{Stop, TurnCx};
use crate::sessions::{Sessions, lock};
use crate::workspaces::Asker;

/// How often words that come in pieces are written down.
const DELTA_EVERY: Duration = Duration::from_millis(40);
/// Most calls of one turn that are known before they have ended.
const CALLS_MAX: usize = 512;
/// Most things that were allowed and not yet done, of one turn.
const LEAVES_MAX: usize = 64;
/// What a session that only plans says.
const ONLY_PLANS: &str = "this session only plans: files are not changed and programs are not run";

/// Our side of one running agent.
pub(super) struct Peer {
    /// The turn in flight.
    cx: Mutex<Option<Arc<TurnCx>>>,
    coming: Mutex<Coming>,
    /// What the agent asked for and may do, as long as it has not had it done through us.
    leaves: Mutex<Vec<PermissionAsked>>,
    /// Calls that the agent told of and that have not ended.
    calls: Mutex<HashMap<String, Told>>,
    /// When it was heard last.
    pub(super) heard: Heard,
    pub(super) sessions: Sessions,
    tenant: TenantId,
    id: SessionId,
    this: Weak<Peer>,
}

/// A call as the agent told of it.
struct Told {
    tool: String,
    title: String,
    arguments: Value,
    /// The record of what was asked or done for it.
    record: Option<EventId>,
}

#[derive(Default)]
struct Coming {
    words: String,
    thoughts: String,
    /// The words since the last message was written down whole.
    message: String,
    flushing: bool,
}

impl Peer {
    pub(super) fn new(sessions: &Sessions, cx: &Arc<TurnCx>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            cx: Mutex::new(Some(Arc::clone(cx))),
            coming: Mutex::default(),
            leaves: Mutex::default(),
            calls: Mutex::default(),
            heard: Heard::default(),
            sessions: sessions.clone(),
            tenant: cx.tenant().clone(),
            id: cx.id.clone(),
            this: this.clone(),
        })
    }

    /// Another turn is in flight now, or none.
    pub(super) fn follow(&self, cx: Option<Arc<TurnCx>>) {
        lock(&self.leaves).clear();
        lock(&self.calls).clear();
        *lock(&self.cx) = cx;
    }

    pub(super) fn cx(&self) -> Option<Arc<TurnCx>> {
        lock(&self.cx).clone()
    }

    /// The turn in flight, with its owner as they are now. Whose key was taken back has nobody act for them any more.
    pub(super) async fn turn_cx(&self) -> Result<Arc<TurnCx>, String> {
        let cx = self.cx().ok_or_else(|| "no turn is in flight; nothing is done between turns".to_owned())?;
        match cx.look_anew().await {
            Ok(()) => Ok(cx),
            Err(Stop::Ended(_, reason)) => {
                self.note(vec![Happening::Warning { message: format!("the turn is cancelled: {reason}") }]).await;
                cx.cancel.cancel();
                Err(reason)
            }
            Err(_) => Err("the turn has ended".to_owned()),
        }
    }

    /// A call of the agent's has a record: of the question about it, or of the act that it was.
    pub(super) fn has_record(&self, call_id: &str, record: Option<EventId>) {
        if let Some(call) = lock(&self.calls).get_mut(call_id)
            && record.is_some()
        {
            call.record = record;
        }
    }

    /// The agent's own word for a call that came to us by another way, if it told of just one such call.
    pub(super) fn told_as(&self, tool: &str, input: &Value) -> Option<String> {
        let calls = lock(&self.calls);
        let ends = |name: &str| {
            name.rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .is_some_and(|last| last == tool || last.ends_with(&format!("__{tool}")))
        };
        let mut same =
            calls.iter().filter(|(_, call)| call.arguments == *input && (ends(&call.tool) || ends(&call.title)));
        let (call_id, _) = same.next()?;
        same.next().is_none().then(|| call_id.clone())
    }

    /// Writes down what was said so far; whole, when something else follows.
    pub(super) async fn flush(&self, whole: bool) {
        let mut happened = Vec::new();
        let turn = self.cx().map_or(0, |cx| cx.number);
        {
            let mut coming = lock(&self.coming);
            coming.flushing = false;
            let (words, thoughts) = (std::mem::take(&mut coming.words), std::mem::take(&mut coming.thoughts));
            if !thoughts.is_empty() {
                happened.push(Happening::Thought { turn, text: thoughts });
            }
            if !words.is_empty() {
                coming.message.push_str(&words);
                happened.push(Happening::Delta { turn, text: words });
            }
            if whole {
                let message = std::mem::take(&mut coming.message);
                if !message.trim().is_empty() {
                    happened.push(Happening::Message { turn, text: message });
                }
            }
        }
        self.note(happened).await;
    }

    pub(super) async fn note(&self, happened: Vec<Happening>) {
        if happened.is_empty() {
            return;
        }
        let noted = match self.cx() {
            Some(cx) => cx.note(happened).await.map_err(|stop| format!("{stop:?}")),
            None => self
                .sessions
                .alter(&self.tenant, &self.id, move |_, all| {
                    all.extend(happened);
                    Ok(())
                })
                .await
                .map(|_| ())
                .map_err(|error| error.to_string()),
        };
        if let Err(reason) = noted {
            tracing::debug!(session.id = %self.id, "what an agent told came too late: {reason}");
        }
    }

    fn soon(&self) {
        let mut coming = lock(&self.coming);
        if coming.flushing {
            return;
        }
        coming.flushing = true;
        if let Some(this) = self.this.upgrade() {
            tokio::spawn(async move {
                tokio::time::sleep(DELTA_EVERY).await;
                this.flush(false).await;
            });
        }
    }

    /// Asks whether the agent may: policy first, and people where it says so.
    async fn ask(&self, cx: &TurnCx, asked: &PermissionAsked) -> Choice {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let arguments = json!({
            "agent": cx.session.agent, "session_id": cx.id, "call_id": cut(&asked.call_id, 200),
            "tool": cut(&asked.tool, 100), "kind": asked.kind, "title": cut(&asked.title, 300),
            "detail": cut(&asked.detail, 8000),
        });
        let Value::Object(arguments) = arguments else { return Choice::Cancelled };
        match cx.act(&asked.call_id, &new_action(cx), PERMISSION_TOOL, arguments, None).await {
            Ok(outcome) => {
                self.has_record(&asked.call_id, outcome.record);
                if outcome.is_error { Choice::Reject } else { Choice::Allow }
            }
            Err(_) => Choice::Cancelled,
        }
    }

    /// Whether something was allowed before it is done. What was is used up by it.
    fn has_leave(&self, fits: impl Fn(&PermissionAsked) -> bool) -> bool {
        let mut leaves = lock(&self.leaves);
        let place = leaves.iter().position(fits);
        place.is_some_and(|place| {
            leaves.remove(place);
            true
        })
    }

    /// Lets something be done that the agent has not asked for, or says why not.
    async fn allow(&self, cx: &TurnCx, asked: PermissionAsked) -> Result<(), String> {
        if !cx.mode().asks(&asked.kind) {
            return Ok(());
        }
        match self.ask(cx, &asked).await {
            Choice::Allow => Ok(()),
            Choice::Reject => Err(format!("this was not allowed: {}", asked.title)),
            Choice::Cancelled => Err("the turn has ended".to_owned()),
        }
    }

    async fn save(&self, path: &WorkspacePath, content: String) -> Result<(), String> {
        let cx = self.turn_cx().await?;
        let old = cx.content_of(path).await.ok();
        let (call_id, action_id) = (format!("fs_{}", new_action(&cx)), new_action(&cx));
        self.flush(true).await;
        self.note(vec![Happening::ToolCalled {
            turn: cx.number,
            call_id: call_id.clone(),
            tool: "write_file".to_owned(),
            title: format!("Write {path}"),
            kind: "edit".to_owned(),
            arguments: json!({"path": path}),
            action_id: Some(action_id.clone()),
        }])
        .await;
        let diff = FileDiff { path: from_root(path), old: old.as_ref().map(|(text, _)| text.clone()), new: content };
        let saved = self.save_as(&cx, &call_id, &action_id, path, &diff, old.map(|(_, etag)| etag)).await;
        let (is_error, content, record) = match &saved {
            Ok(outcome) => (outcome.is_error, outcome.content.clone(), outcome.record.clone()),
            Err(reason) => (true, reason.clone(), None),
        };
        let diffs = if is_error { Vec::new() } else { vec![diff] };
        self.note(vec![Happening::ToolFinished {
            call_id,
            is_error,
            content: content.clone(),
            whole: None,
            record,
            diffs,
        }])
        .await;
        if is_error { Err(content) } else { Ok(()) }
    }

    async fn save_as(
        &self,
        cx: &TurnCx,
        call_id: &str,
        action_id: &ActionId,
        path: &WorkspacePath,
        diff: &FileDiff,
        etag: Option<String>,
    ) -> Result<crate::sessions::asking::Outcome, String> {
        if cx.mode() == PermissionMode::Plan {
            return Err(ONLY_PLANS.to_owned());
        }
        let about = |asked: &PermissionAsked| {
            matches!(asked.kind.as_str(), "edit" | "move" | "delete" | "other")
                && (asked.files.is_empty() || asked.files.contains(&diff.path))
        };
        let asked_before = self.has_leave(about);
        if !asked_before {
            let asked = PermissionAsked {
                call_id: call_id.to_owned(),
                tool: "write_file".to_owned(),
                title: format!("Write {path}"),
                kind: "edit".to_owned(),
                detail: unified(diff),
                files: vec![diff.path.clone()],
                command: None,
            };
            self.allow(cx, asked).await?;
        }
        let mut arguments = json!({
            "workspace_id": cx.workspace_id()?, "path": path, "content": diff.new, "create_parents": true,
            "origin": cx.id,
        });
        // What was shown is what is changed; somebody else's change in between is not written over.
        if let Some(etag) = etag {
            arguments["if_match"] = json!(etag);
        }
        let Value::Object(arguments) = arguments else { return Err("no arguments".to_owned()) };
        let outcome = cx.act(call_id, action_id, "workspace_save_file", arguments, None).await;
        outcome.map_err(|_| "the turn has ended".to_owned())
    }

    async fn execute(&self, request: &ExecRequest) -> Result<ExecResult, String> {
        let cx = self.turn_cx().await?;
        let action_id = new_action(&cx);
        let line = request.argv.join(" ");
        let title: String =
            format!("Run {}", said_as(&request.argv)).chars().filter(|c| !c.is_control()).take(300).collect();
        let call_id = format!("run_{}", new_action(&cx));
        self.flush(true).await;
        self.note(vec![Happening::ToolCalled {
            turn: cx.number,
            call_id: call_id.clone(),
            tool: "run_command".to_owned(),
            title: title.clone(),
            kind: "execute".to_owned(),
            arguments: json!({"argv": request.argv, "directory": request.cwd}),
            action_id: Some(action_id.clone()),
        }])
        .await;
        let mut unfinished = Unfinished { peer: self.this.clone(), call_id: Some(call_id.clone()) };
        let ran = self.execute_as(&cx, &call_id, &action_id, title, &line, request).await;
        unfinished.call_id = None;
        let record = match &ran {
            Ok(_) => cx.record_of(&action_id).await,
            Err(_) => None,
        };
        let (content, is_error) = match &ran {
            Ok(result) => told_of_program(serde_json::to_value(result).ok(), String::new()),
            Err(reason) => (reason.clone(), true),
        };
        let (content, whole) = cx.fitting(content).await.map_err(|_| "the turn has ended".to_owned())?;
        self.note(vec![Happening::ToolFinished { call_id, is_error, content, whole, record, diffs: Vec::new() }]).await;
        ran
    }

    async fn execute_as(
        &self,
        cx: &TurnCx,
        call_id: &str,
        action_id: &ActionId,
        title: String,
        line: &str,
        request: &ExecRequest,
    ) -> Result<ExecResult, String> {
        if cx.mode() == PermissionMode::Plan {
            return Err(ONLY_PLANS.to_owned());
        }
        let about = |asked: &PermissionAsked| {
            matches!(asked.kind.as_str(), "execute" | "other")
                && asked.command.as_ref().is_none_or(|command| line.contains(command.as_str()))
        };
        if !self.has_leave(about) {
            let asked = PermissionAsked {
                call_id: call_id.to_owned(),
                tool: "run_command".to_owned(),
                title,
                kind: "execute".to_owned(),
                detail: line.to_owned(),
                files: Vec::new(),
                command: Some(line.to_owned()),
            };
            self.allow(cx, asked).await?;
        }
        let workspaces = cx.workspaces()?;
        let asker = Asker { action_id: Some(action_id.clone()), ..cx.asker() };
        let ran = workspaces.execute_whole(&asker, &cx.workspace_id()?, request).await;
        ran.map_err(|error| error.to_string())
    }
}

/// A command as one types it.
fn said_as(argv: &[String]) -> String {
    match argv {
        [shell, flag, script] if shell.ends_with("sh") && matches!(flag.as_str(), "-c" | "-lc") => script.clone(),
        argv => argv.join(" "),
    }
}

/// A command whose end nobody waits for any more: that is written down, too.
struct Unfinished {
    peer: Weak<Peer>,
    call_id: Option<String>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(peer), Some(call_id)) = (self.peer.upgrade(), self.call_id.take()) else { return };
        let ended = Happening::ToolFinished {
            call_id,
            is_error: true,
            content: "It was ended before it was done.".to_owned(),
            whole: None,
            record: None,
            diffs: Vec::new(),
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { peer.note(vec![ended]).await });
        }
    }
}

pub(super) fn new_action(cx: &TurnCx) -> ActionId {
    let clock = cx.platform().clock();
    ActionId::new(clock.now(), clock.random())
}

/// A path as the agent sees it, below the workspace's root.
fn path_of(text: &str) -> Result<WorkspacePath, String> {
    text.parse::<WorkspacePath>().map_err(|problem| problem.to_string())
}

impl ExternalPeer for Peer {
    fn said(&self, text: String) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.heard.now();
            lock(&self.coming).words.push_str(&text);
            self.soon();
        })
    }

    fn thought(&self, text: String) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.heard.now();
            lock(&self.coming).thoughts.push_str(&text);
            self.soon();
        })
    }

    fn happened(&self, what: Happening) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.heard.now();
            self.flush(!matches!(what, Happening::ToolProgress { .. } | Happening::Commands { .. })).await;
            let number = self.cx().map_or(0, |cx| cx.number);
            let what = match what {
                Happening::ToolCalled { call_id, tool, title, kind, arguments, action_id, .. } => {
                    let told =
                        Told { tool: tool.clone(), title: title.clone(), arguments: arguments.clone(), record: None };
                    let mut calls = lock(&self.calls);
                    if calls.len() < CALLS_MAX || calls.contains_key(&call_id) {
                        let before = calls.insert(call_id.clone(), told).and_then(|before| before.record);
                        if let (Some(call), Some(record)) = (calls.get_mut(&call_id), before) {
                            call.record = Some(record);
                        }
                    }
                    drop(calls);
                    Happening::ToolCalled { turn: number, call_id, tool, title, kind, arguments, action_id }
                }
                Happening::Plan { entries, .. } => Happening::Plan { turn: number, entries },
                Happening::ToolFinished { call_id, is_error, content, record, diffs, .. } => {
                    // What the call was allowed to do is not left lying about for another.
                    lock(&self.leaves).retain(|leave| leave.call_id != call_id);
                    let told = lock(&self.calls).remove(&call_id);
                    let record = record.or_else(|| told?.record);
                    let (content, whole) = match self.cx() {
                        Some(cx) => match cx.fitting(content).await {
                            Ok(fitting) => fitting,
                            Err(_) => return,
                        },
                        None => (content.chars().take(4000).collect(), None),
                    };
                    Happening::ToolFinished { call_id, is_error, content, whole, record, diffs }
                }
                other => other,
            };
            self.note(vec![what]).await;
        })
    }

    fn permission(&self, asked: PermissionAsked) -> BoxFuture<'_, Choice> {
        Box::pin(async move {
            let _busy = self.heard.busy();
            let Ok(cx) = self.turn_cx().await else { return Choice::Cancelled };
            self.flush(true).await;
            let looks = matches!(asked.kind.as_str(), "read" | "search" | "think");
            if cx.mode() == PermissionMode::Plan && !looks {
                let refused = format!("permission refused: {}: {ONLY_PLANS}", asked.title);
                if let Err(error) = self.sessions.record_about(&cx.session, &cx.who().principal, &refused).await {
                    tracing::warn!(session.id = %self.id, "a refusal was not recorded: {error}");
                }
                return Choice::Reject;
            }
            let choice = self.ask(&cx, &asked).await;
            let mut leaves = lock(&self.leaves);
            if choice == Choice::Allow && !looks && leaves.len() < LEAVES_MAX {
                leaves.push(asked);
            }
            choice
        })
    }

    fn read_file(&self, path: String) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let _busy = self.heard.busy();
            let cx = self.turn_cx().await?;
            Ok(cx.content_of(&path_of(&path)?).await?.0)
        })
    }

    fn write_file(&self, path: String, content: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let _busy = self.heard.busy();
            self.save(&path_of(&path)?, content).await
        })
    }

    fn run(&self, request: ExecRequest) -> BoxFuture<'_, Result<ExecResult, String>> {
        Box::pin(async move {
            let _busy = self.heard.busy();
            self.execute(&request).await
        })
    }

    fn tools(&self, wanted: &[String]) -> Option<Arc<dyn SessionTools>> {
        Toolbox::of(self.this.upgrade()?, wanted)
    }
}
