//! Replacing a text or an expression in many files: first looked at, then saved file by file, each save an act of its own.

mod lines;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::StreamExt as _;
use reeve_platform::workspaces::{Asker, Content, NotDone, SaveWanted, Workspaces};
use reeve_types::workspace::files::{SearchEvent, SearchKind, SearchQuery};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::content::whole;
use super::wire::{read, tag};
use super::{Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;
use lines::{ReplacedLine, Replacer};

/// Most files that one replacement may change.
const FILES_MAX: usize = 200;
/// Most matching lines that are looked for.
const MATCHES_MAX: u32 = 10_000;
/// Most bytes of all the files that one replacement looks at.
const LOOKED_AT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most changed lines that are told.
const LINES_MAX: usize = 2000;

/// What is replaced, and where.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceFiles {
    /// The text, or the regular expression.
    text: String,
    /// What is put in its place. For an expression `$1`, `${1}` and `${name}` stand for its groups, `$$` for a dollar sign.
    replacement: String,
    /// Take `text` as a regular expression. It sees one line at a time, without the line's end.
    #[serde(default)]
    regex: bool,
    /// Tell upper from lower case.
    #[serde(default)]
    case_sensitive: bool,
    /// Match whole words only.
    #[serde(default)]
    whole_word: bool,
    /// Only files that one of these globs names.
    #[serde(default)]
    include: Vec<String>,
    /// No file that one of these globs names.
    #[serde(default)]
    exclude: Vec<String>,
    /// Ignored files too.
    #[serde(default)]
    ignored: bool,
    /// Only these files, as they were when they were looked at; all that match when there are none.
    #[serde(default)]
    files: Vec<ChosenFile>,
}

/// One file as it was looked at.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChosenFile {
    /// Which: a path, or `{"b64": …}`.
    #[schema(value_type = Object)]
    path: WorkspacePath,
    /// The entity tag that it had.
    #[serde(default)]
    etag: Option<String>,
}

/// What a replacement does, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replaced {
    /// The files, by path.
    pub(crate) files: Vec<FileReplaced>,
    /// How many matches are replaced in all of them.
    pub(crate) replaced: u64,
    /// Whether there may be more files.
    pub(crate) truncated: bool,
}

/// One file of a replacement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileReplaced {
    /// Which.
    #[schema(value_type = Object)]
    pub(crate) path: WorkspacePath,
    /// Its entity tag: as it was looked at, or as it was saved.
    pub(crate) etag: String,
    /// How many matches are replaced.
    pub(crate) count: u64,
    /// The changed lines, while they are only looked at.
    lines: Vec<ReplacedLine>,
    /// Why it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Its text, before and after.
    #[serde(skip)]
    pub(crate) texts: Option<(String, String)>,
}

impl FileReplaced {
    fn left(path: WorkspacePath, etag: String, error: String) -> Self {
        Self { path, etag, count: 0, lines: Vec::new(), error: Some(error), texts: None }
    }
}

/// What replacing would change, line by line. Nothing is written.
#[utoipa::path(post, path = "/workspaces/{id}/files/replace/preview", tag = "files", operation_id = "preview_replacement",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = ReplaceFiles,
    responses((status = 200, description = "The files with their changed lines, at most 2,000.", body = Replaced)))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Json<Replaced>, Undone> {
    let replacing = Replacing::new(service(&app.platform)?, asker(&app, &caller)?, &id);
    Ok(Json(replacing.look(read(body)?).await?))
}

/// Replaces in every file that matches, or in those that are named. Each is saved by itself, unless it was changed meanwhile:
/// then `error` says so.
#[utoipa::path(post, path = "/workspaces/{id}/files/replace", tag = "files", operation_id = "replace_in_files",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = ReplaceFiles,
    responses((status = 200, description = "The files.", body = Replaced),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Body(body): Body<Value>,
) -> Result<Json<Replaced>, Undone> {
    let replacing = Replacing::new(service(&app.platform)?, asker(&app, &caller)?, &id);
    let looked = replacing.look(read(body)?).await?;
    Ok(Json(replacing.save(looked).await?))
}

/// Who replaces where.
pub(crate) struct Replacing<'a> {
    workspaces: &'a Workspaces,
    asker: Asker,
    id: &'a WorkspaceId,
}

impl<'a> Replacing<'a> {
    pub(crate) fn new(workspaces: &'a Workspaces, asker: Asker, id: &'a WorkspaceId) -> Self {
        Self { workspaces, asker, id }
    }

