//! The way to the network: a proxy of Reeve's own for each workspace that was given leave.
//!
//! The workspace's network has a loopback and nothing else. Its programs speak to `127.0.0.1:3128`: a listening socket
//! that belongs to this process although it was made inside. The proxy resolves names itself, holds the address that it is
//! about to connect to against the rules, and connects to exactly that address. A name that resolves to something else a
//! moment later gains nothing.

mod addresses;
mod inside;
mod proxy;
mod rules;

use reeve_types::WorkspaceError;
use reeve_types::workspace::Egress;

pub(crate) use inside::listen;
pub(crate) use proxy::Proxy;
pub(crate) use rules::Rules;

/// Why a server that is not root gives no workspace a way to the network.
pub(crate) const ROOT_ONLY: &str =
    "a workspace reaches the network only when Reeve runs as root, because its proxy listens inside the workspace";

/// Refuses a list that names a host which is none.
pub(crate) fn check_list(egress: &Egress) -> Result<(), WorkspaceError> {
    Rules::new(egress, &[]).map(drop)
}

/// The variables by which programs find the proxy.
pub(crate) fn variables() -> impl Iterator<Item = (&'static str, String)> {
    let proxy = format!("http://{}", inside::PROXY_INSIDE);
    let proxies = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, proxy.clone()));
    let direct = ["no_proxy", "NO_PROXY"].map(|name| (name, "localhost,127.0.0.1,::1".to_owned()));
    proxies.into_iter().chain(direct)
}
