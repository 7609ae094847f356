//! `reeve workspaces`: isolated places to work.

mod copies;

use std::time::Duration;

use clap::{Args, Subcommand};
use reeve_types::workspace::processes::EXECUTION_TIMEOUT_MS;
use serde_json::{Map, Value, json};

use super::{Session, tools};
use crate::client::{Ask, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{entries, records};

/// How long making or starting a workspace may take.
const STARTING: Duration = Duration::from_secs(60);

/// Make, list, start, suspend and delete workspaces; run programs in them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve workspaces create shop --template python
  reeve workspaces create site --directory ~/site
  reeve workspaces list
  reeve workspaces exec wsp_01jd… -- python3 -c 'print(6 * 7)'
  reeve workspaces snapshot wsp_01jd… before-the-change
  reeve workspaces export wsp_01jd… shop.tar
  reeve workspaces suspend wsp_01jd…
  reeve workspaces delete wsp_01jd…")]
pub(super) struct Workspaces {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List one's workspaces; an administrator sees everybody's
    List {
        /// Only those in this state: running, suspended, deleted, …
        #[arg(long)]
        state: Option<String>,
    },
    /// List what workspaces can be made from
    Templates,
    /// Make a workspace and start it
    Create {
        /// What to call it
        name: String,
        /// What it is made from
        #[arg(long, default_value = "base")]
        template: String,
        /// How it is held, if not as usual: namespace or docker
        #[arg(long)]
        driver: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// A host that it may reach; may be repeated. Without any it reaches nothing but itself
        #[arg(long = "allow", value_name = "HOST")]
        allow: Vec<String>,
        /// A directory of the host that it works in, instead of files of its own
        #[arg(long, value_name = "PATH")]
        directory: Option<String>,
    },
    /// Show one workspace
    Show {
        /// Its id, `wsp_…`
        id: String,
    },
    /// Start a stopped or suspended workspace
    Start {
        /// Its id, `wsp_…`
        id: String,
    },
    /// End its processes; the files stay
    Suspend {
        /// Its id, `wsp_…`
        id: String,
    },
    /// Put it into the trash
    Delete {
        /// Its id, `wsp_…`
        id: String,
        /// Remove it for good, files and snapshots included
        #[arg(long)]
        force: bool,
    },
    /// Bring a deleted one back
    Restore {
        /// Its id, `wsp_…`
        id: String,
    },
    /// Give it another name, description or idle time
    Rename {
        /// Its id, `wsp_…`
        id: String,
        /// Its new name
        name: Option<String>,
        /// Its new description
        #[arg(long)]
        description: Option<String>,
        /// How long nobody may use it before it is suspended, in minutes; 0 never suspends it
        #[arg(long)]
        idle_minutes: Option<u64>,
    },
    /// Show what it uses at this moment
    Usage {
        /// Its id, `wsp_…`
        id: String,
    },
    #[command(flatten)]
    Copies(copies::Copies),
    /// Run a program in it; ends with the program's exit code
    Exec {
        /// Its id, `wsp_…`
        id: String,
        /// How long it may run, in milliseconds
        #[arg(long, default_value_t = EXECUTION_TIMEOUT_MS)]
        timeout_ms: u64,
        /// The program and its arguments; no shell reads them
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
}

pub(super) async fn run(command: Workspaces, session: &mut Session) -> Outcome {
    match command.what {
        What::List { state } => {
            let ask = Ask::get("/workspaces").with("state", state);
            let answer = session.fetch(Reach::Server, "reading", ask).await?;
            session.show(&answer, |list, look| records::workspaces(entries(list, "workspaces"), look))
        }
        What::Templates => {
            let answer = session.fetch(Reach::Server, "reading", Ask::get("/workspace-templates")).await?;
            session.show(&answer, |list, look| records::templates(entries(list, "templates"), look))
        }
        What::Create { name, template, driver, description, allow, directory } => {
            let mut body = Map::from_iter([
                ("name".to_owned(), json!(name)),
                ("template".to_owned(), json!(template)),
                ("description".to_owned(), json!(description)),
            ]);
            body.extend(driver.map(|driver| ("driver".to_owned(), json!(driver))));
            // As it is meant where it was typed; the server knows no other working directory than its own.
            let directory = directory.map(std::path::absolute).transpose()?;
            body.extend(directory.map(|directory| ("directory".to_owned(), json!(directory.to_string_lossy()))));
            if !allow.is_empty() {
                body.insert("egress".to_owned(), json!({"mode": "allow", "hosts": allow}));
            }
            one(session, "making a workspace", Ask::post("/workspaces", &Value::Object(body))).await
        }
        What::Show { id } => one(session, "reading", Ask::get(path(&id, ""))).await,
        What::Start { id } => one(session, "starting", Ask::post(path(&id, "/start"), &json!({}))).await,
        What::Suspend { id } => one(session, "suspending", Ask::post(path(&id, "/suspend"), &json!({}))).await,
        What::Restore { id } => one(session, "restoring", Ask::post(path(&id, "/restore"), &json!({}))).await,
        What::Delete { id, force } => {
            let ask = Ask::delete(path(&id, "")).with("force", force.then_some("true"));
            one(session, "deleting", ask).await
        }
        What::Rename { id, name, description, idle_minutes } => {
            let mut body = Map::new();
            body.extend(name.map(|name| ("name".to_owned(), json!(name))));
            body.extend(description.map(|description| ("description".to_owned(), json!(description))));
            let idle =
                idle_minutes.map(|minutes| ("idle_timeout_ms".to_owned(), json!(minutes.saturating_mul(60_000))));
            body.extend(idle);
            if body.is_empty() {
                return Err(Failure::usage("say what to change: a name, --description or --idle-minutes"));
            }
            one(session, "changing", Ask::patch(path(&id, ""), &Value::Object(body))).await
        }
        What::Usage { id } => {
            let answer = session.fetch(Reach::Server, "reading", Ask::get(path(&id, "/usage"))).await?;
            session.show(&answer, records::workspace_usage)
        }
        What::Copies(copies) => copies::run(copies, session).await,
        What::Exec { id, timeout_ms, argv } => execute(session, &id, timeout_ms, argv).await,
    }
}

fn path(id: &str, below: &str) -> String {
    format!("/workspaces/{}{below}", escape(id))
}

async fn one(session: &mut Session, doing: &str, ask: Ask) -> Outcome {
    let answer = session.fetch(Reach::Server, doing, ask.at_least(STARTING)).await?;
    if answer.status == 202 {
        return tools::awaiting(session, &answer);
    }
    session.show(&answer, |workspace, look| match workspace.get("purged") {
        Some(Value::Bool(true)) => {
            "It is gone for good, with its files and snapshots; a directory of the host stays.".to_owned()
        }
        _ => records::workspace(workspace, look),
    })
}

async fn execute(session: &mut Session, id: &str, timeout_ms: u64, argv: Vec<String>) -> Outcome {
    let body = json!({"argv": argv, "timeout_ms": timeout_ms});
    let patience = Duration::from_millis(timeout_ms) + STARTING;
    let ask = Ask::post(path(id, "/executions"), &body).patience(patience);
    let answer = session.fetch(Reach::Server, "running", ask).await?;
    if answer.status == 202 {
        return tools::awaiting(session, &answer);
    }
    let result = answer.json()?;
    if session.json {
        session.term.print_json(&result)?;
    } else {
        let written = |stream: &str| result.get(stream).and_then(Value::as_str).unwrap_or_default().to_owned();
        session.term.print_output(&written("stdout"))?;
        session.term.print_errors(&written("stderr"));
    }
    let code = result.get("exit_code").and_then(Value::as_i64).unwrap_or(0);
    Ok(u8::try_from(code).unwrap_or(exit::BAD_NEWS))
}
