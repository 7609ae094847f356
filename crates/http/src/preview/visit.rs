//! One request to a preview: who sends it, whether they may, and what they get.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use reeve_gate::workspace::Duplex;
use reeve_platform::Permission;
use reeve_platform::workspaces::{Asker, NotDone, Use, Workspaces};
use reeve_types::{Digest, LoginId, Origin, Principal, ProblemCode, WorkspaceState};
use serde_json::json;

use super::carry::{self, Carried, Failure};
use super::headers::{self, is_ours};
use super::neighbours;
use super::pages::{Page, START_PATH};
use super::pass::Pass;
use super::place::{Named, Place, host_of, name_of, port_of};
use super::tunnel;
use crate::app::App;
use crate::auth::{Remote, bearer};
use crate::server::{Connection, Stopping};

/// The parameter of an address that lets a browser in once.
pub(crate) const SECRET: &str = "reeve_preview";
/// How long somebody who was found to see a workspace is not looked up again.
const ADMITTED_FOR: Duration = Duration::from_secs(5);
/// How long finding out may take whether a sign-in has ended.
const LOOKED_UP_WITHIN: Duration = Duration::from_millis(10);
/// How many are remembered.
const ADMITTED_MAX: usize = 10_000;

/// Who was found to see which preview a moment ago, so that not every image of a page is a look-up.
#[derive(Default)]
pub(crate) struct Admitted {
    known: Mutex<HashMap<Digest, Instant>>,
}

impl Admitted {
    fn key(principal: &Principal, login: Option<&LoginId>, place: &Place) -> Digest {
        Digest::of(json!([principal, login, place.workspace]).to_string().as_bytes())
    }

    fn holds(&self, key: &Digest) -> bool {
        self.known.lock().is_ok_and(|known| known.get(key).is_some_and(|at| at.elapsed() < ADMITTED_FOR))
    }

    fn note(&self, key: Digest) {
        let Ok(mut known) = self.known.lock() else { return };
        if known.len() >= ADMITTED_MAX {
            known.retain(|_, at| at.elapsed() < ADMITTED_FOR);
        }
        if known.len() < ADMITTED_MAX {
            known.insert(key, Instant::now());
        }
    }

    fn forget(&self, key: &Digest) {
        if let Ok(mut known) = self.known.lock() {
            known.remove(key);
        }
    }
}

/// A request that was let in.
pub(crate) struct Visit {
    pub(crate) place: Place,
    app: App,
    workspaces: Workspaces,
    asker: Asker,
    login: Option<LoginId>,
}

/// Where a request arrived.
struct Arrival {
    place: Place,
    /// `/preview/{id}/{port}` when the preview has no host of its own.
    prefix: Option<String>,
    host: String,
    scheme: &'static str,
}

impl Arrival {
    /// Where the preview begins on its host.
    fn root(&self) -> String {
        format!("{}/", self.prefix.as_deref().unwrap_or_default())
    }

    /// Where the platform is, as far as the address tells.
    fn platform(&self, domains: &[String]) -> Option<String> {
        let (name, port) = (name_of(&self.host), port_of(&self.host));
        let own = self.prefix.is_some().then_some(name);
        let domain = own.or_else(|| domains.iter().map(String::as_str).find(|domain| name.ends_with(domain)))?;
        Some(format!("{}://{domain}{port}/", self.scheme))
    }

    /// Whether browsers take cookies for pages inside other sites' pages from here: only where nobody can listen.
    fn is_secure(&self) -> bool {
        let name = name_of(&self.host);
        self.scheme == "https" || name == "localhost" || name.ends_with(".localhost")
    }
}

/// Who sends a request, and the pass to give them anew.
struct Visitor {
    principal: Principal,
    login: Option<LoginId>,
    renewed: Option<Pass>,
    /// Whether the request proved it with a credential of the platform's.
    by_key: bool,
}

