//! What clients send about workspaces, and how a path in a query or a body becomes one.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use reeve_platform::workspaces::{
    DriverOffer, ForkWanted, LimitsWanted, NewWorkspace, Template, WorkspaceChange, WorkspacesOptions,
};
use reeve_types::workspace::path::PathProblem;
use reeve_types::workspace::processes::EXECUTION_WHOLE_TIMEOUT_MS_MAX;
use reeve_types::workspace::{DriverKind, Egress};
use reeve_types::{ProblemCode, WorkspaceLimits, WorkspacePath};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::extract::parse;
use crate::problem::Problem;

/// Limits of which some are wanted; the rest is what the template says.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Memory, swap included, in bytes.
    memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a core.
    cpu_millis: Option<u32>,
    /// Processes and threads.
    pids: Option<u32>,
    /// Files, in bytes.
    disk_bytes: Option<u64>,
    /// Open files of one process.
    open_files: Option<u64>,
    /// How long nobody may use it before it is suspended, in milliseconds; 0 never suspends it.
    idle_timeout_ms: Option<u64>,
}

impl From<Limits> for LimitsWanted {
    fn from(wanted: Limits) -> Self {
        Self {
            memory_bytes: wanted.memory_bytes,
            cpu_millis: wanted.cpu_millis,
            pids: wanted.pids,
            disk_bytes: wanted.disk_bytes,
            open_files: wanted.open_files,
            idle_timeout_ms: wanted.idle_timeout_ms,
        }
    }
}

/// A workspace to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateWorkspace {
    /// 1 to 100 letters, digits, spaces, `-`, `_` and `.`.
    name: String,
    /// From what; `base` unless told otherwise.
    #[serde(default)]
    template: Option<String>,
    /// By which driver; the server's usual one unless told otherwise.
    #[serde(default)]
    driver: Option<DriverKind>,
    /// At most 500 characters.
    #[serde(default)]
    description: String,
    /// What it may use, as far as it is not what the template says.
    #[serde(default)]
    limits: Limits,
    /// What it may reach over the network, if not what the template says.
    #[serde(default)]
    egress: Option<Egress>,
    /// Labels; policies match on them.
    #[serde(default)]
    tags: Vec<String>,
    /// The directory of the host that it works in, absolute, instead of files of its own; where the operator has switched
    /// that on.
    #[serde(default)]
    directory: Option<String>,
    /// Whether it is started as well; yes unless told otherwise.
    #[serde(default)]
    start: Option<bool>,
}

impl From<CreateWorkspace> for NewWorkspace {
    fn from(wanted: CreateWorkspace) -> Self {
        let template = wanted.template.filter(|name| !name.is_empty()).unwrap_or_else(|| "base".to_owned());
        Self {
            driver: wanted.driver,
            description: wanted.description,
            limits: wanted.limits.into(),
            egress: wanted.egress,
            tags: wanted.tags,
            directory: wanted.directory,
            start: wanted.start.unwrap_or(true),
            ..Self::named(wanted.name, template)
        }
    }
}

/// What the installation lets workspaces be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkspaceRules {
    /// What a workspace may use when neither its maker nor its template says.
    limits: WorkspaceLimits,
    /// The most that anybody may ask for. An idle time of 0 stands for as long as one likes.
    limits_max: WorkspaceLimits,
    /// Whether whoever makes a workspace may say what it reaches over the network.
    egress_by_choice: bool,
    /// How many snapshots one may have.
    snapshots_max: u32,
    /// How long a deleted one can be restored, in milliseconds.
    keep_deleted_ms: u64,
    /// How long a program may be allowed to run that is followed, in milliseconds.
    run_ms_max: u64,
    /// How long a program may be allowed to run whose answer is awaited whole, in milliseconds.
    whole_run_ms_max: u64,
}

impl From<&WorkspacesOptions> for WorkspaceRules {
    fn from(options: &WorkspacesOptions) -> Self {
        let run_ms_max = options.run_max_ms();
        Self {
            limits: options.limits,
            limits_max: options.limits_max,
            egress_by_choice: options.egress_by_choice,
            snapshots_max: options.snapshots_max,
            keep_deleted_ms: u64::try_from(options.keep_deleted.as_millis()).unwrap_or(u64::MAX),
            run_ms_max,
            whole_run_ms_max: run_ms_max.min(EXECUTION_WHOLE_TIMEOUT_MS_MAX),
        }
    }
}

/// A driver that workspaces can be made with here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkspaceDriver {
    name: DriverKind,
    /// Whether it is the one of a workspace whose maker names none.
    default: bool,
    /// What its workspaces can be given to reach: `none`, `allow`, `public`.
    networks: &'static [&'static str],
    /// Why they can be given nothing to reach, in a sentence without its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_network: Option<&'static str>,
}

impl From<DriverOffer> for WorkspaceDriver {
    fn from(offer: DriverOffer) -> Self {
        Self {
            name: offer.kind,
            default: offer.usual,
            networks: if offer.without_network.is_some() { &["none"] } else { &["none", "allow", "public"] },
            without_network: offer.without_network,
        }
    }
}

/// Other words for a workspace, or another idle time. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeWorkspace {
    /// Its new name.
    #[serde(default)]
    name: Option<String>,
    /// Its new description.
    #[serde(default)]
    description: Option<String>,
    /// How long nobody may use it before it is suspended, in milliseconds; 0 never suspends it.
    #[serde(default)]
    idle_timeout_ms: Option<u64>,
}

