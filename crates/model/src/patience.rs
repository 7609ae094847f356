//! How long to wait, and how often to try.

use std::time::Duration;

use crate::trouble::{Again, Trouble};

/// First wait between two attempts; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest wait of our own choice, and longest one that a provider may ask for before the next model is asked instead.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long each part of an answer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until its first byte.
    pub(crate) first: Duration,
    /// Between two pieces.
    pub(crate) idle: Duration,
    /// Until its end.
    pub(crate) whole: Duration,
}

/// How long to wait before attempt `attempt + 1` of one model, or `None` to give up on it.
///
/// The wait is drawn from the upper half of what is due, so that many callers that failed together do not return together.
pub(crate) fn wait_after(attempt: u32, attempts: u32, trouble: &Trouble, chance: u128) -> Option<Duration> {
    if attempt >= attempts {
        return None;
    }
    let due = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_WAIT);
    #[expect(clippy::cast_possible_truncation, reason = "a quarter of the chance is enough")]
    let jittered = due.mul_f64(0.5 + f64::from(chance as u32) / f64::from(u32::MAX) / 2.0);
    match trouble.again {
        Again::Never => None,
        Again::Soon => Some(jittered),
        // Never sooner than asked for, and not all at once either.
        Again::After(asked) => (asked <= LONGEST_WAIT).then(|| asked + jittered / 4),
    }
}

#[cfg(test)]
mod tests {
    use reeve_gate::model::ModelFailureKind;

    use super::*;

    fn trouble(again: Again) -> Trouble {
        Trouble { kind: ModelFailureKind::Limited, what: String::new(), again }
    }

    #[test]
    fn waits_grow_and_differ() {
        let soon = trouble(Again::Soon);
        let waits =
            |chance| [1, 2, 3].map(|attempt| wait_after(attempt, 4, &soon, chance).expect("a wait").as_millis());
        assert_eq!(waits(0), [250, 500, 1_000]);
        assert_eq!(waits(u128::MAX), [500, 1_000, 2_000]);
        assert_eq!(wait_after(4, 4, &soon, 0), None);
        assert!(wait_after(60, 100, &soon, u128::MAX).expect("a wait") <= LONGEST_WAIT);
    }

    #[test]
    fn a_provider_is_obeyed_within_reason() {
        let asked = Duration::from_secs(7);
        let wait = wait_after(1, 4, &trouble(Again::After(asked)), 0).expect("a wait");
        assert!(wait >= asked && wait < asked + Duration::from_secs(1));
        assert_eq!(wait_after(1, 4, &trouble(Again::After(Duration::from_secs(3_600))), 0), None);
        assert_eq!(wait_after(1, 4, &trouble(Again::Never), 0), None);
    }
}
