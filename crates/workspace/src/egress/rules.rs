//! What one workspace may reach.

use std::net::SocketAddr;

use reeve_types::workspace::Egress;
use reeve_types::{ProblemCode, WorkspaceError};

use super::addresses::is_public;

/// Ports that are meant when none is named.
const USUAL_PORTS: [u16; 2] = [80, 443];
/// Most hosts of an allow-list.
const HOSTS_MAX: usize = 500;

/// What one workspace may reach.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Nothing stands for every public host.
    hosts: Option<Vec<Host>>,
    reachable: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    /// Lower case, without a final dot.
    name: String,
    /// Every host below it instead of itself.
    below: bool,
    port: Option<u16>,
}

impl Rules {
    /// Reads what was asked for. `reachable` are private addresses that an allow-list may reach all the same.
    pub(crate) fn new(egress: &Egress, reachable: &[SocketAddr]) -> Result<Self, WorkspaceError> {
        let hosts = match egress {
            Egress::None => Some(Vec::new()),
            Egress::Public => None,
            Egress::Allow { hosts } if hosts.len() > HOSTS_MAX => {
                return Err(WorkspaceError::new(ProblemCode::BadRequest, "an allow-list names at most 500 hosts"));
            }
            Egress::Allow { hosts } => Some(hosts.iter().map(|text| Host::read(text)).collect::<Result<_, _>>()?),
        };
        Ok(Self { hosts, reachable: reachable.to_vec() })
    }

    /// Whether a host may be asked for by its name.
    pub(super) fn admits(&self, host: &str, port: u16) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let name = plain(host);
        hosts.iter().any(|allowed| allowed.matches(&name, port))
    }

    /// Whether an address may be connected to, for a name that was admitted.
    pub(super) fn permits(&self, address: SocketAddr) -> bool {
        is_public(address.ip()) || (self.hosts.is_some() && self.reachable.contains(&address))
    }
}

impl Host {
    fn read(text: &str) -> Result<Self, WorkspaceError> {
        let wrong = || {
            let said =
                format!("`{}` is no host of an allow-list; write host, host:port or *.domain", text.escape_default());
            WorkspaceError::new(ProblemCode::BadRequest, said)
        };
        let (name, port) = split_port(text).ok_or_else(wrong)?;
        let (name, below) = name.strip_prefix("*.").map_or((name, false), |rest| (rest, true));
        let name = plain(name);
        let fine = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'));
        if fine { Ok(Self { name, below, port }) } else { Err(wrong()) }
    }

    fn matches(&self, name: &str, port: u16) -> bool {
        let named = if self.below {
            name.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            name == self.name
        };
        named && self.port.map_or_else(|| USUAL_PORTS.contains(&port), |only| only == port)
    }
}

/// A name without brackets and final dot, in lower case.
fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// `host`, `host:port` or `[address]:port`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((address, Some(port_of(port)?))),
            None => port.is_empty().then_some((address, None)),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => Some((host, Some(port_of(port)?))),
        _ => Some((text, None)),
    }
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(hosts: &[&str]) -> Rules {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Rules::new(&Egress::Allow { hosts }, &[]).expect("rules")
    }

    #[test]
    fn only_named_hosts_and_ports_are_admitted() {
        let rules = allow(&["crates.io", "*.example.org", "git.example.net:9418"]);
        let admitted = [("crates.io", 443), ("CRATES.IO.", 80), ("a.example.org", 443), ("a.b.example.org", 443)];
        for (host, port) in admitted {
            assert!(rules.admits(host, port), "{host}:{port}");
        }
        assert!(rules.admits("git.example.net", 9418));
        let refused = [
            ("crates.io", 22),
            ("example.org", 443),
            ("evilexample.org", 443),
            (".example.org", 443),
            ("crates.io.evil.org", 443),
            ("git.example.net", 443),
        ];
        for (host, port) in refused {
            assert!(!rules.admits(host, port), "{host}:{port}");
        }
    }

    #[test]
    fn an_address_is_judged_by_itself_whatever_it_was_called() {
        let rules = Rules::new(&Egress::Public, &["127.0.0.1:80".parse().expect("an address")]).expect("rules");
        assert!(rules.admits("anything.example", 25));
        assert!(!rules.permits("127.0.0.1:80".parse().expect("an address")), "public means public");
        assert!(!allow(&["localhost"]).permits("127.0.0.1:80".parse().expect("an address")));
        assert!(rules.permits("1.1.1.1:80".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "http://a", "a b", "a:b", "*", "a:99999", "[::1", "a/b", "ü"] {
            assert!(Rules::new(&Egress::Allow { hosts: vec![text.to_owned()] }, &[]).is_err(), "{text}");
        }
    }
}
