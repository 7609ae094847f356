//! The command line: what may be typed, and where it leads. One module for each family of commands.

mod actions;
mod approvals;
mod ask;
mod audit;
mod backup;
mod chat;
mod configuration;
mod diagnose;
mod doctor;
mod events;
mod explain;
mod inventory;
mod keys;
mod mcp;
mod policy;
mod sessions;
mod tenants;
mod tools;
mod up;
mod users;
mod witness;
mod workspaces;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::client::{Answer, Ask, Client, Reach};
use crate::config::{Config, ConfigErrors, Flag, Surroundings};
use crate::exit::{self, CODES_HELP, Failure, Outcome};
use crate::telemetry::Telemetry;
use crate::term::Term;

const EXAMPLES: &str = "\
Examples:
  reeve diagnose 'host=db1 dbname=shop'      what is wrong with this server?
  reeve up --policy policies/                run the server
  reeve approvals pending                    what waits for a person?
  reeve tool run get_locks --target prod-db  do something, if policy lets you
  reeve audit verify                         is the record what was written?";

/// A self-hosted steward for AI agents: one gate for every action, one inbox, one record that can be proved.
#[derive(Debug, Parser)]
#[command(
    name = "reeve",
    version,
    after_help = format!("{EXAMPLES}\n\n{CODES_HELP}"),
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// Read settings from this file instead of the usual places
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Talk to this server
    #[arg(long, global = true, value_name = "URL", aliases = ["url", "gateway", "auditd"])]
    server: Option<String>,
    /// Say who you are with this key; REEVE_API_KEY does not show in the process list
    #[arg(long, global = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Name this user; for servers that take callers at their word
    #[arg(long = "as", global = true, value_name = "USER")]
    as_user: Option<String>,
    /// How to print the answer: table for people, json as the API sends it
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table, value_name = "FORMAT", hide_possible_values = true)]
    output: Output,
    /// The same as `--output json`
    #[arg(long, global = true)]
    json: bool,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Diagnose(diagnose::Diagnose),
    Ask(ask::AskCommand),
    Tools(tools::Tools),
    Tool(tools::Tool),
    Actions(actions::Actions),
    Approvals(approvals::Approvals),
    Explain(explain::Explain),
    Policy(policy::Policy),
    Audit(audit::Audit),
    Events(events::Events),
    Journeys(events::Journeys),
    Keys(keys::Keys),
    Tenants(tenants::Tenants),
    Mcp(mcp::Mcp),
    Users(users::Users),
    SignInLink(users::SignInLink),
    Workspaces(workspaces::Workspaces),
    Session(sessions::SessionCommand),
    Chat(chat::Chat),
    Agents(sessions::Agents),
    Models(sessions::Models),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Inventory(inventory::Inventory),
    Config(configuration::ConfigCommand),
    Doctor(doctor::Doctor),
    Completions(Completions),
    Version(Version),
}

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve completions bash > /etc/bash_completion.d/reeve\n  reeve completions zsh > ~/.zfunc/_reeve"
)]
struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the version
#[derive(Debug, Args)]
struct Version {}

/// The definition of the whole command line.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Reads what was typed. Help and version come back as an error that is none.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args)
}

/// What the last spans have to reach the collector when the server ends.
const SPANS_CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What a command works with.
pub(crate) struct Session {
    pub(crate) term: Term,
    pub(crate) config: Config,
    pub(crate) json: bool,
    client: Option<Client>,
}

impl Session {
    /// The way to the API, found at the first use.
    async fn client(&mut self, reach: Reach) -> Result<&Client, Failure> {
        if self.client.is_none() {
            let found = Client::connect(&self.config, reach).await?;
            self.client = Some(found);
        }
        self.client.as_ref().ok_or_else(|| Failure::could_not("there is no way to the API"))
    }

    /// Whether the API runs in this process, because no server does.
    fn is_here(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_here)
    }

    /// Asks with progress. Answers that are problems come back as answers.
    async fn send(&mut self, reach: Reach, label: &str, ask: Ask) -> Result<Answer, Failure> {
        if self.client.is_none() {
            let connect = Client::connect(&self.config, reach);
            self.client = Some(self.term.progress(label, connect).await?);
        }
        match &self.client {
            Some(client) => self.term.progress(label, client.send(ask)).await,
            None => Err(Failure::could_not("there is no way to the API")),
        }
    }

    /// Sends a file with progress. Answers that are problems come back as answers.
    async fn send_file(&mut self, label: &str, ask: Ask, file: tokio::fs::File) -> Result<Answer, Failure> {
        self.client(Reach::Server).await?;
        match &self.client {
            Some(client) => self.term.progress(label, client.send_file(ask, file)).await,
            None => Err(Failure::could_not("there is no way to the API")),
        }
    }

    /// Asks with progress. Answers that are problems come back as failures.
    async fn fetch(&mut self, reach: Reach, label: &str, ask: Ask) -> Result<Answer, Failure> {
        self.send(reach, label, ask).await?.fine()
    }

    /// Prints an answer as JSON, or what `table` makes of it.
    fn show(
        &mut self,
        answer: &Answer,
        table: impl FnOnce(&serde_json::Value, crate::term::Look) -> String,
    ) -> Outcome {
        if self.json {
            self.term.print_json_text(&answer.text)?;
        } else {
            let text = table(&answer.json()?, self.term.look());
            self.term.print(&text)?;
        }
        Ok(exit::DONE)
    }
}

/// Carries out what was typed.
pub(crate) async fn run(cli: Cli, mut term: Term) -> ExitCode {
    let outcome = dispatch(cli, &mut term).await;
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            term.failure(&failure);
            failure.exit_code()
        }
    }
}

