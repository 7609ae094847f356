//! The file paths of the guide to VibeCode, and the saving of proposed changes.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reeve_platform::workspaces::{Asker, Content, NotDone, SaveWanted, Workspaces};
use reeve_types::workspace::files::{EDITOR_BYTES_MAX, FileEntry, FileOperation, FileType, Saved, TreeQuery};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde_json::{Value, json};
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::given::Given;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::parse;
use crate::problem::Problem;
use crate::routes::workspaces::content::whole;
use crate::routes::workspaces::wire::{bad_path, tag};
use crate::routes::workspaces::{USE, Undone, asker, service};

/// Largest JSON body around the content of a file: what is text may grow by its escapes.
const BODY_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Most entries of a tree.
const ENTRIES_MAX: usize = 5000;

pub(crate) fn declare(routes: Routes) -> Routes {
    let at = |rest: &str| format!("/api/vibecode/files/{rest}");
    routes
        .alias(USE, &at("tree"), routes!(tree))
        .alias(USE, &at("create"), routes!(create))
        .alias(USE, &at("read"), routes!(read))
        .alias(USE, &at("read"), routes!(read_by_query))
        .alias(USE, &at("save"), with_content(routes!(save)))
        .alias(USE, &at("rename"), routes!(rename))
        .alias(USE, &at("move"), routes!(move_into))
        .alias(USE, &at("copy"), routes!(copy))
        .alias(USE, &at("delete"), routes!(delete))
        .alias(USE, &at("stat"), routes!(stat))
        .alias(USE, &at("trash"), routes!(trash))
        .alias(USE, &at("restore"), routes!(restore))
        .alias(USE, &at("purge"), routes!(purge))
        .alias(USE, "/api/ide/diff/apply", with_content(routes!(apply)))
}

