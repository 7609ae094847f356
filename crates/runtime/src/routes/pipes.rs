//! Programs with pipes: each lives on a connection of its own that stopped being HTTP.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::only;
use super::ports::{check_upgrade, switching};
use crate::http::Outcome;
use crate::runtime::Runtime;

/// `GET /v1/pipes` with `Upgrade: reeve-pipe`: what to start is the first frame, so that nothing of it is bounded by what
/// headers hold or stands in them.
pub(super) fn open(runtime: &Arc<Runtime>, mut request: Request<Incoming>) -> Outcome {
    only(&Method::GET, &request)?;
    check_upgrade(&request, "reeve-pipe")?;
    let upgrading = hyper::upgrade::on(&mut request);
    let runtime = Arc::clone(runtime);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            runtime.pipes.converse(upgraded).await;
        }
    });
    Ok(switching("reeve-pipe"))
}
