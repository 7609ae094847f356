//! Running programs and using terminals as the guide to VibeCode says.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use reeve_types::workspace::processes::{ExecRequest, ExecResult, OpenTerminal};
use reeve_types::{ExecutionId, ProblemCode, TerminalId, WorkspaceId};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::given::Given;
use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::{Id, parse};
use crate::problem::Problem;
use crate::routes::workspaces::knock::{Framing, Knock};
use crate::routes::workspaces::terminal_socket::Session;
use crate::routes::workspaces::undone::problem_of;
use crate::routes::workspaces::{USE, Undone, asker, programs, service, terminals, told};
use crate::server::Stopping;
use crate::socket::{self, Entry};

/// Longest line for a shell, in characters.
const LINE_CHARS_MAX: usize = 10_000;

pub(crate) fn declare(routes: Routes) -> Routes {
    routes
        .alias(USE, "/api/vibecode/exec", routes!(exec))
        .alias(USE, "/api/vibecode/exec/stream", routes!(follow))
        .alias(USE, "/api/vibecode/exec/{id}", routes!(cancel))
        .alias(USE, "/api/vibecode/ws-ticket", routes!(ticket))
        .socket_alias(USE, "/api/vibecode/ws/terminal", routes!(terminal))
        .socket_alias(USE, "/ws/vibecoding/terminal", routes!(terminal))
}

/// What a client of the guide wants run: a file, or a line for a shell.
pub(super) fn wanted(app: &App, given: &Given) -> Result<ExecRequest, Problem> {
    let mut request = ExecRequest {
        cwd: given.path_or_root("cwd")?,
        env: given.read("env")?,
        stdin: given.text("stdin").map(str::to_owned),
        timeout_ms: given.number("timeout_ms"),
        ..ExecRequest::default()
    };
    if given.text("file").is_some_and(|file| !file.is_empty()) {
        request.file = Some(given.path("file")?);
        request.args = given.read("args")?;
        request.language = given.text("lang").filter(|lang| !lang.is_empty()).map(language);
        return Ok(request);
    }
    let line = given.text("cmd").or_else(|| given.text("command")).unwrap_or_default();
    if line.is_empty() {
        return Err(Problem::new(ProblemCode::BadRequest, "one of `cmd` and `file` must be there"));
    }
    if line.chars().count() > LINE_CHARS_MAX {
        let detail =
            format!("a line has at most {LINE_CHARS_MAX} characters; put a longer one into a file and run that");
        return Err(Problem::new(ProblemCode::BadRequest, detail));
    }
    if app.shared.options.strict_exec
        && let Some(blocked) = blocked(line)
    {
        let detail = format!("the line holds `{}`, which strict mode refuses", blocked.escape_debug());
        return Err(Problem::new(ProblemCode::CommandBlocked, detail).with("blocked", blocked));
    }
    // The guide's lines are for a shell. The workspace is the boundary, not the line.
    request.argv = ["bash", "-lc", line].map(str::to_owned).to_vec();
    Ok(request)
}

/// What the guide's filter looks for, wherever it stands. It keeps nothing in: the workspace does.
fn blocked(line: &str) -> Option<&'static str> {
    const BLOCKED: [&str; 12] = ["&&", "||", ";", "|", "`", "$(", "${", ">", "<", "&", "\n", "\r"];
    BLOCKED.into_iter().find(|pattern| line.contains(pattern))
}

fn language(name: &str) -> String {
    if name == "javascript" { "node".to_owned() } else { name.to_owned() }
}

/// The command as the guide's clients show it.
fn command(given: &Given, result: &ExecResult) -> String {
    let line = given.text("cmd").or_else(|| given.text("command"));
    line.filter(|_| given.text("file").is_none()).map_or_else(|| result.argv.join(" "), str::to_owned)
}

/// Runs a program to its end.
#[utoipa::path(post, path = "/api/vibecode/exec", responses((status = 200, description = "How it ended, with its output.")))]
async fn exec(State(app): State<App>, caller: Caller, given: Given) -> Result<Json<Value>, Undone> {
    let clock = app.platform.clock();
    let started = clock.now().as_millisecond();
    let result = service(&app.platform)?
        .execute_whole(&asker(&app, &caller)?, &given.session()?, &wanted(&app, &given)?)
        .await?;
    let finished = clock.now().as_millisecond();
    let command = command(&given, &result);
    let mut reply = json!(result);
    reply["command"] = json!(command);
    reply["started_at"] = json!(started);
    reply["finished_at"] = json!(finished);
    reply["execution_time_ms"] = json!(result.outcome.duration_ms);
    Ok(Json(reply))
}

