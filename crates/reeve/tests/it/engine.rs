//! Workspaces by Docker Engine on a real server: killed while the engine makes, fills and removes them. The engine and its
//! image are those of the tests of the driver.

#[path = "../../../workspace/tests/docker/daemon.rs"]
#[allow(dead_code, reason = "words shared with the tests of the driver, which kill the engine, too")]
mod daemon;
#[path = "../../../workspace/tests/docker/image.rs"]
#[allow(dead_code, reason = "words shared with the tests of the driver, which need Python inside, too")]
mod image;

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions};
use daemon::Daemon;
use serde_json::json;

use crate::kills::{self, Kills};
use crate::server::Home;
use crate::workspaces::Cleared;

/// What carries the driver's label, on an engine that has nothing else to do.
async fn left(docker: &Docker) -> Vec<String> {
    let ours = HashMap::from([("label".to_owned(), vec!["app=vibecode".to_owned()])]);
    let all = ListContainersOptions { all: true, filters: Some(ours.clone()), ..ListContainersOptions::default() };
    let containers = docker.list_containers(Some(all)).await.expect("containers");
    let volumes = docker.list_volumes(Some(ListVolumesOptions { filters: Some(ours) })).await.expect("volumes");
    let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
    containers.into_iter().flat_map(|container| container.names.unwrap_or_default()).chain(volumes).collect()
}

#[test]
fn killed_while_docker_makes_fills_and_removes_it_keeps_what_it_said_and_leaves_nothing() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let root = tempfile::Builder::new().prefix("rv").tempdir().expect("a directory");
    let (daemon, docker) = runtime.block_on(async {
        let daemon = Daemon::start(&root.path().join("d"), json!({})).await;
        let docker = daemon.client().await;
        if !daemon.given || docker.inspect_image(image::NAME).await.is_err() {
            image::import(&docker, image::With::Nothing).await;
        }
        (daemon, docker)
    });
    let home = Home::new()
        .with("REEVE_WORKSPACES_DRIVER", "docker")
        .with("REEVE_WORKSPACES_DOCKER_HOST", daemon.host())
        .with("REEVE_WORKSPACES_RUNTIME", crate::program::runtime().display().to_string())
        .with("REEVE_WORKSPACES_WARM", "0");
    let cleared = Cleared(&home);
    kills::survived(&home, Kills { rounds: 8, within: Duration::from_millis(3000) });
    drop(cleared);
    assert_eq!(runtime.block_on(left(&docker)), Vec::<String>::new());
    drop((daemon, root));
}
