//! Both ways over the real gate, the real store and the real routes; the other side is the official SDK's.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod house;
mod others;
mod pinning;
mod programs;
mod relaying;
mod serving;
mod strangers;
