//! `reeve tenants`: several owners on one installation, none of whom sees another.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use crate::client::{Ask, Reach};
use crate::exit::Outcome;
use crate::render::{entries, field, records};
use crate::term::Tone;

/// Make and list tenants
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve tenants create acme                            prints the key of its first administrator, once
  REEVE_API_KEY=reeve_… reeve keys create dora --role developer
  reeve tenants list")]
pub(super) struct Tenants {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List tenants
    List,
    /// Make a tenant and print the key of its first administrator, once
    Create {
        /// 1 to 63 lower-case letters, digits and hyphens
        name: String,
    },
}

pub(super) async fn run(command: Tenants, session: &mut Session) -> Outcome {
    match command.what {
        What::List => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/tenants")).await?;
            session.show(&answer, |list, look| records::tenants(entries(list, "tenants"), look))
        }
        What::Create { name } => {
            let ask = Ask::post("/tenants", &json!({"name": name}));
            let answer = session.fetch(Reach::ServerOrHere, "making a tenant", ask).await?;
            session.show(&answer, |made, look| {
                let mut out = format!("{}\n", field(made, "key"));
                let said = format!(
                    "{} for {}, the first administrator of {}. It is shown only now; keep it safe.",
                    field(made, "key_id"),
                    field(made, "principal"),
                    field(made, "tenant")
                );
                let _ = writeln!(out, "{}", look.paint(Tone::Faint, &said));
                out
            })
        }
    }
}
