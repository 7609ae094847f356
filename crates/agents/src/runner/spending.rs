//! What an agent uses from one look to the next: as it tells itself, or else as the answers tell that reach it through
//! Reeve. Both speak of the same tokens, so never both are counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reeve_gate::relay::RelayMeter;
use reeve_platform::sessions::ExternalUsage;
use reeve_types::model::Usage;

use crate::acp::Cost;

/// Most models of one look that are told apart.
const MODELS_MAX: usize = 16;

/// What one agent uses.
#[derive(Default)]
pub(super) struct Spending {
    /// The provider that is asked through Reeve.
    provider: Option<String>,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    /// By the answers that passed.
    relayed: Usage,
    /// Tokens by model.
    models: Vec<(String, u64)>,
    /// By the agent's own count of its turns.
    told: Option<Usage>,
    /// What the agent says that its session has cost so far, in US dollars.
    cost: Option<f64>,
    /// How much of that was counted before.
    counted: Option<f64>,
}

impl Spending {
    /// Nothing yet.
    pub(super) fn new(provider: Option<String>) -> Self {
        Self { provider, spent: Mutex::default() }
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins that has no past.
    pub(super) fn begin_anew(&self) {
        self.spent().counted = Some(0.0);
    }

    /// The agent has counted a turn.
    pub(super) fn told(&self, usage: Usage) {
        let mut spent = self.spent();
        let mut all = spent.told.unwrap_or_default();
        all += usage;
        spent.told = Some(all);
    }

    /// The agent says what its session has cost so far.
    pub(super) fn costs(&self, cost: &Cost) {
        if !cost.currency.eq_ignore_ascii_case("usd") || !cost.amount.is_finite() || cost.amount < 0.0 {
            return;
        }
        let mut spent = self.spent();
        spent.cost = Some(cost.amount);
        // What a session that goes on has cost before was counted then.
        spent.counted.get_or_insert(cost.amount);
    }

    /// What was used since the last look, `own_model` being the one that the agent says to use.
    pub(super) fn take(&self, own_model: Option<String>) -> Option<ExternalUsage> {
        let mut spent = self.spent();
        let relayed = std::mem::take(&mut spent.relayed);
        let models = std::mem::take(&mut spent.models);
        let mut usage = spent.told.take().unwrap_or(relayed);
        let own_cost = spent.cost.zip(spent.counted).and_then(|(cost, counted)| micro(cost - counted));
        if spent.cost.is_some() {
            spent.counted = spent.cost;
        }
        drop(spent);
        // The provider's prices are what is paid; without them, the agent's own reckoning is better than none.
        usage.cost_micro_usd = relayed.cost_micro_usd.or(own_cost.filter(|cost| *cost > 0));
        if usage == Usage::default() {
            return None;
        }
        let most = models.into_iter().max_by_key(|(_, tokens)| *tokens).map(|(model, _)| model);
        let model = match (&self.provider, most) {
            (Some(provider), Some(model)) => format!("{provider}/{model}"),
            _ => own_model.unwrap_or_default(),
        };
        Some(ExternalUsage { model, usage })
    }
}

impl RelayMeter for Spending {
    fn used(&self, model: &str, more: Usage) {
        let mut spent = self.spent();
        spent.relayed += more;
        let tokens = more.input_tokens + more.output_tokens + more.cache_read_tokens + more.cache_write_tokens;
        let models = &mut spent.models;
        let has_room = models.len() < MODELS_MAX;
        match models.iter_mut().find(|(known, _)| known == model) {
            Some((_, known)) => *known += tokens,
            None if has_room => models.push((model.chars().take(200).collect(), tokens)),
            None => {}
        }
    }
}

/// Dollars in millionths.
fn micro(dollars: f64) -> Option<u64> {
    let millionths = (dollars * 1e6).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
    (millionths.is_finite() && (0.0..1e15).contains(&millionths)).then_some(millionths as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64, cost_micro_usd: Option<u64>) -> Usage {
        Usage { input_tokens, output_tokens, cost_micro_usd, ..Usage::default() }
    }

    fn dollars(amount: f64) -> Cost {
        Cost { amount, currency: "USD".to_owned() }
    }

    #[test]
    fn what_the_agent_counts_is_taken_and_what_passed_is_not_added_to_it() {
        let spending = Spending::new(Some("house".to_owned()));
        spending.used("m-1", usage(100, 10, Some(450)));
        spending.used("m-2", usage(5, 1, Some(10)));
        spending.told(usage(90, 9, None));
        let used = spending.take(Some("sonnet".to_owned())).expect("something");
        assert_eq!(used, ExternalUsage { model: "house/m-1".to_owned(), usage: usage(90, 9, Some(460)) });
        assert_eq!(spending.take(None), None, "it is taken once");
        spending.used("m-1", usage(7, 3, None));
        let used = spending.take(None).expect("something");
        assert_eq!(used.usage, usage(7, 3, None), "without a count of its own, what passed counts");
    }

    #[test]
    fn the_agents_own_reckoning_counts_what_came_on_top_where_no_price_is_known() {
        let spending = Spending::default();
        spending.begin_anew();
        spending.costs(&dollars(0.25));
        spending.told(usage(1, 1, None));
        let used = spending.take(Some("opus".to_owned())).expect("something");
        assert_eq!(used, ExternalUsage { model: "opus".to_owned(), usage: usage(1, 1, Some(250_000)) });
        spending.costs(&dollars(0.30));
        assert_eq!(spending.take(None).expect("something").usage.cost_micro_usd, Some(50_000));
        for nonsense in [f64::NAN, -1.0, f64::INFINITY] {
            spending.costs(&dollars(nonsense));
        }
        spending.costs(&Cost { amount: 9.0, currency: "EUR".to_owned() });
        assert_eq!(spending.take(None), None);

        let resumed = Spending::default();
        resumed.costs(&dollars(4.0));
        assert_eq!(resumed.take(None), None, "its past was counted before");
        resumed.costs(&dollars(4.5));
        assert_eq!(resumed.take(None).expect("something").usage.cost_micro_usd, Some(500_000));
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let spending = Spending::new(Some("house".to_owned()));
        for number in 0..1000 {
            spending.used(&format!("m-{number}"), usage(1, 0, None));
        }
        assert_eq!(spending.spent().models.len(), MODELS_MAX);
        assert_eq!(spending.take(None).expect("something").usage.input_tokens, 1000);
    }
}
