//! Files by the names of the sandbox runtime API, one raw or many in one document.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Request;
use hyper::body::Incoming;
use reeve_types::{ProblemCode, WorkspaceError};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{downloaded, path_of};
use crate::files::Files;
use crate::http::{Outcome, bad, read_json, streamed};
use crate::routes::executions::received;
use crate::routes::files::{OutOfThread, WAITING, blocking, content, walk};
use crate::runtime::Runtime;

/// Files of one request.
const PATHS_MAX: usize = 10_000;
/// Bytes that are encoded at once; a multiple of three, so that pieces can stand side by side.
const PIECE_BYTES: usize = 96 * 1024;

#[derive(Deserialize)]
struct Many {
    paths: Vec<String>,
}

pub(super) async fn one(runtime: &Arc<Runtime>, path: &str) -> Outcome {
    let path = downloaded(path)?;
    let files = runtime.files.clone();
    let (head, file) = blocking(move || files.open_file(&path, None)).await?;
    Ok(streamed("application/octet-stream", content(file, head.start, head.end)))
}

/// One document with all of them, written as it is read: however large they are, a piece of one is in memory.
pub(super) async fn many(runtime: &Arc<Runtime>, request: Request<Incoming>) -> Outcome {
    let Many { paths } = read_json(request).await?;
    if paths.len() > PATHS_MAX {
        return Err(bad(format!("at most {PATHS_MAX} files are sent at once; ask for fewer")));
    }
    let walk = walk(&runtime.walks)?;
    let files = runtime.files.clone();
    let (tell, told) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut to = OutOfThread::new(tell);
        let written = document(&files, &paths, &mut to).and_then(|()| to.flush());
        if let Err(error) = written {
            to.fail(error);
        }
        drop(walk);
    });
    Ok(streamed("application/json", received(told)))
}

fn document(files: &Files, paths: &[String], to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"{\"files\":[")?;
    for (at, path) in paths.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(to, "{comma}{{\"path\":{},\"content_b64\":", serde_json::to_string(path)?)?;
        match open(files, path) {
            Ok(file) => {
                to.write_all(b"\"")?;
                encode(&file, to)?;
                to.write_all(b"\",\"error\":null}")?;
            }
            Err(word) => write!(to, "null,\"error\":\"{word}\"}}")?,
        }
    }
    to.write_all(b"]}")
}

fn open(files: &Files, path: &str) -> Result<File, &'static str> {
    let path = path_of(path.as_bytes()).and_then(|path| Ok(path.below_root()?)).map_err(|_| "invalid_path")?;
    files.open_file(&path, None).map(|(_, file)| file).map_err(|error| word(&error))
}

fn word(error: &WorkspaceError) -> &'static str {
    match error.code {
        ProblemCode::NotFound => "file_not_found",
        ProblemCode::WrongFileType => "is_directory",
        ProblemCode::Forbidden => "permission_denied",
        _ => "invalid_path",
    }
}

fn encode(file: &File, to: &mut impl Write) -> io::Result<()> {
    let mut reader = io::BufReader::with_capacity(PIECE_BYTES, file);
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        piece.clear();
        let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
        let read = io::Read::read_to_end(&mut io::Read::take(&mut reader, limit), &mut piece)?;
        to.write_all(STANDARD.encode(&piece).as_bytes())?;
        if read < PIECE_BYTES {
            return Ok(());
        }
    }
}
