//! Our side of the conversation with an external agent: what it tells is written down, what it asks for is asked.
//!
//! Nothing that it wants done passes by policy: its questions are acts, and so are the files that it has written and the
//! programs that it has run. Where the session's mode says so, the one it works for is asked first. An agent that asked
//! before and then does just that through us is not asked about twice.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reeve_types::session::{FileDiff, Happening, PermissionMode};
use reeve_types::workspace::processes::{ExecRequest, ExecResult};
use reeve_types::{ActionId, SessionId, TenantId, WorkspacePath};
use serde_json::{Value, json};

use super::silence::Heard;
use super::{Choice, ExternalPeer, PermissionAsked};
use crate::sessions::permission::PERMISSION_TOOL;
use crate::sessions::tools::{from_root, told_of_program};
use crate::sessions::turn::TurnCx;
use crate::sessions::unified::unified;
use crate::sessions::{Sessions, lock};

/// How often words that come in pieces are written down.
const DELTA_EVERY: Duration = Duration::from_millis(40);
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
    /// When it was heard last.
    pub(super) heard: Heard,
    sessions: Sessions,
    tenant: TenantId,
    id: SessionId,
    this: Weak<Peer>,
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
        *lock(&self.cx) = cx;
    }

    fn cx(&self) -> Option<Arc<TurnCx>> {
        lock(&self.cx).clone()
    }

    fn turn_cx(&self) -> Result<Arc<TurnCx>, String> {
        self.cx().ok_or_else(|| "no turn is in flight; nothing is done between turns".to_owned())
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
            Ok(outcome) if outcome.is_error => Choice::Reject,
            Ok(_) => Choice::Allow,
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
        let cx = self.turn_cx()?;
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
        let cx = self.turn_cx()?;
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
            action_id: None,
        }])
        .await;
        let mut unfinished = Unfinished { peer: self.this.clone(), call_id: Some(call_id.clone()) };
        let ran = self.execute_as(&cx, &call_id, title, &line, request).await;
        unfinished.call_id = None;
        let (content, is_error) = match &ran {
            Ok(result) => told_of_program(serde_json::to_value(result).ok(), String::new()),
            Err(reason) => (reason.clone(), true),
        };
        let (content, whole) = cx.fitting(content).await.map_err(|_| "the turn has ended".to_owned())?;
        self.note(vec![Happening::ToolFinished { call_id, is_error, content, whole, record: None, diffs: Vec::new() }])
            .await;
        ran
    }

    async fn execute_as(
        &self,
        cx: &TurnCx,
        call_id: &str,
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
        let ran = workspaces.execute_whole(&cx.asker(), &cx.workspace_id()?, request).await;
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

fn new_action(cx: &TurnCx) -> ActionId {
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
                    Happening::ToolCalled { turn: number, call_id, tool, title, kind, arguments, action_id }
                }
                Happening::Plan { entries, .. } => Happening::Plan { turn: number, entries },
                Happening::ToolFinished { call_id, is_error, content, record, diffs, .. } => {
                    // What the call was allowed to do is not left lying about for another.
                    lock(&self.leaves).retain(|leave| leave.call_id != call_id);
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
            let Ok(cx) = self.turn_cx() else { return Choice::Cancelled };
            self.flush(true).await;
            let looks = matches!(asked.kind.as_str(), "read" | "search" | "think");
            if cx.mode() == PermissionMode::Plan && !looks {
                let refused = format!("permission refused: {}: {ONLY_PLANS}", asked.title);
                if let Err(error) = self.sessions.record_about(&cx.session, &cx.principal, &refused).await {
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
            let cx = self.turn_cx()?;
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
}
