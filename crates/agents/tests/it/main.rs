//! Connections to agents: to scripted ones that misbehave in every way, and to real programs.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

mod frames;
mod hostile;
mod real;
mod script;
mod turns;