/// Runs a program and follows it.
#[utoipa::path(post, path = "/api/vibecode/exec/stream", responses((status = 200, description = "Server-sent events: start, stdout, stderr, exit.")))]
async fn follow(State(app): State<App>, caller: Caller, stop: Stopping, given: Given) -> Result<Response, Undone> {
    let (asker, wanted) = (asker(&app, &caller)?, wanted(&app, &given)?);
    let execution = service(&app.platform)?.execute(&asker, &given.session()?, &wanted).await?;
    Ok(told::told(programs::followed(execution), stop))
}

/// Ends a program with all that it started.
#[utoipa::path(delete, path = "/api/vibecode/exec/{id}", responses((status = 200, description = "It is told to end.")))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ExecutionId>,
    given: Given,
) -> Result<Json<Value>, Undone> {
    service(&app.platform)?.cancel(&caller.principal, &given.session()?, &id).await?;
    Ok(Json(json!({"cancelled": true, "success": true})))
}

/// A ticket for a terminal's socket, good once and for 30 seconds.
#[utoipa::path(post, path = "/api/vibecode/ws-ticket", responses((status = 200, description = "The ticket.")))]
async fn ticket(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    given: Given,
) -> Result<Json<Value>, Undone> {
    let terminal: Option<TerminalId> = given.text("terminal_id").map(parse).transpose()?;
    let issued = terminals::issue(&app, caller, &headers, given.session()?, terminal).await?;
    let lasting = socket::TICKET_FOR.as_secs();
    Ok(Json(json!({"ticket": issued.ticket, "expires_at": issued.expires_at, "expires_in": lasting})))
}

/// A terminal of a session: a new one, or the one that `terminal_id` names.
#[utoipa::path(get, path = "/ws/vibecoding/terminal", responses((status = 101, description = "A WebSocket.")))]
async fn terminal(State(app): State<App>, uri: Uri, knock: Knock) -> Result<Response, Problem> {
    let named = socket::parameter(&uri, "session_id")
        .ok_or_else(|| Problem::new(ProblemCode::BadRequest, "`session_id` is missing"));
    at(app, named.and_then(|id| parse(&id)), &uri, knock).await
}

/// Serves a terminal of a workspace that the address names in its own way.
pub(super) async fn at(
    app: App,
    id: Result<WorkspaceId, Problem>,
    uri: &Uri,
    knock: Knock,
) -> Result<Response, Problem> {
    let found = match id {
        Ok(id) => found(&app, &knock.entry, id, socket::parameter(uri, "terminal_id")).await,
        Err(problem) => knock.entry.caller.clone().and(Err(problem)),
    };
    let (framing, until, stop) = (knock.framing, knock.entry.until, knock.stop.clone());
    knock.open(found, move |mut socket, found: Found| async move {
        let Found { caller, id, terminal } = found;
        let opened = open(&app, &caller, &id, terminal, framing).await;
        let (terminal, attached, passing) = match opened {
            Ok(opened) => opened,
            Err(problem) => return framing.tell(&mut socket, &problem).await,
        };
        let session = Session { framing, app: app.clone(), caller: caller.clone(), id: id.clone(), until, stop };
        session.run(socket, attached).await;
        // Nobody can find a terminal again that was opened for one old client.
        if passing && let Ok(workspaces) = service(&app.platform) {
            let _ = workspaces.close_terminal(&caller.principal, &id, &terminal).await;
        }
    })
}

/// Who may use which terminal of which workspace.
struct Found {
    caller: Caller,
    id: WorkspaceId,
    terminal: Option<TerminalId>,
}

async fn found(app: &App, entry: &Entry, id: WorkspaceId, terminal: Option<String>) -> Result<Found, Problem> {
    let caller = entry.caller.clone()?;
    let terminal: Option<TerminalId> = terminal.as_deref().map(parse).transpose()?;
    if !entry.is_for(&id, terminal.as_ref()) {
        return Err(Problem::new(ProblemCode::Forbidden, "the ticket is for another session"));
    }
    service(&app.platform)?.get(&caller.principal, &id).await.map_err(problem_of)?;
    Ok(Found { caller, id, terminal })
}

type Opened = (TerminalId, reeve_gate::workspace::AttachedTerminal, bool);

/// The terminal, attached, and whether it is to go with its client.
async fn open(
    app: &App,
    caller: &Caller,
    id: &WorkspaceId,
    terminal: Option<TerminalId>,
    framing: Framing,
) -> Result<Opened, Problem> {
    let workspaces = service(&app.platform)?;
    let passing = terminal.is_none() && framing == Framing::Plain;
    let terminal = match terminal {
        Some(terminal) => terminal,
        None => {
            let asker = asker(app, caller)?;
            workspaces.open_terminal(&asker, id, &OpenTerminal::default()).await.map_err(problem_of)?.id
        }
    };
    let attached = workspaces.attach(&caller.principal, id, &terminal).await.map_err(problem_of)?;
    Ok((terminal, attached, passing))
}
