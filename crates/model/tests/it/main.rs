//! Whole questions over real sockets, against a server that plays back what providers send.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what went wrong by stopping")]

mod answers;
mod asking;
mod failures;
mod playing;
mod relayed;
mod requests;
mod scripted_provider;
mod settings;
