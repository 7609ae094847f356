//! The one place where routes are registered.
//!
//! No function here registers a route without a permission, so a route that nobody thought about cannot exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use axum::routing::MethodRouter;
use reeve_platform::Permission;
use reeve_types::ProblemCode;
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::app::App;
use crate::auth::Door;
use crate::problem::Problem;
use crate::rate::RateClass;
use crate::socket::Knock;
use crate::{aliases, auth, routes, socket};

/// Where the API is documented.
pub(crate) const ROOT: &str = "/api/v1";
/// Where the same routes answer too.
const SECOND_ROOT: &str = "/v1";

/// One route and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// `GET`, `POST`, `DELETE`.
    pub method: String,
    /// The path with its parameters in braces.
    pub path: String,
    /// What a caller must be allowed to do.
    pub permission: Permission,
    /// Which budget a call of it is taken from.
    pub rate: RateClass,
    /// Whether it is in the API's description; aliases are not.
    pub documented: bool,
}

/// Routes as they are being registered.
pub(crate) struct Routes {
    router: Router<App>,
    pub(crate) api: OpenApi,
    pub(crate) table: Vec<RouteEntry>,
}

/// Every route there is.
pub(crate) fn all() -> Routes {
    let empty = Routes { router: Router::new(), api: OpenApi::default(), table: Vec::new() };
    crate::mcp::declare(aliases::declare(routes::declare(empty)))
}

impl Routes {
    /// Routes of the API: documented under `/api/v1`, and the same under `/v1`.
    pub(crate) fn api(self, permission: Permission, routes: UtoipaMethodRouter<App>) -> Self {
        self.both(permission, Door::Credentials, routes)
    }

    /// Streams of the API: the same, and whoever opens one may bring a ticket.
    pub(crate) fn stream(self, permission: Permission, routes: UtoipaMethodRouter<App>) -> Self {
        self.both(permission, Door::Tickets, routes)
    }

    fn both(mut self, permission: Permission, door: Door, (schemas, paths, methods): UtoipaMethodRouter<App>) -> Self {
        for (path, item) in paths.paths {
            for (root, documented) in [(ROOT, true), (SECOND_ROOT, false)] {
                let path = format!("{root}{path}");
                self.router = self.router.route(&path, protected(permission, door, &path, methods.clone()));
                self.note(permission, &path, methods_of(&item), documented);
            }
            self.document(format!("{ROOT}{path}"), item);
        }
        self.add_schemas(schemas);
        self
    }

    /// Routes outside the API's root, documented: health, metrics, the description itself.
    pub(crate) fn outside(
        mut self,
        permission: Permission,
        (schemas, paths, methods): UtoipaMethodRouter<App>,
    ) -> Self {
        for (path, item) in paths.paths {
            self.router = self.router.route(&path, protected(permission, Door::Credentials, &path, methods.clone()));
            self.note(permission, &path, methods_of(&item), true);
            self.document(path, item);
        }
        self.add_schemas(schemas);
        self
    }

    /// The same routes under a path of a guide; they are not documented again.
    pub(crate) fn alias(
        mut self,
        permission: Permission,
        path: &str,
        (_, paths, methods): UtoipaMethodRouter<App>,
    ) -> Self {
        self.router = self.router.route(path, protected(permission, Door::Credentials, path, methods));
        for (_, item) in paths.paths {
            self.note(permission, path, methods_of(&item), false);
        }
        self
    }

    /// The same routes under another name of the API, below both roots; they are not documented again.
    pub(crate) fn also(self, permission: Permission, path: &str, routes: UtoipaMethodRouter<App>) -> Self {
        [ROOT, SECOND_ROOT]
            .into_iter()
            .fold(self, |this, root| this.alias(permission, &format!("{root}{path}"), routes.clone()))
    }

    /// A WebSocket of the API. It is documented and listed as every route; who knocks may bring a ticket.
    pub(crate) fn socket(
        mut self,
        permission: Permission,
        knock: Knock,
        (_, paths, methods): UtoipaMethodRouter<App>,
    ) -> Self {
        let methods = behind_socket_guard(permission, knock, methods);
        for (path, item) in paths.paths {
            for (root, documented) in [(ROOT, true), (SECOND_ROOT, false)] {
                let path = format!("{root}{path}");
                self.router = self.router.route(&path, methods.clone());
                self.note(permission, &path, methods_of(&item), documented);
            }
            self.document(format!("{ROOT}{path}"), item);
        }
        self
    }

    /// A WebSocket under a path of a guide.
    pub(crate) fn socket_alias(
        mut self,
        permission: Permission,
        path: &str,
        (_, paths, methods): UtoipaMethodRouter<App>,
    ) -> Self {
        self.router = self.router.route(path, behind_socket_guard(permission, Knock::Terminal, methods));
        for (_, item) in paths.paths {
            self.note(permission, path, methods_of(&item), false);
        }
        self
    }

    /// Routes of a guide whose clients know 422 for a field that is missing or wrong.
    pub(crate) fn answering_422(mut self, declare: impl FnOnce(Self) -> Self) -> Self {
        let empty = Self { router: Router::new(), api: OpenApi::default(), table: Vec::new() };
        let inner = declare(empty);
        self.router = self.router.merge(inner.router.route_layer(map_response(unprocessable)));
        self.table.extend(inner.table);
        self
    }

    /// The routes without the table.
    pub(crate) fn into_router(self) -> Router<App> {
        self.router
    }

    fn note(&mut self, permission: Permission, path: &str, methods: Vec<&'static str>, documented: bool) {
        let entries = methods.into_iter().map(|method| RouteEntry {
            method: method.to_owned(),
            path: path.to_owned(),
            permission,
            rate: RateClass::of(permission, method, path),
            documented,
        });
        self.table.extend(entries);
    }

    fn document(&mut self, path: String, item: utoipa::openapi::PathItem) {
        match self.api.paths.paths.get_mut(&path) {
            Some(known) => known.merge_operations(item),
            None => {
                self.api.paths.paths.insert(path, item);
            }
        }
    }

    fn add_schemas(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        self.api.components.get_or_insert_with(Default::default).schemas.extend(schemas);
    }
}

async fn unprocessable(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().get_mut::<Problem>()
        && problem.code == ProblemCode::BadRequest
    {
        problem.code = ProblemCode::Unprocessable;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    response
}

fn methods_of(item: &utoipa::openapi::PathItem) -> Vec<&'static str> {
    [("GET", &item.get), ("POST", &item.post), ("DELETE", &item.delete), ("PUT", &item.put), ("PATCH", &item.patch)]
        .into_iter()
        .filter_map(|(method, operation)| operation.as_ref().map(|_| method))
        .collect()
}

/// The routes behind the guard that demands the permission.
fn protected(permission: Permission, door: Door, path: &str, methods: MethodRouter<App>) -> MethodRouter<App> {
    let path: Arc<str> = path.into();
    methods.route_layer(from_fn(move |request: Request, next: Next| {
        let rate = RateClass::of(permission, request.method().as_str(), &path);
        auth::guard(permission, rate, door, request, next)
    }))
}

fn behind_socket_guard(permission: Permission, knock: Knock, methods: MethodRouter<App>) -> MethodRouter<App> {
    methods.route_layer(from_fn(move |request: Request, next: Next| socket::guard(permission, knock, request, next)))
}
