//! Workspaces made for real by a Docker Engine of the tests' own, held to the contract of every driver and to what this
//! driver alone promises.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by saying what it expected")]

#[path = "../it/actor.rs"]
#[allow(dead_code, reason = "words shared with the tests of another driver, which uses others of them")]
mod actor;
#[path = "../it/bad_days.rs"]
#[allow(dead_code, reason = "days on which the kernel sets the disk's end, which it does not everywhere")]
mod bad_days;
mod boundary;
#[path = "../it/contract.rs"]
mod contract;
mod daemon;
#[path = "../it/egress.rs"]
mod egress;
mod engine_away;
#[path = "../it/escapes.rs"]
mod escapes;
mod gvisor;
mod half_done;
mod image;
mod kept;
mod limits;
mod program;
mod stage;
