//! The gate over the real store: what is recorded, in which order, and what is never carried out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod approvals;
mod interruptions;
mod paths;
mod refusals;
mod stress;
mod support;
