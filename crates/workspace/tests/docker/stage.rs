//! What a test stands on: an engine of its own with the image of the template `base`, and the driver over it.

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions};
use reeve_gate::workspace::WorkspaceDriver;
use reeve_workspace::{DockerDriver, DockerOptions, Templates};

use crate::actor::Actor;
use crate::contract::Ground;
use crate::daemon::{Daemon, mounts_below};
use crate::image;
use crate::program::runtime;

/// Everything is gone when it is dropped, also when a test fails.
pub(crate) struct Stage {
    pub(crate) driver: DockerDriver,
    pub(crate) options: DockerOptions,
    pub(crate) docker: Docker,
    pub(crate) daemon: Daemon,
    root: tempfile::TempDir,
}

/// Options of a driver in a directory.
pub(crate) fn options(directory: &std::path::Path) -> DockerOptions {
    let templates = Templates::built_in().expect("the built-in templates");
    DockerOptions::new(directory.join("workspaces"), runtime(), templates)
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut DockerOptions)) -> Self {
        let root = tempfile::Builder::new().prefix("rv").tempdir().expect("a directory");
        let daemon = Daemon::start(&root.path().join("d")).await;
        let docker = daemon.client().await;
        image::import(&docker).await;
        let mut options = options(root.path());
        options.host = Some(daemon.host());
        change(&mut options);
        let driver = DockerDriver::open(options.clone()).await.expect("the driver opens");
        Self { driver, options, docker, daemon, root }
    }

    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor::new(&self.driver)
    }

    /// Everything on the engine and on this machine: nobody else uses this engine.
    pub(crate) async fn left(&self) -> Vec<String> {
        let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let containers = self.docker.list_containers(Some(all)).await.expect("containers");
        let volumes = self.docker.list_volumes(None::<ListVolumesOptions>).await.expect("volumes");
        let names = containers.into_iter().flat_map(|container| container.names.unwrap_or_default());
        let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|volume| format!("volume {}", volume.name));
        let root = &self.options.root;
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let places = entries.chain(mounts_below(root)).map(|path| path.display().to_string());
        names.map(|name| format!("container {name}")).chain(volumes).chain(places).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Mounts of sockets are beside the engine's directory, and this machine's.
        for place in mounts_below(self.root.path()).into_iter().rev() {
            if place.starts_with(&self.options.root) {
                let _gone = rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

impl Ground for Stage {
    fn driver(&self) -> &dyn WorkspaceDriver {
        &self.driver
    }

    async fn next_server(&self) -> Box<dyn WorkspaceDriver> {
        Box::new(DockerDriver::open(self.options.clone()).await.expect("the next server opens"))
    }

    async fn traces(&self) -> Vec<String> {
        self.left().await
    }
}
