//! The paths of the guide to aiHelpDesk: its gateway serves records, approvals and files below `governance` and `fleet`,
//! its audit service serves them at the root of `/v1`, which the API's second root answers already.

use reeve_platform::Permission;
use utoipa_axum::routes;

use crate::declare::Routes;
use crate::routes::{approvals, archive, audit, events, health, journeys, larger};

pub(crate) fn declare(routes: Routes) -> Routes {
    let routes = health_checks(routes);
    ["/api/v1", "/v1"].into_iter().fold(routes, |routes, root| {
        let routes = governed(routes, &format!("{root}/governance"));
        files(routes, &format!("{root}/fleet"))
    })
}

fn health_checks(routes: Routes) -> Routes {
    ["/v1/health", "/api/health", "/api/v1/health"]
        .into_iter()
        .fold(routes, |routes, path| routes.alias(Permission::Public, path, routes!(health::health)))
}

fn governed(routes: Routes, root: &str) -> Routes {
    let at = |rest: &str| format!("{root}{rest}");
    routes
        .alias(Permission::Look, &at("/events"), routes!(events::list))
        .alias(Permission::Look, &at("/events/{id}"), routes!(events::show))
        .alias(Permission::Look, &at("/verify"), routes!(audit::verify))
        .alias(Permission::Look, &at("/journeys"), routes!(journeys::list))
        .alias(Permission::Look, &at("/approvals"), routes!(approvals::list))
        .alias(Permission::Look, &at("/approvals/pending"), routes!(approvals::pending))
        .alias(Permission::Look, &at("/approvals/{id}"), routes!(approvals::show))
        .alias(Permission::Look, &at("/approvals/{id}/wait"), routes!(approvals::wait))
        .alias(Permission::Ask, &at("/approvals/{id}/approve"), routes!(approvals::approve))
        .alias(Permission::Ask, &at("/approvals/{id}/deny"), routes!(approvals::deny))
        .alias(Permission::Cancel, &at("/approvals/{id}/cancel"), routes!(approvals::cancel))
}

fn files(routes: Routes, root: &str) -> Routes {
    routes
        .alias(Permission::Ask, &format!("{root}/uploads"), larger(routes!(archive::upload)))
        .alias(Permission::Look, &format!("{root}/uploads/{{id}}"), routes!(archive::upload_info))
        .alias(Permission::Look, &format!("{root}/uploads/{{id}}/content"), routes!(archive::upload_content))
}
