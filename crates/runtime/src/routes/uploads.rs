//! Uploads that arrive in pieces and can be gone on with.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use reeve_types::workspace::files::{SaveFile, Upload};
use reeve_types::{UploadId, WorkspaceError};

use super::files::{Pieces, blocking};
use super::{nowhere, wrong_method};
use crate::files::Files;
use crate::http::{Outcome, bad, done, json, ok, read_json};
use crate::runtime::Runtime;

pub(super) async fn route(runtime: &Arc<Runtime>, rest: &[&str], request: Request<Incoming>) -> Outcome {
    let files = runtime.files.clone();
    match (rest, request.method()) {
        ([], &Method::POST) => {
            let save: SaveFile = read_json(request).await?;
            json(StatusCode::CREATED, &blocking(move || files.begin_upload(save)).await?)
        }
        ([id], &Method::GET) => {
            let id = id_of(id)?;
            ok(&blocking(move || files.upload(&id)).await?)
        }
        ([id], &Method::PATCH) => append(files, id_of(id)?, request).await,
        ([id], &Method::DELETE) => {
            let id = id_of(id)?;
            blocking(move || files.abandon_upload(&id)).await?;
            Ok(done())
        }
        ([id, "finish"], &Method::POST) => {
            let id = id_of(id)?;
            let saved = blocking(move || files.finish_upload(&id)).await?;
            json(if saved.created { StatusCode::CREATED } else { StatusCode::OK }, &saved)
        }
        ([] | [_] | [_, "finish"], _) => Err(wrong_method(&request)),
        _ => Err(nowhere(request.uri().path())),
    }
}

/// What has arrived stays, whatever happens to the rest of the body: that is what can be gone on with.
async fn append(files: Files, id: UploadId, request: Request<Incoming>) -> Outcome {
    let offset = request.headers().get("upload-offset").and_then(|value| value.to_str().ok());
    let offset: u64 =
        offset.and_then(|text| text.parse().ok()).ok_or_else(|| bad("the header `upload-offset` takes a number"))?;
    let mut pieces = Pieces::of(request);
    let appended = appended(files, id, offset, &mut pieces).await;
    ok(&pieces.heard(appended).await?)
}

async fn appended(files: Files, id: UploadId, mut offset: u64, pieces: &mut Pieces) -> Result<Upload, WorkspaceError> {
    let mut upload = {
        let (files, id) = (files.clone(), id.clone());
        blocking(move || files.append_upload(&id, offset, &[])).await?
    };
    while let Some(piece) = pieces.next().await? {
        let (files, id) = (files.clone(), id.clone());
        upload = blocking(move || files.append_upload(&id, offset, &piece)).await?;
        offset = upload.offset;
    }
    Ok(upload)
}

fn id_of(text: &str) -> Result<UploadId, WorkspaceError> {
    text.parse().map_err(|error| bad(format!("{error}")))
}
