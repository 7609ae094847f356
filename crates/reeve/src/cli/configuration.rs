//! `reeve config`: which settings hold and where they come from.

use clap::Args;

use super::Session;
use crate::config::{reference, shown};
use crate::exit::{self, Outcome};
use crate::render::Table;
use crate::term::Tone;

/// Show every setting and where it comes from
///
/// Settings come from reeve.toml, then from variables, then from flags; later ones win. Secrets are masked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reeve config                      what holds here
  reeve config --docs > SETTINGS.md the reference page")]
pub(super) struct ConfigCommand {
    /// Print the reference page, in Markdown
    #[arg(long)]
    docs: bool,
}

pub(super) fn run(command: &ConfigCommand, session: &mut Session) -> Outcome {
    if command.docs {
        session.term.print(&reference())?;
        return Ok(exit::DONE);
    }
    let settings = shown(&session.config);
    if session.json {
        session.term.print_json(&settings)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["SETTING", "VALUE", "COMES FROM"]);
    for setting in settings {
        let tone = (setting.source == "default").then_some(Tone::Faint);
        table.toned([
            (setting.name.to_owned(), None),
            (setting.value.unwrap_or_else(|| "–".to_owned()), tone),
            (setting.source, tone),
        ]);
    }
    let text = table.text(session.term.look(), "");
    session.term.print(&text)?;
    for warning in session.config.warnings.clone() {
        session.term.warning(&warning);
    }
    Ok(exit::DONE)
}
