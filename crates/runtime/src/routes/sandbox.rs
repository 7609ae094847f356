//! The sandbox runtime API: what clients of plain sandboxes speak. The same files and the same programs, under the names
//! that they know.

mod command;
mod downloads;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::{Method, Request};
use reeve_types::workspace::files::SaveFile;
use reeve_types::{Digest, ProblemCode, WorkspaceError, WorkspacePath};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::files::blocking;
use super::{nowhere, wrong_method};
use crate::http::{Outcome, Query, bad, ok, percent_decoded, read_json_up_to};
use crate::manifest;
use crate::runtime::Runtime;

/// Largest body of a write, base64 included, in bytes. Larger files have a route of their own.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Write {
    path: String,
    content_b64: String,
}

pub(super) async fn route(runtime: &Arc<Runtime>, path: &str, request: Request<Incoming>) -> Outcome {
    match (path, request.method()) {
        ("/exec" | "/execute", &Method::POST) => command::run(runtime, request).await,
        ("/list", &Method::GET) => list(runtime, &request).await,
        ("/manifest", &Method::GET) => manifest(runtime, &request).await,
        ("/download_many", &Method::POST) => downloads::many(runtime, request).await,
        ("/write_b64", &Method::POST) => write(runtime, request).await,
        ("/hot-restart", &Method::POST) => hot_restart(runtime).await,
        (one, &Method::GET) if one.starts_with("/download/") => downloads::one(runtime, one).await,
        ("/exec" | "/execute" | "/list" | "/manifest" | "/download_many" | "/write_b64" | "/hot-restart", _) => {
            Err(wrong_method(&request))
        }
        _ => Err(nowhere(path)),
    }
}

/// A path of this API: the root of the workspace is `/`. Nothing but leading `/` is ever stripped.
fn path_of(bytes: &[u8]) -> Result<WorkspacePath, WorkspaceError> {
    let start = bytes.iter().position(|byte| *byte != b'/').unwrap_or(bytes.len());
    Ok(WorkspacePath::from_bytes(bytes.get(start..).unwrap_or_default())?)
}

fn directory_of(request: &Request<Incoming>) -> Result<WorkspacePath, WorkspaceError> {
    path_of(Query::of(request).bytes("dir").unwrap_or_default())
}

async fn list(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    let (place, below) = (Arc::clone(&runtime.place), directory_of(request)?);
    let entries = blocking(move || manifest::list(&place, &below, false)).await?;
    let files: Vec<&str> =
        entries.iter().filter(|entry| entry.kind == "file").map(|entry| entry.path.as_str()).collect();
    ok(&json!({ "files": files }))
}

async fn manifest(runtime: &Arc<Runtime>, request: &Request<Incoming>) -> Outcome {
    let (place, below) = (Arc::clone(&runtime.place), directory_of(request)?);
    let hidden = Query::of(request).text("include_hidden").is_some_and(|wanted| matches!(wanted, "1" | "true"));
    ok(&json!({ "entries": blocking(move || manifest::list(&place, &below, hidden)).await? }))
}

async fn write(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let write: Write = read_json_up_to(request, WRITE_BYTES_MAX).await?;
    let path = path_of(write.path.as_bytes())?.below_root()?;
    let content = STANDARD.decode(&write.content_b64).map_err(|_| bad("invalid base64"))?;
    drop(write.content_b64);
    let files = runtime.files.clone();
    blocking(move || {
        let save = SaveFile {
            path,
            sha256: Digest(Sha256::digest(&content).into()),
            size: u64::try_from(content.len()).unwrap_or(u64::MAX),
            if_match: None,
            if_none_match: false,
            create_parents: true,
            origin: None,
        };
        let mut pending = files.begin_save(save)?;
        pending.write(&content)?;
        pending.finish()
    })
    .await?;
    something_changed(runtime);
    ok(&json!({ "ok": true, "path": write.path }))
}

fn something_changed(runtime: &Runtime) {
    if let Some(preview) = &runtime.preview {
        preview.changed();
    }
}

async fn hot_restart(runtime: &Arc<Runtime>) -> Outcome {
    let Some(preview) = &runtime.preview else {
        let message = "no preview process runs with this workspace; it is named when the workspace is started";
        return Err(WorkspaceError::new(ProblemCode::NotFound, message));
    };
    if preview.hot_restart().await {
        return ok(&json!({ "ok": true }));
    }
    let message = "the preview process does not run now, or takes no keys; `/healthz` tells how it stands";
    Err(WorkspaceError::new(ProblemCode::Conflict, message))
}

/// The path after `/download/`.
fn downloaded(path: &str) -> Result<WorkspacePath, WorkspaceError> {
    let encoded = path.strip_prefix("/download/").unwrap_or_default();
    let path = path_of(&percent_decoded(encoded.as_bytes()))?;
    if path.is_root() {
        return Err(WorkspaceError::new(ProblemCode::BadRequest, "name a file below the workspace"));
    }
    Ok(path)
}
