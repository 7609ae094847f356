//! The API over a real store and a real gate, called in the same process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails right there"
)]

mod accounts;
mod acting;
mod answering;
mod conventions;
mod coverage;
mod following;
mod limits;
mod looking;
mod platform;
mod serving;
mod sessions;
mod tenants;
mod unconfined;
mod workspaces;