/// A route whose body holds a file.
pub(super) fn with_content((schemas, paths, methods): UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    (schemas, paths, methods.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
}

/// The tree as nested nodes.
#[utoipa::path(post, path = "/api/vibecode/files/tree", responses((status = 200, description = "The root's node.")))]
async fn tree(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (id, path) = (given.session()?, given.path_or_root("path")?);
    let (entries, more) = entries(&app, &caller, &id, &given).await?;
    let mut root = json!({
        "name": path.name().map_or_else(|| "workspace".to_owned(), |name| String::from_utf8_lossy(name).into_owned()),
        "type": "directory", "path": path.to_string(), "size": 0, "permissions": Value::Null,
        "children": nested(&path, &entries),
    });
    if more {
        root["truncated"] = json!(true);
    }
    Ok(Json(root))
}

/// The entries below a directory, and whether there are more of them.
pub(super) async fn entries(
    app: &App,
    caller: &Caller,
    id: &WorkspaceId,
    given: &Given,
) -> Result<(Vec<FileEntry>, bool), Undone> {
    let depth = given.number("depth").and_then(|depth| u32::try_from(depth).ok()).unwrap_or(10).clamp(1, 10);
    let query = TreeQuery {
        path: given.path_or_root("path")?,
        depth,
        ignored: given.flag("ignored", false),
        limit: u32::try_from(ENTRIES_MAX).unwrap_or(u32::MAX),
        cursor: None,
    };
    let page = service(&app.platform)?.tree(&asker(app, caller)?, id, &query).await?;
    Ok((page.entries, page.next_cursor.is_some()))
}

/// The nodes of a directory, in the order in which they were listed.
fn nested(directory: &WorkspacePath, entries: &[FileEntry]) -> Vec<Value> {
    let mut within: HashMap<WorkspacePath, Vec<&FileEntry>> = HashMap::new();
    for entry in entries {
        within.entry(entry.path.parent()).or_default().push(entry);
    }
    children(directory, &within)
}

fn children(directory: &WorkspacePath, within: &HashMap<WorkspacePath, Vec<&FileEntry>>) -> Vec<Value> {
    let entries = within.get(directory).into_iter().flatten();
    entries
        .map(|entry| {
            let mut node = node(entry);
            if entry.kind == FileType::Directory {
                node["children"] = json!(children(&entry.path, within));
            }
            node
        })
        .collect()
}

pub(super) fn node(entry: &FileEntry) -> Value {
    let kind = if entry.kind == FileType::Directory { "directory" } else { "file" };
    json!({
        "name": entry.name, "type": kind, "path": entry.path.to_string(), "size": entry.size,
        "permissions": permissions(entry), "children": Value::Null,
        "modified_at": entry.modified_at, "symlink": entry.kind == FileType::Symlink,
    })
}

/// `drwxr-xr-x`.
fn permissions(entry: &FileEntry) -> String {
    let kind = match entry.kind {
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Other => '?',
    };
    let bits = (0..9).map(|n| if entry.mode & (0o400 >> n) == 0 { '-' } else { ['r', 'w', 'x'][n % 3] });
    std::iter::once(kind).chain(bits).collect()
}

fn done(message: &str) -> Json<Value> {
    Json(json!({"success": true, "message": message}))
}

async fn operate(app: &App, caller: &Caller, given: &Given, operation: &FileOperation) -> Result<Value, Undone> {
    let changed = service(&app.platform)?.operate(&asker(app, caller)?, &given.session()?, operation).await?;
    Ok(json!(changed))
}

/// Makes a file or a directory. One that is there already stays as it is.
#[utoipa::path(post, path = "/api/vibecode/files/create", responses((status = 200, description = "It is there.")))]
async fn create(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let path = given.path("path")?.below_root().map_err(bad_path)?;
    let operation = match given.text("type").unwrap_or("file") {
        "file" => FileOperation::CreateFile { path },
        "folder" | "directory" => FileOperation::CreateDirectory { path },
        _ => return Err(Problem::new(ProblemCode::BadRequest, "`type` must be file, folder or directory").into()),
    };
    match service(&app.platform)?.operate(&asker(&app, &caller)?, &given.session()?, &operation).await {
        Err(error) if error.code() == ProblemCode::AlreadyExists => Ok(done("it was there already")),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(done("it is made")),
    }
}

/// A file's content.
#[utoipa::path(post, path = "/api/vibecode/files/read", responses((status = 200, description = "The content.")))]
async fn read(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    Ok(Json(content(&app, &caller, &given.session()?, given.path("path")?).await?))
}

/// A file's content.
#[utoipa::path(get, path = "/api/vibecode/files/read", responses((status = 200, description = "The content.")))]
async fn read_by_query(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    Ok(Json(content(&app, &caller, &given.session()?, given.path("path")?).await?))
}

/// A file's content as JSON: text, or base64 where it is none.
pub(super) async fn content(
    app: &App,
    caller: &Caller,
    id: &WorkspaceId,
    path: WorkspacePath,
) -> Result<Value, Undone> {
    let (bytes, etag) = whole(service(&app.platform)?, &asker(app, caller)?, id, &path).await?;
    let (text, encoding) = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (text, "utf-8"),
        Ok(text) => (STANDARD.encode(text), "base64"),
        Err(error) => (STANDARD.encode(error.into_bytes()), "base64"),
    };
    Ok(json!({
        "content": text, "path": path.to_string(), "file_path": path.to_string(), "etag": etag, "encoding": encoding,
        "binary": encoding == "base64",
    }))
}

/// The bytes that a client wants to save: text, or base64 where it says so.
fn bytes_of(given: &Given, key: &str) -> Result<Bytes, Problem> {
    let text = given.need(key)?;
    let bytes = match given.text("encoding") {
        None | Some("utf-8" | "utf8") => Bytes::copy_from_slice(text.as_bytes()),
        Some("base64") => Bytes::from(
            STANDARD
                .decode(text)
                .map_err(|_| Problem::new(ProblemCode::BadRequest, format!("`{key}` is not base64")))?,
        ),
        Some(_) => return Err(Problem::new(ProblemCode::BadRequest, "`encoding` must be utf-8 or base64")),
    };
    if bytes.len() as u64 > EDITOR_BYTES_MAX {
        let detail = format!("the content is larger than {EDITOR_BYTES_MAX} bytes; send it as an upload");
        return Err(Problem::new(ProblemCode::TooLarge, detail));
    }
    Ok(bytes)
}

