//! What a turn has used of its limits. It is read from the turn's events, so a restart gives nothing back.

use std::collections::HashMap;
use std::time::Duration;

use reeve_types::Digest;
use reeve_types::model::Block;
use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use serde_json::Value;

use super::AgentLimits;
use super::transcript::OpenCall;
use super::turn::Stop;

/// How often the very same call may fail in one turn.
const SAME_FAILURE_MAX: usize = 3;
/// How often the very same call may be made in one turn.
const SAME_CALL_MAX: usize = 6;
/// How many calls in a row may fail, whatever they are.
const FAILURES_IN_A_ROW_MAX: usize = 12;

/// What a turn has used.
#[derive(Debug)]
pub(super) struct Spent {
    steps: u32,
    tokens: u64,
    /// Without what was spent waiting for people; of this process.
    time: Duration,
    limits: AgentLimits,
    made: HashMap<Digest, usize>,
    failed: HashMap<Digest, usize>,
    failed_in_a_row: usize,
}

impl Spent {
    /// What a turn has used before.
    pub(super) fn of(limits: AgentLimits, events: &[SessionEvent], turn: u64) -> Self {
        let mut spent = Self {
            steps: 0,
            tokens: 0,
            time: Duration::ZERO,
            limits,
            made: HashMap::new(),
            failed: HashMap::new(),
            failed_in_a_row: 0,
        };
        let began = |event: &SessionEvent| matches!(event.what, Happening::TurnStarted { turn: of, .. } if of == turn);
        let mut calls: HashMap<&str, Digest> = HashMap::new();
        for event in events.iter().skip_while(|event| !began(event)) {
            match &event.what {
                Happening::ModelReplied { reply, .. } => {
                    spent.count_reply(&event.what, Duration::ZERO);
                    for block in &reply.blocks {
                        if let Block::ToolUse { id, name, input, .. } = block {
                            calls.insert(id, digest_of(name, input));
                        }
                    }
                }
                Happening::ToolCalled { call_id, .. } => {
                    if let Some(call) = calls.get(call_id.as_str()) {
                        *spent.made.entry(*call).or_default() += 1;
                    }
                }
                Happening::ToolFinished { call_id, is_error, content, .. } => {
                    if let Some(call) = calls.get(call_id.as_str()) {
                        spent.note_end(*call, is_error.then_some(content));
                    }
                }
                _ => {}
            }
        }
        spent
    }

    /// Whether the model may be asked once more.
    pub(super) fn check(&self) -> Result<(), Stop> {
        let limits = &self.limits;
        let reason = if self.steps >= limits.steps {
            format!("{} calls of the model were not enough", limits.steps)
        } else if self.tokens >= limits.tokens {
            format!("{} tokens were used, as many as the agent may", self.tokens)
        } else if self.time >= limits.time() {
            format!("it has worked for {} seconds, as long as the agent may", limits.time().as_secs())
        } else {
            return Ok(());
        };
        Err(Stop::Ended(TurnEnd::LimitReached, reason))
    }

    pub(super) fn count_time(&mut self, took: Duration) {
        self.time += took;
    }

    pub(super) fn count_reply(&mut self, replied: &Happening, took: Duration) {
        self.steps += 1;
        self.time += took;
        if let Happening::ModelReplied { reply, .. } = replied {
            self.tokens += reply.usage.input_tokens + reply.usage.output_tokens;
        }
    }

    /// An agent that makes the same call again and again makes no progress.
    pub(super) fn count_calls(&mut self, calls: &[OpenCall]) -> Result<(), Stop> {
        for call in calls.iter().filter(|call| call.begun.is_none()) {
            if may_repeat(&call.name) {
                continue;
            }
            let made = self.made.entry(digest_of(&call.name, &call.input)).or_default();
            *made += 1;
            if *made > SAME_CALL_MAX {
                return Err(no_progress(format!(
                    "it called `{}` {SAME_CALL_MAX} times with the same arguments",
                    call.name
                )));
            }
        }
        Ok(())
    }

    /// Nor does one whose calls all fail.
    pub(super) fn count_end(&mut self, call: &OpenCall, failure: Option<&String>) -> Result<(), Stop> {
        let same = self.note_end(digest_of(&call.name, &call.input), failure);
        if same >= SAME_FAILURE_MAX {
            return Err(no_progress(format!("`{}` failed {SAME_FAILURE_MAX} times in the same way", call.name)));
        }
        if self.failed_in_a_row >= FAILURES_IN_A_ROW_MAX {
            return Err(no_progress(format!("{FAILURES_IN_A_ROW_MAX} calls in a row have failed")));
        }
        Ok(())
    }

    /// How often this call has failed in this way.
    fn note_end(&mut self, call: Digest, failure: Option<&String>) -> usize {
        let Some(content) = failure else {
            self.failed_in_a_row = 0;
            return 0;
        };
        self.failed_in_a_row += 1;
        let failed = self.failed.entry(Digest::of(format!("{call}\n{content}").as_bytes())).or_default();
        *failed += 1;
        *failed
    }
}

