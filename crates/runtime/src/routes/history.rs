//! What files were before they were saved over.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};
use reeve_types::VersionId;

use super::files::{blocking, sent};
use super::{nowhere, only};
use crate::http::{Outcome, Query, bad, ok};
use crate::runtime::Runtime;

pub(super) async fn route(runtime: &Arc<Runtime>, rest: &[&str], request: Request<Incoming>) -> Outcome {
    only(&Method::GET, &request)?;
    let files = runtime.files.clone();
    let query = Query::of(&request);
    let path = query.path()?;
    match rest {
        [] => ok(&blocking(move || files.history(&path)).await?),
        ["content"] => {
            let id: VersionId =
                query.parsed("version")?.ok_or_else(|| bad("`version` names the version to be read"))?;
            let (head, file) = blocking(move || files.open_version(&path, &id)).await?;
            sent(&head, file)
        }
        _ => Err(nowhere(request.uri().path())),
    }
}
