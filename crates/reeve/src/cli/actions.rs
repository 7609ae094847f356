//! `reeve actions`: what was asked for and how far it has come.

use clap::{Args, Subcommand};

use super::Session;
use crate::client::{Ask, Reach, escape};
use crate::exit::Outcome;
use crate::render::{entries, records};

/// See actions: what was asked for and how it ended
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve actions list --state unknown      acts that began and of which nobody knows how they ended
  reeve actions show act_01jd…")]
pub(super) struct Actions {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// List actions, newest first
    List {
        /// Only those in this state, such as awaiting_approval, running, succeeded, failed or unknown
        #[arg(long)]
        state: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one action with its result
    Show {
        /// Its id, `act_…`
        id: String,
    },
}

pub(super) async fn run(command: Actions, session: &mut Session) -> Outcome {
    match command.which {
        Which::List { state, limit } => {
            let ask = Ask::get("/actions").with("state", state).with("limit", Some(limit));
            let answer = session.fetch(Reach::ServerOrHere, "reading", ask).await?;
            session.show(&answer, |list, look| records::actions(entries(list, "actions"), look))
        }
        Which::Show { id } => {
            let answer =
                session.fetch(Reach::ServerOrHere, "reading", Ask::get(format!("/actions/{}", escape(&id)))).await?;
            session.show(&answer, records::action)
        }
    }
}
