//! Where the engine's socket is.

use std::path::{Path, PathBuf};

/// The socket of an engine, or why none can be used.
#[derive(Debug, Clone)]
pub(super) enum Host {
    /// A socket of this machine.
    Socket(PathBuf),
    /// An address that cannot be used: workspaces are reached through sockets on this machine.
    Elsewhere(String),
    /// Nobody has said, and there is nothing in the usual places; those are named for the sentence that says so.
    Nowhere(Vec<PathBuf>),
}

/// Looks for the engine: what was set, then `DOCKER_HOST`, then the usual places.
pub(super) fn find(set: Option<&str>) -> Host {
    let named = set.map(str::to_owned).or_else(|| variable("DOCKER_HOST"));
    match named {
        Some(address) => read(&address),
        None => {
            let places = usual_places(variable("XDG_RUNTIME_DIR").as_deref(), variable("HOME").as_deref());
            places.iter().find(|path| path.exists()).cloned().map_or(Host::Nowhere(places), Host::Socket)
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read(address: &str) -> Host {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    if path.starts_with('/') { Host::Socket(PathBuf::from(path)) } else { Host::Elsewhere(address.to_owned()) }
}

/// Docker's socket, then Podman's; one's own before the machine's.
fn usual_places(runtime_directory: Option<&str>, home: Option<&str>) -> Vec<PathBuf> {
    let own = |name: &str| runtime_directory.map(|directory| Path::new(directory).join(name));
    let desktop = home.map(|home| Path::new(home).join(".docker/run/docker.sock"));
    let docker = [own("docker.sock"), desktop, Some("/var/run/docker.sock".into()), Some("/run/docker.sock".into())];
    let podman = [own("podman/podman.sock"), Some("/run/podman/podman.sock".into())];
    docker.into_iter().chain(podman).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_taken() {
        assert!(matches!(read("unix:///run/x.sock"), Host::Socket(path) if path == Path::new("/run/x.sock")));
        assert!(matches!(read("/run/x.sock"), Host::Socket(_)));
        for elsewhere in ["tcp://10.0.0.1:2375", "ssh://host", "npipe:////./pipe/docker", "docker"] {
            assert!(matches!(read(elsewhere), Host::Elsewhere(_)), "{elsewhere}");
        }
    }

    #[test]
    fn the_sockets_of_engines_without_root_come_first() {
        let places = usual_places(Some("/run/user/7"), Some("/home/ada"));
        let at = |path: &str| places.iter().position(|place| place == Path::new(path)).expect(path);
        assert!(at("/run/user/7/docker.sock") < at("/var/run/docker.sock"));
        assert!(at("/var/run/docker.sock") < at("/run/user/7/podman/podman.sock"));
        assert!(at("/run/user/7/podman/podman.sock") < at("/run/podman/podman.sock"));
    }
}
