//! Copies of workspaces: snapshots and what is made of them, forks, whole workspaces out and in.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{one, path};
use crate::cli::{Session, tools};
use crate::client::{Ask, LONG_PATIENCE, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{Table, entries, field, moment, pairs};

#[derive(Debug, Subcommand)]
pub(super) enum Copies {
    /// Copy its files aside
    Snapshot {
        /// Its id, `wsp_…`
        id: String,
        /// What to call the copy
        name: String,
    },
    /// List its snapshots
    Snapshots {
        /// Its id, `wsp_…`
        id: String,
    },
    /// Put its files back as they were in a snapshot; it must not run
    RollBack {
        /// Its id, `wsp_…`
        id: String,
        /// The snapshot's id, `snp_…`
        snapshot: String,
    },
    /// Remove a snapshot for good
    DropSnapshot {
        /// Its id, `wsp_…`
        id: String,
        /// The snapshot's id, `snp_…`
        snapshot: String,
    },
    /// Make a second workspace with its files
    Fork {
        /// Its id, `wsp_…`
        id: String,
        /// What to call the new one
        name: String,
        /// With the files of this snapshot instead of those that are there now
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<String>,
        /// Start it as well
        #[arg(long)]
        start: bool,
    },
    /// Write all its files into one tar file
    Export {
        /// Its id, `wsp_…`
        id: String,
        /// A file that is not there yet; `-` for standard output
        file: PathBuf,
    },
    /// Make a workspace of such a tar file
    Import {
        /// What to call it
        name: String,
        /// The file that `reeve workspaces export` wrote
        file: PathBuf,
        /// What it counts as made from
        #[arg(long, default_value = "base")]
        template: String,
        /// Start it as well
        #[arg(long)]
        start: bool,
    },
}

pub(super) async fn run(what: Copies, session: &mut Session) -> Outcome {
    match what {
        Copies::Snapshot { id, name } => {
            let ask = Ask::post(path(&id, "/snapshots"), &json!({"name": name})).patience(LONG_PATIENCE);
            let answer = session.fetch(Reach::Server, "copying", ask).await?;
            if answer.status == 202 {
                return tools::awaiting(session, &answer);
            }
            session.show(&answer, |snapshot, look| {
                let rows =
                    [("snapshot", field(snapshot, "id")), ("name", field(snapshot, "name")), ("size", size(snapshot))];
                pairs(look, &rows)
            })
        }
        Copies::Snapshots { id } => {
            let answer = session.fetch(Reach::Server, "reading", Ask::get(path(&id, "/snapshots"))).await?;
            session.show(&answer, |list, look| {
                let mut table = Table::new(&["SNAPSHOT", "NAME", "SIZE", "TAKEN"]);
                for snapshot in entries(list, "snapshots") {
                    let taken = moment(&field(snapshot, "created_at"));
                    table.row([field(snapshot, "id"), field(snapshot, "name"), size(snapshot), taken]);
                }
                table.text(look, "No snapshots. `reeve workspaces snapshot ID NAME` takes one.")
            })
        }
        Copies::RollBack { id, snapshot } => {
            let at = path(&id, &format!("/snapshots/{}/roll-back", escape(&snapshot)));
            one(session, "putting files back", Ask::post(at, &json!({})).patience(LONG_PATIENCE)).await
        }
        Copies::DropSnapshot { id, snapshot } => {
            let ask = Ask::delete(path(&id, &format!("/snapshots/{}", escape(&snapshot))));
            let answer = session.fetch(Reach::Server, "removing", ask).await?;
            if answer.status == 202 {
                return tools::awaiting(session, &answer);
            }
            session.show(&answer, |_, _| "The snapshot is gone.".to_owned())
        }
        Copies::Fork { id, name, snapshot, start } => {
            let mut body = json!({"name": name, "start": start});
            if let Some(snapshot) = snapshot {
                body["snapshot_id"] = json!(snapshot);
            }
            one(session, "copying", Ask::post(path(&id, "/fork"), &body).patience(LONG_PATIENCE)).await
        }
        Copies::Export { id, file } => export(session, &id, &file).await,
        Copies::Import { name, file, template, start } => {
            let unreadable = |error| Failure::could_not(format!("{} cannot be read: {error}", file.display()));
            let opened = tokio::fs::File::open(&file).await.map_err(unreadable)?;
            let ask = Ask::post("/workspaces/import", &Value::Null)
                .with("name", Some(name))
                .with("template", Some(template))
                .with("start", start.then_some("true"))
                .patience(LONG_PATIENCE);
            let answer = session.send_file("sending", ask, opened).await?.fine()?;
            if answer.status == 202 {
                return tools::awaiting(session, &answer);
            }
            session.show(&answer, crate::render::records::workspace)
        }
    }
}

fn size(of: &Value) -> String {
    let bytes = of.get("disk_bytes").and_then(Value::as_u64).unwrap_or(0);
    format!("{:.1} MB", bytes as f64 / 1e6)
}

async fn export(session: &mut Session, id: &str, file: &Path) -> Outcome {
    let to_output = file.as_os_str() == "-";
    if !to_output && file.exists() {
        let said = format!("{} is there already; name a new file", file.display());
        return Err(Failure::usage(said));
    }
    let ask = Ask::get(path(id, "/export"));
    let chunks = session.client(Reach::Server).await?.stream(ask).await?;
    let written = async {
        if to_output {
            return copy(chunks, tokio::io::stdout()).await;
        }
        // Beside the file and renamed, so that a file of this name is always whole.
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let copied = copy(chunks, tokio::fs::File::from_std(opened)).await;
        let placed = copied.and_then(|bytes| std::fs::hard_link(&partial, file).map(|()| bytes));
        std::fs::remove_file(&partial)?;
        placed
    };
    let written: std::io::Result<u64> = session.term.progress("writing", written).await;
    let bytes =
        written.map_err(|error| Failure::could_not(format!("{} cannot be written: {error}", file.display())))?;
    if to_output {
        return Ok(exit::DONE);
    }
    if session.json {
        session.term.print_json(&json!({"file": file, "bytes": bytes, "workspace": id}))?;
    } else {
        let rows = [("File", file.display().to_string()), ("Size", format!("{:.1} MB", bytes as f64 / 1e6))];
        let text = pairs(session.term.look(), &rows);
        session.term.print(&text)?;
    }
    Ok(exit::DONE)
}

async fn copy(mut chunks: crate::client::Chunks, mut to: impl tokio::io::AsyncWrite + Unpin) -> std::io::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| std::io::Error::other(format!("the export broke off: {error}")))?;
        to.write_all(&chunk).await?;
        bytes += chunk.len() as u64;
    }
    to.flush().await?;
    to.shutdown().await?;
    Ok(bytes)
}
