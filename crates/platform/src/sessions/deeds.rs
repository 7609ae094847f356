//! What an agent has done in a session, as the events tell it: which tool, on what, and how it came out.

use std::collections::HashMap;

use reeve_types::session::{Happening, SessionEvent};
use reeve_types::{ActionId, EventId};
use serde_json::Value;

/// How deep arguments are looked into for what a call was about.
const DEPTH_MAX: usize = 6;

/// Whether calls of such a kind only look.
pub(super) fn only_looks(kind: &str) -> bool {
    matches!(kind, "read" | "search" | "think" | "fetch")
}

/// Numbers by which a model refers to what it did: `3-1` is the first act of the third turn. They follow from the events,
/// so they are the same after a restart and in a fork.
#[derive(Debug, Default)]
pub(super) struct ActNumbers {
    by_call: HashMap<String, String>,
    turn: u64,
    last: u64,
}

impl ActNumbers {
    pub(super) fn take(&mut self, what: &Happening) {
        let Happening::ToolCalled { turn, call_id, kind, action_id: Some(_), .. } = what else { return };
        if only_looks(kind) || self.by_call.contains_key(call_id) {
            return;
        }
        if *turn != self.turn {
            (self.turn, self.last) = (*turn, 0);
        }
        self.last += 1;
        self.by_call.insert(call_id.clone(), format!("{turn}-{}", self.last));
    }

    /// The number of a call, if it is an act that can change something.
    pub(super) fn of(&self, call_id: &str) -> Option<&str> {
        self.by_call.get(call_id).map(String::as_str)
    }
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deed {
    pub(super) turn: u64,
    pub(super) call_id: String,
    /// How the model may refer to it.
    pub(super) act: Option<String>,
    pub(super) tool: String,
    pub(super) kind: String,
    pub(super) arguments: Value,
    pub(super) action_id: Option<ActionId>,
    /// What it acted on, where the record says so.
    pub(super) resource: Option<String>,
    pub(super) files: Vec<String>,
    pub(super) record: Option<EventId>,
    pub(super) came: Came,
}

/// How a call came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It has not ended.
    Open,
    Succeeded,
    /// The tool said that it was done, and the look afterwards did not find it so.
    Unverified,
    Failed,
    /// Policy or people said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// It was taken back, or is not the same act any more.
    Withdrawn,
    /// It began, and nobody knows how it ended.
    Unknown,
}

impl Came {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "not ended",
            Self::Succeeded => "done",
            Self::Unverified => "not found done by the look afterwards",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Expired => "not answered in time",
            Self::Withdrawn => "withdrawn",
            Self::Unknown => "begun, and nobody knows how it ended",
        }
    }
}

/// Every call of a stretch of events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    all: Vec<Deed>,
    by_call: HashMap<String, usize>,
    numbers: ActNumbers,
}

impl Deeds {
    pub(super) fn of(events: &[SessionEvent]) -> Self {
        let mut deeds = Self::default();
        for event in events {
            deeds.take(&event.what);
        }
        deeds
    }

    fn take(&mut self, what: &Happening) {
        self.numbers.take(what);
        match what {
            Happening::ToolCalled { turn, call_id, tool, kind, arguments, action_id, .. } => {
                let act = self.numbers.of(call_id).map(str::to_owned);
                let known = self.by_call.get(call_id).and_then(|at| self.all.get_mut(*at));
                if let Some(known) = known {
                    // An agent may say more of a call later on.
                    (known.tool, known.kind) = (tool.clone(), kind.clone());
                    known.arguments.clone_from(arguments);
                    return;
                }
                self.by_call.insert(call_id.clone(), self.all.len());
                self.all.push(Deed {
                    turn: *turn,
                    call_id: call_id.clone(),
                    act,
                    tool: tool.clone(),
                    kind: kind.clone(),
                    arguments: arguments.clone(),
                    action_id: action_id.clone(),
                    resource: None,
                    files: Vec::new(),
                    record: None,
                    came: Came::Open,
                });
            }
            Happening::ToolAnswered { call_id, status, .. } => {
                let came = match status.as_str() {
                    "denied" => Came::Denied,
                    "expired" => Came::Expired,
                    "cancelled" | "stale" => Came::Withdrawn,
                    _ => return,
                };
                if let Some(deed) = self.called(call_id) {
                    deed.came = came;
                }
            }
            Happening::ToolFinished { call_id, is_error, record, diffs, .. } => {
                let Some(deed) = self.called(call_id) else { return };
                deed.record.clone_from(record);
                deed.files = diffs.iter().map(|diff| diff.path.clone()).collect();
                deed.came = match (is_error, deed.came) {
                    (false, _) => Came::Succeeded,
                    (true, Came::Open) => Came::Failed,
                    (true, answered) => answered,
                };
            }
            _ => {}
        }
    }