impl From<ChangeWorkspace> for WorkspaceChange {
    fn from(change: ChangeWorkspace) -> Self {
        Self { name: change.name, description: change.description, idle_timeout_ms: change.idle_timeout_ms }
    }
}

/// A copy of a workspace to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForkWorkspace {
    /// The name of the new one.
    name: String,
    /// With the files of this snapshot; as they are now when absent.
    #[serde(default)]
    snapshot_id: Option<String>,
    /// Whether it is started as well.
    #[serde(default)]
    start: bool,
}

impl ForkWorkspace {
    pub(crate) fn wanted(self) -> Result<ForkWanted, Problem> {
        let snapshot_id = self.snapshot_id.as_deref().map(parse).transpose()?;
        Ok(ForkWanted { name: self.name, snapshot_id, start: self.start })
    }
}

/// What workspaces can be made from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkspaceTemplate {
    /// `base`, `python`.
    name: String,
    title: String,
    description: String,
    drivers: Vec<DriverKind>,
    languages: Vec<String>,
    /// What its run button starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_command: Option<String>,
    /// Ports that its programs usually listen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<u16>,
    /// What its workspaces may use unless their maker says otherwise.
    limits: WorkspaceLimits,
    /// What its workspaces reach over the network unless their maker says otherwise.
    egress: Egress,
}

impl WorkspaceTemplate {
    /// A template, where `usual` holds for what it does not say itself.
    pub(crate) fn of(template: &Template, usual: WorkspaceLimits) -> Self {
        Self {
            limits: template.limits.over(usual),
            egress: template.egress.clone(),
            name: template.name.clone(),
            title: template.title.clone(),
            description: template.description.clone(),
            drivers: template.drivers.clone(),
            languages: template.languages.clone(),
            default_command: template.default_command.clone(),
            ports: template.ports.clone(),
        }
    }
}

/// A path in a query: as text, or base64 where its bytes are no text.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PathQuery {
    /// Relative to /workspace, or absolute below it.
    pub(crate) path: Option<String>,
    /// The same as base64, where it is no UTF-8.
    pub(crate) path_b64: Option<String>,
}

impl PathQuery {
    /// The path; the root when none is given.
    pub(crate) fn path(&self) -> Result<WorkspacePath, Problem> {
        path_of(self.path.as_deref(), self.path_b64.as_deref())
    }
}

/// A path out of its two spellings.
pub(crate) fn path_of(text: Option<&str>, b64: Option<&str>) -> Result<WorkspacePath, Problem> {
    match b64 {
        None => WorkspacePath::from_bytes(text.unwrap_or_default().as_bytes()).map_err(bad_path),
        Some(b64) => {
            let bytes = STANDARD.decode(b64).or_else(|_| URL_SAFE.decode(b64));
            let bytes = bytes.map_err(|_| Problem::new(ProblemCode::BadRequest, "`path_b64` is not base64"))?;
            WorkspacePath::from_bytes(&bytes).map_err(bad_path)
        }
    }
}

/// A path that is none, with the code that says why.
pub(crate) fn bad_path(problem: PathProblem) -> Problem {
    Problem::new(problem.code(), problem.to_string())
}

/// Members of bodies that are paths.
const PATHS: [&str; 5] = ["path", "from", "to", "cwd", "file"];

/// A body as what it should be. A path in it that is none is told apart from a body that cannot be read.
pub(crate) fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    for key in PATHS {
        if let Some(Value::String(text)) = body.get(key) {
            WorkspacePath::from_bytes(text.as_bytes()).map_err(bad_path)?;
        }
    }
    serde_json::from_value(body)
        .map_err(|error| Problem::new(ProblemCode::BadRequest, format!("the body cannot be read: {error}")))
}

/// An entity tag as `If-Match` names it: without quotes, weak or not.
pub(crate) fn tag(text: &str) -> String {
    let text = text.trim();
    text.strip_prefix("W/").unwrap_or(text).trim_matches('"').to_owned()
}

/// The entity tags that a header lists.
pub(crate) fn tags(headers: &HeaderMap, name: &axum::http::HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(tag).filter(|tag| !tag.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_types::workspace::files::FileOperation;
    use serde_json::json;

    #[test]
    fn a_path_in_a_body_that_leads_out_is_told_as_such() {
        let code = |body| read::<FileOperation>(body).map_err(|problem| problem.code);
        assert_eq!(code(json!({"op": "trash", "path": "../x"})), Err(ProblemCode::PathEscape));
        assert_eq!(code(json!({"op": "move", "from": "a", "to": "/etc/passwd"})), Err(ProblemCode::PathEscape));
        assert_eq!(code(json!({"op": "trash"})), Err(ProblemCode::BadRequest));
        assert!(code(json!({"op": "trash", "path": {"b64": "/w=="}})).is_ok());
    }

    #[test]
    fn a_path_may_be_bytes() {
        assert_eq!(path_of(None, Some("ZGlyL//+")).unwrap().as_bytes(), b"dir/\xff\xfe");
        assert_eq!(path_of(Some("a\0b"), None).unwrap_err().code, ProblemCode::BadRequest);
        assert!(path_of(None, None).unwrap().is_root());
    }

    #[test]
    fn tags_are_read_as_clients_write_them() {
        for text in ["\"abc\"", "W/\"abc\"", "abc", " \"abc\" "] {
            assert_eq!(tag(text), "abc");
        }
    }
}