/// One save of a client of the guide.
struct Save<'a> {
    workspaces: &'a Workspaces,
    asker: Asker,
    id: WorkspaceId,
    path: WorkspacePath,
}

impl<'a> Save<'a> {
    fn of(app: &'a App, caller: &Caller, given: &Given, key: &str) -> Result<Self, Problem> {
        let path = given.path(key)?.below_root().map_err(bad_path)?;
        Ok(Self { workspaces: service(&app.platform)?, asker: asker(app, caller)?, id: given.session()?, path })
    }

    async fn save(&self, bytes: Bytes, base: Option<&str>) -> Result<Saved, NotDone> {
        let wanted = SaveWanted {
            path: self.path.clone(),
            if_match: base.filter(|tag| !tag.is_empty()).map(tag),
            create_parents: true,
            ..SaveWanted::default()
        };
        self.workspaces.save(&self.asker, &self.id, wanted, Content::Bytes(bytes)).await
    }

    /// What a client needs to merge: what is there now. The guide's clients look for it in two places.
    async fn conflict(&self, said: &str) -> Response {
        let now = whole(self.workspaces, &self.asker, &self.id, &self.path).await;
        let (content, etag) = match now {
            Ok((bytes, etag)) => (json!(String::from_utf8_lossy(&bytes)), json!(etag)),
            Err(_) => (Value::Null, Value::Null),
        };
        let detail = json!({"conflict": true, "current_etag": etag, "current_content": content});
        let mut body = detail.clone();
        body["detail"] = detail;
        body["code"] = json!(ProblemCode::EditConflict.as_str());
        body["message"] = json!(said);
        body["error"] = json!(said);
        (StatusCode::CONFLICT, Json(body)).into_response()
    }
}

/// Saves a file.
#[utoipa::path(post, path = "/api/vibecode/files/save", responses((status = 200, description = "It is saved."), (status = 409, description = "It was changed meanwhile.")))]
async fn save(State(app): State<App>, caller: Caller, given: Given) -> Result<Response, Undone> {
    let save = Save::of(&app, &caller, &given, "path")?;
    match save.save(bytes_of(&given, "content")?, given.text("base_etag")).await {
        Ok(saved) => {
            let body = json!({
                "success": true, "message": "the file is saved", "path": saved.path.to_string(), "etag": saved.etag,
                "size": saved.size,
            });
            Ok(Json(body).into_response())
        }
        Err(error) if error.code() == ProblemCode::EditConflict => Ok(save.conflict(&error.to_string()).await),
        Err(error) => Err(error.into()),
    }
}

