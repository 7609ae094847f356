//! The platform over the real gate and the real store.

mod approvals;
mod identity;
mod notices;
mod questions;
mod rules;
mod stream;
mod support;
