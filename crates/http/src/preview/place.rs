//! Which preview a request is for: by its host, or by its path where no wildcard host leads here.

use axum::http::header::HOST;
use axum::http::request::Parts;
use reeve_types::WorkspaceId;

/// Where previews answer on the server's own host, when there is no host of their own.
const PATH_ROOT: &str = "/preview/";
/// Where sessions of the guide to VibeCode are.
const GUIDES_ROOT: &str = "/api/vibecode/sessions/";
/// Between the port and the workspace in the name of a preview's host.
const BETWEEN: &str = "--";
/// Before the domain in the name of a preview's host.
const LABEL: &str = ".preview.";

/// One port of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    pub(crate) workspace: WorkspaceId,
    pub(crate) port: u16,
}

/// How a request names a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// By a host of its own: an origin apart from the platform's.
    Host(Place),
    /// By a path on the platform's own origin; `prefix` is what stands before the program's paths, without a final `/`.
    Path {
        /// Which.
        place: Place,
        /// `/preview/{id}/{port}`.
        prefix: String,
    },
    /// The host or path is of the kind that previews have, and names none.
    Nothing,
}

/// Which preview a request is for; none when it is for the platform.
pub(crate) fn named(parts: &Parts, domains: &[String]) -> Option<Named> {
    let by_host = host_of(parts).and_then(|host| by_host(host, domains));
    by_host.or_else(|| by_path(parts.uri.path()))
}

/// The host that a request names: of its target (HTTP/2), or of its header (HTTP/1.1).
pub(crate) fn host_of(parts: &Parts) -> Option<&str> {
    let target = parts.uri.authority().map(axum::http::uri::Authority::as_str);
    target.or_else(|| parts.headers.get(HOST).and_then(|value| value.to_str().ok()))
}

/// A host without its port.
pub(crate) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(_) => host.split_inclusive(']').next().unwrap_or(host),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// What follows the name in a host: `:8080`, or nothing.
pub(crate) fn port_of(host: &str) -> &str {
    host.get(name_of(host).len()..).unwrap_or_default()
}

fn by_host(host: &str, domains: &[String]) -> Option<Named> {
    let name = name_of(host).trim_end_matches('.').to_ascii_lowercase();
    let label = domains.iter().find_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix(LABEL))?;
    Some(read(label).map_or(Named::Nothing, Named::Host))
}

fn read(label: &str) -> Option<Place> {
    let (port, id) = label.split_once(BETWEEN)?;
    place(&format!("{}_{id}", WorkspaceId::PREFIX), port)
}

fn place(workspace: &str, port: &str) -> Option<Place> {
    let plain = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    let port = plain.then(|| port.parse().ok()).flatten()?;
    Some(Place { workspace: workspace.parse().ok()?, port })
}

/// Where the guide to VibeCode has its proxy: `/api/vibecode/sessions/{id}/proxy/{port}/…`, its sockets below `proxy/ws`.
/// Without a port the platform says where the preview is.
fn by_guides_path(path: &str) -> Option<Named> {
    let (id, rest) = path.strip_prefix(GUIDES_ROOT)?.split_once('/')?;
    let inside = rest.strip_prefix("proxy/")?;
    let (between, inside) = inside.strip_prefix("ws/").map_or(("", inside), |inside| ("ws/", inside));
    let port = inside.split('/').next().unwrap_or_default();
    let place = place(id, port)?;
    Some(Named::Path { prefix: format!("{GUIDES_ROOT}{id}/proxy/{between}{port}"), place })
}

