//! Repositories in the guide's workbench. A public one is cloned by its address, as an execution in the workspace. For
//! GitHub's sign-in there is no application, and the paths say so.

use axum::Json;
use axum::extract::State;
use reeve_platform::Permission;
use reeve_types::workspace::Egress;
use reeve_types::workspace::processes::ExecRequest;
use reeve_types::{ProblemCode, WorkspacePath};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::problem::Problem;
use crate::routes::workspaces::{USE, Undone, asker, service};

/// How long a clone may take, in milliseconds.
const CLONE_MS: u64 = 10 * 60 * 1000;
/// How much of what Git said is told, in characters.
const LOG_CHARS_MAX: usize = 4000;
/// Longest address, branch or directory, in bytes.
const WORD_BYTES_MAX: usize = 2048;
/// Clones a part of a repository. Every word is an argument: no shell reads what somebody sent.
const PART: &str = r#"set -e
all=$(mktemp -d); trap 'rm -rf -- "$all"' EXIT
git clone --depth 1 --no-tags --single-branch --branch "$2" -- "$1" "$all/r"
test -d "$all/r/$4" || { echo "the repository has no directory $4" >&2; exit 1; }
mkdir -p -- "$3"; cp -a -- "$all/r/$4/." "$3/""#;

pub(crate) fn declare(routes: Routes) -> Routes {
    let at = |rest: &str| format!("/api/vibecode/{rest}");
    routes
        .alias(Permission::Look, &at("github/start"), routes!(no_github))
        .alias(Permission::Look, &at("github/login"), routes!(no_github))
        .alias(Permission::Look, &at("github/callback"), routes!(no_github))
        .alias(Permission::Look, "/api/auth/vibecode/github/callback", routes!(no_github))
        .alias(Permission::Look, &at("github/status"), routes!(status))
        .alias(Permission::Look, &at("github/disconnect"), routes!(disconnect))
        .alias(Permission::Look, &at("repo/list"), routes!(no_github))
        .alias(USE, &at("repo/import"), routes!(import))
}

/// GitHub's sign-in, which this server does not have.
#[utoipa::path(get, path = "/api/vibecode/github/start", responses((status = 503, description = "It is not configured.")))]
async fn no_github(_: Caller) -> Problem {
    let detail = "GitHub is not configured: this server has no GitHub application, and no setting names one. Import a public \
                  repository by its address with POST /api/vibecode/repo/import, or clone any other in a terminal";
    Problem::new(ProblemCode::Unavailable, detail)
}

/// Whether somebody's GitHub account is connected: nobody's can be.
#[utoipa::path(get, path = "/api/vibecode/github/status", responses((status = 200, description = "It is not.")))]
async fn status(_: Caller) -> Json<Value> {
    Json(
        json!({"connected": false, "configured": false, "login": Value::Null, "name": Value::Null, "avatar_url": Value::Null}),
    )
}

/// Ends a connection that cannot be there.
#[utoipa::path(post, path = "/api/vibecode/github/disconnect", responses((status = 200, description = "There is none.")))]
async fn disconnect(_: Caller) -> Json<Value> {
    Json(json!({"ok": true}))
}

/// What is to be cloned.
#[derive(Debug, PartialEq, Eq)]
struct Clone {
    url: String,
    branch: String,
    dest: WorkspacePath,
    subdir: Option<String>,
}

impl Clone {
    fn of(given: &Given) -> Result<Self, Problem> {
        let bad = |what: &str| Problem::new(ProblemCode::BadRequest, what.to_owned());
        let url = given.need("url")?;
        let rest = url.strip_prefix("https://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or_default();
        let plain = url.len() <= WORD_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || host.is_empty() || path.is_empty() || host.contains('@') {
            return Err(bad("`url` must be https://HOST/PATH of a public repository, without credentials"));
        }
        let branch = given.text("branch").filter(|branch| !branch.is_empty()).unwrap_or("main");
        let subdir = given.text("subdir").filter(|subdir| !subdir.is_empty());
        for (field, word) in [("branch", Some(branch)), ("subdir", subdir)] {
            let fine = |word: &str| {
                word.len() <= WORD_BYTES_MAX
                    && !word.starts_with(['-', '/'])
                    && !word.chars().any(char::is_control)
                    && !word.split('/').any(|part| part == "..")
            };
            if word.is_some_and(|word| !fine(word)) {
                return Err(bad(&format!("`{field}` is no name of that kind")));
            }
        }
        let (branch, subdir) = (branch.to_owned(), subdir.map(str::to_owned));
        Ok(Self { url: url.to_owned(), branch, dest: given.path_or_root("dest")?, subdir })
    }

    fn argv(&self) -> Vec<String> {
        // Beneath the directory that it runs in, which is the workspace's root.
        let dest = self.dest.to_string();
        let dest = dest.strip_prefix("/workspace").map_or(dest.as_str(), |rest| rest.trim_start_matches('/'));
        let dest = format!("./{dest}");
        let words: Vec<&str> = match &self.subdir {
            Some(subdir) => vec!["bash", "-c", PART, "import", &self.url, &self.branch, &dest, subdir],
            None => {
                let options = ["git", "clone", "--depth", "1", "--no-tags", "--single-branch", "--branch"];
                options.into_iter().chain([self.branch.as_str(), "--", &self.url, &dest]).collect()
            }
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

/// Clones a public repository into a workspace whose network allows it.
#[utoipa::path(post, path = "/api/vibecode/repo/import", responses((status = 200, description = "It is there.")))]
async fn import(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let (workspaces, asker, id) = (service(&app.platform)?, asker(&app, &caller)?, given.session()?);
    let seen = workspaces.get(&caller.principal, &id).await?;
    let wanted = Clone::of(&given)?;
    if seen.egress == Egress::None {
        let detail = "this workspace reaches no network, so nothing can be cloned into it; make one whose network allows the \
                      host of the repository";
        return Err(Problem::new(ProblemCode::Forbidden, detail).into());
    }
    let request = ExecRequest {
        argv: wanted.argv(),
        // Nobody is there to answer a question for a password.
        env: [("GIT_TERMINAL_PROMPT", "0")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        timeout_ms: Some(CLONE_MS),
        ..ExecRequest::default()
    };
    let ran = workspaces.execute_whole(&asker, &id, &request).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let from = said.chars().count().saturating_sub(LOG_CHARS_MAX);
    let log: String = said.chars().skip(from).collect();
    match ran.outcome.exit_code {
        0 => Ok(Json(json!({"ok": true, "dest": wanted.dest.to_string(), "log": log}))),
        127 => Err(Problem::new(ProblemCode::MissingToolchain, "this workspace has no `git`; install it first").into()),
        _ if log.contains("already exists and is not an empty directory") => {
            let detail = "`dest` is there already and holds something; name a directory that is not there yet";
            Err(Problem::new(ProblemCode::AlreadyExists, detail).with("log", log).into())
        }
        _ => {
            let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
            let detail = format!("the repository could not be cloned: {last}");
            Err(Problem::new(ProblemCode::ToolFailed, detail).with("log", log).into())
        }
    }
}
