//! The tools over real sockets, against a server that plays back what API servers say.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by stopping")]

mod certificates;
mod finding;
mod looking;
mod refusals;
mod scenes;
mod scripted_api_server;
mod setting;
