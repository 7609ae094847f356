//! `reeve users` and `reeve sign-in-link`: people's accounts.

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use reeve_types::secret::{ExposeSecret as _, SecretString};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::Session;
use crate::client::{Ask, Reach, escape};
use crate::exit::{self, Failure, Outcome};
use crate::render::{clean, entries, field, records};

/// The longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// List users, make accounts, set passwords, switch accounts off
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve users                                          everybody who can prove who they are
  reeve users add dora@example.com --role dba          prints a link that signs her in once
  pass show reeve | reeve users add ci@example.com --password-stdin
  reeve users passwd dora@example.com
  reeve users disable dora@example.com                 ends every sign-in of hers at once")]
pub(super) struct Users {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List users, service accounts and accounts with their roles
    List,
    /// Make an account
    Add {
        /// The e-mail address
        email: String,
        /// How the person wants to be called
        #[arg(long)]
        name: Option<String>,
        /// A role it gives; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input; without it a link is printed that signs the person in once
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set the password of an account; every sign-in of it ends
    Passwd {
        /// The e-mail address, or the account's id
        account: String,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give an account other roles
    Roles {
        /// The e-mail address, or the account's id
        account: String,
        /// A role it gives from now on; may be repeated, none takes all away
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Switch an account off; every sign-in of it ends at once
    Disable {
        /// The e-mail address, or the account's id
        account: String,
    },
    /// Switch an account on again
    Enable {
        /// The e-mail address, or the account's id
        account: String,
    },
    /// Sign access tokens with a new secret; those that are out hold until they expire
    RotateSecret,
}

/// Print a link that signs somebody in once, within ten minutes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve sign-in-link                      for the administrator
  reeve sign-in-link dora@example.com")]
pub(super) struct SignInLink {
    /// Whose account: its e-mail address or id
    #[arg(default_value = "administrator")]
    account: String,
}

pub(super) async fn run(command: Users, session: &mut Session) -> Outcome {
    match command.what.unwrap_or(What::List) {
        What::List => {
            let answer = session.fetch(Reach::ServerOrHere, "reading", Ask::get("/users")).await?;
            session.show(&answer, |list, look| records::users(entries(list, "users"), look))
        }
        What::Add { email, name, roles, password_stdin } => add(session, email, name, roles, password_stdin).await,
        What::Passwd { account, password_stdin } => {
            let password = if password_stdin { from_stdin()? } else { asked(session)? };
            let change = json!({"password": password.expose_secret()});
            set(session, &account, change, "has another password; every sign-in of it has ended").await
        }
        What::Roles { account, roles } => {
            let words = if roles.is_empty() { "no roles".to_owned() } else { roles.join(", ") };
            set(session, &account, json!({"roles": roles}), &format!("gives {words} now")).await
        }
        What::Disable { account } => set(session, &account, json!({"disabled": true}), "is switched off").await,
        What::Enable { account } => set(session, &account, json!({"disabled": false}), "is switched on").await,
        What::RotateSecret => {
            let ask = Ask::post("/accounts/signing-secret", &json!({}));
            session.fetch(Reach::ServerOrHere, "making a secret", ask).await?;
            session
                .term
                .print("Access tokens are signed with a new secret; those that are out hold until they expire.")?;
            Ok(exit::DONE)
        }
    }
}

async fn add(
    session: &mut Session,
    email: String,
    name: Option<String>,
    roles: Vec<String>,
    password_stdin: bool,
) -> Outcome {
    let password = password_stdin.then(from_stdin).transpose()?;
    let secret = password.as_ref().map(|password| password.expose_secret());
    let body = json!({"email": email, "name": name, "roles": roles, "password": secret});
    let made = session.fetch(Reach::ServerOrHere, "making an account", Ask::post("/accounts", &body)).await?;
    if password.is_some() {
        return session.show(&made, |account, _| {
            format!("{} has the account {}.", field(account, "email"), field(account, "id"))
        });
    }
    link(session, &field(&made.json()?, "id")).await
}

async fn set(session: &mut Session, account: &str, change: Value, words: &str) -> Outcome {
    let ask = Ask::patch(format!("/accounts/{}", escape(account)), &change);
    let answer = session.fetch(Reach::ServerOrHere, "changing", ask).await?;
    session.show(&answer, |account, _| format!("The account of {} {}.", field(account, "email"), clean(words)))
}

pub(super) async fn sign_in_link(command: &SignInLink, session: &mut Session) -> Outcome {
    link(session, &command.account).await
}

async fn link(session: &mut Session, account: &str) -> Outcome {
    let ask = Ask::post(format!("/accounts/{}/sign-in-link", escape(account)), &json!({}));
    let answer = session.fetch(Reach::ServerOrHere, "making a link", ask).await?;
    let (answer, email) = (answer.clone(), field(&answer.json()?["account"], "email"));
    // Without a server the link was made here; it works at the server that is started next.
    let server = session.config.client.server.clone();
    let here = session.is_here();
    session.show(&answer, |made, _| match here {
        true => format!("{server}/#/sign-in?link={}", field(made, "link")),
        false => field(made, "url"),
    })?;
    session.term.note(&format!("It signs {email} in once, within ten minutes."));
    Ok(exit::DONE)
}

fn from_stdin() -> Result<SecretString, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().take(PASSWORD_BYTES_MAX + 2).read_to_string(&mut text)?;
    password(&text)
}

fn password(text: &str) -> Result<SecretString, Failure> {
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() { Err(Failure::usage("no password was given")) } else { Ok(line.to_owned().into()) }
}

/// Asks for a password, twice, without showing it.
fn asked(session: &mut Session) -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on").hint("use --password-stdin"));
    }
    let first = hidden(session, "New password: ")?;
    let second = hidden(session, "The same again: ")?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(Failure::usage("the two passwords differ; nothing was changed"))
    }
}

fn hidden(session: &mut Session, prompt: &str) -> Result<SecretString, Failure> {
    session.term.note(prompt);
    let _quiet = Quiet::begin()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    password(&line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let failed =
            |error: rustix::io::Errno| Failure::could_not(format!("the terminal cannot be made silent: {error}"));
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing is left to try when the terminal is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