    fn called(&mut self, call_id: &str) -> Option<&mut Deed> {
        self.all.get_mut(*self.by_call.get(call_id)?)
    }

    pub(super) fn all(&self) -> &[Deed] {
        &self.all
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Deed> {
        self.all.get_mut(at)
    }

    /// How the model may refer to a call.
    pub(super) fn act_of(&self, call_id: &str) -> Option<&str> {
        self.numbers.of(call_id)
    }
}

impl Deed {
    /// Whether a call can have changed something.
    pub(super) fn changes(&self) -> bool {
        !only_looks(&self.kind)
    }

    /// Whether a call was about what somebody names: one of its arguments, a file that it changed, or its resource. Names
    /// are compared whole.
    pub(super) fn is_about(&self, target: &str) -> bool {
        let wanted = plain(target);
        self.files.iter().chain(&self.resource).any(|known| plain(known) == wanted)
            || holds(&self.arguments, wanted, DEPTH_MAX)
    }
}

/// A name without what makes no difference to it.
fn plain(name: &str) -> &str {
    let name = name.trim();
    let name = name.strip_prefix("/workspace/").unwrap_or(name);
    name.strip_prefix("./").unwrap_or(name)
}

fn holds(value: &Value, wanted: &str, depth: usize) -> bool {
    if depth == 0 {
        return false;
    }
    match value {
        Value::String(text) => plain(text) == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(items) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.is_some_and(|words| words.join(" ") == wanted)
                || items.iter().any(|item| holds(item, wanted, depth - 1))
        }
        Value::Object(fields) => fields.values().any(|value| holds(value, wanted, depth - 1)),
        Value::Bool(_) | Value::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn called(turn: u64, call: &str, kind: &str, acts: bool) -> Happening {
        let action_id = acts.then(|| ActionId::new(jiff::Timestamp::UNIX_EPOCH, u128::from(turn)));
        Happening::ToolCalled {
            turn,
            call_id: call.to_owned(),
            tool: "change".to_owned(),
            title: String::new(),
            kind: kind.to_owned(),
            arguments: json!({"path": "a.py", "pid": 4711, "argv": ["make", "test"], "deep": {"on": ["x"]}}),
            action_id,
        }
    }

    #[test]
    fn acts_are_numbered_by_turn_and_looks_are_not() {
        let mut numbers = ActNumbers::default();
        for what in [
            called(1, "a", "read", true),
            called(1, "b", "edit", true),
            called(1, "c", "execute", true),
            called(1, "c", "execute", true),
            called(2, "d", "other", true),
            called(2, "e", "edit", false),
        ] {
            numbers.take(&what);
        }
        let of = |call| numbers.of(call);
        assert_eq!((of("a"), of("b"), of("c"), of("d"), of("e")), (None, Some("1-1"), Some("1-2"), Some("2-1"), None));
    }

    #[test]
    fn what_a_call_was_about_is_named_whole() {
        let mut deeds = Deeds::default();
        deeds.take(&called(1, "a", "edit", true));
        let deed = &deeds.all()[0];
        for target in ["a.py", "/workspace/a.py", "./a.py", " a.py ", "4711", "make test", "x"] {
            assert!(deed.is_about(target), "{target}");
        }
        for target in ["a", "py", "471", "47111", "", "make", "make tes", "A.py"] {
            // One word of a command line stands for itself.
            assert_eq!(deed.is_about(target), target == "make", "{target}");
        }
    }

    #[test]
    fn a_call_comes_out_as_people_and_tools_said() {
        let answered = |status: &str| Happening::ToolAnswered {
            call_id: "a".to_owned(),
            approval_id: "apr_01jtqz0000000000000000000a".parse().unwrap(),
            status: status.to_owned(),
            by: String::new(),
            reason: String::new(),
        };
        let finished = |is_error| Happening::ToolFinished {
            call_id: "a".to_owned(),
            is_error,
            content: String::new(),
            whole: None,
            record: None,
            diffs: Vec::new(),
        };
        for (status, is_error, came) in [
            ("approved", false, Came::Succeeded),
            ("approved", true, Came::Failed),
            ("denied", true, Came::Denied),
            ("expired", true, Came::Expired),
            ("stale", true, Came::Withdrawn),
        ] {
            let mut deeds = Deeds::default();
            for what in [called(1, "a", "edit", true), answered(status), finished(is_error)] {
                deeds.take(&what);
            }
            assert_eq!(deeds.all()[0].came, came, "{status} {is_error}");
        }
    }
}
