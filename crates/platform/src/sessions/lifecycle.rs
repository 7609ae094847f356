//! Making sessions, finding them, and what is said of them.

use std::collections::VecDeque;

use reeve_store::{NewSession, SessionFilter, StoredSession};
use reeve_types::model::Usage;
use reeve_types::session::{Grant, Happening, PermissionMode, Session, SessionState, TITLE_CHARS_MAX};
use reeve_types::{ApprovalId, Digest, EventType, Principal, ProblemCode, SessionId, WorkspaceId};
use serde::{Deserialize, Serialize};
use tracing::field::{Empty, display};

use super::external::Changed;
use super::{NO_MODEL, SessionError, Sessions};
use crate::Permission;

/// Most sessions of one owner in a turn at the same time.
const TURNS_PER_OWNER_MAX: usize = 50;
/// Longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 200;

/// A session to be made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewSessionWanted {
    /// With which agent; `general` when absent, `coder` when a workspace is named.
    pub agent: Option<String>,
    /// What people call it.
    #[serde(alias = "name", alias = "label")]
    pub title: Option<String>,
    /// The first prompt.
    pub prompt: Option<String>,
    /// The model, if not the agent's own or the server's default.
    pub model: Option<String>,
    /// The workspace that it works in.
    pub workspace_id: Option<WorkspaceId>,
    /// The directory in the workspace that it works in.
    pub directory: String,
    /// A directory of the host: the session works in a workspace on it, which is made if the caller has none.
    #[serde(alias = "workDir")]
    pub work_dir: Option<String>,
    /// What the agent must ask the one it works for.
    #[serde(alias = "permissionMode")]
    pub mode: PermissionMode,
    /// The session that it belongs to.
    pub parent: Option<SessionId>,
    /// Environment variables for an external agent.
    pub env: std::collections::BTreeMap<String, String>,
}

/// Where a session is to be continued from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForkSession {
    /// The last event that the new one shares; the newest when absent.
    pub at: Option<u64>,
    /// What people call it.
    #[serde(alias = "name")]
    pub title: Option<String>,
    /// Its first own prompt.
    pub prompt: Option<String>,
}

/// What is to be said differently of a session. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPatch {
    /// Its new title.
    pub title: Option<String>,
    /// Whether it is put away.
    pub archived: Option<bool>,
    /// The model from the next turn on; empty for the default.
    pub model: Option<String>,
    /// What the agent must ask from now on.
    pub mode: Option<PermissionMode>,
}

/// Part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<SessionId>,
}

impl Sessions {
    /// Makes a session, and begins its first turn when it comes with a prompt.
    ///
    /// # Errors
    ///
    /// There is no such agent, it cannot be used now, or it lacks the workspace it needs.
    pub async fn create(&self, caller: &Principal, wanted: NewSessionWanted) -> Result<Session, SessionError> {
        let prompt = wanted.prompt.clone();
        let made = self.make(caller, wanted).await?;
        match prompt {
            None => Ok(made),
            Some(text) => {
                self.prompt(caller, &made.id, &text).await?;
                self.get(caller, &made.id).await
            }
        }
    }

