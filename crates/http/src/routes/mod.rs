//! The handlers, one module for each noun: read the wire type, call one function of the platform, write the wire type.

pub(crate) mod accounts;
pub(crate) mod actions;
pub(crate) mod agents;
pub(crate) mod answer_links;
pub(crate) mod approvals;
pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod backups;
pub(crate) mod configuration;
pub(crate) mod decisions;
pub(crate) mod events;
pub(crate) mod governance;
pub(crate) mod health;
pub(crate) mod infrastructure;
pub(crate) mod journeys;
pub(crate) mod keys;
pub(crate) mod pages;
pub(crate) mod query;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod tenants;
pub(crate) mod tools;
pub(crate) mod workspaces;

use axum::extract::DefaultBodyLimit;
use reeve_platform::Permission;
use reeve_types::limits::PAGE_ROWS_MAX;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::declare::Routes;

/// Registers every route of the API with the permission that it needs.
pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = public(routes);
    let routes = signing_in(routes);
    let routes = asking(routes);
    let routes = looking(routes);
    let routes = answering(routes);
    let routes = workspaces::declare(routes);
    let routes = sessions::declare(routes);
    administering(routes)
}

fn public(routes: Routes) -> Routes {
    routes
        .outside(Permission::Public, routes!(health::health))
        .outside(Permission::Public, routes!(health::ready))
        .outside(Permission::Public, routes!(pages::description))
        .outside(Permission::Public, routes!(pages::docs))
        .alias(Permission::Public, "/openapi.json", routes!(pages::description))
        .alias(Permission::Public, "/docs", routes!(pages::docs))
        .outside(Permission::Public, routes!(pages::problem))
        .outside(Permission::Public, routes!(health::metrics))
}

fn signing_in(routes: Routes) -> Routes {
    routes
        .api(Permission::Public, routes!(sign_in::login))
        .api(Permission::Public, routes!(sign_in::sign_up))
        .api(Permission::Public, routes!(sign_in::refresh))
        .api(Permission::Look, routes!(sign_in::me))
        .api(Permission::OwnAccount, routes!(sign_in::logout))
        .api(Permission::OwnAccount, routes!(sign_in::password))
        .api(Permission::OwnAccount, routes!(sign_in::sessions))
        .api(Permission::OwnAccount, routes!(sign_in::end_session))
        .api(Permission::Administer, routes!(accounts::list))
        .api(Permission::Administer, routes!(accounts::create))
        .api(Permission::Administer, routes!(accounts::change))
        .api(Permission::Administer, routes!(accounts::sign_in_link))
        .api(Permission::Administer, routes!(accounts::rotate_secret))
}

fn asking(routes: Routes) -> Routes {
    routes
        .api(Permission::Ask, routes!(query::query))
        .api(Permission::Ask, routes!(query::diagnose))
        .api(Permission::RunTools, routes!(tools::run))
        .api(Permission::RunDatabaseTools, routes!(tools::run_on_database))
        .api(Permission::RunKubernetesTools, routes!(tools::run_on_kubernetes))
        .api(Permission::CheckPolicy, routes!(governance::check))
        .api(Permission::WriteRecords, routes!(events::bring))
        .api(Permission::WriteRecords, routes!(archive::keep_result))
        .api(Permission::Ask, larger(routes!(archive::upload)))
        .api(Permission::Witness, routes!(audit::cosignature))
}

fn looking(routes: Routes) -> Routes {
    routes
        .api(Permission::Look, routes!(agents::agents))
        .api(Permission::Look, routes!(agents::roles))
        .api(Permission::Look, routes!(agents::whoami))
        .api(Permission::Look, routes!(tools::list))
        .api(Permission::Look, routes!(tools::show))
        .api(Permission::Look, routes!(actions::list))
        .api(Permission::Look, routes!(actions::show))
        .api(Permission::Look, routes!(infrastructure::infrastructure))
        .api(Permission::Look, routes!(infrastructure::databases))
        .api(Permission::Look, routes!(governance::overview))
        .api(Permission::Look, routes!(governance::info))
        .api(Permission::Look, routes!(governance::policies))
        .api(Permission::Look, routes!(governance::explain))
        .stream(Permission::Look, routes!(events::list))
        .api(Permission::Look, routes!(events::stream))
        .api(Permission::Look, routes!(events::show))
        .api(Permission::Look, routes!(audit::verify))
        .api(Permission::Look, routes!(audit::verify_whole))
        .api(Permission::Look, routes!(audit::proof))
        .api(Permission::Look, routes!(audit::checkpoint))
        .api(Permission::Look, routes!(audit::key))
        .api(Permission::Look, routes!(audit::for_witness))
        .api(Permission::Look, routes!(journeys::list))
        .api(Permission::Look, routes!(archive::results))
        .api(Permission::Look, routes!(archive::upload_info))
        .api(Permission::Look, routes!(archive::upload_content))
}

fn answering(routes: Routes) -> Routes {
    routes
        .api(Permission::Look, routes!(approvals::list))
        .api(Permission::Look, routes!(approvals::pending))
        .api(Permission::Look, routes!(approvals::stream))
        .api(Permission::Look, routes!(approvals::show))
        .api(Permission::Look, routes!(approvals::wait))
        // Who may answer depends on the question: its owner, those whom policy names, or whoever may approve at all. The
        // platform knows.
        .api(Permission::Ask, routes!(approvals::approve))
        .api(Permission::Ask, routes!(approvals::deny))
        .api(Permission::Cancel, routes!(approvals::cancel))
        .api(Permission::Look, routes!(approvals::create))
        .api(Permission::Ask, routes!(answer_links::make))
        .api(Permission::Public, routes!(answer_links::look))
        .api(Permission::Public, routes!(answer_links::answer))
        .api(Permission::Look, routes!(decisions::list))
        .api(Permission::Look, routes!(decisions::show))
        .api(Permission::Ask, routes!(decisions::resolve))
}

fn administering(routes: Routes) -> Routes {
    routes
        .api(Permission::Administer, routes!(keys::list))
        .api(Permission::Administer, routes!(keys::create))
        .api(Permission::Administer, routes!(keys::revoke))
        .api(Permission::Administer, routes!(keys::users))
        .api(Permission::Operate, routes!(tenants::list))
        .api(Permission::Operate, routes!(tenants::create))
        .api(Permission::Administer, routes!(backups::lay_out))
        .api(Permission::Administer, routes!(configuration::show))
        .api(Permission::Administer, routes!(configuration::reload_policy))
}

/// A route that takes a whole file.
pub(crate) fn larger((schemas, paths, methods): UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    // The form around a file takes a little room of its own.
    (schemas, paths, methods.layer(DefaultBodyLimit::max(archive::UPLOAD_BYTES_MAX + 64 * 1024)))
}

/// How many rows a list shows: what was asked for, within 1 and the most there may be.
pub(crate) fn limit(asked: Option<usize>, usual: usize) -> usize {
    asked.unwrap_or(usual).clamp(1, PAGE_ROWS_MAX)
}
