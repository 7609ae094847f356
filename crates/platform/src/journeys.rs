//! Journeys: everything that one request led to, as one row.

use std::collections::BTreeSet;

use reeve_store::{JourneyFilter, StoredEvent};
use reeve_types::{EventType, Origin, TenantId, TraceId};
use serde::Serialize;

use crate::{Platform, PlatformError};

/// Which journeys are wanted. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct JourneyQuery {
    /// Begun by this user or service.
    pub user: Option<String>,
    /// Begun at or after.
    pub from: Option<jiff::Timestamp>,
    /// Begun before.
    pub until: Option<jiff::Timestamp>,
    /// With this purpose.
    pub purpose: Option<String>,
    /// About this.
    pub category: Option<String>,
    /// That ended so.
    pub outcome: Option<String>,
    /// Only those with, or only those without, repeated re-checks.
    pub has_retries: Option<bool>,
    /// This one.
    pub trace_id: Option<String>,
    /// Whose id starts so.
    pub trace_id_prefix: Option<String>,
    /// That came by this way.
    pub origin: Option<String>,
    /// At most so many, newest first.
    pub limit: usize,
}

/// What an agent was asked to find out, and with which tools it did.
#[derive(Debug, Clone, Serialize)]
pub struct Delegation {
    /// What the person seemed to want.
    pub intent: String,
    /// The tools that ran.
    pub tools: Vec<String>,
}

/// One journey.
#[derive(Debug, Clone, Serialize)]
pub struct Journey {
    /// Its id.
    pub trace_id: TraceId,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// When its newest record was made.
    pub ended_at: jiff::Timestamp,
    /// From the first record to the newest.
    pub duration_ms: u64,
    /// Who began it.
    pub user_id: String,
    /// With which words.
    pub user_query: String,
    /// Why.
    pub purpose: String,
    /// In the requester's words.
    pub purpose_note: String,
    /// The agent that it went to.
    pub agent: String,
    /// What it was about.
    pub category: String,
    /// What was delegated.
    pub delegations: Vec<Delegation>,
    /// Every tool that ran, in order, each once.
    pub tools_used: Vec<String>,
    /// How it ended: the most serious thing that happened.
    pub outcome: &'static str,
    /// How many records it has, re-checks not counted.
    pub event_count: usize,
    /// How many re-checks were repeated.
    pub retry_count: usize,
    /// By which way it came.
    pub origin: String,
    /// Whether an agent's answer claimed what no record shows (`delegation_verification`).
    pub has_mismatch: bool,
}

impl Platform {
    /// Journeys of a tenant, newest first.
    pub async fn journeys(&self, tenant: &TenantId, query: JourneyQuery) -> Result<Vec<Journey>, PlatformError> {
        let filtered = query.user.is_some()
            || query.purpose.is_some()
            || query.category.is_some()
            || query.outcome.is_some()
            || query.has_retries.is_some()
            || query.origin.is_some();
        let filter = JourneyFilter {
            from: query.from,
            until: query.until,
            trace_id: query.trace_id.clone(),
            trace_id_prefix: query.trace_id_prefix.clone(),
            // What is filtered by its summary must be summarised first.
            limit: if filtered { query.limit.saturating_mul(10).min(2000) } else { query.limit.saturating_mul(2) },
        };
        let records = self.store().journey_records(tenant, filter).await?;
        let mut journeys: Vec<Journey> =
            records.iter().filter_map(|records| summarise(records)).filter(|journey| fits(journey, &query)).collect();
        journeys.sort_by_key(|journey| std::cmp::Reverse(journey.started_at));
        journeys.truncate(query.limit);
        Ok(journeys)
    }
}

fn fits(journey: &Journey, query: &JourneyQuery) -> bool {
    let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    same(&query.user, &journey.user_id)
        && same(&query.purpose, &journey.purpose)
        && same(&query.category, &journey.category)
        && same(&query.outcome, journey.outcome)
        && same(&query.origin, &journey.origin)
        && query.has_retries.is_none_or(|wanted| wanted == (journey.retry_count > 0))
}

