//! Settings with which an agent asks nobody before it acts. Nothing is started or changed with one of them: who may do
//! what is policy's to say.

use std::collections::BTreeMap;

use super::COMMON_VARIABLES;

/// A setting with which the agent would ask nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{setting}` in {place} would let the agent act without asking anybody, so it is not used; leave it out and say in a \
     policy what needs no approval"
)]
pub struct UnsafeSetting {
    /// The flag, variable or mode, without what else stands there.
    pub setting: String,
    /// Where it stands.
    pub place: &'static str,
}

/// Flags by themselves, without dashes at the front, `-` for `_`.
const FLAGS: [&str; 12] = [
    "dangerously-skip-permissions",
    "allow-dangerously-skip-permissions",
    "dangerously-bypass-approvals-and-sandbox",
    "dangerously-allow-all",
    "yolo",
    "full-auto",
    "auto-approve",
    "auto-approve-all",
    "skip-permissions",
    "no-confirm",
    "yes-always",
    "trust-all-tools",
];
/// Modes, without case, `-`, `_` and spaces.
const MODES: [&str; 7] = [
    "bypasspermissions",
    "yolo",
    "dangerfullaccess",
    "fullaccess",
    "fullauto",
    "autoapprove",
    "dangerouslyskippermissions",
];
/// Names of settings, and the values of theirs that mean the same.
const PAIRS: [(&str, &str); 4] =
    [("goose-mode", "auto"), ("approval-policy", "never"), ("ask-for-approval", "never"), ("a", "never")];
/// Programs whose `-y` means this too.
const SHORT: [&str; 2] = ["gemini", "kimi"];

/// Looks through the command and the environment that an agent is to be started with.
pub fn check_launch(argv: &[String], environment: &BTreeMap<String, String>) -> Result<(), UnsafeSetting> {
    // A wrapper hands on what stands in one word; so words are taken apart.
    let words: Vec<&str> = argv.iter().flat_map(|argument| argument.split_whitespace()).collect();
    if let Some(setting) = among_words(&words) {
        return Err(UnsafeSetting { setting, place: "its command" });
    }
    let own = environment.iter().filter(|(name, _)| !COMMON_VARIABLES.contains(&name.as_str()));
    for (name, value) in own {
        let words: Vec<&str> = value.split_whitespace().collect();
        let pair = flag(name);
        if is_mode(value) || among_words(&words).is_some() || PAIRS.contains(&(pair.as_str(), value.trim())) {
            return Err(UnsafeSetting { setting: name.clone(), place: "its environment" });
        }
    }
    Ok(())
}

/// Looks at a mode, or at the value of a setting, that a session is to have.
pub fn check_mode(mode: &str) -> Result<(), UnsafeSetting> {
    if is_mode(mode) {
        return Err(UnsafeSetting { setting: mode.chars().take(100).collect(), place: "the session's mode" });
    }
    Ok(())
}

fn among_words(words: &[&str]) -> Option<String> {
    let mut after_short = false;
    for (place, word) in words.iter().enumerate() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*word, words.get(place + 1).copied()),
        };
        let (name, value) = (flag(name), value.map(unquoted));
        let dashed = word.trim_start_matches(['"', '\'']).starts_with('-');
        let said_no = word.contains('=') && value.is_some_and(|value| matches!(value, "false" | "0" | "no"));
        if dashed && FLAGS.contains(&name.as_str()) && !said_no {
            return Some(format!("--{name}"));
        }
        if let Some(value) = value {
            let of_a_setting = dashed || word.contains('=');
            if of_a_setting && (is_mode(value) || PAIRS.contains(&(name.as_str(), value))) {
                return Some(format!("{name} {value}"));
            }
        }
        if after_short && *word == "-y" {
            return Some("-y".to_owned());
        }
        after_short |= SHORT.contains(&word.rsplit('/').next().unwrap_or_default());
    }
    None
}

/// A name without its dashes, in one spelling.
fn flag(name: &str) -> String {
    unquoted(name).trim_start_matches('-').to_ascii_lowercase().replace('_', "-")
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

fn is_mode(value: &str) -> bool {
    let plain: String =
        value.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).take(100).collect();
    MODES.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_asks_nobody_is_refused_however_it_is_spelt() {
        let refused: [&[&str]; 17] = [
            &["claude", "--dangerously-skip-permissions"],
            &["claude", "--dangerously-skip-permissions=true"],
            &["claude", "--allow-dangerously-skip-permissions"],
            &["claude", "--permission-mode", "bypassPermissions"],
            &["claude", "--permission-mode=bypassPermissions"],
            &["bash", "-c", "exec claude --dangerously-skip-permissions"],
            &["bash", "-c", "exec claude '--dangerously_skip_permissions'"],
            &["gemini", "--acp", "--yolo"],
            &["gemini", "--acp", "-y"],
            &["/usr/bin/gemini", "-y", "--acp"],
            &["gemini", "--approval-mode", "yolo"],
            &["gemini", "--approval-mode=YOLO"],
            &["codex-acp", "--dangerously-bypass-approvals-and-sandbox"],
            &["codex-acp", "-c", "approval_policy=\"never\""],
            &["codex-acp", "-a", "never"],
            &["codex-acp", "-c", "sandbox_mode=danger-full-access"],
            &["kimi", "acp", "--auto-approve"],
        ];
        for line in refused {
            assert!(check_launch(&argv(line), &BTreeMap::new()).is_err(), "{line:?}");
        }
        for (name, value) in [
            ("GOOSE_MODE", "auto"),
            ("AEGIS_PERMISSION_MODE", "bypassPermissions"),
            ("CLAUDE_ARGS", "--model x --dangerously-skip-permissions"),
            ("GEMINI_APPROVAL_MODE", "yolo"),
        ] {
            let environment = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let refused = check_launch(&argv(&["agent"]), &environment).expect_err(name);
            assert_eq!((refused.setting.as_str(), refused.place), (name, "its environment"));
        }
        for mode in ["bypassPermissions", "bypass_permissions", "YOLO", "full-access"] {
            assert!(check_mode(mode).is_err(), "{mode}");
        }
    }

    #[test]
    fn what_asks_is_let_through() {
        let fine: [&[&str]; 6] = [
            &["npx", "-y", "@google/gemini-cli", "--acp"],
            &["claude", "--permission-mode", "acceptEdits"],
            &["gemini", "--acp", "--approval-mode", "default"],
            &["gemini", "--yolo=false", "--acp"],
            &["goose", "acp"],
            &["my-agent", "--mode", "auto"],
        ];
        for line in fine {
            check_launch(&argv(line), &BTreeMap::new()).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        }
        let environment = [("GOOSE_MODE", "approve"), ("USER", "yolo"), ("ANTHROPIC_MODEL", "opus")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        check_launch(&argv(&["goose", "acp"]), &environment).expect("nothing wrong");
        for mode in ["default", "plan", "acceptEdits", "auto_edit", "read-only"] {
            check_mode(mode).expect("nothing wrong");
        }
    }
}
