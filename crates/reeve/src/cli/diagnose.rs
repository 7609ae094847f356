//! `reeve diagnose`: what is wrong with a database server.

use clap::Args;
use reeve_types::{Diagnosis, Purpose};
use serde_json::{Value, json};

use super::{Session, tools};
use crate::client::{Ask, LONG_PATIENCE, Reach};
use crate::exit::{self, Failure, Outcome};
use crate::render::diagnosis;

/// Find out what is wrong with a database
///
/// Looks at everything at once without changing anything, names each cause with its evidence, and proposes commands
/// that would help. Works through the running server, or without one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve diagnose prod-db                              an id of the inventory
  reeve diagnose 'host=db1 dbname=shop user=monitor'  a connection string
  reeve diagnose postgresql://monitor@db1/shop
  reeve diagnose prod-db --output json | jq '.findings[].code'
  reeve diagnose prod-db --baseline save              remember a good day
  reeve diagnose prod-db --baseline compare           and say what has changed since

Exit codes:
  0  nothing is wrong (information may have been found)
  1  something is wrong
  2  it could not be looked at
  3  wrong usage or configuration
  4  denied by policy
  5  waiting for an approval")]
pub(super) struct Diagnose {
    /// An id of the inventory, or a connection string or URI; not needed when the inventory holds one database
    target: Option<String>,
    /// Remember this look as the normal day of the database, or say what has changed since
    #[arg(long, value_enum, value_name = "WHAT")]
    baseline: Option<Baseline>,
    #[command(flatten)]
    why: Why,
}

/// What to do with the normal day of a database.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Baseline {
    /// Remember this look
    Save,
    /// Say what has changed since the last one that was saved
    Compare,
}

impl Baseline {
    fn word(self) -> &'static str {
        match self {
            Self::Save => "save",
            Self::Compare => "compare",
        }
    }
}

/// Why something is asked for.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why: diagnostic, remediation, maintenance, compliance, emergency or fleet_rollout
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<Purpose>,
    /// The same in your words
    #[arg(long, value_name = "TEXT", alias = "purpose-note")]
    note: Option<String>,
}

impl Why {
    /// Adds what was said to the body of a request.
    pub(super) fn put(&self, body: &mut Value) {
        put(body, "purpose", self.purpose.map(Purpose::as_str));
        put(body, "purpose_note", self.note.as_deref());
    }

    pub(super) fn set_default(&mut self, purpose: Purpose) {
        self.purpose.get_or_insert(purpose);
    }
}

/// Adds a member to a body when it has a value.
pub(super) fn put(body: &mut Value, name: &str, value: Option<&str>) {
    if let (Value::Object(members), Some(value)) = (body, value) {
        members.insert(name.to_owned(), value.into());
    }
}

pub(super) async fn run(mut command: Diagnose, session: &mut Session) -> Outcome {
    command.why.set_default(Purpose::Diagnostic);
    let mut body = json!({});
    put(&mut body, "target", command.target.as_deref());
    put(&mut body, "baseline", command.baseline.map(Baseline::word));
    command.why.put(&mut body);
    let name = command.target.as_deref().map_or_else(|| "the database".to_owned(), reeve_types::mask_dsn);
    let ask = Ask::post("/diagnose", &body).patience(LONG_PATIENCE);
    let answer = session.fetch(Reach::ServerOrHere, &format!("looking at {name}"), ask).await?;
    if answer.status == 202 {
        return tools::awaiting(session, &answer);
    }
    let reply = answer.json()?;
    let found = reply.get("data").filter(|data| data.is_object()).unwrap_or(&reply).clone();
    let diagnosis: Diagnosis = serde_json::from_value(found).map_err(|_| {
        Failure::could_not("the server's answer is not a diagnosis").hint("is it as new as this program?")
    })?;
    if session.json {
        session.term.print_json(&diagnosis)?;
    } else {
        let text = diagnosis::text(&diagnosis, session.term.look());
        session.term.print(&text)?;
    }
    Ok(verdict(&diagnosis))
}

fn verdict(diagnosis: &Diagnosis) -> u8 {
    match (diagnosis.reachable, diagnosis::is_bad(diagnosis)) {
        // What kept us out is a finding too, but nobody has looked inside.
        (false, _) => exit::COULD_NOT,
        (true, true) => exit::BAD_NEWS,
        (true, false) => exit::DONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_trouble_from_blindness() {
        let told = |text: &str| verdict(&serde_json::from_str(text).unwrap());
        let finding = |severity: &str| {
            format!(r#"{{"code":"x","severity":"{severity}","title":"","cause":"","evidence":[],"remedies":[]}}"#)
        };
        let diagnosis = |findings: &str, reachable: bool| {
            format!(
                r#"{{"target":"t","server_version":null,"duration_ms":1,"findings":[{findings}],"not_checked":[],"reachable":{reachable}}}"#
            )
        };
        assert_eq!(told(&diagnosis("", true)), exit::DONE);
        assert_eq!(told(&diagnosis(&finding("info"), true)), exit::DONE);
        assert_eq!(told(&diagnosis(&finding("warning"), true)), exit::BAD_NEWS);
        assert_eq!(told(&diagnosis(&finding("critical"), false)), exit::COULD_NOT, "nobody has looked inside");
        assert_eq!(told(&diagnosis("", false)), exit::COULD_NOT);
    }
}
