//! One live connection to an agent over the Agent Client Protocol, version 1.
//!
//! The shapes on the wire are those of the official crate `agent-client-protocol-schema`. The conversation itself is ours:
//! the official connection reads lines of any length into memory, queues without a bound in both directions, knows no
//! `Content-Length` frames, takes only integers, strings and `null` as ids, and ends when a line cannot be read. Here every
//! frame, queue and wait has a bound, any id comes back as it came, and noise on the line is counted and survived.
//!
//! ```text
//! agent's stdout → frames → message ─┬─ answer  → whoever called
//!                                    ├─ update  → Peer::update, in order, before anything that follows it
//!                                    └─ request → Peer, each in a task of its own → answer
//! calls, answers → one bounded queue → writer → agent's stdin
//! ```

mod calls;
mod connection;
mod content;
mod error;
mod frames;
mod inbound;
mod message;
mod outgoing;
mod peer;
mod requests;
mod session;
mod tool;
mod update;

pub use connection::{Connection, Counts, Options};
pub use content::ContentBlock;
pub use error::{AcpError, End, PeerError};
pub use peer::{
    Answered, Choice, CreateTerminal, Peer, PermissionKind, PermissionOption, PermissionOutcome, PermissionRequest,
    ProtocolWarning, ReadTextFile, TerminalExit, TerminalOutput, TerminalRef, WriteTextFile,
};
pub use session::{
    AgentInfo, AuthMethod, ConfigChoice, ConfigOption, ConfigValue, McpServer, NamedChoice, NewSession, SessionChoices,
    SessionRequest, StopReason, TurnDone,
};
pub use tool::{Location, ToolCall, ToolCallChange, ToolContent, ToolKind, ToolStatus};
pub use update::{Command, Cost, PlanEntry, PlanPriority, PlanStatus, TextChange, Update};
