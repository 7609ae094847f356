//! The platform over the real gate and the real store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod accounts;
mod answer_links;
mod approvals;
mod identity;
mod notices;
mod questions;
mod rules;
mod sessions;
mod stream;
mod support;
mod workspaces;
