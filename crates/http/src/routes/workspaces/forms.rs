//! Files of a form (`multipart/form-data`, RFC 7578): each is saved as it arrives, by an act of its own.
//!
//! What browsers and `curl -F` send. A file never stands whole in memory unless it is small. A form that breaks off leaves
//! the files that came before, and nothing of the one that was on its way.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use multer::{Constraints, Field, Multipart, SizeLimit};
use reeve_platform::workspaces::{Asker, SaveWanted, Workspaces};
use reeve_types::workspace::files::{FILE_BYTES_MAX, Saved};
use reeve_types::{ProblemCode, WorkspaceId, WorkspacePath};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::wire::{bad_path, path_of};
use super::{Undone, asker, bodies, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::Id;
use crate::problem::Problem;
use crate::routes::tools::Awaiting;

/// Most files of one form.
const FILES_MAX: usize = 200;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct IntoDirectory {
    /// The directory that the files go into, relative to /workspace; its root when absent.
    path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    path_b64: Option<String>,
    /// Whether files that are there are saved over; otherwise 409.
    #[serde(default = "yes")]
    overwrite: bool,
}

fn yes() -> bool {
    true
}

/// What came of a form.
#[derive(Serialize, ToSchema)]
pub(crate) struct FormSaved {
    /// The files, in the form's order.
    pub(crate) files: Vec<Saved>,
}

/// Saves the files of a form below a directory.
///
/// A file's name may lead into directories below it (`docs/a.md`), which are made. Fields that are no files are passed over.
/// Where policy asks people about saving, the first such file is asked about and the form ends there.
#[utoipa::path(post, path = "/workspaces/{id}/files/form", tag = "files", operation_id = "upload_form",
    params(("id" = String, Path, description = "The workspace's id."), IntoDirectory),
    request_body(content = String, content_type = "multipart/form-data", description = "The files."),
    responses((status = 201, description = "All of them are saved.", body = FormSaved),
              (status = 202, description = "People were asked.", body = Awaiting)))]
pub(crate) async fn upload(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    Query(into): Query<IntoDirectory>,
    request: Request,
) -> Result<Response, Undone> {
    let place = path_of(into.path.as_deref(), into.path_b64.as_deref())?;
    let (workspaces, asker) = (service(&app.platform)?, asker(&app, &caller)?);
    // Who may not see the workspace does not get to send a gigabyte to it.
    workspaces.get(&caller.principal, &id).await?;
    let form = Form { workspaces, asker: &asker, id: &id, overwrite: into.overwrite };
    let files = form.save(request, |_, name| below(&place, name)).await?;
    Ok((StatusCode::CREATED, Json(FormSaved { files })).into_response())
}

/// Whether a body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// Where a file of a form goes: its name, component by component, so that none of them leads out.
pub(crate) fn below(directory: &WorkspacePath, name: &str) -> Result<WorkspacePath, Problem> {
    let path = name.split('/').try_fold(directory.clone(), |path, part| path.join(part.as_bytes()));
    path.map_err(bad_path)
}

/// A form that is being saved.
pub(crate) struct Form<'a> {
    pub(crate) workspaces: &'a Workspaces,
    pub(crate) asker: &'a Asker,
    pub(crate) id: &'a WorkspaceId,
    pub(crate) overwrite: bool,
}

impl Form<'_> {
    /// Saves every file of a form where `place` says, by its number and its name.
    pub(crate) async fn save(
        &self,
        request: Request,
        place: impl Fn(usize, &str) -> Result<WorkspacePath, Problem> + Send,
    ) -> Result<Vec<Saved>, Undone> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(kind).map_err(|_| {
            let detail = "send a form: `multipart/form-data` with its `boundary` in Content-Type";
            Problem::new(ProblemCode::UnsupportedMediaType, detail)
        })?;
        let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(FILE_BYTES_MAX));
        let mut form = Multipart::with_constraints(bodies::pieces(body), boundary, limits);
        let mut saved = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
            let Some(name) = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned) else { continue };
            if saved.len() == FILES_MAX {
                let detail = format!("a form has at most {FILES_MAX} files; these are saved, send the rest in another");
                return Err(Problem::new(ProblemCode::TooLarge, detail).into());
            }
            saved.push(self.save_one(place(saved.len(), &name)?, field).await?);
        }
        if saved.is_empty() {
            let detail = "the form has no file: a part with a `filename`, as `curl -F file=@FILE` sends it";
            return Err(Problem::new(ProblemCode::BadRequest, detail).into());
        }
        Ok(saved)
    }

    async fn save_one(&self, path: WorkspacePath, field: Field<'static>) -> Result<Saved, Undone> {
        let content = bodies::content(&HeaderMap::new(), Body::from_stream(field)).await?;
        let if_none_match = !self.overwrite;
        let wanted = SaveWanted { path, create_parents: true, if_none_match, ..SaveWanted::default() };
        Ok(self.workspaces.save(self.asker, self.id, wanted, content).await?)
    }
}

fn broken(error: &multer::Error) -> Problem {
    match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            let detail = format!("the form is larger than it may be: {FILE_BYTES_MAX} bytes");
            Problem::new(ProblemCode::TooLarge, detail)
        }
        _ => Problem::new(
            ProblemCode::BadRequest,
            "the form broke off or cannot be read; its last boundary did not come",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_down_and_nowhere_else() {
        let directory = WorkspacePath::from_bytes(b"in").unwrap();
        assert_eq!(below(&directory, "docs/a b.md").unwrap().to_string(), "/workspace/in/docs/a b.md");
        for name in ["/etc/passwd", "../x", "a/../../x", "a//b", ".", "a/", "x\0y"] {
            assert!(below(&directory, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_form_is_known_by_its_kind() {
        let of =
            |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, axum::http::HeaderValue::from_static(kind))]);
        assert!(is_form(&of("multipart/form-data; boundary=x")) && is_form(&of("Multipart/Form-Data")));
        assert!(!is_form(&of("application/octet-stream")) && !is_form(&HeaderMap::new()));
    }
}
