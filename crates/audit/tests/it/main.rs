//! The audit crate as its users see it: published vectors, every small tree, every way to tamper with a log, and
//! hostile texts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod checkpoints;
mod hostile;
mod log;
mod merkle;
mod proofs;
mod records;
mod tampering;
mod tiles;
