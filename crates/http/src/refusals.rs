//! What refusals leave behind: a record, as long as they are no flood, and a wait for whoever guesses keys.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reeve_platform::Platform;
use reeve_types::{EventType, Principal, ProblemCode, TenantId};

use crate::problem::Problem;

/// How many refusals are recorded at once before the rate holds.
const DENIED_BURST: f64 = 20.0;
/// How many refusals per second are recorded; the rest is counted.
const DENIED_PER_SECOND: f64 = 5.0;

/// Records refusals, and counts those that a flood would drown the log with.
#[derive(Default)]
pub(crate) struct DeniedLog {
    state: Mutex<Option<(Instant, f64, u64)>>,
}

impl DeniedLog {
    /// How many refusals were counted and not recorded before this one; absent when this one is only counted, too.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().ok()?;
        let (at, left, skipped) = state.unwrap_or((now, DENIED_BURST, 0));
        let left = (left + now.saturating_duration_since(at).as_secs_f64() * DENIED_PER_SECOND).min(DENIED_BURST);
        if left < 1.0 {
            *state = Some((now, left, skipped + 1));
            return None;
        }
        *state = Some((now, left - 1.0, 0));
        Some(skipped)
    }

    /// Records one; `place` is the method and the path that were asked for.
    pub(crate) async fn record(
        &self,
        platform: &Platform,
        principal: Option<&Principal>,
        place: &str,
        remote: Option<IpAddr>,
        reason: &str,
    ) {
        let Some(skipped) = self.admit(Instant::now()) else { return };
        let tenant = principal.map_or_else(TenantId::default_tenant, |principal| principal.tenant.clone());
        let mut event = platform.event(EventType::AccessDenied, &tenant, platform.new_trace("authz"));
        event.principal = principal.cloned();
        let place: String = place.chars().take(210).collect();
        let from = remote.map_or_else(String::new, |remote| format!(" from {remote}"));
        let more = if skipped == 0 {
            String::new()
        } else {
            format!(" ({skipped} more refusals were not recorded before this one)")
        };
        event.note = format!("{place}{from}: {reason}{more}");
        if let Err(error) = platform.record(event).await {
            tracing::error!("a refusal could not be recorded: {error}");
        }
    }
}

/// How many wrong keys one address may try at once before it must wait.
const FAILURES_BURST: f64 = 10.0;
/// How many tries per second it gains back.
const FAILURES_PER_SECOND: f64 = 0.2;
/// How many addresses are remembered.
const ADDRESSES_MAX: usize = 4096;

/// Slows down whoever guesses keys.
#[derive(Default)]
pub(crate) struct FailureLimiter {
    left: Mutex<HashMap<IpAddr, (Instant, f64)>>,
}

impl FailureLimiter {
    /// Refuses an address that must wait.
    pub(crate) fn check(&self, remote: Option<IpAddr>) -> Result<(), Problem> {
        let Some(remote) = remote else { return Ok(()) };
        let left = self.left.lock().ok().and_then(|left| left.get(&remote).map(|(at, n)| (at.elapsed(), *n)));
        match left {
            Some((since, n)) if n + since.as_secs_f64() * FAILURES_PER_SECOND < 1.0 => {
                let detail = "too many wrong keys came from this address; wait a little";
                Err(Problem::new(ProblemCode::RateLimited, detail).retry_after(5))
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong key.
    pub(crate) fn count(&self, remote: Option<IpAddr>) {
        let (Some(remote), Ok(mut left)) = (remote, self.left.lock()) else { return };
        if left.len() >= ADDRESSES_MAX {
            let full = Duration::from_secs_f64(FAILURES_BURST / FAILURES_PER_SECOND);
            left.retain(|_, (at, _)| at.elapsed() < full);
            if left.len() >= ADDRESSES_MAX {
                left.clear();
            }
        }
        let now = Instant::now();
        let (at, n) = left.get(&remote).copied().unwrap_or((now, FAILURES_BURST));
        let regained = (n + now.saturating_duration_since(at).as_secs_f64() * FAILURES_PER_SECOND).min(FAILURES_BURST);
        left.insert(remote, (now, (regained - 1.0).max(0.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_recorded() {
        let (log, now) = (DeniedLog::default(), Instant::now());
        let recorded = (0..100).filter(|_| log.admit(now).is_some()).count();
        assert_eq!(recorded, 20);
        assert_eq!(log.admit(now + Duration::from_secs(1)), Some(80));
    }

    #[test]
    fn guessing_keys_is_slowed_down_for_the_one_who_guesses() {
        let limiter = FailureLimiter::default();
        let (guesser, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        for _ in 0..10 {
            limiter.check(guesser).unwrap();
            limiter.count(guesser);
        }
        assert_eq!(limiter.check(guesser).unwrap_err().code, ProblemCode::RateLimited);
        limiter.check(other).unwrap();
    }
}
