//! Numbers of agents at work: turns, calls, questions to people, models. Counted where it happens, read when asked for;
//! under Reeve's names, and under those that a guide's dashboards read.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};
use reeve_platform::Platform;
use reeve_platform::latency::Observed;

use super::What;

/// Adds the numbers of this moment.
pub(super) fn register(platform: &Platform, own: &mut Registry, aegis: &mut Registry) {
    let notices = platform.notices();
    let (sent, failed) = notices.webhooks();
    count(aegis, "webhooks_sent", "Webhooks that took a notice", sent);
    count(aegis, "webhooks_failed", "Tries of webhooks that failed", failed);
    let delivery = notices.latency.so_far();
    seconds(own, "notice_delivery", "How long a channel took to take a notice, or to fail to", &delivery);
    milliseconds(aegis, "channel_delivery_latency_ms", "How long a channel took to take a notice", delivery);

    let Some(sessions) = platform.sessions() else { return };
    let counts = sessions.counts();
    let turns = counts.turns();
    let failed_turns = turns.iter().find(|(end, _)| *end == "failed").map_or(0, |(_, count)| *count);
    let approvals = counts.approvals();
    let unasked = approvals.iter().find(|(what, _)| *what == "not_asked").map_or(0, |(_, count)| *count);
    let (calls, failures) = counts.tool_calls();
    let answers = counts.answer_latency.so_far();

    count(own, "sessions_opened", "Sessions made, by whatever way", counts.created());
    count(own, "sessions_closed", "Sessions ended", counts.closed());
    count(own, "session_prompts", "Prompts taken in, by whatever way", counts.prompts());
    count(own, "agent_messages", "What agents said, whole messages", counts.messages());
    counts_of(own, "turns", "Turns of agents by how they ended", &turns);
    count(own, "agent_tool_calls", "Calls of tools by agents", calls);
    count(own, "agent_tool_failures", "Calls of tools by agents that failed or were refused", failures);
    counts_of(own, "agent_approvals", "Questions of agents to people, and what came of them", &approvals);
    counts_of(own, "model_calls", "Calls of models by what came of them", &counts.model_calls());
    counts_of(own, "model_tokens", "Tokens of models by what they were", &counts.model_tokens());
    #[expect(clippy::cast_precision_loss, reason = "thousands of millions of dollars are exact")]
    let dollars = counts.model_cost_micro_usd() as f64 / 1_000_000.0;
    own.register_collector(Box::new(Dollars(dollars)));
    seconds(own, "model_call_duration", "How long answers of models took", &counts.model_latency.so_far());
    seconds(own, "approval_answer", "How long agents waited for people who answered", &answers);

    counts_of(own, "agent_claims", "What agents say they did, held against the record", &counts.claims());

    count(aegis, "sessions_completed", "Sessions ended", counts.closed());
    count(aegis, "sessions_failed", "Turns that broke off", failed_turns);
    count(aegis, "messages", "What agents said, whole messages", counts.messages());
    count(aegis, "tool_calls", "Calls of tools by agents", calls);
    count(aegis, "auto_approvals", "Acts that nobody was asked about, by grant or mode", unasked);
    milliseconds(aegis, "permission_response_latency_ms", "How long agents waited for people who answered", answers);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mismatch {
    agent: String,
    action_class: &'static str,
}

/// Answers that claim what no record shows, under the name that another guide's dashboards read. Agents are those that the
/// installation has: there are few, and nobody who asks can make one.
pub(super) fn mismatches(platform: &Platform) -> Registry {
    let mut registry = Registry::with_prefix("gateway");
    let family = Family::<Mismatch, Counter>::default();
    for (agent, action_class, count) in platform.sessions().map(|all| all.counts().mismatches()).unwrap_or_default() {
        family.get_or_create(&Mismatch { agent, action_class }).inc_by(count);
    }
    let help = "Turns of agents with a claim that no record bears out";
    registry.register("fabrication_mismatches", help, family);
    registry
}

fn count(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn counts_of(registry: &mut Registry, name: &str, help: &str, values: &[(&'static str, u64)]) {
    let family = Family::<What, Counter>::default();
    for &(what, value) in values {
        family.get_or_create(&What { what }).inc_by(value);
    }
    registry.register(name, help, family);
}

fn seconds(registry: &mut Registry, name: &'static str, help: &'static str, observed: &Observed) {
    let ends = |(end, count): &(f64, u64)| (end / 1000.0, *count);
    let buckets = observed.buckets.iter().map(ends).collect();
    let sum = observed.sum.as_secs_f64();
    registry.register_with_unit(name, help, Unit::Seconds, Buckets { sum, count: observed.count, buckets });
}

fn milliseconds(registry: &mut Registry, name: &'static str, help: &'static str, observed: Observed) {
    let sum = observed.sum.as_secs_f64() * 1000.0;
    registry.register(name, help, Buckets { sum, count: observed.count, buckets: observed.buckets });
}

/// A histogram that was counted elsewhere.
#[derive(Debug)]
struct Buckets {
    sum: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}

impl EncodeMetric for Buckets {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// What models cost so far.
#[derive(Debug)]
struct Dollars(f64);

impl Collector for Dollars {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cost = ConstCounter::new(self.0);
        let help = "What models cost, as far as their prices are known";
        let unit = Unit::Other("usd".to_owned());
        let metric = encoder.encode_descriptor("model_cost", help, Some(&unit), cost.metric_type())?;
        cost.encode(metric)
    }
}
