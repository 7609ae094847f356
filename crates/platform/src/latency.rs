//! How long things took, counted into buckets as Prometheus shows them; they start at zero with the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets in milliseconds, as the guide's dashboards expect them.
pub const BUCKETS_MS: [f64; 14] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0];
/// Upper ends of the buckets of calls of models, in milliseconds (GenAI conventions).
pub const MODEL_BUCKETS_MS: [f64; 14] =
    [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0, 10_240.0, 20_480.0, 40_960.0, 81_920.0];
const BUCKETS: usize = BUCKETS_MS.len() + 1;

/// How long one kind of thing took.
#[derive(Debug)]
pub struct Latency {
    ends: &'static [f64; 14],
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Latency {
    /// Nothing yet, in these buckets.
    pub const fn new(ends: &'static [f64; 14]) -> Self {
        Self { ends, counts: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }

    /// One more.
    pub fn observe(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let place = self.ends.iter().position(|end| ms <= *end).unwrap_or(BUCKETS - 1);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Everything so far.
    pub fn so_far(&self) -> Observed {
        let ends = self.ends.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(&self.counts).map(|(end, n)| (end, n.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        Observed { sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)), count, buckets }
    }
}

/// What was observed up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// All of it together.
    pub sum: Duration,
    /// How many.
    pub count: u64,
    /// The upper end of each bucket in milliseconds and how many fell into it and no lower one; the last has no end.
    pub buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_falls_into_one_bucket() {
        let latency = Latency::new(&BUCKETS_MS);
        for ms in [0, 1, 3, 10_000, 10_001, 3_600_000] {
            latency.observe(Duration::from_millis(ms));
        }
        let seen = latency.so_far();
        let filled: Vec<_> = seen.buckets.iter().filter(|(_, n)| *n > 0).copied().collect();
        assert_eq!(filled, [(0.5, 1), (1.0, 1), (5.0, 1), (10_000.0, 1), (f64::INFINITY, 2)]);
        assert_eq!((seen.count, seen.sum.as_millis()), (6, 3_620_005));
    }
}
