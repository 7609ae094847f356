//! Paths that guides name and that are not the API's own: thin aliases, one module for each guide.

mod completion;
mod given;
mod helpdesk;
mod ide;
mod proposal;
mod question;
mod vibecode;
mod vibecode_ai;
mod vibecode_auth;
mod vibecode_files;
mod vibecode_finding;
mod vibecode_repos;
mod vibecode_run;
mod vibecode_watch;
mod vibecoding;

use crate::declare::Routes;

pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = vibecode::open_and_public(vibecode_auth::declare(helpdesk::declare(routes)));
    routes.answering_422(|routes| {
        let routes = vibecode_run::declare(vibecode_files::declare(vibecode::declare(routes)));
        let routes = vibecode_repos::declare(vibecode_finding::declare(routes));
        let routes = vibecode_ai::declare(ide::declare(routes));
        vibecoding::declare(vibecode_watch::declare(routes))
    })
}
