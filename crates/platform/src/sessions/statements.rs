//! What an agent states that it did, entry by entry, and whether what it did bears that out.
//!
//! An entry names the act that it is about, by the number that stands in the act's result, or by tool and target. It is
//! held against that act: the tool, what it was about, how it came out. Words are not looked at.

use std::collections::HashMap;

use reeve_types::model::ModelTool;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::deeds::{Came, Deed, Deeds};

/// The tool by which an agent states what it did.
pub(super) const STATEMENT_TOOL: &str = "state_what_was_done";
/// What agents are told of it besides its description.
pub(super) const TO_STATE: &str = "Whenever you changed something, ran something or tried to, call \
    `state_what_was_done` before your last answer, once, with one entry for each such act, the refused and failed ones too. \
    What you state is held against the record; its answer says what the record does not bear out. Then answer.";
/// Most entries of one statement.
const ENTRIES_MAX: usize = 50;
/// Longest text of an entry that is kept, in characters.
const TEXT_CHARS_MAX: usize = 300;

pub(super) fn statement_tool() -> ModelTool {
    let entry = json!({
        "type": "object", "additionalProperties": false, "required": ["did", "outcome"],
        "properties": {
            "did": {"type": "string", "description": "What you did, in one sentence."},
            "act": {"type": "string", "description": "The number in its result: for `[act 3-1]` it is 3-1."},
            "tool": {"type": "string", "description": "The tool that you called; needed where you name no act."},
            "target": {"type": "string", "description": "What it was about, exactly as in the call: a path, a process id, a name."},
            "outcome": {"enum": Outcome::WORDS},
        },
    });
    ModelTool {
        name: STATEMENT_TOOL.to_owned(),
        description:
            "States what you did in this turn, so that it can be held against the record: one entry for each act. \
                      A statement replaces the one before it in the same turn."
                .to_owned(),
        input_schema: json!({
            "type": "object", "additionalProperties": false, "required": ["entries"],
            "properties": {"entries": {"type": "array", "items": entry, "maxItems": ENTRIES_MAX}},
        }),
    }
}

/// How an act came out, as the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    Denied,
    Expired,
    Unknown,
}

impl Outcome {
    const WORDS: [&str; 5] = ["succeeded", "failed", "denied", "expired", "unknown"];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// Whether an act came out so. Which of the ways of not being done it was may be said wrongly; that it was done, or
    /// that it was not, may not.
    fn fits(self, came: Came) -> bool {
        match self {
            Self::Succeeded => came == Came::Succeeded,
            Self::Failed | Self::Denied | Self::Expired => {
                matches!(came, Came::Failed | Came::Denied | Came::Expired | Came::Withdrawn | Came::Unverified)
            }
            Self::Unknown => matches!(came, Came::Unknown | Came::Open | Came::Unverified),
        }
    }
}

/// One thing that an agent states.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Entry {
    pub(super) did: String,
    #[serde(default, deserialize_with = "act")]
    pub(super) act: Option<String>,
    #[serde(default)]
    pub(super) tool: Option<String>,
    #[serde(default)]
    pub(super) target: Option<String>,
    pub(super) outcome: Outcome,
}

/// Models repeat the word and the brackets around a number, too.
fn act<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::String(text)) => {
            let text = text.trim().trim_matches(['[', ']']);
            Some(text.strip_prefix("act").unwrap_or(text).trim().to_owned()).filter(|text| !text.is_empty())
        }
        _ => None,
    })
}

/// What an agent states, as it said it. Otherwise what is wrong with it.
pub(super) fn entries_of(input: &Value) -> Result<Vec<Entry>, String> {
    #[derive(Deserialize)]
    struct Whole {
        entries: Vec<Entry>,
    }
    let whole: Whole = Whole::deserialize(input).map_err(|error| format!("the statement cannot be read: {error}"))?;
    if whole.entries.len() > ENTRIES_MAX {
        return Err(format!("the statement has more than {ENTRIES_MAX} entries"));
    }
    let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect::<String>();
    let mut entries = whole.entries;
    for entry in &mut entries {
        entry.did = cut(std::mem::take(&mut entry.did));
        entry.act = entry.act.take().map(cut);
        entry.tool = entry.tool.take().map(cut).filter(|tool| !tool.is_empty());
        entry.target = entry.target.take().map(cut).filter(|target| !target.is_empty());
        if entry.act.is_none() && entry.tool.is_none() {
            return Err(format!("`{}` names neither its act nor its tool", entry.did));
        }
    }
    Ok(entries)
}

