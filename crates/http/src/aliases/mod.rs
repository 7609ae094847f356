//! Paths that guides name and that are not the API's own: thin aliases, one module for each guide.

mod helpdesk;

use crate::declare::Routes;

pub(crate) fn declare(routes: Routes) -> Routes {
    helpdesk::declare(routes)
}
