//! A file's bytes: read in whole or in part, saved in one piece.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use jiff::fmt::rfc2822::DateTimePrinter;
use reeve_gate::workspace::OpenFile;
use reeve_platform::workspaces::{Asker, NotDone, SaveWanted, Workspaces};
use reeve_types::workspace::files::{ByteRange, EDITOR_BYTES_MAX, FileHead, Saved};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde::Deserialize;
use utoipa::IntoParams;

use super::wire::{path_of, tags};
use super::{Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Id, Query, parse};
use crate::problem::Problem;
use crate::routes::tools::Awaiting;

const X_FILE_BINARY: HeaderName = HeaderName::from_static("x-file-binary");
/// Who saves, so that a client knows its own echo among file events.
const X_CLIENT_ID: HeaderName = HeaderName::from_static("x-client-id");
/// SHA-256 of the content, in hexadecimal.
const X_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-content-sha256");
/// Longest name of a client, in bytes.
const CLIENT_ID_MAX: usize = 80;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichFile {
    /// Relative to /workspace, or absolute below it.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// With `1`: to be saved under its name rather than shown.
    download: Option<u8>,
}

/// A file's bytes.
///
/// `Range` asks for a part, `If-None-Match` for nothing when it has not changed. A browser that opens it may not run it.
#[utoipa::path(get, path = "/workspaces/{id}/files/content", tag = "files", operation_id = "read_file",
    params(("id" = String, Path, description = "The workspace's id."), WhichFile,
           ("Range" = Option<String>, Header, description = "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`."),
           ("If-None-Match" = Option<String>, Header, description = "Entity tags that the client has.")),
    responses((status = 200, description = "The bytes; headers ETag, Last-Modified, X-File-Binary.", body = String, content_type = "application/octet-stream"),
              (status = 206, description = "The part; Content-Range says which.", body = String, content_type = "application/octet-stream"),
              (status = 304, description = "It has not changed.")))]
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(which): Query<WhichFile>,
    headers: HeaderMap,
) -> Result<Response, Undone> {
    let path = path_of(which.path.as_deref(), which.path_b64.as_deref())?;
    let file = Wanted { workspaces: service(&app.platform)?, asker: asker(&app, &caller)?, id: &id, path: &path };
    let (open, partial) = file.open(&headers).await?;
    if tags(&headers, &IF_NONE_MATCH).iter().any(|tag| *tag == open.head.etag || tag == "*") {
        return Ok(not_modified(&open.head));
    }
    let mut response = bodies::raw(open.content, media_type(&path, open.head.binary));
    let how = if which.download == Some(1) { "attachment" } else { "inline" };
    bodies::name(&mut response, how, path.name().unwrap_or_default());
    described(&mut response, &open.head);
    let length = open.head.end.saturating_sub(open.head.start);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    if partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = open.head.end.saturating_sub(1);
        let part = format!("bytes {}-{last}/{}", open.head.start, open.head.size);
        if let Ok(part) = HeaderValue::from_str(&part) {
            response.headers_mut().insert(CONTENT_RANGE, part);
        }
    }
    Ok(response)
}

/// A file somebody wants to read.
struct Wanted<'a> {
    workspaces: &'a Workspaces,
    asker: Asker,
    id: &'a WorkspaceId,
    path: &'a WorkspacePath,
}

impl Wanted<'_> {
    /// The file, and whether only the part that `Range` names follows.
    async fn open(&self, headers: &HeaderMap) -> Result<(OpenFile, bool), Undone> {
        let Some(range) = headers.get(RANGE).and_then(|value| Part::parse(value.to_str().ok()?)) else {
            return Ok((self.read(None).await?, false));
        };
        let range = match range {
            Part::From(range) => range,
            Part::Last(n) => {
                let size = self.size().await?;
                ByteRange { start: size.saturating_sub(n), end: None }
            }
        };
        let open = match self.read(Some(range)).await {
            Err(NotDone::Problem(error)) if error.code == ProblemCode::RangeNotSatisfiable => {
                let problem = Problem::new(error.code, error.message);
                let whole = HeaderValue::from_str(&format!("bytes */{}", self.size().await?));
                return Err(whole.map_or(problem.clone(), |whole| problem.header(CONTENT_RANGE, whole)).into());
            }
            open => open?,
        };
        // A part of a file that has changed since is of no use to whoever has the rest of the old one.
        let unchanged = headers.get(IF_RANGE).is_none_or(|value| {
            let text = value.to_str().unwrap_or_default();
            text.trim_matches('"') == open.head.etag || text == date(&open.head)
        });
        if unchanged { Ok((open, true)) } else { Ok((self.read(None).await?, false)) }
    }

    async fn read(&self, part: Option<ByteRange>) -> Result<OpenFile, NotDone> {
        self.workspaces.read(&self.asker, self.id, self.path, part).await
    }

    async fn size(&self) -> Result<u64, NotDone> {
        Ok(self.workspaces.stat(&self.asker, self.id, self.path).await?.size)
    }
}

