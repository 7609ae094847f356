//! `reeve session`, `reeve agents`, `reeve models`: agents at work, from a terminal.

use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use serde_json::{Value, json};

use super::Session;
use super::diagnose::put;
use crate::client::{Ask, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::entries;
use crate::render::sessions::{self, Telling};

/// How long a check of models may take.
const CHECKING: Duration = Duration::from_secs(120);

/// Begin, follow and steer sessions of agents
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve session create 'why is shop slow?' --agent database --attach
  reeve session list --state waiting
  reeve session send ses_01jd… 'and the replica?'
  reeve session approve ses_01jd… --reason 'looks right'
  reeve session export ses_01jd… --format markdown > talk.md")]
pub(super) struct SessionCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Begin a session
    Create {
        /// What to say first
        prompt: Vec<String>,
        #[command(flatten)]
        begin: Begin,
        /// Follow it until the turn ends
        #[arg(long)]
        attach: bool,
    },
    /// List one's sessions, newest first; an administrator sees everybody's
    List {
        /// Only those that are idle, running, waiting, failed or closed
        #[arg(long)]
        state: Option<String>,
        /// Only of this agent
        #[arg(long)]
        agent: Option<String>,
        /// Only with these words in the title
        #[arg(long)]
        search: Option<String>,
        /// Those that were put away
        #[arg(long)]
        archived: bool,
        /// At most so many, up to 200
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Those before this one: the last id of the list before
        #[arg(long, value_name = "SES")]
        before: Option<String>,
    },
    /// Show one session
    Show {
        /// Its id, `ses_…`
        id: String,
    },
    /// Say something to a session's agent
    Send {
        /// Its id, `ses_…`
        id: String,
        /// The words
        #[arg(required = true)]
        text: Vec<String>,
        /// Follow it until the turn ends
        #[arg(long)]
        attach: bool,
    },
    /// Follow a session: what was said, and what comes
    Attach {
        /// Its id, `ses_…`
        id: String,
        /// Begin after this event
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Go on after the turn has ended
        #[arg(long)]
        keep: bool,
    },
    /// Say yes to what a session waits for
    Approve {
        /// Its id, `ses_…`
        id: String,
        #[command(flatten)]
        answer: Answering,
        /// Allow such acts for the rest of the session
        #[arg(long)]
        remember: bool,
    },
    /// Say no to what a session waits for
    Reject {
        /// Its id, `ses_…`
        id: String,
        #[command(flatten)]
        answer: Answering,
    },
    /// Take back what was allowed for the rest of the session; `show` lists it
    Revoke {
        /// Its id, `ses_…`
        id: String,
        /// For this tool
        #[arg(long)]
        tool: String,
        /// For this kind of call: edit, execute …
        #[arg(long, default_value = "")]
        kind: String,
    },
    /// End the turn in flight and drop what waits
    Interrupt {
        /// Its id, `ses_…`
        id: String,
    },
    /// End the turn in flight; what waits begins
    Cancel {
        /// Its id, `ses_…`
        id: String,
    },
    /// End a session
    Kill {
        /// Its id, `ses_…`
        id: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a closed or failed session up again
    Resume {
        /// Its id, `ses_…`
        id: String,
    },
    /// Begin another session that shares this one's past
    Fork {
        /// Its id, `ses_…`
        id: String,
        /// The last event that it shares; the newest when absent
        #[arg(long)]
        at: Option<u64>,
        /// What to say in the new one
        #[arg(long)]
        prompt: Option<String>,
    },
    /// Write a session down
    Export {
        /// Its id, `ses_…`
        id: String,
        /// `jsonl`, one event a line, or `markdown`
        #[arg(long, default_value = "markdown")]
        format: String,
    },
}

/// With what a session begins.
#[derive(Debug, Args)]
pub(super) struct Begin {
    /// The agent: see `reeve agents list`
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// The model, provider/model, if not the usual one
    #[arg(long)]
    pub(super) model: Option<String>,
    /// The workspace that it works in
    #[arg(long, value_name = "WSP")]
    pub(super) workspace: Option<String>,
    /// The directory in the workspace that it works in
    #[arg(long, value_name = "PATH", requires = "workspace")]
    pub(super) directory: Option<String>,
    /// A directory of the host to work on, where the server allows it
    #[arg(long, value_name = "PATH", conflicts_with = "workspace")]
    pub(super) work_dir: Option<String>,
    /// What the agent must ask: ask, accept_edits, plan or auto
    #[arg(long)]
    pub(super) mode: Option<String>,
    /// The session that it belongs to
    #[arg(long, value_name = "SES")]
    pub(super) parent: Option<String>,
    /// A variable for an external agent's environment; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// What to call it
    #[arg(long)]
    pub(super) title: Option<String>,
}

impl Begin {
    pub(super) fn body(&self, prompt: &str) -> Value {
        let mut body = json!({});
        put(&mut body, "agent", self.agent.as_deref());
        put(&mut body, "model", self.model.as_deref());
        put(&mut body, "workspace_id", self.workspace.as_deref());
        put(&mut body, "directory", self.directory.as_deref());
        put(&mut body, "work_dir", self.work_dir.as_deref());
        put(&mut body, "mode", self.mode.as_deref());
        put(&mut body, "parent", self.parent.as_deref());
        if !self.env.is_empty() {
            body["env"] = self.env.iter().cloned().map(|(name, value)| (name, Value::from(value))).collect();
        }
        put(&mut body, "title", self.title.as_deref());
        put(&mut body, "prompt", Some(prompt).filter(|prompt| !prompt.trim().is_empty()));
        body
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
struct Answering {
    /// Which question, when there is more than one
    #[arg(long, value_name = "APR")]
    approval: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(command: SessionCommand, session: &mut Session) -> Outcome {
    match command.what {
        What::Create { prompt, begin, attach } => {
            let ask = Ask::post("/sessions", &begin.body(&prompt.join(" ")));
            let answer = session.fetch(Reach::Server, "beginning a session", ask).await?;
            let id = crate::render::field(&answer.json()?, "id");
            if attach && !prompt.is_empty() {
                return follow(session, &id, 0, Until::TurnEnds).await;
            }
            session.show(&answer, sessions::one)
        }
        What::List { state, agent, search, archived, limit, before } => {
            let ask = Ask::get("/sessions").with("state", state).with("agent", agent).with("search", search);
            let ask =
                ask.with("archived", archived.then_some("true")).with("limit", Some(limit)).with("cursor", before);
            let answer = session.fetch(Reach::Server, "reading", ask).await?;
            session.show(&answer, |list, look| sessions::list(entries(list, "sessions"), look))
        }
        What::Show { id } => one(session, "reading", Ask::get(path(&id, ""))).await,
        What::Send { id, text, attach } => {
            let last = last_seq(session, &id).await?;
            let ask = Ask::post(path(&id, "/prompts"), &json!({"text": text.join(" ")}));
            let answer = session.fetch(Reach::Server, "saying it", ask).await?;
            if attach {
                return follow(session, &id, last, Until::TurnEnds).await;
            }
            session.show(&answer, |accepted, _| match accepted.get("position").and_then(Value::as_u64) {
                Some(0) | None => "taken in; the agent is at it".to_owned(),
                Some(n) => format!("taken in; it waits for {n} before it"),
            })
        }
        What::Attach { id, after, keep } => {
            follow(session, &id, after, if keep { Until::Interrupted } else { Until::TurnEnds }).await
        }
        What::Approve { id, answer, remember } => settle(session, &id, "approve", answer, remember).await,
        What::Reject { id, answer } => settle(session, &id, "reject", answer, false).await,
        What::Revoke { id, tool, kind } => {
            let ask = Ask::delete(path(&id, "/grants")).with("tool", Some(tool)).with("kind", Some(kind));
            one(session, "taking it back", ask).await
        }
        What::Interrupt { id } => told(session, &id, "interrupt", "the turn is being ended").await,
        What::Cancel { id } => told(session, &id, "cancel", "the turn is being ended").await,
        What::Kill { id, reason } => {
            let mut body = json!({});
            put(&mut body, "reason", reason.as_deref());
            one(session, "ending", Ask::post(path(&id, "/kill"), &body)).await
        }
        What::Resume { id } => one(session, "taking up", Ask::post(path(&id, "/resume"), &json!({}))).await,
        What::Fork { id, at, prompt } => {
            let mut body = json!({});
            put(&mut body, "prompt", prompt.as_deref());
            if let Some(at) = at {
                body["at"] = json!(at);
            }
            one(session, "forking", Ask::post(path(&id, "/fork"), &body)).await
        }
        What::Export { id, format } => {
            let ask = Ask::get(path(&id, "/export")).with("format", Some(format)).patience(CHECKING);
            let answer = session.fetch(Reach::Server, "reading", ask).await?;
            session.term.print_output(&answer.text)?;
            Ok(exit::DONE)
        }
    }
}

pub(super) fn path(id: &str, below: &str) -> String {
    format!("/sessions/{}{below}", escape(id))
}

async fn one(session: &mut Session, doing: &str, ask: Ask) -> Outcome {
    let answer = session.fetch(Reach::Server, doing, ask).await?;
    session.show(&answer, sessions::one)
}

async fn told(session: &mut Session, id: &str, verb: &str, words: &str) -> Outcome {
    let ask = Ask::post(path(id, &format!("/{verb}")), &json!({}));
    let answer = session.fetch(Reach::Server, "telling it", ask).await?;
    session.show(&answer, |_, _| words.to_owned())
}

async fn settle(session: &mut Session, id: &str, verb: &str, answer: Answering, remember: bool) -> Outcome {
    let mut body = json!({});
    put(&mut body, "approval_id", answer.approval.as_deref());
    put(&mut body, "reason", answer.reason.as_deref());
    if remember {
        body["remember"] = json!(true);
    }
    let ask = Ask::post(path(id, &format!("/{verb}")), &body);
    let answer = session.fetch(Reach::Server, "answering", ask).await?;
    session.show(&answer, crate::render::approvals::settled)
}

pub(super) async fn last_seq(session: &mut Session, id: &str) -> Result<u64, Failure> {
    let answer = session.fetch(Reach::Server, "reading", Ask::get(path(id, ""))).await?;
    Ok(answer.json()?.get("last_seq").and_then(Value::as_u64).unwrap_or(0))
}

/// How long a session is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    TurnEnds,
    Interrupted,
}

/// Tells what happens in a session: what there is, and then what comes, until no turn is in flight. Ends with bad news when
/// the last turn did.
async fn follow(session: &mut Session, id: &str, after: u64, until: Until) -> Outcome {
    let mut events = Events::open(session, id, after).await?;
    let mut telling = Telling::new(session.term.look());
    let mut code = exit::DONE;
    loop {
        // Nothing is in flight and everything has been told: there is nothing to wait for.
        if until == Until::TurnEnds && events.is_at_end() {
            let (at_work, last) = standing(session, id).await?;
            if !at_work && events.last >= last {
                return Ok(code);
            }
        }
        let Some(event) = events.next().await? else {
            events = events.again(session, id).await?;
            continue;
        };
        if session.json {
            session.term.print_json(&event)?;
        } else {
            session.term.print_part(&telling.tell(&event))?;
        }
        if let Happening::TurnEnded { end, .. } = event.what {
            let bad = matches!(end, TurnEnd::Failed | TurnEnd::LimitReached | TurnEnd::Refused);
            code = if bad { exit::BAD_NEWS } else { exit::DONE };
        }
    }
}

/// Whether a turn is in flight, and the newest event.
async fn standing(session: &mut Session, id: &str) -> Result<(bool, u64), Failure> {
    let answer = session.fetch(Reach::Server, "reading", Ask::get(path(id, ""))).await?.json()?;
    let at_work = matches!(crate::render::field(&answer, "state").as_str(), "running" | "waiting");
    Ok((at_work, answer.get("last_seq").and_then(Value::as_u64).unwrap_or(0)))
}

/// How long a server that went away is waited for.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// The pause between two attempts to reach it.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The events of a session as they come (server-sent events).
pub(super) struct Events {
    chunks: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Vec<u8>, String>>>>,
    buffer: Vec<u8>,
    /// Whether the last event left no turn in flight, as far as it tells.
    resting: bool,
    /// The last event that came.
    pub(super) last: u64,
}

impl Events {
    pub(super) async fn open(session: &mut Session, id: &str, after: u64) -> Result<Self, Failure> {
        let ask = Ask::get(path(id, "/events")).with("after", Some(after)).header("accept", "text/event-stream");
        let chunks = session.client(Reach::Server).await?.stream(ask).await?;
        Ok(Self { chunks, buffer: Vec::new(), resting: true, last: after })
    }

    /// The same from where it broke off, as soon as the server is back.
    pub(super) async fn again(self, session: &mut Session, id: &str) -> Result<Self, Failure> {
        session.term.note("the server is away; waiting for it to come back (the session goes on by itself)");
        let (after, resting, gone) = (self.last, self.resting, std::time::Instant::now());
        drop(self);
        loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            match Self::open(session, id, after).await {
                Ok(events) => {
                    session.term.note("the server is back");
                    return Ok(Self { resting, ..events });
                }
                Err(failure) if failure.code != exit::COULD_NOT || gone.elapsed() > AWAY_MAX => return Err(failure),
                Err(_) => {}
            }
        }
    }

    /// Whether everything that has come was given out, and it ended a turn or nothing came yet.
    fn is_at_end(&self) -> bool {
        // A frame ends with an empty line, which says nothing.
        self.resting && self.buffer.iter().all(u8::is_ascii_whitespace)
    }

    /// The next event; nothing when the stream has ended.
    pub(super) async fn next(&mut self) -> Result<Option<SessionEvent>, Failure> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let Some(data) = line.trim_end().strip_prefix("data:") else { continue };
                let value: Value = serde_json::from_str(data.trim_start())
                    .map_err(|_| Failure::could_not("the server sent an event that is no JSON"))?;
                match value.get("event").and_then(Value::as_str) {
                    Some("shutdown") => return Ok(None),
                    Some("connected") | None => continue,
                    Some(_) => {}
                }
                // An event of a newer server that this program does not know.
                let Ok(event) = serde_json::from_value::<SessionEvent>(value) else { continue };
                self.last = event.seq;
                self.resting = match &event.what {
                    Happening::TurnStarted { .. } => false,
                    Happening::TurnEnded { .. } | Happening::Closed { .. } => true,
                    _ => self.resting,
                };
                return Ok(Some(event));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                // However it ends: what is missing is read when the server is back.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// See which agents there are, and which can start here
#[derive(Debug, Args)]
pub(super) struct Agents {
    #[command(subcommand)]
    what: AgentsWhat,
}

#[derive(Debug, Subcommand)]
enum AgentsWhat {
    /// List them
    List,
    /// Say of each whether it can start here, and if not, why and what to do
    Doctor,
}

pub(super) async fn agents(command: Agents, session: &mut Session) -> Outcome {
    let answer = session.fetch(Reach::Server, "reading", Ask::get("/agents/definitions")).await?;
    let list = answer.json()?;
    match command.what {
        AgentsWhat::List => session.show(&answer, |list, look| sessions::agents(entries(list, "agents"), look)),
        AgentsWhat::Doctor => {
            session.show(&answer, |list, _| {
                let say = |agent: &Value| {
                    let (name, trouble) =
                        (crate::render::field(agent, "name"), crate::render::field(agent, "unavailable"));
                    if trouble.is_empty() { format!("{name}: can start") } else { format!("{name}: {trouble}") }
                };
                entries(list, "agents").iter().map(say).collect::<Vec<_>>().join("\n")
            })?;
            let ready = entries(&list, "agents").iter().any(|agent| agent.get("unavailable").is_none());
            Ok(if ready { exit::DONE } else { exit::BAD_NEWS })
        }
    }
}

/// See which models there are, and whether they answer
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(subcommand)]
    what: ModelsWhat,
}

#[derive(Debug, Subcommand)]
enum ModelsWhat {
    /// List them
    List,
    /// Ask each for one word
    Check,
}

pub(super) async fn models(command: Models, session: &mut Session) -> Outcome {
    match command.what {
        ModelsWhat::List => {
            let answer = session.fetch(Reach::Server, "reading", Ask::get("/agents/definitions")).await?;
            session.show(&answer, |list, _| {
                let say = |model: &Value| {
                    let usual = model.get("is_default").and_then(Value::as_bool).unwrap_or(false);
                    format!("{}{}", crate::render::field(model, "name"), if usual { "  (the usual one)" } else { "" })
                };
                let lines: Vec<String> = entries(list, "models").iter().map(say).collect();
                if lines.is_empty() { NO_MODELS.to_owned() } else { lines.join("\n") }
            })
        }
        ModelsWhat::Check => {
            let ask = Ask::post("/models/check", &json!({})).patience(CHECKING);
            let answer = session.fetch(Reach::Server, "asking each model", ask).await?;
            let list = answer.json()?;
            session.show(&answer, |list, _| {
                let say = |model: &Value| {
                    let name = crate::render::field(model, "name");
                    match model.get("first_word_ms").and_then(Value::as_u64) {
                        Some(ms) => format!("{name}: answered in {ms} ms"),
                        None => format!("{name}: {}", crate::render::field(model, "trouble")),
                    }
                };
                let lines: Vec<String> = entries(list, "models").iter().map(say).collect();
                if lines.is_empty() { NO_MODELS.to_owned() } else { lines.join("\n") }
            })?;
            let models = entries(&list, "models");
            let fine = !models.is_empty() && models.iter().all(|model| model.get("trouble").is_none());
            Ok(if fine { exit::DONE } else { exit::BAD_NEWS })
        }
    }
}

const NO_MODELS: &str = "No model is configured; docs/models.md says how to name one.";
