//! What every task carries: a clock, chance, a deadline and a way to be stopped.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// Time and chance. The only place where either is read; tests bring their own.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Sixteen unpredictable bytes.
    fn random(&self) -> u128;
}

/// The machine's clock and the operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn random(&self) -> u128 {
        rand::random()
    }
}

/// The surroundings of one task.
#[derive(Clone)]
pub struct TaskCx {
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    deadline: tokio::time::Instant,
}

impl TaskCx {
    /// A task that must end within `limit` or when `cancel` fires.
    pub fn new(clock: Arc<dyn Clock>, cancel: CancellationToken, limit: Duration) -> Self {
        Self { clock, cancel, deadline: tokio::time::Instant::now() + limit }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sixteen unpredictable bytes.
    pub fn random(&self) -> u128 {
        self.clock.random()
    }

    /// The clock, to hand on.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Fires when the task must stop.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// When the task must have ended.
    pub fn deadline(&self) -> tokio::time::Instant {
        self.deadline
    }

    /// What is left of the time, at least zero.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }

    /// The same task with an earlier deadline.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let sooner = (tokio::time::Instant::now() + limit).min(self.deadline);
        Self { clock: Arc::clone(&self.clock), cancel: self.cancel.clone(), deadline: sooner }
    }
}
