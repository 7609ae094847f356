//! Slows down whoever tries passwords: per address and per account, longer each time.
//!
//! A try counts before the password is looked at, so that a thousand tries at the same moment are not a thousand
//! chances; one that succeeds is given back.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many tries there are in a minute.
const TRIES: usize = 5;
const MINUTE_MS: i64 = 60_000;
/// The longest that anybody is kept waiting.
const WAIT_MS_MAX: i64 = 60 * MINUTE_MS;
/// How many addresses and accounts are remembered.
const REMEMBERED_MAX: usize = 8192;

/// Who tries, or who is tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Where the tries come from.
    Address(IpAddr),
    /// The account that they are about; it need not exist.
    Account(String),
}

impl Target {
    /// An address; of an IPv6 address the network, because one subscriber has all of it.
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

#[derive(Debug, Default)]
struct Tries {
    /// When the tries of the last minute were, in milliseconds.
    at: VecDeque<i64>,
    /// Until when no try is allowed.
    shut_until: i64,
    /// How often it was shut.
    shut: u32,
}

impl Tries {
    /// How long to wait before the next try; zero when one may be made.
    fn wait_ms(&mut self, now: i64) -> i64 {
        // A clock that was set back keeps nobody waiting longer than it says.
        if self.shut_until.saturating_sub(now) > WAIT_MS_MAX {
            self.shut_until = 0;
        }
        if self.shut_until > now {
            return self.shut_until - now;
        }
        self.at.retain(|at| (0..MINUTE_MS).contains(&now.saturating_sub(*at)));
        if self.at.is_empty() && now.saturating_sub(self.shut_until) > WAIT_MS_MAX {
            self.shut = 0;
        }
        if self.at.len() < TRIES {
            return 0;
        }
        let wait = MINUTE_MS.saturating_mul(1 << self.shut.min(6)).min(WAIT_MS_MAX);
        self.shut += 1;
        self.shut_until = now.saturating_add(wait);
        self.at.clear();
        wait
    }

    fn last(&self) -> i64 {
        self.at.back().copied().unwrap_or(0).max(self.shut_until)
    }
}

/// The tries of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    tries: Mutex<HashMap<Target, Tries>>,
}

impl Throttle {
    /// Counts a try, or says how long to wait before one is allowed.
    pub(super) fn admit(&self, targets: &[Target], now: jiff::Timestamp) -> Result<(), Duration> {
        let now = now.as_millisecond();
        let mut tries = self.lock();
        if tries.len() + targets.len() > REMEMBERED_MAX {
            make_room(&mut tries, now);
        }
        let wait = targets.iter().map(|target| tries.get_mut(target).map_or(0, |tries| tries.wait_ms(now))).max();
        let wait = wait.unwrap_or(0);
        if wait > 0 {
            return Err(Duration::from_millis(u64::try_from(wait).unwrap_or(1000)));
        }
        for target in targets {
            tries.entry(target.clone()).or_default().at.push_back(now);
        }
        Ok(())
    }

    /// Gives a try back that succeeded. The account starts afresh; the address keeps its other tries.
    pub(super) fn succeeded(&self, targets: &[Target]) {
        let mut tries = self.lock();
        for target in targets {
            match target {
                Target::Account(_) => {
                    tries.remove(target);
                }
                Target::Address(_) => {
                    if let Some(tries) = tries.get_mut(target) {
                        tries.at.pop_back();
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets who has not tried for a minute; when that is not enough, the older half.
fn make_room(tries: &mut HashMap<Target, Tries>, now: i64) {
    tries.retain(|_, tries| tries.last().saturating_add(MINUTE_MS) > now);
    if tries.len() < REMEMBERED_MAX / 2 {
        return;
    }
    let mut ages: Vec<i64> = tries.values().map(Tries::last).collect();
    ages.sort_unstable();
    let middle = ages.get(ages.len() / 2).copied().unwrap_or(0);
    tries.retain(|_, tries| tries.last() > middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn alice() -> [Target; 1] {
        [Target::Account("alice@example.com".to_owned())]
    }

    #[test]
    fn the_sixth_try_of_a_minute_waits_and_each_further_round_waits_longer() {
        let throttle = Throttle::default();
        let mut now = 0;
        for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            for _ in 0..TRIES {
                throttle.admit(&alice(), at(now)).unwrap();
            }
            assert_eq!(throttle.admit(&alice(), at(now)), Err(Duration::from_secs(wait)));
            assert_eq!(throttle.admit(&alice(), at(now + 1)), Err(Duration::from_secs(wait - 1)), "waiting is told");
            now += i64::try_from(wait).unwrap();
        }
    }

    #[test]
    fn whoever_types_slowly_is_never_kept_waiting() {
        let throttle = Throttle::default();
        for n in 0..50 {
            throttle.admit(&alice(), at(n * 15)).unwrap();
        }
    }

    #[test]
    fn success_clears_the_account_and_keeps_the_other_tries_of_the_address() {
        let throttle = Throttle::default();
        let both = |name: &str| [Target::address("192.0.2.1".parse().unwrap()), Target::Account(name.to_owned())];
        for n in 0..4 {
            throttle.admit(&both(&format!("victim{n}")), at(0)).unwrap();
        }
        for _ in 0..10 {
            throttle.admit(&both("mine"), at(0)).unwrap();
            throttle.succeeded(&both("mine"));
        }
        throttle.admit(&both("victim4"), at(0)).unwrap();
        assert!(throttle.admit(&both("victim5"), at(0)).is_err(), "own sign-ins buy no tries at others");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let of = |text: &str| Target::address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::2"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_shut_out_stays_so() {
        let throttle = Throttle::default();
        for _ in 0..=TRIES {
            let _ = throttle.admit(&alice(), at(0));
        }
        for n in 0..3 * REMEMBERED_MAX {
            let _ = throttle.admit(&[Target::Account(format!("{n}"))], at(1));
        }
        assert!(throttle.lock().len() <= REMEMBERED_MAX);
        assert!(throttle.admit(&alice(), at(2)).is_err());
    }
}
