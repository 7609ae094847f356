//! How long a session's turns, calls and answers took, folded from its events.

use std::collections::HashMap;

use jiff::Timestamp;
use reeve_types::ApprovalId;
use reeve_types::session::{Happening, SessionEvent};
use serde_json::{Value, json};

/// Times of one kind, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    sum: i64,
    least: Option<i64>,
    most: Option<i64>,
}

impl Times {
    fn take(&mut self, from: Timestamp, to: Timestamp) {
        let took = i64::try_from(to.duration_since(from).as_millis()).unwrap_or(i64::MAX).max(0);
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
        self.least = Some(self.least.map_or(took, |least| least.min(took)));
        self.most = Some(self.most.map_or(took, |most| most.max(took)));
    }

    fn told(&self) -> Value {
        let mean = i64::try_from(self.count).ok().filter(|count| *count > 0).map(|count| self.sum / count);
        json!({"count": self.count, "min": self.least, "max": self.most, "avg": mean})
    }
}

/// What the events so far say of it.
#[derive(Debug, Default)]
pub struct Timing {
    turn: Times,
    first_word: Times,
    call: Times,
    answer: Times,
    began: Option<Timestamp>,
    silent: bool,
    called: HashMap<String, Timestamp>,
    asked: HashMap<ApprovalId, Timestamp>,
}

impl Timing {
    /// One more event, in their order.
    pub fn take(&mut self, event: &SessionEvent) {
        match &event.what {
            Happening::TurnStarted { .. } => (self.began, self.silent) = (Some(event.at), true),
            Happening::Delta { .. } | Happening::Message { .. } | Happening::ModelReplied { .. } if self.silent => {
                self.silent = false;
                if let Some(began) = self.began {
                    self.first_word.take(began, event.at);
                }
            }
            Happening::ToolCalled { call_id, .. } => drop(self.called.insert(call_id.clone(), event.at)),
            Happening::ToolFinished { call_id, .. } => {
                if let Some(since) = self.called.remove(call_id) {
                    self.call.take(since, event.at);
                }
            }
            Happening::ToolWaiting { approval_id, .. } => drop(self.asked.insert(approval_id.clone(), event.at)),
            Happening::ToolAnswered { approval_id, .. } => {
                if let Some(since) = self.asked.remove(approval_id) {
                    self.answer.take(since, event.at);
                }
            }
            Happening::TurnEnded { .. } => {
                if let Some(since) = self.began.take() {
                    self.turn.take(since, event.at);
                }
            }
            _ => {}
        }
    }

    /// The numbers: how many, the shortest, the longest and the mean of each kind, in milliseconds.
    pub fn told(&self) -> Value {
        json!({
            "turn_ms": self.turn.told(), "first_word_ms": self.first_word.told(), "tool_call_ms": self.call.told(),
            "permission_response_ms": self.answer.told(),
        })
    }
}
