//! `reeve events` and `reeve journeys`: what happened.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::Session;
use crate::client::{Ask, Reach, SseReader, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{entries, records};

/// How long to wait before a broken stream is taken up again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often in a row a stream is taken up again without one record coming through.
const RETRIES_MAX: u32 = 30;

/// Read the records of what happened
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve events --since 1h                          newest first
  reeve events --trace dt_01jd…                    one journey, oldest first
  reeve events --effect deny --since 24h           what policy refused
  reeve events --follow                            as it happens
  reeve events pol_01jd…                           one record, whole")]
pub(super) struct Events {
    /// Show this record
    id: Option<String>,
    /// Only of this type, such as policy_decision or tool_execution; several with commas
    #[arg(long = "type", value_name = "TYPE")]
    types: Option<String>,
    /// Only of this journey
    #[arg(long)]
    trace: Option<String>,
    /// Only of journeys whose id starts so
    #[arg(long, value_name = "TEXT")]
    trace_prefix: Option<String>,
    /// Only of this conversation
    #[arg(long)]
    session: Option<String>,
    /// Only about tools of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only about this tool
    #[arg(long)]
    tool: Option<String>,
    /// Only of this class: read, write or destructive
    #[arg(long)]
    class: Option<reeve_types::ActionClass>,
    /// Only with this decision: allow, deny or require_approval
    #[arg(long)]
    effect: Option<reeve_types::Effect>,
    /// Only that ended so
    #[arg(long)]
    outcome: Option<String>,
    /// Only since this moment or so long ago: 2026-01-02T03:04:05Z, 24h
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Print records as they are made; Ctrl-C ends
    #[arg(short, long, conflicts_with_all = ["id", "types", "trace", "trace_prefix", "session", "agent", "tool", "class", "effect", "outcome", "since"])]
    follow: bool,
}

/// List journeys: everything one request led to, in one row
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve journeys --since 24h
  reeve journeys --user dora --outcome denied")]
pub(super) struct Journeys {
    /// Only begun by this user or service
    #[arg(long)]
    user: Option<String>,
    /// Only since this moment or so long ago
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only before this moment or so long ago
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only with this purpose
    #[arg(long)]
    purpose: Option<reeve_types::Purpose>,
    /// Only about this, such as locks
    #[arg(long)]
    category: Option<String>,
    /// Only that ended so: success, approved, denied, error, …
    #[arg(long)]
    outcome: Option<String>,
    /// Only this one
    #[arg(long)]
    trace: Option<String>,
    /// Only those whose id starts so
    #[arg(long, value_name = "TEXT")]
    trace_prefix: Option<String>,
    /// Only that came this way: direct_tool, agent or gateway
    #[arg(long)]
    origin: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

pub(super) async fn run(command: Events, session: &mut Session) -> Outcome {
    if let Some(id) = &command.id {
        let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get(format!("/events/{}", escape(id)))).await?;
        return session.show(&answer, |record, _| {
            crate::render::clean(&serde_json::to_string_pretty(record).unwrap_or_else(|_| record.to_string()))
        });
    }
    if command.follow {
        return follow(session).await;
    }
    let ask = Ask::get("/events")
        .with("types", command.types)
        .with("trace_id", command.trace)
        .with("trace_id_prefix", command.trace_prefix)
        .with("session_id", command.session)
        .with("agent", command.agent)
        .with("tool_name", command.tool)
        .with("action_class", command.class)
        .with("effect", command.effect)
        .with("outcome_status", command.outcome)
        .with("since", command.since)
        .with("limit", Some(command.limit));
    let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
    session.show(&answer, |list, look| records::events(entries(list, "events"), look))
}

pub(super) async fn journeys(command: Journeys, session: &mut Session) -> Outcome {
    let ask = Ask::get("/journeys")
        .with("user", command.user)
        .with("since", command.since)
        .with("until", command.until)
        .with("purpose", command.purpose)
        .with("category", command.category)
        .with("outcome", command.outcome)
        .with("trace_id", command.trace)
        .with("trace_id_prefix", command.trace_prefix)
        .with("origin", command.origin)
        .with("limit", Some(command.limit));
    let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
    session.show(&answer, |list, look| records::journeys(entries(list, "journeys"), look))
}

/// Prints records as they are made. A stream that breaks is taken up after the last record that came through.
pub(super) async fn follow(session: &mut Session) -> Outcome {
    let mut last_id = String::new();
    let mut tries = 0;
    loop {
        let before = last_id.clone();
        match follow_once(session, &mut last_id).await {
            Ok(()) => {}
            Err(failure) if failure.code != exit::COULD_NOT || failure.message.is_empty() => return Err(failure),
            Err(failure) if last_id.is_empty() && tries == 0 => return Err(failure),
            Err(failure) if tries >= RETRIES_MAX => return Err(failure),
            Err(_) => {}
        }
        tries = if last_id == before { tries + 1 } else { 0 };
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

async fn follow_once(session: &mut Session, last_id: &mut String) -> Result<(), Failure> {
    let mut ask = Ask::get("/events/stream").header("accept", "text/event-stream");
    if !last_id.is_empty() {
        ask = ask.header("last-event-id", last_id.clone());
    }
    let mut chunks = session.client(Reach::Server).await?.stream(ask).await?;
    let mut reader = SseReader::default();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::could_not(format!("the stream broke off: {error}")))?;
        for message in reader.feed(&chunk) {
            show_message(session, &message.data)?;
            last_id.clone_from(&message.id);
        }
    }
    Ok(())
}

fn show_message(session: &mut Session, data: &str) -> Result<(), Failure> {
    let Ok(message) = serde_json::from_str::<Value>(data) else { return Ok(()) };
    let record = message.get("record").unwrap_or(&message);
    if session.json {
        // One record per line, so that programs can read along.
        return session.term.print(&record.to_string());
    }
    let line = records::event_line(record, session.term.look());
    session.term.print(&line)
}