/// Saves a change that was proposed, if the file is still the one that it was proposed for.
#[utoipa::path(post, path = "/api/ide/diff/apply", responses((status = 200, description = "It is saved."), (status = 409, description = "It was changed meanwhile.")))]
async fn apply(State(app): State<App>, caller: Caller, given: Given) -> Result<Response, Undone> {
    let save = Save::of(&app, &caller, &given, "filepath")?;
    match save.save(bytes_of(&given, "draft_content")?, given.text("base_etag")).await {
        Ok(saved) => {
            let body = json!({
                "saved": true, "bytes": saved.size, "updated_at": saved.modified_at, "new_etag": saved.etag,
            });
            Ok(Json(body).into_response())
        }
        Err(error) if error.code() == ProblemCode::EditConflict => Ok(save.conflict(&error.to_string()).await),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file another name in its directory.
#[utoipa::path(post, path = "/api/vibecode/files/rename", responses((status = 200, description = "It has its new name.")))]
async fn rename(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let path = given.path("old_path")?;
    let operation = FileOperation::Rename { path, new_name: given.need("new_name")?.to_owned() };
    operate(&app, &caller, &given, &operation).await?;
    Ok(done("it has its new name"))
}

/// Moves a file into a directory; it keeps its name.
#[utoipa::path(post, path = "/api/vibecode/files/move", responses((status = 200, description = "It is moved.")))]
async fn move_into(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (from, to) = from_to(&given)?;
    operate(&app, &caller, &given, &FileOperation::Move { from, to }).await?;
    Ok(done("it is moved"))
}

/// Copies a file into a directory; it keeps its name.
#[utoipa::path(post, path = "/api/vibecode/files/copy", responses((status = 200, description = "It is copied.")))]
async fn copy(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (from, to) = from_to(&given)?;
    operate(&app, &caller, &given, &FileOperation::Copy { from, to }).await?;
    Ok(done("it is copied"))
}

fn from_to(given: &Given) -> Result<(WorkspacePath, WorkspacePath), Problem> {
    let from = given.path("source_path")?.below_root().map_err(bad_path)?;
    let to = given.path("target_dir")?.join(from.name().unwrap_or_default()).map_err(bad_path)?;
    Ok((from, to))
}

/// Moves a file into the trash; with `soft` false, removes it for good.
#[utoipa::path(post, path = "/api/vibecode/files/delete", responses((status = 200, description = "It is deleted.")))]
async fn delete(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let path = given.path("path")?.below_root().map_err(bad_path)?;
    if !given.flag("soft", true) {
        operate(&app, &caller, &given, &FileOperation::Delete { path }).await?;
        return Ok(done("it is gone for good"));
    }
    let changed = operate(&app, &caller, &given, &FileOperation::Trash { path }).await?;
    Ok(Json(json!({"success": true, "message": "it is in the trash", "trash_id": changed["trash_id"]})))
}

/// What a path names.
#[utoipa::path(post, path = "/api/vibecode/files/stat", responses((status = 200, description = "The entry.")))]
async fn stat(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let path = given.path_or_root("path")?;
    let entry = service(&app.platform)?.stat(&asker(&app, &caller)?, &given.session()?, &path).await?;
    Ok(Json(node(&entry)))
}

/// What is in the trash.
#[utoipa::path(post, path = "/api/vibecode/files/trash", responses((status = 200, description = "The things in it.")))]
async fn trash(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let entries = service(&app.platform)?.trash(&asker(&app, &caller)?, &given.session()?).await?;
    Ok(Json(json!({"entries": entries})))
}

/// Brings something back from the trash.
#[utoipa::path(post, path = "/api/vibecode/files/restore", responses((status = 200, description = "It is back.")))]
async fn restore(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let operation = FileOperation::Restore { id: parse(given.need("trash_id")?)?, to: given.path_if_any("to")? };
    operate(&app, &caller, &given, &operation).await?;
    Ok(done("it is back"))
}

/// Removes something from the trash for good; everything in it when nothing is named.
#[utoipa::path(post, path = "/api/vibecode/files/purge", responses((status = 200, description = "It is gone.")))]
async fn purge(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let id = given.text("trash_id").map(parse).transpose()?;
    operate(&app, &caller, &given, &FileOperation::Purge { id }).await?;
    Ok(done("it is gone for good"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: &str, mode: u32) -> FileEntry {
        let name = path.rsplit('/').next().unwrap();
        serde_json::from_value(json!({
            "name": name, "path": path, "type": kind, "size": 1, "modified_at": "2026-01-02T00:00:00Z", "mode": mode,
        }))
        .unwrap()
    }

    #[test]
    fn a_list_becomes_a_tree() {
        let entries =
            [entry("src", "directory", 0o755), entry("src/a.rs", "file", 0o644), entry("b", "symlink", 0o777)];
        let tree = nested(&WorkspacePath::root(), &entries);
        assert_eq!(tree.len(), 2);
        assert_eq!(tree[0]["children"][0]["path"], "/workspace/src/a.rs");
        assert_eq!(tree[0]["children"][0]["children"], Value::Null);
        assert_eq!(
            (&tree[0]["permissions"], &tree[0]["children"][0]["permissions"]),
            (&json!("drwxr-xr-x"), &json!("-rw-r--r--"))
        );
        assert_eq!((&tree[1]["type"], &tree[1]["symlink"]), (&json!("file"), &json!(true)));
    }
}
