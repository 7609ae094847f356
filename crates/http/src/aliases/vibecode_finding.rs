//! Finding and replacing across files, and files in one piece in and out, in the guide's shapes.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use reeve_platform::difference::difference;
use reeve_platform::workspaces::SaveWanted;
use reeve_types::workspace::files::{ArchiveFormat, FileType, SearchEvent, SearchKind, SearchQuery};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::parse;
use crate::problem::Problem;
use crate::routes::workspaces::forms::{self, Form};
use crate::routes::workspaces::replacing::{FileReplaced, ReplaceFiles, Replacing};
use crate::routes::workspaces::wire::{bad_path, path_of};
use crate::routes::workspaces::{USE, Undone, asker, bodies, service};
use crate::socket::parameter;

/// Most matches that one search tells.
const MATCHES_MAX: u32 = 1000;

pub(crate) fn declare(routes: Routes) -> Routes {
    let at = |rest: &str| format!("/api/vibecode/files/{rest}");
    routes
        .alias(USE, &at("search"), routes!(search))
        .alias(USE, &at("replace"), routes!(replace))
        .alias(USE, &at("download"), routes!(download))
        .alias(USE, &at("upload"), routes!(upload))
}

fn query(given: &Given) -> Result<SearchQuery, Problem> {
    let text = given.text("query").or_else(|| given.text("text")).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::new(ProblemCode::BadRequest, "`query` is missing"))?;
    let kind = match given.text("kind").unwrap_or("contents") {
        "contents" => SearchKind::Contents,
        "names" => SearchKind::Names,
        _ => return Err(Problem::new(ProblemCode::BadRequest, "`kind` must be contents or names")),
    };
    Ok(SearchQuery {
        text: text.to_owned(),
        kind,
        regex: given.flag("regex", false),
        case_sensitive: given.flag("case_sensitive", false),
        whole_word: given.flag("whole_word", false),
        include: given.read("include")?,
        exclude: given.read("exclude")?,
        ignored: given.flag("ignored", false),
        limit: given
            .number("limit")
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(MATCHES_MAX)
            .min(MATCHES_MAX),
    })
}

/// Lines or names that match, whole.
#[utoipa::path(post, path = "/api/vibecode/files/search", responses((status = 200, description = "The matches.")))]
async fn search(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (id, query) = (given.session()?, query(&given)?);
    let mut events = service(&app.platform)?.search(&asker(&app, &caller)?, &id, query).await?;
    let (mut matches, mut files, mut truncated) = (Vec::new(), Vec::new(), true);
    while let Some(event) = events.next().await {
        match event? {
            SearchEvent::Match { path, line, text, column, .. } => {
                matches.push(json!({"path": path.to_string(), "line": line, "column": column, "text": text}));
            }
            SearchEvent::File { entry } => files.push(super::vibecode_files::node(&entry)),
            SearchEvent::Done { truncated: cut, .. } => truncated = cut,
        }
    }
    Ok(Json(json!({"matches": matches, "files": files, "truncated": truncated})))
}

/// Replaces a text or an expression in every file that holds it. Without `apply` nothing is written and the differences are
/// told; with it each file is saved, unless it was changed meanwhile.
#[utoipa::path(post, path = "/api/vibecode/files/replace", responses((status = 200, description = "The files.")))]
async fn replace(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let id = given.session()?;
    // Unless told otherwise, letters of another case are other letters here.
    let query = SearchQuery { case_sensitive: given.flag("case_sensitive", true), ..query(&given)? };
    let with =
        given.text("replacement").ok_or_else(|| Problem::new(ProblemCode::BadRequest, "`replacement` is missing"))?;
    let replacing = Replacing::new(service(&app.platform)?, asker(&app, &caller)?, &id);
    let apply = given.flag("apply", false);
    let mut told = replacing.look(ReplaceFiles::of(query, with.to_owned())).await?;
    if apply {
        told = replacing.save(told).await?;
    }
    let files: Vec<Value> = told.files.iter().map(file_told).collect();
    Ok(Json(json!({"files": files, "replaced": told.replaced, "truncated": told.truncated, "applied": apply})))
}

