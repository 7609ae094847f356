//! `reeve mcp`: the server's MCP on standard input and output, and what it uses of other people's servers.

use std::sync::Arc;

use clap::{Args, Subcommand};
use reeve_mcp::relay::{Incoming, Outgoing};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::client::{Ask, Client, LONG_PATIENCE, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{clean, entries, field};

/// Speak MCP on standard input and output, for programs that start their servers
///
/// Every message goes to the running server, so that all clients work with the same sessions, approvals and record. It
/// acts with the key that is given (REEVE_API_KEY), or on the same machine with the administrator's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  claude mcp add reeve -- reeve mcp         give the tools of this server to Claude Code
  reeve mcp servers                         other people's servers, and what has changed in them
  reeve mcp accept github                   take what a server offers now

Programs that speak streamable HTTP need no command: the server answers at /mcp.")]
pub(super) struct Mcp {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show other people's MCP servers, their tools, and what differs from what was pinned
    Servers,
    /// Pin what a server offers now, after you have read what has changed
    Accept {
        /// The server's name in the configuration
        name: String,
    },
}

pub(super) async fn run(command: Mcp, session: &mut Session) -> Outcome {
    match command.what {
        None => relay(session).await,
        Some(What::Servers) => {
            let answer = session.fetch(Reach::ServerOrHere, "asking", Ask::get("/mcp/servers")).await?;
            session.show(&answer, |list, _| {
                let shown: Vec<String> = entries(list, "servers").iter().map(server).collect();
                if shown.is_empty() {
                    "No MCP servers are configured; see docs/mcp.md.".to_owned()
                } else {
                    shown.join("\n")
                }
            })
        }
        Some(What::Accept { name }) => {
            // What is accepted is what is shown here, and nothing that comes after it.
            let list = session.fetch(Reach::Server, "asking", Ask::get("/mcp/servers")).await?.json()?;
            let one = entries(&list, "servers").iter().find(|one| field(one, "name") == name);
            if let Some(one) = one.filter(|_| !session.json) {
                session.term.print(&server(one))?;
            }
            let read = one.and_then(|one| one.get("found")).cloned().unwrap_or(Value::Null);
            let path = format!("/mcp/servers/{}/accept", escape(&name));
            let ask = Ask::post(path, &json!({"found": read})).patience(LONG_PATIENCE);
            let answer = session.fetch(Reach::Server, "asking the MCP server", ask).await?;
            session.show(&answer, |one, _| server(one))
        }
    }
}

async fn relay(session: &mut Session) -> Outcome {
    let client = Arc::new(Client::connect(&session.config, Reach::Server).await?);
    let send = {
        let client = Arc::clone(&client);
        Arc::new(move |outgoing: Outgoing| {
            let ask = Ask::post("/mcp", &outgoing.body)
                .header("accept", "application/json, text/event-stream")
                .patience(LONG_PATIENCE);
            let ask = outgoing.headers.into_iter().fold(ask, |ask, (name, value)| ask.header(name, value));
            let exchange = client.exchange(ask);
            Box::pin(async move {
                let answer = exchange.await.map_err(|failure| failure.message)?;
                Ok(Incoming { status: answer.status, is_stream: answer.is_stream, body: answer.body })
            }) as futures_util::future::BoxFuture<'static, Result<Incoming, String>>
        })
    };
    let input = tokio::io::BufReader::new(tokio::io::stdin());
    let carried = reeve_mcp::relay::run(input, tokio::io::stdout(), send, CancellationToken::new()).await;
    match carried {
        Ok(()) => Ok(exit::DONE),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(exit::DONE),
        Err(error) => Err(Failure::could_not(format!("the messages cannot be carried: {error}"))),
    }
}

fn server(one: &Value) -> String {
    let mut lines = vec![format!("{}  {}  {}", field(one, "name"), field(one, "state"), clean(&field(one, "server")))];
    if !field(one, "reason").is_empty() {
        lines.push(format!("  {}", clean(&field(one, "reason"))));
    }
    for tool in entries(one, "tools") {
        let line =
            format!("  {:<40} {:<12} {}", field(tool, "name"), field(tool, "action_class"), field(tool, "state"));
        lines.push(clean(line.trim_end()));
        if !field(tool, "reason").is_empty() {
            lines.push(format!("      {}", clean(&field(tool, "reason"))));
        }
        for (member, pair) in tool.get("difference").and_then(Value::as_object).into_iter().flatten() {
            let shown = |side: &str| match pair.get(side) {
                Some(Value::String(text)) => clean(text),
                Some(other) => clean(&other.to_string()),
                None => String::new(),
            };
            lines.push(format!("      {member}\n        - {}\n        + {}", shown("pinned"), shown("found")));
        }
    }
    if one.get("needs_accepting") == Some(&Value::Bool(true)) {
        lines.push(format!("  Read the differences; `reeve mcp accept {}` accepts them.", field(one, "name")));
    }
    if one.get("needs_restart") == Some(&Value::Bool(true)) {
        lines.push("  What was accepted is offered from the next start of the server on.".to_owned());
    }
    lines.join("\n")
}
