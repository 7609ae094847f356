//! `reeve inventory`: what can be acted on.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reeve_platform::inventory::Inventory as Parsed;
use reeve_types::limits::CONFIG_FILE_BYTES_MAX;
use serde_json::json;

use super::Session;
use crate::client::{Ask, Reach};
use crate::exit::{self, Failure, Outcome};
use crate::render::{count, entries, records};

/// See and check the inventory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve inventory check infrastructure.json    before it is put in place
  reeve inventory list                         what the server knows")]
pub(super) struct Inventory {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check an inventory file without a server
    Check {
        /// The file; the configured one when left out
        file: Option<PathBuf>,
    },
    /// List the databases that the server knows
    List,
}

pub(super) async fn run(command: Inventory, session: &mut Session) -> Outcome {
    match command.what {
        What::Check { file } => check(file, session),
        What::List => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/databases")).await?;
            session.show(&answer, |list, look| records::databases(entries(list, "databases"), look))
        }
    }
}

fn check(file: Option<PathBuf>, session: &mut Session) -> Outcome {
    let file = file.or_else(|| session.config.inventory_file.clone()).ok_or_else(|| {
        Failure::usage("there is no inventory to check")
            .hint("name a file, or set inventory.file or HELPDESK_INFRA_CONFIG")
    })?;
    let parsed = read(&file)?;
    let warnings = parsed.warnings();
    let (databases, clusters, machines) = (parsed.db_servers.len(), parsed.k8s_clusters.len(), parsed.vms.len());
    if session.json {
        session.term.print_json(&json!({
            "file": file, "db_servers": databases, "k8s_clusters": clusters, "vms": machines, "warnings": warnings,
        }))?;
    } else {
        let what = [count(databases, "database"), count(clusters, "cluster"), count(machines, "machine")].join(", ");
        session.term.print(&format!("{}: {what}", file.display()))?;
        for warning in &warnings {
            session.term.print(&format!("  warning: {}", crate::render::clean(warning)))?;
        }
    }
    Ok(if warnings.is_empty() { exit::DONE } else { exit::BAD_NEWS })
}

/// Reads and understands an inventory file.
pub(super) fn read(file: &std::path::Path) -> Result<Parsed, Failure> {
    let cannot = |reason: String| Failure::could_not(format!("cannot read {}: {reason}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| cannot(error.to_string()))?.len();
    if size > CONFIG_FILE_BYTES_MAX as u64 {
        return Err(cannot(format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| cannot(error.to_string()))?;
    Parsed::parse(&file.display().to_string(), &text).map_err(Failure::usage)
}