/// Which part of a file `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    From(ByteRange),
    /// The last so many bytes.
    Last(u64),
}

impl Part {
    /// One range. Several, or something else, ask for the whole file, as RFC 9110 lets a server answer.
    fn parse(text: &str) -> Option<Self> {
        let range = text.trim().strip_prefix("bytes=")?.trim();
        let (start, end) = range.split_once('-').filter(|_| !range.contains(','))?;
        if start.is_empty() {
            return Some(Self::Last(end.parse().ok()?));
        }
        let start: u64 = start.parse().ok()?;
        let end = match end {
            "" => None,
            end => Some(end.parse::<u64>().ok().filter(|end| *end >= start)?.saturating_add(1)),
        };
        Some(Self::From(ByteRange { start, end }))
    }
}

fn quoted(etag: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{etag}\"")).ok()
}

fn date(head: &FileHead) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&head.entry.modified_at).unwrap_or_default()
}

pub(super) fn described(response: &mut Response, head: &FileHead) {
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_FILE_BINARY, HeaderValue::from_static(if head.binary { "true" } else { "false" }));
    headers.insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(etag) = quoted(&head.etag) {
        headers.insert(ETAG, etag);
    }
    if let Ok(date) = HeaderValue::from_str(&date(head)) {
        headers.insert(LAST_MODIFIED, date);
    }
}

fn not_modified(head: &FileHead) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    described(&mut response, head);
    response
}

