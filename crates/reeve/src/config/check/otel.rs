//! Where traces are sent, and which.

use super::super::{OtelConfig, Sampling};
use super::Check;

/// Where collectors take traces, below their endpoint.
const TRACES_PATH: &str = "/v1/traces";

impl Check<'_> {
    pub(super) fn otel(&mut self) -> Option<OtelConfig> {
        let enabled = self.switch("otel.enabled") && !self.switch("otel.disabled");
        let endpoint = self.url("otel.endpoint").unwrap_or_else(|| "http://localhost:4318".to_owned());
        let config = OtelConfig {
            endpoint: self.url("otel.traces_endpoint").unwrap_or_else(|| below(&endpoint)),
            service_name: self.text("otel.service_name").unwrap_or_else(|| "reeve".to_owned()),
            sampling: self.sampling(),
        };
        enabled.then_some(config)
    }

    fn sampling(&mut self) -> Sampling {
        let rate = self.fraction("otel.sample_rate", 1.0);
        let named = self.text("otel.sampler").unwrap_or_else(|| "parentbased_traceidratio".to_owned());
        let (sampler, caller_decides) = match named.strip_prefix("parentbased_") {
            Some(sampler) => (sampler, true),
            None => (named.as_str(), false),
        };
        let part = match sampler {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => rate,
            _ => {
                let advice = "use always_on, always_off, traceidratio, or one of these after `parentbased_`";
                self.complain(
                    &self.source("otel.sampler"),
                    format!("`{named}` is not a sampler that Reeve has"),
                    advice,
                );
                rate
            }
        };
        Sampling { part, caller_decides }
    }
}

fn below(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with(TRACES_PATH) { endpoint.to_owned() } else { format!("{endpoint}{TRACES_PATH}") }
}