async fn dispatch(cli: Cli, term: &mut Term) -> Outcome {
    // These need no configuration, and must work when it is broken.
    match &cli.command {
        Command::Completions(wanted) => return completions(term, wanted.shell),
        Command::Version(_) => return version(term, cli.globals.wants_json()),
        _ => {}
    }
    let around = Surroundings::look(cli.globals.config_file().as_deref());
    if let Command::Doctor(command) = &cli.command {
        let loaded = around.and_then(|around| Ok((crate::config::load(&around, &cli.flags())?, around)));
        return doctor::run(command, loaded, term, cli.globals.wants_json()).await;
    }
    let around = around?;
    let config = crate::config::load(&around, &cli.flags())?;
    let telemetry = start_logging(&config, matches!(cli.command, Command::Up(_)));
    let json = cli.globals.wants_json();
    let own = std::mem::replace(term, Term::silent());
    let mut session = Session { term: own, config, json, client: None };
    // The future of a command is as large as that of the largest; it does not have to lie on the stack.
    let outcome = Box::pin(run_command(cli.command, &mut session)).await;
    let Session { term: own, client, .. } = session;
    *term = own;
    if let Some(client) = client {
        client.close().await;
    }
    if let Some(telemetry) = telemetry {
        telemetry.close(SPANS_CLOSE_LIMIT).await;
    }
    outcome
}

/// Only a server is traced. One whose spans cannot be sent serves all the same.
fn start_logging(config: &Config, is_server: bool) -> Option<Telemetry> {
    let telemetry = config.otel.as_ref().filter(|_| is_server).map(Telemetry::start).transpose();
    crate::logging::start(&config.log, is_server, telemetry.as_ref().ok().and_then(Option::as_ref));
    telemetry.unwrap_or_else(|error| {
        tracing::warn!("no traces are sent: {error:#}");
        None
    })
}

async fn run_command(command: Command, session: &mut Session) -> Outcome {
    match command {
        Command::Up(command) => up::run(command, session).await,
        Command::Diagnose(command) => diagnose::run(command, session).await,
        Command::Ask(command) => ask::run(command, session).await,
        Command::Tools(command) => tools::list(command, session).await,
        Command::Tool(command) => tools::run(command, session).await,
        Command::Actions(command) => actions::run(command, session).await,
        Command::Approvals(command) => approvals::run(command, session).await,
        Command::Explain(command) => explain::run(command, session).await,
        Command::Policy(command) => policy::run(command, session).await,
        Command::Audit(command) => audit::run(command, session).await,
        Command::Events(command) => events::run(command, session).await,
        Command::Journeys(command) => events::journeys(command, session).await,
        Command::Keys(command) => keys::run(command, session).await,
        Command::Tenants(command) => tenants::run(command, session).await,
        Command::Mcp(command) => mcp::run(command, session).await,
        Command::Users(command) => users::run(command, session).await,
        Command::SignInLink(command) => users::sign_in_link(&command, session).await,
        Command::Workspaces(command) => workspaces::run(command, session).await,
        Command::Session(command) => sessions::run(command, session).await,
        Command::Chat(command) => chat::run(command, session).await,
        Command::Agents(command) => sessions::agents(command, session).await,
        Command::Models(command) => sessions::models(command, session).await,
        Command::Backup(command) => backup::take(command, session).await,
        Command::Restore(command) => backup::restore(command, session).await,
        Command::Inventory(command) => inventory::run(command, session).await,
        Command::Config(command) => configuration::run(&command, session),
        // Handled before there was a session.
        Command::Doctor(_) | Command::Completions(_) | Command::Version(_) => Ok(exit::DONE),
    }
}

impl Globals {
    fn wants_json(&self) -> bool {
        self.json || self.output == Output::Json
    }

    fn config_file(&self) -> Option<PathBuf> {
        let from_variable = || crate::config::surroundings::variable(crate::config::surroundings::CONFIG_VARIABLE);
        self.config.clone().or_else(|| from_variable().filter(|path| !path.is_empty()).map(PathBuf::from))
    }
}

impl Cli {
    /// The settings that flags carry.
    fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let globals = &self.globals;
        flag(&mut flags, "data_dir", "--data-dir", globals.data_dir.as_ref());
        flag(&mut flags, "server", "--server", globals.server.as_ref());
        flag(&mut flags, "api_key", "--api-key", globals.api_key.as_ref());
        flag(&mut flags, "user", "--as", globals.as_user.as_ref());
        match &self.command {
            Command::Up(up) => up.flags(&mut flags),
            Command::Approvals(approvals) => approvals.flags(&mut flags),
            Command::Explain(explain) => explain.flags(&mut flags),
            _ => {}
        }
        flags
    }
}

/// Adds a flag when it was given.
fn flag(flags: &mut Vec<Flag>, key: &'static str, name: &'static str, value: Option<&String>) {
    flags.extend(value.map(|value| Flag { key, flag: name, values: vec![value.clone()] }));
}

/// Adds a flag that may be repeated, when it was given.
fn list_flag(flags: &mut Vec<Flag>, key: &'static str, name: &'static str, values: &[String]) {
    if !values.is_empty() {
        flags.push(Flag { key, flag: name, values: values.to_vec() });
    }
}

fn completions(term: &mut Term, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "reeve", &mut script);
    term.print(&String::from_utf8_lossy(&script))?;
    Ok(exit::DONE)
}

fn version(term: &mut Term, json: bool) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        term.print_json(&serde_json::json!({"name": "reeve", "version": version}))?;
    } else {
        term.print(&format!("reeve {version}"))?;
    }
    Ok(exit::DONE)
}

impl From<&ConfigErrors> for Failure {
    fn from(errors: &ConfigErrors) -> Self {
        errors.clone().into()
    }
}

#[cfg(test)]
mod tests;
