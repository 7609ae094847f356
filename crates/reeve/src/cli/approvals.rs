//! `reeve approvals`: questions to people, and answering them. Also started as `approvals`.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::diagnose::put;
use super::{Session, flag};
use crate::client::{Ask, Reach, escape};
use crate::config::Flag;
use crate::exit::{self, Failure, Outcome};
use crate::render::{approvals, entries, field};

/// How many failures in a row `watch` bears before it gives up.
const WATCH_FAILURES_MAX: u32 = 20;

/// See what waits for a person, and answer it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve approvals pending
  reeve approvals show apr_01jd…
  reeve approvals approve apr_01jd… --reason 'LGTM, verified and it is safe'
  reeve approvals deny apr_01jd… --reason 'not during business hours'
  reeve approvals watch                  answer as they come in

Nobody may answer their own request. Started under the name `approvals`, the same commands work without `reeve`.")]
pub(super) struct Approvals {
    #[command(subcommand)]
    what: What,
    /// Name this user; for servers that take callers at their word
    #[arg(long, global = true, value_name = "USER")]
    user: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List questions, newest first
    List {
        /// Only those that are pending, approved, denied, cancelled, expired or stale
        #[arg(long)]
        status: Option<String>,
        /// Only about tools of this agent
        #[arg(long)]
        agent: Option<String>,
        /// Only of this journey
        #[arg(long, value_name = "TRACE")]
        trace_id: Option<String>,
        /// Only asked for by this principal
        #[arg(long, value_name = "WHO")]
        requested_by: Option<String>,
        /// Only about this tool
        #[arg(long, value_name = "TOOL")]
        tool_name: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// List the questions that wait for an answer
    Pending,
    /// Show one question with everything to read before answering
    Show {
        /// Its id, `apr_…`
        id: String,
    },
    /// Say yes
    Approve {
        /// Its id, `apr_…`
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
        /// How many minutes the act has to begin
        #[arg(long, value_name = "MINUTES")]
        valid_for: Option<u32>,
    },
    /// Say no
    Deny {
        /// Its id, `apr_…`
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Take a question back
    Cancel {
        /// Its id, `apr_…`
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make two links that answer one question as you, without signing in: for a phone or a chat
    Link {
        /// Its id, `apr_…`
        id: String,
    },
    /// Wait for questions and answer them: `ID [reason]` approves, `!ID reason` denies, Ctrl-D ends
    Watch {
        /// How often to look, in seconds
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
    },
}

impl Approvals {
    pub(super) fn flags(&self, flags: &mut Vec<Flag>) {
        flag(flags, "user", "--user", self.user.as_ref());
    }
}

pub(super) async fn run(command: Approvals, session: &mut Session) -> Outcome {
    match command.what {
        What::List { status, agent, trace_id, requested_by, tool_name, limit } => {
            let ask = Ask::get("/approvals")
                .with("status", status)
                .with("agent", agent)
                .with("trace_id", trace_id)
                .with("requested_by", requested_by)
                .with("tool_name", tool_name)
                .with("limit", Some(limit));
            let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
            session.show(&answer, |list, look| approvals::table(entries(list, "approvals"), look, "No approvals."))
        }
        What::Pending => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/approvals/pending")).await?;
            session.show(&answer, |list, look| {
                approvals::table(entries(list, "approvals"), look, "Nothing waits for an answer.")
            })
        }
        What::Show { id } => {
            let ask = Ask::get(format!("/approvals/{}", escape(&id)));
            let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
            session.show(&answer, approvals::details)
        }
        What::Approve { id, reason, valid_for } => {
            let mut body = reason_body(reason.as_deref());
            if let Some(minutes) = valid_for {
                body["valid_for_minutes"] = minutes.into();
            }
            settle(session, &id, "approve", &body).await
        }
        What::Deny { id, reason } => settle(session, &id, "deny", &reason_body(Some(&reason))).await,
        What::Cancel { id, reason } => settle(session, &id, "cancel", &reason_body(reason.as_deref())).await,
        What::Link { id } => {
            let ask = Ask::post(format!("/approvals/{}/links", escape(&id)), &json!({}));
            let answer = session.fetch(Reach::Server, "making the links", ask).await?;
            session.show(&answer, |links, _| {
                format!(
                    "Approve:  {}\nDeny:     {}\n\nEach works once, until {}. Whoever has one answers as you.",
                    field(links, "approve"),
                    field(links, "deny"),
                    field(links, "expires_at"),
                )
            })
        }
        What::Watch { interval } => watch(session, Duration::from_secs(interval)).await,
    }
}

fn reason_body(reason: Option<&str>) -> Value {
    let mut body = json!({});
    put(&mut body, "reason", reason);
    body
}

/// Answers one question. Only a running server will do: an approved act begins at once, and it must not end with this
/// process.
async fn settle(session: &mut Session, id: &str, verb: &str, body: &Value) -> Outcome {
    let ask = Ask::post(format!("/approvals/{}/{verb}", escape(id)), body);
    let answer = session.fetch(Reach::Server, "answering", ask).await?;
    session.show(&answer, approvals::settled)
}

/// What a line typed into `watch` means.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Nothing,
    Approve { id: String, reason: Option<String> },
    Deny { id: String, reason: String },
    Unclear(&'static str),
}

fn typed(line: &str) -> Typed {
    let line = line.trim();
    let (deny, rest) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, line),
    };
    let (id, reason) = rest.split_once(char::is_whitespace).map_or((rest, ""), |(id, reason)| (id, reason.trim()));
    match (deny, id, reason) {
        (false, "", _) => Typed::Nothing,
        (true, "", _) => Typed::Unclear("write !ID and the reason"),
        (true, _, "") => Typed::Unclear("a denial needs a reason: write !ID and the reason"),
        (true, id, reason) => Typed::Deny { id: id.to_owned(), reason: reason.to_owned() },
        (false, id, reason) => {
            Typed::Approve { id: id.to_owned(), reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()) }
        }
    }
}

