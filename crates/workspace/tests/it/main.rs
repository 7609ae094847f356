//! Workspaces made for real: every driver against the same contract, and each against what it alone promises.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by saying what it expected")]

mod actor;
mod agents;
mod bad_days;
mod contract;
mod crashes;
mod egress;
mod escapes;
mod namespace;
mod on_host;
mod stage;
