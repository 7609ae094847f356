//! The ports that programs listen on, and the way to see one in a browser.

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use reeve_types::workspace::processes::ListeningPort;
use reeve_types::{ProblemCode, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Undone, asker, service};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::preview::{self, Place, SECRET, name_of, port_of};
use crate::problem::Problem;
use crate::socket::Invitation;

/// A port that a program listens on, and where it can be seen.
#[derive(Serialize, ToSchema)]
pub(crate) struct PortWithUrl {
    #[serde(flatten)]
    port: ListeningPort,
    /// Where a browser sees it, once it has been let in with `POST …/preview`.
    url: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Ports {
    ports: Vec<PortWithUrl>,
}

/// The ports that programs of a workspace listen on.
#[utoipa::path(get, path = "/workspaces/{id}/ports", tag = "ports", operation_id = "list_ports",
    params(("id" = String, Path, description = "The workspace's id.")),
    responses((status = 200, description = "The ports.", body = Ports)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    request: Request,
) -> Result<Json<Ports>, Undone> {
    let ports = service(&app.platform)?.ports(&asker(&app, &caller)?, &id).await?;
    let site = Site::of(&app, &request);
    let shown = |port: ListeningPort| {
        let url = site.url(&Place { workspace: id.clone(), port: port.port }, "/");
        PortWithUrl { port, url }
    };
    Ok(Json(Ports { ports: ports.into_iter().map(shown).collect() }))
}

/// A port to be seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantPreview {
    /// Its number.
    #[schema(minimum = 1, maximum = 65535)]
    port: u32,
    /// Which page of it; `/` unless told otherwise.
    #[serde(default)]
    path: Option<String>,
}

/// The way to a preview.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewGiven {
    /// Opens the preview once; the browser that opens it may come back for an hour and longer while it is used.
    pub(crate) url: String,
    /// The same on the server's own host, for browsers that no wildcard name leads here.
    pub(crate) fallback_url: String,
    /// Until when it can be opened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: jiff::Timestamp,
}

/// Lets a browser see what a port serves. Previews are private: the address holds a secret that is good once.
#[utoipa::path(post, path = "/workspaces/{id}/preview", tag = "ports", operation_id = "open_preview",
    params(("id" = String, Path, description = "The workspace's id.")), request_body = WantPreview,
    responses((status = 200, description = "The address.", body = PreviewGiven)))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    request: Request,
) -> Result<Json<PreviewGiven>, Undone> {
    let site = Site::of(&app, &request);
    let Body(wanted) = Body::<WantPreview>::from_request(request, &app).await?;
    Ok(Json(invite(&app, caller, id, &site, wanted).await?))
}

async fn invite(
    app: &App,
    caller: Caller,
    id: WorkspaceId,
    site: &Site,
    wanted: WantPreview,
) -> Result<PreviewGiven, Undone> {
    let port = u16::try_from(wanted.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Problem::new(ProblemCode::BadRequest, "`port` must be a number from 1 to 65535"))?;
    let path = wanted.path.unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail =
            "`path` must begin with `/` and hold no spaces or control characters; encode them as %20 and so on";
        return Err(Problem::new(ProblemCode::BadRequest, detail).into());
    }
    service(&app.platform)?.get(&caller.principal, &id).await?;
    let place = Place { workspace: id, port };
    let invitation = || Invitation { caller: caller.clone(), place: place.clone() };
    let clock = app.platform.clock().as_ref();
    let (secret, expires_at) = app.shared.invitations.issue(clock, invitation())?;
    let (second, _) = app.shared.invitations.issue(clock, invitation())?;
    let url = with_secret(&site.url(&place, &path), &secret);
    let fallback_url = with_secret(&site.own(&place, &path), &second);
    Ok(PreviewGiven { url, fallback_url, expires_at })
}

/// An address that lets a browser into a preview once.
pub(crate) fn entrance(app: &App, caller: Caller, request: &Request, place: Place) -> Result<String, Problem> {
    let url = Site::of(app, request).url(&place, "/");
    let clock = app.platform.clock().as_ref();
    let (secret, _) = app.shared.invitations.issue(clock, Invitation { caller, place })?;
    Ok(with_secret(&url, &secret))
}

fn with_secret(url: &str, secret: &str) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, ""), |(url, fragment)| (url, fragment));
    let between = if url.contains('?') { '&' } else { '?' };
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    format!("{url}{between}{SECRET}={secret}{fragment}")
}

/// The server as the client that asks sees it.
pub(crate) struct Site {
    scheme: &'static str,
    host: String,
    /// The domain below which previews have hosts, when one leads here from where the client is.
    domain: Option<String>,
}

impl Site {
    pub(crate) fn of(app: &App, request: &Request) -> Self {
        let host = preview::host_in(request).unwrap_or("localhost").to_owned();
        let scheme = preview::scheme(request.headers());
        Self { scheme, domain: domain(&host, &app.shared.options.preview_domains), host }
    }

    /// The address of a preview.
    pub(crate) fn url(&self, place: &Place, path: &str) -> String {
        match &self.domain {
            Some(domain) => format!("{}://{}{}{path}", self.scheme, place.host(domain), port_of(&self.host)),
            None => self.own(place, path),
        }
    }

    /// The address of a preview on the server's own host.
    fn own(&self, place: &Place, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.host, place.path())
    }
}

/// Which domain of previews leads to this server for a client that reached it under a name. `*.localhost` leads to the
/// client's own machine, so it is for clients that are here.
fn domain(host: &str, domains: &[String]) -> Option<String> {
    let name = name_of(host).trim_matches(['[', ']']).to_ascii_lowercase();
    let is_here = name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let within = |domain: &&String| name == **domain || name.ends_with(&format!(".{domain}"));
    let local = |domain: &&String| is_here && (*domain == "localhost" || domain.ends_with(".localhost"));
    let elsewhere = |domain: &&String| *domain != "localhost" && !domain.ends_with(".localhost");
    let found = domains.iter().find(within).or_else(|| domains.iter().find(local));
    found.or_else(|| domains.iter().find(elsewhere)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_has_a_host_of_its_own_wherever_one_leads_here() {
        let both = ["localhost".to_owned(), "dev.example.org".to_owned()];
        let local = &both[..1];
        for (host, domains, expected) in [
            ("localhost:8080", local, Some("localhost")),
            ("127.0.0.1:8080", local, Some("localhost")),
            ("[::1]:8080", local, Some("localhost")),
            ("192.168.1.5:8080", local, None),
            ("reeve.example.org", local, None),
            ("reeve.example.org", &both[..], Some("dev.example.org")),
            ("dev.example.org", &both[..], Some("dev.example.org")),
            ("localhost", &both[..], Some("localhost")),
        ] {
            assert_eq!(domain(host, domains).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn the_secret_goes_before_the_fragment() {
        assert_eq!(with_secret("http://h/a?b=c#d", "s"), "http://h/a?b=c&reeve_preview=s#d");
        assert_eq!(with_secret("http://h/", "s"), "http://h/?reeve_preview=s");
    }
}
