//! `reeve chat`: a conversation with an agent in a terminal, approvals inline.

use clap::Args;
use reeve_types::session::{Happening, TurnEnd};
use serde_json::{Value, json};

use super::Session;
use super::diagnose::put;
use super::sessions::{Begin, Events, path};
use crate::client::{Ask, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::field;
use crate::render::sessions::Telling;

const HELP: &str = "\
/yes [REASON]     allow what the agent asks        /always   allow it for the whole session
/no [REASON]      refuse it                        /cancel   end the turn
/quit             leave; the session goes on";

/// Talk with an agent
///
/// Words come as they are said. When the agent asks before it acts, answer with /yes, /no or /always. Leaving ends
/// nothing: `reeve chat --session ID` comes back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve chat --agent database
  reeve chat --agent coder --workspace wsp_01jd… 'make the tests pass'
  reeve chat --session ses_01jd…")]
pub(super) struct Chat {
    /// What to say first
    prompt: Vec<String>,
    #[command(flatten)]
    begin: Begin,
    /// Go on with this session
    #[arg(long, value_name = "SES", conflicts_with_all = ["agent", "workspace"])]
    session: Option<String>,
}

/// What a typed line means.
#[derive(Debug, PartialEq, Eq)]
enum Typed<'a> {
    Nothing,
    Say(&'a str),
    Yes { reason: &'a str, always: bool },
    No(&'a str),
    Cancel,
    Help,
    Quit,
    Unknown(&'a str),
}

fn typed(line: &str) -> Typed<'_> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() { Typed::Nothing } else { Typed::Say(line) };
    };
    let (word, rest) =
        command.split_once(char::is_whitespace).map_or((command, ""), |(word, rest)| (word, rest.trim()));
    match word {
        "yes" | "y" | "approve" => Typed::Yes { reason: rest, always: false },
        "always" => Typed::Yes { reason: rest, always: true },
        "no" | "n" | "reject" | "deny" => Typed::No(rest),
        "cancel" | "stop" => Typed::Cancel,
        "help" | "?" => Typed::Help,
        "quit" | "exit" | "q" => Typed::Quit,
        other => Typed::Unknown(other),
    }
}

pub(super) async fn run(command: Chat, session: &mut Session) -> Outcome {
    let prompt = command.prompt.join(" ");
    let (id, after) = match &command.session {
        Some(id) => {
            let last = super::sessions::last_seq(session, id).await?;
            if !prompt.trim().is_empty() {
                say(session, id, &prompt).await?;
            }
            (id.clone(), last)
        }
        None => {
            let ask = Ask::post("/sessions", &command.begin.body(&prompt));
            let answer = session.fetch(Reach::Server, "beginning a session", ask).await?;
            (field(&answer.json()?, "id"), 0)
        }
    };
    session.term.note(&format!("session {id}; /help says what can be typed, /quit leaves"));
    let mut events = Events::open(session, &id, after).await?;
    let mut telling = Telling::new(session.term.look());
    let mut lines = super::approvals::typed_lines();
    let (mut waiting, mut typing, mut at_work): (Vec<String>, bool, bool) =
        (Vec::new(), true, !prompt.trim().is_empty());
    let mut last = exit::DONE;
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event? else {
                    events = events.again(session, &id).await?;
                    continue;
                };
                // What this person typed stands on the screen already.
                if session.json {
                    session.term.print_json(&event)?;
                } else if !matches!(event.what, Happening::Prompt { .. }) || command.session.is_some() && event.seq <= after {
                    session.term.print_part(&telling.tell(&event))?;
                }
                match &event.what {
                    Happening::ToolWaiting { approval_id, .. } => {
                        how_to_answer(session, approval_id.as_str()).await?;
                        waiting.push(approval_id.to_string());
                    }
                    Happening::ToolAnswered { approval_id, .. } => waiting.retain(|one| *one != approval_id.to_string()),
                    Happening::TurnStarted { .. } => at_work = true,
                    Happening::TurnEnded { end, .. } => {
                        waiting.clear();
                        at_work = false;
                        last = match end {
                            TurnEnd::Completed | TurnEnd::Cancelled => exit::DONE,
                            TurnEnd::LimitReached | TurnEnd::Refused | TurnEnd::Failed => exit::BAD_NEWS,
                        };
                        // Piped in: everything was said and answered.
                        if !typing && !is_busy(session, &id).await? {
                            return Ok(last);
                        }
                    }
                    _ => {}
                }
            }
            line = lines.recv(), if typing => match line {
                None if at_work || is_busy(session, &id).await? => typing = false,
                None => return Ok(last),
                Some(line) => {
                    let done = match typed(&line) {
                        Typed::Nothing => Ok(()),
                        Typed::Quit => return Ok(exit::DONE),
                        Typed::Help => { session.term.note(HELP); Ok(()) }
                        Typed::Unknown(word) => Err(Failure::usage(format!("there is no /{word}\n{HELP}"))),
                        Typed::Say(text) => { at_work = true; say(session, &id, text).await }
                        Typed::Cancel => post(session, &path(&id, "/cancel"), &json!({})).await,
                        Typed::Yes { reason, always } => answer(session, &id, waiting.first(), "approve", reason, always).await,
                        Typed::No(reason) => answer(session, &id, waiting.first(), "reject", reason, false).await,
                    };
                    if let Err(failure) = done {
                        if failure.message.is_empty() {
                            return Err(failure);
                        }
                        session.term.failure(&failure);
                    }
                }
            },
        }
    }
}