impl Visit {
    /// Answers a request that names a preview.
    pub(crate) async fn answer(app: App, named: Named, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let (place, prefix) = match named {
            Named::Host(place) => (place, None),
            Named::Path { place, prefix } => (place, Some(prefix)),
            Named::Nothing => return Page::Unknown.answer(&parts.headers),
        };
        let Some(workspaces) = app.platform.workspaces().cloned() else { return Page::Unknown.answer(&parts.headers) };
        let host = host_of(&parts).unwrap_or_default().to_owned();
        let arrival = Arrival { place, prefix, host, scheme: headers::scheme(&parts.headers) };
        let domains = &app.shared.options.preview_domains;
        if neighbours::is_foreign(&parts.method, &parts.headers, &arrival.host, &arrival.place, domains) {
            return Page::Foreign.answer(&parts.headers);
        }
        if let Some(response) = redeem(&app, &arrival, &parts) {
            return response;
        }
        if let Some(response) = neighbours::preflight(&parts.method, &parts.headers, &arrival.place, domains) {
            return response;
        }
        let Some(visitor) = who(&app, &arrival.place, &parts).await else {
            return Page::NotSignedIn { platform: arrival.platform(domains) }.answer(&parts.headers);
        };
        let asker = Asker {
            principal: visitor.principal,
            purpose: None,
            purpose_note: String::new(),
            trace_id: app.platform.new_trace("prv"),
            origin: Origin::DirectTool,
            session: reeve_types::event::SessionPart::default(),
            action_id: None,
        };
        let visit = Self { place: arrival.place.clone(), app, workspaces, asker, login: visitor.login };
        let mut response = visit.go_on(&arrival, parts, body, visitor.by_key).await;
        if let Some(pass) = visitor.renewed {
            visit.set_pass(&arrival, &pass, &mut response);
        }
        response
    }

