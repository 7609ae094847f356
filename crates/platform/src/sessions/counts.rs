//! What sessions have done since the process began, for metrics. Almost everything is read off the events as they are
//! told, so that no way of doing a thing can be forgotten.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reeve_types::event::VerificationPart;
use reeve_types::session::{Happening, SessionEvent, TurnEnd};
use reeve_types::{ActionClass, Approval, ApprovalStatus};

use super::lock;

use crate::latency::{BUCKETS_MS, Latency, MODEL_BUCKETS_MS};

/// Counters of sessions; they start at zero with the process.
#[derive(Debug)]
pub struct SessionCounts {
    created: AtomicU64,
    closed: AtomicU64,
    prompts: AtomicU64,
    messages: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    limited: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    calls: AtomicU64,
    call_failures: AtomicU64,
    asked: AtomicU64,
    approved: AtomicU64,
    denied: AtomicU64,
    withdrawn: AtomicU64,
    unanswered: AtomicU64,
    unasked: AtomicU64,
    models_answered: AtomicU64,
    models_failed: AtomicU64,
    models_retried: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    cache_read: AtomicU64,
    cache_write: AtomicU64,
    cost_micro_usd: AtomicU64,
    claims_borne_out: AtomicU64,
    claims_unproven: AtomicU64,
    words_borne_out: AtomicU64,
    words_unproven: AtomicU64,
    /// Turns with a claim that nothing bears out, by agent and class.
    mismatches: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// How long calls of models took that were answered.
    pub model_latency: Latency,
    /// How long agents waited for people who answered.
    pub answer_latency: Latency,
}