    /// What it would do.
    pub(crate) async fn look(&self, wanted: ReplaceFiles) -> Result<Replaced, Undone> {
        let ReplaceFiles { text, replacement, regex, case_sensitive, whole_word, include, exclude, ignored, files } =
            wanted;
        if text.is_empty() {
            return Err(Problem::new(ProblemCode::BadRequest, "`text` is empty: say what to replace").into());
        }
        let (kind, limit) = (SearchKind::Contents, MATCHES_MAX);
        let query = SearchQuery { text, kind, regex, case_sensitive, whole_word, include, exclude, ignored, limit };
        let replacer = Arc::new(Replacer::new(&query, &replacement)?);
        let (paths, truncated) = match files.as_slice() {
            [] => self.holding(query).await?,
            files if files.len() > FILES_MAX => {
                let detail = format!("a replacement takes at most {FILES_MAX} files at once");
                return Err(Problem::new(ProblemCode::BadRequest, detail).into());
            }
            files => (files.iter().map(|file| file.path.clone()).collect(), false),
        };
        let mut told = Replaced { files: Vec::new(), replaced: 0, truncated };
        let (mut looked_at, mut lines_left) = (0, LINES_MAX);
        for path in paths {
            let chosen = files.iter().find(|file| file.path == path).and_then(|file| file.etag.as_deref());
            let Some(file) = self.file(&replacer, path, chosen, &mut looked_at, lines_left).await? else { continue };
            lines_left = lines_left.saturating_sub(file.lines.len());
            told.replaced += file.count;
            told.files.push(file);
        }
        Ok(told)
    }

    /// One file with its new text; nothing when it holds no match, or is no text.
    async fn file(
        &self,
        replacer: &Arc<Replacer>,
        path: WorkspacePath,
        chosen: Option<&str>,
        looked_at: &mut usize,
        lines_max: usize,
    ) -> Result<Option<FileReplaced>, Undone> {
        let (bytes, etag) = match whole(self.workspaces, &self.asker, self.id, &path).await {
            Ok(read) => read,
            Err(Undone::Problem(problem)) => return Ok(Some(FileReplaced::left(path, String::new(), problem.detail))),
            Err(later) => return Err(later),
        };
        *looked_at += bytes.len();
        if *looked_at > LOOKED_AT_BYTES_MAX {
            let detail =
                format!("the files hold more than {LOOKED_AT_BYTES_MAX} bytes together; narrow it with `include`");
            return Err(Problem::new(ProblemCode::TooLarge, detail).into());
        }
        if chosen.is_some_and(|chosen| tag(chosen) != etag) {
            return Ok(Some(FileReplaced::left(path, etag, "it was changed meanwhile; look at it again".to_owned())));
        }
        let Ok(before) = String::from_utf8(bytes) else { return Ok(None) };
        let replacer = Arc::clone(replacer);
        let work = move || (replacer.replaced(&before, lines_max), before);
        let (replaced, before) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Problem::internal(format!("a replacement broke off: {error}")))?;
        Ok(match replaced {
            Ok(new) if new.count == 0 => None,
            Ok(new) => {
                let texts = Some((before, new.text));
                Some(FileReplaced { path, etag, count: new.count, lines: new.lines, error: None, texts })
            }
            Err(error) => Some(FileReplaced::left(path, etag, error.message)),
        })
    }

    /// Saves what was looked at.
    pub(crate) async fn save(&self, mut told: Replaced) -> Result<Replaced, Undone> {
        told.replaced = 0;
        for file in &mut told.files {
            file.lines.clear();
            let Some((_, after)) = file.texts.take() else { continue };
            let (path, if_match) = (file.path.clone(), Some(file.etag.clone()));
            let wanted = SaveWanted { path, if_match, ..SaveWanted::default() };
            match self.workspaces.save(&self.asker, self.id, wanted, Content::Bytes(after.into())).await {
                Ok(saved) => {
                    file.etag = saved.etag;
                    told.replaced += file.count;
                }
                Err(error @ (NotDone::Awaiting { .. } | NotDone::InProgress(_) | NotDone::Refused(_))) => {
                    return Err(error.into());
                }
                Err(error) => {
                    file.count = 0;
                    file.error = Some(error.to_string());
                }
            }
        }
        Ok(told)
    }

    /// The files that hold what is looked for, and whether there may be more.
    async fn holding(&self, query: SearchQuery) -> Result<(Vec<WorkspacePath>, bool), Undone> {
        let mut events = self.workspaces.search(&self.asker, self.id, query).await?;
        let (mut paths, mut truncated): (Vec<WorkspacePath>, bool) = (Vec::new(), true);
        while let Some(event) = events.next().await {
            match event? {
                // The lines of one file come one after another.
                SearchEvent::Match { path, .. } if paths.last() != Some(&path) => {
                    if paths.len() == FILES_MAX {
                        break;
                    }
                    paths.push(path);
                }
                SearchEvent::Match { .. } | SearchEvent::File { .. } => {}
                SearchEvent::Done { truncated: cut, .. } => truncated = cut,
            }
        }
        paths.sort();
        paths.dedup();
        Ok((paths, truncated))
    }
}

impl ReplaceFiles {
    /// As a search says it.
    pub(crate) fn of(query: SearchQuery, replacement: String) -> Self {
        let SearchQuery { text, regex, case_sensitive, whole_word, include, exclude, ignored, .. } = query;
        Self { text, replacement, regex, case_sensitive, whole_word, include, exclude, ignored, files: Vec::new() }
    }
}