fn file_told(file: &FileReplaced) -> Value {
    let path = file.path.to_string();
    let mut told = json!({"path": path, "count": file.count, "etag": file.etag});
    if let Some(error) = &file.error {
        told["error"] = json!(error);
    }
    if let Some((before, after)) = &file.texts {
        let name = path.strip_prefix("/workspace/").unwrap_or(&path);
        told["diff"] = json!(difference(name, Some(before), after).text);
    }
    told
}

fn named(request: &Request) -> Result<(WorkspaceId, WorkspacePath), Problem> {
    let need = |key: &str| {
        parameter(request.uri(), key)
            .ok_or_else(|| Problem::new(ProblemCode::BadRequest, format!("`{key}` is missing")))
    };
    Ok((parse(&need("session_id")?)?, path_of(Some(&need("path")?), None)?))
}

/// A file's bytes to be saved, or a directory packed as `format` says: zip or tar_gz.
#[utoipa::path(get, path = "/api/vibecode/files/download", responses((status = 200, description = "The bytes.")))]
async fn download(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Undone> {
    let (id, path) = named(&request)?;
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    let entry = workspaces.stat(&asker, &id, &path).await?;
    if entry.kind != FileType::Directory {
        let open = workspaces.read(&asker, &id, &path, None).await?;
        let mut response = bodies::raw(open.content, "application/octet-stream");
        bodies::name(&mut response, "attachment", path.name().unwrap_or_default());
        return Ok(response);
    }
    let (format, kind, extension) = match parameter(request.uri(), "format").as_deref() {
        None | Some("zip") => (ArchiveFormat::Zip, "application/zip", ".zip"),
        Some("tar_gz" | "tar.gz") => (ArchiveFormat::TarGz, "application/gzip", ".tar.gz"),
        Some(_) => return Err(Problem::new(ProblemCode::BadRequest, "`format` must be zip or tar_gz").into()),
    };
    let mut response = bodies::raw(workspaces.archive(&asker, &id, &path, format).await?, kind);
    let name = [path.name().unwrap_or(b"workspace"), extension.as_bytes()].concat();
    bodies::name(&mut response, "attachment", &name);
    Ok(response)
}

/// A file whose bytes are the body, streamed; or the files of a form, into `path` where it ends with `/` or is a directory
/// and with that name otherwise. Resumable uploads are the API's own `…/files/uploads`.
#[utoipa::path(post, path = "/api/vibecode/files/upload", responses((status = 200, description = "It is saved.")))]
async fn upload(State(app): State<App>, caller: Caller, request: Request) -> Result<Json<Value>, Undone> {
    let (id, path) = named(&request)?;
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    // Who may not see the workspace does not get to send a gigabyte to it.
    workspaces.get(&caller.principal, &id).await?;
    let overwrite =
        parameter(request.uri(), "overwrite").is_none_or(|text| matches!(text.as_str(), "true" | "1" | "yes"));
    if forms::is_form(request.headers()) {
        let form = Form { workspaces, asker: &asker, id: &id, overwrite };
        let is_directory = path.is_root()
            || parameter(request.uri(), "path").is_some_and(|path| path.ends_with('/'))
            || workspaces.stat(&asker, &id, &path).await.is_ok_and(|entry| entry.kind == FileType::Directory);
        let place = |number: usize, name: &str| match number {
            _ if is_directory => forms::below(&path, name),
            0 => Ok(path.clone()),
            _ => Err(Problem::new(ProblemCode::BadRequest, "several files need a directory: end `path` with `/`")),
        };
        let files = form.save(request, place).await?;
        let files: Vec<Value> = files
            .iter()
            .map(|saved| json!({"path": saved.path.to_string(), "etag": saved.etag, "size": saved.size}))
            .collect();
        return Ok(Json(json!({"success": true, "files": files})));
    }
    let (parts, body) = request.into_parts();
    let content = bodies::content(&parts.headers, body).await?;
    let path = path.below_root().map_err(bad_path)?;
    let wanted = SaveWanted { path, create_parents: true, if_none_match: !overwrite, ..SaveWanted::default() };
    let saved = workspaces.save(&asker, &id, wanted, content).await?;
    Ok(Json(json!({"success": true, "path": saved.path.to_string(), "etag": saved.etag, "size": saved.size})))
}
