//! Things kept for later comparison: results of tools, and uploaded files.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reeve_store::{NewToolResult, NewUpload, StoredToolResult, StoredUpload};
use reeve_types::limits::TOOL_OUTPUT_BYTES_MAX;
use reeve_types::{Arguments, ProblemCode, id};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::limit;
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id, Query, parse_moment, read_body};
use crate::problem::Problem;

/// Largest uploaded file, in bytes.
pub(crate) const UPLOAD_BYTES_MAX: usize = 50 * 1024 * 1024;
/// How long an uploaded file may take to arrive.
const UPLOAD_WITHIN: Duration = Duration::from_secs(300);
/// How long an uploaded file is kept.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize, ToSchema)]
pub(crate) struct KeptResult {
    result_id: String,
    server_name: String,
    tool_name: String,
    #[schema(value_type = Object)]
    tool_args: Value,
    output: String,
    /// Always empty: this server has no fleet jobs.
    job_id: &'static str,
    trace_id: String,
    recorded_by: String,
    #[schema(value_type = String, format = DateTime)]
    recorded_at: jiff::Timestamp,
    success: bool,
}

impl From<StoredToolResult> for KeptResult {
    fn from(stored: StoredToolResult) -> Self {
        Self {
            result_id: stored.result_id,
            server_name: stored.server_name,
            tool_name: stored.tool_name,
            tool_args: stored.tool_args,
            output: stored.output,
            job_id: "",
            trace_id: stored.trace_id,
            recorded_by: stored.recorded_by,
            recorded_at: stored.recorded_at,
            success: stored.success,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Results {
    count: usize,
    results: Vec<KeptResult>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this target.
    server: Option<String>,
    /// Of this tool.
    tool: Option<String>,
    /// Of this fleet job; this server has none.
    job_id: Option<String>,
    /// Kept at or after this moment, or so long ago.
    since: Option<String>,
    /// At most so many, newest first; 100 unless told otherwise.
    limit: Option<usize>,
}

/// Kept results of tools, newest first.
#[utoipa::path(get, path = "/tool-results", tag = "archive", params(Which), responses((status = 200, description = "The results.", body = Results)))]
pub(crate) async fn results(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Results>, Problem> {
    if which.job_id.is_some_and(|job| !job.is_empty()) {
        return Ok(Json(Results { count: 0, results: Vec::new() }));
    }
    let now = app.platform.clock().now();
    let since =
        which.since.filter(|text| !text.is_empty()).map(|text| parse_moment("since", &text, now)).transpose()?;
    let found =
        app.platform.store().results(caller.tenant(), which.tool, which.server, since, limit(which.limit, 100)).await?;
    let results: Vec<KeptResult> = found.into_iter().map(KeptResult::from).collect();
    Ok(Json(Results { count: results.len(), results }))
}

/// A result of a tool that another program ran.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewResult {
    server_name: String,
    tool_name: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    tool_args: Arguments,
    #[serde(default)]
    output: String,
    /// Read and left out: this server has no fleet jobs.
    #[serde(default, rename = "job_id")]
    _job_id: Option<String>,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    success: bool,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ResultId {
    result_id: String,
}

/// Keeps a result of a tool that another program ran.
#[utoipa::path(post, path = "/tool-results", tag = "archive", request_body = NewResult,
    responses((status = 201, description = "It is kept.", body = ResultId)))]
pub(crate) async fn keep_result(
    State(app): State<App>,
    caller: Caller,
    Body(brought): Body<NewResult>,
) -> Result<(StatusCode, Json<ResultId>), Problem> {
    if brought.output.len() > TOOL_OUTPUT_BYTES_MAX {
        return Err(Problem::new(
            ProblemCode::TooLarge,
            format!("`output` is larger than {TOOL_OUTPUT_BYTES_MAX} bytes"),
        ));
    }
    let result_id = new_id(&app, "res");
    let arguments = reeve_gate::masked_arguments(&brought.tool_args, Some("connection_string"));
    let result = NewToolResult {
        result_id: result_id.clone(),
        server_name: reeve_types::mask_dsn(&brought.server_name),
        tool_name: brought.tool_name,
        tool_args: Value::Object(arguments),
        output: brought.output,
        trace_id: brought.trace_id,
        recorded_by: caller.principal.label(),
        success: brought.success,
    };
    app.platform.store().keep_result(caller.tenant(), result, app.platform.clock().now()).await?;
    Ok((StatusCode::CREATED, Json(ResultId { result_id })))
}

fn new_id(app: &App, prefix: &str) -> String {
    let clock = app.platform.clock();
    format!("{prefix}_{}", id::suffix(id::uuid_v7(clock.now(), clock.random())))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Upload {
    upload_id: String,
    filename: String,
    /// In bytes.
    size: usize,
    #[schema(value_type = String, format = DateTime)]
    uploaded_at: jiff::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: jiff::Timestamp,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Name {
    /// The file's name, when the body is the file itself.
    filename: Option<String>,
}

/// Keeps a file of at most 50 MB for 24 hours. The body is the file, or a form with a part named `file`.
#[utoipa::path(post, path = "/uploads", tag = "archive", params(Name),
    request_body(content = String, description = "The file.", content_type = "application/octet-stream"),
    responses((status = 201, description = "It is kept.", body = Upload)))]
pub(crate) async fn upload(
    State(app): State<App>,
    caller: Caller,
    Query(name): Query<Name>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<Upload>), Problem> {
    let body = read_body(request, &app, UPLOAD_WITHIN).await?;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (in_form, content) = match kind.strip_prefix("multipart/form-data") {
        Some(parameters) => file_of_form(parameters, &body)?,
        None => (None, body.to_vec()),
    };
    let now = app.platform.clock().now();
    let filename = plain_name(name.filename.or(in_form).as_deref().unwrap_or("upload"));
    let upload = NewUpload {
        upload_id: new_id(&app, "ul"),
        filename,
        content,
        expires_at: now.checked_add(UPLOAD_KEPT).unwrap_or(jiff::Timestamp::MAX),
    };
    let shown = Upload {
        upload_id: upload.upload_id.clone(),
        filename: upload.filename.clone(),
        size: upload.content.len(),
        uploaded_at: now,
        expires_at: upload.expires_at,
    };
    app.platform.store().keep_upload(caller.tenant(), upload, now).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// The last part of a path, without what could mislead a shell or a header.
fn plain_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control() && !matches!(c, '"' | ';')).take(128).collect();
    if name.is_empty() || name == "." || name == ".." { "upload".to_owned() } else { name }
}

/// The part named `file` of a form (RFC 7578), with its file name.
fn file_of_form(parameters: &str, body: &[u8]) -> Result<(Option<String>, Vec<u8>), Problem> {
    let bad = |detail: &str| Problem::new(ProblemCode::BadRequest, detail);
    let boundary = parameters.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary = boundary.map(|text| text.trim_matches('"')).filter(|text| !text.is_empty() && text.len() <= 70);
    let boundary = boundary.ok_or_else(|| bad("the form has no boundary in its Content-Type"))?;
    let (open, close) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let mut rest = body;
    while let Some(at) = find(rest, open.as_bytes()) {
        let part = rest.get(at + open.len()..).unwrap_or_default();
        let head_end = find(part, b"\r\n\r\n").ok_or_else(|| bad("a part of the form has no end of its head"))?;
        let head = String::from_utf8_lossy(part.get(..head_end).unwrap_or_default()).into_owned();
        let content = part.get(head_end + 4..).unwrap_or_default();
        let end = find(content, close.as_bytes()).ok_or_else(|| bad("the form breaks off inside a part"))?;
        if parameter(&head, "name").as_deref() == Some("file") {
            return Ok((parameter(&head, "filename"), content.get(..end).unwrap_or_default().to_vec()));
        }
        // The next part's opening line begins with the line break's end of this one.
        rest = content.get(end + 2..).unwrap_or_default();
    }
    Err(bad("the form has no part named `file`"))
}

fn parameter(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let wanted = format!("{name}=\"");
    line.split(';').map(str::trim).find_map(|part| part.strip_prefix(&wanted)?.strip_suffix('"').map(str::to_owned))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

async fn stored(app: &App, caller: &Caller, id: &str) -> Result<StoredUpload, Problem> {
    let found = app.platform.store().upload(caller.tenant(), id, app.platform.clock().now()).await?;
    let shown: String = id.chars().take(80).collect();
    found.ok_or_else(|| {
        Problem::new(ProblemCode::NotFound, format!("there is no file `{shown}`, or its 24 hours are over"))
    })
}

/// What is known of an uploaded file.
#[utoipa::path(get, path = "/uploads/{id}", tag = "archive", operation_id = "show_upload",
    params(("id" = String, Path, description = "The file's id, `ul_…`.")),
    responses((status = 200, description = "The file's description.", body = Upload)))]
