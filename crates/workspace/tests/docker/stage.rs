//! What a test stands on: an engine of its own with the image of the template `base`, and the driver over it.

use std::collections::HashMap;
use std::net::SocketAddr;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions};
use reeve_gate::workspace::WorkspaceDriver;
use reeve_workspace::{DockerDriver, DockerOptions, Templates};

use crate::actor::Actor;
use crate::contract::Ground;
use crate::daemon::{Daemon, mounts_below};
use crate::image::{self, With};
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
        Self::on(With::Nothing, serde_json::json!({}), change).await
    }

    /// With Python inside, for what is tried by programs.
    pub(crate) async fn with_python() -> Self {
        Self::on(With::Python, serde_json::json!({}), |_| {}).await
    }

    /// With Python inside, whose allow-lists may name these addresses of this machine.
    pub(crate) async fn reaching(addresses: &[SocketAddr]) -> Self {
        Self::on(With::Python, serde_json::json!({}), |options| options.reachable = addresses.to_vec()).await
    }

    /// On an engine with settings of its own.
    pub(crate) async fn on(with: With, settings: serde_json::Value, change: impl FnOnce(&mut DockerOptions)) -> Self {
        let root = tempfile::Builder::new().prefix("rv").tempdir().expect("a directory");
        let daemon = Daemon::start(&root.path().join("d"), settings).await;
        let docker = daemon.client().await;
        // One engine for many tests gets the image once, for all of them.
        if !daemon.given {
            image::import(&docker, with).await;
        } else if docker.inspect_image(image::NAME).await.is_err() {
            image::import(&docker, With::Python).await;
        }
        let mut options = options(root.path());
        options.host = Some(daemon.host());
        change(&mut options);
        let driver = DockerDriver::open(options.clone()).await.expect("the driver opens");
        Self { driver, options, docker, daemon, root }
    }

    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor::new(&self.driver)
    }

    /// What is to be looked at: everything on an engine of the test's own, what carries the driver's label on another.
    fn filters(&self) -> Option<HashMap<String, Vec<String>>> {
        let label = format!("reeve.installation={}", self.driver.installation());
        self.daemon.given.then(|| HashMap::from([("label".to_owned(), vec![label])]))
    }

    async fn containers(&self) -> Vec<ContainerSummary> {
        let all = ListContainersOptions { all: true, filters: self.filters(), ..ListContainersOptions::default() };
        self.docker.list_containers(Some(all)).await.expect("containers")
    }

    /// Everything of this stage on the engine and on this machine.
    pub(crate) async fn left(&self) -> Vec<String> {
        let containers = self.containers().await;
        let wanted = ListVolumesOptions { filters: self.filters() };
        let volumes = self.docker.list_volumes(Some(wanted)).await.expect("volumes");
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
        let ids: Vec<String> = self.containers().await.into_iter().filter_map(|container| container.id).collect();
        self.left().await.into_iter().chain(self.daemon.processes(&ids)).collect()
    }
}
