//! Other people's agents: how Reeve speaks with them and how they are started.
//!
//! An agent is a program that speaks the Agent Client Protocol over two streams of bytes. [`acp`] is one live connection
//! to one of them, wherever its streams come from; [`profiles`] says which programs there are, what they may be given and
//! with which settings they are not started; [`redact`](redact()) takes secrets out of what they say before it is stored; [`runner`] starts
//! them in workspaces for the platform's sessions. Everything that an agent says is hostile input.

pub mod acp;
pub mod profiles;
mod redact;
pub mod runner;

pub use redact::redact;