/// Whether an entry is borne out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// By this call.
    BorneOut(usize),
    /// It is not; why not, and the call that it is about where there is one.
    Unproven(String, Option<usize>),
}

impl Entry {
    /// The calls that the entry can be about, newest first: the act that it names, or those of its tool in this turn.
    pub(super) fn candidates(&self, deeds: &Deeds, turn: u64) -> Vec<usize> {
        let fits = |deed: &Deed| match (&self.act, &self.tool) {
            (Some(act), _) => deed.act.as_ref() == Some(act),
            (None, Some(tool)) => deed.turn == turn && deed.tool == *tool,
            (None, None) => false,
        };
        (0..deeds.all().len()).rev().filter(|at| deeds.all().get(*at).is_some_and(fits)).collect()
    }

    fn named(&self) -> String {
        match (&self.act, &self.tool) {
            (Some(act), _) => format!("act {act}"),
            (None, tool) => format!("`{}`", tool.as_deref().unwrap_or_default()),
        }
    }

    fn hold<'e>(&'e self, deeds: &Deeds, turn: u64, used: &mut Used<'e>) -> Held {
        let found: Vec<(usize, &Deed)> =
            self.candidates(deeds, turn).into_iter().filter_map(|at| Some((at, deeds.all().get(at)?))).collect();
        let Some((newest, one)) = found.first().copied() else {
            let reason = match &self.act {
                Some(act) => format!("there is no act {act} in this session"),
                None => format!("no call of this turn was {}", self.named()),
            };
            return Held::Unproven(reason, None);
        };
        if self.act.is_some()
            && let Some(tool) = self.tool.as_ref().filter(|tool| **tool != one.tool)
        {
            return Held::Unproven(format!("{} was `{}`, not `{tool}`", self.named(), one.tool), Some(newest));
        }
        let target = self.target.as_deref();
        let mut about: Vec<(usize, &Deed)> = found;
        about.retain(|(_, deed)| target.is_none_or(|target| deed.is_about(target)));
        let Some((newest, one)) = about.first().copied() else {
            let target = target.unwrap_or_default();
            return Held::Unproven(format!("{} was not about `{target}`", self.named()), Some(newest));
        };
        about.retain(|(_, deed)| self.outcome.fits(deed.came));
        let Some((fitting, _)) = about.first().copied() else {
            let reason = format!("{} was {}, not {}", self.named(), one.came.as_str(), self.outcome.as_str());
            return Held::Unproven(reason, Some(newest));
        };
        match about.iter().find(|(at, deed)| deed.kind == "execute" || used.is_free(*at, target)) {
            Some((at, _)) => {
                used.0.entry(*at).or_default().push(target);
                Held::BorneOut(*at)
            }
            None => Held::Unproven(format!("{} bears out another entry already", self.named()), Some(fitting)),
        }
    }
}

/// Which calls have borne out an entry, about what.
#[derive(Default)]
struct Used<'e>(HashMap<usize, Vec<Option<&'e str>>>);

impl Used<'_> {
    /// A call bears out one entry for each thing that it was about.
    fn is_free(&self, at: usize, target: Option<&str>) -> bool {
        let Some(entries) = self.0.get(&at) else { return true };
        target.is_some() && entries.iter().all(|one| one.is_some() && *one != target)
    }
}

