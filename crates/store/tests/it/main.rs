//! The store as the rest of the house uses it: durable, append-only, provable, and separate for each tenant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod accounts;
mod backups;
mod directory;
mod projection;
mod proofs;
mod queries;
mod rooms;
mod support;
mod tampering;
mod workspaces;