pub(crate) async fn upload_info(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Json<Upload>, Problem> {
    let found = stored(&app, &caller, &id).await?;
    Ok(Json(Upload {
        upload_id: found.upload_id,
        filename: found.filename,
        size: found.content.len(),
        uploaded_at: found.uploaded_at,
        expires_at: found.expires_at,
    }))
}

/// An uploaded file.
#[utoipa::path(get, path = "/uploads/{id}/content", tag = "archive", operation_id = "upload_content",
    params(("id" = String, Path, description = "The file's id, `ul_…`.")),
    responses((status = 200, description = "The file.", body = String, content_type = "text/plain")))]
pub(crate) async fn upload_content(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<Response, Problem> {
    let found = stored(&app, &caller, &id).await?;
    // Never as anything that a browser would run: whoever uploaded it is not trusted.
    let kind = if std::str::from_utf8(&found.content).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    let ascii: String = found.filename.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{ascii}\"")).map_err(Problem::internal)?;
    let mut response = ([(CONTENT_TYPE, kind)], found.content).into_response();
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_form_is_found_whatever_else_the_form_holds() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.log\"\r\nContent-Type: text/plain\r\n\r\none\r\n--\r\ntwo\r\n--b--\r\n";
        let (name, content) = file_of_form("; boundary=b", body).unwrap();
        assert_eq!(name.as_deref(), Some("a.log"));
        assert_eq!(content, b"one\r\n--\r\ntwo");
    }

    #[test]
    fn a_form_that_is_not_one_is_refused_in_words() {
        for (parameters, body) in [("", &b"x"[..]), ("; boundary=b", b"--b\r\nno head"), ("; boundary=b", b"nothing")] {
            assert_eq!(file_of_form(parameters, body).unwrap_err().code, ProblemCode::BadRequest);
        }
    }

    #[test]
    fn a_name_is_never_a_path() {
        assert_eq!(plain_name("../../etc/passwd"), "passwd");
        assert_eq!(plain_name("C:\\x\\y\".log"), "y.log");
        assert_eq!(plain_name(".."), "upload");
    }
}