    /// A connection to the port.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Duplex>, NotDone> {
        self.workspaces.dial(&self.asker, &self.place.workspace, self.place.port).await
    }

    async fn go_on(&self, arrival: &Arrival, parts: Parts, body: Body, by_key: bool) -> Response {
        let path = parts.uri.path().strip_prefix(arrival.prefix.as_deref().unwrap_or_default()).unwrap_or_default();
        if path.is_empty() && arrival.prefix.is_some() {
            return see_other(&arrival.root());
        }
        if path == START_PATH && parts.method == Method::POST {
            return self.start(arrival, &parts).await;
        }
        let key = Admitted::key(&self.asker.principal, self.login.as_ref(), &self.place);
        if !self.app.shared.admitted.holds(&key) {
            match self.state().await {
                Err(page) => return page.answer(&parts.headers),
                Ok(WorkspaceState::Running) => self.app.shared.admitted.note(key),
                Ok(state) => return not_running(arrival, state, &parts).answer(&parts.headers),
            }
        }
        self.workspaces.touch(&self.place.workspace, Use::Preview);
        let wanted = parts.headers.clone();
        let uri = parts.uri.clone();
        match self.carry(arrival, parts, body, by_key).await {
            Ok(response) => response,
            Err(failure) => {
                self.app.shared.admitted.forget(&key);
                self.explain(arrival, &uri, failure).await.answer(&wanted)
            }
        }
    }

    /// Whether the visitor's role, and the sign-in that their pass was given for, still hold.
    async fn still_holds(&self) -> bool {
        let Some(login) = &self.login else { return Permission::UseWorkspaces.allows(&self.asker.principal) };
        let accounts = self.app.platform.identity().accounts();
        let ended = tokio::time::timeout(LOOKED_UP_WITHIN, accounts.until_ended(login)).await.is_ok();
        !ended && Permission::UseWorkspaces.allows(&self.asker.principal)
    }

    async fn state(&self) -> Result<WorkspaceState, Page> {
        if !self.still_holds().await {
            return Err(Page::NotSignedIn { platform: None });
        }
        match self.workspaces.get(&self.asker.principal, &self.place.workspace).await {
            Ok(found) => Ok(found.state),
            Err(NotDone::NoSuchWorkspace(_)) => Err(Page::Unknown),
            Err(other) => Err(Page::Refused { status: other.code().status(), said: other.to_string() }),
        }
    }

    async fn start(&self, arrival: &Arrival, parts: &Parts) -> Response {
        match self.workspaces.start(&self.asker, &self.place.workspace).await {
            Ok(_) => see_other(&back_to(arrival, parts.uri.query().unwrap_or_default())),
            Err(NotDone::NoSuchWorkspace(_)) => Page::Unknown.answer(&parts.headers),
            Err(other) => {
                Page::Refused { status: other.code().status(), said: other.to_string() }.answer(&parts.headers)
            }
        }
    }

    async fn carry(&self, arrival: &Arrival, mut parts: Parts, body: Body, by_key: bool) -> Result<Response, Failure> {
        let remote = parts.extensions.get::<Remote>().map(|remote| remote.0);
        let stop = parts.extensions.get::<Stopping>().cloned().unwrap_or_default();
        let connection = parts.extensions.get::<Connection>().cloned();
        let changes = headers::upgrade(&parts.headers).is_some();
        let origin =
            headers::Origin { host: &arrival.host, scheme: arrival.scheme, remote, prefix: arrival.prefix.as_deref() };
        headers::to_program(&mut parts.headers, &origin, by_key);
        parts.uri = program_uri(&parts.uri, arrival.prefix.as_deref());
        let browser = changes.then(|| parts.extensions.remove::<hyper::upgrade::OnUpgrade>()).flatten();
        parts.extensions.clear();
        let request = Request::from_parts(parts, body);
        let Carried { mut response, upgrade } = carry::carry(self, &self.app.shared.pool, request, changes).await?;
        headers::to_browser(response.headers_mut(), arrival.prefix.as_deref());
        if let (Some(program), Some(browser)) = (upgrade, browser) {
            let (workspaces, id) = (self.workspaces.clone(), self.place.workspace.clone());
            let used: tunnel::Used = Arc::new(move || workspaces.touch(&id, Use::Preview));
            tokio::spawn(async move {
                // The place among the server's connections is kept as long as the tunnel is.
                let _connection = connection;
                tunnel::join(browser, program, used, stop.0).await;
            });
        }
        Ok(response)
    }

    async fn explain(&self, arrival: &Arrival, uri: &Uri, failure: Failure) -> Page {
        let port = self.place.port;
        match failure {
            Failure::TooSlow => Page::TooSlow { port },
            Failure::BrokeOff(error) => {
                tracing::debug!("a program on port {port} of {} broke off: {error}", self.place.workspace);
                Page::BrokeOff { port }
            }
            Failure::NoConnection => Page::NothingListens { port },
            Failure::NoWay(NotDone::NoSuchWorkspace(_)) => Page::Unknown,
            Failure::NoWay(problem @ (NotDone::Refused(_) | NotDone::Awaiting { .. } | NotDone::InProgress(_))) => {
                Page::Refused { status: problem.code().status(), said: problem.to_string() }
            }
            Failure::NoWay(problem) => match self.state().await {
                Ok(WorkspaceState::Running) if problem.code() != ProblemCode::NotRunning => {
                    Page::NothingListens { port }
                }
                Ok(WorkspaceState::Running) => Page::Starting,
                Ok(state) => asleep(arrival, state, uri),
                Err(page) => page,
            },
        }
    }

    fn set_pass(&self, arrival: &Arrival, pass: &Pass, response: &mut Response) {
        set_pass(&self.app, arrival, pass, response);
    }
}

