//! Programs that somebody runs.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};
use jiff::Timestamp;
use reeve_types::ExecutionId;
use reeve_types::workspace::processes::ExecRequest;
use tokio::sync::mpsc;

use super::{nowhere, only, wrong_method};
use crate::http::{Outcome, Query, bad, done, events, ok, read_json};
use crate::output::Amount;
use crate::runtime::Runtime;

pub(super) async fn route(runtime: &Arc<Runtime>, rest: &[&str], request: Request<Incoming>) -> Outcome {
    match (rest, request.method()) {
        ([], &Method::POST) => run(runtime, request).await,
        ([id], &Method::DELETE) => {
            let id: ExecutionId = id.parse().map_err(|error| bad(format!("{error}")))?;
            runtime.executions.cancel(&id)?;
            Ok(done())
        }
        ([] | [_], _) => Err(wrong_method(&request)),
        _ => Err(nowhere(request.uri().path())),
    }
}

/// `output=all` leaves nothing out and goes at the reader's speed.
async fn run(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let query = Query::of(&request);
    let id = query.parsed("id")?.unwrap_or_else(|| ExecutionId::new(Timestamp::now(), rand::random()));
    let amount = match query.text("output") {
        None | Some("bounded") => Amount::Bounded,
        Some("all") => Amount::Everything,
        Some(_) => return Err(bad("`output` takes `bounded` or `all`")),
    };
    let wanted: ExecRequest = read_json(request).await?;
    let happening = runtime.executions.begin(id, wanted, amount).await?;
    Ok(events(received(happening)))
}

pub(super) async fn languages(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    only(&Method::GET, request)?;
    ok(&runtime.executions.languages().await)
}

/// A channel as a stream.
pub(super) fn received<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}
