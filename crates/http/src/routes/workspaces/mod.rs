//! Workspaces: the places to work, their files, programs, terminals and ports.
//!
//! Every change is an act through the gate, so any of these routes may answer 202 while people are asked, and 403 when
//! policy denies. Files travel as streams, both ways.

pub(crate) mod acting;
pub(crate) mod bodies;
pub(crate) mod content;
pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod forms;
pub(crate) mod history;
pub(crate) mod knock;
pub(crate) mod lifecycle;
pub(crate) mod moving;
pub(crate) mod ports;
pub(crate) mod programs;
pub(crate) mod replacing;
pub(crate) mod snapshots;
pub(crate) mod terminal_socket;
pub(crate) mod terminals;
pub(crate) mod told;
pub(crate) mod undone;
pub(crate) mod uploads;
pub(crate) mod wire;

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use reeve_platform::workspaces::{Asker, Workspaces};
use reeve_platform::{Permission, Platform};
use reeve_types::{Origin, ProblemCode};
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Caller;
use crate::declare::Routes;
use crate::extract::parse;
use crate::problem::Problem;
use crate::socket;

pub(crate) use acting::Acting;
pub(crate) use undone::Undone;

/// What all routes of workspaces need.
pub(crate) const USE: Permission = Permission::UseWorkspaces;

/// Registers every route of workspaces.
pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = places(routes);
    let routes = in_files(routes);
    running(routes)
}

fn places(routes: Routes) -> Routes {
    routes
        .api(USE, routes!(lifecycle::templates))
        .api(USE, routes!(lifecycle::list))
        .api(USE, routes!(lifecycle::create))
        .api(USE, routes!(follow::workspaces))
        .api(USE, routes!(moving::import))
        .api(USE, routes!(lifecycle::show))
        .api(USE, routes!(lifecycle::change))
        .api(USE, routes!(lifecycle::delete))
        .api(USE, routes!(lifecycle::start))
        .api(USE, routes!(lifecycle::resume))
        .api(USE, routes!(lifecycle::suspend))
        .api(USE, routes!(lifecycle::restore))
        .api(USE, routes!(lifecycle::usage))
        .api(USE, routes!(snapshots::fork))
        .api(USE, routes!(snapshots::list))
        .api(USE, routes!(snapshots::take))
        .api(USE, routes!(snapshots::roll_back))
        .api(USE, routes!(snapshots::remove))
        .api(USE, routes!(moving::export))
}

fn in_files(routes: Routes) -> Routes {
    routes
        .api(USE, routes!(files::tree))
        .api(USE, routes!(files::stat))
        .api(USE, routes!(content::read))
        .api(USE, routes!(content::save))
        .api(USE, routes!(files::operate))
        .api(USE, routes!(files::trash))
        .api(USE, routes!(history::list))
        .api(USE, routes!(history::show))
        .api(USE, routes!(history::restore))
        .api(USE, routes!(files::search))
        .api(USE, routes!(replacing::preview))
        .api(USE, routes!(replacing::replace))
        .api(USE, routes!(files::archive))
        .api(USE, routes!(files::extract))
        .api(USE, routes!(follow::files))
        .api(USE, routes!(forms::upload))
        .api(USE, routes!(uploads::begin))
        .api(USE, routes!(uploads::go_on))
        .api(USE, routes!(uploads::show))
        .api(USE, routes!(uploads::finish))
        .api(USE, routes!(uploads::give_up))
}

fn running(routes: Routes) -> Routes {
    routes
        .api(USE, routes!(programs::languages))
        .api(USE, routes!(programs::execute))
        .api(USE, routes!(programs::cancel))
        .api(USE, routes!(terminals::list))
        .api(USE, routes!(terminals::open))
        .api(USE, routes!(terminals::close))
        .api(USE, routes!(terminals::ticket))
        .socket(USE, socket::Knock::Terminal, routes!(terminal_socket::attach))
        .api(USE, routes!(ports::list))
        .api(USE, routes!(ports::preview))
}

/// The service, when this server has workspaces.
pub(crate) fn service(platform: &Platform) -> Result<&Workspaces, Problem> {
    platform.workspaces().ok_or_else(|| {
        let detail = "this server has no workspaces: no driver is set up; see `workspaces.driver` in its configuration";
        Problem::new(ProblemCode::Unavailable, detail)
    })
}

/// The caller as someone who asks for an act.
pub(crate) fn asker(app: &App, caller: &Caller) -> Result<Asker, Problem> {
    Ok(Asker {
        principal: caller.principal.clone(),
        purpose: caller.purpose(None)?,
        purpose_note: caller.purpose_note(None)?,
        trace_id: caller.trace(&app.platform, "wsp"),
        origin: Origin::DirectTool,
        session: reeve_types::event::SessionPart::default(),
        action_id: None,
    })
}

/// The two parameters of the path, as what they name.
pub(crate) struct Ids<A, B>(pub(crate) A, pub(crate) B);

impl<S: Send + Sync, A: FromStr, B: FromStr> FromRequestParts<S> for Ids<A, B>
where
    A::Err: Display,
    B::Err: Display,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| {
            Problem::new(ProblemCode::BadRequest, "the path cannot be read: its parameters are not UTF-8 text")
        })?;
        Ok(Self(parse(&first)?, parse(&second)?))
    }
}