async fn watch(session: &mut Session, every: Duration) -> Outcome {
    let mut lines = typed_lines();
    let mut known = BTreeMap::new();
    let mut failures = 0;
    let mut tick = tokio::time::interval(every);
    session.term.note("Watching. ID [reason] approves, !ID reason denies, Ctrl-D ends.");
    loop {
        tokio::select! {
            _ = tick.tick() => match look(session, &mut known).await {
                Ok(()) => failures = 0,
                Err(failure) if failure.code == exit::COULD_NOT && failures < WATCH_FAILURES_MAX => {
                    // A server that restarts is no reason to stop watching; it is said once.
                    if failures == 0 {
                        session.term.failure(&failure);
                    }
                    failures += 1;
                }
                Err(failure) => return Err(failure),
            },
            line = lines.recv() => match line {
                None => return Ok(exit::DONE),
                Some(line) => answer_line(session, &line).await?,
            },
        }
    }
}

/// Announces what is new and what is no longer pending.
async fn look(session: &mut Session, known: &mut BTreeMap<String, Value>) -> Result<(), Failure> {
    let client = session.client(Reach::Server).await?;
    let answer = client.fetch(Ask::get("/approvals/pending")).await?;
    let list = answer.json()?;
    let now: BTreeMap<String, Value> =
        entries(&list, "approvals").iter().rev().map(|one| (field(one, "approval_id"), one.clone())).collect();
    for (id, approval) in &now {
        if !known.contains_key(id) {
            announce(session, approval)?;
        }
    }
    let gone: Vec<String> = known.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
    for id in gone {
        let client = session.client(Reach::Server).await?;
        let settled = client.fetch(Ask::get(format!("/approvals/{}", escape(&id)))).await?.json()?;
        announce(session, &settled)?;
    }
    *known = now;
    Ok(())
}

fn announce(session: &mut Session, approval: &Value) -> Result<(), Failure> {
    if session.json {
        session.term.print_json(approval)
    } else {
        session.term.print(&approvals::announcement(approval))
    }
}

async fn answer_line(session: &mut Session, line: &str) -> Result<(), Failure> {
    let (id, verb, body) = match typed(line) {
        Typed::Nothing => return Ok(()),
        Typed::Unclear(why) => {
            session.term.failure(&Failure::usage(why));
            return Ok(());
        }
        Typed::Approve { id, reason } => (id, "approve", reason_body(reason.as_deref())),
        Typed::Deny { id, reason } => (id, "deny", reason_body(Some(&reason))),
    };
    match settle(session, &id, verb, &body).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.message.is_empty() => Err(failure),
        // One answer that was refused does not end the watch.
        Err(failure) => {
            session.term.failure(&failure);
            Ok(())
        }
    }
}

/// Lines of standard input. A thread of its own reads them, because a read of a terminal cannot be given up.
pub(super) fn typed_lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_watch_are_understood() {
        let approve = |id: &str, reason: Option<&str>| Typed::Approve { id: id.into(), reason: reason.map(Into::into) };
        let table = [
            ("apr_1", approve("apr_1", None)),
            ("  apr_1   looks fine  ", approve("apr_1", Some("looks fine"))),
            ("!apr_1 not now", Typed::Deny { id: "apr_1".into(), reason: "not now".into() }),
            ("! apr_1 not now", Typed::Deny { id: "apr_1".into(), reason: "not now".into() }),
            ("!apr_1", Typed::Unclear("a denial needs a reason: write !ID and the reason")),
            ("!", Typed::Unclear("write !ID and the reason")),
            ("", Typed::Nothing),
        ];
        for (line, meant) in table {
            assert_eq!(typed(line), meant, "{line:?}");
        }
    }
}