/// What is typed and read again and again is an interactive program's nature: the same key may mean something else.
fn may_repeat(tool: &str) -> bool {
    matches!(tool, "type_in_terminal" | "read_terminal")
}

fn no_progress(reason: String) -> Stop {
    Stop::Ended(TurnEnd::LimitReached, reason)
}

fn digest_of(name: &str, input: &Value) -> Digest {
    Digest::of(format!("{name} {input}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::model::{Reply, StopReason, Usage};
    use serde_json::json;

    fn at(what: Happening) -> SessionEvent {
        let session_id = "ses_01jtqz0000000000000000000a".parse().unwrap();
        SessionEvent { session_id, seq: 1, at: jiff::Timestamp::UNIX_EPOCH, what }
    }

    fn started(turn: u64) -> SessionEvent {
        at(Happening::TurnStarted { turn, prompt_id: "prm_01jtqz0000000000000000000a".parse().unwrap() })
    }

    fn call(id: &str) -> OpenCall {
        OpenCall { id: id.to_owned(), name: "look".to_owned(), input: json!({"at": "it"}), begun: None }
    }

    /// A reply with one call, and its end.
    fn step(id: &str, failure: Option<&str>) -> [SessionEvent; 3] {
        let OpenCall { name, input, .. } = call(id);
        let usage = Usage { input_tokens: 60, output_tokens: 40, ..Usage::default() };
        let blocks = vec![Block::ToolUse { id: id.to_owned(), name, input, signature: None }];
        let reply = Reply { id: "r".to_owned(), model: "m".to_owned(), blocks, stop: StopReason::ToolUse, usage };
        [
            at(Happening::ModelReplied { turn: 2, call: 1, reply }),
            at(Happening::ToolCalled {
                turn: 2,
                call_id: id.to_owned(),
                tool: "look".to_owned(),
                title: String::new(),
                kind: "read".to_owned(),
                arguments: json!({}),
                action_id: None,
            }),
            at(Happening::ToolFinished {
                call_id: id.to_owned(),
                is_error: failure.is_some(),
                content: failure.unwrap_or_default().to_owned(),
                whole: None,
                record: None,
                diffs: Vec::new(),
            }),
        ]
    }

    fn reason(stop: Result<(), Stop>) -> String {
        match stop {
            Err(Stop::Ended(TurnEnd::LimitReached, reason)) => reason,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_turn_that_goes_on_after_a_restart_has_used_what_it_used_before() {
        let limits = AgentLimits { steps: 3, tokens: 250, ..AgentLimits::default() };
        let mut events = vec![started(1)];
        events.extend(step("old", Some("no")));
        events.push(started(2));
        assert!(Spent::of(limits, &events, 2).check().is_ok(), "an earlier turn is not this one's");
        events.extend(step("a", None));
        events.extend(step("b", None));
        assert!(Spent::of(limits, &events, 2).check().is_ok());
        events.extend(step("c", None));
        assert!(reason(Spent::of(limits, &events, 2).check()).contains("3 calls of the model"));
        let few = AgentLimits { steps: 9, ..limits };
        assert!(reason(Spent::of(few, &events, 2).check()).contains("300 tokens"));
        let mut slow = Spent::of(AgentLimits { time_ms: 5000, ..AgentLimits::default() }, &events, 2);
        slow.count_time(Duration::from_secs(5));
        assert!(reason(slow.check()).contains("5 seconds"));
    }

    #[test]
    fn an_agent_that_makes_no_progress_is_stopped_also_across_a_restart() {
        let mut events = vec![started(2)];
        for id in ["a", "b", "c", "d", "e", "f"] {
            events.extend(step(id, None));
        }
        let mut spent = Spent::of(AgentLimits::default(), &events, 2);
        assert!(reason(spent.count_calls(&[call("g")])).contains("6 times with the same arguments"));

        let mut events = vec![started(2)];
        events.extend(step("a", Some("gone")));
        events.extend(step("b", Some("gone")));
        let mut spent = Spent::of(AgentLimits::default(), &events, 2);
        assert!(spent.count_end(&call("c"), Some(&"something else".to_owned())).is_ok());
        assert!(reason(spent.count_end(&call("d"), Some(&"gone".to_owned()))).contains("3 times in the same way"));

        let mut spent = Spent::of(AgentLimits::default(), &[], 1);
        let fails = |spent: &mut Spent, n: usize| spent.count_end(&call("x"), Some(&format!("trouble {n}")));
        for n in 1..FAILURES_IN_A_ROW_MAX {
            assert!(fails(&mut spent, n).is_ok());
        }
        assert!(spent.count_end(&call("x"), None).is_ok(), "and then one succeeds");
        for n in 1..FAILURES_IN_A_ROW_MAX {
            assert!(fails(&mut spent, 100 + n).is_ok());
        }
        assert!(reason(fails(&mut spent, 200)).contains("12 calls in a row"));
    }
}