impl Default for SessionCounts {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            created: zero(),
            closed: zero(),
            prompts: zero(),
            messages: zero(),
            completed: zero(),
            cancelled: zero(),
            limited: zero(),
            refused: zero(),
            failed: zero(),
            calls: zero(),
            call_failures: zero(),
            asked: zero(),
            approved: zero(),
            denied: zero(),
            withdrawn: zero(),
            unanswered: zero(),
            unasked: zero(),
            models_answered: zero(),
            models_failed: zero(),
            models_retried: zero(),
            input: zero(),
            output: zero(),
            cache_read: zero(),
            cache_write: zero(),
            cost_micro_usd: zero(),
            claims_borne_out: zero(),
            claims_unproven: zero(),
            words_borne_out: zero(),
            words_unproven: zero(),
            mismatches: Mutex::default(),
            model_latency: Latency::new(&MODEL_BUCKETS_MS),
            answer_latency: Latency::new(&BUCKETS_MS),
        }
    }
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl SessionCounts {
    /// Counts what happened.
    pub(super) fn take(&self, events: &[SessionEvent]) {
        for event in events {
            match &event.what {
                Happening::Created { .. } => one_more(&self.created),
                Happening::Closed { .. } => one_more(&self.closed),
                Happening::Prompt { .. } => one_more(&self.prompts),
                Happening::Message { .. } => one_more(&self.messages),
                Happening::ToolCalled { .. } => one_more(&self.calls),
                Happening::ToolFinished { is_error: true, .. } => one_more(&self.call_failures),
                Happening::ToolWaiting { .. } => one_more(&self.asked),
                Happening::ModelRetrying { .. } => one_more(&self.models_retried),
                Happening::TurnEnded { end, .. } => one_more(match end {
                    TurnEnd::Completed => &self.completed,
                    TurnEnd::Cancelled => &self.cancelled,
                    TurnEnd::LimitReached => &self.limited,
                    TurnEnd::Refused => &self.refused,
                    TurnEnd::Failed => &self.failed,
                }),
                Happening::ModelReplied { reply, .. } => {
                    let usage = reply.usage;
                    one_more(&self.models_answered);
                    self.input.fetch_add(usage.input_tokens, Ordering::Relaxed);
                    self.output.fetch_add(usage.output_tokens, Ordering::Relaxed);
                    self.cache_read.fetch_add(usage.cache_read_tokens, Ordering::Relaxed);
                    self.cache_write.fetch_add(usage.cache_write_tokens, Ordering::Relaxed);
                    self.cost_micro_usd.fetch_add(usage.cost_micro_usd.unwrap_or(0), Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    /// What an agent says it did was held against the record.
    pub(super) fn verified(&self, found: &VerificationPart) {
        let (borne_out, unproven) = match found.by.as_str() {
            "statement" => (&self.claims_borne_out, &self.claims_unproven),
            _ => (&self.words_borne_out, &self.words_unproven),
        };
        for claim in &found.claims {
            one_more(if claim.borne_out { borne_out } else { unproven });
        }
        if found.mismatch {
            let class = found.action_class.map_or("unknown", ActionClass::as_str);
            *lock(&self.mismatches).entry((found.agent.clone(), class)).or_default() += 1;
        }
    }

    /// A call of a model that brought no answer.
    pub(super) fn model_failed(&self) {
        one_more(&self.models_failed);
    }

    /// An act that nobody was asked about, because the owner had allowed such acts.
    pub(super) fn not_asked(&self) {
        one_more(&self.unasked);
    }

    /// A question was settled.
    pub(super) fn answered(&self, approval: &Approval) {
        let counter = match approval.status {
            ApprovalStatus::Pending => return,
            ApprovalStatus::Approved => &self.approved,
            ApprovalStatus::Denied => &self.denied,
            ApprovalStatus::Cancelled => &self.withdrawn,
            ApprovalStatus::Expired | ApprovalStatus::Stale => &self.unanswered,
        };
        one_more(counter);
        if matches!(approval.status, ApprovalStatus::Approved | ApprovalStatus::Denied)
            && let Some(at) = approval.resolved_at
        {
            let took = at.duration_since(approval.requested_at);
            self.answer_latency.observe(Duration::try_from(took).unwrap_or_default());
        }
    }

    /// Sessions made, by whatever way.
    pub fn created(&self) -> u64 {
        of(&self.created)
    }

    /// Sessions ended.
    pub fn closed(&self) -> u64 {
        of(&self.closed)
    }

    /// Prompts taken in.
    pub fn prompts(&self) -> u64 {
        of(&self.prompts)
    }

    /// What agents said, whole messages.
    pub fn messages(&self) -> u64 {
        of(&self.messages)
    }

    /// Turns by how they ended.
    pub fn turns(&self) -> [(&'static str, u64); 5] {
        [
            ("completed", of(&self.completed)),
            ("cancelled", of(&self.cancelled)),
            ("limit_reached", of(&self.limited)),
            ("refused", of(&self.refused)),
            ("failed", of(&self.failed)),
        ]
    }

    /// Calls of tools, and how many of them failed or were refused.
    pub fn tool_calls(&self) -> (u64, u64) {
        (of(&self.calls), of(&self.call_failures))
    }

    /// Questions of agents to people, and what came of them; `not_asked` are acts that a grant or the mode allowed.
    pub fn approvals(&self) -> [(&'static str, u64); 6] {
        [
            ("asked", of(&self.asked)),
            ("approved", of(&self.approved)),
            ("denied", of(&self.denied)),
            ("withdrawn", of(&self.withdrawn)),
            ("unanswered", of(&self.unanswered)),
            ("not_asked", of(&self.unasked)),
        ]
    }

    /// What agents say they did: stated entry by entry and borne out by the record or not, or taken from their words.
    pub fn claims(&self) -> [(&'static str, u64); 4] {
        [
            ("stated_borne_out", of(&self.claims_borne_out)),
            ("stated_unproven", of(&self.claims_unproven)),
            ("said_borne_out", of(&self.words_borne_out)),
            ("said_unproven", of(&self.words_unproven)),
        ]
    }

    /// Turns with a claim that nothing bears out, by agent and by the gravest class of what was claimed.
    pub fn mismatches(&self) -> Vec<(String, &'static str, u64)> {
        lock(&self.mismatches).iter().map(|((agent, class), count)| (agent.clone(), *class, *count)).collect()
    }

    /// Calls of models by what came of them.
    pub fn model_calls(&self) -> [(&'static str, u64); 3] {
        [
            ("answered", of(&self.models_answered)),
            ("failed", of(&self.models_failed)),
            ("retried", of(&self.models_retried)),
        ]
    }

    /// Tokens of models by what they were.
    pub fn model_tokens(&self) -> [(&'static str, u64); 4] {
        [
            ("input", of(&self.input)),
            ("output", of(&self.output)),
            ("cache_read", of(&self.cache_read)),
            ("cache_write", of(&self.cache_write)),
        ]
    }

    /// What models cost in millionths of a US dollar, as far as their prices are known.
    pub fn model_cost_micro_usd(&self) -> u64 {
        of(&self.cost_micro_usd)
    }
}