/// Holds each entry against what was done. Who did one thing has not done two; but a program that was run can have done
/// anything, so that it bears out any number of entries.
pub(super) fn hold(entries: &[Entry], deeds: &Deeds, turn: u64) -> Vec<Held> {
    let mut used = Used::default();
    // Those that say most exactly what they are about come first.
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|at| {
        entries.get(*at).map_or(0, |entry| usize::from(entry.act.is_none()) * 2 + usize::from(entry.target.is_none()))
    });
    let mut held: Vec<(usize, Held)> =
        order.into_iter().filter_map(|at| Some((at, entries.get(at)?.hold(deeds, turn, &mut used)))).collect();
    held.sort_by_key(|(at, _)| *at);
    held.into_iter().map(|(_, held)| held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reeve_types::session::{Happening, SessionEvent};

    fn event(what: Happening) -> SessionEvent {
        let session_id = "ses_01jtqz0000000000000000000a".parse().unwrap();
        SessionEvent { session_id, seq: 1, at: jiff::Timestamp::UNIX_EPOCH, what }
    }

    /// Calls as (turn, tool, kind, pid, how it came out).
    fn deeds(calls: &[(u64, &str, &str, u64, Came)]) -> Deeds {
        let mut events = Vec::new();
        for (at, (turn, tool, kind, pid, came)) in calls.iter().enumerate() {
            let call_id = format!("c{at}");
            events.push(event(Happening::ToolCalled {
                turn: *turn,
                call_id: call_id.clone(),
                tool: (*tool).to_owned(),
                title: String::new(),
                kind: (*kind).to_owned(),
                arguments: json!({"pid": pid}),
                action_id: Some(reeve_types::ActionId::new(jiff::Timestamp::UNIX_EPOCH, at as u128)),
            }));
            if *came == Came::Open {
                continue;
            }
            events.push(event(Happening::ToolFinished {
                call_id,
                is_error: *came != Came::Succeeded,
                content: String::new(),
                whole: None,
                record: None,
                diffs: Vec::new(),
            }));
        }
        let mut deeds = Deeds::of(&events);
        for (at, (.., came)) in calls.iter().enumerate() {
            deeds.get_mut(at).unwrap().came = *came;
        }
        deeds
    }

    fn entry(act: Option<&str>, tool: Option<&str>, target: Option<&str>, outcome: &str) -> Value {
        json!({"did": "it", "act": act, "tool": tool, "target": target, "outcome": outcome})
    }

    fn said(entries: Vec<Value>, deeds: &Deeds) -> Vec<String> {
        let entries = entries_of(&json!({"entries": entries})).unwrap();
        let told = hold(&entries, deeds, 2).into_iter().map(|held| match held {
            Held::BorneOut(at) => format!("c{at}"),
            Held::Unproven(reason, _) => reason,
        });
        told.collect()
    }

    #[test]
    fn an_entry_is_held_against_the_act_that_it_names() {
        let deeds = deeds(&[
            (1, "kill", "other", 7, Came::Succeeded),
            (2, "look", "read", 7, Came::Succeeded),
            (2, "kill", "other", 8, Came::Denied),
            (2, "kill", "other", 9, Came::Succeeded),
            (2, "kill", "other", 10, Came::Unverified),
        ]);
        for (one, told) in [
            (entry(Some("2-2"), None, None, "succeeded"), "c3"),
            (entry(Some("[act 2-2]"), Some("kill"), Some("9"), "succeeded"), "c3"),
            (entry(Some("1-1"), None, Some("7"), "succeeded"), "c0"),
            (entry(None, Some("kill"), Some("8"), "denied"), "c2"),
            (entry(None, Some("kill"), Some("8"), "failed"), "c2"),
            (entry(None, Some("look"), Some("7"), "succeeded"), "c1"),
            (entry(Some("2-1"), None, None, "succeeded"), "act 2-1 was denied, not succeeded"),
            (entry(Some("2-2"), None, None, "denied"), "act 2-2 was done, not denied"),
            (entry(Some("2-2"), Some("look"), None, "succeeded"), "act 2-2 was `kill`, not `look`"),
            (entry(Some("2-2"), None, Some("7"), "succeeded"), "act 2-2 was not about `7`"),
            (entry(Some("2-9"), None, None, "succeeded"), "there is no act 2-9 in this session"),
            (entry(None, Some("restart"), None, "succeeded"), "no call of this turn was `restart`"),
            (entry(None, Some("kill"), Some("7"), "succeeded"), "`kill` was not about `7`"),
            (
                entry(Some("2-3"), None, None, "succeeded"),
                "act 2-3 was not found done by the look afterwards, not succeeded",
            ),
            (entry(Some("2-3"), None, None, "unknown"), "c4"),
        ] {
            assert_eq!(said(vec![one.clone()], &deeds), [told], "{one}");
        }
    }

    #[test]
    fn one_act_is_not_two_unless_it_was_a_program() {
        let deeds =
            deeds(&[(2, "kill", "other", 7, Came::Succeeded), (2, "run_command", "execute", 1, Came::Succeeded)]);
        let kill = || entry(None, Some("kill"), None, "succeeded");
        assert_eq!(said(vec![kill(), kill()], &deeds), ["c0", "`kill` bears out another entry already"]);
        let exact = entry(Some("2-1"), None, Some("7"), "succeeded");
        assert_eq!(said(vec![kill(), exact], &deeds), ["`kill` bears out another entry already", "c0"]);
        let ran = || entry(Some("2-2"), None, None, "succeeded");
        assert_eq!(said(vec![ran(), ran()], &deeds), ["c1", "c1"]);
    }

    #[test]
    fn a_statement_that_names_nothing_or_has_no_end_is_refused() {
        for (input, reason) in [
            (json!({}), "missing field `entries`"),
            (json!({"entries": [{"did": "x", "outcome": "succeeded"}]}), "neither its act nor its tool"),
            (json!({"entries": [{"did": "x", "tool": "t", "outcome": "splendid"}]}), "splendid"),
            (json!({"entries": vec![entry(None, Some("t"), None, "failed"); 51]}), "more than 50"),
        ] {
            let error = entries_of(&input).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        /// Whatever is stated: what is borne out is borne out by a call of that tool, about that, that came out so.
        #[test]
        fn nothing_is_borne_out_by_anything_else(
            calls in prop::collection::vec((0u64..3, 0usize..3, 0u64..4, 0usize..4), 0..8),
            stated in prop::collection::vec((0usize..3, prop::option::of(0u64..4), 0usize..3), 0..6),
        ) {
            let tools = ["kill", "drop", "run_command"];
            let kinds = ["other", "other", "execute"];
            let came = [Came::Succeeded, Came::Failed, Came::Denied, Came::Unknown];
            let calls: Vec<_> = calls.iter().map(|(turn, tool, pid, how)| (*turn, tools[*tool], kinds[*tool], *pid, came[*how])).collect();
            let deeds = deeds(&calls);
            let words = ["succeeded", "failed", "unknown"];
            let entries: Vec<Value> = stated
                .iter()
                .map(|(tool, pid, how)| entry(None, Some(tools[*tool]), pid.map(|pid| pid.to_string()).as_deref(), words[*how]))
                .collect();
            let entries = entries_of(&json!({"entries": entries})).unwrap();
            let held = hold(&entries, &deeds, 2);
            prop_assert_eq!(held.len(), entries.len());
            let mut wholly = std::collections::HashSet::new();
            for (entry, held) in entries.iter().zip(held) {
                let fits = |call: &(u64, &str, &str, u64, Came)| {
                    call.0 == 2
                        && Some(call.1) == entry.tool.as_deref()
                        && entry.target.as_ref().is_none_or(|target| *target == call.3.to_string())
                        && entry.outcome.fits(call.4)
                };
                match held {
                    Held::BorneOut(at) => {
                        prop_assert!(fits(&calls[at]));
                        let once = calls[at].2 == "execute" || wholly.insert((at, entry.target.clone()));
                        prop_assert!(once);
                    }
                    Held::Unproven(reason, _) => {
                        prop_assert!(!calls.iter().any(fits) || reason.contains("already"), "{}", reason);
                    }
                }
            }
        }
    }
}
