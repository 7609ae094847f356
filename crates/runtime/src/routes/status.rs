//! Whether the runtime is well, and what happens in it.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::only;
use crate::http::{Outcome, json as json_with, ok};
use crate::runtime::Runtime;

/// Everybody may know that it is well; more is for those who have the token.
pub(super) fn health(runtime: &Arc<Runtime>, known: bool) -> Outcome {
    let preview = runtime.preview.as_ref().map(|preview| preview.standing());
    let well = preview.as_ref().is_none_or(|preview| preview.running);
    let mut told = json!({ "status": if well { "ok" } else { "degraded" } });
    if let Some(told) = told.as_object_mut() {
        if let Some(preview) = preview {
            told.insert("preview".to_owned(), json!(preview));
        }
        if known {
            told.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
            told.insert("pid".to_owned(), json!(std::process::id()));
            told.insert("landlock".to_owned(), json!(runtime.hardening.landlock));
            told.insert("no_new_privileges".to_owned(), json!(true));
            told.insert("uptime_ms".to_owned(), json!(runtime.activity.uptime_ms()));
        }
    }
    json_with(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &told)
}

pub(super) fn stats(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    only(&Method::GET, request)?;
    let (terminals, attached) = runtime.terminals.count();
    ok(&json!({
        "terminals": terminals,
        "attached": attached,
        // A program with pipes runs like any other; what rests only when nothing runs looks here.
        "executions": runtime.executions.count() + runtime.pipes.count(),
        "uptime_ms": runtime.activity.uptime_ms(),
        "last_output_ms": runtime.activity.since_output_ms(),
        "last_input_ms": runtime.activity.since_input_ms(),
        "out_of_memory": runtime.executions.out_of_memory(),
    }))
}
