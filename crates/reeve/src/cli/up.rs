//! `reeve up`: the server.

use clap::Args;

use super::{Session, flag, list_flag};
use crate::config::Flag;
use crate::exit::{self, Failure, Outcome};

/// Run the server
///
/// Serves the API, asks people, keeps the record. It stops in order on SIGTERM or Ctrl-C and reads
/// policies, inventory and users again on SIGHUP and when their files change.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve up                                  on 127.0.0.1:8080
  reeve up --policy policies/ --inventory infrastructure.json
  reeve up --listen 0.0.0.0:8080 --users-file users.yaml

The first start makes an administrator's key and writes it to admin.token in the data directory; commands on \
the same machine find it there. On a terminal, and at the first start, a link is printed that signs the administrator in \
once. `reeve config` shows every setting and where it comes from.")]
pub(super) struct Up {
    /// Listen here; may be repeated
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<String>,
    /// Policy file or directory of them; may be repeated
    #[arg(long = "policy", value_name = "PATH")]
    policies: Vec<String>,
    /// The inventory
    #[arg(long, value_name = "FILE")]
    inventory: Option<String>,
    /// Users, service accounts and their roles
    #[arg(long, value_name = "FILE")]
    users_file: Option<String>,
    /// Who is believed: keys, static or none
    #[arg(long, value_name = "PROVIDER")]
    identity: Option<String>,
    /// How workspaces are held: namespace, docker or none
    #[arg(long, value_name = "DRIVER")]
    driver: Option<String>,
    /// readonly, readonly-governed or fix
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Up {
    pub(super) fn flags(&self, flags: &mut Vec<Flag>) {
        list_flag(flags, "listen", "--listen", &self.listen);
        list_flag(flags, "policy.files", "--policy", &self.policies);
        flag(flags, "inventory.file", "--inventory", self.inventory.as_ref());
        flag(flags, "identity.users_file", "--users-file", self.users_file.as_ref());
        flag(flags, "identity.provider", "--identity", self.identity.as_ref());
        flag(flags, "workspaces.driver", "--driver", self.driver.as_ref());
        flag(flags, "mode", "--mode", self.mode.as_ref());
        flag(flags, "log.level", "--log-level", self.log_level.as_ref());
        flag(flags, "log.format", "--log-format", self.log_format.as_ref());
    }
}

pub(super) async fn run(_: Up, session: &mut Session) -> Outcome {
    let ended = crate::lifecycle::serve(session.config.clone(), &mut session.term).await;
    match ended {
        Ok(code) if code == std::process::ExitCode::SUCCESS => Ok(exit::DONE),
        Ok(_) => Ok(exit::COULD_NOT),
        Err(error) => Err(Failure::could_not(format!("{error:#}")).hint("`reeve doctor` looks for what is in the way")),
    }
}