/// What a file is to a browser. Pages and scripts are text: nothing of a workspace runs from here.
pub(super) fn media_type(path: &WorkspacePath, binary: bool) -> &'static str {
    let name = path.name().unwrap_or_default();
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let extension = dot.and_then(|at| name.get(at + 1..)).unwrap_or_default().to_ascii_lowercase();
    match extension.as_slice() {
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"svg" => "image/svg+xml",
        b"ico" => "image/x-icon",
        b"pdf" => "application/pdf",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",
        b"mp3" => "audio/mpeg",
        b"wav" => "audio/wav",
        b"wasm" => "application/wasm",
        _ if binary => "application/octet-stream",
        _ => "text/plain; charset=utf-8",
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhereSaved {
    /// Relative to /workspace, or absolute below it.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// Make the directories above it.
    #[serde(default)]
    create_parents: bool,
}

/// Saves a file byte for byte, all or nothing.
///
/// `If-Match` names the version that the save is based on; when the file has another one, nothing is written and
/// `current_etag` says which. `If-None-Match: *` asks for a new file.
#[utoipa::path(put, path = "/workspaces/{id}/files/content", tag = "files", operation_id = "save_file",
    params(("id" = String, Path, description = "The workspace's id."), WhereSaved,
           ("If-Match" = Option<String>, Header, description = "The entity tag that the file must have."),
           ("If-None-Match" = Option<String>, Header, description = "`*`: there must be no such file."),
           ("X-Client-Id" = Option<String>, Header, description = "Comes back as `origin` of the file's event."),
           ("X-Content-Sha256" = Option<String>, Header, description = "SHA-256 that the content must have, in hexadecimal.")),
    request_body(content = String, content_type = "application/octet-stream", description = "The whole content."),
    responses((status = 200, description = "It is saved; the header ETag names the new version.", body = Saved),
              (status = 201, description = "It is saved, and is new.", body = Saved),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn save(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(place): Query<WhereSaved>,
    request: Request,
) -> Result<Response, Undone> {
    let (parts, body) = request.into_parts();
    let path =
        path_of(place.path.as_deref(), place.path_b64.as_deref())?.below_root().map_err(super::wire::bad_path)?;
    let workspaces = service(&app.platform)?;
    let asker = asker(&app, &caller)?;
    let wanted = SaveWanted { create_parents: place.create_parents, ..conditions(path, &parts.headers)? };
    // Who may not see the workspace does not get to send a gigabyte to it.
    workspaces.get(&caller.principal, &id).await?;
    let must_exist = tags(&parts.headers, &IF_MATCH).iter().any(|tag| tag == "*");
    if must_exist && let Err(error) = workspaces.stat(&asker, &id, &wanted.path).await {
        return Err(missing(error));
    }
    saved(workspaces, &asker, &id, wanted, &parts.headers, body).await
}

async fn saved(
    workspaces: &Workspaces,
    asker: &Asker,
    id: &WorkspaceId,
    wanted: SaveWanted,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Undone> {
    let content = bodies::content(headers, body).await?;
    let saved = workspaces.save(asker, id, wanted, content).await?;
    Ok(answered(if saved.created { StatusCode::CREATED } else { StatusCode::OK }, saved))
}

/// What a save did, with the new version in the header.
pub(super) fn answered(status: StatusCode, saved: Saved) -> Response {
    let etag = quoted(&saved.etag);
    let mut response = (status, Json(saved)).into_response();
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// A file's bytes, when an editor may have them, and its entity tag.
pub(crate) async fn whole(
    workspaces: &Workspaces,
    asker: &Asker,
    id: &WorkspaceId,
    path: &WorkspacePath,
) -> Result<(Vec<u8>, String), Undone> {
    let mut open = workspaces.read(asker, id, path, None).await?;
    let too_large = || {
        let detail = format!("the file is larger than {EDITOR_BYTES_MAX} bytes; download it instead");
        Problem::new(ProblemCode::TooLarge, detail)
    };
    if open.head.size > EDITOR_BYTES_MAX {
        return Err(too_large().into());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = open.content.next().await {
        let piece = piece.map_err(|error| {
            Problem::new(ProblemCode::Unavailable, format!("the file could not be read to its end: {error}"))
        })?;
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > EDITOR_BYTES_MAX {
            return Err(too_large().into());
        }
    }
    Ok((bytes, open.head.etag))
}

fn missing(error: NotDone) -> Undone {
    match error {
        NotDone::Problem(problem) if problem.code == ProblemCode::NotFound => {
            Problem::new(ProblemCode::EditConflict, "the file is not there any more").into()
        }
        other => other.into(),
    }
}

/// On which condition a save is wanted, as the headers say it.
fn conditions(path: WorkspacePath, headers: &HeaderMap) -> Result<SaveWanted, Problem> {
    let mut wanted_tags = tags(headers, &IF_MATCH);
    wanted_tags.retain(|tag| tag != "*");
    if wanted_tags.len() > 1 {
        return Err(Problem::new(ProblemCode::BadRequest, "the header If-Match must name one entity tag"));
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let sha256 = text(&X_CONTENT_SHA256).map(parse).transpose()?;
    let if_none_match = tags(headers, &IF_NONE_MATCH);
    if if_none_match.iter().any(|tag| tag != "*") {
        return Err(Problem::new(ProblemCode::BadRequest, "for a save the header If-None-Match can only be `*`"));
    }
    let origin = text(&X_CLIENT_ID).map(|id| id.chars().take(CLIENT_ID_MAX).collect());
    Ok(SaveWanted {
        path,
        if_match: wanted_tags.pop(),
        if_none_match: !if_none_match.is_empty(),
        create_parents: false,
        origin,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_writes_them() {
        let range = |start, end| Some(Part::From(ByteRange { start, end }));
        for (text, part) in [
            ("bytes=0-99", range(0, Some(100))),
            ("bytes=5-5", range(5, Some(6))),
            ("bytes=100-", range(100, None)),
            ("bytes=-7", Some(Part::Last(7))),
            ("bytes=9-3", None),
            ("bytes=0-1,5-6", None),
            ("items=0-1", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(Part::parse(text), part, "{text}");
        }
    }

    #[test]
    fn no_file_of_a_workspace_is_a_page() {
        for (name, binary, kind) in [
            ("index.html", false, "text/plain; charset=utf-8"),
            ("a.js", false, "text/plain; charset=utf-8"),
            ("a.PNG", true, "image/png"),
            ("a.bin", true, "application/octet-stream"),
            ("Makefile", false, "text/plain; charset=utf-8"),
        ] {
            assert_eq!(media_type(&name.parse().unwrap(), binary), kind, "{name}");
        }
    }

    #[test]
    fn a_save_names_one_version_at_most() {
        let read = |lines: &[(HeaderName, &'static str)]| {
            let headers = lines.iter().map(|(k, v)| (k.clone(), HeaderValue::from_static(v))).collect();
            conditions("a".parse().unwrap(), &headers)
        };
        assert_eq!(read(&[(IF_MATCH, "\"abc\"")]).unwrap().if_match.as_deref(), Some("abc"));
        assert!(read(&[(IF_NONE_MATCH, "*")]).unwrap().if_none_match);
        assert!(read(&[(IF_MATCH, "\"a\", \"b\"")]).is_err());
        assert!(read(&[(IF_NONE_MATCH, "\"a\"")]).is_err());
        assert_eq!(read(&[(IF_MATCH, "*")]).unwrap().if_match, None);
    }
}