fn by_path(path: &str) -> Option<Named> {
    if path.starts_with(GUIDES_ROOT) {
        return by_guides_path(path);
    }
    let rest = path.strip_prefix(PATH_ROOT)?;
    let mut parts = rest.splitn(3, '/');
    let (id, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Some(match place(id, port) {
        Some(place) => Named::Path { prefix: format!("{PATH_ROOT}{id}/{port}"), place },
        None => Named::Nothing,
    })
}

impl Place {
    /// The name of the host of this preview below a domain.
    pub(crate) fn host(&self, domain: &str) -> String {
        let whole = self.workspace.as_str();
        let id = whole.split_once('_').map_or(whole, |(_, id)| id);
        format!("{}{BETWEEN}{id}{LABEL}{domain}", self.port)
    }

    /// The path of this preview on the platform's own origin.
    pub(crate) fn path(&self) -> String {
        format!("{PATH_ROOT}{}/{}", self.workspace, self.port)
    }

    /// The workspace that the host of an origin belongs to, when that is a preview.
    pub(crate) fn of_origin(origin: &str, domains: &[String]) -> Option<Self> {
        let (_, host) = origin.split_once("://")?;
        match by_host(host.split('/').next().unwrap_or_default(), domains) {
            Some(Named::Host(place)) => Some(place),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01h455vb4pex5vsknk084sn02q";

    fn domains() -> Vec<String> {
        vec!["localhost".to_owned(), "dev.example.org".to_owned()]
    }

    fn at(host: &str, path: &str) -> Option<Named> {
        let request = axum::http::Request::builder().uri(path).header(HOST, host).body(()).unwrap();
        named(&request.into_parts().0, &domains())
    }

    #[test]
    fn a_host_names_one_port_of_one_workspace() {
        let place = Place { workspace: format!("wsp_{ID}").parse().unwrap(), port: 3000 };
        for host in [
            format!("3000--{ID}.preview.localhost:8080"),
            format!("3000--{ID}.preview.localhost"),
            format!("3000--{}.Preview.LOCALHOST:1", ID.to_uppercase()),
            format!("3000--{ID}.preview.dev.example.org"),
        ] {
            assert_eq!(at(&host, "/a?b"), Some(Named::Host(place.clone())), "{host}");
        }
        assert_eq!(place.host("localhost"), format!("3000--{ID}.preview.localhost"));
        assert_eq!(Place::of_origin(&format!("https://3000--{ID}.preview.localhost"), &domains()), Some(place));
    }

    #[test]
    fn what_looks_like_a_preview_and_is_none_is_never_the_platform() {
        for host in [
            format!("0--{ID}.preview.localhost"),
            format!("65536--{ID}.preview.localhost"),
            format!("03000--{ID}.preview.localhost"),
            format!("+80--{ID}.preview.localhost"),
            format!("evil.3000--{ID}.preview.localhost"),
            "3000--.preview.localhost".to_owned(),
            "x.preview.localhost".to_owned(),
        ] {
            assert_eq!(at(&host, "/"), Some(Named::Nothing), "{host}");
        }
        assert_eq!(at("localhost:8080", "/preview/x/y"), Some(Named::Nothing));
    }

    #[test]
    fn other_hosts_are_the_platform() {
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "preview.localhost",
            "preview.localhost.evil.example",
            "reeve.example.org",
        ] {
            assert_eq!(at(host, "/api/v1/tools"), None, "{host}");
        }
    }

    #[test]
    fn a_path_names_one_as_well() {
        let place = Place { workspace: format!("wsp_{ID}").parse().unwrap(), port: 80 };
        let prefix = format!("/preview/wsp_{ID}/80");
        for path in [format!("{prefix}/a/b"), format!("{prefix}/"), prefix.clone()] {
            let expected = Named::Path { place: place.clone(), prefix: prefix.clone() };
            assert_eq!(at("localhost", &path), Some(expected), "{path}");
        }
        assert_eq!(place.path(), prefix);
    }

    #[test]
    fn a_host_is_cut_at_its_port() {
        for (host, name, port) in
            [("a:1", "a", ":1"), ("a", "a", ""), ("[::1]:80", "[::1]", ":80"), ("[::1]", "[::1]", "")]
        {
            assert_eq!((name_of(host), port_of(host)), (name, port));
        }
    }
}
