//! What tokens cost.

use reeve_types::model::Usage;
use serde::Deserialize;

/// Prices of one model in US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The model's name without date and tag: `claude-opus-4-5` stands for `claude-opus-4-5-20251101` too.
    pub model: String,
    /// Read and paid in full.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the cache; as `input` when absent.
    pub cache_read: Option<f64>,
    /// Put into the cache; as `input` when absent.
    pub cache_write: Option<f64>,
    /// What holds for a whole call once its prompt is longer than so many tokens.
    pub long: Option<LongPrice>,
}

/// Prices of a call with a long prompt.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrice {
    /// Longer than so many tokens.
    pub above: u64,
    /// See [`Price`].
    pub input: f64,
    /// See [`Price`].
    pub output: f64,
    /// See [`Price`].
    pub cache_read: Option<f64>,
    /// See [`Price`].
    pub cache_write: Option<f64>,
}

/// A table of prices.
#[derive(Debug, Clone, Default)]
pub struct Prices(Vec<Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "as_of")]
    _as_of: String,
    #[serde(rename = "sources")]
    _sources: Vec<String>,
    price: Vec<Price>,
}

impl Prices {
    /// The table that comes with the program, after `own` prices.
    pub fn with(own: &[Price]) -> Self {
        let built_in =
            toml::from_str::<File>(include_str!("../prices.toml")).map(|file| file.price).unwrap_or_default();
        Self(own.iter().cloned().chain(built_in).collect())
    }

    /// The price of `usage` in millionths of a US dollar; `None` for a model that is not in the table.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<u64> {
        let price = self.find(model)?;
        let read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
        let (input, output, cache_read, cache_write) = match price.long {
            Some(long) if read > long.above => (long.input, long.output, long.cache_read, long.cache_write),
            _ => (price.input, price.output, price.cache_read, price.cache_write),
        };
        // Dollars per million tokens are millionths of a dollar per token.
        #[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^52")]
        let cost = usage.input_tokens as f64 * input
            + usage.output_tokens as f64 * output
            + usage.cache_read_tokens as f64 * cache_read.unwrap_or(input)
            + usage.cache_write_tokens as f64 * cache_write.unwrap_or(input);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
        (cost.is_finite() && cost >= 0.0).then(|| cost.round() as u64)
    }

    /// The longest name that `model` begins with, when only a date or a tag follows; the user's own prices first.
    fn find(&self, model: &str) -> Option<&Price> {
        let fits = |name: &str| model.strip_prefix(name).is_some_and(is_date_or_tag);
        // Of equals the first one: `max_by_key` alone would give the last.
        self.0.iter().rev().filter(|price| fits(&price.model)).max_by_key(|price| price.model.len())
    }
}

/// Whether it is nothing, a tag (`:7b`, `@20251101`, `[1m]`), a date or `-latest`; `-pro` is another model.
fn is_date_or_tag(rest: &str) -> bool {
    let Some(word) = rest.strip_prefix('-') else { return rest.is_empty() || rest.starts_with(['@', ':', '[']) };
    word.starts_with("latest")
        || word.starts_with("preview")
        || word.bytes().take_while(u8::is_ascii_digit).count() >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64, read: u64, write: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_tokens: write,
            cost_micro_usd: None,
        }
    }

    #[test]
    fn the_table_is_well_formed() {
        let file: File = toml::from_str(include_str!("../prices.toml")).expect("a table");
        assert!(!file._sources.is_empty());
        assert!(file._as_of.parse::<jiff::civil::Date>().is_ok());
        for price in &file.price {
            assert!(price.input > 0.0 && price.output > price.input, "{}", price.model);
            assert!(price.cache_read.is_none_or(|read| read < price.input), "{}", price.model);
            assert_eq!(file.price.iter().filter(|other| other.model == price.model).count(), 1, "{}", price.model);
        }
    }

    #[test]
    fn dated_and_tagged_names_have_the_price_of_their_family_and_neighbours_do_not() {
        let own = [Price {
            model: "house".to_owned(),
            input: 1.0,
            output: 2.0,
            cache_read: None,
            cache_write: None,
            long: None,
        }];
        let prices = Prices::with(&own);
        let one = usage(1_000_000, 0, 0, 0);
        assert_eq!(prices.cost("claude-opus-4-5-20251101", &one), Some(5_000_000));
        assert_eq!(prices.cost("claude-opus-4-1-20250805", &one), Some(15_000_000));
        assert_eq!(prices.cost("house:7b", &one), Some(1_000_000));
        assert_eq!(prices.cost("housecat", &one), None);
        assert_eq!(prices.cost("gpt-5.4-2026-03-05", &one), Some(5_000_000));
        assert_eq!(prices.cost("gpt-5.4-pro", &one), None);
        assert_eq!(prices.cost("gpt-5.99", &one), None);
        assert_eq!(prices.cost("claude-opus-5-7", &one), None);
        assert_eq!(prices.cost("qwen3", &one), None);
    }

    #[test]
    fn caches_and_long_prompts_have_their_own_prices() {
        let prices = Prices::with(&[]);
        assert_eq!(prices.cost("claude-sonnet-5", &usage(100, 10, 1_000, 200)), Some(200 + 100 + 200 + 500));
        assert_eq!(prices.cost("claude-haiku-5-5", &usage(100_000, 0, 0, 0)), Some(10_000));
        assert_eq!(prices.cost("claude-haiku-5-5", &usage(100_000, 0, 1, 0)), Some(50_000));
    }

    #[test]
    fn own_prices_come_first() {
        let mut own = Prices::with(&[]).find("claude-sonnet-5").cloned().expect("a price");
        own.input = 7.0;
        assert_eq!(Prices::with(&[own]).cost("claude-sonnet-5", &usage(1, 0, 0, 0)), Some(7));
    }
}
