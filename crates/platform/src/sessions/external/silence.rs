//! An agent that says nothing: people are told after a while, and its turn ends after a longer one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reeve_types::session::Happening;
use tokio::time::Instant;

use super::Live;
use crate::sessions::lock;
use crate::sessions::turn::TurnCx;

/// When an agent was heard last.
pub(super) struct Heard {
    last: Mutex<Instant>,
    /// What it asked for and waits for: as long as that takes, it is not silent.
    waits_for: AtomicUsize,
}

impl Default for Heard {
    fn default() -> Self {
        Self { last: Mutex::new(Instant::now()), waits_for: AtomicUsize::new(0) }
    }
}

impl Heard {
    /// It says something.
    pub(super) fn now(&self) {
        *lock(&self.last) = Instant::now();
    }

    /// It asks for something and waits until this is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.waits_for.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    fn silent_for(&self) -> Duration {
        if self.waits_for.load(Ordering::Relaxed) > 0 { Duration::ZERO } else { lock(&self.last).elapsed() }
    }

    /// Returns once it has been silent for so long.
    async fn silence(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.silent_for());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Stands for something that an agent waits for.
pub(super) struct Busy<'a>(&'a Heard);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.now();
        self.0.waits_for.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bears an agent's silence: tells of it, and returns when it has lasted too long.
pub(super) async fn bear(cx: &TurnCx, live: &Live) {
    let options = &cx.sessions.core.parts.options;
    let (told_after, ended_after) = (options.silence_told, options.silence_max);
    let heard = &live.peer.heard;
    heard.now();
    loop {
        heard.silence(told_after.min(ended_after)).await;
        if told_after < ended_after {
            let message = format!(
                "the agent has said nothing for {}; cancel the turn if it is stuck. It is stopped after {} of silence.",
                in_words(told_after),
                in_words(ended_after)
            );
            live.peer.note(vec![Happening::Warning { message }]).await;
        }
        loop {
            let silent = heard.silent_for();
            if silent >= ended_after {
                return;
            }
            if silent < told_after {
                break;
            }
            tokio::time::sleep((ended_after - silent).min(told_after)).await;
        }
    }
}

/// Why a turn ended that was silent for too long.
pub(super) fn reason(cx: &TurnCx) -> String {
    let limit = in_words(cx.sessions.core.parts.options.silence_max);
    format!("the agent said nothing for {limit} and was stopped; look at what it did, and go on with another prompt")
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        60 => "a minute".to_owned(),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        1 => "a second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_what_was_heard_last_and_not_while_it_waits() {
        let heard = Heard::default();
        tokio::time::advance(Duration::from_secs(50)).await;
        heard.now();
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(heard.silent_for(), Duration::from_secs(50));
        let busy = heard.busy();
        tokio::time::advance(Duration::from_secs(500)).await;
        assert_eq!(heard.silent_for(), Duration::ZERO);
        drop(busy);
        let began = Instant::now();
        heard.silence(Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[test]
    fn times_are_said_in_words() {
        let said: Vec<_> = [1, 60, 120, 90].map(|s| in_words(Duration::from_secs(s))).into();
        assert_eq!(said, ["a second", "a minute", "2 minutes", "90 seconds"]);
    }
}
