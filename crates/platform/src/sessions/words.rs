//! Sentences that sound as if something was done: the last net under agents that state nothing.
//!
//! It is a list of English verbs in the first person, or beside "successfully", and knows nothing else: no other language,
//! no passive voice, no table. What it marks is worth a look, and what it does not mark is not proved by that.

use reeve_types::ActionClass;

/// What a verb claims, and what bears it out.
#[derive(Debug)]
pub(super) struct Verb {
    said: &'static [&'static str],
    /// Words in the name of a tool; any change where there are none.
    tools: &'static [&'static str],
    /// The class of such a deed.
    pub(super) class: ActionClass,
}

impl Verb {
    /// Whether a call of such a tool can have been what the verb says.
    pub(super) fn is_borne_out_by(&self, tool: &str, kind: &str) -> bool {
        // A program can have done anything.
        if kind == "execute" {
            return true;
        }
        if self.tools.is_empty() {
            return !super::deeds::only_looks(kind);
        }
        let mut words = tool.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        words.any(|word| self.tools.contains(&word.as_str())) || self.tools.contains(&kind)
    }
}

const VERBS: &[Verb] = &[
    Verb { said: &["terminated", "killed"], tools: &["terminate", "kill", "execute"], class: ActionClass::Destructive },
    Verb { said: &["cancelled", "canceled"], tools: &["cancel", "terminate"], class: ActionClass::Write },
    Verb { said: &["restarted", "rebooted"], tools: &["restart", "execute"], class: ActionClass::Write },
    Verb {
        said: &["deleted", "dropped", "removed"],
        tools: &["delete", "drop", "remove", "edit", "write", "move", "execute"],
        class: ActionClass::Destructive,
    },
    Verb {
        said: &["vacuumed", "analyzed", "reindexed"],
        tools: &["vacuum", "analyze", "reindex", "execute"],
        class: ActionClass::Write,
    },
    Verb {
        said: &[
            "created", "wrote", "written", "saved", "added", "edited", "updated", "changed", "modified", "fixed",
            "replaced", "renamed",
        ],
        tools: &[],
        class: ActionClass::Write,
    },
    Verb {
        said: &["ran", "executed", "tested"],
        tools: &["run", "execute", "query", "check", "diagnose"],
        class: ActionClass::Read,
    },
    Verb {
        said: &["scaled", "deployed", "applied", "configured", "enabled", "disabled", "granted", "revoked"],
        tools: &[],
        class: ActionClass::Write,
    },
];

/// Words that make a sentence something else than a claim.
const HEDGES: &[&str] = &[
    "not",
    "n't",
    "would",
    "could",
    "should",
    "might",
    "may",
    "can",
    "will",
    "if",
    "once",
    "recommend",
    "suggest",
    "propose",
    "unable",
    "failed",
    "denied",
    "refused",
    "until",
    "before",
    "need",
    "needs",
    "cannot",
];

/// The sentences that claim something, each with its verb.
pub(super) fn claims(text: &str) -> Vec<(String, &'static Verb)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code || line.trim_start().starts_with('>') {
            continue;
        }
        for sentence in sentences(line) {
            let words: Vec<String> = sentence
                .split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
                .filter(|word| !word.is_empty())
                .map(|word| word.to_lowercase().replace('’', "'"))
                .collect();
            if sentence.trim_end().ends_with('?')
                || words.iter().any(|word| HEDGES.contains(&word.as_str()) || word.ends_with("n't"))
            {
                continue;
            }
            if let Some(verb) = verb_of(&words) {
                found.push((sentence.trim().trim_start_matches(['-', '*', ' ']).chars().take(300).collect(), verb));
            }
        }
    }
    found
}

/// The sentences of a line. A dot ends one only before a space, so that names of files stay whole.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = |at: &usize| rest[at + 1..].chars().next().is_none_or(char::is_whitespace);
        let end = rest.match_indices(['.', '!', '?', ';']).map(|(at, _)| at).find(ends).map_or(rest.len(), |at| at + 1);
        let (sentence, left) = rest.split_at(end);
        rest = left;
        Some(sentence)
    })
}

/// The verb of a sentence whose subject is the speaker, or that calls itself a success.
fn verb_of(words: &[String]) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| {
        words.iter().enumerate().any(|(at, word)| {
            if !verb.said.contains(&word.as_str()) {
                return false;
            }
            let before = &words[at.saturating_sub(4)..at];
            let own = before.iter().any(|word| matches!(word.as_str(), "i" | "i've" | "we" | "we've"));
            let success = words.get(at + 1).is_some_and(|word| word == "successfully")
                || before.last().is_some_and(|word| word == "successfully");
            own || success
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        claims(text).into_iter().map(|(sentence, _)| sentence).collect()
    }

    #[test]
    fn a_claim_is_a_sentence_that_says_a_deed_was_done() {
        assert_eq!(said("I terminated pid 4711. The lock is free."), ["I terminated pid 4711."]);
        assert_eq!(said("Done. I've successfully created `a.py`."), ["I've successfully created `a.py`."]);
        assert_eq!(said("- The index was successfully dropped."), ["The index was successfully dropped."]);
    }

    #[test]
    fn advice_history_and_code_are_no_claims() {
        for text in [
            "I would have terminated pid 4711.",
            "You can cancel the query once it is killed.",
            "The session was cancelled by a timeout at 10:04.",
            "I have not deleted anything.",
            "Shall I say that I fixed it?",
            "```\nI deleted everything.\n```",
            "> I deleted everything.",
        ] {
            assert!(said(text).is_empty(), "{text}: {:?}", said(text));
        }
    }

    #[test]
    fn a_verb_is_borne_out_by_words_of_a_tools_name_and_not_by_parts_of_words() {
        let of = |said: &str| claims(said).remove(0).1;
        assert!(of("I terminated it.").is_borne_out_by("terminate_connection", "other"));
        assert!(!of("I terminated it.").is_borne_out_by("determinate", "other"));
        assert!(!of("I restarted it.").is_borne_out_by("terminate_connection", "other"));
        assert!(of("I restarted it.").is_borne_out_by("Bash", "execute"), "a program can have done anything");
        assert!(of("I wrote it.").is_borne_out_by("Write", "edit"));
        assert!(!of("I wrote it.").is_borne_out_by("Read", "read"));
        assert!(of("I deleted it.").is_borne_out_by("remove file", "delete"));
    }
}
