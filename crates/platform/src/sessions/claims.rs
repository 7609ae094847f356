//! Holding an agent's words against the record.
//!
//! An answer may say that something was done. Each sentence that says so in the first person, or as a success, needs a
//! call of this turn that did such a thing and succeeded. What has none is marked; people see the mark beside the answer.

use reeve_gate::Gate;

use super::transcript::Transcript;

/// What a verb claims, and which words in the name of a tool bear it out.
struct Deed {
    said: &'static [&'static str],
    borne_out_by: &'static [&'static str],
}

const DEEDS: &[Deed] = &[
    Deed { said: &["terminated", "killed"], borne_out_by: &["terminate", "kill", "run_command", "execute"] },
    Deed { said: &["cancelled", "canceled"], borne_out_by: &["cancel", "terminate"] },
    Deed { said: &["restarted", "rebooted"], borne_out_by: &["restart", "run_command", "execute"] },
    Deed {
        said: &["deleted", "dropped", "removed"],
        borne_out_by: &["delete", "drop", "remove", "edit", "write", "execute", "run_command"],
    },
    Deed { said: &["vacuumed", "analyzed", "reindexed"], borne_out_by: &["vacuum", "analyze", "reindex", "execute"] },
    Deed {
        said: &[
            "created", "wrote", "written", "saved", "added", "edited", "updated", "changed", "modified", "fixed",
            "replaced", "renamed",
        ],
        borne_out_by: &[],
    },
    Deed { said: &["ran", "executed", "tested"], borne_out_by: &["run", "execute", "query", "check", "diagnose"] },
    Deed {
        said: &["scaled", "deployed", "applied", "configured", "enabled", "disabled", "granted", "revoked"],
        borne_out_by: &[],
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

/// The claims of a turn's last answer that no call of the turn bears out, each with what is missing.
pub(super) fn unproven(transcript: &Transcript, gate: &Gate) -> Vec<(String, String)> {
    let changes = |tool: &str| match gate.spec(tool) {
        Some(spec) => spec.action_class.mutates(),
        None => matches!(tool, "write_file" | "edit_file" | "run_command"),
    };
    let Some(words) = transcript.last_words() else { return Vec::new() };
    let done = transcript.succeeded();
    let changed = done.iter().any(|tool| changes(tool));
    claims(words)
        .into_iter()
        .filter(|(_, deed)| {
            let borne_out = deed.borne_out_by.iter().any(|word| done.iter().any(|tool| tool.contains(word)));
            let by_any_change = deed.borne_out_by.is_empty() && changed;
            !borne_out && !by_any_change
        })
        .map(|(sentence, _)| {
            let reason = match done {
                [] => "no call in this turn succeeded".to_owned(),
                done => format!("the calls that succeeded in this turn are {}", done.join(", ")),
            };
            (sentence, reason)
        })
        .take(5)
        .collect()
}

/// The sentences that claim a deed.
fn claims(text: &str) -> Vec<(String, &'static Deed)> {
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
            if let Some(deed) = deed_of(&words) {
                found.push((sentence.trim().trim_start_matches(['-', '*', ' ']).chars().take(300).collect(), deed));
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

/// The deed of a sentence whose subject is the speaker, or that calls itself a success.
fn deed_of(words: &[String]) -> Option<&'static Deed> {
    DEEDS.iter().find(|deed| {
        words.iter().enumerate().any(|(at, word)| {
            if !deed.said.contains(&word.as_str()) {
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
}
