//! The names that the program is started under, and the ways in which the guide writes flags.
//!
//! Started as `approvals` or `govexplain` (a link, or a copy), the program is `reeve approvals` or `reeve explain`. The
//! guide writes long flags with one dash or two, and puts those of a subcommand before or behind its name; both are
//! brought into the one form that the command line reads.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ArgAction;

/// The other names, and the command that each stands for.
const NAMES: [(&str, &str); 2] = [("approvals", "approvals"), ("govexplain", "explain")];

/// The command line in the form that `reeve` reads.
pub(crate) fn expand(args: Vec<OsString>, definition: &clap::Command) -> Vec<OsString> {
    let Some(command) = args.first().and_then(|name| command_of(name)) else { return args };
    let Some(family) = definition.find_subcommand(command) else { return args };
    let flags = Flags::of(definition, family);
    let rest = args.into_iter().skip(1).map(|word| flags.two_dashes(word)).collect();
    let mut line: Vec<OsString> = vec!["reeve".into(), command.into()];
    line.extend(if family.has_subcommands() { flags.subcommand_first(rest) } else { rest });
    line
}

fn command_of(program: &OsStr) -> Option<&'static str> {
    let name = Path::new(program).file_name()?.to_str()?;
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, command)| *command)
}

/// The long flags that a command and its subcommands know, and whether a value follows each.
struct Flags {
    known: Vec<(String, bool)>,
}

impl Flags {
    fn of(definition: &clap::Command, family: &clap::Command) -> Self {
        let mut known = vec![("help".to_owned(), false), ("version".to_owned(), false)];
        for command in [definition, family].into_iter().chain(family.get_subcommands()) {
            for argument in command.get_arguments() {
                let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
                let names = argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default());
                known.extend(names.map(|name| (name.to_owned(), takes_value)));
            }
        }
        Self { known }
    }

    fn takes_value(&self, name: &str) -> Option<bool> {
        self.known.iter().find(|(known, _)| known == name).map(|(_, takes_value)| *takes_value)
    }

    /// `-reason=x` is `--reason=x`; what is no known long flag stays as it is.
    fn two_dashes(&self, word: OsString) -> OsString {
        let Some(name) = word.to_str().and_then(|text| text.strip_prefix('-')).filter(|name| !name.starts_with('-'))
        else {
            return word;
        };
        let bare = name.split('=').next().unwrap_or(name);
        if bare.len() > 1 && self.takes_value(bare).is_some() { format!("--{name}").into() } else { word }
    }

    /// Puts the subcommand, which is the first word that is neither a flag nor the value of one, in front.
    fn subcommand_first(&self, words: Vec<OsString>) -> Vec<OsString> {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = word.to_string_lossy();
            let Some(flag) = text.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break };
            if flag == "-" {
                return words;
            }
            let name = flag.trim_start_matches('-');
            // `-o json`, the one short flag with a value, and `--reason x`; `--reason=x` carries its own.
            let value_follows = name == "o" || (!name.contains('=') && self.takes_value(name) == Some(true));
            at += if value_follows { 2 } else { 1 };
        }
        let mut words = words;
        if at < words.len() {
            let subcommand = words.remove(at);
            words.insert(0, subcommand);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let words = expand(args, &crate::cli::command());
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_guides_lines_become_ours() {
        let table = [
            ("/usr/local/bin/approvals list --status pending", "reeve approvals list --status pending"),
            ("approvals approve apr_xxx --reason LGTM", "reeve approvals approve apr_xxx --reason LGTM"),
            ("approvals approve -reason LGTM apr_xxx", "reeve approvals approve --reason LGTM apr_xxx"),
            ("approvals --reason LGTM approve apr_xxx", "reeve approvals approve --reason LGTM apr_xxx"),
            ("approvals -url=http://h:1 -json pending", "reeve approvals pending --url=http://h:1 --json"),
            (
                "approvals -o json --user otto deny apr_x -reason=no",
                "reeve approvals deny -o json --user otto apr_x --reason=no",
            ),
            ("./govexplain -list -since 1h", "reeve explain --list --since 1h"),
            (
                "govexplain --resource database:prod-db -action write --tags production -gateway http://h",
                "reeve explain --resource database:prod-db --action write --tags production --gateway http://h",
            ),
            ("govexplain -h", "reeve explain -h"),
            ("approvals", "reeve approvals"),
            ("approvals -unknown list", "reeve approvals list -unknown"),
            ("/opt/reeve approvals list", "/opt/reeve approvals list"),
        ];
        for (line, wanted) in table {
            assert_eq!(expanded(line), wanted, "{line}");
        }
    }

    #[test]
    fn every_expanded_line_of_the_guide_parses() {
        for line in [
            "approvals --url http://h:1199 --api-key k --user otto --json list --status pending --agent db --trace-id t --limit 5",
            "approvals approve apr_x --reason fine --valid-for 30",
            "approvals deny apr_x -reason no",
            "approvals cancel apr_x",
            "approvals watch",
            "govexplain --list --since 24h --effect deny --table --session s --trace t --trace-prefix p --limit 7",
            "govexplain --event tool_a1b2c3d4 --json",
            "govexplain --auditd http://h:1199 --resource database:prod-db --action write --user u --role dba --purpose diagnostic --sensitivity pii",
            "govexplain --policy-file p.yaml --infra-config i.json --api-key k --resource kubernetes:web --action read",
        ] {
            let args = line.split(' ').map(OsString::from).collect();
            let words = expand(args, &crate::cli::command());
            if let Err(error) = crate::cli::parse(words) {
                panic!("{line}: {error}");
            }
        }
    }
}
