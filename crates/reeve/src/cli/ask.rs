//! `reeve ask`: a question in words.

use std::fmt::Write as _;

use clap::Args;
use reeve_types::Purpose;
use serde_json::{Value, json};

use super::diagnose::{Why, put};
use super::{Session, tools};
use crate::client::{Ask, LONG_PATIENCE, Reach};
use crate::exit::{self, Outcome};
use crate::render::{clean, entries, field};
use crate::term::{Look, Tone};

/// Ask a question in words
///
/// With a model configured, an agent looks and answers, in a session that can be gone on with. Without one, rules choose
/// the checks by the words: name what it is about, such as locks, replication or disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve ask who blocks whom --target prod-db
  reeve ask 'how full is the disk?' --agent database --target prod-db")]
pub(super) struct AskCommand {
    /// The question
    #[arg(required = true, num_args = 1..)]
    question: Vec<String>,
    /// Who should answer: database, k8s, host, incident or research
    #[arg(long)]
    agent: Option<String>,
    /// About what: an id of the inventory, or a connection string
    #[arg(long, value_name = "ID|DSN")]
    target: Option<String>,
    /// Answer by rules even where a model is configured
    #[arg(long)]
    no_model: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) async fn run(mut command: AskCommand, session: &mut Session) -> Outcome {
    command.why.set_default(Purpose::Diagnostic);
    let mut body = json!({"message": command.question.join(" ")});
    put(&mut body, "agent", command.agent.as_deref());
    put(&mut body, "target", command.target.as_deref());
    command.why.put(&mut body);
    if command.no_model {
        body["model"] = json!(false);
    }
    let ask = Ask::post("/query", &body).patience(LONG_PATIENCE);
    let answer = session.fetch(Reach::ServerOrHere, "looking for an answer", ask).await?;
    if answer.status == 202 {
        return tools::awaiting(session, &answer);
    }
    session.show(&answer, text)?;
    // What waits for people, or broke off, is no answer yet.
    let state = field(&answer.json()?, "state");
    Ok(match state.as_str() {
        "waiting" => exit::AWAITING_APPROVAL,
        "running" => exit::BAD_NEWS,
        _ => exit::DONE,
    })
}

fn text(reply: &Value, look: Look) -> String {
    let mut out = clean(reply.get("text").and_then(Value::as_str).unwrap_or_default());
    if !out.ends_with('\n') {
        out.push('\n');
    }
    let tools: Vec<String> = entries(reply.get("tool_calls").unwrap_or(&Value::Null), "tool_calls")
        .iter()
        .map(|call| call.as_str().map_or_else(|| field(call, "name"), clean))
        .filter(|name| !name.is_empty())
        .collect();
    let used = if tools.is_empty() { String::new() } else { format!(", with {}", tools.join(", ")) };
    let source = format!("{} agent{used}; trace {}", field(reply, "agent"), field(reply, "trace_id"));
    let _ = write!(out, "\n{}\n", look.paint(Tone::Faint, &source));
    let by = match field(reply, "session_id") {
        id if !id.is_empty() => format!("go on with: reeve chat --session {id}"),
        _ => "no model took part: checks were chosen by the words of the question (docs/models.md)".to_owned(),
    };
    let _ = writeln!(out, "{}", look.paint(Tone::Faint, &by));
    out
}
