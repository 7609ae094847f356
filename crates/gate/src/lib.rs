//! The one door.
//!
//! Every act on the world is a [`ToolCall`] that goes through [`Gate::submit`]: identity and resource are resolved,
//! policy decides, people are asked where policy says so, the intent is recorded durably, the tool runs under limits,
//! and the outcome is recorded. The gate is the only code that can make a [`Permitted`] value, and a tool can only be
//! run with one:
//!
//! ```compile_fail,E0451
//! // A permit cannot be built by hand …
//! let permit = reeve_gate::Permitted { call: (), limits: Default::default() };
//! ```
//! ```compile_fail,E0624
//! // … nor minted from outside …
//! let permit = reeve_gate::Permitted::mint((), Default::default());
//! ```
//! ```compile_fail,E0599
//! // … nor cloned …
//! fn twice(permit: reeve_gate::Permitted<reeve_gate::ToolCall>) { let _second = permit.clone(); }
//! ```
//! ```compile_fail,E0382
//! // … nor used twice …
//! fn reuse(permit: reeve_gate::Permitted<reeve_gate::ToolCall>) { permit.open(); permit.open(); }
//! ```
//! ```compile_fail,E0616
//! // … nor edited after it was given …
//! fn edit(mut permit: reeve_gate::Permitted<reeve_gate::ToolCall>) { permit.call.arguments.clear(); }
//! ```
//! ```compile_fail,E0308
//! // … nor left out …
//! fn bare(tool: &dyn reeve_gate::Tool, call: reeve_gate::ToolCall, cx: &reeve_gate::TaskCx) { let _ = tool.run(call, cx); }
//! ```
//! ```compile_fail,E0277
//! // … nor read from bytes that someone kept.
//! let _: reeve_gate::Permitted<reeve_gate::ToolCall> = serde_json::from_str("{}").unwrap();
//! ```

mod act;
mod cx;
mod gate;
mod ledger;
pub mod model;
mod permit;
mod registry;
pub mod relay;
mod request;
mod tool;
pub mod workspace;

pub use act::{act_digest, masked_arguments};
pub use cx::{Clock, SystemClock, TaskCx};
pub use gate::Gate;
pub use ledger::{
    Admission, Entry, Expectation, Ledger, LedgerError, PendingAct, Recorded, ResumableAct, StoredAction,
};
pub use permit::Permitted;
pub use registry::{Registry, RegistryError};
pub use request::{Completed, Explained, GateOptions, OperatingMode, Refusal, Request, Submission};
pub use tool::{FailureKind, Inventory, ProbeVerdict, Tool, ToolCall, ToolFailure, UnknownTarget};