/// A journey starts with a question, a request or a tool call; what the platform does by itself is none.
fn summarise(records: &[StoredEvent]) -> Option<Journey> {
    // An answer of an agent that called nothing has no other record than how it was verified.
    let anchor = records.iter().map(|record| &record.event).find(|event| {
        matches!(
            event.event_type,
            EventType::DelegationDecision
                | EventType::GatewayRequest
                | EventType::ToolInvoked
                | EventType::DelegationVerification
        )
    })?;
    let last = records.last()?;
    let events = || records.iter().map(|record| &record.event);
    let mut tools_used: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for event in events().filter(|event| event.event_type == EventType::ToolExecution) {
        if let Some(tool) = &event.tool
            && seen.insert(tool.name.clone())
        {
            tools_used.push(tool.name.clone());
        }
    }
    let routed = anchor.decision.as_ref();
    let delegations = routed
        .map(|part| Delegation { intent: part.user_intent.clone(), tools: tools_used.clone() })
        .into_iter()
        .collect();
    let is_recheck = |kind: EventType| {
        matches!(kind, EventType::VerificationOutcome | EventType::ToolRetry | EventType::DelegationVerification)
    };
    let agent = routed
        .map(|part| part.agent.clone())
        .or_else(|| anchor.tool.as_ref().map(|tool| tool.agent.clone()))
        .or_else(|| anchor.delegation_verification.as_ref().map(|part| part.agent.clone()));
    let duration = last.event.timestamp.duration_since(anchor.timestamp).as_millis();
    Some(Journey {
        trace_id: anchor.trace_id.clone(),
        started_at: anchor.timestamp,
        ended_at: last.event.timestamp,
        duration_ms: u64::try_from(duration).unwrap_or(0),
        user_id: anchor.principal.as_ref().map(|p| p.root().id.clone()).unwrap_or_default(),
        user_query: anchor.input.user_query.clone(),
        purpose: anchor.purpose.map(|p| p.as_str().to_owned()).unwrap_or_default(),
        purpose_note: anchor.purpose_note.clone(),
        agent: agent.unwrap_or_default(),
        category: routed.map(|part| part.request_category.clone()).unwrap_or_default(),
        delegations,
        tools_used,
        outcome: outcome(
            events().map(|event| (event.event_type, event.outcome.as_ref().map_or("", |o| o.status.as_str()))),
        ),
        event_count: events().filter(|event| !is_recheck(event.event_type)).count(),
        retry_count: events().filter(|event| event.event_type == EventType::ToolRetry).count(),
        origin: origin(anchor.origin),
        has_mismatch: events()
            .filter_map(|event| event.delegation_verification.as_ref())
            .any(|verification| verification.mismatch),
    })
}

fn origin(origin: Option<Origin>) -> String {
    match origin {
        Some(Origin::DirectTool) => "direct_tool",
        Some(Origin::Agent) => "agent",
        Some(Origin::Gateway) | None => "gateway",
    }
    .to_owned()
}

/// The most serious thing that happened. An act that people approved and that succeeded is `approved`.
fn outcome<'a>(events: impl Iterator<Item = (EventType, &'a str)>) -> &'static str {
    let (mut worst, mut asked) = ((0, "success"), false);
    let mut succeeded = false;
    for (kind, status) in events {
        let found = match status {
            "unverified_claim" => (9, "unverified_claim"),
            "error" | "unknown" => (8, "error"),
            "denied" => (7, "denied"),
            "escalation_required" => (6, "escalation_required"),
            "verified_failed" => (5, "verified_failed"),
            "verified_warning" => (4, "verified_warning"),
            "require_approval" => {
                asked = true;
                continue;
            }
            "success" => {
                succeeded |= kind == EventType::ToolExecution;
                (1, "success")
            }
            _ => continue,
        };
        worst = worst.max(found);
    }
    match (worst.0, asked, succeeded) {
        (0 | 1, true, true) => "approved",
        (0 | 1, true, false) => "require_approval",
        _ => worst.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_serious_thing_names_the_outcome() {
        use EventType::{PolicyDecision, ToolExecution, VerificationOutcome};
        assert_eq!(outcome([(ToolExecution, "success")].into_iter()), "success");
        assert_eq!(outcome([(PolicyDecision, "require_approval"), (ToolExecution, "success")].into_iter()), "approved");
        assert_eq!(outcome([(PolicyDecision, "require_approval")].into_iter()), "require_approval");
        assert_eq!(
            outcome([(ToolExecution, "success"), (VerificationOutcome, "verified_warning")].into_iter()),
            "verified_warning"
        );
        assert_eq!(outcome([(PolicyDecision, "denied"), (ToolExecution, "error")].into_iter()), "error");
        let claimed = [(ToolExecution, "error"), (EventType::DelegationVerification, "unverified_claim")];
        assert_eq!(outcome(claimed.into_iter()), "unverified_claim");
        let verified = [(ToolExecution, "success"), (EventType::DelegationVerification, "verified")];
        assert_eq!(outcome(verified.into_iter()), "success");
    }
}
