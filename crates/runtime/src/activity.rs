//! When the workspace was last used, for those who decide that it rests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nothing has happened yet.
const NEVER: u64 = u64::MAX;

/// Moments, in milliseconds since the runtime was started.
#[derive(Debug)]
pub(crate) struct Activity {
    started: Instant,
    output: AtomicU64,
    input: AtomicU64,
}

impl Activity {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), output: AtomicU64::new(NEVER), input: AtomicU64::new(NEVER) }
    }

    /// A terminal or a program has written something.
    pub(crate) fn output(&self) {
        self.output.store(self.uptime_ms(), Ordering::Relaxed);
    }

    /// Somebody has typed something, or started something.
    pub(crate) fn input(&self) {
        self.input.store(self.uptime_ms(), Ordering::Relaxed);
    }

    /// Since the start.
    pub(crate) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// How long ago something was last written.
    pub(crate) fn since_output_ms(&self) -> Option<u64> {
        self.since(&self.output)
    }

    /// How long ago something was last typed or started.
    pub(crate) fn since_input_ms(&self) -> Option<u64> {
        self.since(&self.input)
    }

    fn since(&self, moment: &AtomicU64) -> Option<u64> {
        let then = moment.load(Ordering::Relaxed);
        (then != NEVER).then(|| self.uptime_ms().saturating_sub(then))
    }
}
