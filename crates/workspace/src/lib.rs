//! The ways out to workspaces: the drivers that make them and the client of the program inside.
//!
//! [`client::RuntimeClient`], which speaks to `reeve-runtime` inside. Whatever comes from inside is hostile input.

pub mod client;
pub mod templates;

pub use client::RuntimeClient;
pub use templates::{Template, Templates};
