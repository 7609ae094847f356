//! The Model Context Protocol both ways, with the official SDK.
//!
//! [`server`] is a way in: whoever speaks MCP gets the tools, sessions, resources and prompts that the caller may use, and
//! nothing that the API would not give them. [`client`] is a way out: tools of other people's MCP servers, pinned and held
//! behind the gate like every tool. [`relay`] carries standard input and output to a running server, so that a program
//! that starts `reeve mcp` talks to the same one as everybody. The two ways do not see each other.

pub mod client;
pub mod relay;
pub mod server;

mod wording;