    #[tracing::instrument(
        level = "debug",
        name = "session.create",
        skip_all,
        fields(otel.kind = "internal", session.id = Empty, gen_ai.agent.name = Empty)
    )]
    async fn make(&self, caller: &Principal, mut wanted: NewSessionWanted) -> Result<Session, SessionError> {
        let work_dir = wanted.work_dir.take().filter(|path| !path.is_empty());
        if work_dir.is_some() && wanted.workspace_id.is_some() {
            return Err(bad("`work_dir` and `workspace_id` name two places to work in; leave one out"));
        }
        let default = if wanted.workspace_id.is_some() || work_dir.is_some() { "coder" } else { "general" };
        let name = wanted.agent.as_deref().filter(|name| !name.is_empty()).unwrap_or(default);
        let agents = self.agents(&caller.tenant);
        let agent = agents.iter().find(|agent| agent.name == name).ok_or_else(|| {
            let known: Vec<_> = agents.iter().map(|agent| agent.name.as_str()).collect();
            bad(format!("there is no agent `{}`; there are {}", short(name), known.join(", ")))
        })?;
        if let Some(reason) = &agent.unavailable {
            return Err(SessionError::new(ProblemCode::Unavailable, format!("`{name}` cannot be used: {reason}")));
        }
        if agent.needs_workspace && wanted.workspace_id.is_none() && work_dir.is_none() {
            return Err(bad(format!("`{name}` works in a workspace; name one in `workspace_id`")));
        }
        if let Some(id) = &wanted.workspace_id {
            let workspaces = self.platform.workspaces().ok_or_else(|| bad("this server has no workspaces"))?;
            workspaces.get(caller, id).await?;
        }
        if let Some(parent) = &wanted.parent {
            self.visible(caller, parent).await?;
        }
        let directory = checked_directory(&wanted.directory)?;
        let title = match wanted.title.as_deref().or(wanted.prompt.as_deref()) {
            Some(text) => checked_title(text, wanted.title.is_some())?,
            None => "New session".to_owned(),
        };
        wanted.model.as_deref().map(check_model_name).transpose()?;
        let model = wanted
            .model
            .clone()
            .filter(|model| !model.is_empty())
            .or_else(|| self.core.parts.definitions.get(name).and_then(|d| d.model.clone()));
        if let Some(model) = &model
            && agent.kind == "own"
            && self.core.parts.models.list(&caller.tenant).is_empty()
        {
            return Err(SessionError::new(ProblemCode::Unavailable, format!("`{}`: {NO_MODEL}", short(model))));
        }
        if let Some(prompt) = &wanted.prompt {
            super::prompting::check_prompt(prompt)?;
        }
        let environment = match super::external::checked_environment(&wanted.env) {
            Ok(environment) => environment,
            Err(error) => {
                self.record_environment_refused(caller, name, &error).await?;
                return Err(error);
            }
        };
        // Everything else has been looked at: a session that is refused leaves no workspace behind.
        if let Some(path) = &work_dir {
            wanted.workspace_id = Some(Box::pin(self.workspace_on(caller, path)).await?);
        }
        let now = self.platform.clock().now();
        let session = Session {
            id: SessionId::new(now, self.platform.clock().random()),
            tenant: caller.tenant.clone(),
            owner: caller.root().label(),
            title: title.clone(),
            agent: agent.name.clone(),
            model,
            workspace_id: wanted.workspace_id,
            directory,
            mode: wanted.mode,
            state: SessionState::Idle,
            reason: String::new(),
            queued: 0,
            waiting_for: Vec::new(),
            grants: Vec::new(),
            parent: wanted.parent.clone(),
            usage: Usage::default(),
            turns: 0,
            archived: false,
            last_seq: 0,
            created_at: now,
            updated_at: now,
        };
        let created = Happening::Created { agent: agent.name.clone(), title, parent: wanted.parent };
        let row = StoredSession {
            session,
            principal: caller.clone(),
            queue: VecDeque::new(),
            turn: None,
            calls: 0,
            external_id: None,
            environment,
        };
        self.record(&row, "session.create").await?;
        let (row, events) = self.platform.store().add_session(NewSession { row, events: vec![created] }, now).await?;
        self.tell(&row, events);
        let span = tracing::Span::current();
        span.record("session.id", display(&row.session.id));
        span.record("gen_ai.agent.name", row.session.agent.as_str());
        Ok(row.session)
    }

    /// An environment that was refused may have been an attempt to change what programs of the server trust.
    async fn record_environment_refused(
        &self,
        caller: &Principal,
        agent: &str,
        error: &SessionError,
    ) -> Result<(), SessionError> {
        let mut event = self.platform.event(EventType::Lifecycle, &caller.tenant, self.platform.new_trace("ses"));
        event.principal = Some(caller.clone());
        agent.clone_into(&mut event.session.agent_name);
        event.note = format!("session.env.rejected: {error}");
        Ok(self.platform.record(event).await?)
    }

    /// One session.
    ///
    /// # Errors
    ///
    /// There is none of this id for the caller.
    pub async fn get(&self, caller: &Principal, id: &SessionId) -> Result<Session, SessionError> {
        Ok(self.visible(caller, id).await?.session)
    }

    /// Sessions, newest first: one's own, and for administrators those of everybody in the tenant.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn list(&self, caller: &Principal, mut filter: SessionFilter) -> Result<SessionPage, SessionError> {
        if !Permission::Administer.allows(caller) {
            filter.owner = Some(caller.root().label());
        }
        let limit = if filter.limit == 0 { 50 } else { filter.limit.min(200) };
        filter.limit = limit + 1;
        let rows = self.platform.store().sessions(&caller.tenant, filter).await?;
        let page = rows.get(..limit);
        let next_cursor =
            page.and_then(|page| page.last()).filter(|_| rows.len() > limit).map(|row| row.session.id.clone());
        let sessions = page.unwrap_or(&rows).iter().map(|row| row.session.clone()).collect();
        Ok(SessionPage { sessions, next_cursor })
    }

    /// Says other things of a session.
    ///
    /// # Errors
    ///
    /// The title or the model makes no sense, or the agent that runs does not offer the model.
    pub async fn patch(
        &self,
        caller: &Principal,
        id: &SessionId,
        patch: SessionPatch,
    ) -> Result<Session, SessionError> {
        let title = patch.title.as_deref().map(|title| checked_title(title, true)).transpose()?;
        if let Some(model) = &patch.model {
            check_model_name(model)?;
            let row = self.visible(caller, id).await?;
            self.check_model(&row, Some(model.as_str()).filter(|model| !model.is_empty())).await?;
        }
        let (row, changed) = self
            .change(caller, id, move |row, happened| {
                let mut changed = Changed::default();
                if let Some(title) = title.filter(|title| *title != row.session.title) {
                    row.session.title.clone_from(&title);
                    happened.push(Happening::Renamed { title });
                }
                if let Some(archived) = patch.archived.filter(|archived| *archived != row.session.archived) {
                    row.session.archived = archived;
                    happened.push(Happening::Archived { archived });
                }
                if let Some(mode) = patch.mode.filter(|mode| *mode != row.session.mode) {
                    row.session.mode = mode;
                    happened.push(Happening::Mode { mode: mode.as_str().to_owned() });
                    changed.mode = true;
                }
                if let Some(model) = patch.model.filter(|model| row.session.model.as_deref().unwrap_or("") != model) {
                    row.session.model = Some(model.clone()).filter(|model| !model.is_empty());
                    happened.push(Happening::Model { model, offered: Vec::new() });
                    changed.model = true;
                }
                Ok(changed)
            })
            .await?;
        self.steer(&row, changed);
        Ok(row.session)
    }

    /// Ends a session: what is in flight is cancelled, what waits is dropped, an external agent is stopped.
    ///
    /// # Errors
    ///
    /// It is closed already.
    #[tracing::instrument(
        level = "debug",
        name = "session.kill",
        skip_all,
        fields(otel.kind = "internal", session.id = %id)
    )]
    pub async fn kill(&self, caller: &Principal, id: &SessionId, reason: &str) -> Result<Session, SessionError> {
        let (by, reason) = (caller.label(), reason.chars().take(500).collect::<String>());
        let row = self.visible(caller, id).await?;
        self.record(&row, "session.kill").await?;
        let (row, ()) = self
            .change(caller, id, move |row, happened| {
                if row.session.state == SessionState::Closed {
                    return Err("the session is closed already".to_owned());
                }
                super::turn::end_in_row(
                    row,
                    happened,
                    reeve_types::session::TurnEnd::Cancelled,
                    "the session was ended",
                );
                for waiting in row.queue.drain(..) {
                    happened.push(Happening::PromptDropped { prompt_id: waiting.id });
                }
                row.session.state = SessionState::Closed;
                row.session.reason.clone_from(&reason);
                happened.push(Happening::Closed { by, reason });
                Ok(())
            })
            .await?;
        self.stop_turn(id);
        self.stop_external(id).await;
        self.close_terminals(&row).await;
        Ok(row.session)
    }

    /// Takes a closed or failed session up again.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub async fn resume(&self, caller: &Principal, id: &SessionId) -> Result<Session, SessionError> {
        let by = caller.label();
        let (row, ()) = self
            .change(caller, id, move |row, happened| {
                if !matches!(row.session.state, SessionState::Closed | SessionState::Failed) {
                    return Err(format!(
                        "the session is {}; only a closed or failed one is resumed",
                        row.session.state
                    ));
                }
                (row.session.state, row.session.reason) = (SessionState::Idle, String::new());
                happened.push(Happening::Resumed { by });
                Ok(())
            })
            .await?;
        Ok(row.session)
    }

    /// A new session that shares another's events up to one of them.
    ///
    /// # Errors
    ///
    /// There is no such event, or the new one cannot be begun.
    pub async fn fork(&self, caller: &Principal, id: &SessionId, wanted: ForkSession) -> Result<Session, SessionError> {
        let from = self.visible(caller, id).await?;
        let upto = wanted.at.unwrap_or(from.session.last_seq);
        if upto == 0 || upto > from.session.last_seq {
            return Err(bad(format!(
                "the session has events 1 to {}; there is no event {upto}",
                from.session.last_seq
            )));
        }
        if let Some(prompt) = &wanted.prompt {
            super::prompting::check_prompt(prompt)?;
        }
        let title = match &wanted.title {
            Some(title) => checked_title(title, true)?,
            None => checked_title(&format!("{} (fork)", from.session.title), false)?,
        };
        let now = self.platform.clock().now();
        let new_id = SessionId::new(now, self.platform.clock().random());
        let session = Session {
            id: new_id.clone(),
            owner: caller.root().label(),
            title: title.clone(),
            state: SessionState::Idle,
            reason: String::new(),
            queued: 0,
            waiting_for: Vec::new(),
            grants: Vec::new(),
            parent: Some(id.clone()),
            usage: Usage::default(),
            last_seq: 0,
            archived: false,
            created_at: now,
            updated_at: now,
            ..from.session.clone()
        };
        let row = StoredSession {
            session,
            principal: caller.clone(),
            queue: VecDeque::new(),
            turn: None,
            calls: from.calls,
            external_id: None,
            environment: from.environment.clone(),
        };
        self.record(&row, "session.fork").await?;
        let created = Happening::Created { agent: from.session.agent.clone(), title, parent: Some(id.clone()) };
        let new = NewSession { row, events: vec![created] };
        let (row, events) = self.platform.store().fork_session(new, id, upto, now).await?;
        self.tell(&row, events);
        if let Some(text) = wanted.prompt {
            self.prompt(caller, &new_id, &text).await?;
        }
        self.get(caller, &new_id).await
    }

    /// A text that an event refers to because it was too long for it.
    ///
    /// # Errors
    ///
    /// There is none of this digest.
    pub async fn kept_text(&self, caller: &Principal, id: &SessionId, digest: Digest) -> Result<String, SessionError> {
        self.visible(caller, id).await?;
        let found = self.platform.store().session_text(id, digest).await?;
        found.ok_or_else(|| SessionError::new(ProblemCode::NotFound, format!("the session keeps no text `{digest}`")))
    }

    /// What a yes to a question would allow for as long as the session lasts.
    pub(super) async fn grant_for(
        &self,
        caller: &Principal,
        id: &SessionId,
        question: &ApprovalId,
    ) -> Result<Grant, SessionError> {
        let approval = self.platform.approval(&caller.tenant, question).await?;
        if !super::permission::is_owners_question(&approval) {
            return Err(SessionError::conflict(
                "only what an agent asks of the one it works for can be allowed for a whole session; policy asks anew each time",
            ));
        }
        let text =
            |key: &str| approval.arguments.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        if text("session_id") != id.as_str() {
            return Err(SessionError::conflict("that question is another session's"));
        }
        let at = self.platform.clock().now();
        Ok(Grant { tool: text("tool"), kind: text("kind"), by: caller.label(), at })
    }

    /// Allows acts of one kind for as long as the session lasts.
    pub(super) async fn grant(&self, caller: &Principal, id: &SessionId, grant: Grant) -> Result<(), SessionError> {
        self.change(caller, id, move |row, happened| {
            if !row.session.grants.iter().any(|known| known.tool == grant.tool && known.kind == grant.kind) {
                row.session.grants.push(grant.clone());
                happened.push(Happening::Granted { grant, revoked: false });
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Takes a grant back.
    ///
    /// # Errors
    ///
    /// There is none of this tool and kind.
    pub async fn revoke(
        &self,
        caller: &Principal,
        id: &SessionId,
        tool: &str,
        kind: &str,
    ) -> Result<Session, SessionError> {
        let (tool, kind) = (tool.to_owned(), kind.to_owned());
        let (row, ()) = self
            .change(caller, id, move |row, happened| {
                let found = row.session.grants.iter().position(|grant| grant.tool == tool && grant.kind == kind);
                let Some(place) = found else { return Err(format!("the session has no grant for `{tool}`")) };
                let grant = row.session.grants.remove(place);
                happened.push(Happening::Granted { grant, revoked: true });
                Ok(())
            })
            .await?;
        Ok(row.session)
    }

    /// Records what is done about a session, before it is done.
    pub(super) async fn record(&self, row: &StoredSession, what: &str) -> Result<(), SessionError> {
        self.record_about(&row.session, &row.principal, &format!("{what}: {}", row.session.title)).await
    }

    /// Records something about a session, done or refused in somebody's name.
    pub(super) async fn record_about(
        &self,
        session: &Session,
        who: &Principal,
        note: &str,
    ) -> Result<(), SessionError> {
        let trace = self.platform.new_trace("ses");
        let mut event = self.platform.event(EventType::Lifecycle, &session.tenant, trace);
        event.principal = Some(who.clone());
        event.session.id = session.id.to_string();
        event.session.agent_name.clone_from(&session.agent);
        note.clone_into(&mut event.note);
        self.platform.record(event).await?;
        Ok(())
    }

    /// Whether one more turn of this owner may begin.
    pub(super) async fn check_room(&self, row: &StoredSession) -> Result<(), SessionError> {
        let filter = SessionFilter {
            owner: Some(row.session.owner.clone()),
            state: Some(SessionState::Running),
            limit: TURNS_PER_OWNER_MAX + 1,
            ..SessionFilter::default()
        };
        let running = self.platform.store().sessions(&row.session.tenant, filter).await?.len();
        if running >= TURNS_PER_OWNER_MAX {
            return Err(SessionError::new(
                ProblemCode::QuotaReached,
                format!("{TURNS_PER_OWNER_MAX} of your sessions are working already; wait for one or cancel it"),
            ));
        }
        Ok(())
    }
}

fn bad(message: impl Into<String>) -> SessionError {
    SessionError::new(ProblemCode::BadRequest, message)
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A title of one line. One that people gave must fit; one that is made of a prompt is cut.
fn checked_title(text: &str, given: bool) -> Result<String, SessionError> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("New session");
    let clean: String = line.chars().filter(|c| !c.is_control()).collect();
    if given && clean.chars().count() > TITLE_CHARS_MAX {
        return Err(bad(format!("a title has at most {TITLE_CHARS_MAX} characters")));
    }
    Ok(if given { clean } else { clean.chars().take(80).collect() })
}

/// The name of a model, as it may be shown and told to programs.
fn check_model_name(model: &str) -> Result<(), SessionError> {
    if model.len() > MODEL_BYTES_MAX || model.chars().any(char::is_control) {
        return Err(bad(format!("a model's name has at most {MODEL_BYTES_MAX} bytes and no control characters")));
    }
    Ok(())
}

fn checked_directory(text: &str) -> Result<String, SessionError> {
    let trimmed = text.trim_start_matches("/workspace").trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let path: reeve_types::WorkspacePath =
        trimmed.parse().map_err(|error: reeve_types::workspace::PathProblem| bad(format!("`directory`: {error}")))?;
    Ok(path.to_string())
}