fn set_pass(app: &App, arrival: &Arrival, pass: &Pass, response: &mut Response) {
    let https = arrival.scheme == "https";
    for cookie in app.shared.signer.cookies(pass, &arrival.root(), https, arrival.is_secure()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// A browser that comes with a secret gets a pass, and the same address without the secret.
fn redeem(app: &App, arrival: &Arrival, parts: &Parts) -> Option<Response> {
    let query = parts.uri.query()?;
    let secret = query.split('&').find_map(|pair| pair.strip_prefix(SECRET)?.strip_prefix('='))?;
    if parts.method != Method::GET {
        return None;
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| pair.split('=').next() != Some(SECRET)).collect();
    let mut target = format!("/{}", parts.uri.path().trim_start_matches('/'));
    if !rest.is_empty() {
        target = format!("{target}?{}", rest.join("&"));
    }
    let mut response = see_other(&target);
    let invited = app.shared.invitations.redeem(secret).filter(|invited| invited.place == arrival.place);
    // A secret that is used up may lead a browser that has a pass already, such as one that went back.
    if let Some(invited) = invited {
        let pass = Pass::new(
            arrival.place.clone(),
            invited.caller.principal,
            invited.caller.login,
            app.platform.clock().now(),
        );
        set_pass(app, arrival, &pass, &mut response);
    }
    Some(response)
}

/// The one who sends a request: by their pass, or by a key or token of the platform's.
async fn who(app: &App, place: &Place, parts: &Parts) -> Option<Visitor> {
    let now = app.platform.clock().now();
    if let Some(pass) = app.shared.signer.pass(&parts.headers, place, now) {
        let renewed = pass.renewed(now);
        return Some(Visitor { principal: pass.principal, login: pass.login, renewed, by_key: false });
    }
    parts.headers.get(AUTHORIZATION).filter(|value| is_ours(value))?;
    let key = bearer(&parts.headers).ok()??;
    let found = app.platform.identity().identify(Some(key), None).await.ok()?;
    Some(Visitor { principal: found.principal, login: found.login, renewed: None, by_key: true })
}

fn not_running(arrival: &Arrival, state: WorkspaceState, parts: &Parts) -> Page {
    asleep(arrival, state, &parts.uri)
}

fn asleep(arrival: &Arrival, state: WorkspaceState, uri: &Uri) -> Page {
    use WorkspaceState as S;
    match state {
        S::Starting => Page::Starting,
        S::Deleting | S::Deleted => Page::Unknown,
        S::Stopped | S::Running | S::Suspending | S::Suspended | S::Error => {
            let prefix = arrival.prefix.as_deref().unwrap_or_default();
            // The way back travels along. Characters that would end it early do not.
            let to: String = uri.path().chars().filter(|c| !matches!(c, '&' | '#' | '"' | '\'' | '<' | '>')).collect();
            Page::Asleep { state: state.to_string(), start: Some(format!("{prefix}{START_PATH}?to={to}")) }
        }
    }
}

/// Where to go after starting: the path that the button was on, and never another host.
fn back_to(arrival: &Arrival, query: &str) -> String {
    let to = query.strip_prefix("to=").unwrap_or_default();
    let inside = to.starts_with(&arrival.root()) && !to.contains("//") && !to.contains('\\');
    if inside { to.to_owned() } else { arrival.root() }
}

fn see_other(target: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(target) = HeaderValue::from_str(target) {
        headers.insert(LOCATION, target);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What a program is asked for: the path and query, without the host and without the prefix.
fn program_uri(uri: &Uri, prefix: Option<&str>) -> Uri {
    let target = uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    let below = prefix.and_then(|prefix| target.strip_prefix(prefix)).unwrap_or(target);
    let below = if below.starts_with('/') { below.to_owned() } else { format!("/{below}") };
    below.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(prefix: Option<&str>) -> Arrival {
        let place = Place { workspace: "wsp_01h455vb4pex5vsknk084sn02q".parse().unwrap(), port: 80 };
        let host = "80--01h455vb4pex5vsknk084sn02q.preview.localhost:8080".to_owned();
        Arrival { place, prefix: prefix.map(str::to_owned), host, scheme: "http" }
    }

    #[test]
    fn starting_leads_back_and_nowhere_else() {
        for (query, expected) in [
            ("to=/a/b", "/a/b"),
            ("to=//evil.example", "/"),
            ("to=https://evil.example", "/"),
            ("to=/\\evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(back_to(&arrival(None), query), expected, "{query}");
        }
        assert_eq!(back_to(&arrival(Some("/preview/wsp_1/80")), "to=/api/v1/x"), "/preview/wsp_1/80/");
    }

    #[test]
    fn a_program_sees_its_own_paths() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert_eq!(program_uri(&uri("http://h:1/a?b=c"), None), "/a?b=c");
        assert_eq!(program_uri(&uri("/preview/wsp_1/80/a?b"), Some("/preview/wsp_1/80")), "/a?b");
        assert_eq!(program_uri(&uri("/preview/wsp_1/80/"), Some("/preview/wsp_1/80")), "/");
        assert_eq!(program_uri(&uri("/preview/wsp_1/80?q"), Some("/preview/wsp_1/80")), "/?q");
    }

    #[test]
    fn the_platform_is_where_the_domain_is() {
        assert_eq!(arrival(None).platform(&["localhost".to_owned()]).as_deref(), Some("http://localhost:8080/"));
    }
}
