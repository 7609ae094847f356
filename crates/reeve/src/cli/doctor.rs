//! `reeve doctor`: what is in the way.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{inventory, policy};
use crate::client::{Ask, Client, Reach, own_token, server_runs};
use crate::config::{Config, ConfigErrors, Surroundings};
use crate::exit::{self, Failure, Outcome};
use crate::render::{clean, count, entries, field, hanging};
use crate::term::{Look, Term, Tone};

/// Look for what is in the way: settings, files, permissions, the server
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing is in the way (remarks may have been made)
  1  something is in the way")]
pub(super) struct Doctor {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Fine,
    Remark,
    Broken,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    mark: Mark,
    found: String,
}

fn check(what: &'static str, mark: Mark, found: impl Into<String>) -> Check {
    Check { what, mark, found: found.into() }
}

pub(super) async fn run(
    _: &Doctor,
    loaded: Result<(Config, Surroundings), ConfigErrors>,
    term: &mut Term,
    json: bool,
) -> Outcome {
    let mut checks = Vec::new();
    match loaded {
        Err(errors) => checks.extend(errors.0.iter().map(|error| check("settings", Mark::Broken, error.to_string()))),
        Ok((config, around)) => {
            settings(&config, &around, &mut checks);
            policies(&config, &mut checks);
            files(&config, &mut checks);
            data_dir(&config, &mut checks);
            workspaces(&config, &mut checks).await;
            server(&config, term, &mut checks).await;
        }
    }
    if json {
        term.print_json(&checks)?;
    } else {
        let text = report(&checks, term.look());
        term.print(&text)?;
    }
    let broken = checks.iter().any(|check| check.mark == Mark::Broken);
    Ok(if broken { exit::BAD_NEWS } else { exit::DONE })
}

fn settings(config: &Config, around: &Surroundings, checks: &mut Vec<Check>) {
    let source = match &around.file {
        Some((path, _)) => format!("read from {}", path.display()),
        None => "no reeve.toml; defaults, variables and flags hold".to_owned(),
    };
    checks.push(check("settings", Mark::Fine, source));
    checks.extend(config.warnings.iter().map(|warning| check("settings", Mark::Remark, warning.clone())));
    for name in around.unread_variables() {
        checks.push(check("settings", Mark::Remark, format!("{name} is set, but no setting reads it")));
    }
}

fn policies(config: &Config, checks: &mut Vec<Check>) {
    checks.push(match policy::load(config.policy_files.clone()) {
        Err(failure) => check("policies", Mark::Broken, failure.message),
        Ok(_) if config.policy_files.is_empty() => check(
            "policies",
            Mark::Remark,
            "the built-in ones hold: reads are allowed, every change needs one approval",
        ),
        Ok(set) => {
            let policies = set.policies().len();
            let words = if policies == 1 { "1 policy loads".to_owned() } else { format!("{policies} policies load") };
            check("policies", Mark::Fine, words)
        }
    });
}

fn files(config: &Config, checks: &mut Vec<Check>) {
    match config.inventory_file.as_deref().map(inventory::read) {
        None => {
            checks.push(check("inventory", Mark::Remark, "none is set; any target is taken as it is, without tags"))
        }
        Some(Err(failure)) => checks.push(check("inventory", Mark::Broken, failure.message)),
        Some(Ok(parsed)) => {
            checks.push(check("inventory", Mark::Fine, count(parsed.db_servers.len(), "database")));
            checks.extend(parsed.warnings().into_iter().map(|warning| check("inventory", Mark::Remark, warning)));
        }
    }
    if let Some(path) = &config.identity.users_file {
        checks.push(match std::fs::File::open(path) {
            Ok(_) => check("users file", Mark::Fine, path.display().to_string()),
            Err(error) => check("users file", Mark::Broken, format!("{}: {error}", path.display())),
        });
    }
}

fn data_dir(config: &Config, checks: &mut Vec<Check>) {
    let dir = &config.data_dir;
    let shown = dir.display();
    let found = match std::fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match nearest_parent(dir) {
            Some(parent) if writable(parent) => {
                check("data directory", Mark::Fine, format!("{shown} will be made at the first start"))
            }
            _ => check(
                "data directory",
                Mark::Broken,
                format!("{shown} is not there and cannot be made; choose another with --data-dir"),
            ),
        },
        Err(error) => check("data directory", Mark::Broken, format!("{shown}: {error}")),
        Ok(meta) if !meta.is_dir() => check("data directory", Mark::Broken, format!("{shown} is not a directory")),
        Ok(_) if !writable(dir) => {
            check("data directory", Mark::Broken, format!("{shown} cannot be written by this user"))
        }
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            let found =
                format!("{shown} can be read by others; run: chmod 700 {}", crate::render::shell(&shown.to_string()));
            check("data directory", Mark::Remark, found)
        }
        Ok(_) => check("data directory", Mark::Fine, shown.to_string()),
    };
    checks.push(found);
}

