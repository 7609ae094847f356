//! Paths that guides name and that are not the API's own: thin aliases, one module for each guide.

mod given;
mod helpdesk;
mod vibecode;
mod vibecode_auth;
mod vibecode_files;
mod vibecode_run;
mod vibecode_watch;
mod vibecoding;

use crate::declare::Routes;

pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = vibecode_auth::declare(helpdesk::declare(routes));
    let routes = vibecode_run::declare(vibecode_files::declare(vibecode::declare(routes)));
    vibecoding::declare(vibecode_watch::declare(routes))
}
