//! Whether the runtime is well, and what happens in it.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::json;

use super::only;
use crate::http::{Outcome, ok};
use crate::runtime::Runtime;

/// Everybody may know that it is well; more is for those who have the token.
pub(super) fn health(runtime: &Arc<Runtime>, known: bool) -> Outcome {
    if !known {
        return ok(&json!({ "status": "ok" }));
    }
    ok(&json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "landlock": runtime.hardening.landlock,
        "no_new_privileges": true,
        "uptime_ms": runtime.activity.uptime_ms(),
    }))
}

pub(super) fn stats(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    only(&Method::GET, request)?;
    let (terminals, attached) = runtime.terminals.count();
    ok(&json!({
        "terminals": terminals,
        "attached": attached,
        "executions": runtime.executions.count(),
        "uptime_ms": runtime.activity.uptime_ms(),
        "last_output_ms": runtime.activity.since_output_ms(),
        "last_input_ms": runtime.activity.since_input_ms(),
        "out_of_memory": runtime.executions.out_of_memory(),
    }))
}