async fn workspaces(config: &Config, checks: &mut Vec<Check>) {
    if config.workspaces.driver.is_none() {
        checks.push(check("workspaces", Mark::Fine, "switched off"));
        return;
    }
    let missing = if config.workspaces.chosen { Mark::Broken } else { Mark::Remark };
    match crate::boot::readiness(&config.workspaces).await {
        Err(error) => checks.push(check("workspaces", missing, format!("{error:#}"))),
        Ok(found) => checks.extend(found.into_iter().map(|found| {
            let mark = match (found.ready, found.needed) {
                (true, _) => Mark::Fine,
                (false, true) => missing,
                (false, false) => Mark::Remark,
            };
            check(found.what, mark, found.detail)
        })),
    }
}

fn nearest_parent(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|parent| parent.is_dir())
}

fn writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

async fn server(config: &Config, term: &mut Term, checks: &mut Vec<Check>) {
    let runs = server_runs(&config.data_dir);
    if !runs && !config.client.server_named {
        checks.push(check("server", Mark::Remark, "none runs for this data directory; `reeve up` starts one"));
        for address in &config.listen {
            if let Err(error) = std::net::TcpListener::bind(address) {
                checks.push(check("server", Mark::Broken, format!("it could not listen on {address}: {error}")));
            }
        }
        return;
    }
    let asked = async {
        let client = Client::connect(config, Reach::Server).await?;
        let health = client.fetch(Ask::get("/health")).await?.json()?;
        let who = client.fetch(Ask::get("/whoami")).await.and_then(|answer| answer.json());
        // For administrators alone; others are not told, and it is not in their way.
        let mcp = client.fetch(Ask::get("/mcp/servers")).await.and_then(|answer| answer.json()).ok();
        Ok::<_, Failure>((client.place(), health, who, mcp))
    };
    match term.progress("asking the server", asked).await {
        Err(failure) => checks.push(check("server", Mark::Broken, failure.message)),
        Ok((place, health, who, mcp)) => {
            checks.extend(mcp.iter().flat_map(|list| entries(list, "servers")).map(mcp_server));
            checks.push(check("server", Mark::Fine, format!("{place} answers, version {}", field(&health, "version"))));
            checks.push(match who {
                Ok(who) => check("identity", Mark::Fine, format!("you are {} there", field(&who, "label"))),
                Err(failure) if config.client.api_key.is_none() && own_token(&config.data_dir).is_none() => {
                    let hint = "no key was given and the data directory's admin.token cannot be used";
                    check("identity", Mark::Broken, format!("{}; {hint}", failure.message))
                }
                Err(failure) => check("identity", Mark::Broken, failure.message),
            });
        }
    }
}

fn mcp_server(server: &serde_json::Value) -> Check {
    let (name, state) = (field(server, "name"), field(server, "state"));
    let is = |key: &str| server.get(key) == Some(&serde_json::Value::Bool(true));
    match state.as_str() {
        "unreachable" => check("MCP server", Mark::Remark, format!("{name}: {}", field(server, "reason"))),
        _ if is("needs_accepting") => check(
            "MCP server",
            Mark::Remark,
            format!("{name}: its tools differ from what was pinned and are held back; `reeve mcp servers` shows how"),
        ),
        _ if is("needs_restart") => {
            check("MCP server", Mark::Remark, format!("{name}: what was accepted is offered after a restart"))
        }
        _ => check("MCP server", Mark::Fine, format!("{name} is {state}")),
    }
}

fn report(checks: &[Check], look: Look) -> String {
    let width = checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let (sign, tone) = match check.mark {
            Mark::Fine => ("✓", Tone::Good),
            Mark::Remark => ("▲", Tone::Warning),
            Mark::Broken => ("✖", Tone::Critical),
        };
        let text = hanging(&format!("{sign} {:<width$}  ", check.what), &clean(&check.found), look.width);
        out.push_str(&look.paint(tone, sign));
        out.push_str(text.strip_prefix(sign).unwrap_or(&text));
    }
    let broken = checks.iter().filter(|check| check.mark == Mark::Broken).count();
    let verdict = match broken {
        0 => "Nothing is in the way.".to_owned(),
        1 => "1 thing is in the way.".to_owned(),
        n => format!("{n} things are in the way."),
    };
    out.push_str(&format!("\n{verdict}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_ends_with_a_verdict() {
        let checks = [
            check("settings", Mark::Fine, "no reeve.toml"),
            check(
                "data directory",
                Mark::Remark,
                "/data can be read by others; run: chmod 700 /data, because keys are kept there",
            ),
            check("server", Mark::Broken, "cannot reach http://127.0.0.1:8080"),
        ];
        insta::assert_snapshot!(report(&checks, Look { colour: false, width: 60, columns: None }), @r"
        ✓ settings        no reeve.toml
        ▲ data directory  /data can be read by others; run: chmod
                          700 /data, because keys are kept there
        ✖ server          cannot reach http://127.0.0.1:8080

        1 thing is in the way.
        ");
    }
}
