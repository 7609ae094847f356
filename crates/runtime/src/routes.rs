//! Which path is answered by what, and to whom.

mod executions;
mod files;
mod history;
mod pipes;
mod ports;
mod sandbox;
mod status;
mod terminals;
mod uploads;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, header};
use reeve_types::{ProblemCode, WorkspaceError};

use crate::http::{Outcome, Reply, problem};
use crate::runtime::Runtime;

/// Answers a request. Whatever goes wrong is an answer, too.
pub(crate) async fn answer(runtime: Arc<Runtime>, request: Request<Incoming>) -> Reply {
    route(runtime, request).await.unwrap_or_else(|error| problem(&error))
}

async fn route(runtime: Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let path = request.uri().path().to_owned();
    let known = is_known(&runtime, &request);
    if let "/healthz" | "/readyz" = path.as_str() {
        return status::health(&runtime, known);
    }
    let Some(within) = path.strip_prefix("/v1/") else {
        if !known && !runtime.config.open {
            return Err(stranger());
        }
        return sandbox::route(&runtime, &path, request).await;
    };
    if !known {
        return Err(stranger());
    }
    let words: Vec<&str> = within.split('/').collect();
    match words.as_slice() {
        ["stats"] => status::stats(&runtime, &request),
        ["languages"] => executions::languages(&runtime, &request).await,
        ["ports"] => ports::list(&request).await,
        ["dial"] => ports::dial(request).await,
        ["executions", rest @ ..] => executions::route(&runtime, rest, request).await,
        ["pipes"] => pipes::open(&runtime, request),
        ["terminals", rest @ ..] => terminals::route(&runtime, rest, request).await,
        ["history", rest @ ..] => history::route(&runtime, rest, request).await,
        ["uploads", rest @ ..] => uploads::route(&runtime, rest, request).await,
        [noun] => files::route(&runtime, noun, request).await,
        _ => Err(nowhere(&path)),
    }
}

fn is_known(runtime: &Runtime, request: &Request<Incoming>) -> bool {
    let presented = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    presented.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|token| runtime.config.token.matches(token))
}

fn stranger() -> WorkspaceError {
    WorkspaceError::new(ProblemCode::Unauthenticated, "this takes the workspace's token, in `Authorization: Bearer …`")
}

/// There is no such path.
fn nowhere(path: &str) -> WorkspaceError {
    let path: String = path.chars().take(100).collect();
    WorkspaceError::new(ProblemCode::NotFound, format!("there is nothing at {path}"))
}

/// The path is there, for other methods.
fn wrong_method(request: &Request<Incoming>) -> WorkspaceError {
    let message = format!("{} does not fit {}", request.method(), request.uri().path());
    WorkspaceError::new(ProblemCode::MethodNotAllowed, message)
}

/// Refuses every method but one.
fn only(method: &Method, request: &Request<Incoming>) -> Result<(), WorkspaceError> {
    if request.method() == method { Ok(()) } else { Err(wrong_method(request)) }
}
