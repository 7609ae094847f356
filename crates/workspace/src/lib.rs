//! The ways out to workspaces: the drivers that make them and the client of the program inside.
//!
//! A driver ([`namespace`], [`docker`]) implements [`reeve_gate::workspace::WorkspaceDriver`]; what it hands out is a
//! [`client::RuntimeClient`], which speaks to `reeve-runtime` inside. Whatever comes from inside is hostile input.

mod archive;
pub mod client;
pub mod docker;
mod egress;
pub mod namespace;
mod process;
pub mod templates;

pub use client::RuntimeClient;
pub use docker::{DockerDriver, DockerOptions};
pub use namespace::{NamespaceDriver, NamespaceOptions};
pub use templates::{Template, Templates};