/// Shows what is asked, and how it is answered: what an agent asks the one it works for is answered here; what policy asks
/// is not theirs to answer.
async fn how_to_answer(session: &mut Session, id: &str) -> Result<(), Failure> {
    let asked = session.client(Reach::Server).await?.fetch(Ask::get(format!("/approvals/{}", escape(id)))).await?;
    let asked = asked.json()?;
    if field(&asked, "tool_name") != "agent_permission" {
        session.term.note(&format!("  policy asks somebody else: reeve approvals approve {id} --reason '…'"));
        return Ok(());
    }
    let detail = asked.pointer("/request_context/arguments/detail").and_then(Value::as_str).unwrap_or_default();
    if !session.json && !detail.is_empty() {
        let shown = crate::render::sessions::proposal(detail, session.term.look());
        session.term.print_part(&shown)?;
    }
    session.term.note("  /yes, /no or /always?");
    Ok(())
}

async fn is_busy(session: &mut Session, id: &str) -> Result<bool, Failure> {
    let answer = session.client(Reach::Server).await?.fetch(Ask::get(path(id, ""))).await?.json()?;
    Ok(matches!(field(&answer, "state").as_str(), "running" | "waiting"))
}

async fn say(session: &mut Session, id: &str, text: &str) -> Result<(), Failure> {
    post(session, &path(id, "/prompts"), &json!({"text": text})).await
}

async fn post(session: &mut Session, path: &str, body: &serde_json::Value) -> Result<(), Failure> {
    session.client(Reach::Server).await?.fetch(Ask::post(path, body)).await.map(drop)
}

async fn answer(
    session: &mut Session,
    id: &str,
    question: Option<&String>,
    verb: &str,
    reason: &str,
    remember: bool,
) -> Result<(), Failure> {
    let Some(question) = question else { return Err(Failure::usage("the agent asks nothing")) };
    let mut body = json!({"approval_id": question});
    put(&mut body, "reason", Some(reason).filter(|reason| !reason.is_empty()));
    if remember {
        body["remember"] = json!(true);
    }
    post(session, &path(id, &format!("/{verb}")), &body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_lines_are_understood() {
        let table = [
            ("", Typed::Nothing),
            ("  hello /yes  ", Typed::Say("hello /yes")),
            ("/yes", Typed::Yes { reason: "", always: false }),
            ("/y  go on ", Typed::Yes { reason: "go on", always: false }),
            ("/always", Typed::Yes { reason: "", always: true }),
            ("/no not now", Typed::No("not now")),
            ("/cancel", Typed::Cancel),
            ("/quit", Typed::Quit),
            ("/nonsense", Typed::Unknown("nonsense")),
        ];
        for (line, meant) in table {
            assert_eq!(typed(line), meant, "{line:?}");
        }
    }
}
