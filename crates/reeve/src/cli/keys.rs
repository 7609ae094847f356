//! `reeve keys`: what programs and people prove themselves with.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Session;
use crate::client::{Ask, Reach, escape};
use crate::exit::{self, Outcome};
use crate::render::{entries, field, records};
use crate::term::Tone;

/// Make, list and revoke API keys
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve keys create dora --role dba --note 'her laptop'
  reeve keys create ci --kind service --role sre-automation
  reeve keys revoke key_01jd…")]
pub(super) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List keys; their text is never told again
    List,
    /// Make a key and print it, once
    Create {
        /// Who will use it
        principal: String,
        /// A person or a program
        #[arg(long, value_enum, default_value_t = Kind::User)]
        kind: Kind,
        /// A role it has; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Make a key worthless at once
    Revoke {
        /// Its id, `key_…`
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A person
    User,
    /// A program
    Service,
}

pub(super) async fn run(command: Keys, session: &mut Session) -> Outcome {
    match command.what {
        What::List => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/keys")).await?;
            session.show(&answer, |list, look| records::keys(entries(list, "keys"), look))
        }
        What::Create { principal, kind, roles, note } => {
            let kind = match kind {
                Kind::User => "user",
                Kind::Service => "service",
            };
            let body = json!({"kind": kind, "principal": principal, "roles": roles, "note": note});
            let answer = session.fetch(Reach::ServerOrHere, "making a key", Ask::post("/keys", &body)).await?;
            session.show(&answer, |made, look| {
                let mut out = format!("{}\n", field(made, "key"));
                let said = format!("{} for {principal}. It is shown only now; keep it safe.", field(made, "key_id"));
                let _ = writeln!(out, "{}", look.paint(Tone::Faint, &said));
                out
            })
        }
        What::Revoke { id } => {
            let ask = Ask::delete(format!("/keys/{}", escape(&id)));
            let answer = session.fetch(Reach::ServerOrHere, "revoking", ask).await?;
            match (session.json, answer.text.is_empty()) {
                (true, false) => session.term.print_json_text(&answer.text)?,
                (true, true) => session.term.print_json(&json!({"key_id": id, "revoked": true}))?,
                (false, _) => session.term.print(&format!("{} is revoked.", crate::render::clean(&id)))?,
            }
            Ok(exit::DONE)
        }
    }
}
